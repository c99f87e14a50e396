//! A burned card is given a partition for what the node writes, and root an overlay.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use burnonce::units::{Bytes, Lba, Sectors};
use burnonce::{filesystem, sys};
use burnonce_crash::boot::{self, Boot};
use burnonce_crash::reader::{Reader, SECTOR};
use burnonce_vm::card::GIB;
use burnonce_vm::host;

use crate::cards::{self, Cards, Label, UPPER, insert};
use crate::contest::{self, Contender};
use crate::extent::Extent;
use crate::figures::{Case, Sample, Work};
use crate::measured::{How, Meter, Task};
use crate::mounted::Mounted;
use crate::target;

/// Where the root of a running node is mounted, for those who work from outside of it.
const ROOT: &str = "/run/bench-root";

/// What guides tell people to type; `$1` is the card, `$2` its root, which is mounted, `$3` the partition that is made.
pub const GUIDE: &str = r#"
echo type=83 | sfdisk --quiet --append --no-reread --no-tell-kernel "$1"
partx --add --nr 3 "$1"
mke2fs -q -t ext4 "$3"
mkdir -p /run/bench-upper
mount -t ext4 "$3" /run/bench-upper
mkdir -p /run/bench-upper/overlay /run/bench-upper/overlay-workdir
umount /run/bench-upper
echo "overlayroot=\"device:dev=$3,recurse=0\"" >"$2/etc/overlayroot.local.conf"
"#;

/// What a stock image does: root grows over the whole card.
const GROW: &str = r#"
growpart "$1" 2
resize2fs -f "$1p2"
"#;

/// Definitions for systemd-repart, by repart.d(5): root, which is there and stays as it is, and the partition that is to be made.
const DEFINITIONS: [(&str, &str); 2] = [
    ("10-root.conf", "[Partition]\nType=linux-generic\nWeight=0\n"),
    ("20-upper.conf", "[Partition]\nType=var\nFormat=ext4\nMakeDirectories=/overlay /overlay-workdir\n"),
];
/// Where these are.
const REPART: &str = "/run/bench-repart.d";

/// What is done, for the page.
const ABOUT: &str = "A card with an image of 2 GiB burned to it gets a partition for what the node writes, with a file system in it, and root is \
configured to be an overlay. `burnonce` is `burnonce converge` in the node's first boot, all but the restart. `mke2fs alone` makes the file \
system that burnonce makes, with the same options and content, in a partition that is there already. `what guides say`: `sfdisk --append`, \
`partx`, `mke2fs` as it is, mount, `mkdir`, and overlayroot's file. systemd-repart makes a partition with `Format=ext4` and two directories. \
`growpart, resize2fs` is what stock images do instead: root grows over the card.";

/// A note on burnonce's node, which the peers do not have.
pub const SEES_ITS_CARD: &str =
    "burnonce's node sees no disks but its card; its peers see the disks of the machine that measures.";

/// Those who do it.
pub const BURNONCE: &str = "burnonce";
const BARE: &str = "mke2fs alone";
pub const GUIDES: &str = "what guides say";

