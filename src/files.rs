//! Files that must be whole or not there, whenever the power goes.

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where `path`, absolute as a node has it, is on the node whose root is at `root`.
pub fn below(root: &Path, path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// What a file holds that somebody named, `most` bytes of it at most. What a shell makes of `<(program)` is read, too; a pipe that nothing
/// writes to is none, and would be waited for without end.
///
/// # Errors
/// It is a directory, or a pipe without a writer; it cannot be read. The message names it.
pub fn content(path: &Path, most: u64) -> Result<Vec<u8>> {
    let reading = || format!("reading {}", path.display());
    // Opening a pipe waits for a writer, but for one who says that he does not wait.
    let unwaiting = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = unwaiting.with_context(reading)?;
    let kind = file.metadata().with_context(reading)?.file_type();
    ensure!(!kind.is_dir(), "{} is a directory; name a file", path.display());
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL).with_context(reading)?);
    fcntl(&file, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK)).with_context(reading)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).with_context(reading)?;
    ensure!(
        !(bytes.is_empty() && kind.is_fifo()),
        "{} is no file, and nothing comes from it; name a file",
        path.display()
    );
    Ok(bytes)
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

    #[test]
    fn a_pipe_is_read_and_one_without_a_writer_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = content(&path, 9).unwrap_err().to_string();
        assert!(error.contains("/pipe is no file, and nothing comes from it"), "{error}");
        let writer = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        (&writer).write_all(b"0123456789").unwrap();
        assert_eq!(content(&path, 9).unwrap(), b"012345678");
        let error = content(directory.path(), 9).unwrap_err().to_string();
        assert!(error.contains("is a directory; name a file"), "{error}");
        fs::write(directory.path().join("empty"), "").unwrap();
        assert_eq!(content(&directory.path().join("empty"), 9).unwrap(), b"");
    }
}
