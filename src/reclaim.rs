//! `burnonce reclaim`: deletes what resets have set aside and nobody can go back to any more, late in a boot and without hurry.
//!
//! A generation is renamed into `burnonce/reclaim/`, then it leaves `state.json`, and only then it is deleted: an undo never finds a part of
//! a tree, and whatever a power cut or SIGTERM leaves goes the next time. The other order could leave a generation without an entry, whose
//! number the next reset may use again. A boot with nothing to do writes nothing to the card.
//!
//! `burnonce/next` is the guard's own: it may hold the only copy of a generation.

use crate::apply::RUN;
use crate::observation::Root;
use crate::output::print;
use crate::state::{Generation, State};
use crate::units::Bytes;
use crate::upper::{Upper, names};
use crate::{Exit, config, files, mounted, observe, overlay, sys, tree};
use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;
use nix::time::{ClockId, clock_gettime};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// Made in memory by [`note_beginning`].
const BEGAN: &str = "run/burnonce/began";

/// From here on, in percent of blocks or of inodes, kept generations go, too.
const FULL: u64 = 80;
/// Up to here there is room to make the spare parts again.
const ROOM: u64 = 90;
/// A `began` that is as many seconds off is put right. One that is not came from a clock that was right.
const FAR_OFF: u64 = 24 * 60 * 60;

/// Runs it on the node whose root is at `root`.
///
/// # Errors
/// Something could not be deleted or written; the rest was done all the same.
pub fn run(root: &Path) -> Result<Exit> {
    if !matches!(observe::mode(root)?, Root::Overlay { upper: Some(_), upper_writable: true, .. }) {
        print("nothing to do: this node does not run on an overlay on its card.\n");
        return Ok(Exit::Done);
    }
    let kept = match config::of(root) {
        (Ok(config), _) => Some(config.reset.generations),
        (Err(error), _) => {
            log::warn!("{error:#}; no generation is deleted for its number");
            None
        }
    };
    let upper = Upper::at(files::below(root, overlay::UPPER));
    let began = correct_began(root, &upper);
    let work = reclaim(&upper, kept);
    began?;
    if !work? {
        print("nothing to reclaim.\n");
    }
    Ok(Exit::Done)
}

/// All of it, on one upper: generations beyond `kept` go. Says whether there was anything to do.
///
/// # Errors
/// The first thing that went wrong; the others are in the log.
pub fn reclaim(upper: &Upper, kept: Option<u32>) -> Result<bool> {
    let mut emptied = empty(upper);
    // A tree that cannot be deleted is no reason to give up those that an undo can go back to.
    while retire(upper, kept, emptied.is_ok())? {
        let now = empty(upper);
        emptied = emptied.and(now);
    }
    let mut done = false;
    if is_over(upper, ROOM)? {
        log::debug!("{} has no room for the spare parts", upper.root().display());
    } else {
        let lock = upper.lock()?;
        done |= upper.restock()?;
        drop(lock);
        let now = empty(upper);
        emptied = emptied.and(now);
    }
    done |= measure(upper)?;
    emptied.map(|emptied| emptied || done)
}

/// Deletes what is in `reclaim/`. Says whether there was anything.
fn empty(upper: &Upper) -> Result<bool> {
    let directory = upper.own("reclaim");
    let names = names(&directory)?;
    if names.is_empty() {
        return Ok(false);
    }
    // What is deleted here has left its place on the card, too.
    mounted::flush(upper.root())?;
    let mut failure = Ok(true);
    for name in names {
        match tree::remove(&directory.join(&name)) {
            Ok(()) => log::info!("deleted {}", directory.join(name).display()),
            Err(error) => {
                log::error!("{error:#}");
                failure = failure.and(Err(error));
            }
        }
    }
    failure
}

