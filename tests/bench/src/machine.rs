//! The machine that measures.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use burnonce_vm::host;

use crate::cards::Cards;
use crate::figures::Machine;
use crate::measured::installed;
use crate::works::Name;

/// Programs that say their version, and how they are asked for it. growpart has none.
const VERSIONS: &[(&str, &str)] = &[
    ("mke2fs", "-V"),
    ("sfdisk", "--version"),
    ("systemd-repart", "--version"),
    ("rsync", "--version"),
    ("xz", "--version"),
    ("find", "--version"),
    ("debugfs", "-V"),
    // It says it before its help.
    ("busybox", "--help"),
    ("qemu-system-x86_64", "--version"),
];

/// What is known of it, before anything is measured by these works.
///
/// # Errors
/// The kernel or a program does not say what it is asked for.
pub fn describe(cards: &Cards, rounds: usize, works: &[Name]) -> Result<Machine> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let git = |arguments: &[&str]| host::run(Command::new("git").arg("-C").arg(host::project()).args(arguments));
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?.trim().to_owned();
    let mut versions = vec![("burnonce".to_owned(), version(&cards.packaged("usr/sbin/burnonce"), "--version")?)];
    for (program, option) in VERSIONS.iter().filter(|(program, _)| takes_part(program, works)) {
        let path = installed(program).with_context(|| format!("{program} is not installed"))?;
        versions.push(((*program).to_owned(), version(&path, option)?));
    }
    Ok(Machine {
        processor: field(&read("/proc/cpuinfo")?, "model name", ':').unwrap_or("unknown").to_owned(),
        cores: std::thread::available_parallelism()?.get(),
        memory: memory(&read("/proc/meminfo")?)?,
        kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        system: field(&read("/etc/os-release")?, "PRETTY_NAME", '=').unwrap_or("unknown").trim_matches('"').to_owned(),
        date: host::run(Command::new("date").args(["--utc", "+%F"]))?.trim().to_owned(),
        commit: if changed { format!("{commit}, and changes") } else { commit },
        rounds,
        load: load(&read("/proc/loadavg")?)?,
        versions,
    })
}

/// Whether one of these works takes the program.
fn takes_part(program: &str, works: &[Name]) -> bool {
    works.iter().flat_map(|work| work.programs()).any(|(name, _)| *name == program)
}

fn version(program: &Path, option: &str) -> Result<String> {
    let output = Command::new(program).arg(option).output();
    let output = output.with_context(|| format!("asking {} for its version", program.display()))?;
    // mke2fs says it on standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let found = number(text.lines().next().unwrap_or_default());
    Ok(found.with_context(|| format!("{} says {text:?} of its version", program.display()))?.to_owned())
}

/// The first word that begins with a digit, or with one behind a `v`.
fn number(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().map(|word| word.strip_prefix('v').unwrap_or(word));
    words.find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
}

/// What follows a key and `separator`, in lines of such.
fn field<'a>(text: &'a str, key: &str, separator: char) -> Option<&'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(separator));
    pairs.map(|(name, value)| (name.trim(), value.trim())).find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// Bytes, by proc_meminfo(5).
fn memory(text: &str) -> Result<u64> {
    let total = field(text, "MemTotal", ':').context("/proc/meminfo has no MemTotal")?;
    let kib: u64 = total.trim_end_matches("kB").trim().parse().with_context(|| format!("MemTotal is {total:?}"))?;
    Ok(kib << 10)
}

/// The average of one minute, by proc_loadavg(5).
fn load(text: &str) -> Result<f64> {
    let first = text.split_whitespace().next().context("/proc/loadavg is empty")?;
    first.parse().with_context(|| format!("/proc/loadavg begins with {first:?}"))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        let processors = "processor\t: 0\nmodel name\t: A Processor @ 2.00GHz\n\nprocessor\t: 1\nmodel name\t: B\n";
        assert_eq!(field(processors, "model name", ':'), Some("A Processor @ 2.00GHz"));
        assert_eq!(field("NAME=\"x\"\nPRETTY_NAME=\"A System 12\"\n", "PRETTY_NAME", '='), Some("\"A System 12\""));
        assert_eq!(memory("MemTotal:       16384 kB\nMemFree: 1 kB\n").unwrap(), 16 << 20);
        assert!((load("0.52 0.58 0.59 1/467 12345\n").unwrap() - 0.52).abs() < 1e-9);
        assert!(memory("").is_err() && load("").is_err());
    }

    #[test]
    fn only_what_takes_part_is_asked() {
        assert!(takes_part("sfdisk", &[Name::Convert]) && takes_part("rsync", &[Name::Convert, Name::Diff]));
        assert!(!takes_part("rsync", &[Name::Convert]));
        for (program, _) in VERSIONS {
            assert!(takes_part(program, Name::value_variants()), "{program} is of no work");
        }
    }

    #[test]
    fn a_version_begins_with_a_digit() {
        for (line, found) in [
            ("mke2fs 1.47.0 (5-Feb-2023)", "1.47.0"),
            ("sfdisk from util-linux 2.38.1", "2.38.1"),
            ("systemd 252 (252.38-1~deb12u1)", "252"),
            ("rsync  version 3.2.7  protocol version 31", "3.2.7"),
            ("xz (XZ Utils) 5.4.1", "5.4.1"),
            ("BusyBox v1.35.0 (Debian 1:1.35.0-4+b5) multi-call binary.", "1.35.0"),
            ("QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7+deb12u13)", "7.2.17"),
        ] {
            assert_eq!(number(line), Some(found));
        }
        assert_eq!(number("no version"), None);
    }
}
