//! `burnonce inspect`: what a stock image has in it, and what stands in the way of burnonce there. The image is read as a file, without
//! root, mounts or loop devices, and not changed.
//!
//! [`source`] opens the image, and unpacks a packed one. The partition table is read by [`crate::table`]. What is on the partitions is looked
//! at through the trait [`tree::Tree`]: [`fat`] and [`ext4`] are those of an image, and in tests a tree is in memory. [`look`] finds
//! everything that is in such trees, and [`obstacles`] judges it.

pub(crate) mod boot;
mod boot_directory;
pub(crate) mod cloud;
mod config_txt;
mod dpkg;
pub mod ext4;
pub mod fat;
pub(crate) mod growers;
pub mod initramfs;
pub(crate) mod obstacles;
pub(crate) mod packing;
pub(crate) mod partition;
pub(crate) mod source;
pub(crate) mod system;
mod text;
pub mod tree;

use crate::filesystem::ext2::UnknownFeature;
use crate::output::{escaped, print};
use crate::picture::{Card, SegmentKind};
use crate::table::{self, Defect, Partition, Table};
use crate::units::{Bytes, Lba};
use crate::{Exit, overlay};
use anyhow::{Context, Result, anyhow, bail};
use boot::Boot;
use ext4::Ext4;
use fat::Fat;
use growers::Grower;
use obstacles::Obstacle;
pub use packing::Packing;
use partition::{Content, Held, Target};
use serde::Serialize;
use source::Source;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use system::System;
use tree::Tree;

/// Bytes in a sector of an image: those of an SD card.
const SECTOR: u32 = 512;
/// What to do with an image that is damaged.
const AGAIN: &str =
    "the image is damaged; download it again, and compare it with the checksum that its publisher gives";

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The image, as it was named.
    pub image: String,
    pub packing: Packing,
    /// Its length, not packed.
    pub length: Bytes,
    pub table: Table,
    /// What each partition holds, by number.
    pub partitions: Vec<Held>,
    /// The slot that the upper would get.
    pub free_slot: Option<u32>,
    pub root: Root,
    #[serde(flatten)]
    pub findings: Findings,
    pub obstacles: Vec<Obstacle>,
}

/// The root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Root {
    /// The number of its partition.
    pub partition: u32,
    /// How long the file system is, and how much room its partition has.
    pub size: Bytes,
    pub room: Bytes,
    /// It was unmounted in order.
    pub clean: bool,
    /// Errors are recorded in its superblock.
    pub errors: bool,
    /// The kernel refuses to mount it for writing.
    pub sealed: bool,
    /// It has a journal.
    pub journal: bool,
}

/// What is in the trees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Findings {
    pub system: System,
    /// The boot partition, where there is one.
    pub boot: Option<Boot>,
    /// The lines of /etc/fstab that are no comments.
    pub fstab: Vec<Mount>,
    pub growers: Vec<Grower>,
}

/// A line of /etc/fstab (fstab(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// What is mounted: `LABEL=writable`.
    pub source: String,
    /// Where that leads.
    pub target: Target,
    /// Where it is mounted.
    pub directory: String,
    pub file_system: String,
    pub options: String,
}

/// Inspects the image at `path` and prints what was found.
///
/// # Errors
/// It is no image of the kind that burnonce is for, or cannot be read; the message says what to do.
pub fn run(path: &Path, json: bool) -> Result<Exit> {
    // A name in a damaged image can hold anything, and becomes part of the message.
    let inspection = inspect(path).map_err(|error| anyhow!("{}", escaped(format!("{error:#}"))))?;
    if json {
        print(serde_json::to_string_pretty(&inspection)? + "\n");
    } else {
        print(&inspection);
    }
    Ok(Exit::Done)
}

/// Looks at the image at `path`. Reads only; a packed one is unpacked into a temporary file that has no name.
///
/// # Errors
/// As [`run`].
pub fn inspect(path: &Path) -> Result<Inspection> {
    of_source(path, &source::open(path)?)
}

/// The same of an image that is open already. `path` is its name.
///
/// # Errors
/// As [`run`].
pub(crate) fn of_source(path: &Path, source: &Source) -> Result<Inspection> {
    let shown = path.display();
    let table = read_table(path, source)?;
    let mut partitions = Vec::new();
    for partition in &table.partitions {
        partitions.push(partition::look(&source.file, &table, partition).with_context(|| format!("{shown}: {AGAIN}"))?);
    }
    let opened = |number| opened(path, source, &table, number);
    let (root_number, root_tree) = find_root(path, &partitions, opened)?;
    let boot = partitions.iter().find(|held| held.content == Content::Fat).map(|held| held.number);
    let damaged = |number| move || format!("partition {number} of {} cannot be read; {AGAIN}", path.display());
    let fat = match boot.and_then(|number| table.partitions.iter().find(|p| p.number == number)) {
        Some(found) => {
            let (start, length) = partition::extent(&table, found);
            Some((found.number, Fat::open(&source.file, start, length).with_context(damaged(found.number))?))
        }
        None => None,
    };
    let boot = fat.as_ref().map(|(number, fat)| (*number, fat as &dyn Tree));
    for held in partitions.iter_mut().filter(|held| held.number != root_number) {
        held.placeholder = held.placeholder || (is_ours(held) && opened(held.number).is_ok_and(|tree| tree.is_empty()));
    }
    let findings = look((root_number, &root_tree), boot, &partitions)
        .with_context(|| format!("the file systems of {} cannot be read to the end; {AGAIN}", path.display()))?;
    let root = root(&root_tree, root_number, &table).with_context(damaged(root_number))?;
    let mut inspection = Inspection {
        image: shown.to_string(),
        packing: source.packing,
        length: source.length,
        free_slot: obstacles::free_slot(&table, &partitions),
        table,
        partitions,
        root,
        findings,
        obstacles: Vec::new(),
    };
    inspection.obstacles = obstacles::of(&inspection);
    Ok(inspection)
}

