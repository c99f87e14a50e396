//! The other disks of the machine.

use super::{base_name, read_number};
use crate::observation::Disk;
use crate::table;
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::Path;

/// The disks that have the disk id of `disk`, by their kernel names: only those are looked at that have partitions. One that cannot be
/// read is none.
pub(super) fn twins(root: &Path, disk: &Disk) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.join("sys/block")) else { return Vec::new() };
    let mut others: Vec<String> = entries
        .filter_map(|entry| Some(base_name(&entry.ok()?.path())))
        .filter(|name| *name != disk.name && has_partitions(root, name))
        .collect();
    others.sort();
    if others.is_empty() {
        return others;
    }
    let identity = |name: &str| {
        identity(root, name).unwrap_or_else(|error| {
            log::debug!("{error:#}");
            None
        })
    };
    let Some(ours) = identity(&disk.name) else { return Vec::new() };
    others.retain(|name| identity(name).as_ref() == Some(&ours));
    others
}

fn has_partitions(root: &Path, name: &str) -> bool {
    let directory = root.join("sys/block").join(name);
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(Result::ok).any(|entry| entry.path().join("partition").exists())
}

fn identity(root: &Path, name: &str) -> Result<Option<String>> {
    let size = u32::try_from(read_number(&root.join("sys/block").join(name).join("queue/logical_block_size"))?)?;
    let node = root.join("dev").join(name);
    let mut file = File::open(&node).with_context(|| format!("opening {}", node.display()))?;
    table::identity(&mut file, size).with_context(|| format!("reading {}", node.display()))
}
