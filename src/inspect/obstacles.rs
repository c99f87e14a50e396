//! What stands in the way of burnonce on an image, and what to do about it. Pure.

use super::growers::{State, Switch, When};
use super::partition::{self, Held, Target};
use super::system::{Burnonce, Convert, System};
use super::{Findings, Inspection, Mount};
use crate::overlay::{Configuration, Generator};
use crate::table::{Partition, Scheme, Table, behind_root};
use serde::Serialize;

mod boot;

/// One thing that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// What was found: a sentence without its full stop.
    pub found: String,
    /// What to do: another one.
    pub remedy: String,
    pub who: Who,
}

/// Who takes it out of the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// `burnonce bake` does.
    Bake,
    /// The owner of the image has to.
    Owner,
    /// It is not known whether it stands in the way at all.
    Unknown,
}

fn obstacle(found: impl Into<String>, remedy: impl Into<String>) -> Obstacle {
    Obstacle { found: found.into(), remedy: remedy.into(), who: Who::Owner }
}

impl Obstacle {
    fn by(self, who: Who) -> Obstacle {
        Obstacle { who, ..self }
    }
}

/// All that stands in the way, what weighs most first.
pub fn of(image: &Inspection) -> Vec<Obstacle> {
    let mut found = Vec::new();
    found.extend(generator(&image.findings));
    found.extend(table(image));
    found.extend(root(image));
    found.extend(configuration(&image.findings.system.burnonce));
    found.extend(growers(&image.findings));
    found.extend(boot::command_lines(image));
    found.extend(boot::initramfs(image));
    found.extend(image.findings.fstab.iter().filter_map(|mount| fstab(image, mount)));
    found.extend(installation(&image.findings.system));
    found.extend(convert(&image.findings.system.burnonce));
    if image.findings.system.has_machine_id {
        found.push(obstacle(
            "/etc/machine-id holds an id, which every card burned from this image would have; the image was booted before",
            "empty that file, or begin with the image as it was published",
        ));
    }
    found
}

fn generator(findings: &Findings) -> Option<Obstacle> {
    let remedy = "use an image that makes its initramfs itself: Ubuntu, Raspberry Pi OS, Debian, Armbian";
    (findings.system.generator == Generator::None)
        .then(|| obstacle("neither initramfs-tools nor dracut is installed", remedy))
}

/// The number of the placeholder that makes way for the upper. Of two, neither does.
pub fn placeholder(partitions: &[Held]) -> Option<u32> {
    let mut found = partitions.iter().filter(|held| held.placeholder).map(|held| held.number);
    found.next().filter(|_| found.next().is_none())
}

/// The first slot of a table that is free, or that a placeholder has.
pub fn free_slot(table: &Table, partitions: &[Held]) -> Option<u32> {
    let makes_way = placeholder(partitions);
    let is_taken = |number| table.partitions.iter().any(|partition| partition.number == number);
    (1..=table.slots).find(|number| Some(*number) == makes_way || !is_taken(*number))
}

fn table(image: &Inspection) -> Vec<Obstacle> {
    let (table, mut found) = (&image.table, Vec::new());
    if free_slot(table, &image.partitions).is_none() {
        let kind = if matches!(table.scheme, Scheme::Mbr { .. }) { "MBR" } else { "GPT" };
        found.push(obstacle(
            format!("all {} slots of the {kind} partition table are taken: there is none for the upper", table.slots),
            "use an image with fewer partitions",
        ));
    }
    let makes_way = placeholder(&image.partitions);
    for Partition { number, .. } in behind_root(table, image.root.partition).filter(|p| Some(p.number) != makes_way) {
        found.push(obstacle(
            format!("partition {number} lies behind root, where the upper goes, and burnonce leaves what it did not make alone"),
            format!("use an image with root as its last partition; on a node, `burnonce repartition --use {number}` gives this one up"),
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
        ).by(Who::Bake));
    }
    found.extend(kind_of_root(image));
    // One without a configuration is unsealed by the conversion.
    if root.sealed && matches!(image.findings.system.burnonce.configuration, Configuration::Complete(_)) {
        let remedy =
            "begin with the image as it was published: this one was read out of a card that burnonce had converted";
        found.push(obstacle("the root file system is sealed: no kernel mounts it for writing", remedy));
    }
    found
}

