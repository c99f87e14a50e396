//! What an upper partition has ready for a reset of a full file system, and the place where things go that are not needed any more.

use super::{DIRECTORIES, Upper};
use crate::{files, mounted, tree};
use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The ballast is so many files, for a boot needs inodes as well as blocks: a little more than the guard asks for.
const BALLAST_FILES: usize = 72;
/// Bytes of each of them: a good MiB altogether.
const BALLAST_FILE: usize = 16 << 10;
/// The name of the one that is kept for state.json.
const LAST: &str = "0";

impl Upper {
    /// Makes the directories, the spare pair and the ballast again where they are missing or not as they must be. Each is made in
    /// `reclaim/` and takes its place by one rename, so that a spare that is there is whole. Says whether anything was done. Call it with
    /// the lock held; what was wrong with an old one goes to `reclaim/`.
    ///
    /// # Errors
    /// The file system takes no writes, or is full.
    pub fn restock(&self) -> Result<bool> {
        let mut done = false;
        // All but the spare's, which comes as a whole.
        for directory in DIRECTORIES.iter().filter(|name| !name.starts_with("burnonce/spare")) {
            let path = self.root.join(directory);
            if path.is_dir() && (!is_link(&path) || !directory.starts_with("burnonce/")) {
                continue;
            }
            if *directory == "burnonce/reclaim" {
                self.make_reclaim()?;
            } else {
                // What has its name is in the way.
                self.discard(&path)?;
                make_directory(&path)?;
            }
            done = true;
        }
        let spare = self.own("spare");
        if !is_spare(&spare)? {
            let new = self.free_name(OsStr::new("new-spare"))?;
            for part in ["", "overlay", "overlay-workdir", "overlay-workdir/_"] {
                make_directory(&new.join(part))?;
            }
            self.discard(&spare)?;
            self.put(&new, &spare)?;
            done = true;
        }
        let path = self.own("ballast");
        if !is_ballast(&path)? {
            let new = self.free_name(OsStr::new("new-ballast"))?;
            make_ballast(&new)?;
            self.discard(&path)?;
            self.put(&new, &path)?;
            done = true;
        }
        Ok(done)
    }

    /// Deletes the ballast for a boot, but for what is kept so that a request can still be recorded. Says whether there was any.
    ///
    /// # Errors
    /// It cannot be deleted.
    pub fn release_ballast(&self) -> Result<bool> {
        let path = self.own("ballast");
        if !path.is_dir() || is_link(&path) {
            return self.drop_ballast();
        }
        let files: Vec<OsString> = names(&path)?.into_iter().filter(|name| name != LAST).collect();
        files.iter().try_for_each(|name| tree::remove(&path.join(name)))?;
        mounted::flush(&self.root)?;
        Ok(!files.is_empty())
    }

    /// Deletes all of the ballast. Says whether there was any.
    ///
    /// # Errors
    /// It cannot be deleted.
    pub(super) fn drop_ballast(&self) -> Result<bool> {
        let path = self.own("ballast");
        if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Ok(false);
        }
        tree::remove(&path)?;
        mounted::flush(&self.root)?;
        Ok(true)
    }

    /// Moves `path` to `reclaim/`, where it is deleted in time, and gives its new path; `None`: it is not there. Flush before anything is
    /// deleted.
    ///
    /// # Errors
    /// The file system takes no writes.
    pub fn discard(&self, path: &Path) -> Result<Option<PathBuf>> {
        self.make_reclaim()?;
        let to = self.free_name(path.file_name().unwrap_or(OsStr::new("nameless")))?;
        match fs::rename(path, &to) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            renamed => {
                renamed.with_context(|| format!("renaming {} to {}", path.display(), to.display()))?;
                Ok(Some(to))
            }
        }
    }

    /// Makes `reclaim/` where it is not there: burnonce 0.1.0 made none. A link has no business there: what it leads to would be deleted.
    fn make_reclaim(&self) -> Result<()> {
        let reclaim = self.own("reclaim");
        match fs::symlink_metadata(&reclaim) {
            Ok(metadata) if metadata.is_dir() => return Ok(()),
            Ok(_) => files::remove(&reclaim).map(drop)?,
            Err(_) => {}
        }
        make_directory(&reclaim)
    }

    /// A path in `reclaim/` that is not taken: a generation's number comes again after an undo, and what had it before may still be there.
    fn free_name(&self, name: &OsStr) -> Result<PathBuf> {
        let taken = names(&self.own("reclaim"))?;
        let mut free = name.to_owned();
        let mut number = 1;
        while taken.contains(&free) {
            free = name.to_owned();
            free.push(format!(".{number}"));
            number += 1;
        }
        Ok(self.own("reclaim").join(free))
    }

    /// Puts what was made at `new` in its place, when it is on the card.
    fn put(&self, new: &Path, place: &Path) -> Result<()> {
        mounted::flush(&self.root)?;
        fs::rename(new, place).with_context(|| format!("renaming {} to {}", new.display(), place.display()))
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink())
}

