//! `burnonce.txt` on the boot partition: why a node was not converted, for an owner who has no screen on it and puts the card into
//! a reader.

use crate::apply::RUN;
use crate::files;
use crate::mounted::Mounted;
use crate::mounts;
use crate::observation::{Disk, Place};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Its name on the boot partition.
pub const NAME: &str = "burnonce.txt";

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

/// The boot partition, mounted: here for a moment, or by the boot already.
enum Boot {
    Here(Mounted),
    Already(PathBuf),
}

impl Boot {
    fn directory(&self) -> &Path {
        match self {
            Boot::Here(mounted) => mounted.directory(),
            Boot::Already(directory) => directory,
        }
    }

    fn make_writable(&self) -> Result<()> {
        match self {
            Boot::Here(mounted) => mounted.make_writable(),
            // As the boot mounted it.
            Boot::Already(_) => Ok(()),
        }
    }
}

/// Finds the first FAT file system before root by what the kernel knows: the table itself may be why there is something to say.
fn on_boot_partition(root: &Path, disk: &Disk, lower: &Place, work: impl FnOnce(&Boot) -> Result<()>) -> Result<()> {
    let Place::Partition { number, .. } = lower else { bail!("root is not on a partition") };
    let end = disk.kernel.iter().find(|p| p.number == *number).map(|p| p.start);
    let before = disk.kernel.iter().filter(|p| Some(p.start) < end);
    let text = fs::read_to_string(root.join("proc/self/mountinfo")).context("reading /proc/self/mountinfo")?;
    let mounts = mounts::parse(&text);
    for partition in before {
        let node = format!("/dev/{}", disk.partition_name(partition.number));
        if let Some(mount) = mounts.iter().find(|m| m.source == node && m.fs_type == "vfat") {
            return work(&Boot::Already(files::below(root, &mount.mount_point)));
        }
        match Mounted::new(&files::below(root, &node), "vfat", &root.join(RUN).join("boot"), false) {
            Ok(mounted) => {
                let boot = Boot::Here(mounted);
                work(&boot)?;
                let Boot::Here(mounted) = boot else { return Ok(()) };
                return mounted.close();
            }
            Err(error) => log::debug!("no boot partition: {error:#}"),
        }
    }
    bail!("/dev/{} has no FAT partition before root", disk.name)
}
