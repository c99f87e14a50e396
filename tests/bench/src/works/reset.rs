//! A node is given back as freshly burned.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burnonce::units::grouped;
use burnonce_crash::boot::Boot;
use burnonce_vm::card::Card;

use crate::cards::{self, Cards, IMAGE, boot, insert};
use crate::contest::{self, Contender};
use crate::extent::Extent;
use crate::figures::{Case, Measure, Run, Sample, Work};
use crate::measured::{How, Meter, Task};
use crate::mounted::Mounted;
use crate::target;
use crate::works::convert::agent;

/// The card on which the node has run, in GiB.
const CARD: u64 = 32;
/// So many files are in a directory.
const IN_A_DIRECTORY: usize = 500;
/// Each takes one block.
const CONTENT: &[u8] = &[b'x'; 100];
/// What a card may be written with, in bytes per second: a fair one of class 10.
const BURNING: u64 = 20_000_000;
/// Where the upper is mounted, for those who work on it from outside of a node.
const UPPER: &str = "/run/bench-upper";

/// What dracut does for `rd.overlay.reset`: what was written is deleted, file by file.
const DELETE: &str = r#"rm -rf "$1/overlay" && mkdir "$1/overlay""#;

/// What systemd-repart does for `FactoryReset=yes`: the file system is made anew. To discard 30 GiB would make holes in the card's file, which
/// measures the file system that it is on.
const MAKE: &str = r#"mke2fs -q -F -t ext4 -E nodiscard "$1""#;

/// What a page says of the files.
const ABOUT: &str = "A node has written files of 100 bytes, 500 in each directory, to its upper on a card of 32 GiB; then it is given back as it \
was burned. `burnonce` is the command up to its restart and the guard's turn in the boot that follows. `rm -rf` is what dracut does for \
`rd.overlay.reset`; `mke2fs` what systemd-repart does for a factory reset.";

/// All who do it, with each number of files.
///
/// # Errors
/// One of them failed.
pub fn work(cards: &Cards, extent: &Extent) -> Result<Work> {
    let mut cases = Vec::new();
    for (number, &files) in extent.files.iter().enumerate() {
        eprintln!("bench: reset with {files} files");
        let contenders = [
            Contender::new("burnonce", |how| burnonce(cards, files, how)),
            Contender::new("rm -rf", |how| delete(cards, files, how)),
            Contender::new("mke2fs", |how| make(cards, files, how)),
        ];
        // Not of half a million: another run of each takes as long as a round.
        let asides: &[How] = if number == 0 { &[How::Weighed] } else { &[] };
        let mut runs = contest::hold(&contenders, extent.rounds, asides)?;
        let who = format!("burning the image again at {} MB/s, computed", BURNING / 1_000_000);
        runs.push(Run { who, samples: vec![burn(); extent.rounds] });
        cases.push(Case { label: format!("{} files", grouped(files as u64)), size: files as f64, runs });
        cards.forget(&name(files))?;
    }
    Ok(Work {
        name: "reset".to_owned(),
        title: "Reset".to_owned(),
        about: ABOUT.to_owned(),
        targets: target::flat(&cases, 20.0).into_iter().collect(),
        cases,
        notes: vec![
            "Nearly all of burnonce's time is that of its flushes, which on a disk varies more from run to run than with the number of \
             files; the bytes and the processor time do not."
                .to_owned(),
            "What was set aside is deleted later, in the background, by `burnonce reclaim`: that is not in these figures. Until then \
             `burnonce undo` brings it back; after `rm -rf` and `mke2fs` nothing does."
                .to_owned(),
            "The restart itself takes as long for all of them, and is not measured. How long burning takes is computed from the image's \
             length (2 GiB and its boot partition), not measured."
                .to_owned(),
            "`rm -rf` asks for no flush by itself: its time has the one by which all of it gets on the card.".to_owned(),
            "`mke2fs` has `-E nodiscard`. By itself it discards the partition first, which on a loop device makes holes in a file: that would \
             measure this machine's file system, not mke2fs. With a card that discards fast it is as fast as here. What it zeroes takes a card \
             longer than this loop device, as is said at the conversion."
                .to_owned(),
        ],
    })
}

