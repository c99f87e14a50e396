//! The readers of ext4. Left out is what they start programs for (`blkid`, `mke2fs`, `tune2fs`, `resize2fs`): that would be some hundred
//! runs in a second.

use crate::bytes::{Bytes, crc32c};
use burnonce::filesystem;
use burnonce::inspect::ext4::Ext4;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

const SUPERBLOCK: usize = 1024;
const CHECKSUM: usize = 0x3FC;

/// The bytes are a superblock, at its place in a device of 64 KiB: what each boot reads of root and of the upper.
pub fn superblock(data: &[u8]) {
    let mut device = vec![0; 64 << 10];
    let length = data.len().min(SUPERBLOCK);
    device[SUPERBLOCK..SUPERBLOCK + length].copy_from_slice(&data[..length]);
    // Half of them as they are; a fuzzer does not find the checksum that the others need.
    if data.get(SUPERBLOCK).is_none_or(|flag| flag & 1 == 0) {
        repair(&mut device);
    }
    looked_at(&device);
}

fn repair(device: &mut [u8]) {
    let sum = crc32c(&device[SUPERBLOCK..SUPERBLOCK + CHECKSUM]);
    device[SUPERBLOCK + CHECKSUM..2 * SUPERBLOCK].copy_from_slice(&sum.to_le_bytes());
}

/// The bytes are pieces of a file system: where (4), how long (2), what. Behind them all is zero. It is looked at as a partition is that
/// a boot finds beside root.
pub fn owner(data: &[u8]) {
    looked_at(&device(data));
}

/// The device of which these are the pieces.
pub(crate) fn device(data: &[u8]) -> Vec<u8> {
    const LONGEST: usize = 4 << 20;
    let mut bytes = Bytes(data);
    let flags = bytes.byte();
    let mut device = vec![0; (usize::from(bytes.short()) << 10).clamp(2 * SUPERBLOCK, LONGEST)];
    while !bytes.0.is_empty() {
        let (at, length) = (bytes.word() as usize % device.len(), usize::from(bytes.short()));
        let piece = bytes.slice(length);
        let length = piece.len().min(device.len() - at);
        device[at..at + length].copy_from_slice(&piece[..length]);
    }
    if flags & 1 == 0 {
        repair(&mut device);
    }
    device
}

/// The bytes of a seed for [`owner`]: an image with its zeroes left out.
pub fn owner_seed(image: &[u8]) -> Vec<u8> {
    const GRAIN: usize = 32;
    let mut data = vec![1];
    data.extend(u16::try_from(image.len() >> 10).expect("a small image").to_le_bytes());
    let mut pieces: Vec<(usize, Vec<u8>)> = Vec::new();
    for (index, chunk) in image.chunks(GRAIN).enumerate().filter(|(_, chunk)| chunk.iter().any(|byte| *byte != 0)) {
        match pieces.last_mut() {
            Some((at, piece)) if *at + piece.len() == index * GRAIN && piece.len() < 0x8000 => piece.extend(chunk),
            _ => pieces.push((index * GRAIN, chunk.to_vec())),
        }
    }
    for (at, piece) in pieces {
        data.extend(u32::try_from(at).expect("a small image").to_le_bytes());
        data.extend(u16::try_from(piece.len()).expect("a short piece").to_le_bytes());
        data.extend(piece);
    }
    data
}

/// What each reader says holds together.
fn looked_at(device: &[u8]) {
    let file = crate::disk::memory_file().expect("a file in memory");
    file.write_all_at(device, 0).expect("writing it");
    let path = path(&file);
    let glance = filesystem::glance(&path).expect("a device that can be read");
    let identity = filesystem::identify(&path).expect("a device that can be read");
    let superblock = filesystem::ext(&path);
    if identity.is_some() {
        // What is believed of it is read to the end, as `burnonce inspect` may.
        crate::image::walked(&Ext4::open(&path, 0).expect("libext2fs opened it a moment ago"));
    }
    // libext2fs refuses more than a glance does.
    if let Some(identity) = identity {
        let glance = glance.expect("libext2fs sees a superblock where there is none");
        assert_eq!(identity.uuid, glance.uuid);
        let superblock = superblock.expect("libext2fs opened it a moment ago");
        assert_eq!((&superblock.uuid, superblock.sealed), (&identity.uuid, identity.sealed));
        assert_eq!((&superblock.label, superblock.size), (&glance.label, glance.size));
        assert_eq!(superblock.errors, glance.errors);
        assert!(superblock.clean || glance.check.is_some());
    } else {
        assert!(superblock.is_err(), "{superblock:?}");
    }
}

fn path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burnonce::filesystem::{Owner, Superblock, ext};

    fn owner_of(data: &[u8]) -> Superblock {
        let file = crate::disk::memory_file().unwrap();
        file.write_all_at(&device(data), 0).unwrap();
        ext(&path(&file)).unwrap()
    }

    /// If a seed were refused, a fuzzer would begin in front of a closed door.
    #[test]
    fn the_seeds_are_file_systems() {
        for data in [&include_bytes!("../corpus/owner/upper")[..], include_bytes!("../corpus/owner/upper-checksums")] {
            let found = owner_of(data);
            assert!(
                matches!(&found.owner, Owner::Ours { state, used: true } if state.contains("made_for")),
                "{found:?}"
            );
        }
        assert_eq!(owner_of(include_bytes!("../corpus/owner/empty")).owner, Owner::Empty);
        let Owner::Files { names } = owner_of(include_bytes!("../corpus/owner/files")).owner else {
            panic!("no files")
        };
        assert_eq!(names, ["fstab", "var"]);
    }

    #[test]
    fn the_checksum_is_the_one_of_ext4() {
        let data = include_bytes!("../corpus/superblock/checksums");
        let sum = u32::from_le_bytes(data[CHECKSUM..].try_into().unwrap());
        assert_eq!(crc32c(&data[..CHECKSUM]), sum);
    }
}
