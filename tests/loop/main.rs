//! The agent on loop devices, as root: everything but the restart and the initramfs. Each test has a mount namespace of its own.

mod card;
mod diff;
mod failstop;
mod guard;
mod later;
mod maintain;
mod packages;
mod reclaim;
mod repartition;
mod requests;
mod reset;
mod swap;

use card::{Card, run, text, write_at};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Steps of a whole conversion of a stock card; the resume test stops after each of them.
const STEPS: usize = 9;
const CARD_MIB: u64 = 2048;

/// What a conversion must leave, whatever way it took.
fn assert_converted(card: &mut Card) {
    card.insert(false);
    let table = card.table();
    assert_eq!(table[..2], [(1, card::BOOT.0, card::BOOT.1), (2, card::ROOT.0, card::ROOT.1)]);
    // 34816 + 524288 sectors, aligned up to 4 MiB, to the last sector of the card.
    assert_eq!(table[2..], [(3, 565_248, CARD_MIB * 2048 - 565_248)]);
    run("e2fsck", &["-fn", &card.partition(2)]);
    run("e2fsck", &["-fn", &card.partition(3)]);
    assert!(run("dumpe2fs", &["-h", &card.partition(2)]).contains("read-only"), "the lower is not sealed");
    card.look(3, |upper| {
        for directory in ["overlay", "overlay-workdir/_", "burnonce/log"] {
            assert!(upper.join(directory).is_dir(), "{directory}");
        }
        let state: serde_json::Value =
            serde_json::from_slice(&fs::read(upper.join("burnonce/state.json")).unwrap()).unwrap();
        assert_eq!((&state["version"], &state["generation"]), (&"1.1".into(), &1.into()));
    });
    card.look(2, |lower| {
        let text = fs::read_to_string(lower.join("etc/overlayroot.local.conf")).unwrap();
        assert!(text.starts_with("# burnonce: converted"), "{text}");
        assert_eq!(fs::read_dir(lower.join("etc")).unwrap().count(), 2, "only machine-id and the configuration");
        assert_eq!(fs::read(lower.join("etc/machine-id")).unwrap(), b"");
    });
    card.eject();
}

#[test]
fn a_burned_card_is_converted() {
    let mut card = Card::burned(CARD_MIB);
    let before = card.first_sector();
    card.boot(false);
    let plan = card.burnonce(&["plan"]);
    assert_eq!(plan.status.code(), Some(0), "{}", text(&plan));
    assert_eq!(
        text(&plan).matches("\n  ").count(),
        STEPS,
        "the resume test must stop after each step:\n{}",
        text(&plan)
    );
    assert_eq!(card.first_sector(), before, "`plan` touches nothing");
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    card.eject();
    let after = card.first_sector();
    assert_eq!(
        (&after[..478], &after[510..]),
        (&before[..478], &before[510..]),
        "boot code, signature, entries 1 and 2"
    );
    assert_eq!(run("sfdisk", &["--verify", card.file().to_str().unwrap()]).matches("No errors").count(), 1);
    assert_converted(&mut card);
    let log = card_log(&mut card);
    assert!(log.contains("make an ext4 file system on /dev/loop") && log.contains("seal the image"), "{log}");
}

