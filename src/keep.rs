//! `reset --keep` and `reset.keep`: what of an upper directory goes over into the next generation.
//!
//! Only what is in the upper is carried: what the node has from the image is in the image.

use crate::state::Size;
use crate::upper::is_whiteout;
use anyhow::{Context, Result};
use patterns::Patterns;
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

mod copy;
mod patterns;
#[cfg(test)]
mod tests;

/// Hides what the image has in the directory that carries it (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
/// directories").
const OPAQUE: &str = "trusted.overlay.opaque";
/// Shows in the directory that carries it what the image has elsewhere (the same, "renaming directories").
const REDIRECT: &str = "trusted.overlay.redirect";

/// Copies what `patterns` match from the upper directory `from` into the new, empty upper directory `to`: whole, with owners, modes, times,
/// extended attributes, ACLs and parents. Run while nothing has an overlay mounted on `from`. How many entries that were, parents not
/// counted.
///
/// # Errors
/// Something cannot be copied, most often for want of space; `to` is then to be thrown away.
pub fn carry(from: &Path, to: &Path, patterns: &[String]) -> Result<u64> {
    let selection = select(from, patterns)?;
    copy::carry(from, to, &selection.kept)
}

/// What patterns match in an upper directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The topmost paths that match, in order; a directory is kept with all that is in it.
    pub kept: Vec<Kept>,
    /// The patterns that match nothing.
    pub unmatched: Vec<String>,
}

/// A path that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Absolute, as the node has it.
    pub path: PathBuf,
    /// It was deleted, and stays deleted.
    pub deleted: bool,
    /// Nothing of the image shows in it, for a directory above it is opaque.
    hidden: bool,
}

/// Looks for what `patterns` match in the upper directory `upper`, in no more of it than may hold matches. It may be in use: what
/// vanishes meanwhile is left out.
///
/// # Errors
/// A pattern is no glob, or something cannot be read.
pub fn select(upper: &Path, patterns: &[String]) -> Result<Selection> {
    let patterns = Patterns::new(patterns)?;
    let mut kept = Vec::new();
    look(upper, Path::new("/"), &patterns, false, &mut kept)?;
    // A pattern whose matches are within a directory that another one keeps whole is not named.
    let within = |pattern: &patterns::Keep| kept.iter().any(|kept: &Kept| pattern.may_match_below(&kept.path));
    let unmatched = patterns.without_match().filter(|pattern| !within(pattern)).map(|p| p.text.clone()).collect();
    Ok(Selection { kept, unmatched })
}

fn look(directory: &Path, path: &Path, patterns: &Patterns, mut hidden: bool, kept: &mut Vec<Kept>) -> Result<()> {
    if !patterns.may_match_below(path) {
        return Ok(());
    }
    hidden |= is_opaque(directory)?;
    for (name, metadata) in entries(directory)? {
        let path = path.join(&name);
        if patterns.matches(&path) {
            kept.push(Kept { path, deleted: is_whiteout(&metadata), hidden });
        } else if metadata.is_dir() {
            look(&directory.join(&name), &path, patterns, hidden, kept)?;
        }
    }
    Ok(())
}

/// What a reset would keep and what it would set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// What is kept, and how much that is, itself counted.
    pub kept: Vec<(Kept, Size)>,
    pub unmatched: Vec<String>,
    /// All that is not kept, but not the directories that hold kept things.
    pub dropped: Size,
    /// The same for each entry of `/`, the largest first.
    pub dropped_below: Vec<(PathBuf, Size)>,
}

/// Counts all that is in the upper directory `upper`: takes time with the number of its files. It may be in use.
///
/// # Errors
/// As [`select`].
pub fn survey(upper: &Path, patterns: &[String]) -> Result<Survey> {
    let Selection { kept, unmatched } = select(upper, patterns)?;
    let mut count =
        Count { kept: kept.iter().map(|kept| (kept.path.clone(), Size::default())).collect(), seen: HashSet::new() };
    let (mut dropped, mut dropped_below) = (Size::default(), Vec::new());
    for (name, metadata) in entries(upper)? {
        let size = count.dropped(&upper.join(&name), &Path::new("/").join(&name), &metadata)?;
        if size.files > 0 {
            add(&mut dropped, size);
            dropped_below.push((Path::new("/").join(name), size));
        }
    }
    dropped_below.sort_by(|a, b| b.1.bytes.cmp(&a.1.bytes).then_with(|| a.0.cmp(&b.0)));
    let kept = kept.into_iter().map(|kept| (count.kept.get(&kept.path).copied().unwrap_or_default(), kept));
    Ok(Survey { kept: kept.map(|(size, kept)| (kept, size)).collect(), unmatched, dropped, dropped_below })
}

impl Survey {
    /// All that is kept.
    pub fn kept(&self) -> Size {
        self.kept.iter().fold(Size::default(), |mut all, (_, size)| {
            add(&mut all, *size);
            all
        })
    }
}

struct Count {
    /// What was found of each path that is kept.
    kept: BTreeMap<PathBuf, Size>,
    /// The inodes with several names that were counted.
    seen: HashSet<u64>,
}

impl Count {
    /// What at and below `at`, which the node has at `path`, is not kept.
    fn dropped(&mut self, at: &Path, path: &Path, metadata: &Metadata) -> Result<Size> {
        if self.kept.contains_key(path) {
            let size = self.whole(at, metadata)?;
            self.kept.insert(path.to_owned(), size);
            return Ok(Size::default());
        }
        let mut size = Size::default();
        if metadata.is_dir() {
            for (name, metadata) in entries(at)? {
                add(&mut size, self.dropped(&at.join(&name), &path.join(&name), &metadata)?);
            }
        }
        // In the order of paths, what is below a directory comes right after it.
        let holds_kept = self.kept.range(path.to_owned()..).next().is_some_and(|(kept, _)| kept.starts_with(path));
        if !holds_kept {
            add(&mut size, self.one(metadata));
        }
        Ok(size)
    }

    /// All that is at and below `at`.
    fn whole(&mut self, at: &Path, metadata: &Metadata) -> Result<Size> {
        let mut size = self.one(metadata);
        if metadata.is_dir() {
            for (name, metadata) in entries(at)? {
                add(&mut size, self.whole(&at.join(name), &metadata)?);
            }
        }
        Ok(size)
    }

    fn one(&mut self, metadata: &Metadata) -> Size {
        let counted = metadata.is_dir() || metadata.nlink() < 2 || self.seen.insert(metadata.ino());
        // st_blocks counts in units of 512 bytes, whatever the file system (stat(2)).
        Size { files: 1, bytes: if counted { metadata.blocks() * 512 } else { 0 } }
    }
}

fn add(to: &mut Size, more: Size) {
    to.files += more.files;
    to.bytes += more.bytes;
}

/// What is in a directory, by name. Nothing, where it is gone or no directory any more.
fn entries(directory: &Path) -> Result<Vec<(OsString, Metadata)>> {
    let reading = || format!("reading {}", directory.display());
    let listed = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        listed => listed.with_context(reading)?,
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.with_context(reading)?;
        // Of the entry itself: no link is followed.
        match entry.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            metadata => {
                found.push((
                    entry.file_name(),
                    metadata.with_context(|| format!("looking at {}", entry.path().display()))?,
                ));
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Whether nothing of the image shows in this directory.
fn is_opaque(directory: &Path) -> Result<bool> {
    match xattr::get(directory, OPAQUE) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        value => {
            Ok(value.with_context(|| format!("reading {OPAQUE} of {}", directory.display()))?.as_deref() == Some(b"y"))
        }
    }
}
