//! The GUID partition table (UEFI 2.10 §5.3), parsed and serialised by gptman, with the guards that it leaves to its caller.
//!
//! The *primary* copy counts, as it does for the kernel. A sound backup that says something else is what a cut between the two
//! writes leaves behind, ours or another tool's: it is taken for damaged (`backup_sound` false) and rewritten with the next
//! change. Where the primary copy is damaged, the backup is looked for at the one place where the protective MBR says that the
//! disk ended, since a backup elsewhere may be from an earlier life of the card.

use super::mbr::Protective;
use super::publish::Patch;
use super::{Change, Defect, Extent, Partition, Scheme, Table, judge, read_at};
use crate::units::{Lba, Sectors};
use anyhow::{Context, Result, ensure};
use gptman::{GPTHeader, GPTPartitionEntry};
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};

/// The type "Linux filesystem", as [`Partition::kind`] has it.
pub const LINUX: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
/// What every header begins with.
pub(super) const SIGNATURE: &[u8] = b"EFI PART";
/// The name of the partition that burnonce makes.
pub const NAME: &str = "burnonce";

/// The same as the disk has it: the first three fields little endian.
const LINUX_GUID: [u8; 16] =
    [0xAF, 0x3D, 0xC6, 0x0F, 0x83, 0x84, 0x72, 0x47, 0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4];

const PRIMARY: u64 = 1;
/// Where the primary array lies on every disk but those whose loader needs the place.
const ARRAY: u64 = 2;
const ENTRY: usize = 128;
/// More entries than this are refused; real tables have 4 to 128.
const MOST_ENTRIES: u32 = 1024;

/// One sound copy of a table.
struct Copy {
    header: GPTHeader,
    entries: Vec<GPTPartitionEntry>,
    /// The array's bytes.
    array: Vec<u8>,
}

/// Why a copy is of no use.
enum Fault {
    /// No header there at all.
    Absent(String),
    /// A header, but not a sound one.
    Damaged(String),
    /// Sound, and not to be touched.
    Unsupported(String),
}

/// A sound table and what is needed to write it back.
pub(super) struct Gpt {
    pub(super) table: Table,
    /// The copy that counts: the primary where that is sound.
    copy: Copy,
}

/// The sectors that an array of `entries` takes.
fn array_sectors(entries: u32, sector_size: u32) -> u64 {
    (u64::from(entries) * ENTRY as u64).div_ceil(u64::from(sector_size))
}

/// Reads the copy whose header is at sector `at`. Every number is checked before it is used.
fn copy(
    disk: &mut (impl Read + Seek),
    at: u64,
    sector_size: u32,
    disk_sectors: u64,
) -> io::Result<Result<Copy, Fault>> {
    if at >= disk_sectors {
        return Ok(Err(Fault::Absent(format!(
            "it would be at sector {at}, and the card ends at {}",
            disk_sectors - 1
        ))));
    }
    let unreadable =
        |sector: u64, error: io::Error| Fault::Damaged(format!("sector {sector} cannot be read ({error})"));
    let sector = match read_at(disk, at * u64::from(sector_size), sector_size as usize) {
        Ok(sector) => sector,
        Err(error) => return Ok(Err(unreadable(at, error))),
    };
    if !sector.starts_with(SIGNATURE) {
        return Ok(Err(Fault::Absent(format!("there is no header at sector {at}"))));
    }
    let header = match GPTHeader::read_from(&mut Cursor::new(sector)) {
        Ok(header) => header,
        Err(error) => return Ok(Err(Fault::Damaged(format!("the header at sector {at} is not sound: {error}")))),
    };
    if let Err(fault) = possible(&header, at, sector_size, disk_sectors) {
        return Ok(Err(fault));
    }
    let offset = header.partition_entry_lba * u64::from(sector_size);
    let array = match read_at(disk, offset, header.number_of_partition_entries as usize * ENTRY) {
        Ok(array) => array,
        Err(error) => return Ok(Err(unreadable(header.partition_entry_lba, error))),
    };
    // gptman reads `size_of` its own structure for each entry, which is more than the entry: room behind the last one.
    let mut bytes = array.clone();
    bytes.resize(array.len() + size_of::<GPTPartitionEntry>(), 0);
    let mut window = Window { offset, bytes: Cursor::new(bytes) };
    Ok(match header.read_partitions(&mut window, u64::from(sector_size)) {
        Ok(entries) => Ok(Copy { header, entries, array }),
        Err(error) => Err(Fault::Damaged(format!("the entries of the header at sector {at} are not sound: {error}"))),
    })
}

