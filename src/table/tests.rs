//! Tables in memory: what is refused, what a cut leaves, what garbage does. `tests/disk.rs` has the real tools as judges.

use super::publish::{Patch, prepare};
use super::*;
use gptman::{GPT, GPTPartitionEntry};
use proptest::prelude::*;
use std::io::Cursor;

const SECTOR: u32 = 512;
/// Where the third partition of a GPT starts: after the second.
const FREE: u64 = 128;

type Memory = Cursor<Vec<u8>>;

fn sectors(disk: &Memory) -> u64 {
    disk.get_ref().len() as u64 / u64::from(SECTOR)
}

fn look(disk: &mut Memory) -> Result<Table, Defect> {
    let length = sectors(disk);
    read(disk, SECTOR, length).unwrap()
}

/// An MBR of 16 MiB with these `(type, start, sectors)`.
fn mbr_disk(entries: &[(u8, u32, u32)]) -> Memory {
    let mut bytes = vec![0; 16 << 20];
    bytes[440..444].copy_from_slice(&[0x78, 0x56, 0x34, 0x12]);
    for (i, (kind, start, length)) in entries.iter().enumerate() {
        let entry = &mut bytes[446 + 16 * i..][..16];
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..16].copy_from_slice(&length.to_le_bytes());
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
    Cursor::new(bytes)
}

/// A GPT of two partitions, made on a disk of `made` KiB that has `now` KiB.
fn gpt_disk(made: usize, now: usize) -> Memory {
    let mut disk = Cursor::new(vec![0; made << 10]);
    let mut gpt = GPT::new_from(&mut disk, u64::from(SECTOR), [7; 16]).unwrap();
    for (number, start, last) in [(1, 64, 95), (2, 96, 127)] {
        gpt[number] = GPTPartitionEntry {
            partition_type_guid: [0xAB; 16],
            unique_partition_guid: [number as u8; 16],
            starting_lba: start,
            ending_lba: last,
            attribute_bits: 1 << 60,
            partition_name: "part".into(),
        };
    }
    gpt.write_into(&mut disk).unwrap();
    GPT::write_protective_mbr_into(&mut disk, u64::from(SECTOR)).unwrap();
    let mut bytes = disk.into_inner();
    bytes[..440].fill(0x90);
    bytes.resize(now << 10, 0);
    Cursor::new(bytes)
}

fn third(start: u64, last: u64) -> Change {
    Change::Add(NewPartition { number: 3, start: Lba(start), sectors: Sectors(last + 1 - start) })
}

/// A third partition in all that is free.
fn rest(table: &Table) -> Change {
    third(FREE, table.last_usable.0)
}

#[test]
fn an_mbr_is_read() {
    let table = look(&mut mbr_disk(&[(0x0C, 2048, 2048), (0, 0, 0), (0x83, 4096, 28_672)])).unwrap();
    let partition = |number, start, sectors, kind: &str| Partition {
        number,
        start: Lba(start),
        sectors: Sectors(sectors),
        kind: kind.to_owned(),
        name: None,
    };
    assert_eq!(
        table,
        Table {
            scheme: Scheme::Mbr { signature: 0x1234_5678 },
            sector_size: 512,
            first_usable: Lba(1),
            last_usable: Lba(32_767),
            slots: 4,
            partitions: vec![partition(1, 2048, 2048, "0c"), partition(3, 4096, 28_672, "83")],
        }
    );
}

#[test]
fn an_mbr_with_a_defect_is_refused() {
    let out = |number, start, last| Defect::OutOfDisk { number, start: Lba(start), last, disk_sectors: 32_768 };
    let unsupported = |what: &str| Defect::Unsupported { what: what.to_owned() };
    let boot = (0x0C, 2048, 2048);
    for (entries, defect) in [
        (vec![boot, (0x05, 4096, 2048)], Defect::Extended { number: 2 }),
        (vec![boot, (0x0F, 4096, 2048)], Defect::Extended { number: 2 }),
        (vec![(0x85, 4096, 2048)], Defect::Extended { number: 1 }),
        (vec![boot, (0x83, 4095, 100)], Defect::Overlap { first: 1, second: 2 }),
        (vec![(0x83, 3000, 10), boot], Defect::Overlap { first: 1, second: 2 }),
        (vec![boot, (0x83, 4096, 28_673)], out(2, 4096, 32_768)),
        (vec![boot, (0x83, u32::MAX, u32::MAX)], out(2, 4_294_967_295, 8_589_934_589)),
        (vec![boot, (0x83, 0, 100)], out(2, 0, 99)),
        (vec![boot, (0x83, 5000, 0)], out(2, 5000, 4999)),
        (vec![boot, (0x83, 0, 0)], out(2, 0, 0)),
        (vec![boot, (0xEE, 1, 2047)], Defect::Hybrid),
        (vec![(0xEE, 1, 2047), (0xEE, 2048, 1)], Defect::Hybrid),
        (vec![(0xEE, 1, 32_767)], Defect::ProtectiveWithoutGpt),
        (vec![(0xEE, 2, 32_766)], unsupported("a protective entry that starts at sector 2 instead of 1")),
        (
            vec![boot, (0, 4096, 7)],
            unsupported("entry 2 has 7 sectors but no type; delete it with `fdisk`, or give it a type"),
        ),
    ] {
        assert_eq!(look(&mut mbr_disk(&entries)), Err(defect), "{entries:x?}");
    }
}

