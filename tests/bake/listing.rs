//! All that an image holds, path by path, read by debugfs and mtools; and what has become different.

use crate::NOW;
use crate::common::{BOOT, said};
use crate::debs::MADE;
use crate::rows::ROOT;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tempfile::TempDir;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `file`, `directory` or `symlink`.
    kind: String,
    /// In octal, and `0:0`; empty on FAT.
    mode: String,
    owner: String,
    mtime: u64,
    /// What is in a file, or where a link leads.
    content: Vec<u8>,
    /// All that the file system says of it: its number, its times, where it is.
    whole: String,
}

pub type Listing = BTreeMap<String, Node>;

/// An image, path by path.
pub struct Held {
    pub boot: Listing,
    pub root: Listing,
}

/// Reads both file systems of an image, and has them judged by their checkers.
pub fn read(image: &Path) -> Held {
    let bytes = fs::read(image).unwrap();
    let boot = &bytes[BOOT as usize..ROOT as usize];
    sound(image, boot);
    Held { boot: of_fat(boot), root: of_ext4(image) }
}

/// Has both file systems checked.
fn sound(image: &Path, boot: &[u8]) {
    said("e2fsck", &["-f", "-n", &place(image)], b"");
    let directory = TempDir::new().unwrap();
    let part = directory.path().join("part");
    fs::write(&part, boot).unwrap();
    said("fsck.fat", &["-n", part.to_str().unwrap()], b"");
    // mtools reads the same as the library that reads it below.
    let all = directory.path().join("all");
    fs::create_dir(&all).unwrap();
    said("mcopy", &["-s", "-n", "-i", part.to_str().unwrap(), "::/*", all.to_str().unwrap()], b"");
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    walk(&all, "", &mut |path, metadata| {
        if metadata.is_file() {
            files.push((path.to_owned(), fs::read(all.join(path)).unwrap()));
        }
    });
    let read = of_fat(boot).into_iter().filter(|(_, node)| node.kind == "file");
    let mut read: Vec<_> = read.map(|(path, node)| (path, node.content)).collect();
    files.sort();
    read.sort();
    assert!(files == read, "{:?}", files.iter().zip(&read).find(|(one, other)| one != other).map(|(one, _)| &one.0));
}

/// How programs are told of the root file system in an image.
pub fn place(image: &Path) -> String {
    format!("{}?offset={ROOT}", image.display())
}

fn walk(directory: &Path, path: &str, each: &mut dyn FnMut(&str, &fs::Metadata)) {
    for entry in fs::read_dir(directory.join(path)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        let metadata = fs::symlink_metadata(directory.join(&path)).unwrap();
        each(&path, &metadata);
        if metadata.is_dir() {
            walk(directory, &path, each);
        }
    }
}

fn of_fat(part: &[u8]) -> Listing {
    let filesystem = fatfs::FileSystem::new(Cursor::new(part.to_vec()), fatfs::FsOptions::new()).unwrap();
    let mut found = Listing::new();
    let mut directories = vec![(String::new(), filesystem.root_dir())];
    while let Some((above, directory)) = directories.pop() {
        for entry in directory.iter().map(Result::unwrap).filter(|entry| !matches!(&*entry.file_name(), "." | "..")) {
            let path = format!("{above}{}", entry.file_name());
            let [modified, created] = [entry.modified(), entry.created()].map(|time| format!("{time:?}"));
            let mut node = Node {
                kind: "file".to_owned(),
                mode: String::new(),
                owner: String::new(),
                mtime: if modified == dos(NOW) { NOW } else { 0 },
                content: Vec::new(),
                whole: format!("{created} {modified} {:?} {:?}", entry.accessed(), entry.attributes()),
            };
            if entry.is_dir() {
                node.kind = "directory".to_owned();
                directories.push((format!("{path}/"), entry.to_dir()));
            } else {
                std::io::copy(&mut entry.to_file(), &mut node.content).unwrap();
            }
            found.insert(path, node);
        }
    }
    found
}

/// [`NOW`] as FAT has it: 2025-11-24 16:00:00 UTC.
fn dos(now: u64) -> String {
    assert_eq!(now, 1_764_000_000);
    let date = fatfs::Date { year: 2025, month: 11, day: 24 };
    format!("{:?}", fatfs::DateTime { date, time: fatfs::Time { hour: 16, min: 0, sec: 0, millis: 0 } })
}

