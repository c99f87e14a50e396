//! A file that is at its place when it is whole, and not before: what is written goes into a temporary file beside it.
//!
//! That has no name where the file system can do without (open(2), `O_TMPFILE`), so that nothing of it is left, however the program ends.
//! Elsewhere it has one, and is removed when something fails, and on SIGINT, SIGTERM and SIGHUP.

use super::packing::{self, Failure};
use crate::doomed::{Doomed, undisturbed};
use crate::inspect::Packing;
use crate::sparse::{PIECE, stretches};
use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;

/// An image that is being written.
#[derive(Debug)]
pub struct Output {
    file: Pending,
    packing: Packing,
    /// The name of what [`Output::beside`] made, where that has one.
    beside: Option<Named>,
    /// The SHA-256, where it is known already.
    digest: Option<[u8; 32]>,
}

impl Output {
    /// Begins the image at `target`, whose name says how it is packed. What is there now stays until the new one is whole.
    ///
    /// # Errors
    /// `target` is a directory or a device, or has the name of a packing that is not written; nothing can be made in its directory.
    pub fn create(target: &Path) -> Result<Output> {
        let packing = packing::of_target(target)?;
        Ok(Output { file: Pending::create(target)?, packing, beside: None, digest: None })
    }

    /// How it is packed.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// The file, which is empty at first: where it is not packed, the image can be made in it.
    pub fn file(&self) -> &File {
        &self.file.file
    }

    /// Writes the first `length` bytes of `image`, packed as the name says. `progress` is told how many bytes were done since it was told
    /// last.
    ///
    /// # Errors
    /// The image cannot be read; there is no room, or it cannot be written otherwise.
    pub fn fill(&self, image: &File, length: u64, progress: &dyn Fn(u64)) -> Result<()> {
        packing::pack(image, length, self.packing, self.file(), progress).map_err(|failure| self.told(failure))
    }

    /// What a failure means.
    pub fn told(&self, failure: Failure) -> anyhow::Error {
        match failure {
            Failure::Reading(error) => anyhow!(error).context("reading the image"),
            Failure::Writing(error) => self.failed(error),
        }
    }

    /// An empty file in the same directory, in which what is to be packed is made. On Linux it has no name; elsewhere programs would not
    /// reach it then (see [`super::check::path_for_programs`]), and it is there as long as this.
    ///
    /// # Errors
    /// None can be made there.
    pub fn beside(&mut self) -> Result<File> {
        let directory = directory(&self.file.target);
        let making = || format!("making a file in {}", directory.display());
        if cfg!(target_os = "linux") {
            return tempfile::tempfile_in(directory).with_context(making);
        }
        let (file, named) = Named::create(&self.file.target).with_context(making)?;
        self.beside = Some(named);
        Ok(file)
    }

    /// What an error means that came of writing the image.
    pub fn failed(&self, error: io::Error) -> anyhow::Error {
        self.file.failed(error)
    }

