//! `/etc/burnonce.yaml`: every key is optional, every mistake is shown with its line, its column and what is allowed.
//!
//! [`KEYS`] is the whole format: the reader takes the names of sections and keys from it, the man page and the README are
//! checked against it. Positions are the YAML parser's own. serde's derive would report a duplicate key where its map begins,
//! so keys are judged one by one as they are read ([`Spot`]).

use crate::units::{Bytes, MIB};
use anyhow::Context;
use log::LevelFilter;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Where the configuration is on a node.
pub const PATH: &str = "/etc/burnonce.yaml";

/// The longest configuration that is read, in bytes; a complete one with comments has about a thousand.
const LONGEST: usize = 64 << 10;

/// The smallest `partition.min`.
const SMALLEST_UPPER: Bytes = Bytes(64 * MIB);

/// What the owner can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether a boot may convert the card at all.
    pub convert: bool,
    pub partition: PartitionConfig,
    pub overlay: OverlayConfig,
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

impl Default for Config {
    fn default() -> Config {
        Config {
            convert: true,
            partition: PartitionConfig { min: Bytes(512 * MIB), align: Align::Auto },
            overlay: OverlayConfig { conf: PathBuf::from("/etc/overlayroot.local.conf") },
            console: ConsoleConfig { led: Led::Auto },
            log: LogConfig { level: LevelFilter::Info },
        }
    }
}

/// One key of the file, as the man page and the README show it.
#[derive(Debug)]
pub struct Key {
    /// Dotted: `partition.min` is `min` under `partition:`.
    pub name: &'static str,
    pub default: &'static str,
    /// The values that are allowed: words separated by `, `, or a description.
    pub allowed: &'static str,
    pub meaning: &'static str,
}

/// Every key there is, in the order of the man page.
pub const KEYS: &[Key] = &[
    Key {
        name: "convert",
        default: "true",
        allowed: "true, false",
        meaning: "whether a boot may convert the card; false leaves an unconverted card as it is",
    },
    Key {
        name: "partition.min",
        default: "512 MiB",
        allowed: "a size of at least 64 MiB, for example `2 GiB`",
        meaning: "the least free space that is worth an upper partition; with less, the card is left as it is",
    },
    Key {
        name: "partition.align",
        default: "auto",
        allowed: "auto, or a power of two from `1 MiB` to `64 MiB`",
        meaning: "what the start of the upper partition is a multiple of; auto is 4 MiB, or the card's preferred erase size where \
                  that is larger",
    },
    Key {
        name: "overlay.conf",
        default: "/etc/overlayroot.local.conf",
        allowed: "/etc/overlayroot.local.conf, /etc/overlayroot.conf",
        meaning: "the file of overlayroot that is written into the lower",
    },
    Key {
        name: "console.led",
        default: "auto",
        allowed: "auto, off",
        meaning: "whether the activity LED, where there is one, blinks during a conversion",
    },
    Key {
        name: "log.level",
        default: "info",
        allowed: "error, warn, info, debug",
        meaning: "the least important messages that the journal gets; -v on the command line overrides it",
    },
];

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
    std::str::from_utf8(bytes).map_err(|error| {
        let sound = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = sound.lines().count().max(1) + usize::from(sound.ends_with('\n') && !sound.is_empty());
        let column = sound.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        wrong(line, column, "not UTF-8 text; save the file as UTF-8".to_owned())
    })
}

/// The configuration that this text says. Pure.
///
/// # Errors
/// The first mistake in the text.
pub fn parse(text: &str) -> Result<Config, ConfigError> {
    if text.len() > LONGEST {
        return Err(wrong(1, 1, format!("longer than {}; no configuration is", Bytes(LONGEST as u64))));
    }
    let mut reader = Reader { config: Config::default(), complaint: None };
    for (index, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let place = if index == 0 { Place::Section(TOP) } else { Place::SecondDocument };
        let spot = Spot { reader: &mut reader, place };
        if let Err(error) = spot.deserialize(document) {
            return Err(locate(text, &error, reader.complaint));
        }
    }
    Ok(reader.config)
}

/// A mistake in the file at [`PATH`].
fn wrong(line: usize, column: usize, message: String) -> ConfigError {
    ConfigError { path: PathBuf::from(PATH), line, column, message }
}

