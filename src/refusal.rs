//! Why a node is left as it is: each a sentence that says what was found, where, and what to do.

use crate::config;
use crate::filesystem::{Content, Owner};
use crate::observation::{Lacks, Observation, Place, Root};
use crate::overlay::Generator;
use crate::packages;
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
    /// Root is an overlay that burnonce did not configure.
    OtherOverlay,
    /// Root is not ext4.
    RootFilesystem { device: String, fs_type: String },
    /// Root is ext4 by the mount table, but its superblock is not sound.
    RootUnreadable { device: String },
    /// `/usr` is a file system of its own, into which an overlay over root does not reach.
    SeparateUsr { device: String },
    /// overlayroot is configured by somebody else.
    ForeignConfiguration { line: String },
    /// `overlayroot=` on the kernel command line, which overrides every file.
    KernelWord { word: String },
    /// The card takes no writes.
    ReadOnlyDisk { disk: String },
    /// The partition table is one that is left alone.
    Table { disk: String, defect: Defect },
    /// The table and the kernel do not agree on root's partition.
    TableChanged { disk: String, number: u32 },
    /// A partition beside root that is not ours.
    ForeignPartition { device: String, number: u32, what: String },
    /// A partition behind root that cannot be read, so that it is not known whose it is.
    UnreadablePartition { device: String, why: String },
    /// Two partitions that are both ours.
    TwoUppers { first: String, second: String },
    /// A partition of ours that cannot be taken as it is.
    UnusableUpper { device: String, number: u32, why: String },
    /// An upper that nothing speaks against but that this boot does not run on it.
    SoundUpper { device: String, number: u32, why: Option<String> },
    /// The upper that is to be made anew is in use.
    UpperInUse { device: String },
    /// A partition that the owner has named cannot make way for the upper.
    NotToUse { disk: String, number: u32, why: String },
    /// Every slot of the table is taken.
    SlotsTaken { disk: String, slots: u32 },
    /// No free region is large enough.
    NoFreeSpace { disk: String, largest: Bytes, minimum: Bytes },
    /// What makes the overlay is not in the image.
    NoOverlayroot { generator: Generator },
    /// The initramfs lacks something, and there is neither initramfs-tools nor dracut to make another.
    NotRebuildable { lacks: Lacks },
    /// The initramfs was rebuilt, and still lacks it.
    RebuiltInVain { lacks: Lacks },
    /// Three times the initramfs was begun to be rebuilt, and never to the end.
    RebuildAttempts { attempts: u32, failure: Option<String> },
    /// Three times the packages that came with the image were begun to be installed, and the node never came to be prepared.
    PackageAttempts { attempts: u32, failure: Option<String> },
    /// Three attempts, none of which came to its end.
    Attempts { attempts: u32, failure: Option<String> },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::ConfigurationFile { error } => write!(f, "{error}. Correct the file, or remove it: every key is optional"),
            Refusal::WholeDisk { device } => write!(
                f,
                "root is on the whole disk /dev/{device}, which has no partitions, so none can be added. \
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
                "root is an overlay already, and not one that burnonce configured. Switch that one off to let burnonce make its own",
            ),
            Refusal::RootFilesystem { device, fs_type } => write!(
                f,
                "root on /dev/{device} is {fs_type}; burnonce can seal ext4 only. Use an image with an ext4 root"
            ),
            Refusal::RootUnreadable { device } => write!(
                f,
                "the superblock of root on /dev/{device} is damaged or changes all the time, so that it cannot be told which image this is. \
                 Restart; if this stays, burn the card anew"
            ),
            Refusal::SeparateUsr { device } => write!(
                f,
                "/usr is a file system of its own ({device}): an overlay over root does not reach into it, and a node boots from it. \
                 Use an image that has /usr in its root"
            ),
            Refusal::ForeignConfiguration { line } => write!(
                f,
                "overlayroot is configured by somebody else (`{line}` in /etc/overlayroot*.conf). \
                 Remove that line to let burnonce configure it"
            ),
            Refusal::KernelWord { word } => write!(
                f,
                "the kernel command line has `{word}`, which overrides burnonce's configuration. \
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
            Refusal::ForeignPartition { device, number, what } => write!(
                f,
                "/dev/{device} holds {what}. burnonce did not make that partition, so it is left alone. \
                 If it can go, run `burnonce repartition --use {number}`, and burnonce uses its space"
            ),
            Refusal::UnreadablePartition { device, why } => write!(
                f,
                "/dev/{device} cannot be read, so it is left alone, whosever it is ({why}). The card has worn out or sits badly: \
                 clean its contacts, or use another card"
            ),
            Refusal::TwoUppers { first, second } => write!(
                f,
                "/dev/{first} and /dev/{second} are both labelled `burnonce`; which one is right is not for burnonce to guess. \
                 Give the wrong one up by its number, `burnonce repartition --use N`"
            ),
            Refusal::SoundUpper { device, number, why } => {
                write!(f, "/dev/{device} is marked as made by burnonce, and what is on it can be read")?;
                why.as_ref().map_or(Ok(()), |why| write!(f, ", though this boot could not use it: {why}"))?;
                write!(f, ". A restart tries it again. To give it up, name it: `burnonce repartition --use {number}`")
            }
            Refusal::UnusableUpper { device, number, why } => write!(
                f,
                "/dev/{device} is marked as made by burnonce, but {why}. \
                 If nothing on it is needed, run `burnonce repartition --use {number}`, and burnonce makes it anew"
            ),
            Refusal::UpperInUse { device } => write!(
                f,
                "this node runs on its upper, /dev/{device}, and no other partition can take its place meanwhile. \
                 To begin anew on it, run `burnonce reset`"
            ),
            Refusal::NotToUse { disk, number, why } => write!(
                f,
                "partition {number} of /dev/{disk} {why}. `burnonce plan` shows what the card holds"
            ),
            Refusal::SlotsTaken { disk, slots } => write!(
                f,
                "all {slots} slots of the partition table of /dev/{disk} are taken, so there is none for one more partition. \
                 Use an image with at most {} partitions",
                slots.saturating_sub(1)
            ),
            Refusal::NoFreeSpace { disk, largest, minimum } => {
                match largest {
                    Bytes(0) => write!(f, "/dev/{disk} has no free space")?,
                    near if near.to_string() == minimum.to_string() => {
                        write!(f, "the largest free region of /dev/{disk} is just under {minimum}")?;
                    }
                    _ => write!(f, "the largest free region of /dev/{disk} is {largest}")?,
                }
                write!(
                    f,
                    ", and burnonce needs at least {minimum}. Use a larger card{}. If root was grown over all of it, \
                     burn the card again with an image whose growing is switched off",
                    if *largest >= config::SMALLEST_UPPER { ", or lower `partition.min` in /etc/burnonce.yaml" } else { "" }
                )
            }
            Refusal::NoOverlayroot { generator: Generator::Dracut } => f.write_str(
                "burnonce's module of dracut, which makes root an overlay, is not in this image. Install burnonce as a package",
            ),
            Refusal::NoOverlayroot { .. } => f.write_str(
                "this image has no overlayroot package, which makes root an overlay. \
                 Install it in the image (`apt install overlayroot`), or on this node and restart",
            ),
            Refusal::NotRebuildable { lacks } => write!(
                f,
                "the initramfs that booted has no {lacks}, and there is no update-initramfs to rebuild it with. \
                 Use an image with initramfs-tools, or dracut of version 107 or later",
            ),
            Refusal::RebuiltInVain { lacks: Lacks::Guard } => f.write_str(
                "the initramfs was rebuilt, and this boot still came up without a guard of burnonce: the boot loader may load another \
                 initramfs, or `update-initramfs` could not put the guard in. `lsinitramfs` (of dracut `lsinitrd`) on the file that it \
                 wrote shows whether usr/sbin/burnonce is in it; `burnonce` must be installed as a package",
            ),
            Refusal::RebuiltInVain { lacks: Lacks::Overlayroot | Lacks::Packages } => f.write_str(
                "the initramfs was rebuilt, and this boot still came up without overlayroot: the boot loader may load another initramfs, \
                 or none. Look in config.txt on the boot partition for `auto_initramfs=1` or an `initramfs` line that names \
                 the file which update-initramfs writes",
            ),
            Refusal::RebuildAttempts { attempts, failure } => {
                give_up(f, *attempts, "rebuild the initramfs of this node", failure.as_deref())
            }
            Refusal::PackageAttempts { attempts, failure } => {
                give_up(f, *attempts, "install the packages that came with this image", failure.as_deref())?;
                write!(f, ". `dpkg --install {}/*.deb` on this node, as root, shows what is wrong", packages::DIRECTORY)
            }
            Refusal::Attempts { attempts, failure } => give_up(f, *attempts, "convert this node", failure.as_deref()),
        }
    }
}

