//! A boot partition that was not unmounted, as of a card out of a node that lost its power. What Linux and Windows write then is one bit;
//! whether more came of it, fsck.fat tells.

use super::apply;
use super::check::{self, Checked};
use crate::inspect::Inspection;
use crate::inspect::fat::Fat;
use anyhow::{Context, Result, anyhow, bail};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Place and length of the boot partition, in bytes, where there is one of its own and it was not unmounted.
///
/// # Errors
/// It cannot be read.
pub fn boot(file: &File, seen: &Inspection) -> Result<Option<(u64, u64)>> {
    let Some(found) = seen.findings.boot.as_ref().filter(|boot| boot.partition != seen.root.partition) else {
        return Ok(None);
    };
    let (start, length) = apply::place(seen, found.partition)?;
    let is_dirty =
        Fat::open(file, start, length).and_then(|fat| fat.is_dirty()).context("opening the boot partition")?;
    Ok(is_dirty.then_some((start, length)))
}

/// Notes in the FAT at this `place` of a copy of an image that it was unmounted, and has it checked. `image` is what its owner calls it.
///
/// # Errors
/// It has more damage, or there is nothing to check it with; it cannot be read or written. The copy is of no use then.
pub fn mend(file: &File, image: &str, place: (u64, u64)) -> Result<()> {
    let (start, length) = place;
    for (at, byte) in Fat::open(file, start, length)?.marks()? {
        file.write_all_at(&[byte], start + at).context("noting that the boot partition is in order")?;
    }
    match check::check_fat(file, start, length) {
        Ok(Checked::Sound) => Ok(()),
        Ok(Checked::LeftOut(program)) => bail!(
            "the boot partition of {image} was not unmounted, and {program}, which tells whether it is sound, is not installed; \
             install dosfstools, and run this again"
        ),
        // There was no room for what is checked, say.
        Err(error) if error.chain().any(|cause| cause.is::<io::Error>()) => Err(error),
        Err(error) => Err(anyhow!("{}", damaged(image, place, &error.to_string()))),
    }
}

/// What is done about one that has damage. Pure.
fn damaged(image: &str, (start, length): (u64, u64), found: &str) -> String {
    let (start, count, found) = (start / 512, length / 512, found.trim_end_matches('.'));
    format!(
        "{image}: its boot partition was not unmounted, and has damage that is not repaired unasked: {found}. Repair it in a copy, not packed: \
         `dd if=COPY of=boot.fat bs=512 skip={start} count={count}`, then `fsck.vfat -a boot.fat`, then \
         `dd if=boot.fat of=COPY bs=512 seek={start} conv=notrunc`; look at what was lost, and bake COPY"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Program;
    use crate::units::MIB;
    use std::fs;

    const START: u64 = MIB;

    /// A file with a FAT of this kind in it, and its length.
    fn fat(width: &str, length: u64) -> (File, u64) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fat");
        File::create(&path).unwrap().set_len(length).unwrap();
        Program::new("mkfs.fat").args(["-F", width, "-s", "1", path.to_str().unwrap()]).run().unwrap();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&fs::read(&path).unwrap(), START).unwrap();
        (file, length)
    }

    #[test]
    fn the_mark_alone_is_taken_away_wherever_it_is() {
        // Where the state is in the boot sector; where it is in the second entry of each table, and what it is there.
        for (width, length, state, in_tables) in
            [("12", MIB, 0x25, None), ("16", 16 * MIB, 0x25, Some((3, 0x7F))), ("32", 64 * MIB, 0x41, Some((7, 0xF7)))]
        {
            let (file, length) = fat(width, length);
            let place = (START, length);
            let dirty = || Fat::open(&file, START, length).unwrap().is_dirty().unwrap();
            let byte = |at: u64| {
                let mut byte = [0];
                file.read_exact_at(&mut byte, START + at).unwrap();
                byte[0]
            };
            assert!(!dirty(), "{width}");
            let state_before = byte(state);
            file.write_all_at(&[state_before | 1], START + state).unwrap();
            assert!(dirty(), "{width}");
            mend(&file, "a.img", place).unwrap();
            assert!(!dirty() && byte(state) == state_before, "{width}");
            let Some((at, mask)) = in_tables else { continue };
            let sector = |at: u64| u64::from(byte(at)) | u64::from(byte(at + 1)) << 8;
            let (reserved, table) = (sector(14), if width == "32" { sector(36) } else { sector(22) });
            let places = [reserved * 512 + at, (reserved + table) * 512 + at];
            let before = places.map(byte);
            places.iter().for_each(|at| file.write_all_at(&[byte(*at) & mask], START + at).unwrap());
            assert!(dirty(), "{width}");
            mend(&file, "a.img", place).unwrap();
            assert!(!dirty(), "{width}");
            assert_eq!(places.map(byte), before, "{width}");
        }
    }

    #[test]
    fn more_damage_is_told_with_commands() {
        let (file, length) = fat("16", 16 * MIB);
        file.write_all_at(&[1], START + 0x25).unwrap();
        // A cluster in use that belongs to nothing, in the first table.
        let mut sectors = [0; 2];
        file.read_exact_at(&mut sectors, START + 14).unwrap();
        let table = u64::from(u16::from_le_bytes(sectors)) * 512;
        file.write_all_at(&[0xFF, 0xFF], START + table + 2 * 100).unwrap();
        let error = mend(&file, "a.img", (START, length)).unwrap_err().to_string();
        assert!(error.starts_with("a.img: its boot partition was not unmounted, and has damage"), "{error}");
        assert!(error.contains("`dd if=COPY of=boot.fat bs=512 skip=2048 count=32768`"), "{error}");
        assert!(error.contains("FATs differ") && error.contains("seek=2048 conv=notrunc"), "{error}");
    }
}
