//! Carries a plan out on a copy of the image. Where this fails, the copy is damaged.

use super::boot::Boot;
use super::plan::{Edit, Plan};
use super::root::{Attributes, Root};
use crate::inspect::fat::Fat;
use crate::inspect::tree::Tree;
use crate::inspect::{Inspection, partition, path_of};
use anyhow::{Context, Result};
use std::fs::File;

/// The longest initramfs that something is put behind, in bytes.
const LONGEST: u64 = 512 << 20;

/// Makes all edits of a plan, first those of the root, then those of the boot partition. `now` is in seconds since 1970.
///
/// # Errors
/// One of them cannot be made.
pub fn apply(file: &File, seen: &Inspection, plan: &Plan, now: u64) -> Result<()> {
    if plan.edits().any(Edit::is_on_root) {
        let (start, _) = place(seen, seen.root.partition)?;
        let mut root = Root::open(&path_of(file), start, now)?;
        for edit in plan.edits().filter(|edit| edit.is_on_root()) {
            edit_root(&mut root, edit, now)?;
        }
        root.close()?;
    }
    if plan.edits().any(|edit| !edit.is_on_root()) {
        let number = seen.findings.boot.as_ref().map(|boot| boot.partition).context("there is no boot partition")?;
        let (start, length) = place(seen, number)?;
        let mut boot = Boot::open(file, start, length, now)?;
        for edit in plan.edits().filter(|edit| !edit.is_on_root()) {
            match edit {
                Edit::Boot { path, content } => boot.write(path, content)?,
                Edit::Append { path, content } => {
                    let fat = Fat::open(file, start, length)?;
                    boot.write(path, &behind(&fat, path, content)?)?;
                }
                _ => {}
            }
        }
    }
    file.sync_all().context("flushing the image")
}

fn edit_root(root: &mut Root, edit: &Edit, now: u64) -> Result<()> {
    let dated = |attributes: &Attributes| match attributes.mtime {
        0 => Attributes { mtime: now, ..*attributes },
        _ => *attributes,
    };
    match edit {
        Edit::Directory { path, attributes } => {
            above(root, path, now)?;
            root.make_directories(path, &dated(attributes))
        }
        Edit::File { path, content, attributes } => {
            above(root, path, now)?;
            root.write(path, content, &dated(attributes))
        }
        Edit::Link { path, target } => {
            above(root, path, now)?;
            root.link(path, target, &Attributes { mode: 0o777, uid: 0, gid: 0, mtime: now })
        }
        Edit::Remove { path } => root.remove(path).map(drop),
        Edit::Append { path, content } => {
            let whole = behind(root.tree(), path, content)?;
            root.write(path, &whole, &Attributes { mode: 0o644, uid: 0, gid: 0, mtime: now })
        }
        Edit::Boot { .. } => Ok(()),
    }
}

/// Makes the directory that something is in.
fn above(root: &mut Root, path: &str, now: u64) -> Result<()> {
    match path.trim_start_matches('/').rsplit_once('/') {
        Some((directory, _)) => {
            root.make_directories(directory, &Attributes { mode: 0o755, uid: 0, gid: 0, mtime: now })
        }
        None => Ok(()),
    }
}

/// What is in a file, and `content` behind it, where the kernel looks for an archive.
fn behind(tree: &dyn Tree, path: &str, content: &[u8]) -> Result<Vec<u8>> {
    let mut whole = tree.read(path, LONGEST)?.with_context(|| format!("{path} is gone"))?;
    whole.extend(super::plan::initramfs::padding(whole.len() as u64));
    whole.extend(content);
    Ok(whole)
}

/// Where a partition begins, and how long it is, in bytes.
pub(super) fn place(seen: &Inspection, number: u32) -> Result<(u64, u64)> {
    let found = seen.table.partitions.iter().find(|partition| partition.number == number);
    Ok(partition::extent(&seen.table, found.with_context(|| format!("there is no partition {number}"))?))
}
