//! File systems of an image that were not unmounted, or are of another kind than usual: put in order, or refused.

use crate::common::{BOOT, said};
use crate::refused::given;
use crate::rows::{self, ROOT};
use crate::{bake, names, text};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::Command;

#[test]
fn a_journal_is_replayed_before_anything_else() {
    let given = given(&rows::noble());
    let place = format!("{}?offset={ROOT}", text(&given.image));
    let block = said("debugfs", &["-R", "blocks /home/pi/.profile", &place], b"");
    let number = block.lines().next().unwrap().trim();
    assert!(number.parse::<u64>().is_ok(), "{block}");
    let content = given.directory.path().join("block");
    let mut bytes = b"# replayed\n".to_vec();
    bytes.resize(4096, 0);
    fs::write(&content, bytes).unwrap();
    let script = given.directory.path().join("script");
    fs::write(&script, format!("journal_open\njournal_write -b {number} {}\njournal_close\n", text(&content))).unwrap();
    said("debugfs", &["-w", "-f", text(&script), &place], b"");

    let out = given.out();
    let ran = bake(&[&[text(&given.image), "-o", &out], &given.debs()[..]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("was not unmounted: its journal was replayed"), "{}", ran.err);
    let baked = format!("{out}?offset={ROOT}");
    said("e2fsck", &["-f", "-n", &baked], b"");
    let read = said("debugfs", &["-R", "cat /home/pi/.profile", &baked], b"");
    // As much of it as the file is long.
    assert!(read.starts_with("# repla"), "{read}");
    let planned = bake(&[&[text(&given.image), "--plan"], &given.debs()[..]].concat()).done();
    assert!(planned.contains("Note: the root file system was not unmounted."), "{planned}");
}

/// As a card is that comes out of a node whose power went.
#[test]
fn a_boot_partition_that_was_not_unmounted() {
    let given = given(&rows::trixie());
    let debs = given.debs();
    // A FAT16.
    let image = given.with(BOOT + 0x25, &[1]);
    let planned = bake(&[&[text(&image), "--plan"], &debs[..]].concat()).done();
    assert!(planned.contains("Note: the boot partition was not unmounted."), "{planned}");
    let out = given.out();
    let ran = bake(&[&[text(&image), "-o", &out], &debs[..]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(
        ran.err.contains("the boot partition of the image was not unmounted: nothing else is wrong"),
        "{}",
        ran.err
    );
    let mut state = [1];
    fs::File::open(&out).unwrap().read_exact_at(&mut state, BOOT + 0x25).unwrap();
    assert_eq!(state, [0]);
    names(given.output.path()).iter().for_each(|name| fs::remove_file(given.output.path().join(name)).unwrap());

    // And a cluster that belongs to nothing, near the end of the first table.
    let file = OpenOptions::new().read(true).write(true).open(&image).unwrap();
    let mut sector = [0; 64];
    file.read_exact_at(&mut sector, BOOT).unwrap();
    let at = |place: usize| u64::from(u16::from_le_bytes([sector[place], sector[place + 1]]));
    let table = BOOT + at(14) * 512;
    file.write_all_at(&[0xFF, 0xFF], table + (at(22) - 2) * 512).unwrap();
    let said_by = given.refused(&image, 1, &debs);
    assert!(said_by.contains("copy.img: its boot partition was not unmounted, and has damage"), "{said_by}");
    assert!(said_by.contains("dd if=COPY of=boot.fat bs=512 skip=8192 count="), "{said_by}");
}

#[test]
fn a_root_that_is_no_ext4_or_has_no_journal_is_refused() {
    let row = rows::noble();
    let mut given = given(&row);
    const EXT4: [&str; 4] = ["-b", "4096", "-O", "^has_journal"];
    const EXT3: [&str; 4] =
        ["-b", "4096", "-O", "^extent,^64bit,^flex_bg,^metadata_csum,^huge_file,^dir_nlink,^extra_isize,^uninit_bg"];
    const EXT2: [&str; 4] = [
        "-b",
        "4096",
        "-O",
        "^has_journal,^extent,^64bit,^flex_bg,^metadata_csum,^huge_file,^dir_nlink,^extra_isize,^uninit_bg",
    ];
    for (ext4, found, features) in [
        (&EXT4, "the root file system has no journal", "has_journal"),
        (&EXT2, "the root file system is an ext2", "has_journal,extents"),
        (&EXT3, "the root file system is an ext3", "has_journal,extents"),
    ] {
        let shape = crate::common::Shape { ext4, ..rows::ROOMY };
        given.image = row.make_as(given.directory.path(), "plain.img", shape);
        let said_by = given.refused(&given.image, 3, &given.debs());
        assert!(said_by.contains(found), "{said_by}");
        let remedy = format!("`tune2fs -O {features} 'COPY?offset={ROOT}'`");
        assert!(said_by.contains(&remedy), "{said_by}");
        said("tune2fs", &["-O", features, &format!("{}?offset={ROOT}", text(&given.image))], b"");
        let out = given.out();
        bake(&[&[text(&given.image), "-o", &out], &given.debs()[..]].concat()).done();
        let shown = Command::new(env!("CARGO_BIN_EXE_burnonce")).args(["inspect", &out]).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("ext4 \""), "{shown}");
        names(given.output.path()).iter().for_each(|name| fs::remove_file(given.output.path().join(name)).unwrap());
    }
}

#[test]
fn errors_that_are_recorded_are_refused() {
    let given = given(&rows::noble());
    let place = format!("{}?offset={ROOT}", text(&given.image));
    said("debugfs", &["-w", "-R", "ssv state 3", &place], b"");
    let said_by = given.refused(&given.image, 3, &given.debs());
    assert!(said_by.contains("the root file system has errors recorded in its superblock"), "{said_by}");
    assert!(said_by.contains("download the image again"), "{said_by}");
}
