//! What is run with a fault in it: each boot of a node that has something to write.

use super::bench::{Bench, Ran};
use super::fault::Watch;
use super::picture::FILLER;
use crate::card::run;
use burnonce::guard::report::{Report, Verdict};
use burnonce::state::{Generation, Kind, Request, State, Trigger};
use burnonce::upper::Upper;
use std::fs;
use std::process::Command;

pub struct Scene {
    pub name: &'static str,
    /// It begins with a card that has been converted.
    pub converted: bool,
    /// Makes the card what the run finds.
    pub prepare: fn(&mut Bench),
    /// The run that the fault hits.
    pub run: fn(&mut Bench, Watch) -> Ran,
    /// The boot after it, in which nothing fails.
    pub next: fn(&mut Bench, configured: bool),
    /// The upper has no errors before the run.
    pub sound: bool,
    /// Below the upper: what may be different after the run though nobody said that something failed.
    pub unsaid: &'static [&'static str],
    /// How much of this is left in the end depends on when it failed.
    pub left_out: &'static [&'static str],
}

/// A boot of a node that has something to write.
const BOOT: Scene = Scene {
    name: "",
    converted: true,
    prepare: |_| (),
    run: boot,
    next: restart,
    sound: true,
    unsaid: &[BALLAST],
    left_out: &[],
};

/// What the guard has to do before such a boot.
const GUARD: Scene = Scene { run: guarded, ..BOOT };

pub const SCENES: [Scene; 10] = [
    Scene { name: "converge", converted: false, prepare: burn, run: convert, next: converge, ..BOOT },
    Scene { name: "seal", prepare: unseal, next: converge, ..BOOT },
    Scene { name: "remake", prepare: lose, run: remake, next: remake_again, ..BOOT },
    Scene { name: "request", prepare: ask, ..BOOT },
    Scene { name: "answer", prepare: be_answered, ..BOOT },
    Scene { name: "reset", prepare: request_reset, next: ask_again, ..GUARD },
    Scene { name: "undo", prepare: request_undo, next: ask_again, ..GUARD },
    // Where the reserve went first, a generation stays that else had to go.
    Scene { name: "room", prepare: fill, unsaid: ROOM, left_out: &[BALLAST], ..GUARD },
    Scene { name: "repair", prepare: break_it, sound: false, ..GUARD },
    Scene { name: "reclaim", prepare: set_aside, run: reclaim, next: reclaim_again, ..BOOT },
];

/// What is deleted where nothing else is free.
const BALLAST: &str = "burnonce/ballast";
/// All that is deleted for room, and the books of it.
const ROOM: &[&str] = &[BALLAST, "burnonce/generations", "burnonce/state.json"];

const CONVERGE: [&str; 2] = ["converge", "--no-reboot"];

pub fn convert(bench: &mut Bench, watch: Watch) -> Ran {
    bench.agent(false, &CONVERGE, watch)
}

fn boot(bench: &mut Bench, watch: Watch) -> Ran {
    bench.agent(true, &CONVERGE, watch)
}

fn guarded(bench: &mut Bench, watch: Watch) -> Ran {
    bench.guard(watch)
}

/// The initramfs makes an overlay where one is configured.
fn converge(bench: &mut Bench, configured: bool) {
    let ran = bench.agent(configured, &CONVERGE, Watch::Nothing);
    assert_eq!(ran.code, Some(0), "the next boot: {}", ran.text);
    if configured {
        reclaim_again(bench, true);
    }
}

/// As [`restart`], but a request that was refused, because something failed, is made again.
fn ask_again(bench: &mut Bench, _: bool) {
    bench.write(|upper| {
        let state = upper.state().unwrap();
        if let Some(done) = state.last.clone().filter(|done| done.refused.is_some()) {
            upper.write_state(&State { request: Some(done.request), ..state }).unwrap();
        }
    });
    restart(bench, true);
}