fn of_ext4(image: &Path) -> Listing {
    let directory = TempDir::new().unwrap();
    let all = directory.path().join("all");
    fs::create_dir(&all).unwrap();
    // Where one is not root it says that owners cannot be set, and goes on.
    said("debugfs", &["-R", &format!("rdump / {}", all.display()), &place(image)], b"");
    let mut content: Vec<(String, Vec<u8>)> = vec![(String::new(), Vec::new())];
    walk(&all, "", &mut |path, metadata| {
        let at = all.join(path);
        let held = match metadata.file_type() {
            kind if kind.is_symlink() => fs::read_link(at).unwrap().as_os_str().as_bytes().to_vec(),
            kind if kind.is_file() => fs::read(at).unwrap(),
            _ => Vec::new(),
        };
        content.push((path.to_owned(), held));
    });
    let commands: String = content.iter().map(|(path, _)| format!("stat \"/{path}\"\n")).collect();
    let script = directory.path().join("commands");
    fs::write(&script, commands).unwrap();
    let text = said("debugfs", &["-f", script.to_str().unwrap(), &place(image)], b"");
    let answers: Vec<&str> = text.split("debugfs: stat ").skip(1).collect();
    assert_eq!(answers.len(), content.len(), "{text}");
    content.into_iter().zip(answers).map(|((path, content), text)| (path, node(text, content))).collect()
}

/// What debugfs says of an inode.
fn node(text: &str, content: Vec<u8>) -> Node {
    let word = |before: &str| {
        let rest = &text[text.find(before).unwrap_or_else(|| panic!("no {before}: {text}")) + before.len()..];
        rest.split_whitespace().next().unwrap().to_owned()
    };
    let mtime = word(" mtime: ");
    let mtime = u64::from_str_radix(mtime.trim_start_matches("0x").split(':').next().unwrap(), 16).unwrap();
    Node {
        kind: word("Type: ").replace("regular", "file"),
        mode: word("Mode: "),
        owner: format!("{}:{}", word("User: "), word("Group: ")),
        mtime,
        content,
        whole: text.split_once('\n').unwrap().1.to_owned(),
    }
}

/// What has become different, a line for each path; what is not in it is as it was, to the last bit of its inode or directory entry.
/// `known` is content that has a name.
pub fn difference(before: &Listing, after: &Listing, known: &[(Vec<u8>, String)]) -> String {
    let mut lines = String::new();
    let paths: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for path in paths {
        match (before.get(path), after.get(path)) {
            (None, Some(new)) => {
                let Node { kind, mode, owner, .. } = new;
                let of_ext4 = if mode.is_empty() { String::new() } else { format!(" {mode} {owner}") };
                writeln!(lines, "+ /{path} {kind}{of_ext4} {}{}", time(new.mtime), held(new, None, known))
            }
            (Some(_), None) => writeln!(lines, "- /{path}"),
            (Some(old), Some(new)) if old == new => Ok(()),
            (Some(old), Some(new)) => writeln!(lines, "* /{path}{}", changes(old, new, known)),
            (None, None) => Ok(()),
        }
        .unwrap();
    }
    lines
}

fn time(seconds: u64) -> &'static str {
    match seconds {
        NOW => "now",
        MADE => "as packaged",
        _ => "AT ANOTHER TIME",
    }
}

fn changes(old: &Node, new: &Node, known: &[(Vec<u8>, String)]) -> String {
    let mut text = String::new();
    for (what, before, after) in [("type", &old.kind, &new.kind), ("mode", &old.mode, &new.mode)] {
        if before != after {
            write!(text, " {what} {before} -> {after}").unwrap();
        }
    }
    // What is put in the place of a file is root's; the file was whose the test is.
    if old.owner != new.owner && new.owner != "0:0" {
        write!(text, " owner {}", new.owner).unwrap();
    }
    if old.mtime != new.mtime {
        write!(text, " {}", time(new.mtime)).unwrap();
    }
    if old.content != new.content {
        text += &held(new, Some(old), known);
    }
    if text.is_empty() { " SOMETHING ELSE".to_owned() } else { text }
}

/// What a file holds, or where a link leads.
fn held(new: &Node, old: Option<&Node>, known: &[(Vec<u8>, String)]) -> String {
    let content = &new.content;
    if new.kind == "directory" {
        return String::new();
    }
    if new.kind == "symlink" {
        return format!(" -> {}", String::from_utf8_lossy(content));
    }
    if let Some((_, name)) = known.iter().find(|(one, _)| one == content) {
        return format!(", that of {name}");
    }
    // How long a packed initramfs is, is up to who packed it.
    let behind = old.filter(|old| !old.content.is_empty()).and_then(|old| content.strip_prefix(&old.content[..]));
    if let Some(behind) = behind {
        let zeros = behind.iter().take_while(|byte| **byte == 0).count();
        return format!(", behind what was there {}", hash(&behind[zeros..]));
    }
    match std::str::from_utf8(content) {
        Ok(text) if text.len() < 300 && text.lines().count() < 5 => format!(", {text:?}"),
        _ => format!(", {}", hash(content)),
    }
}

fn hash(content: &[u8]) -> String {
    let digest: String = Sha256::digest(content)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{} bytes, sha256 {digest}...", content.len())
}