/// Whether a header with the right checksum, read at sector `at`, is one that can be worked with.
fn possible(header: &GPTHeader, at: u64, sector_size: u32, disk_sectors: u64) -> Result<(), Fault> {
    if header.primary_lba != at {
        let place = header.primary_lba;
        return Err(Fault::Damaged(format!("the header at sector {at} says that it belongs to sector {place}")));
    }
    if at != PRIMARY && header.backup_lba != PRIMARY {
        let other = header.backup_lba;
        return Err(Fault::Damaged(format!("the header at sector {at} belongs to a primary one at sector {other}")));
    }
    if header.size_of_partition_entry as usize != ENTRY {
        let size = header.size_of_partition_entry;
        return Err(Fault::Unsupported(format!("GPT entries of {size} bytes instead of {ENTRY}")));
    }
    let count = header.number_of_partition_entries;
    if !(1..=MOST_ENTRIES).contains(&count) {
        return Err(Fault::Unsupported(format!("a GPT of {count} entries (1 to {MOST_ENTRIES} are handled)")));
    }
    let array = header.partition_entry_lba;
    if at == PRIMARY && array != ARRAY {
        return Err(Fault::Unsupported(format!(
            "a GPT whose entries start at sector {array} instead of {ARRAY} (a boot loader may lie between)"
        )));
    }
    match array.checked_add(array_sectors(count, sector_size)) {
        Some(end) if array >= ARRAY && end <= disk_sectors => Ok(()),
        _ => Err(Fault::Damaged(format!("the header at sector {at} puts its entries at sector {array}, off the card"))),
    }
}

/// Reads and judges a GPT behind a protective MBR. Reads only.
///
/// # Errors
/// `Err` is an I/O error; a table that must be left alone is `Ok(Err(defect))`.
pub(super) fn read(
    disk: &mut (impl Read + Seek),
    sector_size: u32,
    disk_sectors: u64,
    protective: &Protective,
) -> io::Result<Result<Gpt, Defect>> {
    let end = disk_sectors - 1;
    match copy(disk, PRIMARY, sector_size, disk_sectors)? {
        Ok(primary) => {
            let at = primary.header.backup_lba;
            let backup_sound = match copy(disk, at, sector_size, disk_sectors)? {
                Ok(backup) if at != PRIMARY => same(&primary, &backup),
                _ => false,
            };
            Ok(judged(primary, sector_size, disk_sectors, [true, backup_sound, at == end]))
        }
        Err(Fault::Unsupported(what)) => Ok(Err(Defect::Unsupported { what })),
        Err(fault) => from_backup(disk, sector_size, disk_sectors, protective, fault),
    }
}

/// Whether two sound copies are of one table.
fn same(primary: &Copy, backup: &Copy) -> bool {
    let (p, b) = (&primary.header, &backup.header);
    p.disk_guid == b.disk_guid
        && p.first_usable_lba == b.first_usable_lba
        && p.last_usable_lba == b.last_usable_lba
        && primary.array == backup.array
}

/// The table by its backup, where the primary copy has the fault `primary`.
fn from_backup(
    disk: &mut (impl Read + Seek),
    sector_size: u32,
    disk_sectors: u64,
    protective: &Protective,
    primary: Fault,
) -> io::Result<Result<Gpt, Defect>> {
    let end = disk_sectors - 1;
    // A length that reaches the end or beyond, or the "does not fit" of all ones, leaves the end alone as the place.
    let at = u64::from(protective.length).min(end);
    let backup = match copy(disk, at, sector_size, disk_sectors)? {
        Ok(backup) if at != PRIMARY => backup,
        Err(Fault::Unsupported(what)) => return Ok(Err(Defect::Unsupported { what })),
        Ok(_) => return Ok(Err(Defect::ProtectiveWithoutGpt)),
        Err(fault) => {
            let elsewhere = at != end && copy(disk, end, sector_size, disk_sectors)?.is_ok();
            return Ok(Err(torn(primary, fault, elsewhere.then_some(end))));
        }
    };
    let place = read_at(disk, ARRAY * u64::from(sector_size), backup.array.len())?;
    let array_end = ARRAY + array_sectors(backup.header.number_of_partition_entries, sector_size);
    if backup.header.first_usable_lba != array_end && !is_remains(&place, &backup.array) {
        let what = "a GPT whose primary copy is damaged, with something else than its entries in the sectors from 2 on \
                    (a boot loader may lie there); `gdisk` can rebuild the primary copy from the backup";
        return Ok(Err(Defect::Unsupported { what: what.to_owned() }));
    }
    Ok(judged(backup, sector_size, disk_sectors, [false, true, at == end]))
}

