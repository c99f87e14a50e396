//! What grows root over the card in a first boot, where it is, and whether it is switched off. Pure: it looks at [`Tree`]s.

use super::boot::{Boot, CommandLine, Used, partition_of};
use super::cloud;
use super::system::{Unit, is_mask, unit};
use super::tree::{Tree, join};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeSet;

/// Something that grows root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grower {
    /// What people call it: `cloud-init growpart`.
    pub name: String,
    /// Where it is.
    pub place: String,
    pub when: When,
    pub state: State,
    /// What makes its state so.
    pub why: String,
    /// How it is switched off; a sentence without its full stop.
    pub remedy: String,
    /// The same for who edits the image.
    #[serde(skip)]
    pub switch: Switch,
}

/// What switches a grower off in an image that is edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switch {
    /// Nothing is to be done, or burnonce's package does it.
    Nothing,
    /// These words are taken out of every command line on the boot partition that a boot can use.
    Words(Vec<String>),
    /// An empty file is made in the root partition.
    File(&'static str),
    /// This unit is masked.
    Mask(String),
    /// In each initramfs that has it, this script becomes one that does nothing.
    Script(&'static str),
}

/// When it grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Before anything of the root file system runs.
    Initramfs,
    /// Started by systemd, behind burnonce.service.
    Unit,
    /// By cloud-init, behind burnonce.service.
    CloudInit,
}

/// Whether it grows root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The first boot grows the root partition.
    Armed,
    /// Switched off.
    Disarmed,
    /// It grows the file system to the partition's end, and leaves the partition as it is.
    Harmless,
}

/// Where update-initramfs takes the scripts of an initramfs from.
pub const SCRIPTS: [&str; 2] = ["usr/share/initramfs-tools/scripts", "etc/initramfs-tools/scripts"];

/// A script of an initramfs that does nothing: what `burnonce bake` puts in the place of one that grows root.
pub const NOTHING: &[u8] = b"#!/bin/sh\n# Switched off by burnonce bake: it would grow root over the card.\nexit 0\n";

/// All the growers of an image.
///
/// # Errors
/// Something that is there cannot be read.
pub fn look(root: &dyn Tree, boot: Option<(&dyn Tree, &Boot)>) -> Result<Vec<Grower>> {
    let lines: &[CommandLine] = boot.map_or(&[], |(_, boot)| &boot.command_lines);
    let mut found = Vec::new();
    found.extend(first_boot_init(root, boot.map(|(_, boot)| boot), lines)?);
    found.extend(resize_word(root, boot.map(|(_, boot)| boot), lines)?);
    found.extend(initramfs_script(root, boot.map(|(_, boot)| boot), &RESIZE_ROOTFS)?);
    found.extend(initramfs_script(root, boot.map(|(_, boot)| boot), &GROWROOT)?);
    for known in &UNITS {
        found.extend(by_unit(root, known)?);
    }
    found.extend(repart(root)?);
    found.extend(cloud::look(root, boot.map(|(tree, _)| tree), lines)?);
    Ok(found)
}

/// The words that `is` finds on the command lines that a boot can use, each once, with the files that it is in.
fn on_lines(lines: &[CommandLine], is: impl Fn(&str) -> bool) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for line in lines.iter().filter(|line| line.used != Used::Never) {
        for word in line.words().into_iter().filter(|word| is(word)) {
            match found.iter_mut().find(|(known, _)| *known == word) {
                Some((_, paths)) if paths.split(" and ").any(|path| path == line.path) => {}
                Some((_, paths)) => *paths = format!("{paths} and {}", line.path),
                None => found.push((word, line.path.clone())),
            }
        }
    }
    found
}

/// Where these words are, and how they are taken out; `None` where there is none.
fn told(words: &[(&str, String)]) -> Option<(String, String)> {
    let each = |text: fn(&str, &str) -> String| words.iter().map(|(word, paths)| text(word, paths)).collect::<Vec<_>>();
    let place = each(|word, paths| format!("`{word}` in {paths}")).join(", ");
    let taken = each(|word, paths| format!("the word `{word}` out of {paths}")).join(", and ");
    let partition = partition_of(words.first().map_or("", |(_, paths)| paths));
    (!words.is_empty()).then(|| (place, format!("take {taken} on the {partition}")))
}

/// What is done about these words.
fn to_be_taken_out(words: &[(&str, String)]) -> Switch {
    match words {
        // Those in the root partition are parts of files of other forms.
        words if words.iter().any(|(_, paths)| paths.starts_with('/')) => Switch::Nothing,
        [] => Switch::Nothing,
        words => Switch::Words(words.iter().map(|(word, _)| (*word).to_owned()).collect()),
    }
}

/// What people call the first one.
pub const FIRST_BOOT: &str = "Raspberry Pi OS' first boot";