    /// Has what is finished looked at by `check`, which writes nothing. The checksum of an image that is not packed is made meanwhile, for
    /// all of it has to be read for that, holes too.
    ///
    /// # Errors
    /// As `check`; it cannot be read.
    pub fn look(&mut self, check: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.packing != Packing::None {
            return check();
        }
        // Asking for them moves the file's position, which `check` may have, too.
        let (length, stretches) = self.file.stretches()?;
        let file = &self.file;
        let digest = thread::scope(|scope| {
            let hashing = scope.spawn(move || file.digest(length, stretches));
            check()?;
            hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        self.digest = Some(digest);
        Ok(())
    }

    /// Puts the image at its place, and beside it `NAME.sha256`, as sha256sum(1) writes and reads it. The checksum is there first.
    ///
    /// # Errors
    /// As [`Output::fill`]: what was at the place is there still. A checksum is not, where there was none; an old one may be lost.
    pub fn publish(self) -> Result<()> {
        let target = self.file.target.clone();
        let digest = match self.digest {
            Some(digest) => digest,
            None => {
                let (length, stretches) = self.file.stretches()?;
                self.file.digest(length, stretches)?
            }
        };
        let checksum_at = checksum_of(&target);
        let checksum = Pending::create(&checksum_at)?;
        let line = line(&digest, target.file_name().unwrap_or_default());
        (&checksum.file).write_all(&line).map_err(|error| checksum.failed(error))?;
        checksum.flush()?;
        self.file.flush()?;
        let was_there = checksum_at.exists();
        // What takes time is done: now both are placed, or neither.
        undisturbed(|| {
            checksum.place()?;
            let placed = self.file.place();
            if placed.is_err() && !was_there {
                // The reason that counts is the one being returned.
                let _ = fs::remove_file(&checksum_at);
            }
            placed
        })
    }
}

/// Where the checksum of `target` goes. Pure.
pub fn checksum_of(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

/// Whether a file can be put at `target`.
///
/// # Errors
/// There is a directory or a device; the directory that it is to be in is not there; it is no name of a file.
pub fn check(target: &Path) -> Result<()> {
    let shown = target.display();
    match fs::metadata(target) {
        Ok(found) if found.is_dir() => bail!("{shown} is a directory; name the image file itself"),
        Ok(found) => ensure!(found.is_file(), "{shown} is no file; name a file that is to be made"),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("looking at {shown}")),
    }
    let is_name = target.file_name().is_some() && !target.as_os_str().as_bytes().ends_with(b"/");
    ensure!(is_name, "{shown} is no name for a file");
    let directory = directory(target);
    ensure!(directory.is_dir(), "there is no directory {}; make it first, or name another place", directory.display());
    packing::of_target(target).map(drop)
}

/// A line of sha256sum(1): where the name has a backslash or an end of line, they are escaped, and a backslash stands before it all. Pure.
fn line(digest: &[u8], name: &OsStr) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in name.as_bytes() {
        match byte {
            b'\\' => escaped.extend(b"\\\\"),
            b'\n' => escaped.extend(b"\\n"),
            b'\r' => escaped.extend(b"\\r"),
            byte => escaped.push(*byte),
        }
    }
    let mut line = Vec::new();
    if escaped.len() != name.len() {
        line.push(b'\\');
    }
    for byte in digest {
        line.extend(format!("{byte:02x}").bytes());
    }
    line.extend(b"  ");
    line.extend(escaped);
    line.push(b'\n');
    line
}

/// A file that is not at its place yet. Where it never gets there, nothing stays of it.
#[derive(Debug)]
struct Pending {
    file: File,
    target: PathBuf,
    /// Where it has a name.
    named: Option<Named>,
    /// What it gets in the end, of the file that it takes the place of.
    mode: Option<u32>,
}

impl Pending {
    fn create(target: &Path) -> Result<Pending> {
        check(target)?;
        let making = || format!("making a file in {}", directory(target).display());
        let (file, named) = match unnamed(directory(target)) {
            Ok(file) => (file, None),
            // What is not known there at all, an old kernel takes for opening a directory.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(nix::libc::EOPNOTSUPP | nix::libc::EISDIR | nix::libc::EINVAL | nix::libc::ENOSYS)
                ) =>
            {
                let (file, named) = Named::create(target).with_context(making)?;
                (file, Some(named))
            }
            Err(error) => return Err(error).with_context(making),
        };
        let replaced = fs::metadata(target).ok();
        let mode = replaced.map(|replaced| take_over(&file, &replaced)).transpose().with_context(making)?;
        Ok(Pending { file, target: target.to_owned(), named, mode })
    }

