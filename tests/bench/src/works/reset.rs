//! A node is given back as freshly burned.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burnonce_crash::boot::Boot;
use burnonce_vm::card::{Card, GIB};

use crate::cards::{self, Cards, IMAGE, boot, insert};
use crate::figures::{Measure, Sample};
use crate::measured::{How, Meter, Task};
use crate::mounted::Mounted;
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

/// What systemd-repart does for `FactoryReset=yes`: the file system is made anew.
const MAKE: &str = r#"mke2fs -q -F -t ext4 "$1""#;

/// A node that has written so many files.
fn used(cards: &Cards, files: usize) -> Result<Card> {
    cards.fresh(&format!("used-{files}"), |file| {
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
        assert!(IMAGE > 2 * GIB);
    }

    #[test]
    fn files_are_written_into_directories_of_some() {
        let directory = tempfile::tempdir().unwrap();
        write_files(directory.path(), 501).unwrap();
        let count = |name: &str| fs::read_dir(directory.path().join(name)).unwrap().count();
        assert_eq!((count("0"), count("1")), (500, 1));
    }
}
