//! The readers of partition tables, and the one writer.

use crate::disk::{Disk, Wish};
use crate::machine::invariants::possible;
use burnonce::plan::free_regions;
use burnonce::table::{self, Change, NewPartition, Partition, Table};
use burnonce::units::{Lba, Sectors};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Any bytes: most of what gets far is an MBR, for no checksum is in its way.
pub fn table(data: &[u8]) {
    accepted(Disk::new(data));
}

/// A GPT whose checksums are right, in all places where a header may be (the flags take one out).
pub fn gpt(data: &[u8]) {
    let mut disk = Disk::new(data);
    repair(&mut disk);
    accepted(disk);
}

fn accepted(mut disk: Disk) -> Option<Table> {
    let (size, sectors) = (disk.sector_size, disk.sectors);
    let read = table::read(&mut disk, size, sectors);
    // Only a disk that does not exist gives an error: this one can be read everywhere.
    assert!(read.is_ok() || disk.sectors > u64::MAX / u64::from(disk.sector_size), "{read:?}");
    match read.ok()? {
        Err(defect) => {
            assert!(!defect.to_string().is_empty());
            None
        }
        Ok(table) => {
            judge(&table, &disk);
            changes(&table, disk.wish).iter().for_each(|change| check(&table, change, &disk));
            Some(table)
        }
    }
}

fn judge(table: &Table, disk: &Disk) {
    assert!(possible(table), "{table:?}");
    assert!(table.last_usable.0 < disk.sectors, "{table:?}");
    assert_eq!(table.sector_size, disk.sector_size);
}

/// The change that is wished for, and those that are most likely possible: into each free region, away with each partition, each longer.
fn changes(table: &Table, wish: Wish) -> Vec<Change> {
    const FEW: usize = 6;
    let Wish { kind, number, start, sectors } = wish;
    let mut changes = vec![match kind % 3 {
        0 => Change::Add(NewPartition { number, start: Lba(start), sectors: Sectors(sectors) }),
        1 => Change::Remove { number },
        _ => Change::Grow { number, sectors: Sectors(sectors) },
    }];
    let free = (1..=table.slots).find(|n| table.partitions.iter().all(|p| p.number != *n));
    for (first, last) in free_regions(table).into_iter().take(FEW) {
        let start = first.align_up(Sectors(u64::from(4096 / table.sector_size))).filter(|start| *start <= last);
        let new = |(number, start): (u32, Lba)| NewPartition { number, start, sectors: Sectors(last.0 - start.0 + 1) };
        changes.extend(free.zip(start).map(|place| Change::Add(new(place))));
    }
    for &Partition { number, start, sectors, .. } in table.partitions.iter().take(FEW) {
        changes.push(Change::Remove { number });
        changes.push(Change::Grow { number, sectors: Sectors(sectors.0 + 1) });
        changes.push(Change::Grow { number, sectors: Sectors(table.last_usable.0.saturating_sub(start.0) + 1) });
    }
    changes
}

/// A change that is allowed changes one entry, as it says.
fn check(before: &Table, change: &Change, disk: &Disk) {
    let after = match table::change(before, change) {
        Ok(after) => after,
        Err(why) => return assert!(!format!("{why:#}").is_empty()),
    };
    judge(&after, disk);
    let others = |table: &Table| -> Vec<Partition> {
        table.partitions.iter().filter(|p| p.number != change.number()).cloned().collect()
    };
    assert_eq!(others(before), others(&after), "{change:?}");
    let entry = |table: &Table| table.partitions.iter().find(|p| p.number == change.number()).cloned();
    match (change, entry(before), entry(&after)) {
        (Change::Add(new), None, Some(entry)) => assert_eq!((new.start, new.sectors), (entry.start, entry.sectors)),
        (Change::Remove { .. }, Some(_), None) => {}
        (Change::Grow { sectors, .. }, Some(old), Some(entry)) => {
            assert!(old.sectors < entry.sectors && entry.sectors == *sectors);
            assert_eq!(Partition { sectors: old.sectors, ..entry }, old);
        }
        (_, before, after) => panic!("{change:?} made {after:?} of {before:?}"),
    }
}