/// Boots, guard and agent, until the agent does not restart any more, and goes on to the end of the boot.
fn restart(bench: &mut Bench, _: bool) {
    for _ in 0..3 {
        guard(bench, true);
        let ran = boot(bench, Watch::Nothing);
        assert_eq!(ran.code, Some(0), "the next boot: {}", ran.text);
        if ran.outcome != "restarting" {
            return reclaim_again(bench, true);
        }
    }
    panic!("it restarts again and again");
}

fn guard(bench: &mut Bench, _: bool) {
    let ran = bench.guard(Watch::Nothing);
    let report: Report = serde_json::from_str(ran.text.lines().last().unwrap()).unwrap();
    assert_eq!((ran.code, report.verdict), (Some(0), Verdict::Upper), "the next boot's guard: {}", ran.text);
}

fn reclaim(bench: &mut Bench, watch: Watch) -> Ran {
    bench.agent(true, &["reclaim"], watch)
}

fn reclaim_again(bench: &mut Bench, _: bool) {
    let ran = reclaim(bench, Watch::Nothing);
    assert_eq!(ran.code, Some(0), "the next boot: {}", ran.text);
}

/// What Raspberry Pi Imager leaves on the boot partition, and what an earlier attempt does.
fn burn(bench: &mut Bench) {
    for (name, content) in [
        ("ssh", ""),
        ("userconf.txt", "pi:hash\n"),
        (
            "cmdline.txt",
            "root=/dev/mmcblk0p2 systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot\n",
        ),
        ("firstrun.sh", "#!/bin/sh\n"),
        ("burnonce.txt", "This node was not converted.\r\n"),
    ] {
        fs::write(bench.boot_files().join(name), content).unwrap();
    }
}

fn unseal(bench: &mut Bench) {
    bench.card.insert(false);
    run("tune2fs", &["-O", "^read-only", &bench.card.partition(2)]);
    bench.card.eject();
}

/// A copy of the card without its third partition.
fn lose(bench: &mut Bench) {
    run("sfdisk", &["--quiet", "--delete", bench.card.file().to_str().unwrap(), "3"]);
}

fn remake(bench: &mut Bench, watch: Watch) -> Ran {
    bench.agent_on_memory(&CONVERGE, watch)
}

/// On memory for as long as there is no upper in the table.
fn remake_again(bench: &mut Bench, _: bool) {
    if bench.card.table().len() == 2 {
        let ran = remake(bench, Watch::Nothing);
        assert_eq!((ran.code, ran.outcome.as_str()), (Some(0), "remade"), "the next boot: {}", ran.text);
    }
    restart(bench, true);
}

/// The boot partition has a file that asks for a reset. The node has been in use.
fn ask(bench: &mut Bench) {
    fs::write(bench.boot_files().join("user-data"), "#cloud-config\n").unwrap();
    boot(bench, Watch::Nothing);
    fs::write(bench.boot_files().join("burnonce-reset"), "").unwrap();
}

/// The same after the guard's part: the file is still there, and what a first boot needs is to be put back.
fn be_answered(bench: &mut Bench) {
    ask(bench);
    bench.write(|upper| {
        fs::create_dir_all(upper.own("boot")).unwrap();
        fs::write(upper.own("boot/ssh"), "").unwrap();
    });
    boot(bench, Watch::Nothing);
    guard(bench, true);
}

fn request(upper: &Upper, kind: Kind, keep: &[&str]) {
    let keep = keep.iter().map(|path| (*path).to_owned()).collect();
    let request = Request { id: "r".to_owned(), kind, by: Trigger::Command, at: 1_700_000_000, keep };
    upper.write_state(&State { request: Some(request), ..upper.state().unwrap() }).unwrap();
}