/// Moves to `reclaim/` what is not kept; of the kept ones, on a full file system, the oldest, if it may. Says whether that was anything.
fn retire(upper: &Upper, kept: Option<u32>, may_make_room: bool) -> Result<bool> {
    let _lock = upper.lock()?;
    let state = upper.state()?;
    if state.request.is_some() || Upper::number(&upper.overlay())? != state.generation {
        log::info!("a request is pending: the generations stay as they are");
        return Ok(false);
    }
    let present = generations(upper)?;
    let whole = |number: u32| present.contains(&number) && upper.generation(number).join("overlay").is_dir();
    let full = may_make_room && is_over(upper, FULL)?;
    let (set_aside, leaving) = choose(&state.set_aside, &present, whole, kept, full);
    for number in &leaving {
        log::info!("generation {number} is not kept any more{}", if full { ": the card is nearly full" } else { "" });
        upper.discard(&upper.generation(*number))?;
    }
    if set_aside != state.set_aside {
        upper.write_state(&State { set_aside, ..state })?;
    }
    Ok(!leaving.is_empty())
}

/// The numbers of what is in `generations/`; what has another name is none of ours.
fn generations(upper: &Upper) -> Result<Vec<u32>> {
    let number = |name: std::ffi::OsString| {
        let number: u32 = name.to_str()?.parse().ok()?;
        (number.to_string().as_str() == name).then_some(number)
    };
    let mut numbers: Vec<u32> = names(&upper.own("generations"))?.into_iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// What stays set aside, and the numbers of those that go. `present` is what the card has; `whole`: what an undo can go back to. An entry
/// without a generation goes, and a generation without an entry. Pure.
fn choose(
    set_aside: &[Generation],
    present: &[u32],
    whole: impl Fn(u32) -> bool,
    kept: Option<u32>,
    full: bool,
) -> (Vec<Generation>, Vec<u32>) {
    let usable: Vec<&Generation> = set_aside.iter().filter(|generation| whole(generation.number)).collect();
    let most = kept.map_or(usize::MAX, |kept| usize::try_from(kept).unwrap_or(usize::MAX));
    let leaving = |staying: &[&Generation]| -> Vec<u32> {
        present.iter().copied().filter(|number| staying.iter().all(|s| s.number != *number)).collect()
    };
    let mut staying = &usable[usable.len().saturating_sub(most)..];
    // Where others go already, they may be enough.
    if full && leaving(staying).is_empty() {
        staying = staying.split_first().map_or(staying, |(_, younger)| younger);
    }
    (staying.iter().map(|generation| (*generation).clone()).collect(), leaving(staying))
}

/// Whether more than `percent` of the file system's blocks or inodes are in use.
fn is_over(upper: &Upper, percent: u64) -> Result<bool> {
    let seen = statvfs(upper.root()).with_context(|| format!("looking at {}", upper.root().display()))?;
    // 32 or 64 bits, by the architecture.
    let [blocks, free] = [seen.blocks(), seen.blocks_free()].map(u128::from);
    let [inodes, free_inodes] = [seen.files(), seen.files_free()].map(u128::from);
    let over = |total: u128, free: u128| total.saturating_sub(free) * 100 > total * u128::from(percent);
    Ok(over(blocks, free) || over(inodes, free_inodes))
}

/// Counts the generations that nobody has counted yet. Says whether there were any.
fn measure(upper: &Upper) -> Result<bool> {
    let mut sizes = Vec::new();
    for generation in upper.state()?.set_aside.into_iter().filter(|generation| generation.size.is_none()) {
        let directory = upper.generation(generation.number).join("overlay");
        if directory.is_dir() {
            let size = tree::measure(&directory)?;
            log::info!("generation {}: {} in {} files", generation.number, Bytes(size.bytes), size.files);
            sizes.push((Generation { size: None, ..generation }, size));
        }
    }
    if sizes.is_empty() {
        return Ok(false);
    }
    let _lock = upper.lock()?;
    let mut state = upper.state()?;
    for generation in &mut state.set_aside {
        // Only the very one that was counted: others may have changed state.json meanwhile.
        if let Some((_, size)) = sizes.iter().find(|(counted, _)| counted == generation) {
            generation.size = Some(*size);
        }
    }
    upper.write_state(&state)?;
    Ok(true)
}

/// Notes that this boot is the first of a generation whose `began` has just been written: when the clock is right, that is looked at
/// again.
///
/// # Errors
/// `/run` takes no writes.
pub fn note_beginning(root: &Path) -> Result<()> {
    let mark = root.join(BEGAN);
    fs::create_dir_all(root.join(RUN))
        .and_then(|()| fs::write(&mark, ""))
        .with_context(|| format!("writing {}", mark.display()))
}

/// Puts `began` right in a generation's first boot. A board without a clock is years behind until the network has told it the time, which a
/// new generation cannot remember.
fn correct_began(root: &Path, upper: &Upper) -> Result<()> {
    let mark = root.join(BEGAN);
    if !mark.exists() || !sys::clock_is_set() {
        return Ok(());
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock is before 1970")?;
    let running = clock_gettime(ClockId::CLOCK_BOOTTIME).context("reading the time since the boot")?;
    let boot = now.as_secs().saturating_sub(u64::try_from(running.tv_sec()).unwrap_or(0));
    let lock = upper.lock()?;
    let state = upper.state()?;
    if state.began.abs_diff(boot) > FAR_OFF {
        upper.write_state(&State { began: boot, ..state })?;
    }
    drop(lock);
    fs::remove_file(&mark).with_context(|| format!("removing {}", mark.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Kind, Trigger};

    fn aside(numbers: &[u32]) -> Vec<Generation> {
        let generation =
            |&number| Generation { number, began: 1, ended: 2, kind: Kind::Reset, by: Trigger::Command, size: None };
        numbers.iter().map(generation).collect()
    }

    #[test]
    fn which_generations_stay() {
        type Numbers = &'static [u32];
        // What state.json has, what is there, what is whole; what stays set aside, what goes.
        type Case = (&'static str, [Numbers; 3], Option<u32>, bool, [Numbers; 2]);
        #[rustfmt::skip]
        let cases: &[Case] = &[
            ("none",                             [&[], &[], &[]], Some(1), false, [&[], &[]]),
            ("as many as are kept",              [&[3], &[3], &[3]], Some(1), false, [&[3], &[]]),
            ("one more",                         [&[3, 5], &[3, 5], &[3, 5]], Some(1), false, [&[5], &[3]]),
            ("the order is that of their end",   [&[5, 3], &[3, 5], &[3, 5]], Some(1), false, [&[3], &[5]]),
            ("none is kept",                     [&[1, 2], &[1, 2], &[1, 2]], Some(0), false, [&[], &[1, 2]]),
            ("the configuration is not known",   [&[1, 2], &[1, 2], &[1, 2]], None, false, [&[1, 2], &[]]),
            ("a directory without an entry",     [&[3], &[2, 3], &[2, 3]], Some(9), false, [&[3], &[2]]),
            ("an entry without a directory",     [&[2, 3], &[3], &[3]], Some(9), false, [&[3], &[]]),
            ("which is not one of the kept",     [&[3, 4], &[3], &[3]], Some(1), false, [&[3], &[]]),
            ("a directory without an upper",     [&[2, 3], &[2, 3], &[3]], Some(9), false, [&[3], &[2]]),
            ("full: the oldest of the kept",     [&[2, 3, 4], &[2, 3, 4], &[2, 3, 4]], Some(3), true, [&[3, 4], &[2]]),
            ("full: first those beyond",         [&[2, 3, 4], &[2, 3, 4], &[2, 3, 4]], Some(2), true, [&[3, 4], &[2]]),
            ("full, and nothing to give",        [&[], &[], &[]], Some(2), true, [&[], &[]]),
        ];
        for &(name, [set_aside, present, whole], kept, full, [stay, leave]) in cases {
            let chosen = choose(&aside(set_aside), present, |number| whole.contains(&number), kept, full);
            assert_eq!(chosen, (aside(stay), leave.to_vec()), "{name}");
        }
    }
}
