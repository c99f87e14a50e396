//! What `burnonce bake` does to an image: decisions only. Pure: it looks at [`Tree`]s, and changes nothing.
//!
//! What is in the image already is not put in again, so that an image that was baked has an empty plan.

use super::root::Attributes;
use crate::boot_files::words;
use crate::inspect::Inspection;
use crate::inspect::boot::{CommandLine, partition_of, switched_off};
use crate::inspect::growers::{FIRST_BOOT, Grower, NOTHING, SCRIPTS, State, Switch};
use crate::inspect::obstacles::Who;
use crate::inspect::system::{Distribution, TEXT, Unit, unit};
use crate::inspect::tree::{Node, Tree, join};
use crate::output::escaped;
use crate::text::paragraph;
use crate::units::Bytes;
use anyhow::Result;
use std::fmt;

mod agent;
mod edited;
mod extras;
pub(super) mod initramfs;
mod refused;

use refused::check_edited;
pub use refused::{Refusal, check};

/// The longest file that is compared with what is to be in its place, in bytes.
const LONGEST: u64 = 64 << 20;
/// Words that no command line of a burned image is to have, see docs/design.md.
const NEVER: [&str; 2] = ["rw", "ro"];
/// Columns of sentences.
const WIDTH: usize = 78;

/// What the owner wants in the image, read and checked.
#[derive(Debug, Default)]
pub struct Request {
    /// The packages that the first boot is to install.
    pub packages: Vec<Payload>,
    /// The files of burnonce's own package, where it is one of them: what runs until it is installed.
    pub agent: Vec<AgentFile>,
    /// `/etc/burnonce.yaml`.
    pub config: Option<Vec<u8>>,
    /// Files for the boot partition, for cloud-init: their names and what they hold.
    pub seed: Vec<(&'static str, Vec<u8>)>,
    /// Public SSH keys, each a line.
    pub keys: Vec<String>,
    /// Each node is named after the serial number of its board.
    pub hostname_from_serial: bool,
    /// So much longer the root partition is to be, however much it needs.
    pub grow: Option<Bytes>,
    /// What the image is, where it does not tell.
    pub distribution: Option<Distribution>,
}

/// A package to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    pub name: String,
    pub version: String,
    /// `burnonce_0.1.0_arm64.deb`.
    pub file_name: String,
    pub content: Vec<u8>,
    /// How much it takes when it is installed: each of its files in whole blocks, and one block for its name.
    pub unpacked: Bytes,
}

/// Something of burnonce's own package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentFile {
    /// From the root, without a leading slash: `usr/sbin/burnonce`.
    pub path: String,
    pub kind: AgentKind,
    pub attributes: Attributes,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentKind {
    Directory,
    File(Vec<u8>),
    Symlink(String),
}

/// What is to be done, and in that order.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// What cannot be told from an image, each a sentence.
    pub notes: Vec<String>,
    /// How much longer the root partition becomes. Whether that is needed is known when the steps are.
    pub grow: Option<Bytes>,
    /// That is for inodes, of which it has too few, and not for bytes.
    pub grows_for_inodes: bool,
    /// The first boot of a node makes a new initramfs.
    pub makes_initramfs: bool,
}

/// Some edits, and what they are for.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// A sentence without its full stop.
    pub text: String,
    pub edits: Vec<Edit>,
}

/// One change of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Edit {
    /// A directory in the root, with those above it.
    Directory { path: String, attributes: Attributes },
    /// A file in the root.
    File { path: String, content: Vec<u8>, attributes: Attributes },
    /// A symbolic link in the root.
    Link { path: String, target: String },
    /// A file in the root is removed.
    Remove { path: String },
    /// A file on the boot partition.
    Boot { path: String, content: Vec<u8> },
    /// Something behind what is in a file: on the boot partition, or in the root where the path begins with a slash.
    Append { path: String, content: Vec<u8> },
}

impl Edit {
    /// Whether it is one of the root.
    pub fn is_on_root(&self) -> bool {
        match self {
            Edit::Directory { .. } | Edit::File { .. } | Edit::Link { .. } | Edit::Remove { .. } => true,
            Edit::Append { path, .. } => path.starts_with('/'),
            Edit::Boot { .. } => false,
        }
    }
}

