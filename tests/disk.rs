//! Real tables on sparse files: made by sfdisk, sgdisk and fdisk, changed by burnonce, judged by the same tools again. No root.
//!
//! Disks with 4096-byte sectors are made and judged by `fdisk -b 4096` (its `v` command is the check behind `sfdisk --verify`):
//! sfdisk has no such option before util-linux 2.39, and sgdisk takes the sector size from the device, 512 for a file.

use burnonce::table::{Change, Defect, NewPartition, Partition, Scheme, Table, change, publish, read};
use burnonce::units::{Lba, MIB, Sectors};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};
use tempfile::NamedTempFile;

const GB: u64 = 1_000_000_000;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// Where the third partition starts, in bytes: behind those that every disk here has.
const FREE: u64 = 3 * GIB;
const LINUX: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";

/// What a program prints, both streams, and its exit code. A program that is not there fails the test with its name.
fn run(program: &str, arguments: &[&str], input: &str) -> (String, Option<i32>) {
    let path = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|d| format!("{d}/{program}"));
    let path =
        path.iter().find(|p| std::path::Path::new(p).exists()).unwrap_or_else(|| panic!("{program} is not installed"));
    let mut child = Command::new(path)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("starting {program}: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code())
}

/// What a program prints; it must succeed.
fn said(program: &str, arguments: &[&str], input: &str) -> String {
    let (text, code) = run(program, arguments, input);
    assert_eq!(code, Some(0), "{program} {arguments:?}: {text}");
    text
}

/// A sparse file as a disk.
struct Disk {
    file: NamedTempFile,
    sector_size: u32,
}

/// The disk's first and last 2 MiB, and how many 512-byte blocks it takes.
#[derive(PartialEq)]
struct Snapshot {
    head: Vec<u8>,
    tail: Vec<u8>,
    blocks: u64,
}

impl Disk {
    fn new(length: u64, sector_size: u32) -> Disk {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(length).unwrap();
        Disk { file, sector_size }
    }

    /// An MBR of a boot and a root partition, with random boot code.
    fn mbr(length: u64) -> Disk {
        let disk = Disk::new(length, 512);
        disk.put(0, &random(440));
        disk.sfdisk(
            "label: dos\nlabel-id: 0x5a6b7c8d\nstart=8192, size=1048576, type=c, bootable\nsize=4194304, type=83\n",
        );
        disk
    }

    /// A GPT of the same, with random boot code and names.
    fn gpt(length: u64) -> Disk {
        let disk = Disk::new(length, 512);
        disk.sgdisk(&[
            "-n",
            "1:8192:+512M",
            "-t",
            "1:ef00",
            "-c",
            "1:boot",
            "-n",
            "2:0:+2G",
            "-c",
            "2:root",
            "-A",
            "2:set:60",
        ]);
        disk.put(0, &random(440));
        disk
    }

    fn path(&self) -> &str {
        self.file.path().to_str().unwrap()
    }

    fn length(&self) -> u64 {
        self.file.as_file().metadata().unwrap().len()
    }

    fn sectors(&self) -> u64 {
        self.length() / u64::from(self.sector_size)
    }

    fn resize(&self, length: u64) {
        self.file.as_file().set_len(length).unwrap();
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.file.as_file().write_all_at(bytes, at).unwrap();
    }

