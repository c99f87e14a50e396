//! `/etc/burnonce.yaml`: every key is optional, every mistake is shown with its line, its column and what is allowed.
//!
//! [`KEYS`] is the whole format: the reader takes the names of sections and keys from it, the man page and the README are
//! checked against it. Positions are the YAML parser's own. serde's derive would report a duplicate key where its map begins,
//! so keys are judged one by one as they are read (`reader.rs`).

use crate::files;
use crate::units::{Bytes, MIB};
use anyhow::Context;
pub use keys::{KEYS, Key};
use log::LevelFilter;
use reader::{nearest, quoted, synonym};
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

mod keys;
mod reader;
#[cfg(test)]
mod tests;

/// Where the configuration is on a node.
pub const PATH: &str = "/etc/burnonce.yaml";

/// The longest configuration that is read, in bytes; a complete one with comments has about a thousand.
const LONGEST: usize = 16 << 10;

/// The smallest `partition.min`.
pub const SMALLEST_UPPER: Bytes = Bytes(64 * MIB);

/// What the owner can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether a boot may convert the card at all.
    pub convert: bool,
    pub partition: PartitionConfig,
    pub overlay: OverlayConfig,
    pub reset: ResetConfig,
    pub diff: DiffConfig,
    pub console: ConsoleConfig,
    pub log: LogConfig,
}

/// The upper partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionConfig {
    /// Free space that is too small for this is refused.
    pub min: Bytes,
    /// Where the partition may start.
    pub align: Align,
}

/// What the start of the upper partition is a multiple of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// 4 MiB, or the card's preferred erase size where that is larger.
    Auto,
    /// This power of two, 1 to 64 MiB.
    To(Bytes),
}

/// overlayroot's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayConfig {
    /// The file that is written into the lower; one of the two that overlayroot reads.
    pub conf: PathBuf,
    /// What a boot does whose upper cannot be used.
    pub on_failure: OnFailure,
    /// Whether kernel, firmware and initramfs packages are held on a node that runs on its overlay.
    pub hold: bool,
}

/// What a boot does whose upper cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It runs on an overlay in memory.
    Tmpfs,
    /// It runs on the image itself, which is then writable.
    Lower,
    /// It does not go on.
    Stop,
}

/// A reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetConfig {
    /// Absolute paths and globs: what they match goes over into the new generation.
    pub keep: Vec<String>,
    /// What resets a node at boot.
    pub on: Vec<ResetOn>,
    /// How many generations are kept for an undo.
    pub generations: u32,
}

/// What resets a node at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetOn {
    /// User-data on the boot partition that differs from what the generation booted with.
    UserData,
}

/// `burnonce diff`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffConfig {
    /// Absolute paths and globs: changes below them are counted, not listed.
    pub fold: Vec<String>,
}

/// What somebody beside the node sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleConfig {
    pub led: Led,
}

/// Whether the activity LED blinks during a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Led {
    /// Where there is one.
    Auto,
    Off,
}

/// What the log keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The least important messages that are kept; `-v` overrides it.
    pub level: LevelFilter,
}

/// What `burnonce diff` folds: what every boot, cloud-init and every use of apt change, and nobody wants to see. Not what tells how the
/// node was set up: the machine id, host keys, `/var/lib/dpkg/status`.
const FOLDED: [&str; 24] = [
    "/etc/*-",
    "/etc/.pwd.lock",
    "/etc/.updated",
    "/etc/apt/preferences.d/burnonce",
    "/etc/fake-hwclock.data",
    "/etc/ld.so.cache",
    "/home/*/.cache",
    "/root/.cache",
    "/tmp",
    "/usr/**/__pycache__",
    "/var/.updated",
    "/var/backups",
    "/var/cache",
    "/var/lib/NetworkManager",
    "/var/lib/apt/lists",
    "/var/lib/apt/periodic",
    "/var/lib/cloud",
    "/var/lib/dpkg/*-old",
    "/var/lib/dpkg/info",
    "/var/lib/dpkg/triggers",
    "/var/lib/snapd",
    "/var/lib/systemd",
    "/var/log",
    "/var/tmp",
];

