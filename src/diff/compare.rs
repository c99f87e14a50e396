//! Compares what the upper and the lower have at one path.

use super::change::{Attributes, Details, FileType, Owner, Pair};
use super::layers::{self, Layers};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes of each file that are compared at a time.
const BUFFER: usize = 64 << 10;

/// A path of a layer and what it is.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// As one opens it.
    pub path: &'a Path,
    pub metadata: &'a Metadata,
}

impl Side<'_> {
    fn file_type(&self) -> FileType {
        self.metadata.file_type().into()
    }
}

/// What differs. `content` finds the file with the content of the upper's file; it is asked for, and read up to the first difference, only
/// where the lengths are equal.
///
/// # Errors
/// One of them cannot be read, or is not there any more.
pub fn compare(
    layers: &Layers,
    lower: Side,
    upper: Side,
    content: impl FnOnce() -> io::Result<PathBuf>,
) -> io::Result<Details> {
    let (from, to) = (lower.metadata, upper.metadata);
    let file_type = Pair::unequal(lower.file_type(), upper.file_type());
    if file_type.is_some() {
        return Ok(Details { file_type, ..Details::default() });
    }
    let mut details = Details {
        owner: Pair::unequal(owner(from), owner(to)),
        xattrs: attributes(layers, lower.path, upper.path)?,
        ..Details::default()
    };
    let touched = (from.mtime(), from.mtime_nsec()) != (to.mtime(), to.mtime_nsec());
    match upper.file_type() {
        FileType::Symlink => details.target = Pair::unequal(fs::read_link(lower.path)?, fs::read_link(upper.path)?),
        FileType::File => {
            let lengths = Pair { from: from.len(), to: to.len() };
            let differ = lengths.from != lengths.to || !same_content(lower.path, &content()?, lengths.to)?;
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
    // A symlink has no permissions of its own.
    if !to.is_symlink() {
        details.mode = Pair::unequal(from.mode() & 0o7777, to.mode() & 0o7777);
    }
    Ok(details)
}

fn owner(of: &Metadata) -> Owner {
    Owner { uid: of.uid(), gid: of.gid() }
}

fn device(of: &Metadata) -> String {
    use nix::sys::stat::{major, minor};
    format!("{}:{}", major(of.rdev()), minor(of.rdev()))
}

fn attributes(layers: &Layers, lower: &Path, upper: &Path) -> io::Result<Option<Attributes>> {
    let (mut old, new) = (values(layers, lower)?, values(layers, upper)?);
    let mut found = Attributes::default();
    for (name, value) in new {
        let shown = name.to_string_lossy().into_owned();
        match old.remove(&name) {
            None => found.added.push(shown),
            Some(before) if before != value => found.changed.push(shown),
            Some(_) => {}
        }
    }
    found.removed = old.into_keys().map(|name| name.to_string_lossy().into_owned()).collect();
    Ok((found != Attributes::default()).then_some(found))
}

/// The extended attributes of a path but for the overlay's marks.
fn values(layers: &Layers, path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    let mut values = BTreeMap::new();
    for name in layers::attribute_names(path)?.filter(|name| !layers.is_mark(name)) {
        // One that was removed meanwhile is none.
        if let Some(value) = xattr::get(path, &name)? {
            values.insert(name, value);
        }
    }
    Ok(values)
}

/// Whether two files of this length are equal, as far as both reach now.
fn same_content(a: &Path, b: &Path, length: u64) -> io::Result<bool> {
    if a == b || length == 0 {
        return Ok(true);
    }
    let (mut a, mut b) = (layers::open(a)?.take(length), layers::open(b)?.take(length));
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
