//! What the boot partition of an image holds: the kernel command lines, the initramfs, what a first boot reads. Pure: it looks at a
//! [`Tree`].

use super::partition::{Held, Target, named};
use super::tree::{Node, Tree, join};
use super::{initramfs, system::TEXT};
use crate::boot_files::{self, words};
use crate::boot_partition::{setting, setting_under};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeSet;

/// The directories that Ubuntu keeps two boots in, besides those that config.txt names.
const DIRECTORIES: [&str; 3] = ["", "current", "new"];
/// What cloud-init reads on the boot partition (its datasource NoCloud).
const SEED: [&str; 4] = ["user-data", "meta-data", "network-config", "vendor-data"];

/// So many files are looked into, and no more: a Raspberry Pi has one for each of its kernels, and as many of the boot before.
const MOST_INITRAMFS: usize = 16;

/// A boot partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// Its number.
    pub partition: u32,
    pub command_lines: Vec<CommandLine>,
    pub initramfs: Vec<Initramfs>,
    /// Files that cloud-init or a first boot of Raspberry Pi OS reads.
    pub first_boot: Vec<String>,
}

/// A file with a kernel command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandLine {
    /// Its path on the boot partition.
    pub path: String,
    pub used: Used,
    /// Its first line, which is the one that the firmware reads.
    pub text: String,
    /// What it names as root: `LABEL=writable`.
    pub root: Option<String>,
    /// Where that leads.
    pub target: Target,
}

/// When a command line is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Used {
    /// In a boot as usual.
    Always,
    /// In a boot that tries a new kernel (`tryboot`), and from then on where that goes well.
    Tried,
    /// config.txt does not name it.
    Never,
}

/// An initramfs on the boot partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Initramfs {
    /// Its path there.
    pub path: String,
    /// It has overlayroot.
    pub overlayroot: bool,
    /// It has burnonce's guard.
    pub guard: bool,
    /// The scripts in it that are growers: `local-bottom/growroot`.
    pub growers: Vec<String>,
    /// Why it could not be looked into.
    pub unreadable: Option<String>,
}

/// Scripts of an initramfs that grow root, by their places below `scripts/`.
pub const GROWERS: [&str; 4] = [
    "local-premount/resize_early",
    "local-premount/firstboot",
    "local-bottom/rpi-resizerootfs",
    "local-bottom/growroot",
];

impl CommandLine {
    /// Its words.
    pub fn words(&self) -> Vec<&str> {
        words(&self.text)
    }
}

/// What the boot partition with this number holds.
///
/// # Errors
/// Something that is there cannot be read. An initramfs that cannot be looked into is told as such.
pub fn look(tree: &dyn Tree, partition: u32, partitions: &[Held]) -> Result<Boot> {
    let config = tree.text("config.txt", TEXT)?.unwrap_or_default();
    let command_lines = command_lines(tree, &config, partitions)?;
    let mut first_boot = Vec::new();
    for name in SEED.iter().chain(&boot_files::FILES) {
        if tree.has(name)? {
            first_boot.push((*name).to_owned());
        }
    }
    Ok(Boot { partition, command_lines, initramfs: all_initramfs(tree, &config)?, first_boot })
}

/// The command lines that config.txt names, and those in the usual places.
fn command_lines(tree: &dyn Tree, config: &str, partitions: &[Held]) -> Result<Vec<CommandLine>> {
    let name = setting(config, "cmdline").unwrap_or("cmdline.txt");
    let always = prefixed(tree, setting(config, "os_prefix"), name)?;
    let tried = match setting_under(config, "[tryboot]", "os_prefix") {
        Some(prefix) => Some(prefixed(tree, Some(prefix), name)?),
        None => None,
    };
    let usual = DIRECTORIES.iter().map(|directory| join(directory, name));
    let named_ones = [(Some(always.clone()), Used::Always), (tried, Used::Tried)];
    let named_ones = named_ones.into_iter().filter_map(|(path, used)| Some((path?, used)));
    let mut found: Vec<CommandLine> = Vec::new();
    for (path, used) in named_ones.chain(usual.map(|path| (path, Used::Never))) {
        if found.iter().any(|line| line.path == path) {
            continue;
        }
        if let Some(text) = tree.text(&path, TEXT)? {
            found.push(command_line(path, used, &text, partitions));
        }
    }
    Ok(found)
}

fn command_line(path: String, used: Used, text: &str, partitions: &[Held]) -> CommandLine {
    let text = text.lines().next().unwrap_or_default().trim().to_owned();
    let root = words(&text).iter().rev().find_map(|word| word.strip_prefix("root=")).map(str::to_owned);
    let target = root.as_deref().map_or(Target::NotTold, |root| named(root, partitions));
    CommandLine { path, used, text, root, target }
}

/// The file under a prefix; the firmware ignores a prefix under which there is nothing.
fn prefixed(tree: &dyn Tree, prefix: Option<&str>, name: &str) -> Result<String> {
    let path = format!("{}{name}", prefix.unwrap_or_default());
    let path = path.trim_start_matches('/');
    Ok(if tree.has(path)? { path.to_owned() } else { name.to_owned() })
}

fn all_initramfs(tree: &dyn Tree, config: &str) -> Result<Vec<Initramfs>> {
    let prefixes = [setting(config, "os_prefix"), setting_under(config, "[tryboot]", "os_prefix")];
    let prefixes = prefixes.into_iter().flatten().map(|prefix| prefix.trim_matches('/'));
    let directories: BTreeSet<&str> = DIRECTORIES.into_iter().chain(prefixes).collect();
    let mut found = Vec::new();
    for directory in directories {
        for name in tree.list(directory)? {
            let path = join(directory, &name);
            let lower = name.to_lowercase();
            let is_one = ["initrd", "initramfs", "uinitrd"].iter().any(|begin| lower.starts_with(begin));
            if is_one && found.len() < MOST_INITRAMFS && tree.link(&path)? == Some(Node::File) {
                found.push(one_initramfs(tree, path));
            }
        }
    }
    Ok(found)
}

fn one_initramfs(tree: &dyn Tree, path: String) -> Initramfs {
    let names = tree.file(&path).and_then(|file| match file {
        Some(file) => initramfs::names(file),
        None => Ok(BTreeSet::new()),
    });
    match names {
        Err(error) => Initramfs {
            path,
            overlayroot: false,
            guard: false,
            growers: Vec::new(),
            unreadable: Some(format!("{error:#}")),
        },
        Ok(names) => {
            let has = |path: &str| names.contains(path) || names.contains(&format!("usr/{path}"));
            let growers = GROWERS.iter().filter(|script| has(&format!("scripts/{script}")));
            Initramfs {
                overlayroot: has("scripts/init-bottom/overlayroot"),
                guard: has("sbin/burnonce"),
                growers: growers.map(|script| (*script).to_owned()).collect(),
                path,
                unreadable: None,
            }
        }
    }
}
