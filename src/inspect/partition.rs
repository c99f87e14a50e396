//! What each partition of an image holds, by its first bytes, and which partition a name means.

use super::fat::Fat;
use crate::filesystem::ext2::{Facts, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE};
use crate::overlay;
use crate::table::{Partition, Scheme, Table};
use anyhow::{Context, Result};
use serde::Serialize;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// How much of a partition is read to tell what it holds, in bytes: as much as is zero where `plan` takes it for blank.
const HEAD: u64 = 1 << 20;

/// What a partition holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    pub number: u32,
    pub content: Content,
    /// Which ext it is: `ext2`, `ext3` or `ext4`.
    pub ext: Option<&'static str>,
    /// The file system's label.
    pub label: Option<String>,
    /// The file system's UUID, or FAT's serial number.
    pub uuid: Option<String>,
    /// As Linux has it on an MBR: the disk's signature and the number. A GPT keeps another, which is not read.
    pub partuuid: Option<String>,
    /// It is empty and called `burnonce`: the image builder's placeholder for the upper.
    pub placeholder: bool,
}

/// What kind of content that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// ext2, ext3 or ext4.
    Ext,
    /// Something else that is known by name: `Btrfs`.
    Other(&'static str),
    /// Encrypted by LUKS.
    Encrypted,
    /// Zeros.
    Blank,
    /// Nothing that is known.
    Unknown,
}

impl Held {
    /// What it holds as a person says it: `vfat`, `encrypted by LUKS`.
    pub fn name(&self) -> &'static str {
        match self.content {
            Content::Fat => "vfat",
            Content::Ext => self.ext.unwrap_or("ext4"),
            Content::Other(name) => name,
            Content::Encrypted => "encrypted by LUKS",
            Content::Blank => "nothing but zeros",
            Content::Unknown => "nothing that is known here",
        }
    }
}

/// Looks at the beginning of a partition of the table's image.
///
/// # Errors
/// The image cannot be read there.
pub fn look(file: &File, table: &Table, partition: &Partition) -> Result<Held> {
    let (start, length) = extent(table, partition);
    let mut head = vec![0; usize::try_from(length.min(HEAD)).unwrap_or(0)];
    file.read_exact_at(&mut head, start).with_context(|| format!("reading partition {}", partition.number))?;
    let content = content(&head, || Fat::open(file, start, length).is_ok());
    let mut ext = None;
    let (label, uuid) = match content {
        Content::Fat => {
            let fat = Fat::open(file, start, length)?;
            // A root directory that cannot be read is told by what needs it.
            (fat.label().unwrap_or_default(), fat.uuid().map(str::to_owned))
        }
        Content::Ext => match head.get(SUPERBLOCK_OFFSET..).and_then(Facts::parse) {
            Some(facts) => {
                ext = Some(facts.name);
                (Some(facts.label), Some(facts.uuid))
            }
            None => (None, None),
        },
        _ => (None, None),
    };
    let label = label.filter(|label| !label.is_empty());
    // Whether an ext4 is empty is seen where it is opened.
    let placeholder = content == Content::Blank && partition.name.as_deref() == Some(overlay::LABEL);
    let (number, partuuid) = (partition.number, partuuid(table, partition.number));
    Ok(Held { number, content, ext, label, uuid, partuuid, placeholder })
}

/// Where a partition begins and how long it is, in bytes.
pub fn extent(table: &Table, partition: &Partition) -> (u64, u64) {
    (partition.start.to_offset(table.sector_size), partition.sectors.to_bytes(table.sector_size).0)
}

/// Linux makes it of the disk's signature (kernel, `block/partitions/msdos.c`).
fn partuuid(table: &Table, number: u32) -> Option<String> {
    match table.scheme {
        Scheme::Mbr { signature } => Some(format!("{signature:08x}-{number:02x}")),
        Scheme::Gpt { .. } => None,
    }
}