/// The most generations that can be kept for an undo.
const MOST_GENERATIONS: u32 = 9;

impl Default for Config {
    fn default() -> Config {
        Config {
            convert: true,
            partition: PartitionConfig { min: Bytes(512 * MIB), align: Align::Auto },
            overlay: OverlayConfig {
                conf: PathBuf::from("/etc/overlayroot.local.conf"),
                on_failure: OnFailure::Tmpfs,
                hold: true,
            },
            reset: ResetConfig { keep: Vec::new(), on: Vec::new(), generations: 1 },
            diff: DiffConfig { fold: FOLDED.map(str::to_owned).to_vec() },
            console: ConsoleConfig { led: Led::Auto },
            log: LogConfig { level: LevelFilter::Info },
        }
    }
}

/// A mistake in the file: where it is and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, [`PATH`] unless [`load`] was given another.
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// One sentence, with the allowed keys or values.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.path.display(), self.line, self.column, self.message)
    }
}

impl std::error::Error for ConfigError {}

/// The configuration of the machine at `root`: what reading its file gave, and what to go by, which is the default where the file
/// cannot be used.
pub fn of(root: &Path) -> (anyhow::Result<Config>, Config) {
    let loaded = load(&files::below(root, PATH));
    let config = loaded.as_ref().cloned().unwrap_or_default();
    (loaded, config)
}

/// Reads the configuration. A file that is missing, empty, or nothing but comments gives the defaults.
///
/// # Errors
/// A [`ConfigError`] (it can be downcast), or the file could not be read.
pub fn load(path: &Path) -> anyhow::Result<Config> {
    let reading = || format!("reading {}", path.display());
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Config::default()),
        opened => opened.with_context(reading)?,
    };
    let mut bytes = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut bytes).with_context(reading)?;
    Ok(decode(&bytes).and_then(parse).map_err(|error| ConfigError { path: path.to_owned(), ..error })?)
}

/// The text of the file.
fn decode(bytes: &[u8]) -> Result<&str, ConfigError> {
    if bytes.len() > LONGEST {
        return Err(too_long());
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let sound = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let (line, column) = position_after(&String::from_utf8_lossy(sound));
        wrong(line, column, "not UTF-8 text; save the file as UTF-8".to_owned())
    })
}

/// Line and column of what follows this text.
fn position_after(text: &str) -> (usize, usize) {
    let last = text.rsplit('\n').next().unwrap_or_default();
    (text.matches('\n').count() + 1, last.chars().count() + 1)
}

/// The configuration that this text says. Pure.
///
/// # Errors
/// The first mistake in the text.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    if text.len() > LONGEST {
        return Err(too_long());
    }
    reader::read(text)
}

fn too_long() -> ConfigError {
    wrong(1, 1, format!("longer than {}; no configuration needs that", Bytes(LONGEST as u64)))
}

/// A mistake in the file at [`PATH`].
fn wrong(line: usize, column: usize, message: String) -> ConfigError {
    ConfigError { path: PathBuf::from(PATH), line, column, message }
}

/// The allowed values of a key.
fn allowed(name: &str) -> &'static str {
    KEYS.iter().find(|key| key.name == name).map_or("", |key| key.allowed)
}

/// Whether the value of a key is a list.
fn is_list(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name && key.default.starts_with('['))
}

/// Empties a key whose value is a list, before its elements are [`set`].
fn clear(config: &mut Config, name: &str) {
    match name {
        "reset.keep" => config.reset.keep.clear(),
        "reset.on" => config.reset.on.clear(),
        "diff.fold" => config.diff.fold.clear(),
        _ => {}
    }
}

/// A path or glob, as `reset.keep` and `--keep` take it: absolute, without `.` and `..`, and not all of root.
///
/// # Errors
/// What is wrong with it.
pub fn pattern(text: &str) -> Result<String, String> {
    let trimmed = text.trim_end_matches('/');
    let wrong = |what: &str| Err(format!("{} {what}", quoted(text)));
    match trimmed {
        "" => return wrong("is all of root, or nothing"),
        _ if !trimmed.starts_with('/') => return wrong("is no absolute path"),
        _ if trimmed.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) => {
            return wrong("has an empty part, `.` or `..` in it");
        }
        _ => {}
    }
    match glob::Pattern::new(trimmed) {
        Ok(_) => Ok(trimmed.to_owned()),
        Err(error) => wrong(&format!("is no glob ({error})")),
    }
}

