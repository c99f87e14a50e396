//! What stands in the way of burnonce on an image, and what to do about it. Pure.

use super::boot::{CommandLine, Used};
use super::growers::{State, When};
use super::partition::Target;
use super::system::{Burnonce, Generator, System};
use super::{Findings, Inspection};
use crate::overlay::Configuration;
use crate::table::{Scheme, Table};
use serde::Serialize;

/// One thing that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// What was found: a sentence without its full stop.
    pub found: String,
    /// What to do: another one.
    pub remedy: String,
}

fn obstacle(found: impl Into<String>, remedy: impl Into<String>) -> Obstacle {
    Obstacle { found: found.into(), remedy: remedy.into() }
}

/// All that stands in the way, what weighs most first.
pub fn of(image: &Inspection) -> Vec<Obstacle> {
    let mut found = Vec::new();
    found.extend(generator(&image.findings));
    found.extend(table(&image.table, image.root.partition));
    found.extend(root(image));
    found.extend(configuration(&image.findings.system.burnonce));
    found.extend(growers(&image.findings));
    found.extend(command_lines(image));
    found.extend(installation(&image.findings.system));
    if image.findings.system.has_machine_id {
        found.push(obstacle(
            "/etc/machine-id holds an id, which every card burned from this image would have; the image was booted before",
            "empty that file, or begin with the image as it was published",
        ));
    }
    found
}

fn generator(findings: &Findings) -> Option<Obstacle> {
    let remedy =
        "use an image whose initramfs is made by initramfs-tools: Raspberry Pi OS, Debian, Armbian, Ubuntu up to 25.04";
    match findings.system.generator {
        Generator::InitramfsTools => None,
        Generator::Dracut => Some(obstacle("the initramfs is made by dracut, for which burnonce has no guard", remedy)),
        Generator::None => Some(obstacle("neither initramfs-tools nor dracut is installed", remedy)),
    }
}

/// The first free slot of a table.
pub fn free_slot(table: &Table) -> Option<u32> {
    (1..=table.slots).find(|number| table.partitions.iter().all(|partition| partition.number != *number))
}

fn table(table: &Table, root: u32) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if free_slot(table).is_none() {
        let kind = if matches!(table.scheme, Scheme::Mbr { .. }) { "MBR" } else { "GPT" };
        found.push(obstacle(
            format!("all {} slots of the {kind} partition table are taken: there is none for the upper", table.slots),
            "use an image with fewer partitions",
        ));
    }
    let end = table.partitions.iter().find(|partition| partition.number == root).map(|partition| partition.start);
    for behind in table.partitions.iter().filter(|partition| Some(partition.start) > end) {
        found.push(obstacle(
            format!("partition {} lies behind root, where the upper goes, and burnonce leaves what it did not make alone", behind.number),
            "use an image with root as its last partition; on a node, `burnonce repartition --use N` gives such a partition up",
        ));
    }
    found
}

fn root(image: &Inspection) -> Vec<Obstacle> {
    let (root, mut found) = (&image.root, Vec::new());
    let again = "download the image again, or have a copy of it repaired by `e2fsck -f`";
    if root.size > root.room {
        found.push(obstacle(
            format!(
                "the root file system has {}, and its partition only {}: it cannot be mounted",
                root.size, root.room
            ),
            again,
        ));
    }
    if root.errors {
        found.push(obstacle("the root file system has errors recorded in its superblock", again));
    } else if !root.clean {
        found.push(obstacle(
            "the root file system was not unmounted: what is in its journal was not looked at, and this page may be out of date",
            "use an image that was shut down in order, or run `e2fsck -p` on a copy and inspect that",
        ));
    }
    if root.sealed {
        let remedy =
            "begin with the image as it was published: this one was read out of a card that burnonce had converted";
        found.push(obstacle("the root file system is sealed: no kernel mounts it for writing", remedy));
    }
    found
}

