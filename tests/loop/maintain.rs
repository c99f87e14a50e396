//! `maintain`: whatever happens inside, the image is sealed again.

use crate::card::{Card, run, text};
use std::fs;
use std::process::{Command, Stdio};

/// A converted card in its first overlay boot, and where its root is.
pub fn converted_and_booted() -> (Card, std::path::PathBuf) {
    let mut card = Card::burned(2048);
    card.boot(false);
    let output = card.burnonce(&["converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    card.eject();
    let node = card.boot(true);
    (card, node)
}

/// An SSH connection that is lost while `maintain` runs: what it says has no reader any more.
#[test]
fn maintain_seals_though_nobody_reads_what_it_says() {
    let (mut card, node) = converted_and_booted();
    let mut child = Command::new("chroot")
        .arg(&node)
        .args(["/usr/sbin/burnonce", "maintain", "/usr/sbin/tune2fs", "/nonexistent"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    let status = child.wait().unwrap();
    let header = run("dumpe2fs", &["-h", &card.partition(2)]);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|l| l.contains("media/root-ro ")).unwrap_or("-").to_owned();
    card.eject();
    eprintln!("{status:?}: {line}");
    assert!(header.contains("read-only"), "left unsealed");
}

/// A typo in the overlay's own /etc/burnonce.yaml, on a node whose image has `overlay.conf: /etc/overlayroot.conf`.
#[test]
fn maintain_seals_whatever_the_overlays_yaml_says() {
    let mut card = Card::burned(2048);
    card.boot(false);
    // the image's own yaml
    let node = card.file().with_file_name("node");
    run("mount", &["-o", "remount,rw", node.to_str().unwrap()]);
    fs::write(node.join("etc/burnonce.yaml"), "overlay:\n  conf: /etc/overlayroot.conf\n").unwrap();
    run("mount", &["-o", "remount,ro", node.to_str().unwrap()]);
    let out = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    card.eject();
    let node = card.boot(true);
    fs::write(node.join("etc/burnonce.yaml"), "typo: 1\n").unwrap();
    let out = card.burnonce(&["maintain", "/usr/sbin/blkid", "-V"]);
    let header = run("dumpe2fs", &["-h", &card.partition(2)]);
    card.eject();
    eprintln!("{:?} {}", out.status, text(&out));
    assert!(header.contains("read-only"), "left unsealed: {}", text(&out));
}

/// `overlayroot.conf` gets a line of somebody's; ours is read later and wins.
#[test]
fn the_door_stays_open_with_a_foreign_line_in_the_weaker_file() {
    let (mut card, _) = converted_and_booted();
    card.eject();
    card.boot(false);
    let node = card.file().with_file_name("node");
    run("tune2fs", &["-O", "^read-only", &card.partition(2)]);
    run("mount", &["-o", "remount,rw", node.to_str().unwrap()]);
    fs::write(node.join("etc/overlayroot.conf"), "overlayroot=\"tmpfs\"\n").unwrap();
    card.eject();
    card.boot(true);
    let out = card.burnonce(&["-v", "converge"]);
    let door = card.burnonce(&["maintain", "/usr/sbin/blkid", "-V"]);
    let header = run("dumpe2fs", &["-h", &card.partition(2)]);
    card.eject();
    eprintln!("{}\n{}", text(&out), text(&door));
    assert!(header.contains("read-only"), "not sealed");
    assert_eq!(door.status.code(), Some(0));
}

/// Two people at the door at once.
#[test]
fn a_second_maintain_waits_or_is_refused() {
    let (mut card, node) = converted_and_booted();
    let mut first = Command::new("chroot")
        .arg(&node)
        // reads a tty-less stdin for as long as we like
        .args(["/usr/sbin/burnonce", "maintain", "/usr/sbin/debugfs"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(first.try_wait().unwrap().is_none());
    let second = card.burnonce(&["maintain", "/usr/sbin/blkid", "-V"]);
    let killed = first.try_wait().unwrap();
    // Nor does the agent close the door under it.
    let converge = card.burnonce(&["converge", "--no-reboot"]);
    assert_eq!(converge.status.code(), Some(3), "{}", text(&converge));
    let status = card.burnonce(&["status"]);
    assert!(text(&status).contains("in maintenance"), "{}", text(&status));
    assert!(!run("dumpe2fs", &["-h", &card.partition(2)]).contains("read-only"), "sealed while it is open");
    drop(first.stdin.take());
    let end = first.wait().unwrap();
    assert!(run("dumpe2fs", &["-h", &card.partition(2)]).contains("read-only"), "left unsealed");
    card.eject();
    eprintln!("{:?} {} first {killed:?} {end:?}", second.status, text(&second));
    assert!(killed.is_none(), "the second one ended the first one's command");
}

/// An image in whose root systemd makes the directory for the boot partition: it would be in the overlay alone, and an upgrade of the kernel
/// in the image would not reach the boot partition.
#[test]
fn the_boot_partition_is_there_though_the_image_has_no_directory_for_it() {
    let mut card = Card::burned(2048);
    let node = card.boot(false);
    run("mount", &["-o", "remount,rw", node.to_str().unwrap()]);
    fs::remove_dir(node.join("boot/firmware")).unwrap();
    run("mount", &["-o", "remount,ro", node.to_str().unwrap()]);
    let out = card.burnonce(&["converge", "--no-reboot"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    card.eject();
    let node = card.boot(true);
    let boot = node.join("boot/firmware");
    let image = node.join("media/root-ro/boot/firmware");
    for (mounted, there) in [(false, false), (true, true)] {
        fs::create_dir_all(&boot).unwrap();
        if mounted {
            run("mount", &["-t", "tmpfs", "boot", boot.to_str().unwrap()]);
        }
        let out = card.burnonce(&["maintain", "/usr/sbin/blkid", "-V"]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out));
        assert_eq!(image.is_dir(), there, "{}", text(&out));
    }
    run("umount", &[boot.to_str().unwrap()]);
    card.eject();
}