/// All who do it, on cards of each length.
///
/// # Errors
/// One of them failed.
pub fn work(cards: &Cards, extent: &Extent) -> Result<Work> {
    let mut cases = Vec::new();
    for &gib in &extent.cards {
        eprintln!("bench: conversion of {gib} GiB");
        let contenders = [
            Contender::new(BURNONCE, |how| burnonce(cards, gib, how)),
            Contender::new(BARE, |how| bare(cards, gib, how)),
            Contender::new(GUIDES, |how| guide(cards, gib, how)),
            Contender::new("systemd-repart", |how| repart(cards, gib, how)),
            Contender::new("growpart, resize2fs", |how| grow(cards, gib, how)),
        ];
        let runs = contest::hold(&contenders, extent.rounds, &[How::Weighed])?;
        cases.push(Case { label: format!("{gib} GiB"), size: gib as f64, runs });
    }
    let part = cases.iter().find(|case| case.label == "64 GiB").map(|case| target::part(case, GUIDES, 50.0));
    let behind = target::behind(&cases, BARE, Duration::from_millis(20));
    Ok(Work {
        name: "convert".to_owned(),
        title: "Conversion of a card".to_owned(),
        about: ABOUT.to_owned(),
        cases,
        targets: part.into_iter().chain([behind]).flatten().collect(),
        notes: vec![
            format!("The cards are loop devices over sparse files on {}.", cards.kind()?),
            "burnonce makes more flushes and takes more processor time than mke2fs alone: the tables have both. The order of the flushes is \
             what makes a power cut harmless at any moment: what the table and the image's root get is on the card before the next thing \
             begins, root is writable only while one file of it is replaced, and the kernel has mounted the new file system before anything \
             points at it."
                .to_owned(),
            "mke2fs zeroes by requests to write zeroes (WRITE_ZEROES). A loop device moves no bytes for one, it makes a hole in its file, but \
             the kernel counts the sectors as written. An SD card has no such command (drivers/mmc/core/queue.c offers it only where the \
             card can trim, as an eMMC can), so for one the kernel writes pages of zeroes. The bytes written are therefore what an SD card \
             is really written; the wall-clock times on this loop device are, by the kernel's emulation, too kind to whoever zeroes much: \
             `what guides say` and systemd-repart."
                .to_owned(),
            "`growpart, resize2fs` works on a root that nothing has mounted: a file system that is mounted cannot grow on every kernel \
             (on this machine it is EPERM). On a node it is mounted, and its kernel writes more, through the journal."
                .to_owned(),
            "systemd-repart knows GPT alone, so its card has one; the others have an MBR. Its mke2fs is told not to discard, for in the loop \
             device that it makes a discard becomes a request to write zeroes, and would be counted as bytes written. It writes no \
             configuration."
                .to_owned(),
            "The kernel zeroes what is left of the inode tables when a file system is mounted for the first time, whoever made it; that \
             comes later, and is not in these figures. Burnonce's file system has fewer inodes."
                .to_owned(),
            "The boot partition has no file system here, so nothing is kept of it, which is one step of nine.".to_owned(),
            SEES_ITS_CARD.to_owned(),
        ],
    })
}

/// The agent in its node, in the first boot of a burned card.
pub fn burnonce(cards: &Cards, gib: u64, how: How) -> Result<Sample> {
    let card = cards.burned(gib, Label::Mbr)?;
    let reader = insert(&card.path)?;
    let mut meter = Meter::of(&reader, how);
    cards::boot(&reader, false, |boot| meter.run(&agent(boot, &["converge", "--no-reboot"])))?;
    Ok(meter.sample())
}

/// The agent, as it is called in the node that has booted.
pub fn agent(boot: &Boot, arguments: &[&str]) -> Task {
    Task::new(["/usr/sbin/burnonce"].iter().chain(arguments)).inside(boot.root())
}

/// What guides say, on a node whose root is mounted writable.
pub fn guide(cards: &Cards, gib: u64, how: How) -> Result<Sample> {
    let card = cards.burned(gib, Label::Mbr)?;
    let reader = insert(&card.path)?;
    let root = Mounted::at(&reader.partition(2), Path::new(ROOT))?;
    let mut meter = Meter::of(&reader, how);
    let upper = reader.partition(3).display().to_string();
    meter.run(&Task::script(GUIDE, &[&reader.device, ROOT, &upper]))?;
    root.end()?;
    Ok(meter.sample())
}