/// Puts the parser's position to our complaint, or to the parser's own where the text is not YAML.
fn locate(text: &str, error: &serde_yaml::Error, complaint: Option<String>) -> ConfigError {
    let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
    let message = complaint.unwrap_or_else(|| {
        let said = error.to_string().replacen(&format!(" at line {line} column {column}"), "", 1);
        let before: String = text.lines().nth(line - 1).unwrap_or_default().chars().take(column).collect();
        let hint = if before.contains('\t') { " (YAML allows no tab here; use spaces)" } else { "" };
        format!("not YAML: {said}{hint}")
    });
    wrong(line, column, message)
}

/// The section of the keys that are in none.
const TOP: &str = "";

/// What has been read so far, and what is wrong with it.
struct Reader {
    config: Config,
    /// Says more than the parser's error, which adds the position.
    complaint: Option<String>,
}

/// Which node of the document is being read.
enum Place<'a> {
    /// The keys of a section.
    Section(&'static str),
    /// A key in a section, after these.
    Name(&'static str, &'a [&'static str]),
    /// The value of a key, by its dotted name.
    Value(&'static str),
    /// There can be only one.
    SecondDocument,
}

/// Reads one node. It asks for any type and judges what comes, for an error that arises here gets the node's own position.
/// Its value is the key that was read, at [`Place::Name`], and nothing elsewhere.
struct Spot<'a, 'b> {
    reader: &'a mut Reader,
    place: Place<'b>,
}

impl Spot<'_, '_> {
    /// Ends the reading with this complaint.
    fn refuse<E: serde::de::Error>(self, complaint: String) -> Result<&'static str, E> {
        self.reader.complaint = Some(complaint);
        Err(E::custom("refused"))
    }

    /// A number, a word, a quoted text.
    fn scalar<E: serde::de::Error>(self, text: &str) -> Result<&'static str, E> {
        let verdict = match self.place {
            Place::Section(_) | Place::SecondDocument => return self.misplaced(&format!("`{text}`")),
            Place::Name(section, seen) => judge_name(section, seen, text),
            Place::Value(name) => set(&mut self.reader.config, name, text).map(|()| name),
        };
        match verdict {
            Ok(name) => Ok(name),
            Err(complaint) => self.refuse(complaint),
        }
    }

    /// Something of the wrong shape.
    fn misplaced<E: serde::de::Error>(self, found: &str) -> Result<&'static str, E> {
        let complaint = match self.place {
            Place::Section(TOP) => format!("found {found} where keys belong; allowed here: {}", names(TOP).join(", ")),
            Place::Section(section) => {
                format!("`{section}`: found {found} where keys belong; allowed here: {}", names(section).join(", "))
            }
            Place::Name(section, _) => {
                format!("found {found} where a key belongs; allowed here: {}", names(section).join(", "))
            }
            Place::Value(name) => {
                format!("`{name}`: found {found} where one value belongs; allowed: {}", allowed(name))
            }
            Place::SecondDocument => "a second YAML document begins here; allowed: one".to_owned(),
        };
        self.refuse(complaint)
    }
}

impl<'de> DeserializeSeed<'de> for Spot<'_, '_> {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Spot<'_, '_> {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a configuration")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<&'static str, A::Error> {
        let Place::Section(section) = self.place else { return self.misplaced("keys") };
        let mut seen = Vec::new();
        while let Some(name) =
            map.next_key_seed(Spot { reader: &mut *self.reader, place: Place::Name(section, &seen) })?
        {
            seen.push(name);
            let place = match KEYS.iter().find(|key| split(key.name) == (section, name)) {
                Some(key) => Place::Value(key.name),
                None => Place::Section(name),
            };
            map.next_value_seed(Spot { reader: &mut *self.reader, place })?;
        }
        Ok("")
    }

