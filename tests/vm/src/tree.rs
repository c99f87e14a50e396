//! Comparing two directory trees, file by file.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
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