/// The trees of an image that was looked at: that of root, and that of the boot partition where it has one.
///
/// # Errors
/// They cannot be opened.
pub(crate) fn trees<'s>(source: &'s Source, seen: &Inspection) -> Result<(Ext4, Option<Fat<'s>>)> {
    let path = Path::new(&seen.image);
    let root = opened(path, source, &seen.table, seen.root.partition)?;
    let held = seen.partitions.iter().find(|held| held.content == Content::Fat);
    let fat = match held.and_then(|held| seen.table.partitions.iter().find(|found| found.number == held.number)) {
        Some(found) => {
            let (start, length) = partition::extent(&seen.table, found);
            Some(Fat::open(&source.file, start, length)?)
        }
        None => None,
    };
    Ok((root, fat))
}

/// What is in the trees of an image, each with the number of its partition. Where there is no boot partition, root's own /boot is looked at.
/// Pure.
///
/// # Errors
/// Something that is there cannot be read.
pub fn look(root: (u32, &dyn Tree), boot: Option<(u32, &dyn Tree)>, partitions: &[Held]) -> Result<Findings> {
    let (root_number, root) = root;
    let mut system = system::look(root).context("looking at the root partition")?;
    let found = match boot {
        Some((number, tree)) => {
            Some(boot::look(tree, number, partitions).with_context(|| format!("looking at boot partition {number}"))?)
        }
        None => boot_directory::look(root, root_number, partitions).context("looking at /boot")?,
    };
    let tree = boot.map_or(root, |(_, tree)| tree);
    let growers = growers::look(root, found.as_ref().map(|found| (tree, found))).context("looking for growers")?;
    if let Some(cloud_init) = &mut system.cloud_init {
        let lines = found.as_ref().map_or(&[][..], |found| &found.command_lines);
        cloud_init.disabled = cloud::disabled(root, lines)?.is_some();
    }
    let fstab = root.text("etc/fstab", system::TEXT)?.unwrap_or_default();
    Ok(Findings { system, boot: found, fstab: mounts(&fstab, partitions), growers })
}

fn mounts(fstab: &str, partitions: &[Held]) -> Vec<Mount> {
    let lines = fstab.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter_map(|words| match words[..] {
            [source, directory, file_system, ref rest @ ..] if !source.starts_with('#') => Some(Mount {
                source: source.to_owned(),
                target: partition::named(source, partitions),
                directory: directory.to_owned(),
                file_system: file_system.to_owned(),
                options: rest.first().copied().unwrap_or_default().to_owned(),
            }),
            _ => None,
        })
        .collect()
}

fn read_table(path: &Path, source: &Source) -> Result<Table> {
    let sectors = source.length.to_sectors(SECTOR).0;
    let shown = path.display();
    let read =
        table::read(&mut &source.file, SECTOR, sectors).with_context(|| format!("reading the table of {shown}"))?;
    read.map_err(|defect| anyhow!("{}", about(path, source.length, &defect)))
}

/// What a defect means that was found in an image: the table's own sentences are about a card.
fn about(path: &Path, length: Bytes, defect: &Defect) -> String {
    let image = path.display();
    match defect {
        Defect::NoTable => format!(
            "{image} is no disk image: its first sector has no partition table; name an image that can be burned with `dd`"
        ),
        Defect::OutOfDisk { number, start, last, .. } if *start > Lba(0) && *last >= start.0 => {
            let end = Bytes(last.saturating_add(1).saturating_mul(u64::from(SECTOR)));
            let missing = Bytes(end.0.saturating_sub(length.0));
            format!(
                "{image} is cut short: partition {number} ends at {end}, and the image at {length} ({missing} are missing); {AGAIN}"
            )
        }
        Defect::OutOfDisk { number, .. } => {
            format!("partition {number} in the table of {image} has an impossible place or length; {AGAIN}")
        }
        Defect::ProtectiveWithoutGpt => {
            format!("{image} announces a GPT in its first sector and has none, as when it was cut short; {AGAIN}")
        }
        Defect::TornGpt { primary, backup } => {
            format!(
                "both copies of the GPT in {image} are damaged (the first: {primary}; the backup: {backup}); {AGAIN}"
            )
        }
        Defect::Hybrid => format!(
            "{image} has a hybrid partition table, an MBR beside a GPT, so that it is not certain which one counts; \
             use an image with a plain one"
        ),
        Defect::Extended { number } => format!(
            "partition {number} of {image} is an extended one, a container of others, which burnonce does not change; \
             use an image whose partitions are all primary"
        ),
        Defect::Overlap { first, second } => {
            format!("partitions {first} and {second} of {image} share sectors; {AGAIN}")
        }
        Defect::Unreadable { error } => format!("the first sector of {image} cannot be read ({error}); copy it anew"),
        Defect::Unsupported { what } => {
            format!(
                "the partition table of {image} has something that burnonce does not handle: {what}; use another image"
            )
        }
    }
}

