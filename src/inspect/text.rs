//! What `burnonce inspect` prints.

use super::boot::{Boot, CommandLine, Used};
use super::growers::{Grower, State, When};
use super::obstacles::Who;
use super::packing::Packing;
use super::partition::Target;
use super::system::System;
use super::{Inspection, Mount, obstacles};
use crate::output::escaped;
use crate::overlay::{Configuration, Generator};
use crate::picture;
use crate::text::paragraph;
use std::fmt;

/// Columns of the picture and of sentences.
const WIDTH: usize = 78;

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = &self.findings.system;
        writeln!(f, "{}", self.heading())?;
        writeln!(f)?;
        f.write_str(&picture::draw(&self.card(), WIDTH))?;
        writeln!(f)?;
        let packing = match self.packing {
            Packing::None => format!("not packed, {}", self.length),
            packing => format!("packed by {packing}, {} unpacked", self.length),
        };
        line(f, "image", packing)?;
        line(f, "system", escaped(&system.name))?;
        line(f, "initramfs", generator(system.generator))?;
        line(f, "overlayroot", installed(system.overlayroot.installed, system.overlayroot.version.as_deref()))?;
        line(f, "burnonce", burnonce(system))?;
        let cloud_init = system.cloud_init.as_ref();
        let disabled = if cloud_init.is_some_and(|cloud_init| cloud_init.disabled) { ", disabled" } else { "" };
        let version = cloud_init.and_then(|cloud_init| cloud_init.version.as_deref());
        line(f, "cloud-init", installed(cloud_init.is_some(), version) + disabled)?;
        line(f, "root", self.root_line())?;
        let slot = match (obstacles::placeholder(&self.partitions), self.free_slot) {
            (Some(number), Some(slot)) => format!("{slot}, for the upper: partition {number} is a placeholder for it"),
            (None, Some(slot)) => format!("{slot} is free, for the upper"),
            (_, None) => "none is free".to_owned(),
        };
        line(f, "slot", slot)?;
        self.names(f)?;
        if let Some(boot) = &self.findings.boot {
            boot_lines(f, boot, system.generator)?;
        }
        self.findings.fstab.iter().try_for_each(|mount| line(f, "fstab", mount_line(mount)))?;
        growers(f, &self.findings.growers)?;
        self.obstacle_lines(f)
    }
}

/// A line with a name before it.
fn line(f: &mut fmt::Formatter<'_>, name: &str, text: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {name:<12} {text}")
}

/// A sentence behind a mark, broken into lines.
fn say(f: &mut fmt::Formatter<'_>, mark: &str, sentence: &str) -> fmt::Result {
    writeln!(f, "{}", paragraph(mark, &escaped(sentence), WIDTH))
}

/// `Raspberry Pi OS 12 bookworm, arm64`.
fn title(system: &System) -> String {
    let words = [Some(system.distribution.to_string()), system.version.clone(), system.codename.clone()];
    let words: Vec<String> = words.into_iter().flatten().map(escaped).collect();
    let rest = [system.release.clone(), system.architecture.clone()].into_iter().flatten().map(escaped);
    [words.join(" ")].into_iter().chain(rest).collect::<Vec<_>>().join(", ")
}

fn generator(generator: Generator) -> &'static str {
    match generator {
        Generator::InitramfsTools => "made by initramfs-tools",
        Generator::Dracut => "made by dracut",
        Generator::None => "neither initramfs-tools nor dracut is installed",
    }
}

fn installed(is: bool, version: Option<&str>) -> String {
    match (is, version) {
        (false, _) => "not installed".to_owned(),
        (true, None) => "installed".to_owned(),
        (true, Some(version)) => escaped(version),
    }
}

fn burnonce(system: &System) -> String {
    let burnonce = &system.burnonce;
    let armed = match (burnonce.installed, burnonce.armed) {
        _ if burnonce.brings("burnonce") => ", baked in: the first boot installs it and converts",
        (false, _) => "",
        (true, true) => ", armed: the first boot converts",
        (true, false) => ", not armed",
    };
    let converted = match burnonce.configuration {
        Configuration::Complete(_) => "; the card was converted",
        Configuration::Begun(_) => "; a conversion was begun",
        Configuration::Foreign { .. } => "; another overlay is configured",
        Configuration::Absent => "",
    };
    installed(burnonce.installed, burnonce.version.as_deref()) + armed + converted
}

