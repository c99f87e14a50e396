//! What burnonce writes and asks of the kernel, counted. It hardly depends on how fast a machine is and on what else it does; a little it does on
//! the kernel, and on the C library and e2fsprogs of the system, so the bounds have some room, and system calls are bounded beside those of
//! `true` on the same machine. Times are `make bench`'s.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burnonce::units::Bytes;
use burnonce_bench::cards::Cards;
use burnonce_bench::figures::{Measure, Sample};
use burnonce_bench::measured::How;
use burnonce_bench::works::{convert, reset, steady};
use burnonce_crash::boot;
use burnonce_vm::native;
use nix::sys::statvfs::statvfs;

const MIB: u64 = 1 << 20;
/// What a test's cards take, in bytes, with room.
const ROOM: u64 = 1 << 30;
/// System calls of guard and agent together, beyond those that it takes to start two programs.
const CALLS: u64 = 500;

/// In a mount namespace of its own, with cards in memory: time is not counted here, and disks are slow.
fn cards(name: &str, work: impl FnOnce(&Cards) -> Result<()>) {
    let directory = native::memory(name).expect("a directory for cards");
    let done = has_room(&directory)
        .and_then(|()| boot::own_namespace())
        .and_then(|()| Cards::begin(&directory))
        .and_then(|cards| work(&cards));
    std::fs::remove_dir_all(&directory).expect("removing what was kept there");
    if let Err(error) = done {
        panic!("{error:#}");
    }
}

/// Fails where the cards would have no room: it would look like a fault of what is tested.
fn has_room(directory: &Path) -> Result<()> {
    let seen = statvfs(directory).with_context(|| format!("looking at {}", directory.display()))?;
    let free = seen.blocks_available() * seen.fragment_size();
    ensure!(free >= ROOM, "{} has {} free, and the cards need {}", directory.display(), Bytes(free), Bytes(ROOM));
    Ok(())
}

/// Fails where more was counted than is allowed; the message has all of it.
fn at_most(what: &str, sample: &Sample, bounds: &BTreeMap<Measure, u64>) -> Result<()> {
    println!("bench: {what}: {sample:?}");
    for (measure, bound) in bounds {
        let counted = sample.get(measure);
        ensure!(
            counted.is_some_and(|counted| counted <= bound),
            "{what}: {measure:?} is {counted:?}, and was to be at most {bound}: where that has a good reason, the bound in {} follows",
            file!()
        );
    }
    Ok(())
}

#[test]
fn a_conversion_writes_little() {
    cards("bench-convert", |cards| {
        for (gib, written) in [(8, 7 * MIB / 2), (64, 4 * MIB)] {
            let ours = convert::burnonce(cards, gib, How::Plain)?;
            let bounds = BTreeMap::from([(Measure::Written, written), (Measure::Flushes, 74), (Measure::Discarded, 0)]);
            at_most(&format!("conversion of {gib} GiB"), &ours, &bounds)?;
            let guide = convert::guide(cards, gib, How::Plain)?;
            println!("bench: what guides say, at {gib} GiB: {guide:?}");
            // The guide's journal is that of mke2fs, which follows the card's length up to 1 GiB.
            let times = if gib == 8 { 20 } else { 50 };
            let (ours, guides) = (ours[&Measure::Written], guide[&Measure::Written]);
            ensure!(
                ours * times <= guides,
                "{gib} GiB: {ours} bytes were written, more than 1/{times} of the guide's {guides}"
            );
        }
        Ok(())
    });
}

#[test]
fn a_boot_with_nothing_to_do_writes_nothing() {
    cards("bench-steady", |cards| {
        let mut sample = steady::burnonce(cards, 8, How::Plain)?;
        sample.extend(steady::burnonce(cards, 8, How::Traced)?);
        // Two programs are started: the guard and the agent.
        let starting = 2 * steady::nothing(cards, 8, How::Traced)?[&Measure::Syscalls];
        println!("bench: starting two programs takes {starting} system calls");
        let calls = (Measure::Syscalls, starting + CALLS);
        let bounds = [(Measure::Written, 0), (Measure::Discarded, 0), (Measure::Flushes, 1), calls];
        at_most("guard and agent with nothing to do", &sample, &BTreeMap::from(bounds))
    });
}

#[test]
fn a_reset_writes_as_much_whatever_there_was() {
    cards("bench-reset", |cards| {
        let few = reset::burnonce(cards, 10, How::Plain)?;
        let many = reset::burnonce(cards, 2000, How::Plain)?;
        let bounds = BTreeMap::from([(Measure::Written, MIB), (Measure::Flushes, 44), (Measure::Discarded, 0)]);
        at_most("reset of 10 files", &few, &bounds)?;
        at_most("reset of 2000 files", &many, &bounds)?;
        let apart = |measure| few[&measure].abs_diff(many[&measure]);
        ensure!(apart(Measure::Written) <= 64 << 10, "the bytes that a reset writes depend on the number of files");
        ensure!(apart(Measure::Flushes) <= 5, "the flushes of a reset depend on the number of files");
        let deleting = reset::delete(cards, 2000, How::Plain)?;
        println!("bench: deleting 2000 files: {deleting:?}");
        let (ours, deleted) = (many[&Measure::Written], deleting[&Measure::Written]);
        ensure!(ours < deleted, "a reset of 2000 files writes {ours} bytes, and to delete them only {deleted}");
        Ok(())
    });
}