/// What begins with `head`. The magic numbers are those of `libblkid`'s probes.
fn content(head: &[u8], is_fat: impl Fn() -> bool) -> Content {
    let has = |at: usize, magic: &[u8]| head.get(at..at + magic.len()) == Some(magic);
    let known: [(usize, &[u8], Content); 10] = [
        (0, b"LUKS\xba\xbe", Content::Encrypted),
        (0, b"XFSB", Content::Other("XFS")),
        (0, b"hsqs", Content::Other("SquashFS")),
        (1024, &[0x10, 0x20, 0xF5, 0xF2], Content::Other("F2FS")),
        (1024, &[0xE2, 0xE1, 0xF5, 0xE0], Content::Other("EROFS")),
        (0x10040, b"_BHRfS_M", Content::Other("Btrfs")),
        (512, b"LABELONE", Content::Other("an LVM physical volume")),
        (4086, b"SWAPSPACE2", Content::Other("swap")),
        (3, b"NTFS    ", Content::Other("NTFS")),
        (3, b"EXFAT   ", Content::Other("exFAT")),
    ];
    let superblock = head.get(SUPERBLOCK_OFFSET..SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE);
    if let Some((_, _, content)) = known.into_iter().find(|(at, magic, _)| has(*at, magic)) {
        content
    } else if superblock.and_then(Facts::parse).is_some() {
        Content::Ext
    } else if is_fat() {
        Content::Fat
    } else if head.iter().all(|byte| *byte == 0) {
        Content::Blank
    } else {
        Content::Unknown
    }
}

/// What a `root=` or the first word of a line in fstab leads to in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The partition of this number.
    Partition(u32),
    /// No partition of the image.
    Nothing,
    /// It is not a partition's name, or of a kind that cannot be told from an image.
    NotTold,
}

/// Which partition `name` means: `LABEL=writable`, `/dev/mmcblk0p2`.
pub fn named(name: &str, partitions: &[Held]) -> Target {
    let found = |is: &dyn Fn(&Held) -> bool| match partitions.iter().find(|held| is(held)) {
        Some(held) => Target::Partition(held.number),
        None => Target::Nothing,
    };
    // Of other file systems neither label nor UUID is read.
    let is_closed = |held: &Held| !matches!(held.content, Content::Fat | Content::Ext | Content::Blank);
    let any_closed = partitions.iter().any(|held| is_closed(held) && held.uuid.is_none());
    let read = |target| if target == Target::Nothing && any_closed { Target::NotTold } else { target };
    let (kind, value) = tag(name);
    let is = |held: &Option<String>| held.as_ref().is_some_and(|held| held.eq_ignore_ascii_case(value));
    match kind.as_str() {
        "LABEL" => read(found(&|held| held.label.as_deref() == Some(value))),
        "UUID" => read(found(&|held| is(&held.uuid))),
        "PARTUUID" if partitions.iter().all(|held| held.partuuid.is_some()) => found(&|held| is(&held.partuuid)),
        "/dev" => match number(value) {
            Some(number) => found(&|held| held.number == number),
            None => Target::NotTold,
        },
        _ => Target::NotTold,
    }
}

/// Whether `name` means the partition that burnonce makes in the slot `free`: by its label, its number, or as an MBR's PARTUUID.
pub fn is_upper(name: &str, table: &Table, free: Option<u32>) -> bool {
    let (kind, value) = tag(name);
    match kind.as_str() {
        // As it names it on a GPT, too.
        "LABEL" | "PARTLABEL" => value == overlay::LABEL,
        "PARTUUID" => free.and_then(|slot| partuuid(table, slot)).is_some_and(|id| id.eq_ignore_ascii_case(value)),
        "/dev" => free.is_some() && number(value) == free,
        _ => false,
    }
}

