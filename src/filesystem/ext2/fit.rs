//! Whether an ext4 can be edited so that it is right afterwards.

use super::{Facts, INCOMPAT_RECOVER, SUPERBLOCK_SIZE, u32_at};

/// Features without which a kernel mounts the file system no more (`s_feature_incompat`), and those without which it mounts it read-only
/// (`s_feature_ro_compat`), that an editing keeps right: the names are those of mke2fs, the bits of `<ext2fs/ext2_fs.h>`.
/// filetype, meta_bg, extents, 64bit, flex_bg, metadata_csum_seed, large_dir, inline_data.
const INCOMPAT: u32 = 0x2 | 0x10 | 0x40 | 0x80 | 0x200 | 0x2000 | 0x4000 | 0x8000;
/// sparse_super, large_file, huge_file, uninit_bg, dir_nlink, extra_isize, metadata_csum, verity; read-only is told by itself.
const RO_COMPAT: u32 = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x400 | 0x1000 | 0x8000;
const RO_COMPAT_ORPHAN_PRESENT: u32 = 0x10000;
/// Those that mke2fs can be told to set, by name.
const OTHERS: [(u32, u32, &str); 8] = [
    (0x100, 0, "mmp"),
    (0x400, 0, "ea_inode"),
    (0x10000, 0, "encrypt"),
    (0x20000, 0, "casefold"),
    (0, 0x100, "quota"),
    (0, 0x200, "bigalloc"),
    (0, 0x2000, "project"),
    (0, 0x4000, "shared_blocks"),
];

/// What state a file system is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It was unmounted, and nothing speaks against it.
    InOrder,
    /// It was not unmounted, or has files that were deleted while they were open: `e2fsck -p` ends what was begun.
    Unfinished,
    /// Errors are recorded.
    Errors,
}

/// What state a file system with this superblock is in. Pure.
pub(super) fn condition(superblock: &[u8; SUPERBLOCK_SIZE]) -> Option<Condition> {
    let facts = Facts::parse(superblock)?;
    let orphans = u32_at(superblock, 0xE8) != 0 || u32_at(superblock, 0x64) & RO_COMPAT_ORPHAN_PRESENT != 0;
    Some(match facts {
        Facts { errors: true, .. } => Condition::Errors,
        Facts { clean: false, .. } => Condition::Unfinished,
        _ if orphans => Condition::Unfinished,
        _ => Condition::InOrder,
    })
}

/// Why a file system with this superblock is not edited, and what to do; `None` where it can be. Pure.
pub fn unfit(superblock: &[u8; SUPERBLOCK_SIZE]) -> Option<String> {
    let Some(facts) = Facts::parse(superblock) else { return Some("its superblock has no magic number".to_owned()) };
    let (incompat, ro_compat) = (u32_at(superblock, 0x60), u32_at(superblock, 0x64));
    let reason = if facts.errors {
        "errors are recorded in its superblock; have it repaired by `e2fsck -f`"
    } else if incompat & INCOMPAT_RECOVER != 0 {
        "it was not unmounted, and its journal is still to be replayed; let `e2fsck -p` do that"
    } else if !facts.clean {
        "it was not unmounted; let `e2fsck -p` look at it"
    } else if u32_at(superblock, 0xE8) != 0 || ro_compat & RO_COMPAT_ORPHAN_PRESENT != 0 {
        "it has files that were deleted while they were open; let `e2fsck -p` free them"
    } else if facts.sealed {
        "it is sealed (it has ext4's feature `read-only`): it is the root of a card that burnonce has converted; use the image that the card was \
         burned from"
    } else {
        let (incompat, ro_compat) = (incompat & !INCOMPAT, ro_compat & !RO_COMPAT);
        if incompat | ro_compat == 0 {
            return None;
        }
        let names = OTHERS.iter().filter(|(i, r, _)| incompat & i | ro_compat & r != 0).map(|(_, _, name)| *name);
        let names: Vec<&str> = names.collect();
        return Some(format!(
            "it has features that burnonce does not keep right ({}; in numbers {incompat:#x} and {ro_compat:#x}); use an image without them",
            if names.is_empty() { "unknown ones".to_owned() } else { names.join(", ") }
        ));
    };
    Some(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A superblock that is fit, with 32-bit values put at some places.
    fn superblock(values: &[(usize, u32)]) -> [u8; SUPERBLOCK_SIZE] {
        let mut bytes = [0; SUPERBLOCK_SIZE];
        let fit = [(0x38, 0x0001_EF53), (0x60, INCOMPAT), (0x64, RO_COMPAT & !0x1000)];
        for (at, value) in fit.iter().chain(values) {
            bytes[*at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn what_is_not_fit_to_be_edited_is_told_with_a_remedy() {
        assert_eq!(unfit(&superblock(&[])), None);
        for (at, value, said) in [
            (0x38, 0x0001_0000, "its superblock has no magic number"),
            (0x38, 0x0002_EF53, "errors are recorded in its superblock; have it repaired by `e2fsck -f`"),
            (0x194, 1, "errors are recorded in its superblock; have it repaired by `e2fsck -f`"),
            (0x60, 0x46, "it was not unmounted, and its journal is still to be replayed; let `e2fsck -p` do that"),
            (0x38, 0x0000_EF53, "it was not unmounted; let `e2fsck -p` look at it"),
            (0xE8, 12, "it has files that were deleted while they were open; let `e2fsck -p` free them"),
            (0x64, 0x10003, "it has files that were deleted while they were open; let `e2fsck -p` free them"),
            (
                0x60,
                0x20142,
                "it has features that burnonce does not keep right (mmp, casefold; in numbers 0x20100 and 0x0); use an image without them",
            ),
            (
                0x64,
                0x303,
                "it has features that burnonce does not keep right (quota, bigalloc; in numbers 0x0 and 0x300); use an image without them",
            ),
            (
                0x60,
                0x8000_0002,
                "it has features that burnonce does not keep right (unknown ones; in numbers 0x80000000 and 0x0); use an image without them",
            ),
        ] {
            assert_eq!(unfit(&superblock(&[(at, value)])).as_deref(), Some(said), "{at:#x} {value:#x}");
        }
        assert!(unfit(&superblock(&[(0x64, 0x1003)])).unwrap().starts_with("it is sealed"));
    }

    #[test]
    fn what_e2fsck_ends_unasked_is_told_from_errors() {
        for (values, expected) in [
            (&[][..], Condition::InOrder),
            (&[(0x38, 0x0002_EF53)], Condition::Errors),
            (&[(0x194, 1), (0x38, 0xEF53)], Condition::Errors),
            (&[(0x60, 0x46)], Condition::Unfinished),
            (&[(0x38, 0x0000_EF53)], Condition::Unfinished),
            (&[(0xE8, 12)], Condition::Unfinished),
            (&[(0x64, 0x10003)], Condition::Unfinished),
        ] {
            assert_eq!(condition(&superblock(values)), Some(expected), "{values:x?}");
        }
        assert_eq!(condition(&[0; SUPERBLOCK_SIZE]), None);
    }
}
