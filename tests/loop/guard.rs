//! The guard on a card in a loop device, run as the initramfs runs it: root is mounted read-only somewhere, `/run` is empty memory.
//! What it finds at `/` is the test machine's, but for the kernel's log and command line.

mod hostile;
mod requests;

use crate::card::{Card, forget_partitions, run, text};
use burnonce::guard::report::{self, Report, Verdict};
use burnonce::overlay;
use burnonce::state::{self, Kind, Request, State, Trigger};
use burnonce::upper::Upper;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const CARD_MIB: u64 = 1024;

/// A card that was converted, and where its root is mounted while the guard runs.
struct Bench {
    card: Card,
    root: PathBuf,
}

/// What the guard left behind.
struct Seen {
    report: Report,
    conf: String,
    reason: String,
    console: String,
    output: Output,
}

impl Seen {
    fn took(&self, part: &str) -> Duration {
        let found = self.report.took_ms.iter().find(|(name, _)| name == part);
        Duration::from_millis(found.unwrap_or_else(|| panic!("no {part} in {:?}", self.report.took_ms)).1)
    }
}

/// The modules of the kernel that runs, as far as the guard looks.
fn modules() -> PathBuf {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    PathBuf::from("lib/modules").join(release.trim())
}

impl Bench {
    /// A converted card with the running kernel's modules in its image, and `yaml` as the configuration.
    fn new(yaml: &str) -> Bench {
        Bench::on(CARD_MIB, yaml)
    }