/// The names in a directory; none, where there is none or only a link to one. Reading leaves no access time behind, so a look writes nothing to the card.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn names(directory: &Path) -> Result<Vec<OsString>> {
    let reading = || format!("reading {}", directory.display());
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_NOATIME | OFlag::O_CLOEXEC;
    let mut opened = match Dir::open(directory, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(Vec::new()),
        // O_DIRECTORY and O_NOFOLLOW together (open(2)).
        Err(Errno::ENOTDIR | Errno::ELOOP) if is_link(directory) => return Ok(Vec::new()),
        opened => opened.with_context(reading)?,
    };
    let mut names = Vec::new();
    for entry in opened.iter() {
        let name = OsStr::from_bytes(entry.with_context(reading)?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Makes a directory as mke2fs made it in a new upper, whatever the umask is.
///
/// # Errors
/// It cannot be made; something has its name.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .with_context(|| format!("making {}", path.display()))
}

/// Whether `spare` has a pair of directories that can become an upper directory and its work directory.
///
/// # Errors
/// It cannot be read.
pub(crate) fn is_spare(spare: &Path) -> Result<bool> {
    Ok(is_new(&spare.join("overlay"))? && is_new(&spare.join("overlay-workdir/_"))?)
}

/// Whether it is a directory as a new upper has it. The mode of `overlay` is that of the merged `/`, and an attribute could make it opaque.
fn is_new(path: &Path) -> Result<bool> {
    let looking = || format!("looking at {}", path.display());
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(false),
        looked => looked.with_context(looking)?,
    };
    if !metadata.is_dir() || metadata.mode() & 0o7777 != 0o755 || (metadata.uid(), metadata.gid()) != (0, 0) {
        return Ok(false);
    }
    // A security module labels what it likes.
    let labelled = |name: OsString| !name.as_bytes().starts_with(b"security.");
    Ok(!xattr::list(path).with_context(looking)?.any(labelled) && names(path)?.is_empty())
}

/// Makes the ballast at `path`.
///
/// # Errors
/// The file system takes no writes, or is full.
pub(crate) fn make_ballast(path: &Path) -> Result<()> {
    make_directory(path)?;
    // Not zeroes, for which mke2fs would leave a hole.
    let content = [0xB0; BALLAST_FILE];
    for number in 0..BALLAST_FILES {
        // LAST is the first of them.
        let file = path.join(number.to_string());
        fs::write(&file, content).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}

/// Whether the ballast is there, with inodes and blocks of its own.
fn is_ballast(path: &Path) -> Result<bool> {
    // What an earlier version made is one file of this length altogether.
    if !path.is_dir() || is_link(path) {
        return Ok(false);
    }
    let names = names(path)?;
    for name in &names {
        let file = path.join(name);
        let metadata = fs::symlink_metadata(&file).with_context(|| format!("looking at {}", file.display()))?;
        let length = BALLAST_FILE as u64;
        if !metadata.is_file() || metadata.len() != length || metadata.blocks() * 512 < length {
            return Ok(false);
        }
    }
    Ok(names.len() == BALLAST_FILES)
}
