//! On images of sfdisk and mke2fs, judged by sfdisk, sgdisk and e2fsck.

use super::super::made::{KINDS, LENGTH, Made, NUMBER, ROOT, table_of};
use super::super::root::{Attributes, Root};
use super::*;
use crate::table::Partition;
use crate::units::{GIB, Lba};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

fn grown(made: &Made, by: u64) -> Result<Table> {
    grow(&made.file(), &made.path, &made.table(), NUMBER, Bytes(by))
}

fn bytes(file: &File, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at).unwrap();
    bytes
}

fn size(path: &Path) -> u64 {
    size_and_block(path, ROOT).unwrap().0.0
}

/// The values of root that stay.
fn identity(made: &Made) -> Vec<String> {
    let stats = made.debugfs(&[], "stats -h");
    let keys = ["Filesystem volume name", "Filesystem UUID", "Filesystem features", "Inode size", "Block size"];
    keys.iter().map(|key| stats.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_root_of_any_kind_grows_in_either_table_and_keeps_what_it_has() {
    for (label, kind) in ["dos", "gpt"].into_iter().flat_map(|label| KINDS.map(|kind| (label, kind))) {
        let made = Made::make(label, kind, LENGTH);
        let (content, known) = (made.content(), identity(&made));
        let (before, file) = (made.table(), made.file());
        let head = bytes(&file, 0, ROOT as usize);
        let free = Root::open(&made.path, ROOT, 0).unwrap().free().0;

        let table = grown(&made, 300 * MIB).unwrap();
        let shown = format!("{label} {kind:?}");
        assert_eq!(table, made.table(), "{shown}");
        let root = &table.partitions[1];
        let (start, length) = extent(&table, root);
        assert_eq!((start, (start + length) % (4 * MIB)), (ROOT, 0), "{shown}");
        assert!((324 * MIB..=330 * MIB).contains(&length), "{shown}: {length}");
        let image = file.metadata().unwrap().len();
        assert_eq!(image, start + length + if label == "gpt" { 4 * MIB } else { 0 }, "{shown}");
        // A last group that is too short for its tables is left out.
        assert!((length - 2 * MIB..=length).contains(&size(&made.path)), "{shown}");
        assert!(Root::open(&made.path, ROOT, 0).unwrap().free().0 > free + 250 * MIB, "{shown}");

        assert_eq!(made.content(), content, "{shown}");
        assert_eq!(check(&made.path, ROOT).unwrap(), Checked::Sound, "{shown}");
        let [mut old, mut new] = [known, identity(&made)];
        // The one that resize2fs takes away where there is no room for more descriptors, and keeps otherwise.
        [&mut old, &mut new].iter_mut().for_each(|lines| lines[2] = lines[2].replace("resize_inode", ""));
        assert_eq!(new, old, "{shown}");

        // Every other entry, and every byte before root that is not the table's own.
        assert_eq!(table.partitions[0], before.partitions[0], "{shown}");
        assert_eq!(
            Partition { sectors: before.partitions[1].sectors, ..root.clone() },
            before.partitions[1],
            "{shown}"
        );
        let now = bytes(&file, 0, ROOT as usize);
        let differ: Vec<usize> = (0..head.len()).filter(|&at| head[at] != now[at]).collect();
        let path = made.path.to_str().unwrap();
        if label == "dos" {
            assert!(differ.iter().all(|at| (446 + 16..446 + 32).contains(at)), "{shown}: {differ:?}");
        } else {
            // The protective entry's length; in the header both checksums, the backup's place and the last sector; root's entry's last.
            let may = |at: &usize| {
                let header = [16..20, 32..40, 48..56, 88..92].iter().any(|range| range.contains(&at.wrapping_sub(512)));
                header || (458..462).contains(at) || (1024 + 128 + 40..1024 + 128 + 48).contains(at)
            };
            assert!(differ.iter().all(may), "{shown}: {differ:?}");
            let Scheme::Gpt { primary_sound, backup_sound, backup_at_end, .. } = table.scheme else { panic!("no GPT") };
            assert!(primary_sound && backup_sound && backup_at_end, "{shown}");
            let output = Program::new("sgdisk").args(["-v", path]).run().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(said.contains("No problems found"), "{shown}: {said}");
        }
        let output = Program::new("sfdisk").args(["--verify", path]).run().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("No errors detected"), "{shown}: {said}");
    }
}

#[test]
fn what_is_added_is_a_hole() {
    for label in ["dos", "gpt"] {
        let made = Made::plain(label);
        let before = made.file().metadata().unwrap().blocks();
        grown(&made, 4 * GIB).unwrap();
        let after = made.file().metadata().unwrap();
        assert!(after.len() > 4 * GIB && size(&made.path) > 4 * GIB, "{label}");
        let written = (after.blocks() - before) * 512;
        assert!(written < 96 * MIB, "{label}: {written}");
    }
}

#[test]
fn room_in_the_partition_is_used_first() {
    let short = 16 * MIB;
    for (by, size_after, image) in [
        (4 * MIB, LENGTH / 4096 * 4096, 32 * MIB),
        (0, LENGTH / 4096 * 4096, 32 * MIB),
        // The next multiple of 4 MiB: 6 + 16 + 20 are 42.
        (20 * MIB, 44 * MIB - ROOT, 44 * MIB),
    ] {
        let made = Made::make("dos", KINDS[0], short);
        let (before, content) = (made.table(), made.content());
        let table = grown(&made, by).unwrap();
        assert_eq!((size(&made.path), made.file().metadata().unwrap().len()), (size_after, image), "{by}");
        assert_eq!(table == before, by < 20 * MIB, "{by}");
        assert_eq!(made.content(), content, "{by}");
    }
    // Nothing to do: not a byte.
    let made = Made::plain("gpt");
    let before = fs::read(&made.path).unwrap();
    assert_eq!(grown(&made, 0).unwrap(), made.table());
    assert!(fs::read(&made.path).unwrap() == before);
}

/// An image that is longer than its table needs it keeps its length where that is enough.
#[test]
fn the_image_s_own_room_is_used() {
    let made = Made::plain("dos");
    made.file().set_len(100 * MIB + 512).unwrap();
    let table = grown(&made, 40 * MIB).unwrap();
    assert_eq!(made.file().metadata().unwrap().len(), 100 * MIB + 512);
    assert_eq!(extent(&table, &table.partitions[1]).1, 72 * MIB - ROOT);
}

#[test]
fn a_file_without_a_name_grows_as_well() {
    let made = Made::plain("gpt");
    let (file, path) = made.unnamed();
    let table = grow(&file, &path, &table_of(&file), NUMBER, Bytes(100 * MIB)).unwrap();
    assert_eq!(table, table_of(&file));
    assert!(size(&path) > 120 * MIB);
}

#[test]
fn what_cannot_grow_is_told_and_left_as_it_is() {
    let refused = |made: &Made, root: u32, by: u64, expected: &str| {
        let before = fs::read(&made.path).unwrap();
        let error = grow(&made.file(), &made.path, &made.table(), root, Bytes(by)).unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
        assert!(fs::read(&made.path).unwrap() == before, "{expected}");
    };
    let made = Made::plain("dos");
    refused(&made, 3, MIB, "growing the root file system (partition 3) by 1 MiB: it is not in the table");
    let expected = "root would end 2 TiB from the image's beginning, and an MBR counts to 2 TiB; grow it by less";
    refused(&made, NUMBER, 2048 * GIB, expected);
    refused(&made, NUMBER, u64::MAX, "cannot grow by");
    refused(&made, 1, MIB, "magic number");

    made.debugfs(&["-w"], "ssv state 0");
    refused(&made, NUMBER, 40 * MIB, "it was not unmounted");
    let made = Made::plain("dos");
    made.debugfs(&["-w"], "set_inode_field /etc/long links_count 7");
    refused(&made, NUMBER, 40 * MIB, "before it is grown: the root file system of the image is damaged: ");
    assert!(matches!(grown(&made, 40 * MIB), Err(error) if format!("{error:#}").contains("count is 7")));

    for label in ["dos", "gpt"] {
        let made = Made::plain(label);
        let behind = format!("start={}, size=1024", (ROOT + LENGTH).next_multiple_of(MIB) / 512);
        let script = format!("echo '{behind}' | /usr/sbin/sfdisk --quiet --append '{}'", made.path.display());
        Program::new("sh").args(["-c", &script]).run().unwrap();
        assert_eq!(made.table().partitions.len(), 3);
        refused(&made, NUMBER, 40 * MIB, "partition 3 lies behind root, so that root cannot become longer");
        refused(&made, NUMBER, 0, "partition 3 lies behind root");
    }
}

fn disk(scheme: Scheme, sector_size: u32, start: u64, sectors: u64) -> Table {
    let root = Partition { number: 1, start: Lba(start), sectors: Sectors(sectors), kind: String::new(), name: None };
    let (first_usable, last_usable) = (Lba(1), Lba(start + sectors));
    Table { scheme, sector_size, first_usable, last_usable, slots: 128, partitions: vec![root] }
}

#[test]
fn an_mbr_counts_to_two_tib_and_a_gpt_further() {
    let gib = GIB / 512;
    let ask = |scheme: Scheme, by: u64| target(&disk(scheme, 512, gib, gib), 1, 2 * GIB, Bytes(GIB), Bytes(by));
    let (mbr, gpt) = (Scheme::Mbr { signature: 1 }, || Scheme::Gpt {
        disk_guid: String::new(),
        primary_sound: true,
        backup_sound: true,
        backup_at_end: true,
    });
    let most = Target { sectors: Sectors(2047 * gib), image: 2048 * GIB };
    assert_eq!(ask(mbr.clone(), 2046 * GIB).unwrap(), most);
    assert!(ask(mbr, 2046 * GIB + 1).unwrap_err().to_string().contains("an MBR counts to 2 TiB"));
    let more = Target { sectors: Sectors(2047 * gib + 8192), image: 2048 * GIB + 8 * MIB };
    assert_eq!(ask(gpt(), 2046 * GIB + 1).unwrap(), more);
    // 4096 bytes in a sector: four of entries, and one.
    let large = disk(gpt(), 4096, 256, 1024);
    let image = 5 * MIB + 4096 * 5;
    let same = Target { sectors: Sectors(1024), image };
    assert_eq!(target(&large, 1, image, Bytes(MIB), Bytes(3 * MIB)).unwrap(), same);
    let grown = Target { sectors: Sectors(7 * 256), image: 12 * MIB };
    assert_eq!(target(&large, 1, image, Bytes(4 * MIB), Bytes(1)).unwrap(), grown);
    assert!(
        target(&large, 1, image, Bytes(5 * MIB), Bytes(1))
            .unwrap_err()
            .to_string()
            .contains("longer than its partition")
    );
}

const ROOM: Room = Room { block: 4096, blocks: 0, inodes: 0, extents: true, inode_per: 16384, inode_size: 256 };

#[test]
fn what_is_needed_is_what_is_short_with_a_margin() {
    let blocks = |bytes: u64| bytes / 4096;
    let plenty = Room { blocks: blocks(MARGIN.0) + 2 * 300 + 600, inodes: MARGIN_INODES + 300, ..ROOM };
    assert_eq!(needed(plenty, &[Bytes(1); 200], Bytes(0)), Needed::default());
    assert_eq!(needed(plenty, &[Bytes(4097); 300], Bytes(0)), Needed::default());
    // One block, or one inode: and a group.
    let one = needed(plenty, &[&[Bytes(4097); 299][..], &[Bytes(8193)]].concat(), Bytes(0));
    assert!((8 * MIB..8 * MIB + 8192).contains(&one.bytes.0) && !one.for_inodes, "{one:?}");
    let one = needed(plenty, &[Bytes(0); 301], Bytes(0));
    assert_eq!(one, Needed { bytes: Bytes(8 * MIB + 16384), for_inodes: true });
    // What the node unpacks counts with what it has around it.
    let unpacked = needed(plenty, &[], Bytes(100 * MIB)).bytes.0;
    assert!((110 * MIB..300 * MIB).contains(&unpacked), "{unpacked}");
    // A full one, and numbers that no image has.
    assert!(needed(ROOM, &[], Bytes(0)).bytes > MARGIN);
    assert!(needed(ROOM, &[Bytes(u64::MAX); 3], Bytes(u64::MAX)).bytes.0 > 1 << 60);
    assert!(needed(Room { inode_per: 0, inode_size: u64::MAX >> 1, ..ROOM }, &[], Bytes(0)).bytes > MARGIN);
}

/// What it says is enough, whatever the file system costs itself.
#[test]
fn a_root_that_grew_by_what_is_needed_holds_it() {
    for kind in KINDS {
        let made = Made::make("dos", kind, LENGTH);
        let files: Vec<Bytes> = (0..300).map(|n| Bytes(n * 1000)).collect();
        let room = Root::open(&made.path, ROOT, 0).unwrap().room();
        let unpacked = Bytes(50 * MIB);
        grown(&made, needed(room, &files, unpacked).bytes.0).unwrap();
        let mut root = Root::open(&made.path, ROOT, 0).unwrap();
        assert_eq!(needed(root.room(), &files, unpacked), Needed::default(), "{kind:?}");
        let attributes = Attributes { mode: 0o644, uid: 0, gid: 0, mtime: 0 };
        for (n, length) in files.iter().enumerate() {
            root.write(&format!("etc/many/new-{n}"), &vec![7; length.0 as usize], &attributes).unwrap();
        }
        let room = root.room();
        assert!(room.bytes().0 >= MARGIN.0 + unpacked.0 && room.inodes >= MARGIN_INODES, "{kind:?}: {room:?}");
        root.close().unwrap();
        assert_eq!(check(&made.path, ROOT).unwrap(), Checked::Sound, "{kind:?}");
    }
}
