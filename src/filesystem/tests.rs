//! On image files; the programs of e2fsprogs, dosfstools and util-linux must be there.

use super::*;
use crate::units::GIB;
use std::os::unix::fs::{FileExt, MetadataExt};
use tempfile::{NamedTempFile, TempDir};

const STATE: &str = "{\"version\":1}\n";

/// A sparse file.
fn disk(length: u64) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(length).unwrap();
    file
}

/// A file that was used before: random bytes in its first and last 72 MiB and at every 128 MiB, where metadata may come to lie.
fn used(length: u64) -> NamedTempFile {
    let file = disk(length);
    let mut noise = vec![0u8; MIB as usize];
    File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
    for mib in 0..length / MIB {
        if mib < 72 || mib > length / MIB - 72 || mib % 128 < 8 {
            file.as_file().write_all_at(&noise, mib * MIB).unwrap();
        }
    }
    file
}

/// The tree that an upper starts with.
fn content() -> TempDir {
    let dir = TempDir::new().unwrap();
    for name in ["overlay", "overlay-workdir", "burnonce", "burnonce/generations"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    std::fs::write(dir.path().join("burnonce/state.json"), STATE).unwrap();
    dir
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

/// What a program prints; it must succeed.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Program::new(program).args(arguments.iter().copied()).run().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn check(file: &NamedTempFile) {
    said("e2fsck", &["-fn", path(file)]);
}

/// A line of `dumpe2fs -h`.
fn header(file: &NamedTempFile, key: &str) -> String {
    let text = said("dumpe2fs", &["-h", path(file)]);
    let line =
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap_or_else(|| panic!("no {key}"));
    line.trim().to_owned()
}

fn superblock(file: &NamedTempFile) -> Superblock {
    match probe(file.path()).unwrap() {
        Content::Ext(superblock) => superblock,
        other => panic!("{other:?}"),
    }
}

/// A small ext4 made by mke2fs's defaults, with the options given.
fn plain(options: &[&str]) -> NamedTempFile {
    let file = disk(64 * MIB);
    Program::new("mke2fs").args(["-q", "-t", "ext4"]).args(options.iter().copied()).arg(path(&file)).run().unwrap();
    file
}

fn change_bytes(file: &NamedTempFile, at: u64, bytes: &[u8]) {
    file.as_file().write_all_at(bytes, at).unwrap();
}

#[test]
fn inodes_follow_the_size_of_the_card() {
    for (length, count) in [
        (16 * MIB, 1024),
        (512 * MIB, 32_768),
        (GIB, 65_536),
        (4 * GIB, 262_144),
        (8 * GIB, 524_288),
        (16 * GIB, 524_288),
        (32 * GIB, 524_288),
        (64 * GIB, 786_432),
        (1024 * GIB, 8_650_752),
        (u64::MAX, 4_294_967_295),
    ] {
        assert_eq!(options::inodes(Bytes(length)), count, "{}", Bytes(length));
    }
}

#[test]
fn the_journal_follows_the_size_of_the_card() {
    for (length, mib) in [(16 * MIB, 4), (512 * MIB, 4), (GIB, 8), (4 * GIB, 32), (8 * GIB, 64), (1024 * GIB, 64)] {
        assert_eq!(options::journal(Bytes(length)), mib, "{}", Bytes(length));
    }
}

#[test]
fn an_upper_on_a_used_device_is_clean_and_ours() {
    let file = used(GIB);
    make(file.path(), Bytes(GIB), content().path(), 1).unwrap();
    check(&file);
    let found = superblock(&file);
    // The last block is left for the mark of the attempt.
    assert_eq!((found.label.as_str(), found.size), ("burnonce", Bytes(GIB - options::BLOCK)));
    assert_eq!(mark::attempts(file.as_file(), GIB).unwrap(), 1);
    assert_eq!((found.clean, found.errors, found.sealed), (true, false, false));
    assert_eq!(found.owner, Owner::Ours { state: STATE.to_owned(), used: false });
    // The layout that `ext2::Facts` reads, as e2fsprogs itself reads it.
    for (key, value) in [
        ("Filesystem UUID", found.uuid.as_str()),
        ("Filesystem volume name", "burnonce"),
        ("Block count", "262143"),
        ("Block size", "4096"),
        ("Inode count", "65536"),
        ("Inode size", "256"),
        ("Errors behavior", "Remount read-only"),
        ("Filesystem state", "clean"),
        ("Total journal size", "8M"),
        ("Reserved block count", "2621"),
        (
            "Filesystem features",
            "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg sparse_super large_file huge_file \
             dir_nlink extra_isize metadata_csum",
        ),
    ] {
        assert_eq!(header(&file, key), value, "{key}");
    }
}

#[test]
fn an_upper_has_room_for_two_tib_or_sixteen_times_as_far_as_ext4_can_reserve() {
    for (length, room) in [
        (16 * MIB, 16 * GIB),
        (GIB, 1024 * GIB),
        (8 * GIB, 2048 * GIB),
        (128 * GIB, 2048 * GIB),
        (1000 * GIB, 16_000 * GIB),
        (1024 * GIB, 16_384 * GIB - 4096),
        (8192 * GIB, 16_384 * GIB - 4096),
    ] {
        assert_eq!(options::room(Bytes(length)), Some(Bytes(room)), "{}", Bytes(length));
        assert!(room / 4096 <= u64::from(u32::MAX), "a number that mke2fs of a 32-bit machine cannot read");
    }
    for length in [16_384 * GIB - 4096, 16_384 * GIB, u64::MAX] {
        assert_eq!(options::room(Bytes(length)), None, "{}", Bytes(length));
        assert!(!options::of(Bytes(length)).iter().any(|word| word.contains("resize=")));
    }
    for length in [64 * MIB, GIB, 8 * GIB, 64 * GIB, 1024 * GIB] {
        let file = disk(length);
        make(file.path(), Bytes(length), content().path(), 1).unwrap();
        // A group has 128 MiB; its descriptor has 64 bytes, of a block of 4 KiB.
        let blocks = |length: u64| length.div_ceil(64 * 128 * MIB);
        let reserved = blocks(options::room(Bytes(length)).unwrap().0) - blocks(length);
        assert_eq!(header(&file, "Reserved GDT blocks"), reserved.min(1024).to_string(), "{}", Bytes(length));
    }
}

#[test]
fn an_upper_can_grow_to_seventy_two_times_its_size() {
    let file = disk(GIB);
    make(file.path(), Bytes(GIB), content().path(), 1).unwrap();
    file.as_file().set_len(72 * GIB).unwrap();
    said("resize2fs", &[path(&file)]);
    check(&file);
    assert_eq!(superblock(&file).size, Bytes(72 * GIB));
}

/// Bytes that a sparse file has.
fn allocated(file: &NamedTempFile) -> u64 {
    file.as_file().metadata().unwrap().blocks() * 512
}

#[test]
fn what_is_zero_is_not_written_again() {
    let file = disk(64 * GIB);
    make(file.path(), Bytes(64 * GIB), content().path(), 1).unwrap();
    assert!(allocated(&file) < 2 * MIB, "making an upper of 64 GiB has written {}", Bytes(allocated(&file)));
    let file = disk(4 * MIB);
    change_bytes(&file, 70_000, b"an earlier life");
    wipe(file.path(), Bytes(4 * MIB), 1).unwrap();
    // One piece of 64 KiB, and the mark.
    assert_eq!(allocated(&file), (64 + 4) << 10);
    let mut first = vec![1; MIB as usize];
    file.as_file().read_exact_at(&mut first, 0).unwrap();
    assert!(first.iter().all(|&byte| byte == 0));
}

#[test]
fn two_uppers_have_two_uuids() {
    let uuid = || {
        let file = disk(64 * MIB);
        make(file.path(), Bytes(64 * MIB), content().path(), 1).unwrap();
        superblock(&file).uuid
    };
    assert_ne!(uuid(), uuid());
}

#[test]
fn what_an_earlier_life_left_at_both_ends_is_gone() {
    let file = disk(256 * MIB);
    said("sgdisk", &["-n", "1:2048:4095", path(&file)]);
    make(file.path(), Bytes(256 * MIB), content().path(), 1).unwrap();
    check(&file);
    assert_eq!(
        said("wipefs", &["--noheadings", "--output", "TYPE", path(&file)]).split_whitespace().collect::<Vec<_>>(),
        ["ext4"]
    );
}

#[test]
fn an_upper_larger_than_its_device_is_refused_before_anything_is_written() {
    let file = disk(64 * MIB);
    change_bytes(&file, 0, b"precious");
    let error = format!("{:#}", make(file.path(), Bytes(65 * MIB), content().path(), 1).unwrap_err());
    assert!(error.ends_with("it has 64 MiB, less than the 65 MiB that the file system is to have"), "{error}");
    let error = format!("{:#}", make(file.path(), Bytes(MIB), content().path(), 1).unwrap_err());
    assert_eq!(error, "1 MiB are too few for the upper file system: at least 16 MiB are needed");
    assert_eq!(probe(file.path()).unwrap(), Content::Unknown);
}

#[test]
fn content_is_recognised() {
    let blank = disk(8 * MIB);
    assert_eq!(probe(blank.path()).unwrap(), Content::Blank);
    change_bytes(&blank, 700_000, b"x");
    assert_eq!(probe(blank.path()).unwrap(), Content::Unknown);
    assert_eq!(probe(disk(0).path()).unwrap(), Content::Blank, "an empty file");
    assert_eq!(probe(disk(700).path()).unwrap(), Content::Blank, "less than a superblock");

    let swap = disk(8 * MIB);
    said("mkswap", &["-L", "a label", path(&swap)]);
    assert_eq!(
        probe(swap.path()).unwrap(),
        Content::Other { name: "swap".to_owned(), label: Some("a label".to_owned()) }
    );

    let table = disk(8 * MIB);
    said("sgdisk", &["-n", "1:2048:4095", path(&table)]);
    assert_eq!(probe(table.path()).unwrap(), Content::Other { name: "gpt partition table".to_owned(), label: None });

    // The signature of a romfs beside an ext4 superblock. blkid of Debian 12 does not decide which of them is the content, that of
    // Debian 13 takes ext4; nothing else would do.
    let both = plain(&[]);
    change_bytes(&both, 0, b"-rom1fs-");
    match probe(both.path()).unwrap() {
        Content::Other { name, label: None } => assert_eq!(name, "ambivalent (signatures of more than one kind)"),
        Content::Ext(superblock) => assert_eq!(superblock.owner, Owner::Empty),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_owner_of_a_file_system_is_told_from_its_root_directory() {
    assert_eq!(superblock(&plain(&[])).owner, Owner::Empty);

    let dir = TempDir::new().unwrap();
    for name in ["zeta", "alpha", "burnonce"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    let tree = dir.path().to_str().unwrap();
    let names = ["alpha", "burnonce", "zeta"].map(str::to_owned).to_vec();
    assert_eq!(superblock(&plain(&["-d", tree])).owner, Owner::Files { names: names.clone() });

    // A link or a directory named state.json is no state.
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("burnonce/state.json")).unwrap();
    assert_eq!(superblock(&plain(&["-d", tree])).owner, Owner::Files { names: names.clone() });
    std::fs::remove_file(dir.path().join("burnonce/state.json")).unwrap();
    std::fs::create_dir(dir.path().join("burnonce/state.json")).unwrap();
    assert_eq!(superblock(&plain(&["-d", tree])).owner, Owner::Files { names });

    std::fs::remove_dir(dir.path().join("burnonce/state.json")).unwrap();
    std::fs::write(dir.path().join("burnonce/state.json"), "s".repeat(70_000)).unwrap();
    for features in ["metadata_csum,extent", "^metadata_csum,^64bit,^extent", "inline_data", "bigalloc"] {
        let found = superblock(&plain(&["-O", features, "-d", tree]));
        assert_eq!(found.owner, Owner::Ours { state: "s".repeat(65_536), used: false }, "{features}");
    }
}

#[test]
fn a_large_root_directory_is_not_read_to_its_end() {
    let dir = TempDir::new().unwrap();
    for i in 0..3000 {
        std::fs::write(dir.path().join(format!("file-{i:04}")), "").unwrap();
    }
    match superblock(&plain(&["-N", "4096", "-d", dir.path().to_str().unwrap()])).owner {
        Owner::Files { names } => assert_eq!(names.len(), 10),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_system_longer_than_its_device_is_reported_with_its_size() {
    let file = disk(GIB);
    make(file.path(), Bytes(GIB), content().path(), 1).unwrap();
    file.as_file().set_len(512 * MIB).unwrap();
    assert_eq!(superblock(&file).size, Bytes(GIB - options::BLOCK));
}

/// What is wrong, where it is broken, with which bytes, and how the reason ends.
#[test]
fn a_broken_file_system_is_unreadable_for_a_reason() {
    for (what, at, bytes, reason) in [
        ("checksum", 1024 + 0x78, &b"other"[..], "checksum does not match superblock"),
        ("blocks per group 0", 1024 + 0x20, &[0; 4], "superblock"),
        ("block size", 1024 + 0x18, &[0xff; 4], "superblock"),
        ("root inode", 0, &[], "inode checksum does not match inode"),
    ] {
        let file = plain(&[]);
        match what {
            "root inode" => {
                let table = said("dumpe2fs", &[path(&file)]);
                let line = table.lines().find_map(|l| l.trim().strip_prefix("Inode table at ")).unwrap();
                let block: u64 = line.split('-').next().unwrap().parse().unwrap();
                let size: u64 = header(&file, "Block size").parse().unwrap();
                change_bytes(&file, block * size + 256, &[0xff; 256]);
            }
            _ => change_bytes(&file, at, bytes),
        }
        match superblock(&file).owner {
            Owner::Unreadable { reason: found } => assert!(found.to_lowercase().contains(reason), "{what}: {found}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn states_of_a_superblock_are_told_apart() {
    let file = plain(&["-O", "^metadata_csum"]);
    assert_eq!((superblock(&file).clean, superblock(&file).errors), (true, false));
    change_bytes(&file, 1024 + 0x3A, &[0, 0]);
    assert_eq!((superblock(&file).clean, superblock(&file).errors), (false, false), "mounted, or cut off");
    change_bytes(&file, 1024 + 0x3A, &[3, 0]);
    assert_eq!((superblock(&file).clean, superblock(&file).errors), (true, true), "the error flag");
    change_bytes(&file, 1024 + 0x3A, &[1, 0]);
    change_bytes(&file, 1024 + 0x194, &[7, 0, 0, 0]);
    assert_eq!((superblock(&file).clean, superblock(&file).errors), (true, true), "an error count");
    change_bytes(&file, 1024 + 0x194, &[0; 4]);
    let mut incompat = [0; 4];
    file.as_file().read_exact_at(&mut incompat, 1024 + 0x60).unwrap();
    incompat[0] |= 4;
    change_bytes(&file, 1024 + 0x60, &incompat);
    assert_eq!((superblock(&file).clean, superblock(&file).errors), (false, false), "needs its journal replayed");
}

#[test]
fn a_glance_tells_the_label_and_whether_a_check_is_asked_for() {
    let file = plain(&["-L", "burnonce"]);
    let seen = || glance(file.path()).unwrap().unwrap();
    assert_eq!((seen().label, seen().uuid, seen().check), ("burnonce".to_owned(), superblock(&file).uuid, None));
    for (count, maximum, asks) in
        [(5u16, 0u16, false), (5, u16::MAX, false), (5, 6, false), (5, 5, true), (7, 5, true), (65_535, 32_767, true)]
    {
        change_bytes(&file, 1024 + 0x34, &[count.to_le_bytes(), maximum.to_le_bytes()].concat());
        assert_eq!(seen().check.is_some(), asks, "{count} of {maximum}");
    }
    change_bytes(&file, 1024 + 0x3A, &[0, 0]);
    assert_eq!((seen().check, seen().errors), (Some("it was not unmounted"), false));
    change_bytes(&file, 1024 + 0x194, &[1]);
    assert_eq!((seen().check, seen().errors), (Some("errors were found on it"), true));
    change_bytes(&file, 1024 + 0x38, &[0]);
    assert_eq!(glance(file.path()).unwrap(), None);
    assert_eq!(glance(disk(1024).path()).unwrap(), None, "too short for a superblock");
}

#[test]
fn a_seal_is_set_and_broken_and_either_twice() {
    let file = plain(&[]);
    assert!(!sealed(file.path()).unwrap());
    for _ in 0..2 {
        seal(file.path()).unwrap();
        assert!(sealed(file.path()).unwrap() && superblock(&file).sealed);
        check(&file);
    }
    assert!(header(&file, "Filesystem features").split(' ').any(|feature| feature == "read-only"));
    for _ in 0..2 {
        unseal(file.path()).unwrap();
        assert!(!sealed(file.path()).unwrap() && !superblock(&file).sealed);
        check(&file);
    }
    let error = format!("{:#}", seal(disk(MIB).path()).unwrap_err());
    assert!(error.ends_with("has no ext4 superblock"), "{error}");
}

/// A feature is written, and its checksum is not.
#[test]
fn a_superblock_of_which_half_was_written_is_put_back() {
    for file in [plain(&[]), plain(&["-O", "^metadata_csum"])] {
        let bytes = || super::superblock(file.path()).unwrap();
        let first = bytes();
        assert!(ext2::is_whole(&first));
        let checked = first[0x65] & 4 != 0;
        let half = || change_bytes(&file, 1024 + 0x65, &[first[0x65] | 0x10]);
        let ((), kept) = keeping_superblock(file.path(), half);
        kept.unwrap();
        assert_eq!(bytes() == first, checked, "without a checksum there is nothing to see");
        // What is whole stays as it was made, and what was not whole before is not put back.
        keeping_superblock(file.path(), || seal(file.path()).unwrap()).1.unwrap();
        assert!(sealed(file.path()).unwrap());
        change_bytes(&file, 1024 + 0x38, &[0]);
        keeping_superblock(file.path(), || change_bytes(&file, 1024 + 0x39, &[0])).1.unwrap();
        assert_eq!(bytes()[0x38..0x3A], [0, 0]);
    }
}

mod garbage {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// Any bytes in a superblock give facts or none, and any damage to a small file system an answer.
        #[test]
        fn any_superblock_gives_an_answer(flips in prop::collection::vec((0u64..40_960, any::<u8>()), 1..40)) {
            let file = plain(&["-O", "^metadata_csum"]);
            for (at, byte) in flips {
                change_bytes(&file, at, &[byte]);
            }
            change_bytes(&file, 1024 + 0x38, &[0x53, 0xEF]);
            prop_assert!(probe(file.path()).is_ok());
        }
    }
}
