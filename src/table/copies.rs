//! Disks that are copies of others.

use super::{Defect, Table, gpt, mbr, number_at, read, read_at};
use anyhow::{Context, Result};
use std::io::{Read, Seek};

/// Reads the MBR of a disk that is too short for it, as it would be on one that is just long enough: what a copy onto a smaller card
/// leaves. `None`: no entry reaches past the end, or the table must be left alone all the same. (Linux takes a GPT that reaches past
/// the end for no GPT: such a copy does not boot.)
///
/// # Errors
/// As [`read`].
pub fn read_cut_short(disk: &mut (impl Read + Seek), sector_size: u32, disk_sectors: u64) -> Result<Option<Table>> {
    match read(disk, sector_size, disk_sectors)? {
        Err(Defect::OutOfDisk { .. }) => {}
        _ => return Ok(None),
    }
    let sector = read_at(disk, 0, sector_size as usize).context("reading the disk's first sector")?;
    match mbr::classify(&sector) {
        Ok(mbr::Format::Dos) => Ok(mbr::parse(&sector, sector_size, mbr::reach(&sector).max(disk_sectors)).ok()),
        _ => Ok(None),
    }
}

/// What tells one disk from another: the disk signature or the GPT's disk GUID, as text. A copy has that of its original. `None` where
/// there is no table, or it has none.
///
/// # Errors
/// The disk cannot be read.
pub fn identity(disk: &mut (impl Read + Seek), sector_size: u32) -> Result<Option<String>> {
    let sector = read_at(disk, 0, sector_size as usize).context("reading the disk's first sector")?;
    Ok(match mbr::classify(&sector) {
        Ok(mbr::Format::Dos) => Some(number_at::<4>(&sector, 440)).filter(|&id| id != 0).map(|id| format!("{id:08x}")),
        Ok(mbr::Format::Protective(_)) => {
            let header = read_at(disk, u64::from(sector_size), sector_size as usize).context("reading the GPT")?;
            let guid = header[56..72].try_into().ok().filter(|_| header.starts_with(gpt::SIGNATURE));
            guid.map(gpt::guid)
        }
        Err(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Lba;
    use std::io::Cursor;

    const SECTOR: u32 = 512;

    /// An MBR with these `(start, sectors)` on a disk of `sectors`.
    fn disk(entries: &[(u32, u32)], sectors: usize) -> Cursor<Vec<u8>> {
        let mut bytes = vec![0; sectors * SECTOR as usize];
        bytes[440..444].copy_from_slice(&[0x78, 0x56, 0x34, 0x12]);
        for (i, (start, length)) in entries.iter().enumerate() {
            let entry = &mut bytes[446 + 16 * i..][..16];
            entry[4] = 0x83;
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..16].copy_from_slice(&length.to_le_bytes());
        }
        bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
        Cursor::new(bytes)
    }

    #[test]
    fn a_table_that_was_cut_short_is_that_of_a_disk_that_is_just_long_enough() {
        let entries = [(8, 8), (64, 1000)];
        let found = read_cut_short(&mut disk(&entries, 100), SECTOR, 100).unwrap().unwrap();
        assert_eq!(Ok(&found), read(&mut disk(&entries, 1064), SECTOR, 1064).unwrap().as_ref());
        assert_eq!(found.last_usable, Lba(1063));
        // One that fits, one whose entries overlap, and one that is none.
        assert_eq!(read_cut_short(&mut disk(&entries, 1064), SECTOR, 1064).unwrap(), None);
        assert_eq!(read_cut_short(&mut disk(&[(8, 80), (64, 1000)], 100), SECTOR, 100).unwrap(), None);
        assert_eq!(read_cut_short(&mut disk(&[(0, 8), (64, 1000)], 100), SECTOR, 100).unwrap(), None);
        assert_eq!(read_cut_short(&mut Cursor::new(vec![0; 51_200]), SECTOR, 100).unwrap(), None);
        // No disk with an MBR reaches so far.
        assert_eq!(read_cut_short(&mut disk(&[(8, 8), (64, u32::MAX)], 100), SECTOR, 100).unwrap(), None);
    }

    #[test]
    fn a_copy_has_the_identity_of_its_original() {
        assert_eq!(identity(&mut disk(&[(8, 8)], 100), SECTOR).unwrap().as_deref(), Some("12345678"));
        let mut without = disk(&[(8, 8)], 100);
        without.get_mut()[440..444].fill(0);
        assert_eq!(identity(&mut without, SECTOR).unwrap(), None);
        assert_eq!(identity(&mut Cursor::new(vec![0; 51_200]), SECTOR).unwrap(), None);
        assert!(identity(&mut Cursor::new(vec![0; 100]), SECTOR).is_err());
        let mut disk = Cursor::new(vec![0; 1 << 20]);
        gptman::GPT::new_from(&mut disk, 512, [7; 16]).unwrap().write_into(&mut disk).unwrap();
        gptman::GPT::write_protective_mbr_into(&mut disk, 512).unwrap();
        let Ok(Ok(table)) = read(&mut disk, SECTOR, 2048) else { panic!("no GPT") };
        let crate::table::Scheme::Gpt { disk_guid, .. } = table.scheme else { panic!("no GPT") };
        assert_eq!(identity(&mut disk, SECTOR).unwrap(), Some(disk_guid));
    }
}
