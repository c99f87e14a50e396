//! What the boot partition of an image holds: the kernel command lines, the initramfs, what a first boot reads. Pure: it looks at a
//! [`Tree`].

use super::config_txt::{self, Applies, Settings};
use super::partition::{Held, Target, named};
use super::tree::{Node, Tree, join};
use super::{initramfs, system::TEXT};
use crate::boot_files::{self, words};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeSet;

/// The directories that Ubuntu keeps two boots in, besides those that config.txt names.
const DIRECTORIES: [&str; 3] = ["", "current", "new"];
/// What cloud-init reads on the boot partition (its datasource NoCloud).
const SEED: [&str; 4] = ["user-data", "meta-data", "network-config", "vendor-data"];

/// So many files are looked into, and no more: a Raspberry Pi has one for each of its kernels, and as many of the boot before.
const MOST_INITRAMFS: usize = 16;

/// A boot partition; without one, root's own /boot, with paths that begin with a slash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// Its number.
    pub partition: u32,
    pub command_lines: Vec<CommandLine>,
    pub initramfs: Vec<Initramfs>,
    /// How many more there are, which were not looked into.
    pub more_initramfs: usize,
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
    /// config.txt names it under the filter of a board, say, or in a file that it includes.
    Sometimes,
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

/// An empty file of an initramfs in which `burnonce bake` has put a script that does nothing in the place of `script`.
pub fn switched_off(script: &str) -> String {
    format!("conf/burnonce-off-{}", script.replace('/', "-"))
}

/// The partition that a path of this module is on.
pub fn partition_of(path: &str) -> &'static str {
    if path.starts_with('/') { "root partition" } else { "boot partition" }
}

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
    let settings = config_txt::read(tree)?;
    let command_lines = command_lines(tree, &settings, partitions)?;
    let mut first_boot = Vec::new();
    for name in SEED.iter().chain(&boot_files::FILES) {
        if tree.has(name)? {
            first_boot.push((*name).to_owned());
        }
    }
    let (initramfs, more_initramfs) = looked_into(tree, initramfs_paths(tree, &settings)?);
    Ok(Boot { partition, command_lines, initramfs, more_initramfs, first_boot })
}

/// The command lines that config.txt names, and those in the usual places.
fn command_lines(tree: &dyn Tree, settings: &Settings, partitions: &[Held]) -> Result<Vec<CommandLine>> {
    let name = settings.last(Applies::Always, "cmdline").unwrap_or("cmdline.txt");
    let mut named_ones = vec![(prefixed(tree, settings.last(Applies::Always, "os_prefix"), name)?, Used::Always)];
    let tried = [settings.last(Applies::Tried, "os_prefix"), settings.last(Applies::Tried, "cmdline")];
    if tried.iter().any(Option::is_some) {
        let prefix = tried[0].or(settings.last(Applies::Always, "os_prefix"));
        named_ones.push((prefixed(tree, prefix, tried[1].unwrap_or(name))?, Used::Tried));
    }
    for (prefix, name) in sometimes(settings, name) {
        named_ones.push((prefixed(tree, Some(prefix), name)?, Used::Sometimes));
    }
    let usual = DIRECTORIES.iter().map(|directory| (join(directory, name), Used::Never));
    let mut found: Vec<CommandLine> = Vec::new();
    for (path, used) in named_ones.into_iter().chain(usual) {
        if found.iter().any(|line| line.path == path) {
            continue;
        }
        if let Some(text) = tree.text(&path, TEXT)? {
            found.push(command_line(path, used, &text, partitions));
        }
    }
    Ok(found)
}

/// Each prefix with each name of a command line of which one is set for some boards only. `usual` is the name for all.
fn sometimes<'s>(settings: &'s Settings, usual: &'s str) -> Vec<(&'s str, &'s str)> {
    let some = |key| settings.all(&[Applies::Sometimes], key);
    let (some_prefixes, some_names) = (some("os_prefix"), some("cmdline"));
    let mut prefixes = settings.all(&Applies::ANY, "os_prefix");
    prefixes.insert("");
    let mut names = settings.all(&Applies::ANY, "cmdline");
    names.insert(usual);
    let pairs = prefixes.iter().flat_map(|prefix| names.iter().map(|name| (*prefix, *name)));
    pairs.filter(|(prefix, name)| some_prefixes.contains(prefix) || some_names.contains(name)).collect()
}

/// A command line, with where what it names as root leads.
pub fn command_line(path: String, used: Used, text: &str, partitions: &[Held]) -> CommandLine {
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

/// What is an initramfs by its name, or because config.txt names it so. Those that it names come first.
fn initramfs_paths(tree: &dyn Tree, settings: &Settings) -> Result<Vec<String>> {
    let prefixes = settings.all(&Applies::ANY, "os_prefix").into_iter();
    let directories: BTreeSet<&str> =
        DIRECTORIES.into_iter().chain(prefixes.map(|prefix| prefix.trim_matches('/'))).collect();
    let mut found: Vec<String> = Vec::new();
    for directory in &directories {
        found.extend(settings.initramfs().into_iter().map(|name| join(directory, name.trim_start_matches('/'))));
    }
    for directory in &directories {
        let names = tree.list(directory)?;
        found.extend(names.iter().filter(|name| is_initramfs(name)).map(|name| join(directory, name)));
    }
    files_of(tree, found)
}

/// Whether a file has the name of an initramfs; U-Boot's begins with a `u`.
pub fn is_initramfs(name: &str) -> bool {
    ["initrd", "initramfs", "uinitrd"].iter().any(|begin| name.to_lowercase().starts_with(begin))
}

/// Those of the paths at which a file is, each once.
pub fn files_of(tree: &dyn Tree, paths: impl IntoIterator<Item = String>) -> Result<Vec<String>> {
    let (mut known, mut files) = (BTreeSet::new(), Vec::new());
    for path in paths {
        if known.insert(path.to_lowercase()) && tree.link(&path)? == Some(Node::File) {
            files.push(path);
        }
    }
    Ok(files)
}

/// What is in the first of these initramfs, and how many more there are.
pub fn looked_into(tree: &dyn Tree, paths: Vec<String>) -> (Vec<Initramfs>, usize) {
    let more = paths.len().saturating_sub(MOST_INITRAMFS);
    (paths.into_iter().take(MOST_INITRAMFS).map(|path| one_initramfs(tree, path)).collect(), more)
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
            let is_on = |script: &&&str| has(&format!("scripts/{script}")) && !names.contains(&switched_off(script));
            let growers = GROWERS.iter().filter(is_on);
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