    /// What an error means that came of writing.
    fn failed(&self, error: io::Error) -> anyhow::Error {
        let shown = self.target.display();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => anyhow!(
                "there is no room for {shown} in {} ({error}); make some, or name a place with more",
                directory(&self.target).display()
            ),
            _ => anyhow!(error).context(format!("writing {shown}")),
        }
    }

    /// Its length in bytes, and what of it takes room.
    fn stretches(&self) -> Result<(u64, Vec<Range<u64>>)> {
        let length = self.file.metadata().with_context(|| self.reading())?.len();
        Ok((length, stretches(&self.file, length).with_context(|| self.reading())?))
    }

    fn reading(&self) -> String {
        format!("reading what {} is to be", self.target.display())
    }

    /// The SHA-256 of its content. What is none of the `stretches` is zero, and is not read.
    fn digest(&self, length: u64, stretches: Vec<Range<u64>>) -> Result<[u8; 32]> {
        let (mut digest, zeros) = (Sha256::new(), vec![0; PIECE]);
        let mut piece = zeros.clone();
        let mut at = 0;
        let end = Some(length..length);
        for stretch in stretches.into_iter().chain(end) {
            while at < stretch.start {
                let count = (stretch.start - at).min(PIECE as u64);
                digest.update(&zeros[..count as usize]);
                at += count;
            }
            while at < stretch.end {
                let count = (stretch.end - at).min(PIECE as u64);
                let wanted = &mut piece[..count as usize];
                self.file.read_exact_at(wanted, at).with_context(|| self.reading())?;
                digest.update(&*wanted);
                at += count;
            }
        }
        Ok(digest.finalize().into())
    }

    fn flush(&self) -> Result<()> {
        self.file.sync_all().map_err(|error| self.failed(error))
    }

    /// Puts it at its place, in one step.
    fn place(self) -> Result<()> {
        self.flush()?;
        let placing = || format!("putting {} at its place", self.target.display());
        if let Some(mode) = self.mode {
            set_mode(&self.file, mode).with_context(placing)?;
        }
        let named = match &self.named {
            Some(_) => self.named,
            None => link(&self.file, &self.target).with_context(placing)?,
        };
        if let Some(named) = named {
            named.rename(&self.target).with_context(placing)?;
        }
        let directory = directory(&self.target);
        File::open(directory)
            .and_then(|open| open.sync_all())
            .with_context(|| format!("flushing the directory {}", directory.display()))
    }
}

/// Gives a new file the owner of the one that it takes the place of, and lets nobody read it who could not read that; says what mode it is to
/// have in the end. Until then its owner reads and writes it, whose programs open it by a path. To give a file away needs root; what a mode
/// grants to a group is not for another group.
fn take_over(file: &File, replaced: &Metadata) -> io::Result<u32> {
    let mine = file.metadata()?;
    let is_same = (mine.uid(), mine.gid()) == (replaced.uid(), replaced.gid());
    let given = is_same || fchown(file, Some(replaced.uid()), Some(replaced.gid())).is_ok();
    let mode = replaced.mode() & if given { 0o777 } else { 0o707 };
    set_mode(file, mode | 0o600)?;
    Ok(mode)
}

/// Sets a mode that is another one: where there are none, as on FAT, a call for it can be refused.
fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    if file.metadata()?.mode() & 0o7777 == mode {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(mode))
}

fn directory(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file without a name in a directory. `EOPNOTSUPP` and the like: there cannot be one that gets a name later.
fn unnamed(directory: &Path) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    if Path::new("/proc/self/fd").exists() {
        return OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_TMPFILE)
            .mode(0o666)
            .open(directory);
    }
    let _ = directory;
    Err(nix::errno::Errno::EOPNOTSUPP.into())
}

/// Gives a file without a name the name `target`; where that is taken, another one beside it, which is returned.
fn link(file: &File, target: &Path) -> Result<Option<Named>> {
    let from = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let link = |to: &Path| linkat(AT_FDCWD, &from, AT_FDCWD, to, AtFlags::AT_SYMLINK_FOLLOW);
    match link(target) {
        Ok(()) => Ok(None),
        Err(nix::errno::Errno::EEXIST) => {
            let named = Named::new(target)?;
            link(&named.path)?;
            Ok(Some(named))
        }
        Err(error) => Err(error.into()),
    }
}

/// The name of a temporary file. It is removed with this, and when a signal ends the program.
#[derive(Debug)]
struct Named {
    path: PathBuf,
    doomed: Option<Doomed>,
}

impl Named {
    /// A name beside `target` that nobody else has.
    fn new(target: &Path) -> Result<Named> {
        // Hidden, and no longer than any file system takes.
        let name = format!(".burnonce-{:016x}", RandomState::new().hash_one(std::process::id()));
        let path = directory(target).join(name);
        let doomed = Some(Doomed::new(&path)?);
        Ok(Named { path, doomed })
    }

    fn create(target: &Path) -> Result<(File, Named)> {
        let named = Named::new(target)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o666).open(&named.path)?;
        Ok((file, named))
    }

    fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.doomed = None;
        Ok(())
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if self.doomed.is_some() {
            // It may not have been made yet, and nobody can be told.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;
