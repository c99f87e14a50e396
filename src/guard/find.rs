//! Where the upper is: by what the kernel calls things, on the disk of root and on no other.

use super::report::Problem;
use crate::filesystem::{self, Glance};
use crate::mounts;
use crate::observe::{self, Location};
use crate::units::Bytes;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The label of the upper's file system.
const LABEL: &str = "burnonce";
/// How long a partition may take to appear: all of a disk come with root, unless the kernel is still adding them.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

/// The lower: root as the initramfs has mounted it.
#[derive(Debug)]
pub struct Lower {
    /// Kernel name of its partition.
    name: String,
    /// UUID of its file system.
    pub uuid: String,
    /// The sysfs directory of its disk.
    disk: PathBuf,
}

/// Finds out what is mounted on `directory`.
///
/// # Errors
/// It is not on a partition of a disk, or that cannot be found out.
pub fn lower(root: &Path, directory: &Path) -> Result<Lower, Problem> {
    let wrong = |why: String| Problem::new(why, "See burnonce status.");
    match located(root, directory) {
        Ok(Location::Partition { name, disk, .. }) => {
            // The kernel has mounted it: its superblock is sound.
            let glance = filesystem::glance(&root.join("dev").join(&name));
            let uuid = glance.map_err(|error| wrong(format!("Root cannot be read: {error:#}.")))?;
            Ok(Lower { name, uuid: uuid.map_or(String::new(), |glance| glance.uuid), disk })
        }
        Ok(Location::Elsewhere(_)) => Err(wrong(
            "Root is not a partition of a disk, so the partition for changes cannot be looked for.".to_owned(),
        )),
        Err(error) => Err(wrong(format!("The disk of root could not be found: {error:#}."))),
    }
}

fn located(root: &Path, directory: &Path) -> Result<Location> {
    let directory = directory.canonicalize().with_context(|| format!("looking for {}", directory.display()))?;
    let path = root.join("proc/self/mountinfo");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mounts = mounts::parse(&text);
    let mount = directory.to_str().and_then(|directory| mounts::at(&mounts, directory));
    observe::locate(root, mount.with_context(|| format!("nothing is mounted on {}", directory.display()))?)
}

/// The upper.
#[derive(Debug)]
pub struct Found {
    /// Its kernel name.
    pub name: String,
    /// What its superblock says.
    pub glance: Glance,
}

/// Finds the partition labelled `burnonce` on the disk of `lower`; waits for it a little.
///
/// # Errors
/// There is none, or more than one.
pub fn upper(root: &Path, lower: &Lower) -> Result<Found, Problem> {
    let begun = Instant::now();
    loop {
        let mut seen = Seen::default();
        look(root, lower, &mut seen);
        if !seen.found.is_empty() || begun.elapsed() + PAUSE > PATIENCE {
            return one(seen, &observe::base_name(&lower.disk));
        }
        sleep(PAUSE);
    }
}

#[derive(Debug, Default)]
struct Seen {
    found: Vec<Found>,
    /// Why something could not be looked at.
    errors: Vec<String>,
}

fn look(root: &Path, lower: &Lower, seen: &mut Seen) {
    let entries = match fs::read_dir(&lower.disk) {
        Ok(entries) => entries,
        Err(error) => return seen.errors.push(format!("{}: {error}", lower.disk.display())),
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("partition").exists())
        .map(|path| observe::base_name(&path))
        .filter(|name| *name != lower.name)
        .collect();
    names.sort();
    for name in names {
        match filesystem::glance(&root.join("dev").join(&name)) {
            Ok(Some(glance)) if glance.label == LABEL => seen.found.push(Found { name, glance }),
            Ok(_) => {}
            Err(error) => seen.errors.push(format!("{error:#}")),
        }
    }
}

fn one(seen: Seen, disk: &str) -> Result<Found, Problem> {
    let mut found = seen.found;
    match (found.pop(), found.pop()) {
        (Some(only), None) => Ok(only),
        (Some(second), Some(first)) => Err(Problem::new(
            format!("Two partitions of {disk} are labelled {LABEL}: /dev/{} and /dev/{}.", first.name, second.name),
            "Relabel the wrong one with e2label, and restart.",
        )),
        (None, _) if seen.errors.is_empty() => Err(Problem::new(
            format!(
                "No partition of {disk} is labelled {LABEL}: the one that held the changes is gone, or its superblock is."
            ),
            "burnonce plan shows what the card holds.",
        )),
        (None, _) => Err(Problem::new(
            format!("No partition of {disk} that can be read is labelled {LABEL}: {}.", seen.errors.join("; ")),
            "The card may have worn out: replace it.",
        )),
    }
}

/// Makes sure that all of the upper's file system is on the partition that the kernel has: it shortens one that reaches past the end of
/// the card. e2fsck must not see such a file system, and the kernel mounts none.
///
/// # Errors
/// It is not, and by how much.
pub fn whole(lower: &Lower, found: &Found) -> Result<(), Problem> {
    // Where that cannot be read, the mount says what is wrong.
    let Ok(sectors) = observe::read_number(&lower.disk.join(&found.name).join("size")) else { return Ok(()) };
    let there = Bytes(sectors.saturating_mul(observe::SYSFS_SECTOR));
    let size = found.glance.size;
    if size <= there {
        return Ok(());
    }
    Err(Problem::new(
        format!(
            "/dev/{} has {there}, and its file system {size}: {} of it are not on this card. This is a copy of a larger card, cut short.",
            found.name,
            Bytes(size.0 - there.0)
        ),
        "Copy the original onto a card as large as its own; or give up what was written and run burnonce repartition.",
    ))
}

/// Makes sure that the kernel takes writes for the upper `name`, which is on the disk of `lower`.
///
/// # Errors
/// The card or the partition is write-protected.
pub fn writable(lower: &Lower, name: &str) -> Result<(), Problem> {
    let locks = [lower.disk.join("ro"), lower.disk.join(name).join("ro")];
    if locks.iter().all(|lock| observe::read_number(lock).unwrap_or(0) == 0) {
        return Ok(());
    }
    Err(Problem::new(
        format!("The card is write-protected (/dev/{name})."),
        "Remove the protection, or replace a card that has worn out.",
    ))
}