/// A root that is no ext4, or has no journal. tune2fs makes one of it, and needs no check for that.
fn kind_of_root(image: &Inspection) -> Option<Obstacle> {
    let number = image.root.partition;
    let name = image.partitions.iter().find(|held| held.number == number).map_or("ext4", Held::name);
    let begins = image.table.partitions.iter().find(|partition| partition.number == number);
    let start = begins.map_or(0, |found| partition::extent(&image.table, found).0);
    let remedy = |features| {
        format!(
            "run `tune2fs -O {features} 'COPY?offset={start}'` on a copy of the image, not packed, or use another one"
        )
    };
    if name != "ext4" {
        let what =
            format!("the root file system is an {name}, and is mounted as one on a node: burnonce takes only ext4");
        return Some(obstacle(what, remedy("has_journal,extents")));
    }
    (!image.root.journal).then(|| {
        let what = "the root file system has no journal: packages and an initramfs are written to it before burnonce converts, and a power cut \
                    in the midst of that damages it";
        obstacle(what, remedy("has_journal"))
    })
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
            let who = if grower.switch == Switch::Nothing { Who::Owner } else { Who::Bake };
            obstacle(format!("{} ({}) {effect}", grower.name, grower.place), grower.remedy.clone()).by(who)
        })
        .collect()
}

/// A line of /etc/fstab that leads to no partition of the image, or to the one that burnonce is to make.
fn fstab(image: &Inspection, mount: &Mount) -> Option<Obstacle> {
    let has = |option: &str| mount.options.split(',').any(|one| one == option);
    let Mount { source, directory, .. } = mount;
    let out = "take that line out in the root partition, or write `noauto` into its fourth field";
    // An initramfs mounts it whatever its options are.
    if directory.trim_end_matches('/') == "/usr" {
        let what = format!(
            "`{source}` in /etc/fstab has /usr on a file system of its own, into which an overlay over root does not reach"
        );
        return Some(obstacle(what, "use an image that has /usr in its root"));
    }
    if has("noauto") {
        return None;
    }
    if partition::is_upper(source, &image.table, image.free_slot) {
        let what =
            format!("`{source}` in /etc/fstab is what the upper will be called: it would be mounted on {directory}");
        return Some(obstacle(what, out));
    }
    if mount.target != Target::Nothing {
        return None;
    }
    if directory == "/" {
        let what = format!("`{source}` in /etc/fstab (/) names no partition of this image");
        return Some(obstacle(what, format!("let it name partition {}", image.root.partition)));
    }
    (!has("nofail")).then(|| {
        let what =
            format!("`{source}` in /etc/fstab ({directory}) names no partition of this image: a boot waits for it");
        obstacle(what, out)
    })
}

/// What installing burnonce has to do still.
fn installation(system: &System) -> Option<Obstacle> {
    let burnonce = &system.burnonce;
    let needs_overlayroot = system.generator != Generator::Dracut;
    if needs_overlayroot && burnonce.installed && !system.overlayroot.installed && !burnonce.brings("overlayroot") {
        let remedy = "install overlayroot in a chroot of the image; burnonce's package depends on it";
        return Some(
            obstacle("burnonce is in the image, and overlayroot is not: it would be refused", remedy).by(Who::Bake),
        );
    }
    if !burnonce.installed {
        let remedy = "let `burnonce bake` put it in; or install its package in a chroot of the image, which brings what it needs \
                      and makes the initramfs anew";
        return Some(obstacle("burnonce is not in the image", remedy).by(Who::Bake));
    }
    (!burnonce.armed).then(|| {
        let remedy = "run `systemctl enable burnonce.service` in a chroot of the image";
        obstacle(
            "burnonce is in the image, but burnonce.service is not enabled: the first boot converts nothing",
            remedy,
        )
        .by(Who::Bake)
    })
}

/// What the configuration says against converting.
pub fn convert(burnonce: &Burnonce) -> Option<Obstacle> {
    match &burnonce.convert {
        Convert::On => None,
        Convert::Off => Some(obstacle(
            "`convert: false` is in /etc/burnonce.yaml: no boot converts",
            "take that line out in the root partition",
        )),
        Convert::Mistake(mistake) => Some(obstacle(
            format!("with a mistake in its configuration burnonce converts nothing: {mistake}"),
            "correct that file in the root partition",
        )),
    }
}