fn configuration(burnonce: &Burnonce) -> Option<Obstacle> {
    match &burnonce.configuration {
        Configuration::Absent => None,
        Configuration::Begun(_) => Some(obstacle(
            "a conversion was begun: /etc/overlayroot.local.conf counts an attempt of burnonce",
            "remove that file from the root partition, or begin with the image as it was published",
        )),
        Configuration::Complete(_) => Some(obstacle(
            "this is the root of a converted card: /etc/overlayroot.local.conf configures burnonce's overlay",
            "begin with the image as it was published",
        )),
        Configuration::Foreign { line } => Some(obstacle(
            format!(
                "an overlay that is not burnonce's is configured in /etc/overlayroot.conf or overlayroot.local.conf: `{line}`"
            ),
            "take that line out in the root partition",
        )),
    }
}

fn growers(findings: &Findings) -> Vec<Obstacle> {
    let armed = findings.growers.iter().filter(|grower| grower.state == State::Armed);
    // What cloud-init does is switched off by installing burnonce.
    let stays = |when| when != When::CloudInit || findings.system.burnonce.installed;
    armed
        .filter(|grower| stays(grower.when))
        .map(|grower| {
            let effect = match grower.when {
                When::Initramfs => "grows root over the card before anything of burnonce can run",
                When::Unit => "is to grow root in the first boot; burnonce.service comes before it, so that it finds no space and may fail",
                When::CloudInit => "is to grow root in the first boot",
            };
            obstacle(format!("{} ({}) {effect}", grower.name, grower.place), grower.remedy.clone())
        })
        .collect()
}

/// Words that change what root is.
fn command_lines(image: &Inspection) -> Vec<Obstacle> {
    let Some(boot) = &image.findings.boot else {
        let found =
            "no partition holds a FAT file system: the kernel command line and what is in the initramfs are not known";
        return vec![obstacle(found, "use an image for a Raspberry Pi, which has its firmware on such a partition")];
    };
    if boot.command_lines.is_empty() {
        let found = format!("partition {} has no cmdline.txt: the kernel command line is not known", boot.partition);
        return vec![obstacle(found, "use an image for a Raspberry Pi")];
    }
    let used = boot.command_lines.iter().filter(|line| line.used != Used::Never);
    used.flat_map(|line| words(line, image.root.partition)).collect()
}

fn words(line: &CommandLine, root: u32) -> Vec<Obstacle> {
    let (path, mut found) = (&line.path, Vec::new());
    let take_out = |word: &str| format!("take the word `{word}` out of {path} on the boot partition");
    let name = line.root.as_deref().unwrap_or_default();
    match line.target {
        Target::Nothing => found.push(obstacle(
            format!("`root={name}` in {path} names no partition of this image"),
            format!("write there what the root partition is called: `root=` and its label, UUID or PARTUUID, as listed above for partition {root}"),
        )),
        Target::Partition(number) if number != root => found.push(obstacle(
            format!("`root={name}` in {path} names partition {number}, and the root file system was found on partition {root}"),
            format!("let it name partition {root}"),
        )),
        _ => {}
    }
    for word in line.words() {
        match word {
            "rw" => found.push(obstacle(
                format!("`rw` in {path} has root mounted writable from the start: something may write to the image before burnonce runs"),
                take_out(word),
            )),
            "burnonce=off" => {
                found.push(obstacle(format!("`burnonce=off` in {path} keeps burnonce from doing anything"), take_out(word)));
            }
            _ if word.starts_with("overlayroot=") || word.starts_with("rd.overlay") => {
                let what = format!("`{word}` in {path} configures an overlay, and counts before burnonce's configuration");
                found.push(obstacle(what, take_out(word)));
            }
            _ => {}
        }
    }
    found
}

/// What installing burnonce has to do still.
fn installation(system: &System) -> Option<Obstacle> {
    let burnonce = &system.burnonce;
    if burnonce.installed && !system.overlayroot.installed {
        let remedy = "install overlayroot in a chroot of the image; burnonce's package depends on it";
        return Some(obstacle("burnonce is in the image, and overlayroot is not: it would be refused", remedy));
    }
    if !burnonce.installed {
        let remedy =
            "install its package in a chroot of the image; that brings overlayroot and makes the initramfs anew";
        return Some(obstacle("burnonce is not in the image", remedy));
    }
    (!burnonce.armed).then(|| {
        let remedy = "run `systemctl enable burnonce.service` in a chroot of the image";
        obstacle(
            "burnonce is in the image, but burnonce.service is not enabled: the first boot converts nothing",
            remedy,
        )
    })
}
