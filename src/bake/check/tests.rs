//! On images of mke2fs and mkfs.fat that are not in order.

use super::super::made::{KINDS, LENGTH, Made, ROOT};
use super::super::root::Root;
use super::*;
use crate::units::MIB;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Writes one block of a file's into the journal, and nowhere else, as a power cut leaves it.
fn journal(made: &Made, content: &str) {
    let block: usize = made
        .debugfs(&[], "stats -h")
        .split("Block size:")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let at = made.debugfs(&[], "blocks /etc/hostname");
    let [new, script] = ["new", "script"].map(|name| made.directory.path().join(name));
    let mut bytes = content.as_bytes().to_vec();
    bytes.resize(block, 0);
    fs::write(&new, bytes).unwrap();
    fs::write(&script, format!("journal_open\njournal_write -b {at} {}\njournal_close\n", new.display())).unwrap();
    let place = format!("{}?offset={ROOT}", made.path.display());
    Program::new("debugfs").args(["-w", "-f", script.to_str().unwrap(), &place]).run().unwrap();
}

#[test]
fn a_journal_is_replayed_in_the_image_and_in_a_file_without_a_name() {
    for kind in
        KINDS.iter().filter(|(features, _)| !features.contains("has_journal") && !features.contains("inline_data"))
    {
        let made = Made::make("dos", *kind, LENGTH);
        let mut expected = made.content();
        journal(&made, "new\n");
        assert_eq!(made.content()["etc/hostname"], "old\n", "{kind:?}");
        assert!(Root::open(&made.path, ROOT, 0).is_err(), "{kind:?}");
        let before = fs::read(&made.path).unwrap();

        let (file, path) = made.unnamed();
        assert!(repair(&path, ROOT).unwrap(), "{kind:?}");
        assert!(Root::open(&path, ROOT, 0).is_ok() && check(&path, ROOT).unwrap() == Checked::Sound, "{kind:?}");
        drop(file);

        assert!(repair(&made.path, ROOT).unwrap(), "{kind:?}");
        expected.insert("etc/hostname".to_owned(), "new\n".to_owned());
        assert_eq!(made.content(), expected, "{kind:?}");
        let after = fs::read(&made.path).unwrap();
        assert!(after.len() == before.len() && after[..ROOT as usize] == before[..ROOT as usize], "{kind:?}");
        // The second time there is nothing to do.
        assert!(!repair(&made.path, ROOT).unwrap(), "{kind:?}");
        assert!(fs::read(&made.path).unwrap() == after, "{kind:?}");
    }
}

#[test]
fn one_that_was_not_unmounted_is_got_into_order() {
    let in_order = |requests: &dyn Fn(&str) -> Vec<String>| {
        let made = Made::plain("dos");
        let number = made.debugfs(&[], "stat /etc/long").split_whitespace().nth(1).unwrap().to_owned();
        let requests = requests(&number);
        for request in &requests {
            made.debugfs(&["-w"], request);
        }
        assert!(repair(&made.path, ROOT).unwrap(), "{requests:?}");
        assert_eq!(check(&made.path, ROOT).unwrap(), Checked::Sound, "{requests:?}");
        assert!(Root::open(&made.path, ROOT, 0).is_ok(), "{requests:?}");
    };
    in_order(&|_| vec!["ssv state 0".to_owned()]);
    // An inode without a name, on the list of those that were deleted while they were open.
    in_order(&|number| {
        let nameless = format!("sif <{number}> links_count 0");
        vec!["unlink /etc/long".to_owned(), nameless, format!("ssv last_orphan {number}")]
    });
}

#[test]
fn recorded_errors_and_damage_are_not_repaired() {
    let made = Made::plain("dos");
    made.debugfs(&["-w"], "ssv state 3");
    let before = fs::read(&made.path).unwrap();
    let error = repair(&made.path, ROOT).unwrap_err().to_string();
    assert!(
        error.starts_with("errors are recorded in the root file system of the image. Download the image again"),
        "{error}"
    );
    assert!(fs::read(&made.path).unwrap() == before);

    let made = Made::plain("dos");
    for request in ["clri /etc", "ssv state 0"] {
        made.debugfs(&["-w"], request);
    }
    let error = format!("{:#}", repair(&made.path, ROOT).unwrap_err());
    assert!(error.starts_with("the root file system of the image was not unmounted, and has damage"), "{error}");
    assert!(
        error.contains("UNEXPECTED INCONSISTENCY") && error.ends_with("look at what was lost, and use that"),
        "{error}"
    );

    let error = format!("{:#}", repair(&made.path, 0).unwrap_err());
    assert!(error.starts_with("looking at the root file system: "), "{error}");
}

#[test]
fn a_check_says_what_is_wrong_and_writes_nothing() {
    let made = Made::plain("gpt");
    assert_eq!(check(&made.path, ROOT).unwrap(), Checked::Sound);
    made.debugfs(&["-w"], "sif /etc/long links_count 7");
    let before = fs::read(&made.path).unwrap();
    let error = check(&made.path, ROOT).unwrap_err().to_string();
    let expected = "the root file system of the image is damaged: Inode ";
    assert!(error.starts_with(expected) && error.contains("count is 7, should be 1"), "{error}");
    assert!(fs::read(&made.path).unwrap() == before);
    let error = check(&made.path, 0).unwrap_err().to_string();
    assert!(error.contains("could not be checked (e2fsck, code 8)") && error.contains("magic number"), "{error}");
}

#[test]
fn a_fat_is_checked_in_a_copy_with_holes() {
    const START: u64 = MIB + 512;
    const FAT: u64 = 64 * MIB;
    let directory = tempfile::TempDir::new().unwrap();
    let [alone, image] = ["fat", "image"].map(|name| directory.path().join(name));
    File::create(&alone).unwrap().set_len(FAT).unwrap();
    Program::new("mkfs.fat").args(["-F", "32", "-s", "1", alone.to_str().unwrap()]).run().unwrap();
    let file = File::options().create_new(true).read(true).write(true).open(&image).unwrap();
    file.set_len(START + FAT + MIB).unwrap();
    file.write_all_at(&[0xAA; 512], START - 512).unwrap();
    crate::sparse::put(&file, START, &fs::read(&alone).unwrap()).unwrap();
    assert_eq!(check_fat(&file, START, FAT).unwrap(), Checked::Sound);
    let copied = Copy::make(&file, START, FAT).unwrap();
    assert!(fs::read(&copied.path).unwrap() == fs::read(&alone).unwrap());
    assert!(copied.file.metadata().unwrap().blocks() * 512 < 4 * MIB);

    // A cluster that is in use and belongs to nothing, in the first of the two tables: behind 32 sectors that are reserved.
    file.write_all_at(&[0xFF, 0xFF, 0xFF, 0x0F], START + 32 * 512 + 4 * 100).unwrap();
    let error = check_fat(&file, START, FAT).unwrap_err().to_string();
    assert!(error.starts_with("the boot partition of the image is damaged (fsck.fat, code 1): FATs differ"), "{error}");
    let error = format!("{:#}", check_fat(&file, START, FAT + 2 * MIB).unwrap_err());
    assert_eq!(error, "copying the boot partition to check it: the image ends before it");
    assert!(check_fat(&file, 0, MIB).is_err() && check_fat(&file, u64::MAX, 2).is_err());
}