/// Raspberry Pi OS up to bookworm: a program in the place of init, and a script of the initramfs that acts wherever the command line has
/// the letters `firstboot` in it (raspberrypi-sys-mods, `local-premount/firstboot`).
fn first_boot_init(root: &dyn Tree, boot: Option<&Boot>, lines: &[CommandLine]) -> Result<Option<Grower>> {
    const PROGRAMS: [&str; 2] = ["usr/lib/raspberrypi-sys-mods/firstboot", "usr/lib/raspi-config/init_resize.sh"];
    let script = script_place(root, boot, "local-premount/firstboot")?;
    let is_program =
        |word: &str| word.strip_prefix("init=").is_some_and(|init| PROGRAMS.contains(&init.trim_start_matches('/')));
    let words = on_lines(lines, |word| is_program(word) || (script.is_some() && word.contains("firstboot")));
    let program = root.first_of(&PROGRAMS)?.map(|program| format!("/{program}"));
    let grower = |place: String, state, why: String, remedy: String| Grower {
        name: FIRST_BOOT.to_owned(),
        place,
        when: When::Initramfs,
        state,
        why,
        remedy,
        switch: to_be_taken_out(&words),
    };
    let why = if script.is_some() && words.iter().any(|(word, _)| !is_program(word)) {
        "a script of the initramfs acts on any command line that has `firstboot` in it"
    } else {
        "the word is there"
    };
    Ok(match told(&words) {
        Some((place, remedy)) => Some(grower(place, State::Armed, why.to_owned(), remedy)),
        None => program.or(script).map(|place| {
            let why = "no command line asks for it";
            grower(place, State::Disarmed, why.to_owned(), "nothing is to be done".to_owned())
        }),
    })
}

/// Raspberry Pi OS from trixie on: a script of the initramfs that acts on any word that begins with `resize` (raspberrypi-sys-mods,
/// `local-premount/resize_early`). Where the script was not found, it is the bare word that stock images have.
fn resize_word(root: &dyn Tree, boot: Option<&Boot>, lines: &[CommandLine]) -> Result<Option<Grower>> {
    let script = script_place(root, boot, "local-premount/resize_early")?;
    let words = on_lines(lines, |word| word == "resize" || (script.is_some() && word.starts_with("resize")));
    let grower = |place: String, state, why: &str, remedy: String| Grower {
        name: "Raspberry Pi OS' resize_early".to_owned(),
        place,
        when: When::Initramfs,
        state,
        why: why.to_owned(),
        remedy,
        switch: to_be_taken_out(&words),
    };
    let why = if words.iter().any(|(word, _)| *word != "resize") {
        "a script of the initramfs acts on any word that begins with `resize`"
    } else {
        "the word is there"
    };
    Ok(match told(&words) {
        Some((place, remedy)) => Some(grower(place, State::Armed, why, remedy)),
        None => script.map(|place| {
            let why = "the word `resize` is on no command line";
            grower(place, State::Disarmed, why, "nothing is to be done".to_owned())
        }),
    })
}

/// Where a script for the initramfs is: in one on the boot partition, or in the root, from where the next one is made.
fn script_place(root: &dyn Tree, boot: Option<&Boot>, script: &str) -> Result<Option<String>> {
    let all = boot.map_or(&[][..], |boot| &boot.initramfs);
    if let Some(initramfs) = all.iter().find(|one| one.growers.iter().any(|found| found == script)) {
        return Ok(Some(format!("scripts/{script} in {} on the {}", initramfs.path, partition_of(&initramfs.path))));
    }
    for directory in SCRIPTS {
        let path = join(directory, script);
        // One byte more than that tells a longer one.
        let does_something = |start: Vec<u8>| start != NOTHING;
        if root.read(&path, NOTHING.len() as u64 + 1)?.is_some_and(does_something) {
            return Ok(Some(format!("/{path}")));
        }
    }
    Ok(None)
}

/// A script that the initramfs runs unasked.
struct Script {
    name: &'static str,
    script: &'static str,
    /// A file of the root with which it does nothing.
    switch: Option<&'static str>,
    remedy: &'static str,
}

/// Debian's images for the Raspberry Pi (image-specs) have it in the initramfs that they come with, and not in the root.
const RESIZE_ROOTFS: Script = Script {
    name: "Debian's rpi-resizerootfs",
    script: "local-bottom/rpi-resizerootfs",
    switch: None,
    remedy: "run `update-initramfs -u -k all` in a chroot of the image: it makes an initramfs without that script \
             (installing burnonce's package there does it, too)",
};

/// The package cloud-initramfs-growroot.
const GROWROOT: Script = Script {
    name: "cloud-initramfs-growroot",
    script: "local-bottom/growroot",
    switch: Some("etc/growroot-disabled"),
    remedy: "make an empty file /etc/growroot-disabled in the root partition",
};

fn initramfs_script(root: &dyn Tree, boot: Option<&Boot>, known: &Script) -> Result<Option<Grower>> {
    let Some(place) = script_place(root, boot, known.script)? else { return Ok(None) };
    let off = match known.switch {
        Some(switch) if root.has(switch)? => Some(switch),
        _ => None,
    };
    Ok(Some(Grower {
        name: known.name.to_owned(),
        place,
        when: When::Initramfs,
        state: if off.is_some() { State::Disarmed } else { State::Armed },
        why: off.map_or("the initramfs runs it in each boot".to_owned(), |switch| format!("/{switch} is there")),
        remedy: known.remedy.to_owned(),
        switch: match (off, known.switch) {
            (Some(_), _) => Switch::Nothing,
            (None, Some(file)) => Switch::File(file),
            (None, None) => Switch::Script(known.script),
        },
    }))
}

