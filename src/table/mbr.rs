//! The DOS table ("MBR"): 64 bytes of the disk's first sector, read and changed by hand.
//!
//! Four entries of 16 bytes from byte 446 on: status (00 or 80), CHS of the first sector, type, CHS of the last, first sector
//! (32 bits), number of sectors (32 bits); 55 AA at byte 510. Little endian; sectors are logical ones (UEFI 2.10 §5.2.1).

use super::{Change, Defect, Extent, Partition, Scheme, Table, judge, number_at};
use crate::units::{Lba, Sectors};
use anyhow::{Context, Result, ensure};
use std::ops::Range;

/// The type of a Linux partition, as [`Partition::kind`] has it.
pub const LINUX: &str = "83";

const FIRST_ENTRY: usize = 446;
const ENTRY: usize = 16;
const SLOTS: u32 = 4;
const LINUX_TYPE: u8 = 0x83;
const PROTECTIVE: u8 = 0xEE;
const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];

/// What the first sector announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A table of its own.
    Dos,
    /// The one entry of a protective MBR.
    Protective(Protective),
}

/// The entry that keeps tools that know no GPT away from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protective {
    /// Where its 32-bit length lies in the sector, in bytes.
    pub length_at: usize,
    /// That length in sectors: the disk's, less one, as it was when the table was made; `u32::MAX` also where it did not fit.
    pub length: u32,
}

/// The bytes of slot `number` (from 1) in the first sector.
pub fn slot(number: u32) -> Range<usize> {
    let at = FIRST_ENTRY + (number as usize - 1) * ENTRY;
    at..at + ENTRY
}

/// Which format the first sector (512 bytes or more) announces. Pure.
///
/// # Errors
/// There is no table, or a hybrid one.
pub fn classify(sector: &[u8]) -> Result<Format, Defect> {
    let entries = || (1..=SLOTS).map(|number| (number, &sector[slot(number)]));
    if sector[510..512] != [0x55, 0xAA] || entries().any(|(_, e)| !matches!(e[0], 0 | 0x80)) || is_boot_sector(sector) {
        return Err(Defect::NoTable);
    }
    let Some((number, entry)) = entries().find(|(_, e)| e[4] == PROTECTIVE) else { return Ok(Format::Dos) };
    if entries().any(|(n, e)| n != number && (e[4] != 0 || number_at::<4>(e, 12) != 0)) {
        return Err(Defect::Hybrid);
    }
    let start = number_at::<4>(entry, 8);
    if start != 1 {
        // The kernel, too, sees a GPT only where this is 1.
        return Err(Defect::Unsupported {
            what: format!("a protective entry that starts at sector {start} instead of 1"),
        });
    }
    Ok(Format::Protective(Protective {
        length_at: slot(number).start + 12,
        length: u32::from_le_bytes([entry[12], entry[13], entry[14], entry[15]]),
    }))
}

/// Whether this is the boot sector of a file system on the whole disk: exFAT or NTFS by their name, FAT by its jump and a
/// BIOS parameter block in which every field is possible (Microsoft, "FAT: General Overview of On-Disk Format").
fn is_boot_sector(sector: &[u8]) -> bool {
    if matches!(&sector[3..11], b"EXFAT   " | b"NTFS    ") {
        return true;
    }
    let jump = (sector[0] == 0xEB && sector[2] == 0x90) || sector[0] == 0xE9;
    let sector_size = number_at::<2>(sector, 11);
    let per_cluster = sector[13];
    let reserved = number_at::<2>(sector, 14);
    let tables = sector[16];
    let media = sector[21];
    jump && sector_size.is_power_of_two()
        && (512..=4096).contains(&sector_size)
        && per_cluster.is_power_of_two()
        && reserved != 0
        && matches!(tables, 1 | 2)
        && (media == 0xF0 || media >= 0xF8)
}

/// Reads and judges the entries of a first sector that [`classify`] took for a DOS table. Pure.
///
/// # Errors
/// The table must be left alone.
pub fn parse(sector: &[u8], sector_size: u32, disk_sectors: u64) -> Result<Table, Defect> {
    let last_usable = disk_sectors.min(1 << 32).saturating_sub(1);
    let mut partitions = Vec::new();
    let mut extents = Vec::new();
    for number in 1..=SLOTS {
        let entry = &sector[slot(number)];
        let kind = entry[4];
        let (start, length) = (number_at::<4>(entry, 8), number_at::<4>(entry, 12));
        if kind == 0 && length == 0 {
            continue;
        }
        if kind == 0 {
            // Linux makes a partition of it, fdisk a free slot.
            let what =
                format!("entry {number} has {length} sectors but no type; delete it with `fdisk`, or give it a type");
            return Err(Defect::Unsupported { what });
        }
        if EXTENDED.contains(&kind) {
            return Err(Defect::Extended { number });
        }
        extents.push(Extent { number, start, last: (start + length).saturating_sub(1) });
        let kind = format!("{kind:02x}");
        partitions.push(Partition { number, start: Lba(start), sectors: Sectors(length), kind, name: None });
    }
    judge(&extents, last_usable, disk_sectors)?;
    let signature = number_at::<4>(sector, 440) as u32;
    Ok(Table {
        scheme: Scheme::Mbr { signature },
        sector_size,
        first_usable: Lba(1),
        last_usable: Lba(last_usable),
        slots: SLOTS,
        partitions,
    })
}

/// How many sectors a disk needs for every entry of a first sector that [`classify`] took for a DOS table. Pure.
pub fn reach(sector: &[u8]) -> u64 {
    let ends = (1..=SLOTS).map(|number| &sector[slot(number)]).map(|e| number_at::<4>(e, 8) + number_at::<4>(e, 12));
    ends.max().unwrap_or(0)
}

/// The first sector after `change`: the one slot's 16 bytes replaced. Pure.
///
/// # Errors
/// The partition does not fit 32 bits, or there is no such slot.
pub fn changed(sector: &[u8], change: &Change) -> Result<Vec<u8>> {
    let number = change.number();
    ensure!((1..=SLOTS).contains(&number), "an MBR has no slot {number}");
    let mut sector = sector.to_vec();
    let entry = &mut sector[slot(number)];
    match change {
        Change::Remove { .. } => entry.fill(0),
        Change::Add(new) => {
            let start = u32::try_from(new.start.0).context("an MBR counts sectors in 32 bits")?;
            let length = u32::try_from(new.sectors.0).context("an MBR counts sectors in 32 bits")?;
            entry.fill(0);
            // CHS FE FF FF, "see the 32-bit fields": what fdisk writes for everything past 8 GB.
            entry[1..4].copy_from_slice(&[0xFE, 0xFF, 0xFF]);
            entry[4] = LINUX_TYPE;
            entry[5..8].copy_from_slice(&[0xFE, 0xFF, 0xFF]);
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..16].copy_from_slice(&length.to_le_bytes());
        }
        Change::Grow { sectors, .. } => {
            let length = u32::try_from(sectors.0).context("an MBR counts sectors in 32 bits")?;
            entry[5..8].copy_from_slice(&[0xFE, 0xFF, 0xFF]);
            entry[12..16].copy_from_slice(&length.to_le_bytes());
        }
    }
    Ok(sector)
}