fn boot_lines(f: &mut fmt::Formatter<'_>, boot: &Boot, generator: Generator) -> fmt::Result {
    boot.command_lines.iter().try_for_each(|command_line| command_line_lines(f, command_line))?;
    for initramfs in &boot.initramfs {
        let what = match &initramfs.unreadable {
            Some(why) => format!("cannot be looked into ({})", escaped(why)),
            None => {
                let has = |is: bool, what: &str| if is { format!("with {what}") } else { format!("without {what}") };
                let guard = has(initramfs.guard, "burnonce's guard");
                // dracut's has no overlayroot that would make an overlay.
                match generator {
                    Generator::Dracut => guard,
                    Generator::InitramfsTools | Generator::None => {
                        format!("{}, {guard}", has(initramfs.overlayroot, "overlayroot"))
                    }
                }
            }
        };
        line(f, "initramfs", format_args!("{}: {what}", escaped(&initramfs.path)))?;
    }
    if !boot.first_boot.is_empty() {
        line(f, "first boot", format_args!("reads {}", boot.first_boot.join(", ")))?;
    }
    Ok(())
}

fn command_line_lines(f: &mut fmt::Formatter<'_>, command_line: &CommandLine) -> fmt::Result {
    let used = match command_line.used {
        Used::Always => "",
        Used::Tried => " (in a boot that tries a new kernel)",
        Used::Sometimes => " (on some boards)",
        Used::Never => " (not in use)",
    };
    line(f, "kernel", format_args!("{}{used}: {}", escaped(&command_line.path), escaped(&command_line.text)))?;
    match &command_line.root {
        Some(root) => line(f, "", format_args!("root={} is {}", escaped(root), target(command_line.target))),
        None => line(f, "", "it names no root"),
    }
}

fn target(target: Target) -> String {
    match target {
        Target::Partition(number) => format!("partition {number}"),
        Target::Nothing => "NO partition of this image".to_owned(),
        Target::NotTold => "not a name that can be looked up in an image".to_owned(),
    }
}

fn mount_line(mount: &Mount) -> String {
    let Mount { source, directory, file_system, options, .. } = mount;
    let text = escaped(format!("{source} {directory} {file_system} {options}").trim_end());
    match mount.target {
        Target::NotTold => text,
        known => format!("{text} ({})", target(known)),
    }
}

fn growers(f: &mut fmt::Formatter<'_>, growers: &[Grower]) -> fmt::Result {
    if growers.is_empty() {
        return writeln!(f, "\nNothing was found that grows root in a first boot.");
    }
    writeln!(f, "\nWhat grows root in a first boot:")?;
    for grower in growers {
        let state = match grower.state {
            State::Armed => "ARMED",
            State::Disarmed => "off",
            State::Harmless => "harmless",
        };
        writeln!(f, "  {state:<9} {}: {}", grower.name, escaped(&grower.place))?;
        writeln!(f, "  {:<9} {}", "", escaped(&grower.why))?;
        // The others are among what stands in the way.
        if grower.state == State::Armed && grower.when == When::CloudInit {
            say(f, "            > ", &grower.remedy)?;
        }
    }
    Ok(())
}

impl Inspection {
    /// The image, and what is in it: `a.img: Raspberry Pi OS 12 bookworm, arm64`.
    pub fn heading(&self) -> String {
        format!("{}: {}", escaped(&self.image), title(&self.findings.system))
    }

    fn root_line(&self) -> String {
        let root = &self.root;
        let state = match (root.errors, root.clean) {
            (true, _) => "with errors",
            (false, true) => "clean",
            (false, false) => "not unmounted in order",
        };
        let sealed = if root.sealed { ", sealed" } else { "" };
        format!("partition {}: {} of {}, {state}{sealed}", root.partition, root.size, root.room)
    }

    /// How each partition can be named.
    fn names(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for held in &self.partitions {
            let names = [("LABEL", &held.label), ("UUID", &held.uuid), ("PARTUUID", &held.partuuid)];
            let names: Vec<String> =
                names.iter().filter_map(|(kind, name)| Some(format!("{kind}={}", escaped(name.as_ref()?)))).collect();
            line(f, &format!("partition {}", held.number), names.join(" "))?;
        }
        Ok(())
    }

    fn obstacle_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.obstacles.is_empty() {
            let text = "Nothing was found that stands in the way; `burnonce plan` on the node has the last word";
            writeln!(f)?;
            return say(f, "", text);
        }
        writeln!(f, "\nWhat stands in the way of burnonce on this image:")?;
        for (index, obstacle) in self.obstacles.iter().enumerate() {
            say(f, &format!("{:>3}. ", index + 1), &obstacle.found)?;
            say(f, "     > ", &obstacle.remedy)?;
        }
        let by_bake = self.obstacles.iter().filter(|obstacle| obstacle.who == Who::Bake).count();
        match (by_bake, self.obstacles.len()) {
            (0, _) => Ok(()),
            (some, all) if some == all => {
                writeln!(f)?;
                say(f, "", "`burnonce bake` takes all of that out of the way")
            }
            (some, _) => {
                writeln!(f)?;
                say(f, "", &format!("`burnonce bake` takes {some} of these out of the way"))
            }
        }
    }
}