/// A unit that grows root.
struct GrowingUnit {
    unit: &'static str,
    name: &'static str,
    /// A file of the root with which it does nothing.
    switch: Option<&'static str>,
    /// It only fills the partition.
    fills: bool,
}

const UNITS: [GrowingUnit; 3] = [
    // It only pulls in systemd-growfs-root.service; the partition was grown in the initramfs (raspberrypi-sys-mods).
    GrowingUnit { unit: "rpi-resize.service", name: "Raspberry Pi OS' rpi-resize", switch: None, fills: true },
    GrowingUnit {
        unit: "armbian-resize-filesystem.service",
        name: "Armbian's resizing",
        switch: Some("root/.no_rootfs_resize"),
        fills: false,
    },
    GrowingUnit { unit: "resize2fs_once.service", name: "Raspberry Pi OS' resize2fs_once", switch: None, fills: true },
];

fn by_unit(root: &dyn Tree, known: &GrowingUnit) -> Result<Option<Grower>> {
    let mut unit = unit(root, known.unit)?;
    let mut place = known.unit.to_owned();
    let script = known.unit.trim_end_matches(".service");
    if unit == Unit::Missing && root.has(&format!("etc/init.d/{script}"))? {
        place = format!("/etc/init.d/{script}");
        unit = if is_started(root, script)? { Unit::Enabled } else { Unit::Disabled };
    }
    let off = match known.switch {
        Some(switch) if root.has(switch)? => Some(switch),
        _ => None,
    };
    let (state, why) = match (unit, off) {
        (Unit::Missing, _) => return Ok(None),
        (_, Some(switch)) => (State::Disarmed, format!("/{switch} is there")),
        (Unit::Masked, None) => (State::Disarmed, "it is masked".to_owned()),
        (Unit::Disabled, None) => (State::Disarmed, "it is not enabled".to_owned()),
        (Unit::Enabled, None) if known.fills => (State::Harmless, "it fills the partition that is there".to_owned()),
        (Unit::Enabled, None) => (State::Armed, "it is enabled".to_owned()),
    };
    let remedy = match known.switch {
        Some(switch) => format!("make an empty file /{switch} in the root partition"),
        // The presets that a first boot applies (systemd.preset(5)) can enable again what is only disabled.
        None => format!("run `systemctl mask {script}` in a chroot of the image"),
    };
    let switch = match (state, known.switch) {
        (State::Disarmed, _) => Switch::Nothing,
        (_, Some(file)) => Switch::File(file),
        // One that only fills the partition fails on an overlay, and the node is `degraded` for it.
        (_, None) => Switch::Mask(known.unit.to_owned()),
    };
    Ok(Some(Grower { name: known.name.to_owned(), place, when: When::Unit, state, why, remedy, switch }))
}

/// Whether a script of SysV is started in some runlevel.
fn is_started(root: &dyn Tree, script: &str) -> Result<bool> {
    for level in ["rc2.d", "rc3.d", "rc4.d", "rc5.d", "rcS.d"] {
        let names = root.list(&format!("etc/{level}"))?;
        if names.iter().any(|name| name.starts_with('S') && name.get(3..) == Some(script)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// systemd-repart, where there is a definition for it (repart.d(5)). Without one it does nothing.
fn repart(root: &dyn Tree) -> Result<Option<Grower>> {
    let Some(directory) = definitions(root)? else { return Ok(None) };
    let unit = unit(root, "systemd-repart.service")?;
    let (state, why) = match unit {
        Unit::Masked => (State::Disarmed, "its unit is masked"),
        Unit::Missing => (State::Disarmed, "its unit is not there"),
        // It is started by the initramfs as well.
        Unit::Disabled | Unit::Enabled => (State::Armed, "definitions are there"),
    };
    Ok(Some(Grower {
        name: "systemd-repart".to_owned(),
        place: format!("/{directory}"),
        when: When::Unit,
        state,
        why: why.to_owned(),
        remedy: format!(
            "take the files out of /{directory}, or run `systemctl mask systemd-repart` in a chroot of the image"
        ),
        switch: match state {
            State::Armed => Switch::Mask("systemd-repart.service".to_owned()),
            State::Disarmed | State::Harmless => Switch::Nothing,
        },
    }))
}

/// The first directory with a definition that counts: a file takes the place of one of the same name in a later directory.
fn definitions(root: &dyn Tree) -> Result<Option<&'static str>> {
    let mut masked = BTreeSet::new();
    for directory in ["etc/repart.d", "usr/local/lib/repart.d", "usr/lib/repart.d"] {
        for name in root.list(directory)?.into_iter().filter(|name| name.ends_with(".conf")) {
            if is_mask(root, &join(directory, &name))? {
                masked.insert(name);
            } else if !masked.contains(&name) {
                return Ok(Some(directory));
            }
        }
    }
    Ok(None)
}