/// While root is writable for the agent's one file, others that start early in a boot may write to it, too. Who does not let go of a file
/// keeps root writable. That is no reason to let the boot go on without burnonce: the restart, which is left out here, can have the kernel
/// bring root to rest.
#[test]
fn a_file_that_somebody_writes_to_does_no_harm() {
    for (lets_go, arguments) in
        [(true, &["converge", "--no-reboot"][..]), (false, &["converge", "--no-reboot", "--steps", "4"])]
    {
        let mut card = Card::burned(CARD_MIB);
        let node = card.boot(false);
        let held = node.join("held");
        // Slow enough for somebody else to come in between.
        let mut slowly = Command::new("strace");
        slowly.args(["-f", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:delay_enter=200000:when=1..4"]);
        slowly.arg("chroot").arg(&node).args(["/usr/sbin/burnonce", "-v"]).args(arguments).stdin(Stdio::null());
        let agent = slowly.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begin = Instant::now();
        let file = loop {
            match fs::File::create(&held) {
                Ok(file) => break file,
                Err(_) if begin.elapsed() < Duration::from_secs(60) => sleep(Duration::from_millis(5)),
                Err(error) => panic!("root was not writable at any time: {error}"),
            }
        };
        let mut held = Some(file);
        if lets_go {
            sleep(Duration::from_millis(700));
            held.take();
        }
        let output = agent.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert_eq!(text(&output).contains("stays writable"), !lets_go, "{}", text(&output));
        drop(held);
        card.eject();
        if lets_go {
            assert_converted(&mut card);
        }
    }
}

fn card_log(card: &mut Card) -> String {
    card.insert(false);
    let log = card.look(3, |upper| fs::read_to_string(upper.join("burnonce/log/0001-conversion.log")).unwrap());
    card.eject();
    log
}

/// A power cut while the files of the boot partition are being kept, on a card that had half of a block of the upper written: the journal
/// has that block, but what reads a file system without mounting it reads past the journal.
#[test]
fn an_upper_that_needs_its_journal_is_taken() {
    use std::os::unix::fs::FileExt;
    let mut card = Card::burned(CARD_MIB);
    card.boot(false);
    let output = card.burnonce(&["converge", "--no-reboot", "--steps", "4"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    card.eject();
    card.insert(false);
    let cut = card.file().with_file_name("cut.img");
    card.write(3, |upper| {
        fs::write(upper.join("burnonce/kept"), "").unwrap();
        fs::File::open(upper.join("burnonce/kept")).unwrap().sync_all().unwrap();
        card.flush();
        run("cp", &["--sparse=always", card.file().to_str().unwrap(), cut.to_str().unwrap()]);
    });
    let start = card.table()[2].1 * 512;
    let device = format!("{}?offset={start}", cut.display());
    assert!(run("dumpe2fs", &["-h", &device]).contains("needs_recovery"), "there is nothing to be replayed");
    let blocks = run("debugfs", &["-R", "blocks /burnonce", &device]);
    let block: u64 = blocks.split_whitespace().next().unwrap().parse().unwrap();
    card.eject();
    fs::rename(&cut, card.file()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(card.file()).unwrap();
    file.write_all_at(&[0x5A; 2048], start + block * 4096).unwrap();
    card.boot(false);
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    card.eject();
    assert_converted(&mut card);
}

#[test]
fn a_conversion_that_stops_after_any_step_is_finished_by_the_next_boot() {
    let mut whole = Card::burned(CARD_MIB);
    whole.boot(false);
    whole.burnonce(&["converge", "--no-reboot"]);
    whole.eject();
    for stop in 0..=STEPS {
        let mut card = Card::burned(CARD_MIB);
        card.boot(false);
        let steps = stop.to_string();
        let output = card.burnonce(&["-v", "converge", "--no-reboot", "--steps", &steps]);
        assert_eq!(output.status.code(), Some(0), "stopped after {stop}: {}", text(&output));
        card.eject();
        // What the initramfs makes of it: an overlay where one is configured.
        card.insert(false);
        let configured = card.look(2, |lower| {
            fs::read_to_string(lower.join("etc/overlayroot.local.conf")).is_ok_and(|t| t.contains("converted"))
        });
        card.eject();
        card.boot(configured);
        let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
        assert_eq!(output.status.code(), Some(0), "after {stop} steps: {}", text(&output));
        card.eject();
        assert_converted(&mut card);
        // But for the disk id, which is each card's own.
        assert_eq!(card.first_sector()[444..], whole.first_sector()[444..], "after {stop} steps");
    }
}

#[test]
fn an_overlay_boot_finds_nothing_to_do_and_writes_nothing() {
    let mut card = Card::burned(CARD_MIB);
    card.boot(false);
    card.burnonce(&["converge", "--no-reboot"]);
    card.eject();
    // The first one notes when the generation began.
    card.boot(true);
    let output = card.burnonce(&["-v", "converge"]);
    assert!(text(&output).contains("this node runs on its overlay"), "{}", text(&output));
    card.eject();
    card.boot(true);
    let before = card.written();
    let output = card.burnonce(&["-v", "converge"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("this node runs on its overlay"), "{}", text(&output));
    assert_eq!(card.written(), before, "sectors written by a boot with nothing to do");
    let status = card.burnonce(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&status["mode"], &status["degraded"]), (&"overlay".into(), &false.into()), "{status}");
    assert_eq!(status["lower"]["sealed"], true);
}

#[test]
fn a_write_protected_card_is_refused() {
    let mut card = Card::burned(64 + 272);
    let device = card.insert(true);
    let node = card.file().with_file_name("node");
    fs::create_dir_all(&node).unwrap();
    run("mount", &["-o", "ro,noload", &format!("{device}p2"), node.to_str().unwrap()]);
    for directory in ["proc", "sys", "dev"] {
        run("mount", &["--rbind", &format!("/{directory}"), node.join(directory).to_str().unwrap()]);
    }
    run("mount", &["-t", "tmpfs", "run", node.join("run").to_str().unwrap()]);
    let output = card.burnonce(&["-v", "converge"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("takes no writes: the card is write-protected or worn out"), "{}", text(&output));
}

#[test]
fn a_card_that_returns_write_errors_is_tried_three_times_and_left_as_it_was() {
    // A file system that holds the image, but not the card: what is written behind root comes back as an I/O error.
    let small = tempfile::tempdir().unwrap();
    let mut card = Card::burned(CARD_MIB);
    run("mount", &["-t", "tmpfs", "-o", "size=278m", "small", small.path().to_str().unwrap()]);
    let on_small = small.path().join("card.img");
    run("cp", &["--sparse=always", card.file().to_str().unwrap(), on_small.to_str().unwrap()]);
    run("fallocate", &["--length", "277MiB", "--keep-size", on_small.to_str().unwrap()]);
    fs::remove_file(card.file()).unwrap();
    std::os::unix::fs::symlink(&on_small, card.file()).unwrap();
    let before = card.first_sector();
    // The first of them is made once more at once.
    for attempts in [2, 1] {
        card.boot(false);
        let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let failed = "failed: could not make an ext4 file system on /dev/loop";
        assert_eq!(text(&output).matches(failed).count(), attempts, "{}", text(&output));
        assert!(!Path::new(&card.partition(3)).exists(), "the kernel shows a partition that the card does not have");
        card.eject();
        assert_eq!(card.first_sector(), before);
    }
    card.boot(false);
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("3 attempts to convert this node did not come to their end"), "{}", text(&output));
    assert!(text(&output).contains("mke2fs"), "the last failure is named: {}", text(&output));
}

#[test]
fn a_table_that_changes_while_the_agent_works_is_not_overwritten() {
    let mut card = Card::burned(CARD_MIB);
    card.boot(false);
    card.burnonce(&["converge", "--no-reboot", "--steps", "3"]);
    // Another tool takes the free space meanwhile.
    let device = card.partition(1).strip_suffix("p1").unwrap().to_owned();
    write_at(
        Path::new(&device),
        446 + 32,
        &[0, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff, 0, 0xa0, 8, 0, 0, 0xa0, 8, 0],
    );
    card.flush();
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert_eq!(card.table()[2], (3, 0x8_a000, 0x8_a000));
}

#[test]
fn a_placeholder_is_grown_and_used() {
    let mut card = Card::burned(CARD_MIB);
    let file = card.file();
    let script = "start=565248, size=131072, type=83\n";
    let mut sfdisk = std::process::Command::new("sfdisk");
    sfdisk.args(["--quiet", "--append"]).arg(&file).stdin(std::process::Stdio::piped());
    let mut child = sfdisk.spawn().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let offset = format!("offset={}", 565_248 * 512);
    run("mke2fs", &["-q", "-t", "ext4", "-L", "burnonce", "-E", &offset, file.to_str().unwrap(), "65536k"]);
    card.boot(false);
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    card.eject();
    assert_converted(&mut card);
}

/// USB bridges and some disks have sectors of 4096 bytes; an MBR counts in these.
#[test]
fn a_disk_with_sectors_of_4096_bytes_is_converted() {
    let mut card = Card::burned_with(CARD_MIB, 4096);
    card.boot(false);
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    card.eject();
    card.boot(true);
    let output = card.burnonce(&["-v", "converge"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("this node runs on its overlay"), "{}", text(&output));
    card.eject();
    // As on a disk of 512-byte sectors, in eighths.
    assert_eq!(card.table()[2], (3, 565_248 / 8, CARD_MIB * 256 - 565_248 / 8));
    card.insert(false);
    run("e2fsck", &["-fn", &card.partition(3)]);
    card.eject();
}
