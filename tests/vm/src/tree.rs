//! Comparing two directory trees, file by file.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The paths (relative, sorted) at which the trees differ: there on one side only, or of another type, mode, owner,
/// device number, link target, content or extended attributes. Times and inode numbers are not compared.
pub fn differences(left: &Path, right: &Path) -> Result<Vec<String>> {
    let left_files = walk(left)?;
    let right_files = walk(right)?;
    let mut differing = Vec::new();
    for (path, ours) in &left_files {
        let same = match right_files.get(path) {
            Some(theirs) => alike(&left.join(path), ours, &right.join(path), theirs)?,
            None => false,
        };
        if !same {
            differing.push(path.display().to_string());
        }
    }
    differing.extend(
        right_files.keys().filter(|path| !left_files.contains_key(*path)).map(|path| path.display().to_string()),
    );
    differing.sort();
    Ok(differing)
}

/// Every file below `root` by its relative path. `lost+found` of a file system's top is left out.
pub fn walk(root: &Path) -> Result<BTreeMap<PathBuf, Metadata>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
            let path = entry?.path();
            let relative = path.strip_prefix(root)?.to_path_buf();
            if relative == Path::new("lost+found") {
                continue;
            }
            let metadata = path.symlink_metadata().with_context(|| format!("examining {}", path.display()))?;
            if metadata.is_dir() {
                pending.push(path);
            }
            found.insert(relative, metadata);
        }
    }
    Ok(found)
}

fn alike(left: &Path, ours: &Metadata, right: &Path, theirs: &Metadata) -> Result<bool> {
    let facts = |m: &Metadata| (m.mode(), m.uid(), m.gid());
    if facts(ours) != facts(theirs) || attributes(left)? != attributes(right)? {
        return Ok(false);
    }
    let kind = ours.file_type();
    if kind.is_symlink() {
        return Ok(fs::read_link(left)? == fs::read_link(right)?);
    }
    if kind.is_char_device() || kind.is_block_device() {
        return Ok(ours.rdev() == theirs.rdev());
    }
    if kind.is_file() {
        return Ok(ours.len() == theirs.len() && fs::read(left)? == fs::read(right)?);
    }
    Ok(true)
}

fn attributes(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    use std::os::unix::ffi::OsStrExt;
    let mut found = BTreeMap::new();
    for name in xattr::list(path).with_context(|| format!("listing the attributes of {}", path.display()))? {
        let value = xattr::get(path, &name)?.unwrap_or_default();
        found.insert(name.as_bytes().to_vec(), value);
    }
    Ok(found)
}

/// All that is to be known of a file, but for its inode number and the times of access and change.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    mode: u32,
    owner: (u32, u32),
    device: u64,
    links: u64,
    size: u64,
    modified: (i64, i64),
    /// Of the content, or of where a symlink points.
    digest: u64,
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The facts of every file below `root`, kept when the card goes on. The size of a directory says nothing of what it holds.
pub fn manifest(root: &Path) -> Result<BTreeMap<PathBuf, Facts>> {
    let mut facts = BTreeMap::new();
    for (path, m) in walk(root)? {
        let full = root.join(&path);
        facts.insert(
            path,
            Facts {
                mode: m.mode(),
                owner: (m.uid(), m.gid()),
                device: m.rdev(),
                // A whiteout's other names are in the work directory, if anywhere.
                links: if m.file_type().is_char_device() && m.rdev() == 0 { 0 } else { m.nlink() },
                size: if m.is_dir() { 0 } else { m.size() },
                modified: (m.mtime(), m.mtime_nsec()),
                digest: digest(&full, &m)?,
                attributes: attributes(&full)?,
            },
        );
    }
    Ok(facts)
}

/// The paths that two manifests do not agree about.
pub fn disagreements(left: &BTreeMap<PathBuf, Facts>, right: &BTreeMap<PathBuf, Facts>) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    paths.into_iter().filter(|&path| left.get(path) != right.get(path)).map(|path| path.display().to_string()).collect()
}

fn digest(path: &Path, metadata: &Metadata) -> Result<u64> {
    use std::os::unix::ffi::OsStrExt;
    let mut hasher = DefaultHasher::new();
    if metadata.is_symlink() {
        hasher.write(fs::read_link(path)?.as_os_str().as_bytes());
    } else if metadata.is_file() {
        hasher.write(&fs::read(path).with_context(|| format!("reading {}", path.display()))?);
    }
    Ok(hasher.finish())
}