/// What of an image that is edited is looked at.
pub struct Image<'t> {
    pub seen: &'t Inspection,
    pub root: &'t dyn Tree,
    /// The boot partition, where there is one.
    pub boot: Option<&'t dyn Tree>,
}

/// Decides what is to be done to an image that [`check`] has nothing against.
///
/// # Errors
/// A [`Refusal`]; something of the image cannot be read.
pub fn plan(image: &Image, request: &Request) -> Result<Plan> {
    let mut steps = Vec::new();
    for grower in &image.seen.findings.growers {
        steps.extend(switch_off(image, grower)?);
    }
    steps.extend(command_lines(image)?);
    steps.extend(host_keys(image)?);
    steps.extend(agent::install(image.root, request)?);
    steps.extend(agent::arm(image.root, request)?);
    steps.extend(extras::configuration(image.root, request)?);
    steps.extend(extras::seed(image.boot, request)?);
    steps.extend(extras::keys(image, request)?);
    steps.extend(extras::hostname(image.root, request)?);
    check_edited(image, request, steps.iter().flat_map(|step| &step.edits))?;
    let unknown = image.seen.obstacles.iter().filter(|obstacle| obstacle.who == Who::Unknown);
    Ok(Plan {
        steps,
        notes: unknown.map(|obstacle| obstacle.found.clone()).collect(),
        grow: request.grow,
        grows_for_inodes: false,
        makes_initramfs: !request.packages.is_empty(),
    })
}

/// Attributes of what bake makes itself; the time is that of the package or of the run.
pub(super) fn made(mode: u16) -> Attributes {
    Attributes { mode, uid: 0, gid: 0, mtime: 0 }
}

/// Whether the file at `path` does not hold this.
fn differs(tree: &dyn Tree, path: &str, content: &[u8]) -> Result<bool> {
    Ok(tree.read(path, LONGEST)?.is_none_or(|found| found != content))
}

fn switch_off(image: &Image, grower: &Grower) -> Result<Option<Step>> {
    // Filling the partition that is there fails on an overlay, and is switched off, too.
    if grower.state == State::Disarmed {
        return Ok(None);
    }
    let step = |edits: Vec<Edit>, how: String| {
        (!edits.is_empty()).then(|| Step { text: format!("switch off {} ({})", grower.name, how), edits })
    };
    Ok(match &grower.switch {
        // Words are taken out with the others of the line.
        Switch::Nothing | Switch::Words(_) => None,
        Switch::File(path) => {
            let edit = Edit::File { path: (*path).to_owned(), content: Vec::new(), attributes: made(0o644) };
            step(vec![edit], format!("an empty file /{path}"))
        }
        Switch::Mask(unit) => {
            let path = format!("etc/systemd/system/{unit}");
            step(vec![Edit::Link { path, target: "/dev/null".to_owned() }], format!("{unit} is masked"))
        }
        Switch::Script(script) => step(scripts(image, script)?, format!("`{script}` does nothing any more")),
    })
}

/// Makes a script of the initramfs do nothing: in each one that has it, and where the next one is made from.
fn scripts(image: &Image, script: &str) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    let all = image.seen.findings.boot.iter().flat_map(|boot| &boot.initramfs);
    for one in all.filter(|one| one.growers.iter().any(|found| found == script)) {
        let content = initramfs::archive(script, &switched_off(script));
        edits.push(Edit::Append { path: one.path.clone(), content });
    }
    for directory in SCRIPTS {
        let path = join(directory, script);
        if image.root.has(&path)? && differs(image.root, &path, NOTHING)? {
            edits.push(Edit::File { path, content: NOTHING.to_vec(), attributes: made(0o755) });
        }
    }
    Ok(edits)
}

