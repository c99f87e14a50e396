//! What was seen on a machine: plain data. Every decision is made from it alone, so a saved one is a test case.

use crate::filesystem::Content;
use crate::guard::report::Verdict;
use crate::overlay::{Configuration, Generator};
use crate::table::{Defect, Table};
use crate::units::{Bytes, Lba, Sectors};
use serde::{Deserialize, Serialize};
use std::fmt;

/// All that [`crate::plan::plan`] looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Words of the kernel command line that matter here.
    pub cmdline: Cmdline,
    /// What `/` is.
    pub root: Root,
    /// Where the lower is: the partition that the image's root file system is on.
    pub lower: Place,
    /// The disk of the lower; `None` where the lower is not on a partition.
    pub disk: Option<Disk>,
    /// What is mounted on `/usr`, where that is a file system of its own; not looked for on an overlay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usr: Option<String>,
    /// overlayroot's configuration on the lower.
    pub configuration: Configuration,
    /// How the overlay gets into a boot.
    pub overlayroot: Overlayroot,
    /// Other disks of this machine, by their kernel names, with the disk id of [`Observation::disk`]: a copy beside its original.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub twins: Vec<String>,
    /// File names of the packages that came with the image and wait to be installed, sorted; not looked for on an overlay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

/// Words of the kernel command line.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cmdline {
    /// `burnonce=off`: burnonce does nothing in this boot.
    #[serde(default)]
    pub off: bool,
    /// `rw`: root was mounted writable from the start.
    #[serde(default)]
    pub rw: bool,
    /// `ro`: on Debian 13 the overlay stays read-only (systemd#39558).
    #[serde(default)]
    pub ro: bool,
    /// The value of `overlayroot=`, which overrides every file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlayroot: Option<String>,
    /// The last word that dracut's own module for overlays goes by (`rd.overlay…`, dracut.cmdline(7)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rd_overlay: Option<String>,
}

/// What is mounted on `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum Root {
    /// A file system, directly.
    Plain {
        /// Its type: `ext4`, `btrfs`, `nfs4`, …
        fs_type: String,
        /// It takes writes already, which early in a boot is so only where the kernel command line has `rw`.
        #[serde(default)]
        writable: bool,
    },
    /// The overlay that overlayroot makes.
    Overlay {
        /// The partition that the upper is on, by its kernel name; `None`: it is in memory.
        upper: Option<String>,
        /// The lower is mounted so that a write would reach it.
        lower_writable: bool,
        /// The upper takes writes.
        upper_writable: bool,
    },
    /// An overlay of another make.
    OtherOverlay,
}

/// Where a file system is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "kebab-case")]
pub enum Place {
    /// A partition, by its kernel name (`mmcblk0p2`) and number.
    Partition {
        /// Its kernel name.
        name: String,
        /// Its slot in the table.
        number: u32,
        /// UUID of the file system on it; empty where it has none that could be read.
        uuid: String,
        /// Whether its superblock carries the `read-only` feature.
        sealed: bool,
    },
    /// A whole disk without partitions.
    WholeDisk {
        /// Its kernel name.
        name: String,
    },
    /// Device mapper: LVM, LUKS; or an md array.
    Mapped {
        /// Its name.
        name: String,
    },
    /// No block device: NFS, a RAM disk, a pooled file system.
    NoDevice {
        /// What the mount table names.
        source: String,
    },
}

/// A disk as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Kernel name: `mmcblk0`.
    pub name: String,
    /// Length in logical sectors.
    pub sectors: Sectors,
    /// Bytes in a logical sector.
    pub sector_size: u32,
    /// The kernel takes no writes: a write-protected or worn-out card.
    #[serde(default)]
    pub read_only: bool,
    /// The card's preferred erase size (`preferred_erase_size` of the MMC driver).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erase_size: Option<Bytes>,
    /// Its partition table, or why that cannot be used.
    pub table: Result<Table, Defect>,
    /// The table as it is on a disk that is long enough for it, where this one is too short: a copy onto a smaller card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_short: Option<Table>,
    /// How often a new upper for a converted node was begun to be made in the free space where the next one goes, and never finished.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub begun: u32,
    /// Length of the file system on the upper that is in use; `None`: none is, or it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system: Option<Bytes>,
    /// The partitions that the kernel knows; it can differ from the table.
    pub kernel: Vec<KernelPartition>,
    /// What the partitions hold beside root; not looked at where an upper is in use.
    #[serde(default)]
    pub contents: Vec<Held>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A partition as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelPartition {
    /// Its number.
    pub number: u32,
    /// First logical sector.
    pub start: Lba,
    /// Length in logical sectors.
    pub sectors: Sectors,
}

