//! Partition tables: read, judged, changed in one entry, written back.
//!
//! Reading and changing are pure; [`publish`] alone writes, and re-reads the card first.

use crate::units::{Bytes, Lba, Sectors};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

mod copies;
pub mod gpt;
pub mod mbr;
mod publish;

pub use copies::{identity, read_cut_short};
pub use publish::publish;

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
        Lba(self.start.0.saturating_add(self.sectors.0.saturating_sub(1)))
    }
}

/// The partitions that lie behind root, by slot. What lies before root and is not ours is the image's own (firmware, boot).
pub fn behind_root(table: &Table, root_number: u32) -> impl Iterator<Item = &Partition> {
    let root = table.partitions.iter().find(|p| p.number == root_number).map_or(Lba(0), |p| p.start);
    table.partitions.iter().filter(move |p| p.number != root_number && p.start > root)
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
    /// The first sector cannot be read.
    Unreadable { error: String },
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
    /// Make the partition in this slot longer: so many sectors altogether.
    Grow { number: u32, sectors: Sectors },
}

impl Change {
    /// The slot that changes.
    pub fn number(&self) -> u32 {
        match self {
            Change::Add(NewPartition { number, .. }) | Change::Remove { number } | Change::Grow { number, .. } => {
                *number
            }
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Defect::NoTable => f.write_str(
                "the card has no partition table: its first sector does not hold one (it may be formatted as one file system \
                 without partitions). burnonce left it alone; burn an image with a partition table onto the card",
            ),
            Defect::ProtectiveWithoutGpt => f.write_str(
                "the card's first sector announces a GPT, but none is where it should be, neither in sector 1 nor at the end. \
                 burnonce left it alone; burn the card again, or try to recover the table with `gdisk`",
            ),
            Defect::Hybrid => f.write_str(
                "the card has a hybrid table: the MBR in its first sector has an entry of type ee (GPT) beside others, so that \
                 there are two tables and it is not certain which one counts. burnonce left it alone; make it a plain GPT or a \
                 plain MBR (`gdisk`, expert menu), or burn an image with a plain table",
            ),
            Defect::TornGpt { primary, backup } => write!(
                f,
                "both copies of the card's GPT are damaged. The primary one: {primary}. The backup: {backup}. \
                 burnonce left it alone; burn the card again, or try to recover the table with `gdisk`",
            ),
            Defect::Extended { number } => write!(
                f,
                "partition {number} is an extended partition, a container of logical ones. burnonce does not change such \
                 tables and left the card alone; use an image whose partitions are all primary",
            ),
            Defect::Overlap { first, second } => write!(
                f,
                "partitions {first} and {second} share sectors, so writing to one may damage the other. burnonce left the \
                 card alone; save what you need and burn the card again",
            ),
            Defect::OutOfDisk { number, start: Lba(0), .. } => write!(
                f,
                "partition {number} starts at sector 0, where the partition table itself is. burnonce left the card alone; \
                 save what you need and burn the card again",
            ),
            Defect::OutOfDisk { number, start, last, .. } if *last < start.0 => write!(
                f,
                "partition {number} starts at sector {start} but has no sectors. burnonce left the card alone; \
                 delete that entry with `fdisk` or burn the card again",
            ),
            Defect::OutOfDisk { number, start, last, disk_sectors } if last < disk_sectors => write!(
                f,
                "partition {number} (sectors {start} to {last}) reaches into the last of the card's {disk_sectors} sectors, \
                 which the partition table cannot give away. The image was made for a slightly larger card. burnonce left it \
                 alone; burn the image onto a card that is large enough"
            ),
            Defect::OutOfDisk { number, start, last, disk_sectors } => write!(
                f,
                "partition {number} (sectors {start} to {last}) reaches past what this card can hold: it has {disk_sectors} \
                 sectors. The image was made for a larger card, or the copy was cut short. burnonce left it alone; burn the \
                 image onto a card that is large enough",
            ),
            Defect::Unreadable { error } => write!(
                f,
                "the card's first sector, where the partition table begins, cannot be read ({error}). The card is worn out or sits \
                 badly; clean its contacts, or use another card"
            ),
            Defect::Unsupported { what } => {
                write!(f, "the partition table has something that burnonce does not handle: {what}. burnonce left the card alone")
            }
        }
    }
}

/// Reads the table of a disk of `disk_sectors` logical sectors of `sector_size` bytes. Reads only.
///
/// What is on the disk is not trusted: any content gives a table, a defect or an error.
///
/// # Errors
/// `Err` is an I/O error, or a sector size that no disk has; a table that must be left alone is `Ok(Err(defect))`.
pub fn read(disk: &mut (impl Read + Seek), sector_size: u32, disk_sectors: u64) -> Result<Result<Table, Defect>> {
    ensure!(
        sector_size.is_power_of_two() && (512..=4096).contains(&sector_size),
        "a disk with sectors of {sector_size} bytes is not supported"
    );
    ensure!(
        disk_sectors.checked_mul(u64::from(sector_size)).is_some(),
        "a disk of {disk_sectors} sectors does not exist"
    );
    if disk_sectors == 0 {
        return Ok(Err(Defect::NoTable));
    }
    let sector = read_at(disk, 0, sector_size as usize).context("reading the disk's first sector")?;
    Ok(match mbr::classify(&sector) {
        Err(defect) => Err(defect),
        Ok(mbr::Format::Dos) => mbr::parse(&sector, sector_size, disk_sectors),
        Ok(mbr::Format::Protective(protective)) => {
            gpt::read(disk, sector_size, disk_sectors, &protective).context("reading the GPT")?.map(|gpt| gpt.table)
        }
    })
}

