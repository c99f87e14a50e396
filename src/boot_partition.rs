//! The boot partition of the card: the FAT file system before root, with the firmware, the kernel and cloud-init's seed.

use crate::apply::RUN;
use crate::files;
use crate::mounted::{self, Mounted};
use crate::mounts;
use crate::observation::{Disk, Place};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// The boot partition, mounted: here for a moment, or by the boot already.
#[derive(Debug)]
pub enum Boot {
    /// By this process.
    Here(Mounted),
    /// By the boot, at this directory.
    Already(PathBuf),
}

impl Boot {
    /// Its root directory.
    pub fn directory(&self) -> &Path {
        match self {
            Boot::Here(mounted) => mounted.directory(),
            Boot::Already(directory) => directory,
        }
    }

    /// Makes it take writes, where it was mounted here.
    ///
    /// # Errors
    /// The card takes no writes, or the boot mounted it read-only.
    pub fn make_writable(&self) -> Result<()> {
        match self {
            Boot::Here(mounted) => mounted.make_writable(),
            // As the boot mounted it.
            Boot::Already(directory) if mounted::is_read_only(directory)? => {
                bail!("the boot partition is mounted read-only on {}", directory.display())
            }
            Boot::Already(_) => Ok(()),
        }
    }
}

/// Runs `work` on the first FAT file system before root. It is found by what the kernel knows: the table may be damaged. Where the boot
/// has not mounted it, it is mounted read-only for the time of the work.
///
/// # Errors
/// There is no FAT partition before root; those of `work`.
pub fn with<T>(root: &Path, disk: &Disk, lower: &Place, work: impl FnOnce(&Boot) -> Result<T>) -> Result<T> {
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
                let result = work(&boot)?;
                if let Boot::Here(mounted) = boot {
                    mounted.close()?;
                }
                return Ok(result);
            }
            Err(error) => log::debug!("no boot partition: {error:#}"),
        }
    }
    bail!("/dev/{} has no FAT partition before root", disk.name)
}

/// The value of `key` in a config.txt, of several the last; those under a filter other than `[all]` are for certain boards or boots
/// (<https://www.raspberrypi.com/documentation/computers/config_txt.html>, "Conditional filters").
pub fn setting<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut all = true;
    let mut value = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            all = line.eq_ignore_ascii_case("[all]");
        } else if let Some((name, set)) = line.split_once('=').filter(|_| all) {
            if name.trim() == key {
                value = Some(set.trim());
            }
        }
    }
    value
}
