//! Whether a plan can be carried out: what can be known is looked at before anything is copied.

use super::boot::Boot;
use super::plan::{Edit, Plan};
use super::{apply, room};
use crate::inspect::source::Source;
use crate::inspect::{Inspection, path_of};
use crate::units::{Bytes, MIB};
use anyhow::{Result, ensure};

/// By less than this nothing is grown.
const LEAST: Bytes = Bytes(MIB);
/// What each initramfs may become longer by, when overlayroot and the guard come in.
const LONGER: u64 = 4 * MIB;

/// What the first boot needs for the new ones, in bytes, where those of these `lengths` are: they are made one after the other, each is
/// written beside the old one, which then makes way, and the new ones stay longer. Pure.
fn for_initramfs(lengths: &[u64]) -> u64 {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    longest.saturating_add(LONGER.saturating_mul(lengths.len() as u64))
}

/// Makes sure of it.
///
/// # Errors
/// There is no room on the boot partition; the root cannot grow so far, or what grows it is not there.
pub fn check(source: &Source, seen: &Inspection, plan: &Plan) -> Result<()> {
    if let Some(by) = plan.grow {
        ensure!(by >= LEAST, "--grow {by}: that is too little to be of use; give 1 MiB or more");
        // The copy of a file that was not unmounted is put into order first.
        if seen.root.clean {
            room::possible(&source.file, &path_of(&source.file), &seen.table, seen.root.partition, by)?;
        }
    }
    let Some(found) = seen.findings.boot.as_ref().filter(|boot| boot.partition != seen.root.partition) else {
        return Ok(());
    };
    if plan.edits().next().is_none() {
        return Ok(());
    }
    let (start, length) = apply::place(seen, found.partition)?;
    let boot = Boot::look(&source.file, start, length, 0)?;
    let mut left = boot.free()?.0;
    for edit in plan.edits().filter(|edit| !edit.is_on_root()) {
        let (path, more) = match edit {
            Edit::Boot { path, content } => (path, (content.len() as u64).saturating_sub(boot.length_of(path)?)),
            Edit::Append { path, content } => (path, content.len() as u64),
            _ => continue,
        };
        ensure!(
            more <= left,
            "there is no room on the boot partition for {path}: {} more are needed, and {} are free; use an image with a larger boot partition",
            Bytes(more),
            Bytes(left)
        );
        left -= more;
    }
    if !plan.makes_initramfs {
        return Ok(());
    }
    let mut lengths = Vec::new();
    for initramfs in &found.initramfs {
        lengths.push(boot.length_of(&initramfs.path)?);
    }
    let needed = for_initramfs(&lengths);
    ensure!(
        needed <= left,
        "the boot partition has {} free, and the first boot of a node needs {} there for a new initramfs; remove from it what no kernel uses, \
         or use an image with a larger one",
        Bytes(left),
        Bytes(needed)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_initramfs_becomes_longer_and_one_is_there_twice() {
        assert_eq!(for_initramfs(&[]), 0);
        assert_eq!(for_initramfs(&[10 * MIB]), 14 * MIB);
        // As of Raspberry Pi OS: `initramfs8` and `initramfs_2712`.
        assert_eq!(for_initramfs(&[10 * MIB, 12 * MIB]), 20 * MIB);
    }
}
