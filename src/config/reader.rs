//! Reads the YAML text: one visitor for every node, and the words for what is wrong with it.

use super::value::{allowed, clear, is_list, set};
use super::{Config, ConfigError, KEYS, position_after, wrong};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Reads every node of the text; the first mistake ends it.
pub(super) fn read(text: &str) -> Result<Config, ConfigError> {
    // The YAML parser refuses these, too, but without a position.
    if let Some(at) = text.find(|c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) {
        let (line, column) = position_after(&text[..at]);
        return Err(wrong(line, column, "not text: a control character; remove it".to_owned()));
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

/// Puts the parser's position to our complaint, or to the parser's own where the text is not YAML.
fn locate(text: &str, error: &serde_yaml::Error, complaint: Option<String>) -> ConfigError {
    let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
    if complaint.as_deref() == Some(SECOND_DOCUMENT) {
        // The parser gives the place of its content.
        let begin = text.lines().take(line).collect::<Vec<_>>().iter().rposition(|line| line.starts_with("---"));
        return wrong(begin.map_or(line, |index| index + 1), 1, SECOND_DOCUMENT.to_owned());
    }
    let message = complaint.unwrap_or_else(|| {
        let said = error.to_string().replacen(&format!(" at line {line} column {column}"), "", 1);
        let here = text.lines().nth(line - 1).and_then(|line| line.chars().nth(column - 1));
        let hint = if here == Some('\t') { " (YAML allows no tab here; use spaces)" } else { "" };
        format!("not YAML: {said}{hint}")
    });
    wrong(line, column, message)
}

/// What is said of a second document.
const SECOND_DOCUMENT: &str = "a second YAML document begins here; allowed: one";

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
    /// An element of a key's list.
    Element(&'static str),
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
            Place::Section(_) | Place::SecondDocument => {
                let hint = if text.contains(':') { " (a space belongs after the colon)" } else { "" };
                return self.misplaced(&format!("{}{hint}", quoted(text)));
            }
            Place::Name(section, seen) => judge_name(section, seen, text),
            Place::Value(name) if is_list(name) => return self.misplaced(&quoted(text)),
            Place::Value(name) | Place::Element(name) => set(&mut self.reader.config, name, text.trim()).map(|()| name),
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
            Place::Value(name) if is_list(name) => {
                format!("`{name}`: found {found} where a list belongs; allowed: {}", allowed(name))
            }
            Place::Value(name) | Place::Element(name) => {
                format!("`{name}`: found {found} where one value belongs; allowed: {}", allowed(name))
            }
            Place::SecondDocument => SECOND_DOCUMENT.to_owned(),
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
            Place::Name(..) | Place::Element(_) | Place::SecondDocument => self.misplaced("nothing"),
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

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<&'static str, A::Error> {
        let Place::Value(name) = self.place else { return self.misplaced("a list") };
        if !is_list(name) {
            return self.misplaced("a list");
        }
        clear(&mut self.reader.config, name);
        while list.next_element_seed(Spot { reader: &mut *self.reader, place: Place::Element(name) })?.is_some() {}
        Ok("")
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

/// The key that `text` is, in this section and after these.
fn judge_name(section: &'static str, seen: &[&str], text: &str) -> Result<&'static str, String> {
    let full = if section == TOP { quoted(text) } else { quoted(&format!("{section}.{text}")) };
    let names = names(section);
    match names.iter().find(|name| **name == text) {
        Some(name) if seen.contains(name) => Err(format!("key {full} is here a second time; allowed: once")),
        Some(name) => Ok(name),
        None => Err(format!("unknown key {full}; allowed here: {}{}", names.join(", "), key_hint(&names, text))),
    }
}

/// What an unknown key was probably meant to be: ` (did you mean ...)`, or nothing.
fn key_hint(names: &[&'static str], text: &str) -> String {
    for (section, last) in KEYS.iter().map(|key| split(key.name)).filter(|(section, _)| *section != TOP) {
        if text == last {
            return format!(" (`{last}` belongs under `{section}:`)");
        }
        if text.split_once('.') == Some((section, last)) {
            return format!(" (write `{section}:` and, indented on the next line, `{last}:`)");
        }
    }
    nearest(text, names).map_or(String::new(), |near| format!(" (did you mean `{near}`?)"))
}

/// A value as a message shows it: on one line, and not too much of it.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.trim_end().chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let more = if text.trim_end().chars().count() > 40 { "..." } else { "" };
    format!("`{shown}{more}`")
}

/// The candidate that says yes or no, where `text` does so in the words of YAML 1.1 or of another program.
pub(super) fn synonym(text: &str, candidates: &[&'static str]) -> Option<&'static str> {
    const YES: [&str; 7] = ["true", "yes", "y", "on", "1", "enabled", "auto"];
    const NO: [&str; 6] = ["false", "no", "n", "off", "0", "disabled"];
    let text = text.to_ascii_lowercase();
    let means = |word: &str| (YES.contains(&word), NO.contains(&word));
    candidates.iter().find(|candidate| means(&text) != (false, false) && means(candidate) == means(&text)).copied()
}

/// The candidate that differs from `text` in case, by an ending, or in so few letters that it was probably meant.
pub(super) fn nearest(text: &str, candidates: &[&'static str]) -> Option<&'static str> {
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