/// Writes one of the changes to the disk: what is read then is what was planned, and nothing but the table is different. One that is
/// refused leaves the disk as it is.
pub fn publish(data: &[u8]) {
    let mut disk = Disk::new(data);
    repair(&mut disk);
    let Some(before) = accepted(disk.clone()) else { return };
    let Some(mut file) = disk.to_file().expect("a file in memory") else { return };
    let changes = changes(&before, disk.wish);
    let change = &changes[usize::from(disk.wish.kind) / 3 % changes.len()];
    let (size, sectors) = (disk.sector_size, disk.sectors);
    let found = |file: &mut File| table::read(file, size, sectors).expect("a file can be read").expect("a table");
    assert_eq!(found(&mut file), before, "the file is not the disk");
    match (table::publish(&mut file, &before, change, size, sectors), table::change(&before, change)) {
        (Ok(()), Ok(after)) => assert_eq!(found(&mut file), after, "{change:?}"),
        (Ok(()), Err(why)) => panic!("{change:?} was written, though {why:#}"),
        (Err(why), _) => assert_eq!(found(&mut file), before, "{change:?} was refused ({why:#})"),
    }
    // Nothing that lies in a partition is written, whatever else there is.
    for partition in &before.partitions {
        let (from, length) = (partition.start.to_offset(size), partition.sectors.to_bytes(size).0);
        for offset in [from, from + length.saturating_sub(4096)] {
            let mut now = vec![0; length.min(4096) as usize];
            file.read_exact_at(&mut now, offset).expect("a partition lies on the disk");
            assert_eq!(now, disk.bytes_at(offset, now.len()), "partition {} was written to", partition.number);
        }
    }
}

/// Puts right the checksums of the GPT headers in the four places where one is looked for; flag by flag one is left as it is.
fn repair(disk: &mut Disk) {
    const SIGNATURE: &[u8] = b"EFI PART";
    let size = u64::from(disk.sector_size);
    let long = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let primary = disk.bytes_at(size, 92);
    let first = disk.bytes_at(446, 16);
    let protective = u32::from_le_bytes(first[12..].try_into().expect("four bytes"));
    let places = [1, disk.sectors.saturating_sub(1), long(&primary, 32), u64::from(protective)];
    for (flag, sector) in (1..).zip(places) {
        let Some(offset) = sector.checked_mul(size).filter(|_| disk.flags & 1 << flag == 0) else { continue };
        let mut header = disk.bytes_at(offset, 92);
        if !header.starts_with(SIGNATURE) {
            continue;
        }
        let entries = u32::from_le_bytes(header[80..84].try_into().expect("four bytes")).min(1024);
        let array = disk.bytes_at(long(&header, 72).saturating_mul(size), entries as usize * 128);
        header[88..92].copy_from_slice(&crc32fast::hash(&array).to_le_bytes());
        header[16..20].fill(0);
        let sum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        disk.write(offset, header);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burnonce::table::Scheme;

    fn of(data: &[u8], sound: impl Fn(&mut Disk)) -> Option<Table> {
        let mut disk = Disk::new(data);
        sound(&mut disk);
        accepted(disk)
    }

    /// If a seed were refused, a fuzzer would begin in front of a closed door.
    #[test]
    fn the_seeds_are_tables() {
        let mbr = of(include_bytes!("../corpus/table/mbr"), |_| {}).unwrap();
        assert_eq!((mbr.slots, mbr.partitions.len()), (4, 2));
        let gpt = of(include_bytes!("../corpus/gpt/gpt"), repair).unwrap();
        assert_eq!((gpt.slots, gpt.partitions.len()), (128, 2));
        let backup = of(include_bytes!("../corpus/gpt/gpt-without-primary"), repair).unwrap();
        assert!(matches!(backup.scheme, Scheme::Gpt { primary_sound: false, .. }), "{backup:?}");
    }

    #[test]
    fn a_gpt_that_was_changed_is_repaired() {
        let mut data = include_bytes!("../corpus/gpt/gpt").to_vec();
        let at = data.windows(8).position(|bytes| bytes == b"EFI PART").unwrap();
        // A byte of the disk's GUID.
        data[at + 60] ^= 1;
        assert!(matches!(of(&data, |_| {}).unwrap().scheme, Scheme::Gpt { primary_sound: false, .. }));
        assert!(matches!(of(&data, repair).unwrap().scheme, Scheme::Gpt { primary_sound: true, .. }));
    }
}