    fn bytes(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.file.as_file().read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    /// `count` sectors counted from the end (512-byte disks).
    fn put_at_end(&self, bytes: &[u8]) {
        self.put(self.length() - bytes.len() as u64, bytes);
    }

    fn sfdisk(&self, script: &str) {
        said("sfdisk", &["-q", self.path()], script);
    }

    fn sgdisk(&self, arguments: &[&str]) {
        said("sgdisk", &[arguments, &[self.path()]].concat(), "");
    }

    fn fdisk(&self, commands: &str) -> String {
        said("fdisk", &["-b", &self.sector_size.to_string(), self.path()], commands)
    }

    fn snapshot(&self) -> Snapshot {
        self.file.as_file().sync_all().unwrap();
        let ends = (2 * MIB).min(self.length()) as usize;
        let blocks = self.file.as_file().metadata().unwrap().blocks();
        Snapshot { head: self.bytes(0, ends), tail: self.bytes(self.length() - ends as u64, ends), blocks }
    }

    fn open(&self) -> File {
        OpenOptions::new().read(true).write(true).open(self.file.path()).unwrap()
    }

    fn look(&self) -> Result<Table, Defect> {
        read(&mut self.open(), self.sector_size, self.sectors()).unwrap()
    }

    fn table(&self) -> Table {
        self.look().unwrap_or_else(|defect| panic!("{defect}"))
    }

    fn publish(&self, before: &Table, wanted: &Change) -> Result<(), String> {
        publish(&mut self.open(), before, wanted, self.sector_size, self.sectors())
            .map_err(|error| format!("{error:#}"))
    }

    /// A third partition in all that is free.
    fn rest(&self) -> Change {
        let start = FREE / u64::from(self.sector_size);
        let sectors = Sectors(self.table().last_usable.0 + 1 - start);
        Change::Add(NewPartition { number: 3, start: Lba(start), sectors })
    }

    /// Makes the third partition and reads the table again.
    fn add(&self) -> Table {
        let before = self.table();
        let wanted = self.rest();
        self.publish(&before, &wanted).unwrap_or_else(|error| panic!("{error}"));
        let after = self.table();
        assert_eq!(after, change(&before, &wanted).unwrap());
        after
    }

    /// The entry of a GPT's slot, from its primary array.
    fn entry(&self, number: u64) -> Vec<u8> {
        self.bytes(2 * u64::from(self.sector_size) + (number - 1) * 128, 128)
    }

    /// Lets the tools judge the table.
    fn judge(&self) {
        if self.sector_size != 512 {
            let text = self.fdisk("v\nq\n");
            assert!(text.contains("No errors detected."), "{text}");
            return;
        }
        let text = said("sfdisk", &["--verify", self.path()], "");
        assert!(text.contains("No errors detected."), "{text}");
        let text = said("sgdisk", &["-v", self.path()], "");
        if self.bytes(450, 1) == [0xEE] {
            assert!(text.contains("No problems found."), "{text}");
            for line in text.lines().filter(|line| line.starts_with("Warning") || line.starts_with("Caution")) {
                // fdisk's gap before the first partition, few entries (its maker's choice), the last partition's end
                // before the backup.
                let usual = [
                    "Warning: There is a gap between the main partition table",
                    "Warning: The size of the partition table (7168 bytes)",
                    "Caution: Partition 3 doesn't end on a 2048-sector boundary",
                ];
                assert!(usual.iter().any(|start| line.starts_with(start)), "{text}");
            }
        } else {
            // sgdisk judges what the table would be as a GPT: the one thing it may find is no room for a backup.
            let overlaps = text.contains("Warning! Secondary partition table overlaps the last partition");
            assert!(
                text.contains("No problems found.") || overlaps && text.contains("Identified 1 problems!"),
                "{text}"
            );
        }
    }

    /// A partition as `sfdisk -d` prints it.
    fn dumped(&self, number: u32) -> String {
        let text = said("sfdisk", &["-d", self.path()], "");
        let line = text.lines().find_map(|line| {
            let (name, rest) = line.split_once(" : ")?;
            name.ends_with(&number.to_string()).then_some(rest)
        });
        line.unwrap_or_else(|| panic!("no partition {number}: {text}")).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

/// Where two snapshots' heads differ.
fn differences(before: &[u8], after: &[u8]) -> Vec<usize> {
    (0..before.len()).filter(|&at| before[at] != after[at]).collect()
}

fn flags(table: &Table) -> [bool; 3] {
    match table.scheme {
        Scheme::Gpt { primary_sound, backup_sound, backup_at_end, .. } => [primary_sound, backup_sound, backup_at_end],
        Scheme::Mbr { .. } => panic!("not a GPT"),
    }
}

#[test]
fn an_mbr_gets_one_entry_by_one_sector() {
    for (length, last) in [(8 * GB, 15_624_999), (64 * GB, 124_999_999), (3 * TIB, 4_294_967_295)] {
        let disk = Disk::mbr(length);
        let table = disk.table();
        assert_eq!(table.scheme, Scheme::Mbr { signature: 0x5A6B_7C8D }, "{length}");
        assert_eq!((table.last_usable, table.partitions.len()), (Lba(last), 2), "{length}");
        let before = disk.snapshot();
        disk.add();
        let after = disk.snapshot();
        let (start, count) = (6_291_456u32, (last - 6_291_456 + 1) as u32);
        let entry =
            [[0x00, 0xFE, 0xFF, 0xFF], [0x83, 0xFE, 0xFF, 0xFF], start.to_le_bytes(), count.to_le_bytes()].concat();
        assert_eq!(after.head[478..494], entry, "{length}");
        assert!(differences(&before.head, &after.head).iter().all(|at| (478..494).contains(at)), "{length}");
        assert!(before.tail == after.tail && before.blocks == after.blocks, "{length}");
        assert_eq!(disk.dumped(3), format!("start= {start}, size= {count}, type=83"), "{length}");
        disk.judge();

        disk.publish(&disk.table(), &Change::Remove { number: 3 }).unwrap();
        assert!(disk.snapshot() == before, "{length}");
        disk.judge();
    }
}

#[test]
fn a_gpt_gets_one_entry_in_both_copies() {
    for (what, made, now) in
        [("8 GB", 8 * GB, 8 * GB), ("64 GB", 64 * GB, 64 * GB), ("grown", 5 * GB, 64 * GB), ("3 TiB", 3 * TIB, 3 * TIB)]
    {
        let disk = Disk::gpt(made);
        disk.resize(now);
        assert_eq!(flags(&disk.table()), [true, true, made == now], "{what}");
        let before = disk.snapshot();
        let entries: Vec<_> = (1..=128).map(|number| disk.entry(number)).collect();
        let table = disk.add();
        let after = disk.snapshot();

        assert_eq!(before.head[..440], after.head[..440], "{what}: boot code");
        let length = (u32::try_from(now / 512 - 1).unwrap_or(u32::MAX)).to_le_bytes();
        assert_eq!(after.head[458..462], length, "{what}: protective MBR");
        let changed = differences(&before.head[..512], &after.head[..512]);
        assert!(changed.iter().all(|at| (458..462).contains(at)), "{what}: {changed:?}");
        for number in (1..=128u64).filter(|&number| number != 3) {
            assert_eq!(disk.entry(number), entries[number as usize - 1], "{what}: entry {number}");
        }
        assert!(before.head[34 * 512..] == after.head[34 * 512..], "{what}: behind the array");
        let tail = after.tail.len() - 33 * 512;
        assert!(before.tail[..tail] == after.tail[..tail], "{what}: before the backup");
        assert_eq!(disk.bytes(1024, 16_384), after.tail[tail..after.tail.len() - 512], "{what}: the arrays");

        assert_eq!(table.last_usable, Lba(now / 512 - 34), "{what}");
        let partition = &table.partitions[2];
        assert_eq!((partition.kind.as_str(), partition.name.as_deref()), (LINUX, Some("burnonce")), "{what}");
        let dumped = disk.dumped(3);
        let start =
            format!("start= 6291456, size= {}, type={}, uuid=", now / 512 - 34 - 6_291_456 + 1, LINUX.to_uppercase());
        assert!(dumped.starts_with(&start) && dumped.ends_with(", name=\"burnonce\""), "{what}: {dumped}");
        disk.judge();

        disk.publish(&table, &Change::Remove { number: 3 }).unwrap();
        assert_eq!(disk.entry(3), [0; 128], "{what}");
        disk.judge();
    }
}

/// A card that was copied onto a longer one: the last entry becomes longer, and that is all.
#[test]
fn a_partition_grows() {
    for gpt in [false, true] {
        let disk = if gpt { Disk::gpt(8 * GB) } else { Disk::mbr(8 * GB) };
        disk.add();
        let entry = disk.entry(3);
        disk.resize(64 * GB);
        let (before, head) = (disk.table(), disk.snapshot().head);
        let start = before.partitions[2].start.0;
        let wanted = Change::Grow { number: 3, sectors: Sectors(before.last_usable.0 + 1 - start) };
        disk.publish(&before, &wanted).unwrap();
        let after = disk.table();
        assert_eq!(after, change(&before, &wanted).unwrap());
        assert_eq!((after.partitions[2].last(), &after.partitions[..2]), (before.last_usable, &before.partitions[..2]));
        disk.judge();
        if gpt {
            let changed = differences(&entry, &disk.entry(3));
            assert!(changed.iter().all(|at| (40..48).contains(at)), "{changed:?}");
            assert_eq!(flags(&after), [true, true, true]);
        } else {
            let changed = differences(&head, &disk.snapshot().head);
            assert!(changed.iter().all(|at| (490..494).contains(at)), "{changed:?}");
        }
    }
}

#[test]
fn each_new_gpt_partition_has_its_own_guid() {
    let guid = || {
        let disk = Disk::gpt(8 * GB);
        disk.add();
        disk.entry(3)[16..32].to_vec()
    };
    let (one, other) = (guid(), guid());
    assert_ne!(one, other);
    // Version 4, variant 1 (RFC 9562).
    assert_eq!((one[7] >> 4, one[8] >> 6), (4, 2));
}

#[test]
fn tables_of_other_makers_are_changed_too() {
    let gap = Disk::new(8 * GB, 512);
    gap.sfdisk("label: gpt\nsize=512M\nsize=2G\n");
    let short = Disk::new(8 * GB, 512);
    short.sgdisk(&["-S", "56", "-n", "1:2048:+512M", "-n", "2:0:+2G"]);
    let aligned = Disk::new(8 * GB, 512);
    aligned.sgdisk(&["-S", "256", "-n", "1:2048:+512M", "-n", "2:0:+2G"]);
    for (what, disk, slots, first, last) in [
        ("sfdisk", gap, 128, 2048, 15_624_966),
        ("56 entries", short, 56, 16, 15_624_984),
        ("256 entries", aligned, 256, 66, 15_624_934),
    ] {
        let table = disk.add();
        assert_eq!((table.slots, table.first_usable, table.last_usable), (slots, Lba(first), Lba(last)), "{what}");
        disk.judge();
    }
}

#[test]
fn a_disk_with_large_sectors_is_changed_by_whole_sectors() {
    let mbr = Disk::new(8 * GIB, 4096);
    mbr.put(0, &random(440));
    mbr.fdisk("o\nn\np\n1\n\n+512M\nn\np\n2\n\n+2G\nw\n");
    let before = mbr.snapshot();
    let table = mbr.add();
    let after = mbr.snapshot();
    assert!(differences(&before.head, &after.head).iter().all(|at| (478..494).contains(at)));
    assert!(before.tail == after.tail && before.blocks == after.blocks);
    assert_eq!(table.last_usable, Lba(2_097_151));
    mbr.judge();

    for made in [8 * GIB, 5 * GIB] {
        let gpt = Disk::new(made, 4096);
        gpt.fdisk("g\nn\n1\n\n+512M\nn\n2\n\n+2G\nw\n");
        gpt.put(0, &random(440));
        gpt.resize(8 * GIB);
        let code = gpt.bytes(0, 446);
        let table = gpt.add();
        // The array of 16 KiB takes 4 sectors.
        assert_eq!((table.last_usable, table.partitions[2].start), (Lba(2_097_152 - 6), Lba(786_432)));
        assert_eq!(gpt.bytes(0, 446), code);
        gpt.judge();
        let listed = gpt.fdisk("p\nq\n");
        assert!(
            listed.lines().any(|line| line.split_whitespace().skip(1).take(2).eq(["786432", "2097146"])),
            "{listed}"
        );
    }
}

#[test]
fn a_damaged_copy_is_mended_by_the_next_change() {
    let noise = |disk: &Disk, from: u64, count: usize| disk.put(from * 512, &random(count * 512));
    let zero = |disk: &Disk, from: u64, count: usize| disk.put(from * 512, &vec![0; count * 512]);
    let end = 8 * GB / 512;
    let old_end = 5 * GB / 512;
    type Break<'a> = &'a dyn Fn(&Disk);
    let cases: [(&str, u64, Break, [bool; 3]); 8] = [
        ("primary zeroed", 8 * GB, &|d| zero(d, 1, 33), [false, true, true]),
        ("primary overwritten", 8 * GB, &|d| noise(d, 1, 33), [false, true, true]),
        ("primary header overwritten", 8 * GB, &|d| noise(d, 1, 1), [false, true, true]),
        ("primary array overwritten", 8 * GB, &|d| noise(d, 2, 32), [false, true, true]),
        ("backup zeroed", 8 * GB, &|d| zero(d, end - 33, 33), [true, false, true]),
        ("backup header overwritten", 8 * GB, &|d| noise(d, end - 1, 1), [true, false, true]),
        ("grown, primary overwritten", 5 * GB, &|d| noise(d, 1, 33), [false, true, false]),
        ("grown, backup overwritten", 5 * GB, &|d| noise(d, old_end - 33, 33), [true, false, false]),
    ];
    for (what, made, spoil, found) in cases {
        let disk = Disk::gpt(made);
        disk.resize(8 * GB);
        let entries = [disk.entry(1), disk.entry(2)];
        spoil(&disk);
        assert_eq!(flags(&disk.table()), found, "{what}");
        disk.add();
        assert_eq!([disk.entry(1), disk.entry(2)], entries, "{what}");
        disk.judge();
    }
}

#[test]
fn a_disk_without_a_trustworthy_copy_is_left_alone() {
    let torn = |primary: &str, backup: &str| Defect::TornGpt { primary: primary.to_owned(), backup: backup.to_owned() };

    let disk = Disk::gpt(8 * GB);
    disk.put(512, &[0; 33 * 512]);
    disk.put_at_end(&[0; 33 * 512]);
    assert_eq!(disk.look(), Err(Defect::ProtectiveWithoutGpt), "both zeroed");

    let disk = Disk::gpt(8 * GB);
    disk.put(512 + 60, b"x");
    disk.put_at_end(&[0; 512]);
    match disk.look() {
        Err(Defect::TornGpt { primary, backup }) => {
            assert!(
                primary.starts_with("the header at sector 1 is not sound: corrupted CRC32 checksum ("),
                "{primary}"
            );
            assert_eq!(backup, "there is no header at sector 15624999");
        }
        other => panic!("{other:?}"),
    }

    // A grown disk whose protective MBR does not say where it ended.
    let disk = Disk::gpt(5 * GB);
    disk.resize(8 * GB);
    disk.put(512, &[0; 512]);
    disk.put(458, &[0xFF; 4]);
    assert_eq!(disk.look(), Err(Defect::ProtectiveWithoutGpt), "no place to look");

    // An image with a destroyed table on a card that has another backup at its end.
    let disk = Disk::gpt(8 * GB);
    let earlier = disk.bytes(8 * GB - 33 * 512, 33 * 512);
    let disk = Disk::gpt(5 * GB);
    disk.put(512, &[0; 512]);
    disk.put_at_end(&[0; 512]);
    disk.resize(8 * GB);
    disk.put_at_end(&earlier);
    let backup = "there is no header at sector 9765624 (a sound one is at sector 15624999, the card's end, but the first sector \
                  says that the table's disk ended before it, so it may be from an earlier life of the card)";
    assert_eq!(disk.look(), Err(torn("there is no header at sector 1", backup)));
}

#[test]
fn tables_that_are_not_handled_are_named() {
    let moved = Disk::gpt(8 * GB);
    moved.sgdisk(&["-j", "64"]);
    let what = "a GPT whose entries start at sector 64 instead of 2 (a boot loader may lie between)".to_owned();
    assert_eq!(moved.look(), Err(Defect::Unsupported { what }));

    let hybrid = Disk::gpt(8 * GB);
    hybrid.sgdisk(&["-h", "1"]);
    assert_eq!(hybrid.look(), Err(Defect::Hybrid));

    let extended = Disk::mbr(8 * GB);
    said("sfdisk", &["-q", "--append", extended.path()], "size=1G, type=5\n");
    assert_eq!(extended.look(), Err(Defect::Extended { number: 3 }));

    let fat = Disk::new(64 * MIB, 512);
    for (kind, sectors) in [("12", "64"), ("16", "4"), ("32", "1")] {
        said("mkfs.vfat", &["-F", kind, "-s", sectors, fat.path()], "");
        assert_eq!(fat.look(), Err(Defect::NoTable), "FAT{kind}");
    }
    assert_eq!(Disk::new(8 * GB, 512).look(), Err(Defect::NoTable), "an empty disk");

    let ext4 = Disk::new(64 * MIB, 512);
    said("mke2fs", &["-q", "-t", "ext4", ext4.path()], "");
    assert_eq!(ext4.look(), Err(Defect::NoTable), "a file system without a table");
}

#[test]
fn a_cut_short_copy_is_read_where_its_partitions_fit() {
    let mbr = Disk::mbr(8 * GB);
    mbr.resize(2 * GIB);
    let out = |last, disk_sectors| Defect::OutOfDisk { number: 2, start: Lba(1_056_768), last, disk_sectors };
    assert_eq!(mbr.look(), Err(out(5_251_071, 4_194_304)));
    let gpt = Disk::gpt(8 * GB);
    gpt.resize(2 * GIB);
    assert_eq!(gpt.look(), Err(out(5_251_071, 4_194_304)));

    gpt.resize(4 * GIB);
    assert_eq!(flags(&gpt.table()), [true, false, false]);
    gpt.add();
    assert_eq!(flags(&gpt.table()), [true, true, true]);
    gpt.judge();
}

#[test]
fn a_table_that_changed_since_is_not_written() {
    type Meddle = fn(&Disk);
    let cases: [(&str, Disk, Meddle); 5] = [
        ("another partition", Disk::mbr(8 * GB), |d| {
            said("sfdisk", &["-q", "--append", d.path()], "start=12582912, size=1G\n");
        }),
        ("another signature", Disk::mbr(8 * GB), |d| d.put(440, b"x")),
        ("another type", Disk::mbr(8 * GB), |d| d.put(450, b"\x0B")),
        ("another partition", Disk::gpt(8 * GB), |d| d.sgdisk(&["-n", "4:12582912:+1G"])),
        ("a primary copy destroyed", Disk::gpt(8 * GB), |d| d.put(512, &[0; 512])),
    ];
    for (what, disk, meddle) in cases {
        let before = disk.table();
        let wanted = disk.rest();
        meddle(&disk);
        let found = disk.snapshot();
        let error = disk.publish(&before, &wanted).unwrap_err();
        let text =
            "the partition table on the card is not the one that the plan was made for; nothing was written, try again";
        assert_eq!(error, text, "{what}");
        assert!(disk.snapshot() == found, "{what}");
    }

    let disk = Disk::mbr(8 * GB);
    let before = disk.table();
    disk.put(510, b"x");
    let error = disk.publish(&before, &disk_change()).unwrap_err();
    assert_eq!(error, Defect::NoTable.to_string());
}

fn disk_change() -> Change {
    Change::Add(NewPartition { number: 3, start: Lba(FREE / 512), sectors: Sectors(2048) })
}

/// The backup of a smaller card lies in what is free: making the new file system there may overwrite it before the table is written.
#[test]
fn a_backup_overwritten_since_is_no_obstacle() {
    let disk = Disk::gpt(5 * GB);
    disk.resize(8 * GB);
    let before = disk.table();
    disk.put(5 * GB - 512, &[0; 512]);
    disk.publish(&before, &disk.rest()).unwrap();
    assert_eq!(flags(&disk.table()), [true, true, true]);
    disk.judge();
}

#[test]
fn a_change_that_does_not_fit_is_not_written() {
    let disk = Disk::mbr(8 * GB);
    let before = disk.table();
    let found = disk.snapshot();
    let add = |start, sectors| Change::Add(NewPartition { number: 3, start: Lba(start), sectors: Sectors(sectors) });
    for (wanted, text) in [
        (
            add(15_624_992, 9),
            "partition 3 (sectors 15624992 to 15625000) would leave the usable area (sectors 1 to 15624999)",
        ),
        (add(5_251_064, 8), "partition 3 (sectors 5251064 to 5251071) would share sectors with partition 2"),
        (Change::Remove { number: 4 }, "partition 4 is not in the table"),
    ] {
        assert_eq!(disk.publish(&before, &wanted), Err(text.to_owned()));
        assert!(disk.snapshot() == found, "{text}");
    }
}

/// A card that takes no write: everything is as it was, and that is said.
#[test]
fn a_disk_that_cannot_be_written_keeps_its_table() {
    for disk in [Disk::mbr(8 * GB), Disk::gpt(8 * GB)] {
        let before = disk.table();
        let wanted = disk.rest();
        let found = disk.snapshot();
        let mut readable = File::open(disk.file.path()).unwrap();
        let error = publish(&mut readable, &before, &wanted, 512, disk.sectors()).unwrap_err();
        let error = format!("{error:#}");
        let text = "the change was given up and the old table put back: writing the partition table: writing ";
        assert!(error.starts_with(text) && error.ends_with("Bad file descriptor (os error 9)"), "{error}");
        assert!(disk.snapshot() == found);
    }
}

/// A card that takes the first of two writes only. The limit on the size of a file plays the card, in a process of its own:
/// this test starts itself again under it.
#[test]
fn a_write_that_fails_half_way_is_taken_back() {
    const VARIABLE: &str = "BURNONCE_TEST_LIMITED_DISK";
    if let Some(path) = std::env::var_os(VARIABLE) {
        let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len() / 512;
        let before = read(&mut file, 512, length).unwrap().unwrap();
        panic!("{:#}", publish(&mut file, &before, &disk_change(), 512, length).unwrap_err());
    }
    // The primary copy is damaged, so it is written first; the backup at the end is beyond the limit of 1 GiB.
    let disk = Disk::gpt(8 * GB);
    disk.put(512, &[0; 512]);
    let found = disk.snapshot();
    let output = Command::new("/bin/sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2097152; exec \"$0\" --exact a_write_that_fails_half_way_is_taken_back --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(VARIABLE, disk.file.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let error = "the change was given up and the old table put back: writing the partition table: writing 16896 bytes at byte \
                 7999983104: File too large (os error 27)";
    assert!(text.contains(error), "{text}");
    assert!(disk.snapshot() == found, "{text}");
}

#[test]
fn partitions_are_read_as_the_tools_made_them() {
    let partition = |number, start, sectors, kind: &str, name: Option<&str>| Partition {
        number,
        start: Lba(start),
        sectors: Sectors(sectors),
        kind: kind.to_owned(),
        name: name.map(str::to_owned),
    };
    assert_eq!(
        Disk::mbr(8 * GB).table().partitions,
        [partition(1, 8192, 1_048_576, "0c", None), partition(2, 1_056_768, 4_194_304, "83", None)]
    );
    let disk = Disk::gpt(8 * GB);
    let boot = partition(1, 8192, 1_048_576, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", Some("boot"));
    assert_eq!(disk.table().partitions, [boot, partition(2, 1_056_768, 4_194_304, LINUX, Some("root"))]);
    let Scheme::Gpt { disk_guid, .. } = disk.table().scheme else { panic!() };
    let dump = said("sfdisk", &["-d", disk.path()], "");
    assert!(dump.contains(&format!("label-id: {}", disk_guid.to_uppercase())), "{dump}");
}
