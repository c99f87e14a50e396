//! The machine that measures.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use burnonce_vm::host;

use crate::cards::Cards;
use crate::figures::Machine;

/// Programs that take part, and how they are asked for their version. Debian's busybox says it before anything else.
const VERSIONS: &[(&str, &[&str])] = &[
    ("mke2fs", &["-V"]),
    ("sfdisk", &["--version"]),
    ("systemd-repart", &["--version"]),
    ("rsync", &["--version"]),
    ("xz", &["--version"]),
    ("find", &["--version"]),
];

/// What is known of it, before anything is measured.
///
/// # Errors
/// The kernel or a program does not say what it is asked for.
pub fn describe(cards: &Cards, rounds: usize) -> Result<Machine> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let git = |arguments: &[&str]| host::run(Command::new("git").arg("-C").arg(host::project()).args(arguments));
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?.trim().to_owned();
    let mut versions = vec![("burnonce".to_owned(), version(&cards.packaged("usr/sbin/burnonce"), &["--version"])?)];
    for (program, arguments) in VERSIONS {
        versions.push(((*program).to_owned(), version(Path::new(program), arguments)?));
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

fn version(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("asking {} for its version", program.display()))?;
    // mke2fs says it on standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let found = number(text.lines().next().unwrap_or_default());
    Ok(found.with_context(|| format!("{} says {text:?} of its version", program.display()))?.to_owned())
}

/// The first word that begins with a digit.
fn number(line: &str) -> Option<&str> {
    line.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
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
    fn a_version_begins_with_a_digit() {
        for (line, found) in [
            ("mke2fs 1.47.0 (5-Feb-2023)", "1.47.0"),
            ("sfdisk from util-linux 2.38.1", "2.38.1"),
            ("systemd 252 (252.38-1~deb12u1)", "252"),
            ("rsync  version 3.2.7  protocol version 31", "3.2.7"),
            ("xz (XZ Utils) 5.4.1", "5.4.1"),
        ] {
            assert_eq!(number(line), Some(found));
        }
        assert_eq!(number("no version"), None);
    }
}
