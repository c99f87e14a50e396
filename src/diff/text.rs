//! A change as a line of text.

use super::change::{Attributes, Change, Details, FileType, Owner, Pair, What};
use crate::output::escaped;
use crate::units::Bytes;
use std::collections::HashMap;
use std::fmt::Write;

/// Names of users and groups, each looked up once.
#[derive(Debug, Default)]
pub struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    /// `root:root`; in numbers, where there is no such user any more.
    fn of(&mut self, owner: Owner) -> String {
        use nix::unistd::{Gid, Group, Uid, User};
        let user = self.users.entry(owner.uid).or_insert_with(|| {
            let found = User::from_uid(Uid::from_raw(owner.uid)).ok().flatten();
            found.map_or_else(|| owner.uid.to_string(), |user| user.name)
        });
        let group = self.groups.entry(owner.gid).or_insert_with(|| {
            let found = Group::from_gid(Gid::from_raw(owner.gid)).ok().flatten();
            found.map_or_else(|| owner.gid.to_string(), |group| group.name)
        });
        format!("{user}:{group}")
    }
}

/// How a line looks.
#[derive(Debug, Default)]
pub struct Style {
    /// With the colours of a terminal.
    pub colour: bool,
    pub names: Names,
}

impl Style {
    /// `M /etc/fstab  [package]  (mode 644 -> 600)` and a line break. The path of a directory ends with `/`.
    pub fn line(&mut self, change: &Change, package: Option<Option<&str>>) -> String {
        let is_directory = change.file_type == FileType::Directory && change.path.file_name().is_some();
        let slash = if is_directory { "/" } else { "" };
        let mut line = format!("{} {}{slash}", change.what.letter(), escaped(&change.path));
        if self.colour {
            line = format!("\x1b[{}m{line}\x1b[0m", colour(change.what));
        }
        if let Some(owner) = package {
            let _ = write!(line, "  [{}]", owner.unwrap_or("local"));
        }
        let details = self.details(&change.details);
        if !details.is_empty() {
            let _ = write!(line, "  ({})", details.join(", "));
        }
        line + "\n"
    }

    /// What differs, each in a few words.
    fn details(&mut self, details: &Details) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(Pair { from, to }) = details.file_type {
            words.push(format!("type {} -> {}", from.name(), to.name()));
        }
        words.extend(details.renamed_from.as_ref().map(|from| format!("renamed from {}", escaped(from))));
        words.extend(details.mode.as_ref().map(|Pair { from, to }| format!("mode {from:03o} -> {to:03o}")));
        if let Some(Pair { from, to }) = details.owner {
            words.push(format!("owner {} -> {}", self.names.of(from), self.names.of(to)));
        }
        words.extend(details.content.as_ref().map(content));
        let link =
            |Pair { from, to }: &Pair<std::path::PathBuf>| format!("target {} -> {}", escaped(from), escaped(to));
        words.extend(details.target.as_ref().map(link));
        words.extend(details.device.as_ref().map(|Pair { from, to }| format!("device {from} -> {to}")));
        words.extend(details.xattrs.iter().flat_map(attributes));
        words.extend(details.touched.then(|| "time".to_owned()));
        words
    }
}

fn content(lengths: &Pair<u64>) -> String {
    let (from, to) = (Bytes(lengths.from).to_string(), Bytes(lengths.to).to_string());
    match lengths {
        _ if from != to => format!("content {from} -> {to}"),
        Pair { from, to } if from != to => format!("content {from} bytes -> {to} bytes"),
        _ => format!("content, still {to}"),
    }
}

fn attributes(of: &Attributes) -> Vec<String> {
    let each = |names: &[String], what: &'static str| -> Vec<String> {
        names.iter().map(|name| format!("xattr {} {what}", escaped(name))).collect()
    };
    [each(&of.added, "added"), each(&of.removed, "removed"), each(&of.changed, "changed")].concat()
}

/// Parameter of the escape sequence "select graphic rendition" (ECMA-48): green, yellow, red, magenta.
fn colour(what: What) -> u8 {
    match what {
        What::Added => 32,
        What::Modified => 33,
        What::Deleted => 31,
        What::Replaced => 35,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn a_line_says_what_differs() {
        let path = PathBuf::from("/etc/x");
        let (what, file_type) = (What::Modified, FileType::File);
        let owner = |uid, gid| Owner { uid, gid };
        let details = Details {
            mode: Pair::unequal(0o644, 0o4600),
            owner: Pair::unequal(owner(4_000_000_000, 0), owner(0, 4_000_000_001)),
            content: Some(Pair { from: 1229, to: 3072 }),
            xattrs: Some(Attributes { changed: vec!["user.a".to_owned()], ..Attributes::default() }),
            ..Details::default()
        };
        let mut style = Style::default();
        let change = Change { path, what, file_type, details };
        let words = "mode 644 -> 4600, owner 4000000000:root -> root:4000000001, content 1.2 KiB -> 3 KiB, xattr user.a changed";
        assert_eq!(style.line(&change, None), format!("M /etc/x  ({words})\n"));
        assert_eq!(style.line(&change, Some(None)), format!("M /etc/x  [local]  ({words})\n"));
        style.colour = true;
        let change = Change { details: Details::default(), file_type: FileType::Directory, ..change };
        assert_eq!(style.line(&change, Some(Some("bash"))), "\x1b[33mM /etc/x/\x1b[0m  [bash]\n");
    }

    #[test]
    fn lengths_are_told_apart_where_they_read_alike() {
        for (from, to, words) in [
            (1000, 3000, "content 1000 bytes -> 2.9 KiB"),
            (5, 5, "content, still 5 bytes"),
            (1 << 20, (1 << 20) + 1, "content 1048576 bytes -> 1048577 bytes"),
        ] {
            assert_eq!(content(&Pair { from, to }), words);
        }
    }
}
