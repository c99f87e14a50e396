//! The values of the keys, each read and judged.

use super::reader::{nearest, quoted, synonym};
use super::{Align, Config, KEYS, Led, OnFailure, ResetOn, SMALLEST_UPPER, Size, Truncated};
use crate::units::{Bytes, MIB};
use log::LevelFilter;

/// The most generations that can be kept for an undo.
const MOST_GENERATIONS: u32 = 9;

/// The allowed values of a key.
pub(super) fn allowed(name: &str) -> &'static str {
    KEYS.iter().find(|key| key.name == name).map_or("", |key| key.allowed)
}

/// Whether the value of a key is a list.
pub(super) fn is_list(name: &str) -> bool {
    KEYS.iter().any(|key| key.name == name && key.default.starts_with('['))
}

/// Empties a key whose value is a list, before its elements are [`set`].
pub(super) fn clear(config: &mut Config, name: &str) {
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

/// A length or a share, as `partition.size` takes it; `None`: it is neither, or too small.
fn size(text: &str) -> Option<Size> {
    if let Some(number) = text.strip_suffix('%') {
        let percent = number.trim_end().parse().ok().filter(|percent| (1..=100).contains(percent));
        return percent.map(Size::Percent);
    }
    text.parse().ok().filter(|&size| size >= SMALLEST_UPPER).map(Size::Bytes)
}

/// Sets the key of this dotted name; of one whose value is a list, adds an element.
///
/// # Errors
/// A sentence with the values that are allowed.
pub(super) fn set(config: &mut Config, name: &'static str, text: &str) -> Result<(), String> {
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
        ("partition.size", "rest") => config.partition.size = Size::Rest,
        ("partition.size", _) => match (size(text), text.parse::<Bytes>()) {
            (Some(size), _) => config.partition.size = size,
            (None, Ok(_)) => return no(&format!("{} is too small", quoted(text)), ""),
            (None, Err(_)) => return no_word(&["rest"]),
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
        ("repartition.truncated", "keep") => config.repartition.truncated = Truncated::Keep,
        ("repartition.truncated", "remake") => config.repartition.truncated = Truncated::Remake,
        ("repartition.truncated", _) => return no_word(&["keep", "remake"]),
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