/// What one partition holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its slot.
    pub number: u32,
    /// What is on it.
    pub content: Content,
}

/// How the overlay gets into a boot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Overlayroot {
    /// What made the initramfs that booted, where that left a log; else what makes the next one.
    #[serde(default, skip_serializing_if = "Generator::is_initramfs_tools")]
    pub generator: Generator,
    /// The log of what makes the overlay, of this boot ([`Generator::log`]); `None`: the initramfs that booted does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// What the guard came to in this boot; `None`: the initramfs that booted has no guard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Verdict>,
    /// Why the upper cannot be used in this boot, and in a second line what to do: as the guard or the configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What makes the overlay is installed, so that the next initramfs has it ([`Generator::script`]); not looked for on an overlay that left a log.
    #[serde(default)]
    pub installed: bool,
    /// `update-initramfs` is there to rebuild the initramfs; not looked for on an overlay that left a log.
    #[serde(default)]
    pub rebuildable: bool,
}

/// What burnonce needs in an initramfs, and the one that booted does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lacks {
    /// overlayroot, which makes the overlay.
    Overlayroot,
    /// The guard, which looks at the upper before and carries out a reset.
    Guard,
    /// What packages bring that came with the image and are not installed yet ([`Observation::packages`]).
    Packages,
}

impl fmt::Display for Lacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lacks::Overlayroot => "overlayroot",
            Lacks::Guard => "guard of burnonce",
            Lacks::Packages => "trace of the packages that came with the image",
        })
    }
}

impl Observation {
    /// The word on the kernel command line that configures another overlay than burnonce's, over its head.
    pub fn overlay_word(&self) -> Option<String> {
        let overlayroot = self.cmdline.overlayroot.as_ref().map(|value| format!("overlayroot={value}"));
        let dracut = self.overlayroot.generator == Generator::Dracut;
        overlayroot.or_else(|| self.cmdline.rd_overlay.clone().filter(|_| dracut))
    }
}

impl Overlayroot {
    /// The first thing that is missing; a rebuild brings whatever is.
    pub fn lacks(&self) -> Option<Lacks> {
        match (&self.log, self.guard) {
            (None, _) if self.generator != Generator::Dracut => Some(Lacks::Overlayroot),
            // With dracut what makes the overlay comes with the guard.
            (None, _) | (Some(_), None) => Some(Lacks::Guard),
            (Some(_), Some(_)) => None,
        }
    }
}

impl Disk {
    /// The kernel name of partition `number`: `mmcblk0p3`, `sda3`.
    pub fn partition_name(&self, number: u32) -> String {
        let separator = if self.name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        format!("{}{separator}{number}", self.name)
    }

    /// What partition `number` holds, where that was looked at.
    pub fn content(&self, number: u32) -> &Content {
        self.contents.iter().find(|held| held.number == number).map_or(&Content::Unknown, |held| &held.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_as_the_kernel_names_them() {
        for (disk, name) in
            [("mmcblk0", "mmcblk0p3"), ("sda", "sda3"), ("nvme0n1", "nvme0n1p3"), ("vda", "vda3"), ("loop0", "loop0p3")]
        {
            let disk = Disk {
                name: disk.to_owned(),
                sectors: Sectors(1),
                sector_size: 512,
                read_only: false,
                erase_size: None,
                table: Err(Defect::NoTable),
                cut_short: None,
                begun: 0,
                file_system: None,
                kernel: Vec::new(),
                contents: Vec::new(),
            };
            assert_eq!(disk.partition_name(3), name);
        }
    }
}
