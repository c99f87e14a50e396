//! Partition tables: read, judged, changed in one entry, written back.
//!
//! Reading and changing are pure; [`publish`] alone writes, and re-reads the card first.

use crate::units::{Lba, Sectors};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};

pub mod gpt;
pub mod mbr;

/// A partition table that passed every check of this module: entries inside the disk, none overlapping another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Which format it is, with what only that format has.
    pub scheme: Scheme,
    /// Bytes in a logical sector: 512 or 4096.
    pub sector_size: u32,
    /// First sector that a partition may use.
    pub first_usable: Lba,
    /// Last sector that a partition may use, on the disk as long as it is now (MBR: at most 2^32 - 1 sectors; GPT: before the
    /// backup header at the disk's real end, wherever the present backup lies).
    pub last_usable: Lba,
    /// How many slots the table has: 4, or GPT's entry count.
    pub slots: u32,
    /// The used entries, by slot number.
    pub partitions: Vec<Partition>,
}

/// What only one of the formats has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Scheme {
    /// A DOS table, one sector. `signature` is the disk signature, bytes 440..444; the PARTUUIDs derive from it.
    Mbr { signature: u32 },
    /// A GUID partition table. `disk_guid` as text; which of the two headers were sound; whether the backup is at the disk's end.
    Gpt { disk_guid: String, primary_sound: bool, backup_sound: bool, backup_at_end: bool },
}

/// One used entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Slot, from 1: the N of `mmcblk0pN`.
    pub number: u32,
    /// First sector.
    pub start: Lba,
    /// Length in sectors, never 0.
    pub sectors: Sectors,
    /// Type: `0c`, `83` (MBR, two hex digits) or a GUID in lower case (GPT).
    pub kind: String,
    /// GPT's partition name; `None` where it is empty, and on MBR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Partition {
    /// Last sector (inclusive).
    pub fn last(&self) -> Lba {
        Lba(self.start.0 + (self.sectors.0 - 1))
    }
}

/// Why a disk's table is left alone. The text of each is what the owner reads: what was found, where, what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "defect", rename_all = "kebab-case")]
pub enum Defect {
    /// No 0x55AA, or a FAT "superfloppy" boot sector.
    NoTable,
    /// A protective MBR, and no GPT where it should be.
    ProtectiveWithoutGpt,
    /// An entry 0xEE beside others.
    Hybrid,
    /// GPT: neither header is sound.
    TornGpt { primary: String, backup: String },
    /// MBR: an extended partition (05, 0f, 85) in this slot.
    Extended { number: u32 },
    /// Two entries share sectors.
    Overlap { first: u32, second: u32 },
    /// An entry reaches past the disk's end (or is empty, or starts at 0).
    OutOfDisk { number: u32, start: Lba, last: u64, disk_sectors: u64 },
    /// Valid, but not handled: a moved GPT array, unusual entry size, …
    Unsupported { what: String },
}

/// A partition that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPartition {
    pub number: u32,
    pub start: Lba,
    pub sectors: Sectors,
}

/// The one change that burnonce makes to a table at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// A Linux partition (MBR 0x83; GPT "Linux filesystem", name `burnonce`, fresh GUID) in a free slot.
    Add(NewPartition),
    /// Empty this slot.
    Remove { number: u32 },
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        todo!()
    }
}

/// Reads the table of a disk of `disk_sectors` logical sectors of `sector_size` bytes. Reads only.
///
/// # Errors
/// `Err` is an I/O error; a table that must be left alone is `Ok(Err(defect))`.
pub fn read(
    disk: &mut (impl Read + Seek),
    sector_size: u32,
    disk_sectors: u64,
) -> anyhow::Result<Result<Table, Defect>> {
    let _ = (disk, sector_size, disk_sectors);
    todo!()
}

/// The table after `change`, in memory. The check that [`publish`] makes before it writes: slot free, inside the
/// usable area, no overlap, every other entry untouched.
///
/// # Errors
/// A sentence that names the entry.
pub fn change(table: &Table, change: &Change) -> anyhow::Result<Table> {
    let _ = (table, change);
    todo!()
}

/// Writes `change` to the card: re-reads the table, requires it to be `before`, writes, flushes, reads it back.
/// MBR: one write of one sector, in which only the slot's 16 bytes differ. GPT: backup array and header, flush, primary
/// array and header, flush; the backup goes to the disk's real end; protective MBR's size follows.
///
/// # Errors
/// The table on the card is not `before` any more, a check failed (nothing was written then), or I/O failed.
pub fn publish(
    disk: &mut File,
    before: &Table,
    change: &Change,
    sector_size: u32,
    disk_sectors: u64,
) -> anyhow::Result<()> {
    let _ = (disk, before, change, sector_size, disk_sectors);
    todo!()
}