/// Reads `length` bytes at the byte `offset`.
fn read_at(disk: &mut (impl Read + Seek), offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    disk.seek(SeekFrom::Start(offset))?;
    disk.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The little-endian number of N bytes at `at`.
fn number_at<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + N].iter().rev().fold(0, |number, &byte| (number << 8) | u64::from(byte))
}

/// One entry as the disk has it, before it is judged: slot, first and last sector (less than the first: no sectors).
struct Extent {
    number: u32,
    start: u64,
    last: u64,
}

/// Judges entries: not empty, not at sector 0, not past `last_usable`, none on another.
fn judge(extents: &[Extent], last_usable: u64, disk_sectors: u64) -> Result<(), Defect> {
    for &Extent { number, start, last } in extents {
        if start == 0 || last < start || last > last_usable {
            return Err(Defect::OutOfDisk { number, start: Lba(start), last, disk_sectors });
        }
    }
    let mut by_start: Vec<&Extent> = extents.iter().collect();
    by_start.sort_by_key(|extent| extent.start);
    for pair in by_start.windows(2) {
        if pair[1].start <= pair[0].last {
            let (first, second) = (pair[0].number.min(pair[1].number), pair[0].number.max(pair[1].number));
            return Err(Defect::Overlap { first, second });
        }
    }
    Ok(())
}

/// A new partition starts at a multiple of this many bytes: ext4's block. Where to align for the card's sake is the plan's affair.
const ALIGNMENT: u64 = 4096;

/// The table after `change`, in memory: as [`read`] would find it after [`publish`], which makes this check before it writes.
/// Slot free, inside the usable area, aligned to 4 KiB, no overlap, every other entry untouched.
///
/// # Errors
/// A sentence that names the entry.
pub fn change(table: &Table, change: &Change) -> Result<Table> {
    let mut after = table.clone();
    if let Scheme::Gpt { primary_sound, backup_sound, backup_at_end, .. } = &mut after.scheme {
        (*primary_sound, *backup_sound, *backup_at_end) = (true, true, true);
    }
    match change {
        Change::Add(new) => {
            let partition = added(table, new)?;
            let place = after.partitions.partition_point(|p| p.number < new.number);
            after.partitions.insert(place, partition);
        }
        Change::Remove { number } => {
            after.partitions.retain(|p| p.number != *number);
            ensure!(after.partitions.len() < table.partitions.len(), "partition {number} is not in the table");
        }
        Change::Grow { number, sectors } => {
            let grown = grown(table, *number, *sectors)?;
            after.partitions.iter_mut().filter(|p| p.number == *number).for_each(|p| *p = grown.clone());
        }
    }
    Ok(after)
}

/// The entry `number` of `table` with this length.
fn grown(table: &Table, number: u32, sectors: Sectors) -> Result<Partition> {
    let found = table.partitions.iter().find(|p| p.number == number);
    let old = found.with_context(|| format!("partition {number} is not in the table"))?;
    ensure!(sectors > old.sectors, "partition {number} has {} sectors, and would not grow", old.sectors);
    let last = old.start.checked_add(Sectors(sectors.0 - 1));
    let last = last.with_context(|| format!("partition {number} would end beyond what 64 bits can count"))?;
    ensure!(
        last <= table.last_usable,
        "partition {number} (sectors {} to {last}) would leave the usable area (up to sector {})",
        old.start,
        table.last_usable
    );
    if let Some(other) = table.partitions.iter().find(|p| p.start > old.start && p.start <= last) {
        bail!(
            "partition {number} (sectors {} to {last}) would share sectors with partition {}",
            old.start,
            other.number
        );
    }
    Ok(Partition { sectors, ..old.clone() })
}

/// The entry that `new` becomes in `table`.
fn added(table: &Table, new: &NewPartition) -> Result<Partition> {
    let &NewPartition { number, start, sectors } = new;
    ensure!((1..=table.slots).contains(&number), "partition {number}: the table has slots 1 to {} only", table.slots);
    ensure!(table.partitions.iter().all(|p| p.number != number), "partition {number} is in the table already");
    let last = match sectors.0.checked_sub(1).map(|more| start.checked_add(Sectors(more))) {
        None => bail!("partition {number} would be empty"),
        Some(None) => bail!("partition {number} would end beyond what 64 bits can count"),
        Some(Some(last)) => last,
    };
    ensure!(
        start >= table.first_usable && last <= table.last_usable,
        "partition {number} (sectors {start} to {last}) would leave the usable area (sectors {} to {})",
        table.first_usable,
        table.last_usable
    );
    ensure!(
        start.to_offset(table.sector_size) % ALIGNMENT == 0,
        "partition {number} would start at sector {start}, which is no multiple of {}",
        Bytes(ALIGNMENT)
    );
    if let Some(other) = table.partitions.iter().find(|p| start <= p.last() && p.start <= last) {
        bail!("partition {number} (sectors {start} to {last}) would share sectors with partition {}", other.number);
    }
    let (kind, name) = match table.scheme {
        Scheme::Mbr { .. } => (mbr::LINUX.to_owned(), None),
        Scheme::Gpt { .. } => (gpt::LINUX.to_owned(), Some(gpt::NAME.to_owned())),
    };
    Ok(Partition { number, start, sectors, kind, name })
}

#[cfg(test)]
mod tests;
