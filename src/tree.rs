//! Directory trees of the upper partition: counted, and deleted whatever is in them.
//!
//! Every step goes from an open directory to a name in it, so a path of any length works, no symbolic link is followed, and no stack
//! and no number of open files grows with the depth. Directories below a path of an owner's choosing are as deep as he likes.

use crate::state::Size;
use crate::sys;
use anyhow::{Context, Result, anyhow, bail};
use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Of the directories between the top and the place of work, so many are held open; the others are found again by `..`.
const OPEN: usize = 32;
/// How often a tree is gone through that something is put into meanwhile.
const PASSES: usize = 3;

/// Deletes `path` and all that is below it, immutable files too. Interrupted at any point, it can be called again.
///
/// # Errors
/// Something cannot be deleted; the message names it. Another file system, or a directory, is mounted in it: what is below that mount
/// is not touched. What is not there is no error.
pub fn remove(path: &Path) -> Result<()> {
    let removing = || format!("deleting {}", path.display());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("{}: not something in a directory", removing())
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let parent = match File::open(parent) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        opened => OwnedFd::from(opened.with_context(removing)?),
    };
    let name = CString::new(name.as_bytes()).with_context(removing)?;
    for _ in 0..PASSES {
        let top = match open_directory(&parent, &name) {
            Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                return unlink(&parent, &name, UnlinkatFlags::NoRemoveDir).with_context(removing);
            }
            opened => opened.map_err(explain).with_context(removing)?,
        };
        walk(top, path, &mut |event| match event {
            Event::Entered(_) => Ok(()),
            Event::Other(directory, name) => unlink(directory, name, UnlinkatFlags::NoRemoveDir),
            // Looked at again in the next pass.
            Event::Left(directory, name) => match unlink(directory, name, UnlinkatFlags::RemoveDir) {
                Err(Errno::ENOTEMPTY) => Ok(()),
                removed => removed,
            },
            Event::Mount => Err(Errno::EXDEV),
        })
        .with_context(removing)?;
        match unlink(&parent, &name, UnlinkatFlags::RemoveDir) {
            Err(Errno::ENOTEMPTY) => {}
            removed => return removed.with_context(removing),
        }
    }
    bail!("{}: something is put into it meanwhile", removing())
}

/// What `directory` holds, itself not counted, nor what other mounts show in it.
///
/// # Errors
/// Something cannot be read. What vanishes meanwhile is no error.
pub fn measure(directory: &Path) -> Result<Size> {
    let measuring = || format!("measuring {}", directory.display());
    let top = open(directory, directory_flags(), Mode::empty()).with_context(measuring)?;
    let mut size = Size::default();
    let mut seen = HashSet::new();
    let mut count = |stat: &FileStat| {
        size.files += 1;
        let linked = stat.st_nlink > 1 && kind(stat) != SFlag::S_IFDIR;
        if !linked || seen.insert(stat.st_ino) {
            size.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        }
    };
    walk(top, directory, &mut |event| {
        match event {
            Event::Entered(stat) => count(stat),
            Event::Other(directory, name) => match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Err(Errno::ENOENT) => {}
                looked => count(&looked?),
            },
            Event::Left(..) | Event::Mount => {}
        }
        Ok(())
    })
    .with_context(measuring)?;
    Ok(size)
}

/// What [`walk`] comes past.
enum Event<'a> {
    /// A directory, before what is in it.
    Entered(&'a FileStat),
    /// A name in a directory that is no directory itself.
    Other(&'a OwnedFd, &'a CStr),
    /// A directory that it is done with: the one that it is in, and its name there.
    Left(&'a OwnedFd, &'a CStr),
    /// A directory that something is mounted on; it is not entered.
    Mount,
}

type Visit<'a> = dyn FnMut(Event) -> nix::Result<()> + 'a;

/// A directory between the top and the place of work.
struct Frame {
    name: CString,
    stat: FileStat,
    /// Open, or to be found again from what is in it.
    open: Option<OwnedFd>,
    /// The directories in it that are still to be entered.
    below: Vec<CString>,
}

/// The error with what to do about it.
fn explain(error: Errno) -> anyhow::Error {
    match error {
        Errno::EXDEV | Errno::EBUSY => anyhow!("something is mounted there; unmount it first"),
        error => error.into(),
    }
}

