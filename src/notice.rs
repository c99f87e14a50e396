//! `burnonce.txt` on the boot partition: why a node was not converted, for an owner who has no screen on it and puts the card into
//! a reader.

use crate::apply::RUN;
use crate::files;
use crate::mounted::Mounted;
use crate::observation::{Disk, Place};
use crate::plan::behind_root;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Its name on the boot partition.
pub const NAME: &str = "burnonce.txt";
/// MBR types of FAT partitions, and the GPT types that boot partitions have (EFI system; Microsoft basic data).
const FAT_TYPES: [&str; 7] =
    ["0b", "0c", "0e", "06", "ef", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"];

/// Writes `text` there; writes nothing where the file says so already.
///
/// # Errors
/// There is no FAT partition before root, or it takes no writes.
pub fn leave(root: &Path, disk: &Disk, lower: &Place, text: &str) -> Result<()> {
    // A Windows editor may be what it is read with.
    let text = text.replace('\n', "\r\n");
    on_boot_partition(root, disk, lower, |boot| {
        let path = boot.directory().join(NAME);
        if fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        boot.make_writable()?;
        files::replace(&path, &text)
    })
}

/// Removes it where it is: it is not true any more.
///
/// # Errors
/// As [`leave`].
pub fn clear(root: &Path, disk: &Disk, lower: &Place) -> Result<()> {
    on_boot_partition(root, disk, lower, |boot| {
        let path = boot.directory().join(NAME);
        if !path.exists() {
            return Ok(());
        }
        boot.make_writable()?;
        files::remove(&path).map(drop)
    })
}

/// Mounts the first FAT partition before root. Early in a boot nobody else has mounted it yet.
fn on_boot_partition(root: &Path, disk: &Disk, lower: &Place, work: impl FnOnce(&Mounted) -> Result<()>) -> Result<()> {
    let (Ok(table), Place::Partition { number, .. }) = (&disk.table, lower) else {
        anyhow::bail!("the boot partition is not known");
    };
    let behind: Vec<u32> = behind_root(table, *number).map(|p| p.number).collect();
    let boot = table
        .partitions
        .iter()
        .find(|p| FAT_TYPES.contains(&p.kind.as_str()) && p.number != *number && !behind.contains(&p.number))
        .with_context(|| format!("/dev/{} has no FAT partition before root", disk.name))?;
    let node = root.join("dev").join(disk.partition_name(boot.number));
    let mounted = Mounted::new(&node, "vfat", &root.join(RUN).join("boot"), false)?;
    work(&mounted)?;
    mounted.close()
}
