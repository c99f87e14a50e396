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
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

mod keys;
mod reader;
#[cfg(test)]
mod tests;
mod value;

pub use value::pattern;

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
    pub repartition: RepartitionConfig,
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
    /// How much of it the partition takes.
    pub size: Size,
    /// Where the partition may start.
    pub align: Align,
}

/// How much of the free space the upper takes: never less than [`PartitionConfig::min`], never more than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// All of it.
    Rest,
    /// So much.
    Bytes(Bytes),
    /// So many hundredths of it, 1 to 100.
    Percent(u8),
}

/// A card whose upper cannot be used any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepartitionConfig {
    /// What becomes of an upper that reaches past the end of the card.
    pub truncated: Truncated,
}

/// What a boot does with an upper that reaches past the end of the card: a copy that a smaller card cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncated {
    /// It is left as it is, for the owner to copy what can be read.
    Keep,
    /// A new one that fits takes its place.
    Remake,
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

impl Default for Config {
    fn default() -> Config {
        Config {
            convert: true,
            partition: PartitionConfig { min: Bytes(512 * MIB), size: Size::Rest, align: Align::Auto },
            repartition: RepartitionConfig { truncated: Truncated::Keep },
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
    Ok(parse_bytes(&bytes).map_err(|error| ConfigError { path: path.to_owned(), ..error })?)
}

/// The configuration that the bytes of a file say. Pure.
///
/// # Errors
/// The first mistake in them.
pub fn parse_bytes(bytes: &[u8]) -> Result<Config, ConfigError> {
    decode(bytes).and_then(parse)
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