/// Goes through the tree below `top`, which is at `path`: each directory before and after what is in it.
fn walk(top: OwnedFd, path: &Path, visit: &mut Visit) -> Result<()> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut next = Some((CString::default(), top));
    loop {
        if let Some((name, directory)) = next.take() {
            frames.push(Frame { stat: fstat(&directory)?, name, open: None, below: Vec::new() });
            let reading = enter(&mut frames, directory, visit);
            reading.map_err(|(name, error)| explain(error).context(place(path, &frames, &name)))?;
            let shallow = frames.len().checked_sub(OPEN + 1);
            if let Some(frame) = shallow.and_then(|index| frames.get_mut(index)) {
                frame.open = None;
            }
        }
        let Some(frame) = frames.last_mut() else { return Ok(()) };
        let name = frame.below.pop();
        let result = match (&name, &frame.open) {
            (Some(name), Some(directory)) => match open_directory(directory, name) {
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(()),
                Err(Errno::EXDEV) => visit(Event::Mount),
                opened => opened.map(|opened| next = Some((name.clone(), opened))),
            },
            _ => leave(&mut frames, visit),
        };
        result.map_err(explain).with_context(|| place(path, &frames, &name.unwrap_or_default()))?;
    }
}

/// Reads the directory of the last frame: reports it and what is not a directory in it, and keeps the names of those that are.
fn enter(frames: &mut [Frame], directory: OwnedFd, visit: &mut Visit) -> Result<(), (CString, Errno)> {
    let here = |error: Errno| (CString::default(), error);
    let is_top = frames.len() == 1;
    let Some(frame) = frames.last_mut() else { return Ok(()) };
    if !is_top {
        visit(Event::Entered(&frame.stat)).map_err(here)?;
    }
    let copy = directory.try_clone().map_err(|error| here(Errno::try_from(error).unwrap_or(Errno::EMFILE)))?;
    for entry in Dir::from_fd(copy).map_err(here)?.iter() {
        let entry = entry.map_err(here)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_directory = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            // A file system that keeps no types in its directories.
            None => fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|s| kind(&s) == SFlag::S_IFDIR),
        };
        if is_directory {
            frame.below.push(name.to_owned());
        } else {
            visit(Event::Other(&directory, name)).map_err(|error| (name.to_owned(), error))?;
        }
    }
    frame.open = Some(directory);
    Ok(())
}

/// Goes from the last frame, which is done, back to the one before it.
fn leave(frames: &mut Vec<Frame>, visit: &mut Visit) -> nix::Result<()> {
    let Some(done) = frames.pop() else { return Ok(()) };
    let (Some(parent), Some(directory)) = (frames.last_mut(), done.open) else { return Ok(()) };
    let open = match parent.open.take() {
        Some(open) => open,
        None => {
            let open = open_directory(&directory, c"..")?;
            let stat = fstat(&open)?;
            if (stat.st_dev, stat.st_ino) != (parent.stat.st_dev, parent.stat.st_ino) {
                // Somebody moved it while it was gone through.
                return Err(Errno::ESTALE);
            }
            open
        }
    };
    let result = visit(Event::Left(&open, &done.name));
    parent.open = Some(open);
    result
}

/// Opens a directory for reading, if `name` is one and nothing is mounted on it. Reading leaves no access time behind.
fn open_directory(parent: &OwnedFd, name: &CStr) -> nix::Result<OwnedFd> {
    // The kernel (5.6 and later) knows best what a mount is: one of the same file system has the same device number.
    let how = OpenHow::new().flags(directory_flags() | OFlag::O_NOFOLLOW).resolve(ResolveFlag::RESOLVE_NO_XDEV);
    openat2(parent, name, how)
}

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOATIME | OFlag::O_CLOEXEC
}

/// Removes one name. What protects it is taken away first where that is the reason why it cannot be removed.
fn unlink(directory: &OwnedFd, name: &CStr, flag: UnlinkatFlags) -> nix::Result<()> {
    let removed = match unlinkat(directory, name, flag) {
        Err(Errno::EPERM) => {
            sys::unprotect(directory)?;
            unprotect(directory, name)?;
            unlinkat(directory, name, flag)
        }
        removed => removed,
    };
    match removed {
        Err(Errno::ENOENT) => Ok(()),
        removed => removed,
    }
}

/// Takes the flags from `name` that keep it from being removed. Other kinds than these two cannot have them, and a device is not opened.
fn unprotect(directory: &OwnedFd, name: &CStr) -> nix::Result<()> {
    let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if !matches!(kind(&stat), SFlag::S_IFREG | SFlag::S_IFDIR) {
        return Ok(());
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    sys::unprotect(&openat(directory.as_fd(), name, flags, Mode::empty())?)
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Where `name` is, for a message; of a deep tree only the ends.
fn place(top: &Path, frames: &[Frame], name: &CStr) -> String {
    const ENDS: usize = 8;
    let names = frames.iter().skip(1).map(|frame| frame.name.as_c_str()).chain((!name.is_empty()).then_some(name));
    let names: Vec<&OsStr> = names.map(|name| OsStr::from_bytes(name.to_bytes())).collect();
    let mut path = PathBuf::from(top);
    if names.len() > 2 * ENDS {
        path.extend(&names[..ENDS]);
        path.push("...");
        path.extend(&names[names.len() - ENDS..]);
    } else {
        path.extend(&names);
    }
    path.display().to_string()
}

#[cfg(test)]
mod tests;