/// The file system alone, with the options and the content that burnonce gives it, in a partition that the kernel knows.
pub fn bare(cards: &Cards, gib: u64, how: How) -> Result<Sample> {
    let content = content(cards)?;
    let card = cards.burned(gib, Label::Mbr)?;
    let reader = insert(&card.path)?;
    let sectors = Sectors(gib * GIB / u64::from(SECTOR) - UPPER);
    let disk = fs::File::open(&reader.device).with_context(|| format!("opening {}", reader.device))?;
    sys::add_kernel_partition(&disk, 3, Lba(UPPER), sectors, SECTOR)?;
    drop(disk);
    let mut words = vec!["mke2fs".to_owned()];
    words.extend(filesystem::options::of(Bytes(sectors.0 * u64::from(SECTOR))));
    words.extend(["-d".to_owned(), content, reader.partition(3).display().to_string()]);
    let mut meter = Meter::of(&reader, how);
    meter.run(&Task::new(words))?;
    Ok(meter.sample())
}

/// What a new upper has in it.
fn content(cards: &Cards) -> Result<String> {
    let content = cards.path("content");
    if !content.exists() {
        let card = cards.converted(8)?;
        let reader = insert(&card.path)?;
        boot::look(&reader.partition(3), |upper| {
            host::run(Command::new("cp").arg("--archive").arg(upper).arg(&content)).map(drop)
        })?;
        fs::remove_dir(content.join("lost+found")).context("removing what mke2fs makes by itself")?;
    }
    content.into_os_string().into_string().ok().context("the directory's name is not UTF-8")
}

/// systemd-repart, which knows only GPT.
pub fn repart(cards: &Cards, gib: u64, how: How) -> Result<Sample> {
    let card = cards.burned(gib, Label::Gpt)?;
    let reader = insert(&card.path)?;
    let mut meter = Meter::of(&reader, how);
    meter.run(&repart_task(&reader)?)?;
    Ok(meter.sample())
}

/// systemd-repart on a card, told to make what it has to.
///
/// It makes the file system on a loop device of its own, and there a discard becomes a request to write zeroes, which the card counts as
/// bytes written though none is moved. So its mke2fs is told not to discard; that is all that its configuration says beside this machine's.
pub fn repart_task(reader: &Reader) -> Result<Task> {
    fs::create_dir_all(REPART).with_context(|| format!("making {REPART}"))?;
    for (name, text) in DEFINITIONS {
        fs::write(Path::new(REPART).join(name), text).with_context(|| format!("writing {name}"))?;
    }
    let configuration = fs::read_to_string("/etc/mke2fs.conf").context("reading /etc/mke2fs.conf")?;
    let own = format!("{REPART}/mke2fs");
    fs::write(&own, without_discard(&configuration)?).with_context(|| format!("writing {own}"))?;
    let definitions = format!("--definitions={REPART}");
    let repart = ["systemd-repart", "--dry-run=no", "--pretty=no", "--discard=no", &definitions, &reader.device];
    Ok(Task::new(repart).with_env("MKE2FS_CONFIG", &own))
}

/// mke2fs.conf(5) with `discard` off.
fn without_discard(configuration: &str) -> Result<String> {
    const DEFAULTS: &str = "[defaults]\n";
    let at = configuration.find(DEFAULTS).context("mke2fs.conf has no [defaults]")? + DEFAULTS.len();
    let (before, after) = configuration.split_at(at);
    Ok(format!("{before}\tdiscard = false\n{after}"))
}

/// Root over the whole card. Nothing has it mounted: some kernels do not let a mounted file system grow.
pub fn grow(cards: &Cards, gib: u64, how: How) -> Result<Sample> {
    let card = cards.burned(gib, Label::Mbr)?;
    let reader = insert(&card.path)?;
    let mut meter = Meter::of(&reader, how);
    meter.run(&Task::script(GROW, &[&reader.device]))?;
    Ok(meter.sample())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discard_is_off_among_the_defaults() {
        let changed = without_discard("[defaults]\n\tblocksize = 4096\n\n[fs_types]\n").unwrap();
        assert_eq!(changed, "[defaults]\n\tdiscard = false\n\tblocksize = 4096\n\n[fs_types]\n");
        assert!(without_discard("[fs_types]\n").is_err());
    }
}