fn name(files: usize) -> String {
    format!("used-{files}")
}

/// A node that has written so many files.
fn used(cards: &Cards, files: usize) -> Result<Card> {
    cards.fresh(&name(files), |file| {
        let card = cards.converted(CARD)?;
        let reader = insert(&card.path)?;
        let upper = Mounted::at(&reader.partition(3), Path::new(UPPER))?;
        write_files(&Path::new(UPPER).join("overlay/srv"), files)?;
        upper.end()?;
        drop(reader);
        fs::rename(&card.path, file).context("keeping the card")
    })
}

/// Writes so many files below `top`.
pub fn write_files(top: &Path, files: usize) -> Result<()> {
    for number in 0..files {
        let directory = top.join((number / IN_A_DIRECTORY).to_string());
        if number % IN_A_DIRECTORY == 0 {
            fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
        }
        let file = directory.join(number.to_string());
        fs::write(&file, CONTENT).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// The command on the node up to its restart, and the guard's turn in the boot that follows.
pub fn burnonce(cards: &Cards, files: usize, how: How) -> Result<Sample> {
    let card = used(cards, files)?;
    let reader = insert(&card.path)?;
    let mut meter = Meter::of(&reader, how);
    boot(&reader, true, |boot| {
        boot.succeeds(&["converge"])?;
        meter.run(&agent(boot, &["reset", "--yes", "--no-reboot"]))
    })?;
    let mut boot = Boot::begin_counted(&reader)?;
    cards::warm(boot.root())?;
    let report = boot.guard_by(|words| meter.output(&Task::new(words)))?;
    cards::expect(&report, true)?;
    let request = &report["request"];
    ensure!(request["kind"] == "reset" && request["refused"].is_null(), "the guard did not reset: {report:#}");
    boot.power_off()?;
    Ok(meter.sample())
}

/// The files are deleted.
pub fn delete(cards: &Cards, files: usize, how: How) -> Result<Sample> {
    let card = used(cards, files)?;
    let reader = insert(&card.path)?;
    let upper = Mounted::at(&reader.partition(3), Path::new(UPPER))?;
    let mut meter = Meter::of(&reader, how);
    meter.run(&Task::script(DELETE, &[UPPER]))?;
    upper.end()?;
    Ok(meter.sample())
}

/// The file system is made anew.
pub fn make(cards: &Cards, files: usize, how: How) -> Result<Sample> {
    let card = used(cards, files)?;
    let reader = insert(&card.path)?;
    let mut meter = Meter::of(&reader, how);
    meter.run(&Task::script(MAKE, &[&reader.partition(3).display().to_string()]))?;
    Ok(meter.sample())
}

/// The image is burned again: computed, from its length.
pub fn burn() -> Sample {
    let nanoseconds = u128::from(IMAGE) * 1_000_000_000 / u128::from(BURNING);
    Sample::from([(Measure::Wall, u64::try_from(nanoseconds).unwrap_or(u64::MAX)), (Measure::Written, IMAGE)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burning_takes_what_its_length_takes() {
        let seconds = burn()[&Measure::Wall] / 1_000_000_000;
        assert_eq!(seconds, IMAGE / 20_000_000);
        assert_eq!(burn()[&Measure::Written], IMAGE);
    }

    #[test]
    fn files_are_written_into_directories_of_some() {
        let directory = tempfile::tempdir().unwrap();
        write_files(directory.path(), 501).unwrap();
        let count = |name: &str| fs::read_dir(directory.path().join(name)).unwrap().count();
        assert_eq!((count("0"), count("1")), (500, 1));
    }
}
