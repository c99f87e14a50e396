//! Why a node is left as it is: each a sentence that says what was found, where, and what to do.

use crate::filesystem::{Content, Owner, Superblock};
use crate::table::Defect;
use crate::units::Bytes;
use serde::Serialize;
use std::fmt;

/// A reason to keep hands off. The node then boots as it would without burnonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Refusal {
    /// `/etc/burnonce.yaml` cannot be used; the text names line and column.
    ConfigurationFile { error: String },
    /// Root is on a disk without partitions.
    WholeDisk { device: String },
    /// Root is on LVM, LUKS or an md array.
    Mapped { name: String },
    /// Root is on no block device.
    NoDevice { source: String },
    /// Root is an overlay that overlayroot did not make.
    OtherOverlay,
    /// Root is not ext4.
    RootFilesystem { device: String, fs_type: String },
    /// overlayroot is configured by somebody else.
    ForeignConfiguration { line: String },
    /// `overlayroot=` on the kernel command line, which overrides every file.
    KernelWord { value: String },
    /// The card takes no writes.
    ReadOnlyDisk { disk: String },
    /// The partition table is one that is left alone.
    Table { disk: String, defect: Defect },
    /// The table and the kernel do not agree on root's partition.
    TableChanged { disk: String, number: u32 },
    /// A partition beside root that is not ours.
    ForeignPartition { device: String, what: String },
    /// Two partitions that are both ours.
    TwoUppers { first: String, second: String },
    /// A partition of ours that cannot be taken as it is.
    UnusableUpper { device: String, why: String },
    /// Every slot of the table is taken.
    SlotsTaken { disk: String, slots: u32 },
    /// No free region is large enough.
    NoFreeSpace { disk: String, largest: Bytes, minimum: Bytes },
    /// The overlayroot package is not in the image.
    NoOverlayroot,
    /// The initramfs lacks overlayroot and is not made by initramfs-tools.
    NotRebuildable,
    /// The initramfs was rebuilt, and still lacks overlayroot.
    RebuiltInVain,
    /// Three attempts, none of which came to its end.
    Attempts { attempts: u32, failure: Option<String> },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::ConfigurationFile { error } => write!(f, "{error}. Correct the file, or remove it: every key is optional"),
            Refusal::WholeDisk { device } => write!(
                f,
                "root is on the whole disk /dev/{device}, without partitions, so there is no room for a second one. \
                 Use an image with a partition table"
            ),
            Refusal::Mapped { name } => write!(
                f,
                "root is on `{name}`, which is LVM, LUKS or RAID and not a plain partition. burnonce handles plain partitions only"
            ),
            Refusal::NoDevice { source } => write!(
                f,
                "root is on `{source}`, which is no disk of this machine (a network or memory file system). There is no card to convert"
            ),
            Refusal::OtherOverlay => f.write_str(
                "root is an overlay already, and not one that overlayroot made. Switch that one off before you use burnonce",
            ),
            Refusal::RootFilesystem { device, fs_type } => write!(
                f,
                "root on /dev/{device} is {fs_type}; burnonce can seal ext4 only. Use an image with an ext4 root"
            ),
            Refusal::ForeignConfiguration { line } => write!(
                f,
                "overlayroot is configured by somebody else (`{line}` in /etc/overlayroot*.conf). \
                 Remove that line to let burnonce configure it"
            ),
            Refusal::KernelWord { value } => write!(
                f,
                "the kernel command line has `overlayroot={value}`, which overrides burnonce's configuration. \
                 Remove it from cmdline.txt on the boot partition"
            ),
            Refusal::ReadOnlyDisk { disk } => write!(
                f,
                "/dev/{disk} takes no writes: the card is write-protected or worn out. \
                 Check the lock switch of the card or adapter, or use another card"
            ),
            Refusal::Table { disk, defect } => write!(f, "/dev/{disk}: {defect}"),
            Refusal::TableChanged { disk, number } => write!(
                f,
                "the partition table of /dev/{disk} was changed since this boot began: partition {number} is not where the kernel has it. \
                 Restart, and look at the table if this comes again"
            ),
            Refusal::ForeignPartition { device, what } => write!(
                f,
                "/dev/{device} holds {what}, which burnonce did not make, so it is left alone. \
                 If it can go, delete that partition and restart; burnonce then uses its space"
            ),
            Refusal::TwoUppers { first, second } => write!(
                f,
                "/dev/{first} and /dev/{second} both carry the label `burnonce`; which one is right is not for burnonce to guess. \
                 Delete one of the two partitions and restart"
            ),
            Refusal::UnusableUpper { device, why } => write!(
                f,
                "/dev/{device} was made by burnonce, but {why}. If nothing on it is needed, delete that partition and restart"
            ),
            Refusal::SlotsTaken { disk, slots } => write!(
                f,
                "all {slots} slots of the partition table of /dev/{disk} are taken, so there is none for one more partition. \
                 Use an image with at most {} partitions",
                slots.saturating_sub(1)
            ),
            Refusal::NoFreeSpace { disk, largest, minimum } => write!(
                f,
                "the largest free region of /dev/{disk} is {largest}, and burnonce needs at least {minimum}. Use a larger card \
                 (or was root grown over all of it? then switch the growing off in the image), or lower `partition.min`"
            ),
            Refusal::NoOverlayroot => f.write_str(
                "this image has no overlayroot package, which makes root an overlay. \
                 Install it in the image (`apt install overlayroot`), or on this node and restart",
            ),
            Refusal::NotRebuildable => f.write_str(
                "the initramfs that booted has no overlayroot, and there is no update-initramfs to rebuild it with \
                 (dracut images are not handled yet). Use an image with initramfs-tools",
            ),
            Refusal::RebuiltInVain => f.write_str(
                "the initramfs was rebuilt once and still comes up without overlayroot: the boot loader may load another initramfs. \
                 Compare the `initramfs` lines of config.txt on the boot partition with what update-initramfs writes",
            ),
            Refusal::Attempts { attempts, failure } => {
                write!(f, "{attempts} attempts to convert this node did not come to their end, so there is no further one")?;
                match failure {
                    Some(failure) => write!(f, " (the last one: {failure})")?,
                    None => write!(f, " (each was cut off: power, a watchdog, or a kernel panic)")?,
                }
                f.write_str(". To try again, remove /etc/overlayroot.local.conf and restart, or burn the card anew")
            }
        }
    }
}

/// What a partition holds, in words: `an ext4 file system labelled "data" with files in it`.
pub fn describe(content: &Content) -> String {
    match content {
        Content::Blank => "nothing that can be recognised (all zero)".to_owned(),
        Content::Unknown => "something that is not recognised".to_owned(),
        Content::Ext(superblock) => {
            let holds = match &superblock.owner {
                Owner::Ours { .. } => "with burnonce's state in it".to_owned(),
                Owner::Empty => "with no files in it".to_owned(),
                Owner::Files { names } => format!("with files in it ({})", listed(names)),
                Owner::Unreadable { reason } => format!("that cannot be read ({reason})"),
            };
            format!("an ext4 file system {} {holds}", labelled(superblock))
        }
        Content::Other { name, label: Some(label) } => format!("a {name} file system labelled \"{label}\""),
        Content::Other { name, label: None } => format!("a {name} file system or volume without a label"),
    }
}

fn labelled(superblock: &Superblock) -> String {
    if superblock.label.is_empty() {
        "without a label".to_owned()
    } else {
        format!("labelled \"{}\"", superblock.label)
    }
}

fn listed(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    shown.join(", ") + if names.len() > 3 { ", …" } else { "" }
}