/// Opens the ext4 on a partition.
fn opened(path: &Path, source: &Source, table: &Table, number: u32) -> Result<Ext4> {
    let found = table.partitions.iter().find(|partition| partition.number == number);
    let (start, _) = partition::extent(table, found.with_context(|| format!("there is no partition {number}"))?);
    Ext4::open(&path_of(&source.file), start).map_err(|error| {
        let place = format!("the file system on partition {number} of {}", path.display());
        if error.is::<UnknownFeature>() {
            return anyhow!(
                "{place} has a feature that burnonce does not know, for a newer mke2fs made it; \
                 use an image whose root has none, or a newer burnonce"
            );
        }
        error.context(format!("{place} cannot be read; {AGAIN}"))
    })
}

/// Whether it has the label of the upper.
fn is_ours(held: &Held) -> bool {
    held.content == Content::Ext && held.label.as_deref() == Some(overlay::LABEL)
}

/// A path for an open file, whether it has a name or not: libext2fs wants one.
pub(crate) fn path_of(file: &File) -> PathBuf {
    let directory = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    Path::new(directory).join(file.as_raw_fd().to_string())
}

/// The partition that root is on: the first ext4 with a system on it, else the first ext4.
fn find_root(path: &Path, partitions: &[Held], opened: impl Fn(u32) -> Result<Ext4>) -> Result<(u32, Ext4)> {
    let mut first = None;
    for held in partitions.iter().filter(|held| held.content == Content::Ext) {
        let tree = opened(held.number)?;
        let has_system = (&tree as &dyn Tree).first_of(&["etc/os-release", "usr/lib/os-release"]);
        let cannot = || format!("partition {} of {} cannot be read; {AGAIN}", held.number, path.display());
        if has_system.with_context(cannot)?.is_some() {
            return Ok((held.number, tree));
        }
        first = first.or(Some((held.number, tree)));
    }
    match first {
        Some(found) => Ok(found),
        None => bail!("{}", without_ext4(path, partitions)),
    }
}

/// What is said of an image in which there is no ext4.
fn without_ext4(path: &Path, partitions: &[Held]) -> String {
    let image = path.display();
    let other = partitions.iter().find(|held| !matches!(held.content, Content::Fat | Content::Other("swap")));
    match other {
        Some(Held { number, content: Content::Encrypted, .. }) => format!(
            "partition {number} of {image} is encrypted by LUKS, so it cannot be looked into, and burnonce makes no upper beside it; \
             use an image whose root is not encrypted"
        ),
        Some(held) => format!(
            "partition {} of {image} holds {}, and no partition holds an ext4, which burnonce needs for root; \
             use an image with an ext4 root",
            held.number,
            held.name()
        ),
        None => format!("{image} has no partition for root; use an image of a whole card"),
    }
}

fn root(tree: &Ext4, number: u32, table: &Table) -> Result<Root> {
    let facts = tree.facts()?;
    let room = table.partitions.iter().find(|p| p.number == number).map(|p| p.sectors.to_bytes(table.sector_size));
    Ok(Root {
        partition: number,
        size: facts.size,
        room: room.unwrap_or_default(),
        clean: facts.clean,
        errors: facts.errors,
        sealed: facts.sealed,
        journal: facts.journal,
    })
}

impl Inspection {
    /// The picture's data.
    fn card(&self) -> Card {
        let name =
            Path::new(&self.image).file_name().map_or(self.image.clone(), |name| name.to_string_lossy().into_owned());
        let boot = self.findings.boot.as_ref().map(|boot| boot.partition);
        let start =
            |number: u32| self.table.partitions.iter().find(|p: &&Partition| p.number == number).map(|p| p.start);
        Card::from_table(&name, self.length.to_sectors(SECTOR).0, &self.table, |number| {
            let kind = match number {
                _ if number == self.root.partition => SegmentKind::Root,
                _ if Some(number) == boot => SegmentKind::Boot,
                _ if start(number) < start(self.root.partition) => SegmentKind::Boot,
                _ => SegmentKind::Foreign,
            };
            let held = self.partitions.iter().find(|held| held.number == number);
            let label =
                held.and_then(|held| held.label.as_ref()).map(|label| format!(" \"{label}\"")).unwrap_or_default();
            let what = held.map_or("", Held::name);
            (format!("partition {number}"), format!("{what}{label}"), kind)
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
