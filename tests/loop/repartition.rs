//! Cards that come from another one: copied onto a smaller card, restored without the upper, burned anew, divided up by somebody.

use crate::card::{Card, run, text, write_at};
use std::fs;
use std::path::Path;
use std::process::Output;

const CARD_MIB: u64 = 2048;
/// Where the upper begins, in sectors.
const UPPER: u64 = 565_248;

/// A card that has been converted, and whose node has written a file.
fn converted() -> Card {
    let mut card = Card::burned(CARD_MIB);
    card.boot(false);
    let output = card.burnonce(&["converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    card.eject();
    card.insert(false);
    card.write(3, |upper| fs::write(upper.join("overlay/written"), "by the node").unwrap());
    card.eject();
    card
}

fn set_length(card: &Card, mib: u64) {
    fs::OpenOptions::new().write(true).open(card.file()).unwrap().set_len(mib << 20).unwrap();
}

fn delete_third(card: &Card) {
    run("sfdisk", &["--quiet", "--delete", card.file().to_str().unwrap(), "3"]);
}

/// What a new upper must be: in the table up to the end of the card, sound, ours, and empty.
fn assert_new_upper(card: &mut Card, mib: u64) {
    assert_eq!(card.table()[2], (3, UPPER, mib * 2048 - UPPER));
    card.insert(false);
    run("e2fsck", &["-fn", &card.partition(3)]);
    card.look(3, |upper| {
        let state: serde_json::Value =
            serde_json::from_slice(&fs::read(upper.join("burnonce/state.json")).unwrap()).unwrap();
        assert_eq!(state["generation"], 1);
        assert_eq!(fs::read_dir(upper.join("overlay")).unwrap().count(), 0, "it has something in it");
    });
    let disk = fs::File::open(card.device()).unwrap();
    assert_eq!(
        burnonce::filesystem::mark::attempts(&disk, mib << 20).unwrap(),
        0,
        "the mark of the attempt is still there"
    );
    card.eject();
    card.boot(true);
    let output = card.burnonce(&["converge"]);
    assert!(text(&output).contains("converged in") && output.status.code() == Some(0), "{}", text(&output));
    card.eject();
}

fn code(output: &Output, expected: i32) -> String {
    assert_eq!(output.status.code(), Some(expected), "{}", text(output));
    // Lines are wrapped for a terminal.
    text(output).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_copy_onto_a_smaller_card_says_by_how_much_and_is_repartitioned() {
    let mut card = converted();
    set_length(&card, 1024);
    let before = card.first_sector();
    card.boot_on_memory();
    let said = code(&card.burnonce(&["-v", "converge", "--no-reboot"]), 4);
    assert!(said.contains("reaches 1 GiB past the end of the card") && said.contains("burnonce repartition"), "{said}");
    let said = code(&card.burnonce(&["status"]), 4);
    assert!(said.contains("reaches 1 GiB past the end of the card") && said.contains("burnonce repartition"), "{said}");
    // Without a terminal nobody can be asked, and nothing happens.
    let said = code(&card.burnonce(&["repartition"]), 3);
    assert!(said.contains("there is no terminal to ask on"), "{said}");
    assert!(
        said.contains("take /dev/loop") && said.contains("the upper, with all that this node has written"),
        "{said}"
    );
    assert_eq!(card.first_sector(), before);
    code(&card.burnonce(&["repartition", "--yes", "--no-reboot"]), 0);
    card.eject();
    assert_new_upper(&mut card, 1024);
}

#[test]
fn a_copy_onto_a_smaller_card_is_made_anew_by_itself_where_that_is_configured() {
    let mut card = converted();
    set_length(&card, 1024);
    card.boot_on_memory();
    // On the node's merged root, as an image has it.
    let configuration = card.root().join("etc/burnonce.yaml");
    fs::write(configuration, "repartition:\n  truncated: remake\n").unwrap();
    let said = code(&card.burnonce(&["-v", "converge", "--no-reboot"]), 0);
    assert!(said.contains("a new upper is made"), "{said}");
    card.eject();
    assert_new_upper(&mut card, 1024);
}

#[test]
fn a_copy_without_the_upper_is_given_a_new_one_once() {
    let mut card = converted();
    delete_third(&card);
    // The old superblock is still there, and is not what the next boot finds.
    set_length(&card, CARD_MIB / 2);
    card.boot_on_memory();
    let said = code(&card.burnonce(&["-v", "converge", "--no-reboot"]), 0);
    assert!(said.contains("no partition of /dev/loop") && said.contains("a new upper is made"), "{said}");
    card.eject();
    assert_new_upper(&mut card, CARD_MIB / 2);
}

#[test]
fn a_new_upper_that_is_cut_off_is_made_by_the_next_boot_but_not_a_fourth_time() {
    let mut card = converted();
    delete_third(&card);
    for attempt in 1..=3 {
        card.boot_on_memory();
        // The kernel is told, the file system is made, and the power goes before the table is written.
        let said = code(&card.burnonce(&["-v", "converge", "--no-reboot", "--steps", "2"]), 0);
        assert!(said.contains("a new upper is made"), "attempt {attempt}: {said}");
        card.eject();
        assert_eq!(card.table().len(), 2);
    }
    card.boot_on_memory();
    let said = code(&card.burnonce(&["-v", "converge", "--no-reboot"]), 4);
    assert!(said.contains("3 attempts to make a new one were cut off"), "{said}");
    assert_eq!(card.table().len(), 2);
    code(&card.burnonce(&["repartition", "--yes", "--no-reboot"]), 0);
    card.eject();
    assert_new_upper(&mut card, CARD_MIB);
}

#[test]
fn an_image_burned_over_a_converted_card_never_adopts_the_old_upper() {
    let image = Card::burned(CARD_MIB);
    let mut card = converted();
    card.insert(false);
    let old = run("dumpe2fs", &["-h", &card.partition(3)]);
    card.eject();
    // As `dd` does: only as far as the image reaches.
    let length = (UPPER - 2048) / 2048;
    let (from, to) = (image.file(), card.file());
    let arguments = [format!("if={}", from.display()), format!("of={}", to.display()), format!("count={length}")];
    let arguments: Vec<&str> =
        arguments.iter().map(String::as_str).chain(["bs=1M", "conv=notrunc", "status=none"]).collect();
    run("dd", &arguments);
    assert_eq!(card.table().len(), 2);
    card.boot(false);
    code(&card.burnonce(&["-v", "converge", "--no-reboot"]), 0);
    card.eject();
    card.insert(false);
    let uuid = |text: &str| text.lines().find(|line| line.starts_with("Filesystem UUID")).unwrap().to_owned();
    assert_ne!(uuid(&run("dumpe2fs", &["-h", &card.partition(3)])), uuid(&old));
    card.eject();
    assert_new_upper(&mut card, CARD_MIB);
}

/// Adds a third partition with somebody's file system.
fn add_foreign(card: &Card) {
    let file = card.file();
    let mut sfdisk = std::process::Command::new("sfdisk");
    sfdisk.args(["--quiet", "--append"]).arg(&file).stdin(std::process::Stdio::piped());
    let mut child = sfdisk.spawn().unwrap();
    let line = format!("start={UPPER}, size=131072, type=83\n");
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), line.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let offset = format!("offset={}", UPPER * 512);
    run("mke2fs", &["-q", "-t", "ext4", "-L", "data", "-E", &offset, file.to_str().unwrap(), "65536k"]);
}

#[test]
fn a_foreign_partition_makes_way_only_where_its_number_is_named() {
    let mut card = Card::burned(CARD_MIB);
    add_foreign(&card);
    let before = card.first_sector();
    card.boot(false);
    let said = code(&card.burnonce(&["-v", "converge", "--no-reboot"]), 3);
    assert!(said.contains("burnonce repartition --use 3"), "{said}");
    for (arguments, why) in [
        (&["repartition", "--yes"][..], "burnonce did not make that partition"),
        (&["repartition", "--yes", "--use", "1"], "belongs to the image"),
        (&["repartition", "--yes", "--use", "2"], "is the image's root"),
        (&["repartition", "--yes", "--use", "4"], "is not in the partition table"),
        (&["repartition", "--use", "3"], "there is no terminal to ask on"),
    ] {
        let said = code(&card.burnonce(arguments), 3);
        assert!(said.contains(why), "{arguments:?}: {said}");
        assert_eq!(card.first_sector(), before, "{arguments:?}");
    }
    // In use, it stays: the card is as it was.
    run("mount", &["-o", "ro", &card.partition(3), card.root().join("media/root-rw").to_str().unwrap()]);
    let said = code(&card.burnonce(&["repartition", "--yes", "--use", "3", "--no-reboot"]), 1);
    assert!(said.contains("is in use: unmount it"), "{said}");
    assert_eq!(card.first_sector(), before);
    run("umount", &[card.root().join("media/root-rw").to_str().unwrap()]);
    // Nor does it go where the next boot would wait for it.
    let fstab = card.root().join("etc/fstab");
    let set_fstab = |text: &str| {
        run("mount", &["-o", "remount,rw", card.root().to_str().unwrap()]);
        fs::write(&fstab, text).unwrap();
        run("mount", &["-o", "remount,ro", card.root().to_str().unwrap()]);
    };
    set_fstab(&format!("{} /data ext4 defaults 0 2\n", card.partition(3)));
    let said = code(&card.burnonce(&["repartition", "--yes", "--use", "3", "--no-reboot"]), 3);
    assert!(said.contains("the image names /dev/loop") && said.contains("in /etc/fstab (/data)"), "{said}");
    assert_eq!(card.first_sector(), before);
    set_fstab("# nothing\n");
    code(&card.burnonce(&["repartition", "--yes", "--use", "3", "--no-reboot"]), 0);
    assert!(!Path::new(&card.partition(3)).exists());
    card.eject();
    assert_eq!(card.table().len(), 2);
    card.boot(false);
    code(&card.burnonce(&["-v", "converge", "--no-reboot"]), 0);
    card.eject();
    assert_new_upper(&mut card, CARD_MIB);
}

#[test]
fn a_damaged_upper_is_made_anew_only_where_that_is_asked_for() {
    let mut card = converted();
    // The group descriptors and the root directory are gone, the superblock is not.
    write_at(&card.file(), UPPER * 512 + 4096, &[0xFF; 4 << 20]);
    card.boot_on_memory();
    let said = code(&card.burnonce(&["-v", "converge", "--no-reboot"]), 4);
    assert!(said.contains("or give up what was written and run `burnonce repartition`"), "{said}");
    let said = code(&card.burnonce(&["repartition", "--yes", "--no-reboot"]), 0);
    assert!(said.contains("which cannot be read"), "{said}");
    card.eject();
    assert_new_upper(&mut card, CARD_MIB);
}

#[test]
fn a_node_on_its_upper_has_nothing_to_repartition() {
    let mut card = converted();
    let before = card.first_sector();
    card.boot(true);
    let said = code(&card.burnonce(&["repartition", "--yes"]), 0);
    assert!(said.contains("burnonce repartition has nothing to do"), "{said}");
    let said = code(&card.burnonce(&["repartition", "--yes", "--use", "3"]), 3);
    assert!(said.contains("this node runs on its upper") && said.contains("burnonce reset"), "{said}");
    card.eject();
    assert_eq!(card.first_sector(), before);
}

#[test]
fn the_upper_leaves_the_room_that_is_configured() {
    let mut card = Card::burned(CARD_MIB);
    let node = card.boot(false);
    run("mount", &["-o", "remount,rw", node.to_str().unwrap()]);
    fs::write(node.join("etc/burnonce.yaml"), "partition:\n  size: 50 %\n").unwrap();
    run("mount", &["-o", "remount,ro", node.to_str().unwrap()]);
    code(&card.burnonce(&["-v", "converge", "--no-reboot"]), 0);
    card.eject();
    let free = CARD_MIB * 2048 - UPPER;
    assert_eq!(card.table()[2], (3, UPPER, free / 2 / 2048 * 2048));
    card.boot(true);
    let plan = code(&card.burnonce(&["plan"]), 0);
    assert!(plan.starts_with("Nothing to do"), "{plan}");
}

#[test]
fn a_copy_beside_its_original_is_named_and_left_alone() {
    let mut card = converted();
    let copy = card.file().with_file_name("copy.img");
    run("cp", &["--sparse=always", card.file().to_str().unwrap(), copy.to_str().unwrap()]);
    let other = card.read_file(&copy, false);
    card.boot(true);
    card.show(&other);
    let said = code(&card.burnonce(&["status"]), 0);
    assert!(said.contains(&format!("{other} has the disk id of {}", card.device())), "{said}");
    let said = code(&card.burnonce(&["plan"]), 0);
    assert!(said.contains(&format!("{other} has the disk id of")), "{said}");
    crate::card::forget_partitions(&other);
    run("losetup", &["--detach", &other]);
    let said = code(&card.burnonce(&["status"]), 0);
    assert!(!said.contains("has the disk id of"), "{said}");
}
