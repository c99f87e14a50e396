//! Room on the upper: a full file system must not keep a node from booting as itself, nor a reset from being of use.

use super::kernel_log::KernelLog;
use super::swap::{self, is_directory};
use crate::observe;
use crate::state::State;
use crate::tree;
use crate::units::{Bytes, MIB};
use crate::upper::{self, Upper};
use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::{Path, PathBuf};

/// What is free on a file system, or has to be. For root: what is reserved for root counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    bytes: Bytes,
    inodes: u64,
}

impl Room {
    fn covers(self, need: Room) -> bool {
        self.bytes >= need.bytes && self.inodes >= need.inodes
    }
}

/// What any boot needs: overlayroot and the first services make a handful of files.
const BOOT: Room = Room { bytes: Bytes(256 << 10), inodes: 64 };

/// What the first boot of a generation needs, on a file system with so much in all: cloud-init, host keys, the journal.
fn first_boot(all: Room) -> Room {
    Room { bytes: Bytes((64 * MIB).min(all.bytes.0 / 50)), inodes: 2048.min(all.inodes / 50) }
}

/// How many blocks of an ext4 the kernel keeps for itself: they count as free, and nobody gets them
/// (Documentation/ABI/testing/sysfs-fs-ext4, `reserved_clusters`). `name` is the kernel's name of the device, mounted on the
/// machine at `root`.
pub fn reserve(root: &Path, name: &str) -> u64 {
    observe::read_number(&root.join("sys/fs/ext4").join(name).join("reserved_clusters")).unwrap_or(0)
}

/// Free, and in all.
fn rooms(directory: &Path, reserve: u64) -> Result<(Room, Room)> {
    let seen = statvfs(directory).with_context(|| format!("looking at {}", directory.display()))?;
    let bytes = |blocks: u64| Bytes(blocks.saturating_mul(seen.fragment_size()));
    let free = Room { bytes: bytes(seen.blocks_free().saturating_sub(reserve)), inodes: seen.files_free() };
    Ok((free, Room { bytes: bytes(seen.blocks()), inodes: seen.files() }))
}

fn need(state: &State, all: Room) -> Room {
    // A cut may lie between a reset and the room for it: what counts is that no boot has used the generation.
    if state.fresh { first_boot(all) } else { BOOT }
}

/// Whether the upper, which has this [`reserve`], has too little room for this boot, or no work directory. Writes nothing.
///
/// # Errors
/// The file system cannot be asked.
pub fn is_short(upper: &Upper, reserve: u64, state: &State) -> Result<bool> {
    let (free, all) = rooms(upper.root(), reserve)?;
    let workdir = upper.workdir();
    Ok(!free.covers(need(state, all)) || !is_directory(&workdir) || !is_directory(&workdir.join("_")))
}

/// Makes room on the upper, which is mounted writable: deletes what nobody needs any more, then the generations that are kept
/// for an undo, the oldest first, then the ballast; it stops as soon as there is enough. Then makes the work directory where it is
/// missing. What was deleted goes into `did`.
///
/// # Errors
/// Not even a directory can be made.
pub fn make(upper: &Upper, reserve: u64, mut state: State, log: &KernelLog, did: &mut Vec<String>) -> Result<()> {
    let (_, all) = rooms(upper.root(), reserve)?;
    let enough = |need: Room| rooms(upper.root(), reserve).is_ok_and(|(free, _)| free.covers(need));
    let wanted = need(&state, all);
    if !enough(wanted) {
        log.note("the upper has little room: deleting what is kept there beside the generation in use; this may take a while");
    }
    for left in leftovers(upper) {
        if enough(wanted) {
            break;
        }
        delete(&left, "what was left of an earlier generation", log, did);
    }
    // Where an exchange is not in the books yet, a number there may be that of the generation in use, and its place hold the one before.
    let in_the_books = Upper::number(&upper.overlay())? == state.generation;
    while in_the_books && !enough(wanted) && !state.set_aside.is_empty() {
        let number = state.set_aside.remove(0).number;
        if let Err(error) = forget(upper, &state, number, log, did) {
            log.error(format_args!("generation {number} could not be deleted: {error:#}"));
        }
    }
    if !enough(BOOT) && upper.release_ballast()? {
        did.push("deleted the reserve of 1 MiB, for room".to_owned());
    }
    let work = upper.workdir().join("_");
    for directory in [&upper.workdir(), &work] {
        swap::make(directory, &mut || {})?;
    }
    if enough(BOOT) {
        return Ok(());
    }
    let probe = work.join("burnonce-probe");
    tree::remove(&probe)?;
    fs::create_dir(&probe).with_context(|| format!("making {}", probe.display()))?;
    tree::remove(&probe)
}

/// What `burnonce/reclaim` holds.
fn leftovers(upper: &Upper) -> Vec<PathBuf> {
    let directory = upper.own("reclaim");
    upper::names(&directory).unwrap_or_default().into_iter().map(|name| directory.join(name)).collect()
}

/// Deletes a generation that `state` does not name any more. An undo never goes to half a tree: it is renamed first.
fn forget(upper: &Upper, state: &State, number: u32, log: &KernelLog, did: &mut Vec<String>) -> Result<()> {
    if let Some(moved) = upper.discard(&upper.generation(number))? {
        delete(&moved, &format!("generation {number}, which was kept for an undo"), log, did);
    }
    // Last, for it may need the room.
    upper.write_state(state)
}

fn delete(path: &Path, what: &str, log: &KernelLog, did: &mut Vec<String>) {
    match tree::remove(path) {
        Ok(()) => did.push(format!("deleted {what}, for room")),
        Err(error) => log.error(format_args!("{error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_boot_needs_more_but_not_all_of_a_small_card() {
        let room = |mib: u64, inodes: u64| Room { bytes: Bytes(mib * MIB), inodes };
        assert_eq!(first_boot(room(64 << 10, 1 << 20)), room(64, 2048));
        assert_eq!(first_boot(room(1000, 64_000)), room(20, 1280));
        assert!(room(20, 1280).covers(first_boot(room(1000, 64_000))));
        assert!(!room(19, 1280).covers(first_boot(room(1000, 64_000))));
        assert!(!room(20, 1279).covers(first_boot(room(1000, 64_000))));
    }
}