/// The defect of a table with no sound copy. `elsewhere`: a sound header in a place that is not trusted.
fn torn(primary: Fault, backup: Fault, elsewhere: Option<u64>) -> Defect {
    let text = |fault: Fault| match fault {
        Fault::Absent(text) | Fault::Damaged(text) | Fault::Unsupported(text) => text,
    };
    match (&primary, &backup, elsewhere) {
        (Fault::Absent(_), Fault::Absent(_), None) => Defect::ProtectiveWithoutGpt,
        _ => {
            let mut backup = text(backup);
            if let Some(end) = elsewhere {
                backup.push_str(&format!(
                    " (a sound one is at sector {end}, the card's end, but the first sector says that the table's disk ended \
                     before it, so it may be from an earlier life of the card)"
                ));
            }
            Defect::TornGpt { primary: text(primary), backup }
        }
    }
}

/// Whether `place`, where a damaged primary array was, holds nothing but that array's remains: every entry but one (it may have
/// been in change) is the backup's or zero.
fn is_remains(place: &[u8], array: &[u8]) -> bool {
    let foreign = |(here, there): &(&[u8], &[u8])| here != there && here.iter().any(|&byte| byte != 0);
    place.chunks(ENTRY).zip(array.chunks(ENTRY)).filter(foreign).count() <= 1
}

/// The table of a sound copy, with the flags `[primary_sound, backup_sound, backup_at_end]`.
fn judged(copy: Copy, sector_size: u32, disk_sectors: u64, flags: [bool; 3]) -> Result<Gpt, Defect> {
    let slots = copy.header.number_of_partition_entries;
    let array = array_sectors(slots, sector_size);
    let first_usable = copy.header.first_usable_lba;
    // Before the backup's array and header.
    let last_usable =
        disk_sectors.checked_sub(array + 2).filter(|last| first_usable <= *last && first_usable >= ARRAY + array);
    let Some(last_usable) = last_usable else {
        let what = format!("a GPT whose first usable sector is {first_usable}, on a card of {disk_sectors} sectors");
        return Err(Defect::Unsupported { what });
    };
    let mut extents = Vec::new();
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(&copy.entries).filter(|(_, entry)| entry.is_used()) {
        let (start, last) = (entry.starting_lba, entry.ending_lba);
        if start != 0 && start <= last && start < first_usable {
            let what =
                format!("partition {number} starts at sector {start}, before the first usable one ({first_usable})");
            return Err(Defect::Unsupported { what });
        }
        extents.push(Extent { number, start, last });
        let name = entry.partition_name.as_str();
        partitions.push(Partition {
            number,
            start: Lba(start),
            sectors: Sectors(last.wrapping_sub(start).wrapping_add(1)),
            kind: guid(&entry.partition_type_guid),
            name: (!name.is_empty()).then(|| name.to_owned()),
        });
    }
    judge(&extents, last_usable, disk_sectors)?;
    let [primary_sound, backup_sound, backup_at_end] = flags;
    let disk_guid = guid(&copy.header.disk_guid);
    let table = Table {
        scheme: Scheme::Gpt { disk_guid, primary_sound, backup_sound, backup_at_end },
        sector_size,
        first_usable: Lba(first_usable),
        last_usable: Lba(last_usable),
        slots,
        partitions,
    };
    Ok(Gpt { table, copy })
}

/// A GUID as text in lower case; the disk has its first three fields little endian.
pub(super) fn guid(bytes: &[u8; 16]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::with_capacity(36);
    for (i, at) in ORDER.into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{:02x}", bytes[at]));
    }
    text
}