/// Takes words out of the command lines: of all of them, so that those of an image with two boots stay the same.
fn command_lines(image: &Image) -> Result<Vec<Step>> {
    let (Some(found), Some(tree)) = (&image.seen.findings.boot, image.boot) else { return Ok(Vec::new()) };
    let mut unwanted: Vec<(&str, Option<&str>)> = NEVER.map(|word| (word, None)).to_vec();
    for grower in &image.seen.findings.growers {
        if let Switch::Words(words) = &grower.switch {
            unwanted.extend(words.iter().map(|word| (word.as_str(), Some(grower.name.as_str()))));
        }
    }
    let mut steps = Vec::new();
    for CommandLine { path, .. } in found.command_lines.iter().filter(|line| !line.path.starts_with('/')) {
        let Some(text) = tree.text(path, TEXT)? else { continue };
        let (new, taken) = without(&text, |word| unwanted.iter().any(|(one, _)| *one == word));
        if taken.is_empty() {
            continue;
        }
        let mut named: Vec<String> = taken.iter().map(|word| format!("`{word}`")).collect();
        named.dedup();
        let growers: Vec<&str> = unwanted
            .iter()
            .filter(|(word, _)| taken.iter().any(|one| one == word))
            .filter_map(|(_, name)| *name)
            .collect();
        let why =
            if growers.is_empty() { String::new() } else { format!(", which asks for {}", growers.join(" and ")) };
        let text = format!("take {} out of {path} on the {}{why}", named.join(" and "), partition_of(path));
        steps.push(Step { text, edits: vec![Edit::Boot { path: path.clone(), content: new.into_bytes() }] });
    }
    Ok(steps)
}

/// What Raspberry Pi OS' first boot does besides growing root, and a service of its own can do: it makes the SSH host keys, which are not
/// in the image (raspberrypi-sys-mods, `firstboot` and `regenerate_ssh_host_keys.service`).
fn host_keys(image: &Image) -> Result<Option<Step>> {
    const SERVICE: &str = "regenerate_ssh_host_keys.service";
    let growers = &image.seen.findings.growers;
    let is_taken_out = growers.iter().any(|grower| grower.name == FIRST_BOOT && grower.state == State::Armed);
    if !is_taken_out || unit(image.root, SERVICE)? != Unit::Disabled {
        return Ok(None);
    }
    let edits = agent::enable(image.root, SERVICE, None)?;
    let text = format!("enable {SERVICE}, which makes the SSH host keys in the place of that first boot");
    Ok((!edits.is_empty()).then_some(Step { text, edits }))
}

/// A command line without some of its words, and these. What is behind the first line stays: the firmware does not read it.
fn without(text: &str, is_unwanted: impl Fn(&str) -> bool) -> (String, Vec<String>) {
    let (line, rest) = text.split_at(text.find('\n').unwrap_or(text.len()));
    let (taken, left): (Vec<&str>, Vec<&str>) = words(line).into_iter().partition(|word| is_unwanted(word));
    if taken.is_empty() {
        return (text.to_owned(), Vec::new());
    }
    (left.join(" ") + rest, taken.into_iter().map(str::to_owned).collect())
}

/// Whether there is a link to `target`.
fn links(tree: &dyn Tree, path: &str, target: &str) -> Result<bool> {
    Ok(tree.link(path)? == Some(Node::Link(target.to_owned())))
}

impl Plan {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.grow.is_none()
    }

    /// All edits, in their order.
    pub fn edits(&self) -> impl Iterator<Item = &Edit> {
        self.steps.iter().flat_map(|step| &step.edits)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            writeln!(f, "This image is baked already: there is nothing to do.")?;
        } else {
            writeln!(f, "What is done to this image:")?;
        }
        let mut say = |mark: &str, text: &str| writeln!(f, "{}", paragraph(mark, &escaped(text), WIDTH));
        let why =
            if self.grows_for_inodes { ": too few inodes are free in it, and more come with more room" } else { "" };
        let grow = self.grow.map(|by| format!("make the image and its root partition longer, by {by}{why}"));
        let texts = grow.iter().chain(self.steps.iter().map(|step| &step.text));
        for (number, text) in (1..).zip(texts) {
            say(&format!("{number:>3}. "), text)?;
        }
        self.notes.iter().try_for_each(|note| say("Note: ", note))
    }
}

#[cfg(test)]
mod tests;