#[test]
fn a_sector_without_a_table_is_refused() {
    type Break = fn(&mut Vec<u8>);
    let cases: [(&str, Break); 7] = [
        ("no 55 AA", |b| b[510] = 0),
        ("AA 55", |b| b[510..512].copy_from_slice(&[0xAA, 0x55])),
        ("status 01", |b| b[446] = 1),
        ("status of a free slot", |b| b[446 + 48] = 0x7F),
        ("exFAT", |b| b[..11].copy_from_slice(b"\xEB\x76\x90EXFAT   ")),
        ("NTFS", |b| b[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ")),
        ("FAT with a clean table area", |b| {
            b[..22].copy_from_slice(b"\xEB\x58\x90mkfs.fat\x00\x02\x08\x20\x00\x02\x00\x00\x00\x00\xF8");
        }),
    ];
    for (what, spoil) in cases {
        let mut disk = mbr_disk(&[(0x0C, 2048, 2048)]);
        spoil(disk.get_mut());
        assert_eq!(look(&mut disk), Err(Defect::NoTable), "{what}");
    }
    assert_eq!(look(&mut Cursor::new(vec![])), Err(Defect::NoTable), "a disk of 0 sectors");
}

#[test]
fn sizes_that_no_disk_has_are_errors() {
    for (sector_size, length, text) in [
        (0, 100, "a disk with sectors of 0 bytes is not supported"),
        (520, 100, "a disk with sectors of 520 bytes is not supported"),
        (8192, 100, "a disk with sectors of 8192 bytes is not supported"),
        (512, u64::MAX, "a disk of 18446744073709551615 sectors does not exist"),
    ] {
        assert_eq!(read(&mut mbr_disk(&[]), sector_size, length).unwrap_err().to_string(), text);
    }
    let error = read(&mut Cursor::new(vec![0; 100]), 512, 2048).unwrap_err();
    assert_eq!(format!("{error:#}"), "reading the disk's first sector: failed to fill whole buffer");
}

#[test]
fn an_impossible_change_is_refused() {
    let table = look(&mut mbr_disk(&[(0x0C, 2048, 2048), (0x83, 8192, 8192)])).unwrap();
    let add =
        |number, start, sectors| Change::Add(NewPartition { number, start: Lba(start), sectors: Sectors(sectors) });
    for (wanted, text) in [
        (add(0, 16_384, 8), "partition 0: the table has slots 1 to 4 only"),
        (add(5, 16_384, 8), "partition 5: the table has slots 1 to 4 only"),
        (add(2, 16_384, 8), "partition 2 is in the table already"),
        (add(3, 16_384, 0), "partition 3 would be empty"),
        (add(3, 16_384, u64::MAX), "partition 3 would end beyond what 64 bits can count"),
        (add(3, 0, 8), "partition 3 (sectors 0 to 7) would leave the usable area (sectors 1 to 32767)"),
        (
            add(3, 16_384, 16_385),
            "partition 3 (sectors 16384 to 32768) would leave the usable area (sectors 1 to 32767)",
        ),
        (add(3, 16_385, 8), "partition 3 would start at sector 16385, which is no multiple of 4 KiB"),
        (add(3, 4096, 4097), "partition 3 (sectors 4096 to 8192) would share sectors with partition 2"),
        (add(3, 16_376, 16), "partition 3 (sectors 16376 to 16391) would share sectors with partition 2"),
        (add(3, 2048, 4), "partition 3 (sectors 2048 to 2051) would share sectors with partition 1"),
        (Change::Remove { number: 3 }, "partition 3 is not in the table"),
        (grow(3, 9000), "partition 3 is not in the table"),
        (grow(2, 8192), "partition 2 has 8192 sectors, and would not grow"),
        (grow(2, u64::MAX), "partition 2 would end beyond what 64 bits can count"),
        (grow(2, 24_577), "partition 2 (sectors 8192 to 32768) would leave the usable area (up to sector 32767)"),
        (grow(1, 6145), "partition 1 (sectors 2048 to 8192) would share sectors with partition 2"),
    ] {
        assert_eq!(change(&table, &wanted).unwrap_err().to_string(), text, "{wanted:?}");
    }
}

fn grow(number: u32, sectors: u64) -> Change {
    Change::Grow { number, sectors: Sectors(sectors) }
}

#[test]
fn a_change_keeps_the_other_entries_and_their_order() {
    let table = look(&mut mbr_disk(&[(0x0C, 2048, 2048), (0, 0, 0), (0x83, 8192, 8192)])).unwrap();
    let new = NewPartition { number: 2, start: Lba(16_384), sectors: Sectors(16_384) };
    let after = change(&table, &Change::Add(new)).unwrap();
    let of = |t: &Table| t.partitions.iter().map(|p| (p.number, p.start.0, p.kind.clone())).collect::<Vec<_>>();
    let kind = str::to_owned;
    assert_eq!(of(&after), [(1, 2048, kind("0c")), (2, 16_384, kind("83")), (3, 8192, kind("83"))]);
    assert_eq!(change(&after, &Change::Remove { number: 2 }).unwrap(), table);
}

#[test]
fn defects_tell_the_owner_what_was_found_and_what_to_do() {
    let out = |start, last| Defect::OutOfDisk { number: 2, start: Lba(start), last, disk_sectors: 100 };
    for (defect, found, advice) in [
        (Defect::NoTable, "the card has no partition table: its first sector does not hold one", "burn an image"),
        (
            Defect::ProtectiveWithoutGpt,
            "the card's first sector announces a GPT, but none is where",
            "burn the card again",
        ),
        (
            Defect::Hybrid,
            "the card has a hybrid table: the MBR in its first sector has an entry of type ee",
            "make it a plain GPT",
        ),
        (
            Defect::TornGpt { primary: "one thing".to_owned(), backup: "another".to_owned() },
            "both copies of the card's GPT are damaged. The primary one: one thing. The backup: another.",
            "try to recover the table with `gdisk`",
        ),
        (
            Defect::Extended { number: 4 },
            "partition 4 is an extended partition",
            "use an image whose partitions are all primary",
        ),
        (Defect::Overlap { first: 1, second: 3 }, "partitions 1 and 3 share sectors", "save what you need"),
        (out(0, 9), "partition 2 starts at sector 0", "burn the card again"),
        (out(50, 99), "partition 2 (sectors 50 to 99) reaches into the last of the card's 100 sectors", "large enough"),
        (out(50, 49), "partition 2 starts at sector 50 but has no sectors", "delete that entry with `fdisk`"),
        (
            out(50, 100),
            "partition 2 (sectors 50 to 100) reaches past what this card can hold: it has 100 sectors",
            "large enough",
        ),
        (
            Defect::Unsupported { what: "this and that".to_owned() },
            "the partition table has something that burnonce does not \
         handle: this and that",
            "left the card alone",
        ),
    ] {
        let text = defect.to_string();
        assert!(text.starts_with(found) && text.contains(advice), "{text}");
        assert!(text.contains("left it alone") || text.contains("left the card alone"), "{text}");
    }
}

/// Disks on which a cut is tried: fresh, grown, grown with the old backup overwritten by the new file system, with a
/// damaged primary copy, with that on a grown disk, with a damaged backup.
fn gpts() -> Vec<(&'static str, Memory)> {
    let spoiled = |made: usize, now: usize, from: usize, length: usize| {
        let mut disk = gpt_disk(made, now);
        disk.get_mut()[from * 512..][..length * 512].fill(0);
        disk
    };
    vec![
        ("fresh", gpt_disk(256, 256)),
        ("grown", gpt_disk(128, 256)),
        ("grown, the old backup overwritten", spoiled(128, 256, 256 - 40, 40)),
        ("primary destroyed", spoiled(256, 256, 1, 33)),
        ("primary header destroyed", spoiled(256, 256, 1, 1)),
        ("grown, primary destroyed", spoiled(128, 256, 1, 33)),
        ("backup destroyed", spoiled(256, 256, 512 - 33, 33)),
    ]
}

fn apply(disk: &mut Memory, patch: &Patch, chosen: impl Fn(usize) -> bool) {
    for (i, sector) in patch.new.chunks(SECTOR as usize).enumerate().filter(|(i, _)| chosen(*i)) {
        let at = patch.offset as usize + i * SECTOR as usize;
        disk.get_mut()[at..at + sector.len()].copy_from_slice(sector);
    }
}

/// The partitions of a disk on which some sectors of `patch` arrived: those of before or those of after.
fn check_cut(disk: &Memory, patch: &Patch, chosen: impl Fn(usize) -> bool, tables: &[&Table; 2], what: &str) {
    let mut cut = disk.clone();
    apply(&mut cut, patch, chosen);
    let table = look(&mut cut).unwrap_or_else(|defect| panic!("{what}: {defect}"));
    assert!(tables.iter().any(|t| t.partitions == table.partitions), "{what}: {table:?}");
    // The next boot can plan from what it finds, and finish.
    if table.partitions == tables[0].partitions {
        let wanted = rest(&table);
        let length = sectors(&cut);
        for patch in prepare(&mut cut, &table, &wanted, SECTOR, length).unwrap_or_else(|e| panic!("{what}: {e:#}")) {
            apply(&mut cut, &patch, |_| true);
        }
        assert_eq!(look(&mut cut).as_ref(), Ok(tables[1]), "{what}");
    }
}

#[test]
fn any_prefix_and_any_loss_of_a_sector_leave_a_readable_gpt() {
    for (name, mut disk) in gpts() {
        let before = look(&mut disk).unwrap_or_else(|defect| panic!("{name}: {defect}"));
        let wanted = rest(&before);
        let after = change(&before, &wanted).unwrap();
        let length = sectors(&disk);
        let patches = prepare(&mut disk, &before, &wanted, SECTOR, length).unwrap();
        assert!(patches.len() >= 2, "{name}");
        for (step, patch) in patches.iter().enumerate() {
            let count = patch.new.len() / SECTOR as usize;
            for i in 0..=count {
                let what = format!("{name}, step {step}, sector {i} of {count}");
                check_cut(&disk, patch, |sector| sector < i, &[&before, &after], &format!("{what}, prefix"));
                check_cut(&disk, patch, |sector| sector >= i, &[&before, &after], &format!("{what}, suffix"));
                check_cut(&disk, patch, |sector| sector != i, &[&before, &after], &format!("{what}, lost"));
                check_cut(&disk, patch, |sector| sector == i, &[&before, &after], &format!("{what}, alone"));
            }
            apply(&mut disk, patch, |_| true);
        }
        assert_eq!(look(&mut disk), Ok(after), "{name}");
    }
}

#[test]
fn any_prefix_of_a_growth_leaves_a_readable_gpt() {
    for (name, mut disk) in gpts() {
        let before = look(&mut disk).unwrap_or_else(|defect| panic!("{name}: {defect}"));
        let last = before.partitions.last().unwrap();
        let wanted = grow(last.number, before.last_usable.0 + 1 - last.start.0);
        let after = change(&before, &wanted).unwrap();
        let length = sectors(&disk);
        for patch in prepare(&mut disk, &before, &wanted, SECTOR, length).unwrap() {
            for count in 0..=patch.new.len() / SECTOR as usize {
                let mut cut = disk.clone();
                apply(&mut cut, &patch, |sector| sector < count);
                let seen = look(&mut cut).unwrap_or_else(|defect| panic!("{name}: {defect}")).partitions;
                assert!(seen == before.partitions || seen == after.partitions, "{name}: {seen:?}");
            }
            apply(&mut disk, &patch, |_| true);
        }
        assert_eq!(look(&mut disk), Ok(after), "{name}");
    }
}

#[test]
fn a_change_of_a_sound_gpt_writes_few_sectors() {
    let mut disk = gpt_disk(256, 256);
    let before = look(&mut disk).unwrap();
    let patches = prepare(&mut disk, &before, &rest(&before), SECTOR, 512).unwrap();
    let places: Vec<_> = patches.iter().map(|p| (p.offset / 512, p.new.len() / 512)).collect();
    // The first sector of the backup array to its header; the primary header and the first sector of its array.
    assert_eq!(places, [(479, 33), (1, 2)]);
}

#[test]
fn a_backup_of_another_mind_is_rewritten() {
    let mut disk = gpt_disk(256, 256);
    let mut other = gpt_disk(256, 256);
    let table = look(&mut other).unwrap();
    for patch in prepare(&mut other, &table, &rest(&table), SECTOR, 512).unwrap() {
        apply(&mut other, &patch, |_| true);
    }
    let from = disk.get_ref().len() - 33 * 512;
    disk.get_mut()[from..].copy_from_slice(&other.get_ref()[from..]);
    let found = look(&mut disk).unwrap();
    assert_eq!(found.partitions, table.partitions, "the primary copy counts");
    let Scheme::Gpt { primary_sound, backup_sound, backup_at_end, .. } = found.scheme else { panic!() };
    assert_eq!([primary_sound, backup_sound, backup_at_end], [true, false, true]);
}

#[test]
fn a_damaged_primary_copy_is_not_rebuilt_over_something_else() {
    let mut disk = gpt_disk(256, 256);
    // A first usable sector beyond the array's end, as fdisk makes it: a loader may have been in the gap.
    let mut gpt = GPT::read_from(&mut disk, 512).unwrap();
    gpt.header.first_usable_lba = 64;
    gpt.write_into(&mut disk).unwrap();
    disk.get_mut()[512..1024].fill(0);
    assert!(look(&mut disk).is_ok(), "the array is still there");
    disk.get_mut()[1024..1024 + 16_384].fill(0);
    assert!(look(&mut disk).is_ok(), "zeroes are there");
    disk.get_mut()[1024..1024 + 16_384].fill(0xA5);
    match look(&mut disk) {
        Err(Defect::Unsupported { what }) => {
            assert!(what.starts_with("a GPT whose primary copy is damaged, with"), "{what}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_gpt_with_a_defect_is_refused() {
    type Break = fn(&mut GPT);
    let unsupported = |what: &str| Defect::Unsupported { what: what.to_owned() };
    let out = |start, last| Defect::OutOfDisk { number: 2, start: Lba(start), last, disk_sectors: 512 };
    let cases: [(Break, Defect); 7] = [
        (|g| g[2].starting_lba = 90, Defect::Overlap { first: 1, second: 2 }),
        (|g| g[2].ending_lba = 479, out(96, 479)),
        (|g| g[2].ending_lba = u64::MAX, out(96, u64::MAX)),
        (|g| g[2].ending_lba = 90, out(96, 90)),
        (|g| g[2].starting_lba = 0, out(0, 127)),
        (|g| g[1].starting_lba = 20, unsupported("partition 1 starts at sector 20, before the first usable one (34)")),
        (
            |g| g.header.first_usable_lba = 33,
            unsupported("a GPT whose first usable sector is 33, on a card of 512 sectors"),
        ),
    ];
    for (spoil, defect) in cases {
        let mut disk = gpt_disk(256, 256);
        let mut gpt = GPT::read_from(&mut disk, 512).unwrap();
        spoil(&mut gpt);
        let (mut header, entries) = (gpt.header.clone(), gpt.iter().map(|(_, e)| e.clone()).collect::<Vec<_>>());
        header.write_into(&mut disk, 512, &entries).unwrap();
        assert_eq!(look(&mut disk), Err(defect));
    }
}

/// Headers whose checksum is right and whose numbers are not.
#[test]
fn a_header_with_impossible_numbers_is_refused() {
    type Break = fn(&mut [u8]);
    let cases: [(&str, Break, &str); 7] = [
        ("entry size", |h| h[84..88].copy_from_slice(&256u32.to_le_bytes()), "GPT entries of 256 bytes instead of 128"),
        ("no entries", |h| h[80..84].fill(0), "a GPT of 0 entries (1 to 1024 are handled)"),
        ("many entries", |h| h[80..84].fill(0xFF), "a GPT of 4294967295 entries (1 to 1024 are handled)"),
        ("moved", |h| h[72] = 9, "a GPT whose entries start at sector 9 instead of 2 (a boot loader may lie between)"),
        ("header size", |h| h[12] = 96, "the header at sector 1 is not sound: invalid header size"),
        ("place", |h| h[24] = 5, "the header at sector 1 says that it belongs to sector 5"),
        ("revision", |h| h[10] = 2, "the header at sector 1 is not sound: invalid revision"),
    ];
    for (what, spoil, text) in cases {
        let mut disk = gpt_disk(256, 256);
        let header = &mut disk.get_mut()[512..512 + 92];
        spoil(header);
        header[16..20].fill(0);
        let sum = crc32(header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        let end = disk.get_ref().len() - 512;
        disk.get_mut()[end..].fill(0);
        match look(&mut disk) {
            Err(Defect::Unsupported { what: found }) => assert_eq!(found, text, "{what}"),
            Err(Defect::TornGpt { primary, backup }) => {
                assert_eq!((primary.as_str(), backup.as_str()), (text, "there is no header at sector 511"), "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

/// CRC-32 as GPT uses it, bit by bit: not gptman's.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

/// Whatever was read from `disk`: it is inside the disk, nothing overlaps, and a change of it can be prepared or is refused.
fn check_sanity(disk: &mut Memory) -> Result<(), TestCaseError> {
    let length = sectors(disk);
    let Ok(table) = look(disk) else { return Ok(()) };
    let mut last = 0;
    let mut partitions = table.partitions.clone();
    partitions.sort_by_key(|p| p.start);
    for partition in &partitions {
        prop_assert!(partition.sectors.0 > 0 && partition.start.0 > last && partition.last() <= table.last_usable);
        last = partition.last().0;
    }
    prop_assert!(table.last_usable.0 < length);
    if table.last_usable.0 >= FREE {
        let wanted = rest(&table);
        if let Ok(after) = change(&table, &wanted) {
            let patches =
                prepare(disk, &table, &wanted, SECTOR, length).map_err(|e| TestCaseError::fail(format!("{e:#}")))?;
            for patch in patches {
                apply(disk, &patch, |_| true);
            }
            prop_assert_eq!(look(disk), Ok(after));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_sectors_are_judged(head in prop::collection::vec(any::<u8>(), 34 * 512), marks in 0u8..4) {
        let mut bytes = vec![0; 256 << 10];
        bytes[..head.len()].copy_from_slice(&head);
        if marks & 1 != 0 {
            bytes[510..512].copy_from_slice(&[0x55, 0xAA]);
            for slot in 0..4 {
                bytes[446 + 16 * slot] &= 0x80;
            }
        }
        if marks & 2 != 0 {
            bytes[446..510].fill(0);
            bytes[450] = 0xEE;
            bytes[454] = 1;
            bytes[512..520].copy_from_slice(b"EFI PART");
        }
        check_sanity(&mut Cursor::new(bytes))?;
    }

    #[test]
    fn any_four_entries_are_judged(
        entries in prop::collection::vec((any::<u8>(), 0u32..40_000, prop_oneof![0u32..40_000, any::<u32>()]), 4),
    ) {
        check_sanity(&mut mbr_disk(&entries))?;
    }

    #[test]
    fn flipped_bits_of_a_table_are_judged(which in 0usize..7, flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..8)) {
        let (_, mut disk) = gpts().swap_remove(which);
        let tail = disk.get_ref().len() - 33 * 512;
        for (index, bit) in flips {
            let at = index.index(67 * 512);
            let at = if at < 34 * 512 { at } else { tail + at - 34 * 512 };
            disk.get_mut()[at] ^= 1 << bit;
        }
        check_sanity(&mut disk)?;
    }

    /// A header whose checksum is right, with any number in any field.
    #[test]
    fn forged_headers_are_judged(fields in prop::collection::vec((8usize..92, any::<u8>()), 1..6), both in any::<bool>()) {
        let mut disk = gpt_disk(256, 256);
        let end = disk.get_ref().len() - 512;
        for at in if both { vec![512, end] } else { vec![512] } {
            let header = &mut disk.get_mut()[at..at + 92];
            for (field, byte) in &fields {
                header[*field] = *byte;
            }
            header[16..20].fill(0);
            let sum = crc32(header);
            header[16..20].copy_from_slice(&sum.to_le_bytes());
        }
        check_sanity(&mut disk)?;
    }

    #[test]
    fn any_sectors_of_a_step_may_arrive(which in 0usize..7, seed in any::<u64>()) {
        let (name, mut disk) = gpts().swap_remove(which);
        let before = look(&mut disk).unwrap();
        let wanted = rest(&before);
        let after = change(&before, &wanted).unwrap();
        let length = sectors(&disk);
        for patch in prepare(&mut disk, &before, &wanted, SECTOR, length).unwrap() {
            check_cut(&disk, &patch, |i| (seed >> (i % 64)) & 1 == 1, &[&before, &after], name);
            apply(&mut disk, &patch, |_| true);
        }
    }
}