/// A random GUID (RFC 9562, version 4) as the disk has it.
fn random_guid() -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("reading /dev/urandom")?;
    bytes[7] = bytes[7] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    Ok(bytes)
}

/// What must be written, in this order and with a flush after each, to make `change`: whatever part of it a cut leaves done, one
/// sound copy is there, where [`read`] looks for it.
///
/// Reads the disk, writes nothing. `sector` is the first sector, `protective` what it announces.
pub(super) fn patches(
    disk: &mut (impl Read + Seek),
    gpt: &Gpt,
    change: &Change,
    (sector, protective): (&[u8], &Protective),
    disk_sectors: u64,
) -> Result<Vec<Patch>> {
    let size = gpt.table.sector_size;
    let number = change.number();
    ensure!((1..=gpt.table.slots).contains(&number), "the table has no slot {number}");
    let mut entries = gpt.copy.entries.clone();
    let entry = &mut entries[number as usize - 1];
    match change {
        Change::Remove { .. } => *entry = GPTPartitionEntry::empty(),
        Change::Add(new) => {
            *entry = GPTPartitionEntry {
                partition_type_guid: LINUX_GUID,
                unique_partition_guid: random_guid()?,
                starting_lba: new.start.0,
                ending_lba: new.start.0 + new.sectors.0 - 1,
                attribute_bits: 0,
                partition_name: NAME.into(),
            };
        }
        Change::Grow { sectors, .. } => entry.ending_lba = entry.starting_lba + sectors.0 - 1,
    }

    let array = array_sectors(gpt.table.slots, size);
    let end = disk_sectors - 1;
    let mut header = gpt.copy.header.clone();
    header.last_usable_lba = gpt.table.last_usable.0;
    (header.primary_lba, header.backup_lba, header.partition_entry_lba) = (PRIMARY, end, ARRAY);
    let primary =
        area(disk, &mut header, &entries, (PRIMARY, array + 1), size).context("preparing the primary copy")?;
    (header.primary_lba, header.backup_lba, header.partition_entry_lba) = (end, PRIMARY, end - array);
    let backup = area(disk, &mut header, &entries, (end - array, array + 1), size).context("preparing the backup")?;

    let mut first = sector.to_vec();
    let length = u32::try_from(end).unwrap_or(u32::MAX);
    first[protective.length_at..protective.length_at + 4].copy_from_slice(&length.to_le_bytes());
    let first = Patch { offset: 0, old: sector.to_vec(), new: first };

    // The protective MBR says where the backup is. It changes while the primary copy is sound: nobody asks it then.
    Ok(match gpt.table.scheme {
        Scheme::Gpt { primary_sound: false, .. } => vec![primary, backup, first],
        _ => vec![backup, first, primary],
    })
}

/// The patch of the `length` sectors from `start` on, in which `header` and `entries` lie.
fn area(
    disk: &mut (impl Read + Seek),
    header: &mut GPTHeader,
    entries: &[GPTPartitionEntry],
    (start, length): (u64, u64),
    sector_size: u32,
) -> Result<Patch> {
    let offset = start * u64::from(sector_size);
    let old = read_at(disk, offset, (length * u64::from(sector_size)) as usize)?;
    let mut bytes = old.clone();
    let at = ((header.primary_lba - start) * u64::from(sector_size)) as usize;
    // "The rest of the block must be zero" (§5.3.2).
    bytes[at..at + sector_size as usize].fill(0);
    let mut window = Window { offset, bytes: Cursor::new(bytes) };
    header.write_into(&mut window, u64::from(sector_size), entries)?;
    Ok(Patch { offset, old, new: window.bytes.into_inner() })
}

/// A part of the disk in memory, addressed as on the disk: gptman reads and writes here, and never the disk itself.
struct Window {
    offset: u64,
    bytes: Cursor<Vec<u8>>,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(buffer)
    }
}

impl Write for Window {
    /// Refuses to grow.
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let room = self.bytes.get_ref().len() as u64;
        if self.bytes.position().saturating_add(buffer.len() as u64) > room {
            return Err(io::Error::other("a write past the table's area"));
        }
        self.bytes.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(at) = to else { return Err(io::Error::other("only absolute positions are known here")) };
        let at = at.checked_sub(self.offset).ok_or_else(|| io::Error::other("a position before the table's area"))?;
        self.bytes.set_position(at);
        Ok(at + self.offset)
    }
}
