//! Boots that are not the first one, and nodes that are not as burnonce left them.

use crate::card::{Card, run, text};
use crate::maintain::converted_and_booted;
use std::fs;

/// burnonce was removed (`maintain apt-get remove`), the node ran plain for a year, burnonce is installed again.
#[test]
fn an_upper_that_was_used_is_not_laid_over_a_newer_root() {
    let (mut card, node) = converted_and_booted();
    fs::write(node.join("etc/passwd"), "old\n").unwrap();
    card.eject();
    card.boot(false);
    run("tune2fs", &["-O", "^read-only", &card.partition(2)]);
    run("mount", &["-o", "remount,rw", node.to_str().unwrap()]);
    fs::remove_file(node.join("etc/overlayroot.local.conf")).unwrap();
    fs::write(node.join("etc/passwd"), "a year of work\n").unwrap();
    card.eject();
    card.boot(false);
    let out = card.burnonce(&["-v", "converge", "--no-reboot"]);
    let code = out.status.code();
    card.eject();
    let node = card.boot(true);
    let seen = fs::read_to_string(node.join("etc/passwd")).unwrap();
    card.eject();
    eprintln!("{}", text(&out));
    assert!(code == Some(3) || seen == "a year of work\n", "exit {code:?}, /etc/passwd is `{seen}`");
}

/// Root mounted writable (`rw`), configured, no overlay, no belt in the initramfs.
#[test]
fn configured_without_overlay_root_becomes_read_only() {
    let (mut card, _) = converted_and_booted();
    card.eject();
    // a cut between configuration and seal, or burnonce=off before
    card.insert(false);
    run("tune2fs", &["-O", "^read-only", &card.partition(2)]);
    card.eject();
    let node = card.boot(false);
    run("mount", &["-o", "remount,rw", node.to_str().unwrap()]);
    let out = card.burnonce(&["-v", "converge", "--no-reboot"]);
    let wrote = fs::write(node.join("etc/contaminated"), "x");
    card.eject();
    eprintln!("{}", text(&out));
    assert!(wrote.is_err(), "the lower took a write after converge");
}

/// A unit that failed is started again by systemd whenever anything else is started (sysinit.target wants it): by then root is
/// writable and the node is in use.
#[test]
fn a_second_run_in_one_boot_converts_nothing() {
    let mut card = Card::burned(2048);
    let node = card.boot(false);
    // The first run fails: no mke2fs. Then somebody mends that, in the running system.
    run("mount", &["-o", "remount,rw", node.to_str().unwrap()]);
    fs::rename(node.join("usr/sbin/mke2fs"), node.join("usr/sbin/mke2fs.away")).unwrap();
    run("mount", &["-o", "remount,ro", node.to_str().unwrap()]);
    let first = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(first.status.code(), Some(1), "{}", text(&first));
    run("mount", &["-o", "remount,rw", node.to_str().unwrap()]);
    fs::rename(node.join("usr/sbin/mke2fs.away"), node.join("usr/sbin/mke2fs")).unwrap();
    let second = card.burnonce(&["-v", "converge", "--no-reboot"]);
    let table = card.table();
    card.eject();
    eprintln!("{:?} {}", second.status, text(&second));
    assert_eq!(table.len(), 2, "the running node was converted under its users:\n{}", text(&second));
}

/// `status` on a node whose /etc/burnonce.yaml is wrong.
#[test]
fn status_does_not_promise_a_conversion_that_is_refused() {
    let mut card = Card::burned(2048);
    let node = card.boot(false);
    run("mount", &["-o", "remount,rw", node.to_str().unwrap()]);
    fs::write(node.join("etc/burnonce.yaml"), "typo: 1\n").unwrap();
    run("mount", &["-o", "remount,ro", node.to_str().unwrap()]);
    let out = card.burnonce(&["status"]);
    card.eject();
    assert!(!text(&out).contains("the next boot does it"), "{}", text(&out));
}

/// Overlay root itself read-only (`ro` on the command line, systemd#39558).
#[test]
fn status_sees_that_root_itself_is_read_only() {
    let (mut card, node) = converted_and_booted();
    card.burnonce(&["converge"]);
    run("mount", &["-o", "remount,ro,bind", node.to_str().unwrap()]);
    assert!(fs::write(node.join("x"), "x").is_err());
    let out = card.burnonce(&["status"]);
    card.eject();
    assert_ne!(out.status.code(), Some(0), "{}", text(&out));
}

/// The image was mounted writable below the overlay, and something holds a file of it open.
#[test]
fn an_image_that_is_in_use_is_sealed_all_the_same() {
    let (mut card, node) = converted_and_booted();
    run("tune2fs", &["-O", "^read-only", &card.partition(2)]);
    let lower = node.join("media/root-ro");
    run("mount", &["-o", "remount,rw", lower.to_str().unwrap()]);
    let open = fs::OpenOptions::new().append(true).open(lower.join("etc/machine-id")).unwrap();
    let out = card.burnonce(&["-v", "converge", "--no-reboot"]);
    let header = run("dumpe2fs", &["-h", &card.partition(2)]);
    drop(open);
    run("mount", &["-o", "remount,ro", lower.to_str().unwrap()]);
    card.eject();
    assert_eq!(out.status.code(), Some(4), "{}", text(&out));
    assert!(header.contains("read-only"), "not sealed: {}", text(&out));
}