    /// `partition:` with nothing after it: the default.
    fn visit_unit<E: serde::de::Error>(self) -> Result<&'static str, E> {
        match self.place {
            Place::Section(_) | Place::Value(_) => Ok(""),
            Place::Name(..) | Place::SecondDocument => self.misplaced("nothing"),
        }
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<&'static str, E> {
        self.visit_unit()
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<&'static str, E> {
        self.scalar(&value.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<&'static str, E> {
        self.scalar(&value.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<&'static str, E> {
        self.scalar(&value.to_string())
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<&'static str, E> {
        self.scalar(&value.to_string())
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<&'static str, E> {
        self.scalar(&value.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<&'static str, E> {
        self.scalar(&value.to_string())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<&'static str, E> {
        self.scalar(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<&'static str, A::Error> {
        self.misplaced("a list")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<&'static str, A::Error> {
        self.misplaced("a tag (`!`)")
    }
}

/// Section and last part of a dotted name.
fn split(name: &'static str) -> (&'static str, &'static str) {
    name.split_once('.').unwrap_or((TOP, name))
}

/// What may stand in a section, in the order of [`KEYS`]: its keys, and at the top the sections.
fn names(section: &str) -> Vec<&'static str> {
    let mut names = Vec::new();
    for (of, last) in KEYS.iter().map(|key| split(key.name)) {
        let name = if of == section { last } else { of };
        if (of == section || section == TOP) && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The allowed values of a key.
fn allowed(name: &str) -> &'static str {
    KEYS.iter().find(|key| key.name == name).map_or("", |key| key.allowed)
}

/// The key that `text` is, in this section and after these.
fn judge_name(section: &'static str, seen: &[&str], text: &str) -> Result<&'static str, String> {
    let full = if section == TOP { text.to_owned() } else { format!("{section}.{text}") };
    let names = names(section);
    match names.iter().find(|name| **name == text) {
        Some(name) if seen.contains(name) => Err(format!("key `{full}` is here a second time; allowed: once")),
        Some(name) => Ok(name),
        None => Err(format!("unknown key `{full}`; allowed here: {}{}", names.join(", "), key_hint(&names, text))),
    }
}

/// What an unknown key was probably meant to be: ` (did you mean …)`, or nothing.
fn key_hint(names: &[&'static str], text: &str) -> String {
    if let Some(near) = nearest(text, names) {
        return format!(" (did you mean `{near}`?)");
    }
    for (section, last) in KEYS.iter().map(|key| split(key.name)).filter(|(section, _)| *section != TOP) {
        if text == last {
            return format!(" (`{last}` belongs under `{section}:`)");
        }
        if text.split_once('.') == Some((section, last)) {
            return format!(" (write `{section}:` and, indented on the next line, `{last}:`)");
        }
    }
    String::new()
}

/// Sets the key of this dotted name.
///
/// # Errors
/// A sentence with the values that are allowed.
fn set(config: &mut Config, name: &'static str, text: &str) -> Result<(), String> {
    let no = |why: &str, hint: &str| Err(format!("`{name}`: {why}; allowed: {}{hint}", allowed(name)));
    let no_word = |words: &[&'static str]| {
        let near = nearest(text, words).or(if words.contains(&"true") { truth(text) } else { None });
        let hint = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
        no(&format!("`{text}` is not allowed"), &hint)
    };
    match (name, text) {
        ("convert", "true") => config.convert = true,
        ("convert", "false") => config.convert = false,
        ("convert", _) => return no_word(&["true", "false"]),
        ("partition.min", _) => match text.parse::<Bytes>() {
            Ok(size) if size >= SMALLEST_UPPER => config.partition.min = size,
            Ok(size) => return no(&format!("{size} is too small"), ""),
            Err(_) => return no(&format!("`{text}` is not a size"), ""),
        },
        ("partition.align", "auto") => config.partition.align = Align::Auto,
        ("partition.align", _) => match text.parse::<Bytes>() {
            Ok(Bytes(size)) if size.is_power_of_two() && (MIB..=64 * MIB).contains(&size) => {
                config.partition.align = Align::To(Bytes(size));
            }
            Ok(size) if !size.0.is_power_of_two() => return no(&format!("`{text}` is not a power of two"), ""),
            Ok(size) => return no(&format!("{size} is too {}", if size.0 < MIB { "small" } else { "large" }), ""),
            Err(_) => return no_word(&["auto"]),
        },
        ("overlay.conf", "/etc/overlayroot.local.conf" | "/etc/overlayroot.conf") => config.overlay.conf = text.into(),
        ("overlay.conf", _) => return no_word(&["/etc/overlayroot.local.conf", "/etc/overlayroot.conf"]),
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

/// What YAML 1.1 or another program would have called true or false.
fn truth(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "on" | "1" | "enabled" => Some("true"),
        "no" | "n" | "off" | "0" | "disabled" => Some("false"),
        _ => None,
    }
}

/// The candidate that differs from `text` in case, by an ending, or in so few letters that it was probably meant.
fn nearest(text: &str, candidates: &[&'static str]) -> Option<&'static str> {
    let text = text.to_lowercase();
    let tolerated = (text.chars().count() / 2).min(2);
    let begins = |a: &str, b: &str| a.len() > 1 && b.starts_with(a);
    candidates
        .iter()
        .map(|candidate| {
            let close = begins(&text, candidate) || begins(candidate, &text);
            (if close { 0 } else { edits(&text, candidate) }, *candidate)
        })
        .filter(|(distance, _)| *distance <= tolerated)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters must be added, dropped or changed to make one word of the other.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