/// Sets the key of this dotted name; of one whose value is a list, adds an element.
///
/// # Errors
/// A sentence with the values that are allowed.
fn set(config: &mut Config, name: &'static str, text: &str) -> Result<(), String> {
    let no = |why: &str, hint: &str| Err(format!("`{name}`: {why}; allowed: {}{hint}", allowed(name)));
    let no_word = |words: &[&'static str]| {
        let near = synonym(text, words).or_else(|| nearest(text, words));
        let hint = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
        no(&format!("{} is not allowed", quoted(text)), &hint)
    };
    match (name, text) {
        ("convert", "true") => config.convert = true,
        ("convert", "false") => config.convert = false,
        ("convert", _) => return no_word(&["true", "false"]),
        ("partition.min", _) => match text.parse::<Bytes>() {
            Ok(size) if size >= SMALLEST_UPPER => config.partition.min = size,
            Ok(_) => return no(&format!("{} is too small", quoted(text)), ""),
            Err(_) => return no(&format!("{} is not a size", quoted(text)), ""),
        },
        ("partition.align", "auto") => config.partition.align = Align::Auto,
        ("partition.align", _) => match text.parse::<Bytes>() {
            Ok(Bytes(size)) if size.is_power_of_two() && (MIB..=64 * MIB).contains(&size) => {
                config.partition.align = Align::To(Bytes(size));
            }
            Ok(Bytes(size)) => {
                let what = match size {
                    _ if !size.is_power_of_two() => "not a power of two",
                    0..MIB => "too small",
                    _ => "too large",
                };
                return no(&format!("{} is {what}", quoted(text)), "");
            }
            Err(_) => return no_word(&["auto"]),
        },
        ("overlay.conf", "/etc/overlayroot.local.conf" | "/etc/overlayroot.conf") => config.overlay.conf = text.into(),
        ("overlay.conf", _) => return no_word(&["/etc/overlayroot.local.conf", "/etc/overlayroot.conf"]),
        ("overlay.on_failure", "tmpfs") => config.overlay.on_failure = OnFailure::Tmpfs,
        ("overlay.on_failure", "lower") => config.overlay.on_failure = OnFailure::Lower,
        ("overlay.on_failure", "stop") => config.overlay.on_failure = OnFailure::Stop,
        ("overlay.on_failure", _) => return no_word(&["tmpfs", "lower", "stop"]),
        ("overlay.hold", "true") => config.overlay.hold = true,
        ("overlay.hold", "false") => config.overlay.hold = false,
        ("overlay.hold", _) => return no_word(&["true", "false"]),
        ("reset.keep" | "diff.fold", _) => match pattern(text) {
            Ok(pattern) if name == "reset.keep" => config.reset.keep.push(pattern),
            Ok(pattern) => config.diff.fold.push(pattern),
            Err(why) => return no(&why, ""),
        },
        ("reset.on", "user-data") => config.reset.on.push(ResetOn::UserData),
        ("reset.on", _) => return no_word(&["user-data"]),
        ("reset.generations", _) => match text.parse::<u32>() {
            Ok(number) if number <= MOST_GENERATIONS => config.reset.generations = number,
            _ => return no(&format!("{} is not one of these numbers", quoted(text)), ""),
        },
        ("console.led", "auto") => config.console.led = Led::Auto,
        ("console.led", "off") => config.console.led = Led::Off,
        ("console.led", _) => return no_word(&["auto", "off"]),
        ("log.level", "error") => config.log.level = LevelFilter::Error,
        ("log.level", "warn") => config.log.level = LevelFilter::Warn,
        ("log.level", "info") => config.log.level = LevelFilter::Info,
        ("log.level", "debug") => config.log.level = LevelFilter::Debug,
        ("log.level", _) => return no_word(&["error", "warn", "info", "debug"]),
        _ => return no("has no meaning yet", ""),
    }
    Ok(())
}
