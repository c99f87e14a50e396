//! Compares what the upper and the lower have at one path.

use super::change::{Attributes, Details, FileType, Pair};
use super::layers::{self, Layers};
use super::stat::{self, Stat};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use xattr::FileExt;

/// Bytes of each file that are compared at a time.
const BUFFER: usize = 64 << 10;

/// A path of a layer and what it is.
#[derive(Debug)]
pub struct Side<'a> {
    /// As one opens it.
    pub path: &'a Path,
    pub stat: &'a Stat,
    /// The same, in its directory, where that is open.
    pub name: Option<(&'a OwnedFd, &'a OsStr)>,
    /// The same, open for reading, where it is a regular file that is open already.
    pub open: Option<File>,
}

impl Side<'_> {
    fn open(&mut self) -> io::Result<File> {
        match (self.open.take(), self.name) {
            (Some(file), _) => Ok(file),
            (None, Some((directory, name))) => stat::open_at(directory, name),
            (None, None) => layers::open(self.path),
        }
    }
}

/// What differs. `content` finds the file with the content of an upper's file that has only its metadata; contents are read up to the first
/// difference, and only where the lengths are equal.
///
/// # Errors
/// One of them cannot be read, or is not there any more.
pub fn compare(
    layers: &Layers,
    mut lower: Side,
    mut upper: Side,
    content: impl FnOnce() -> io::Result<PathBuf>,
) -> io::Result<Details> {
    let (from, to) = (lower.stat, upper.stat);
    let file_type = Pair::unequal(from.file_type(), to.file_type());
    if file_type.is_some() {
        return Ok(Details { file_type, ..Details::default() });
    }
    let mut details = Details { owner: Pair::unequal(from.owner(), to.owner()), ..Details::default() };
    let touched = !from.is_as_old_as(to);
    let lengths = Pair { from: from.length(), to: to.length() };
    match to.file_type() {
        // Two files that are opened anyway are asked as such: no path is looked up for it.
        FileType::File if lengths.from == lengths.to && lengths.to > 0 => {
            let (in_lower, in_upper) = (lower.open()?, upper.open()?);
            let (old, new) = (Values::of_file(layers, &in_lower)?, Values::of_file(layers, &in_upper)?);
            let same = match new.elsewhere {
                false => same_content(in_lower, in_upper, lengths.to)?,
                true => {
                    let path = content()?;
                    path == lower.path || same_content(in_lower, layers::open(&path)?, lengths.to)?
                }
            };
            details.xattrs = differing(old, new);
            details.content = (!same).then_some(lengths);
            details.touched = touched && same;
        }
        file_type => {
            details.xattrs = differing(Values::of(layers, lower.path)?, Values::of(layers, upper.path)?);
            match file_type {
                FileType::Symlink => {
                    details.target = Pair::unequal(fs::read_link(lower.path)?, fs::read_link(upper.path)?);
                }
                FileType::File => {
                    let differ = lengths.from != lengths.to;
                    details.content = differ.then_some(lengths);
                    details.touched = touched && !differ;
                }
                FileType::CharacterDevice | FileType::BlockDevice => {
                    details.device = Pair::unequal(device(from), device(to));
                    details.touched = touched;
                }
                FileType::Fifo | FileType::Socket => details.touched = touched,
                FileType::Directory => {}
            }
        }
    }
    // A symlink has no permissions of its own.
    if to.file_type() != FileType::Symlink {
        details.mode = Pair::unequal(from.permissions(), to.permissions());
    }
    Ok(details)
}

fn device(of: &Stat) -> String {
    use nix::sys::stat::{major, minor};
    format!("{}:{}", major(of.device()), minor(of.device()))
}

/// The extended attributes of a path but for the overlay's marks.
#[derive(Default)]
struct Values {
    all: BTreeMap<OsString, Vec<u8>>,
    /// Only the metadata of the file was copied up; its content is elsewhere.
    elsewhere: bool,
}

impl Values {
    fn of(layers: &Layers, path: &Path) -> io::Result<Values> {
        Values::read(layers, layers::attribute_names(path)?, |name| xattr::get(path, name))
    }

    fn of_file(layers: &Layers, file: &File) -> io::Result<Values> {
        Values::read(layers, layers::listed(file.list_xattr())?, |name| file.get_xattr(name))
    }

    fn read(
        layers: &Layers,
        names: impl Iterator<Item = OsString>,
        value: impl Fn(&OsStr) -> io::Result<Option<Vec<u8>>>,
    ) -> io::Result<Values> {
        let mut values = Values::default();
        for name in names {
            if layers.is_mark(&name) {
                values.elsewhere |= layers.is_metacopy(&name);
            // One that was removed meanwhile is none.
            } else if let Some(value) = value(&name)? {
                values.all.insert(name, value);
            }
        }
        Ok(values)
    }
}

fn differing(old: Values, new: Values) -> Option<Attributes> {
    let mut old = old.all;
    let mut found = Attributes::default();
    for (name, value) in new.all {
        let shown = name.to_string_lossy().into_owned();
        match old.remove(&name) {
            None => found.added.push(shown),
            Some(before) if before != value => found.changed.push(shown),
            Some(_) => {}
        }
    }
    found.removed = old.into_keys().map(|name| name.to_string_lossy().into_owned()).collect();
    (found != Attributes::default()).then_some(found)
}

/// Whether two files of this length are equal, as far as both reach now.
fn same_content(a: File, b: File, length: u64) -> io::Result<bool> {
    let (mut a, mut b) = (a.take(length), b.take(length));
    let size = usize::try_from(length).map_or(BUFFER, |length| length.min(BUFFER));
    let (mut in_a, mut in_b) = (vec![0; size], vec![0; size]);
    loop {
        let (from_a, from_b) = (fill(&mut a, &mut in_a)?, fill(&mut b, &mut in_b)?);
        if from_a != from_b {
            return Ok(false);
        }
        if from_a.len() < size || a.limit() == 0 {
            return Ok(true);
        }
    }
}

/// As much as there is, up to the buffer's length.
fn fill<'a>(from: &mut impl Read, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(&buffer[..length])
}