    /// The same on a card of `mib` MiB.
    fn on(mib: u64, yaml: &str) -> Bench {
        let mut card = Card::burned(mib);
        card.insert(false);
        let root = card.file().with_file_name("root");
        fs::create_dir(&root).unwrap();
        card.write(2, |lower| {
            fs::create_dir_all(lower.join(modules())).unwrap();
            if !yaml.is_empty() {
                fs::write(lower.join("etc/burnonce.yaml"), yaml).unwrap();
            }
        });
        card.eject();
        card.boot(false);
        let output = card.burnonce(&["converge", "--no-reboot"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        card.eject();
        run("mount", &["-t", "tmpfs", "run", "/run"]);
        card.insert(false);
        Bench { card, root }
    }

    /// Runs the guard once.
    fn guard(&self) -> Seen {
        run("mount", &["-o", "ro", &self.card.partition(2), self.root.to_str().unwrap()]);
        let seen = guard_at(&self.root);
        run("umount", &[self.root.to_str().unwrap()]);
        seen
    }

    /// Runs it and makes sure that the upper is used.
    fn upper(&self) -> Seen {
        let seen = self.guard();
        assert_eq!(seen.report.verdict, Verdict::Upper, "{}", seen.console);
        assert_eq!(seen.conf, format!("overlayroot=\"device:dev={},recurse=0\"\n", self.card.partition(3)));
        assert_eq!((seen.reason.as_str(), &seen.report.problem), ("", &None));
        assert_eq!(seen.output.status.code(), Some(0), "{}", text(&seen.output));
        seen
    }

    /// Runs it and makes sure that the upper is not used, for this reason.
    fn memory(&self, why: &str) -> Seen {
        let seen = self.guard();
        assert_eq!(seen.report.verdict, Verdict::Memory, "{why}: {}", seen.console);
        assert_eq!(seen.conf, "overlayroot=\"tmpfs:recurse=0\"\n", "{why}");
        let problem = seen.report.problem.as_ref().unwrap();
        assert!(problem.why.contains(why), "{why}: {problem:?}");
        assert_eq!(seen.reason, format!("{}\n{}\n", problem.why, problem.remedy));
        assert!(seen.console.contains(&format!("<3>burnonce: {}\n", problem.why)), "{}", seen.console);
        assert!(seen.console.contains("<3>burnonce: This boot runs on memory"), "{}", seen.console);
        assert!(!fs::read_to_string("/proc/mounts").unwrap().contains("/run/burnonce/check"), "{why}");
        seen
    }

    /// Writes on the upper partition.
    fn write<T>(&self, write: impl FnOnce(&Upper) -> T) -> T {
        self.card.write(3, |at| write(&Upper::at(at)))
    }

    fn device(&self) -> String {
        self.card.partition(3)
    }

    fn request(&self, id: &str, kind: Kind) {
        self.write(|upper| request(upper, id, kind));
    }

    /// A copy of the card as it is now.
    fn keep(&self, name: &str) -> PathBuf {
        self.card.flush();
        let copy = self.card.file().with_file_name(name);
        run("cp", &["--sparse=always", self.card.file().to_str().unwrap(), copy.to_str().unwrap()]);
        copy
    }

    /// Makes the card what it was when `copy` was made.
    fn restore(&mut self, copy: &Path) {
        self.card.eject();
        run("cp", &["--sparse=always", copy.to_str().unwrap(), self.card.file().to_str().unwrap()]);
        self.card.insert(false);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Where the guard failed a test, root is still mounted.
        let _ = Command::new("umount").args(["--quiet", "--lazy"]).arg(&self.root).status();
    }
}

/// Runs the guard for the root that is mounted on `root`.
fn guard_at(root: &Path) -> Seen {
    let log = root.with_file_name("kmsg");
    let _ = fs::remove_file(&log);
    fs::write(&log, "").unwrap();
    run("mount", &["--bind", log.to_str().unwrap(), "/dev/kmsg"]);
    let output = Command::new(env!("CARGO_BIN_EXE_burnonce"))
        .args(["guard", "--root", root.to_str().unwrap()])
        .stdin(std::process::Stdio::null())
        .output();
    run("umount", &["/dev/kmsg"]);
    let output = output.unwrap();
    let report = report::read(Path::new("/")).unwrap().unwrap_or_else(|| panic!("no report: {}", text(&output)));
    let read = |path: &str| fs::read_to_string(Path::new("/").join(path)).unwrap_or_default();
    let (conf, reason) = (read(report::CONF), read(overlay::REASON));
    Seen { report, conf, reason, console: fs::read_to_string(log).unwrap(), output }
}

fn request(upper: &Upper, id: &str, kind: Kind) {
    let mut state = upper.state().unwrap();
    state.request = Some(asked(id, kind));
    upper.write_state(&state).unwrap();
}

fn asked(id: &str, kind: Kind) -> Request {
    Request { id: id.to_owned(), kind, by: Trigger::Command, at: 1_700_000_000, keep: Vec::new() }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Takes what is left on a file system, in steps that get smaller.
fn fill(directory: &Path) {
    for size in ["1M", "64k", "1k"] {
        let file = directory.join(format!("fill-{size}"));
        // It ends with "no space left": that is what it is for.
        let _ = Command::new("dd")
            .args(["if=/dev/zero", &format!("bs={size}")])
            .arg(format!("of={}", file.display()))
            .output();
    }
    run("sync", &["-f", directory.to_str().unwrap()]);
}

#[test]
fn a_clean_boot_writes_nothing_and_names_the_device() {
    let bench = Bench::new("");
    let before = bench.card.written();
    let seen = bench.upper();
    assert_eq!(bench.card.written(), before, "sectors written by a guard with nothing to do");
    assert_eq!((seen.console.as_str(), seen.report.did.len()), ("", 0), "it says nothing");
    let parts: Vec<&str> = seen.report.took_ms.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(parts, ["find", "check", "look", "request", "room", "unmount", "driver"]);
    assert!(!Path::new("/run/burnonce/check").exists());
    println!("guard: a clean boot: {} ms, {:?}", seen.report.total_ms, seen.report.took_ms);
}

#[test]
fn it_looks_only_where_an_overlay_is_configured_and_wanted() {
    let bench = Bench::new("");
    let line = bench.root.with_file_name("cmdline");
    fs::write(&line, "root=/dev/mmcblk0p2 burnonce=off quiet\n").unwrap();
    run("mount", &["--bind", line.to_str().unwrap(), "/proc/cmdline"]);
    let seen = bench.guard();
    run("umount", &["/proc/cmdline"]);
    assert_eq!((seen.report.verdict, seen.conf.as_str(), &seen.report.upper), (Verdict::Off, "", &None));
    run("tune2fs", &["-O", "^read-only", &bench.card.partition(2)]);
    bench.card.write(2, |lower| fs::remove_file(lower.join("etc/overlayroot.local.conf")).unwrap());
    let seen = bench.guard();
    assert_eq!((seen.report.verdict, seen.conf.as_str(), &seen.report.upper), (Verdict::NotConfigured, "", &None));
    assert_eq!(seen.console, "");
}

/// Another card in another reader; it goes with the value.
struct Other(String);

impl Drop for Other {
    fn drop(&mut self) {
        forget_partitions(&self.0);
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn two_cards_with_the_same_disk_id_and_label_are_not_mixed_up() {
    let bench = Bench::new("");
    let copy = bench.keep("sound.img");
    let other = Other(bench.card.read_file(&copy, false));
    bench.upper();
    // And the other way round.
    run("mount", &["-o", "ro", &format!("{}p2", other.0), bench.root.to_str().unwrap()]);
    let seen = guard_at(&bench.root);
    run("umount", &[bench.root.to_str().unwrap()]);
    assert_eq!(seen.report.upper, Some(format!("{}p3", other.0)), "{}", seen.console);
    assert_eq!(seen.conf, format!("overlayroot=\"device:dev={}p3,recurse=0\"\n", other.0));
}

type Damage = fn(&Bench);

#[rustfmt::skip]
const UNUSABLE: &[(&str, Damage)] = &[
    ("is labelled burnonce: the one that held", |b| drop(run("e2label", &[&b.device(), "other"]))),
    ("is labelled burnonce: the one that held", |b| zero(&b.device(), 1, 1)),
    ("Two partitions of", |b| drop(run("mke2fs", &["-q", "-F", "-t", "ext4", "-L", "burnonce", &b.card.partition(1)]))),
    ("was not made by it", |b| b.write(|u| fs::remove_file(u.root().join(state::PATH)).unwrap())),
    ("state.json is not JSON", |b| b.write(|u| fs::write(u.root().join(state::PATH), "{\"vers").unwrap())),
    ("made by a newer burnonce", |b| b.write(|u| fs::write(u.root().join(state::PATH), r#"{"version":"2.0"}"#).unwrap())),
    ("was made for another image", |b| b.write(|u| u.write_state(&State::new("0-0-0-0-0", 1)).unwrap())),
    ("has no directory overlay", |b| b.write(|u| fs::remove_dir_all(u.overlay()).unwrap())),
    ("has no directory overlay", |b| b.write(|u| { fs::remove_dir_all(u.overlay()).unwrap(); symlink("burnonce", u.overlay()).unwrap(); })),
    ("overlay-workdir/_ cannot be made", |b| b.write(|u| { fs::remove_dir_all(u.workdir()).unwrap(); symlink("/etc", u.workdir()).unwrap(); })),
    ("must not repair unasked", |b| zero(&b.device(), 4, 4)), // the group descriptors
    ("must not repair unasked", |b| zero_first_block(&b.device(), "/")),
    ("must not repair unasked", |b| zero_first_block(&b.device(), "/overlay")),
    ("must not repair unasked", |b| drop(run("debugfs", &["-w", "-R", "clri <2>", &b.device()]))),
    ("can only be read", |b| drop(run("tune2fs", &["-O", "read-only", &b.device()]))),
    ("is write-protected", |b| drop(run("blockdev", &["--setro", &b.device()]))),
    ("is write-protected", |b| drop(run("blockdev", &["--setro", b.card.device()]))),
];

#[test]
fn an_upper_that_cannot_be_used_leads_to_memory() {
    let mut bench = Bench::new("");
    bench.request("r1", Kind::Reset);
    let sound = bench.keep("sound.img");
    for (why, damage) in UNUSABLE {
        damage(&bench);
        bench.memory(why);
        for device in [bench.card.device(), &bench.device()] {
            run("blockdev", &["--setrw", device]);
        }
        bench.restore(&sound);
    }
}

/// Zeroes `count` KiB from KiB `at`.
fn zero(device: &str, at: u64, count: u64) {
    let (at, count) = (format!("seek={at}"), format!("count={count}"));
    run("dd", &["if=/dev/zero", &format!("of={device}"), "bs=1k", &at, &count, "conv=notrunc", "status=none"]);
}

/// Zeroes the first block of a file or directory.
fn zero_first_block(device: &str, path: &str) {
    let blocks = run("debugfs", &["-R", &format!("blocks {path}"), device]);
    let first: u64 = blocks.split_whitespace().next().unwrap().parse().unwrap();
    zero(device, first * 4, 4);
}

#[test]
fn what_can_be_repaired_is_repaired_and_said() {
    let mut bench = Bench::new("");
    bench.write(|upper| fs::write(upper.overlay().join("kept"), "content").unwrap());
    let sound = bench.keep("sound.img");
    let cases: &[(&str, Damage)] = &[
        ("it was not unmounted", |b| {
            // As after a power cut: the card's content while it is mounted.
            let cut = b.write(|upper| {
                fs::write(upper.overlay().join("late"), "content").unwrap();
                run("sync", &[]);
                b.keep("cut.img")
            });
            run(
                "dd",
                &[
                    &format!("if={}", cut.display()),
                    &format!("of={}", b.card.device()),
                    "bs=1M",
                    "conv=sparse,notrunc",
                    "status=none",
                ],
            );
        }),
        ("errors were found on it", |b| drop(run("debugfs", &["-w", "-R", "ssv state 3", &b.device()]))),
        ("errors were found on it", |b| drop(run("debugfs", &["-w", "-R", "ssv error_count 2", &b.device()]))),
        ("it was mounted as often", |b| drop(run("tune2fs", &["-c", "5", "-C", "5", &b.device()]))),
        ("it cannot be read", |b| zero_first_block(&b.device(), "<8>")), // the journal's
    ];
    for (why, damage) in cases {
        damage(&bench);
        let seen = bench.upper();
        assert!(seen.console.contains(&format!("checking {}: {why}", bench.device())), "{why}: {}", seen.console);
        let did = &seen.report.did;
        assert!(
            did.len() == 1 && ["checked", "repaired"].iter().any(|word| did[0].starts_with(word)),
            "{why}: {did:?}"
        );
        println!("{why}: {did:?}");
        bench.write(|upper| assert_eq!(fs::read_to_string(upper.overlay().join("kept")).unwrap(), "content"));
        let again = bench.upper();
        assert_eq!((again.console.as_str(), again.report.did.len()), ("", 0), "{why}: it is sound now");
        bench.restore(&sound);
    }
}

#[test]
fn what_a_failure_leads_to_is_the_owners_choice() {
    for (choice, verdict, code, conf) in
        [("lower", Verdict::Lower, 0, ""), ("stop", Verdict::Stop, 5, "tmpfs:recurse=0")]
    {
        let bench = Bench::new(&format!("overlay:\n  on_failure: {choice}\n"));
        bench.upper();
        zero(&bench.device(), 1, 1);
        let seen = bench.guard();
        assert_eq!((seen.report.verdict, seen.output.status.code()), (verdict, Some(code)), "{}", seen.console);
        assert_eq!(seen.conf, format!("overlayroot=\"{conf}\"\n"));
        assert!(seen.console.contains(&format!("(overlay.on_failure: {choice})")), "{}", seen.console);
        assert_eq!(seen.reason.lines().count(), 2);
    }
}

#[test]
fn a_work_directory_that_is_missing_is_made() {
    let bench = Bench::new("");
    bench.write(|upper| fs::remove_dir_all(upper.workdir()).unwrap());
    bench.upper();
    bench.write(|upper| assert!(upper.workdir().join("_").is_dir()));
}

/// A copy onto a smaller card. e2fsck must not see it, and nothing is written.
#[test]
fn an_upper_that_reaches_past_the_end_of_the_card_is_left_alone_and_measured() {
    let mut bench = Bench::new("");
    let upper = bench.card.table()[2];
    bench.card.eject();
    let file = fs::OpenOptions::new().write(true).open(bench.card.file()).unwrap();
    file.set_len(upper.1 * 512 + (300 << 20)).unwrap();
    bench.card.insert(false);
    let before = bench.card.written();
    let missing = burnonce::units::Bytes(upper.2 * 512 - (300 << 20) - 4096);
    let seen = bench.memory(&format!("{missing} of it are not on this card"));
    let problem = seen.report.problem.unwrap();
    assert!(problem.remedy.contains("run burnonce repartition"), "{problem:?}");
    assert_eq!(bench.card.written(), before, "sectors written");
}
