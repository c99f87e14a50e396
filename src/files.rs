//! Files that must be whole or not there, whenever the power goes.

use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where `path`, absolute as a node has it, is on the node whose root is at `root`.
pub fn below(root: &Path, path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Writes `text` to `path` so that a power cut leaves the old file or the new one: temporary file, fsync, rename, fsync of
/// the directory. The mode of a new file is 0644.
///
/// # Errors
/// The file system took no writes or has no room; the message names the file. The old file is untouched then.
pub fn replace(path: &Path, text: &str) -> Result<()> {
    replace_with(path, text.as_bytes(), 0o644)
}

/// As [`replace`], with any content and the mode of the new file.
///
/// # Errors
/// As [`replace`].
pub fn replace_with(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let temporary = beside(path);
    let written = write_through(&temporary, content, mode).and_then(|()| {
        fs::rename(&temporary, path).with_context(|| format!("renaming {} to {}", temporary.display(), path.display()))
    });
    if written.is_err() {
        // Best effort: the reason that counts is the one being returned.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_directory(path)
}

/// Removes `path` if it is there, and makes that last. Says whether it was there.
///
/// # Errors
/// The file is there and cannot be removed.
pub fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => sync_directory(path).map(|()| true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("removing {}", path.display())),
    }
}

/// The temporary file that `path` is written to before it is renamed.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".burnonce-new");
    path.with_file_name(name)
}

fn write_through(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("creating {}", path.display()))?;
    file.write_all(content).with_context(|| format!("writing {}", path.display()))?;
    file.sync_all().with_context(|| format!("flushing {}", path.display()))
}

fn sync_directory(path: &Path) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory)
        .and_then(|d| d.sync_all())
        .with_context(|| format!("flushing the directory {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_path_is_taken_below_a_root() {
        for (root, path, expected) in [
            ("/", "/etc/x", "/etc/x"),
            ("/tmp/node", "/etc/x", "/tmp/node/etc/x"),
            ("/tmp/node", "/", "/tmp/node/"),
            ("/tmp/node", "etc/x", "/tmp/node/etc/x"),
        ] {
            assert_eq!(below(Path::new(root), path), Path::new(expected));
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("conf");
        replace(&path, "old").unwrap();
        replace(&path, "new\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = format!("{:#}", replace(Path::new("/proc/burnonce"), "x").unwrap_err());
        assert!(error.contains("/proc/burnonce"), "{error}");
    }
}