fn give_up(f: &mut fmt::Formatter<'_>, attempts: u32, what: &str, failure: Option<&str>) -> fmt::Result {
    write!(f, "{attempts} attempts to {what} did not come to their end, so there is no further one")?;
    match failure {
        Some(failure) => write!(f, " (the last failure that could be written down: {failure})")?,
        None => f.write_str(" (each was cut off: by the power, a watchdog, or a kernel panic)")?,
    }
    f.write_str(". To try again, remove /etc/overlayroot.local.conf and restart, or burn the card again")
}

/// What becomes of the boot in which a node is left as it is.
pub fn aftermath(seen: &Observation) -> &'static str {
    match (&seen.root, &seen.lower) {
        (Root::Plain { .. }, Place::Partition { sealed: true, .. }) => {
            "The image is sealed, so root stays read-only. `burnonce=off` in cmdline.txt on the boot partition unseals it."
        }
        (Root::Plain { .. }, _) => "The node boots as if burnonce were not there.",
        (Root::Overlay { .. } | Root::OtherOverlay, _) => "The overlay stays as it is.",
    }
}

/// What a partition holds, in words: `an ext4 file system labelled "data", with files in it (music)`.
pub fn describe(content: &Content) -> String {
    match content {
        Content::Blank => "nothing but zeros where a file system begins".to_owned(),
        Content::Unknown => "something that is not recognised".to_owned(),
        Content::Ext(superblock) => {
            let system = match &superblock.label {
                label if label.is_empty() => "ext4 file system without a label".to_owned(),
                label => format!("ext4 file system labelled \"{label}\""),
            };
            match &superblock.owner {
                Owner::Ours { .. } => format!("an {system}, with burnonce's state in it"),
                Owner::Empty => format!("an empty {system}"),
                Owner::Files { names } => format!("an {system}, with files in it ({})", listed(names)),
                Owner::Unreadable { reason } => format!("an {system}, which cannot be read ({reason})"),
            }
        }
        Content::Other { name, label: None } => kind(name),
        Content::Other { name, label: Some(label) } => format!("{} labelled \"{label}\"", kind(name)),
        Content::Unreadable { reason } => format!("something that cannot be read ({reason})"),
    }
}

/// The same in a few words, for a picture.
pub fn caption(content: &Content) -> String {
    let (name, label) = match content {
        Content::Blank => return "blank".to_owned(),
        Content::Unknown => return "not recognised".to_owned(),
        Content::Unreadable { .. } => return "cannot be read".to_owned(),
        Content::Ext(superblock) => ("ext4", Some(superblock.label.as_str()).filter(|l| !l.is_empty())),
        Content::Other { name, label } => (name.split(" (").next().unwrap_or(name), label.as_deref()),
    };
    label.map_or_else(|| name.to_owned(), |label| format!("{name} \"{label}\""))
}

/// What blkid calls `name`.
fn kind(name: &str) -> String {
    match name {
        "swap" => "swap space".to_owned(),
        "LVM2_member" => "an LVM volume".to_owned(),
        "crypto_LUKS" => "an encrypted volume (LUKS)".to_owned(),
        "linux_raid_member" => "a member of a RAID".to_owned(),
        name if name.starts_with("ambivalent") => "signatures of more than one kind of file system".to_owned(),
        name if name.ends_with("partition table") => format!("a {name}"),
        name => format!("a file system of type {name}"),
    }
}

fn listed(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    shown.join(", ") + if names.len() > 3 { ", ..." } else { "" }
}
