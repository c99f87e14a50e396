//! A large image takes as little memory as a small one, and no more time than what it is made of.

use crate::command;
use crate::common::{MIB, Shape, said};
use crate::debs::Debs;
use crate::{names, rows, text};
use nix::time::{ClockId, clock_gettime};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;

/// What the machine with the least memory that anybody bakes on can spare, in KiB.
const MOST: u64 = 200 << 10;

/// What baking took.
struct Taken {
    /// The most memory that burnonce had, in KiB: the high-water mark that the kernel keeps (proc_pid_status(5)).
    peak: u64,
    /// Processor time of burnonce and of what it started, in seconds.
    time: f64,
}

fn taken(image: &Path, output: &Path, debs: &Debs) -> Taken {
    let temporary = TempDir::new().unwrap();
    let arguments = [text(image), "-o", text(output), "--deb", text(debs.path())];
    let mut child = command(temporary.path(), &arguments).stdout(Stdio::null()).spawn().unwrap();
    let of = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id())).unwrap();
    let (mut peak, mut ticks) = (0, 0);
    loop {
        let (status, stat) = (of("status"), of("stat"));
        // utime, stime, cutime and cstime, behind the name in parentheses (proc_pid_stat(5)).
        let fields = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(4);
        ticks = fields.map(|field| field.parse::<u64>().unwrap()).sum::<u64>().max(ticks);
        // There is none any more when it has ended.
        match status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            Some(mark) => peak = mark.trim().trim_end_matches(" kB").parse().unwrap(),
            None => break,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = child.wait().unwrap();
    assert!(ended.success(), "{ended}");
    // Linux has counted in hundredths for programs since there is a constant for it (`USER_HZ`).
    Taken { peak, time: ticks as f64 / 100.0 }
}

/// Processor time of a script, in seconds: of what the shell waited for, by its `times`.
fn time(script: &str) -> f64 {
    let said = said("sh", &["-euc", &format!("{script}; times")], b"");
    let seconds = |time: &str| -> f64 {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m').unwrap();
        minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
    };
    said.lines().last().unwrap().split_whitespace().map(seconds).sum()
}

/// Processor time of a checksum, in seconds: by the code that burnonce has, for one that knows a processor's instructions for it is ten times as
/// fast as another.
fn hashing(path: &Path) -> f64 {
    let clock = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let (before, mut file, mut digest) = (clock(), File::open(path).unwrap(), Sha256::new());
    let mut piece = vec![0; 256 << 10];
    loop {
        match file.read(&mut piece).unwrap() {
            0 => break,
            length => digest.update(&piece[..length]),
        }
    }
    assert_eq!(digest.finalize().len(), 32);
    (clock() - before).as_secs_f64()
}

/// Bakes both, and does what would be done by hand instead: a copy or an unpacked image, and its checksum. Says what took too long.
fn a_round(round: u32, image: &Path, packed: &Path, directory: &Path, results: &Path, debs: &Debs) -> Vec<String> {
    let by_hand = directory.join("by-hand.img");
    let copying = time(&format!("cp --sparse=always '{}' '{}'", text(image), text(&by_hand)));
    let hashing = hashing(&by_hand);
    let unpacking = time(&format!("xz -dT0 <'{}' >'{}'", text(packed), text(&by_hand)));
    fs::remove_file(by_hand).unwrap();
    let mut slow = Vec::new();
    for (from, to, by_hand) in [(image, "raw.img", copying), (packed, "unpacked.img", unpacking)] {
        let to = results.join(to);
        for earlier in [&to, &to.with_extension("img.sha256")] {
            let _ = fs::remove_file(earlier);
        }
        let Taken { peak, time } = taken(from, &to, debs);
        let figures = format!("{}: {time:.1} s beside {by_hand:.1} s and {hashing:.1} s for its checksum", text(&to));
        println!("round {round}: {figures}, {peak} KiB");
        assert!((1 << 10..MOST).contains(&peak), "{peak} KiB");
        if time >= 1.2 * (by_hand + hashing) {
            slow.push(figures);
        }
    }
    slow
}

#[test]
fn an_image_of_4_gib_takes_little_memory_and_time() {
    let (debs, directory, results) = (Debs::make(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let shape = Shape { root_length: 4096 * MIB, ..rows::ROOMY };
    let image = rows::trixie().make_as(directory.path(), "large.img", shape);
    let packed = directory.path().join("large.img.xz");
    // In blocks as `xz -T0` makes them, of 24 MiB with its dictionary of 8.
    said(
        "sh",
        &["-c", &format!("xz -0 -T2 --lzma2=preset=0,dict=8MiB --stdout '{}' >'{}'", text(&image), text(&packed))],
        b"",
    );
    // Whatever else a machine does makes both slower, and not at the same moment: of three rounds one is enough.
    let mut slow = Vec::new();
    for round in 1..=3 {
        slow = a_round(round, &image, &packed, directory.path(), results.path(), &debs);
        if slow.is_empty() {
            break;
        }
    }
    assert_eq!(slow, [""; 0], "in the last of three rounds, and in those before it");
    assert_eq!(names(results.path()).len(), 4);
    // Both are the same, by their checksums, and have holes as they came.
    let [one, other] = ["raw.img", "unpacked.img"]
        .map(|name| fs::read_to_string(results.path().join(format!("{name}.sha256"))).unwrap().replace(name, ""));
    assert_eq!(one, other);
    for name in ["raw.img", "unpacked.img"] {
        let used = fs::metadata(results.path().join(name)).unwrap().blocks() * 512;
        assert!(used < 200 * MIB, "{name}: {used} bytes");
    }
}