/// A name in two: `LABEL` and `writable` of `LABEL=writable` and of `/dev/disk/by-label/writable`; `/dev` and the whole of another device.
fn tag(name: &str) -> (String, &str) {
    let name = name.trim_matches('"');
    let (kind, value) = match name.strip_prefix("/dev/disk/by-").and_then(|rest| rest.split_once('/')) {
        Some((kind, value)) => (kind.to_uppercase(), value),
        None => match name.split_once('=') {
            Some((kind, value)) => (kind.to_owned(), value),
            None => ("/dev".to_owned(), name),
        },
    };
    (kind, value.trim_matches('"'))
}

/// The number in the name of a partition's device: 2 of `/dev/mmcblk0p2` and of `/dev/sda2`.
fn number(device: &str) -> Option<u32> {
    let name = device.strip_prefix("/dev/")?;
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (disk, number) = name.split_at(name.len() - digits);
    let is_disk = match disk.strip_suffix('p') {
        Some(disk) => disk.ends_with(|c: char| c.is_ascii_digit()),
        None => ["sd", "vd", "xvd", "hd"].iter().any(|kind| disk.starts_with(kind)) && !disk.contains('/'),
    };
    number.parse().ok().filter(|_| is_disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_its_partition() {
        let held = |number, label: &str, uuid: &str| Held {
            number,
            content: Content::Unknown,
            ext: None,
            label: Some(label.to_owned()),
            uuid: Some(uuid.to_owned()),
            partuuid: Some(format!("5a6b7c8d-0{number}")),
            placeholder: false,
        };
        let partitions = [held(1, "bootfs", "1234-ABCD"), held(2, "rootfs", "0a1b2c3d-0000-0000-0000-000000000000")];
        for (name, target) in [
            ("LABEL=rootfs", Target::Partition(2)),
            ("LABEL=ROOTFS", Target::Nothing),
            ("LABEL=\"bootfs\"", Target::Partition(1)),
            ("UUID=0A1B2C3D-0000-0000-0000-000000000000", Target::Partition(2)),
            ("UUID=1234-abcd", Target::Partition(1)),
            ("PARTUUID=5A6B7C8D-02", Target::Partition(2)),
            ("PARTUUID=deadbeef-02", Target::Nothing),
            ("PARTLABEL=root", Target::NotTold),
            ("/dev/disk/by-label/rootfs", Target::Partition(2)),
            ("/dev/disk/by-partuuid/5a6b7c8d-01", Target::Partition(1)),
            ("/dev/mmcblk0p2", Target::Partition(2)),
            ("/dev/nvme0n1p1", Target::Partition(1)),
            ("/dev/sda2", Target::Partition(2)),
            ("/dev/vda3", Target::Nothing),
            ("/dev/mapper/vg2", Target::NotTold),
            ("/dev/nfs", Target::NotTold),
            ("tmpfs", Target::NotTold),
            ("", Target::NotTold),
        ] {
            assert_eq!(named(name, &partitions), target, "{name}");
        }
        let gpt = [Held { partuuid: None, ..partitions[0].clone() }];
        assert_eq!(named("PARTUUID=5a6b7c8d-01", &gpt), Target::NotTold);
        let swap = [Held { content: Content::Other("swap"), uuid: None, ..partitions[0].clone() }];
        assert_eq!(named("UUID=0a1b2c3d-0000-0000-0000-000000000000", &swap), Target::NotTold);
    }

    #[test]
    fn what_a_partition_holds_is_told_by_its_first_bytes() {
        let with = |at: usize, magic: &[u8]| {
            let mut head = vec![0; 66 << 10];
            head[at..at + magic.len()].copy_from_slice(magic);
            content(&head, || false)
        };
        assert_eq!(with(0, b"LUKS\xba\xbe"), Content::Encrypted);
        assert_eq!(with(0x10040, b"_BHRfS_M"), Content::Other("Btrfs"));
        assert_eq!(with(1080, &[0x53, 0xEF]), Content::Ext);
        assert_eq!(with(9, b"x"), Content::Unknown);
        assert_eq!(with(9, b"\0"), Content::Blank);
        assert_eq!(content(b"x", || true), Content::Fat);
        assert_eq!(content(b"", || false), Content::Blank);
    }
}