/// Files of every kind that a reset carries over.
fn write_files(upper: &Upper) {
    let at = |path: &str| upper.overlay().join(path);
    fs::create_dir_all(at("etc/ssh/deep")).unwrap();
    fs::write(at("etc/ssh/key"), "secret").unwrap();
    fs::write(at("etc/ssh/deep/file"), "x").unwrap();
    fs::hard_link(at("etc/ssh/key"), at("etc/ssh/twin")).unwrap();
    std::os::unix::fs::symlink("key", at("etc/ssh/link")).unwrap();
    run("mknod", &[at("etc/ssh/null").to_str().unwrap(), "c", "1", "3"]);
    xattr::set(at("etc/ssh/key"), "user.mark", b"1").unwrap();
    fs::write(at("etc/lost"), "x").unwrap();
}

fn request_reset(bench: &mut Bench) {
    bench.write(|upper| {
        write_files(upper);
        request(upper, Kind::Reset, &["/etc/ssh"]);
    });
}

fn request_undo(bench: &mut Bench) {
    request_reset(bench);
    guard(bench, true);
    bench.write(|upper| {
        // As an overlay leaves them.
        for workdir in [upper.workdir(), upper.generation(1).join("overlay-workdir")] {
            fs::create_dir_all(workdir.join("_/work")).unwrap();
        }
        request(upper, Kind::Undo, &[]);
    });
}

fn aside(number: u32) -> Generation {
    Generation { number, began: 1, ended: 2, kind: Kind::Reset, by: Trigger::Command, size: None }
}

/// Puts generations aside as the guard does, the one in use gets the number 10.
fn put_aside(upper: &Upper, numbers: &[u32]) {
    for number in numbers {
        let overlay = upper.generation(*number).join("overlay");
        fs::create_dir_all(overlay.join("etc/below")).unwrap();
        fs::create_dir_all(upper.generation(*number).join("overlay-workdir/_/work")).unwrap();
        Upper::set_number(&overlay, *number).unwrap();
        for file in ["etc/one", "etc/below/two"] {
            fs::write(overlay.join(file), "x").unwrap();
        }
    }
    Upper::set_number(&upper.overlay(), 10).unwrap();
    let set_aside = numbers.iter().copied().map(aside).collect();
    upper.write_state(&State { generation: 10, set_aside, ..upper.state().unwrap() }).unwrap();
}

/// Nothing is free, and there is something to delete: leftovers, two generations, the reserve.
fn fill(bench: &mut Bench) {
    bench.write(|upper| {
        put_aside(upper, &[3, 4]);
        fs::create_dir_all(upper.own("reclaim/left/below")).unwrap();
        fs::remove_dir_all(upper.workdir()).unwrap();
        let filler = upper.root().join(FILLER);
        fs::create_dir(&filler).unwrap();
        for size in ["100M", "10M", "1M", "100K", "4K"] {
            for number in 0.. {
                let file = filler.join(format!("{size}-{number}"));
                let taken = Command::new("fallocate").args(["--length", size]).arg(&file).output().unwrap();
                if !taken.status.success() {
                    break;
                }
            }
        }
    });
}

/// The superblock counts errors: e2fsck goes through all of it. Blocks that are taken and belong to nothing are what it finds.
fn break_it(bench: &mut Bench) {
    bench.write(write_files);
    bench.card.insert(false);
    let device = bench.card.partition(3);
    for command in ["ssv error_count 2", "setb 150000 10"] {
        run("debugfs", &["-w", "-R", command, &device]);
    }
    bench.card.eject();
}

fn set_aside(bench: &mut Bench) {
    bench.write(|upper| {
        put_aside(upper, &[3, 4]);
        let frozen = upper.generation(3).join("overlay/etc/below");
        run("chattr", &["+i", frozen.to_str().unwrap()]);
        fs::remove_dir_all(upper.own("spare")).unwrap();
        fs::remove_file(upper.own("ballast/7")).unwrap();
    });
}

/// Whether the words of a complaint name an object: a path, be it `/`.
pub fn names_an_object(complaints: &str) -> bool {
    let words = complaints.split(|c: char| c.is_whitespace() || "`'\"()[],;:".contains(c));
    words.into_iter().any(|word| word.starts_with('/'))
}
