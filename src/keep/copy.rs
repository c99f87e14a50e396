//! Copies files of an upper directory with all that belongs to them.

use super::{Kept, OPAQUE, REDIRECT, entries};
use crate::files::below;
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Whence, lseek64};
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// Copies each of `kept` from the upper directory `from` to the empty one at `to`, and makes its parents. How many entries were
/// copied.
pub(super) fn carry(from: &Path, to: &Path, kept: &[Kept]) -> Result<u64> {
    let mut copy = Copy { links: HashMap::new(), count: 0 };
    let mut parents = BTreeSet::new();
    for kept in kept {
        let parent = kept.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(below(to, parent)).with_context(|| format!("making {}", below(to, parent).display()))?;
        // The top is the new upper's own.
        parents.extend(parent.ancestors().filter(|path| path.parent().is_some()).map(Path::to_owned));
        let target = below(to, &kept.path);
        copy.entry(&below(from, &kept.path), &target)?;
        if kept.hidden && fs::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_dir()) {
            xattr::set(&target, OPAQUE, b"y").with_context(|| format!("setting {OPAQUE} of {}", target.display()))?;
        }
    }
    // Children before their parents, whose times they change.
    for parent in parents.iter().rev() {
        let (from, to) = (below(from, parent), below(to, parent));
        let metadata = fs::symlink_metadata(&from).with_context(|| format!("looking at {}", from.display()))?;
        // The image's files are to show beside those that were kept.
        let belongs = |name: &OsStr| name != OPAQUE && name != REDIRECT;
        dress(&from, &to, &metadata, belongs).with_context(|| copying(&from))?;
    }
    Ok(copy.count)
}

struct Copy {
    /// Where the first name of an inode with several names went.
    links: HashMap<(u64, u64), PathBuf>,
    count: u64,
}

impl Copy {
    /// Copies what is at `from`, and all below it.
    fn entry(&mut self, from: &Path, to: &Path) -> Result<()> {
        let metadata = fs::symlink_metadata(from).with_context(|| format!("looking at {}", from.display()))?;
        self.count += 1;
        let inode = (metadata.dev(), metadata.ino());
        let linked = !metadata.is_dir() && metadata.nlink() > 1;
        if let Some(first) = self.links.get(&inode).filter(|_| linked) {
            return fs::hard_link(first, to).with_context(|| copying(from));
        }
        make(from, to, &metadata).with_context(|| copying(from))?;
        if metadata.is_dir() {
            for (name, _) in entries(from)? {
                self.entry(&from.join(&name), &to.join(&name))?;
            }
        }
        // A directory after what is in it: its default ACL would go over to that, and its times would change.
        dress(from, to, &metadata, |_| true).with_context(|| copying(from))?;
        if linked {
            self.links.insert(inode, to.to_owned());
        }
        Ok(())
    }
}

fn copying(from: &Path) -> String {
    format!("copying {}", from.display())
}

/// Makes what is at `from` anew at `to`, for root alone.
fn make(from: &Path, to: &Path, metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        fs::create_dir(to)
    } else if kind.is_symlink() {
        symlink(fs::read_link(from)?, to)
    } else if kind.is_file() {
        content(from, to, metadata.len())
    } else {
        let kind = SFlag::from_bits_truncate(metadata.mode() & SFlag::S_IFMT.bits());
        Ok(mknod(to, kind, Mode::S_IRUSR | Mode::S_IWUSR, metadata.rdev())?)
    }
}

/// Copies the content of a file; its holes stay holes.
fn content(from: &Path, to: &Path, length: u64) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let mut at = 0;
    loop {
        let begin = match lseek64(&from, at, Whence::SeekData) {
            // Nothing but a hole from here on (lseek(2)).
            Err(Errno::ENXIO) => break,
            found => found?,
        };
        let end = lseek64(&from, begin, Whence::SeekHole)?;
        let offset = SeekFrom::Start(begin.unsigned_abs());
        from.seek(offset)?;
        to.seek(offset)?;
        io::copy(&mut from.by_ref().take((end - begin).unsigned_abs()), &mut to)?;
        at = end;
    }
    to.set_len(length)
}

/// Gives what is at `to` the owner, mode, attributes and times of what is at `from`, in this order: a change of owner takes away a
/// set-user-id bit and capabilities.
fn dress(from: &Path, to: &Path, metadata: &Metadata, belongs: impl Fn(&OsStr) -> bool) -> Result<()> {
    lchown(to, Some(metadata.uid()), Some(metadata.gid()))?;
    if !metadata.is_symlink() {
        fs::set_permissions(to, Permissions::from_mode(metadata.mode() & 0o7777))?;
    }
    // Of the entry itself: these calls follow no link.
    for name in xattr::list(from)?.filter(|name| belongs(name)) {
        if let Some(value) = xattr::get(from, &name)? {
            xattr::set(to, &name, &value).with_context(|| format!("setting {}", name.to_string_lossy()))?;
        }
    }
    let time = |seconds, nanoseconds| anyhow::Ok(TimeSpec::new(fitting(seconds)?, fitting(nanoseconds)?));
    let accessed = time(metadata.atime(), metadata.atime_nsec())?;
    let modified = time(metadata.mtime(), metadata.mtime_nsec())?;
    Ok(utimensat(AT_FDCWD, to, &accessed, &modified, UtimensatFlags::NoFollowSymlink)?)
}

/// A number of a time in the type that this machine has for it.
fn fitting<T: TryFrom<i64>>(number: i64) -> Result<T> {
    T::try_from(number).ok().with_context(|| format!("this machine has no time {number}"))
}
