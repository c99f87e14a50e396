//! The file systems of an image, judged by the checkers of e2fsprogs and dosfstools, and a root that was not unmounted got into order.

use super::packing::{self, Failure};
use super::programs;
use crate::command::Program;
use crate::doomed::Doomed;
use crate::filesystem::ext2::fit::Condition;
use crate::inspect::ext4::Ext4;
use crate::sparse::PIECE;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempPath};

/// Exit codes of e2fsck, bits of a sum (e2fsck(8)): errors were corrected; and the system should be restarted, which is about a mounted
/// root alone; errors are left.
const CORRECTED: i32 = 1;
const RESTART: i32 = 2;
const LEFT: i32 = 4;

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The file system is sound.
    Sound,
    /// This program is not there, so nothing was checked.
    LeftOut(&'static str),
}

/// The path by which libext2fs and other programs reach an open file. On Linux it may have no name: the path counts as long as this process
/// has the file open, and needs nothing to be inherited.
///
/// # Errors
/// /proc is not mounted.
#[cfg(target_os = "linux")]
pub fn path_for_programs(file: &File) -> Result<PathBuf> {
    use std::os::fd::AsRawFd;
    // "self" would be the program itself, which does not have the file open.
    let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
    ensure!(path.exists(), "{} is not there: /proc is not mounted", path.display());
    Ok(path)
}

/// The same on macOS, where a program reaches an open file by its name alone (fcntl(2), `F_GETPATH`).
///
/// # Errors
/// The file has no name any more.
#[cfg(not(target_os = "linux"))]
pub fn path_for_programs(file: &File) -> Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let mut path = PathBuf::new();
    nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_GETPATH(&mut path)).context("asking for the name of the image")?;
    let shown = path.display();
    let (there, open) = (path.metadata().with_context(|| format!("looking at {shown}"))?, file.metadata()?);
    ensure!(
        (there.dev(), there.ino()) == (open.dev(), open.ino()),
        "{shown} was replaced while it was worked on; try again"
    );
    Ok(path)
}

/// Gets the root file system that begins at the byte `offset` of `image` into order, where it was not unmounted: its journal is replayed,
/// and files are freed that were deleted while they were open. Says whether there was anything to do. The path is absolute.
///
/// Only what the file system itself began is ended. One with errors recorded is refused: what was lost in it, nobody knows, and each node
/// would get it.
///
/// e2fsck works on a copy in the directory for temporary files: after a replay it opens the file system again, and forgets that it has an
/// offset (`e2fsck/journal.c`, e2fsprogs 1.47.0).
///
/// # Errors
/// Errors are recorded, or more is damaged than e2fsck repairs unasked; e2fsck is not there and would have to be; nothing can be read.
pub fn repair(image: &Path, offset: u64) -> Result<bool> {
    let condition = || Ext4::open(image, offset)?.condition();
    match condition().context("looking at the root file system")? {
        Condition::InOrder => return Ok(false),
        Condition::Unfinished => {}
        Condition::Errors => bail!("errors are recorded in the root file system of the image. {REMEDY}"),
    }
    let e2fsck = programs::need("e2fsck").context("the root file system of the image was not unmounted")?;
    let size = Ext4::open(image, offset)?.facts()?.size.0;
    let file = File::options().read(true).write(true).open(image).context("opening the image to repair it")?;
    let copy = Copy::make(&file, offset, size).context("copying the root file system to repair it")?;
    let (code, said) = programs::judged(&Program::at(e2fsck).args(["-p", &programs::place(&copy.path, 0)?]))?;
    let (is_run, is_left) = (code & !(CORRECTED | RESTART | LEFT) == 0, code & LEFT != 0);
    ensure!(is_run, "e2fsck could not work on the root file system of the image (code {code}): {said}. {NEWER}");
    ensure!(
        !is_left && Ext4::open(&copy.path, 0)?.condition()? == Condition::InOrder,
        "the root file system of the image was not unmounted, and has damage that is not repaired unasked: {said}. {REMEDY}"
    );
    copy.put_back(&file, offset, size).context("writing the repaired root file system")?;
    Ok(true)
}

const REMEDY: &str =
    "Download the image again; or have a copy of it repaired by `e2fsck -f`, look at what was lost, and use that";
const SOUND: &str = "Download the image again; where it is sound before (`fsck.fat -n` of that partition, copied out of it, finds nothing), report this";
const NEWER: &str = "A newer e2fsprogs may know more; otherwise use another image";

/// Has the root file system that begins at the byte `offset` of `image` checked, all of it. Writes nothing. The path is absolute.
///
/// # Errors
/// It is damaged, or the check could not be made.
pub fn check(image: &Path, offset: u64) -> Result<Checked> {
    let place = programs::place(image, offset)?;
    let Some(e2fsck) = programs::find("e2fsck") else { return Ok(Checked::LeftOut("e2fsck")) };
    let (code, said) = programs::judged(&Program::at(e2fsck).args(["-f", "-n", &place]))?;
    match code {
        0 => Ok(Checked::Sound),
        code if code & LEFT != 0 => bail!("the root file system of the image is damaged: {said}. {REMEDY}"),
        code => bail!("the root file system of the image could not be checked (e2fsck, code {code}): {said}. {NEWER}"),
    }
}

/// Has the FAT checked that begins at the byte `start` of `file` and has `length` bytes. Writes nothing but a copy of it, in the directory
/// for temporary files and with holes where it is zero, for fsck.fat knows no offset.
///
/// # Errors
/// It is damaged, there is no room for the copy, or the check could not be made.
pub fn check_fat(file: &File, start: u64, length: u64) -> Result<Checked> {
    let Some(program) = ["fsck.fat", "fsck.vfat"].into_iter().find_map(programs::find) else {
        return Ok(Checked::LeftOut("fsck.fat"));
    };
    let copy = Copy::make(file, start, length).context("copying the boot partition to check it")?;
    let (code, said) =
        programs::judged(&Program::at(program).args([Path::new("-n"), &copy.path].map(|a| a.display().to_string())))?;
    // 1: something is wrong (fsck.fat(8)); where it could not even begin, it says 1, too.
    ensure!(code == 0, "the boot partition of the image is damaged (fsck.fat, code {code}): {said}. {SOUND}");
    Ok(Checked::Sound)
}

/// A part of a file as a file of its own, with holes. It goes when it is dropped.
struct Copy {
    file: File,
    path: PathBuf,
    /// Where programs cannot reach a file without one.
    _name: Option<(TempPath, Doomed)>,
}

impl Copy {
    fn make(of: &File, start: u64, length: u64) -> Result<Copy> {
        let end = start.checked_add(length).context("a partition beyond what 64 bits can count")?;
        ensure!(end <= of.metadata()?.len(), "the image ends before it");
        let directory = std::env::temp_dir();
        let writing = || format!("making a temporary file in {} (TMPDIR names another directory)", directory.display());
        let copy = if cfg!(target_os = "linux") {
            let file = tempfile::tempfile().with_context(writing)?;
            Copy { path: path_for_programs(&file)?, file, _name: None }
        } else {
            let (file, name) = NamedTempFile::with_prefix("burnonce-").with_context(writing)?.into_parts();
            let doomed = Doomed::new(&name)?;
            Copy { file, path: name.to_path_buf(), _name: Some((name, doomed)) }
        };
        match packing::copy(of, start..end, &copy.file, &|_| {}) {
            Ok(()) => Ok(copy),
            Err(Failure::Reading(error)) => Err(error).context("reading the image"),
            Err(Failure::Writing(error)) => Err(error).with_context(writing),
        }
    }

    /// Writes what has become different to where it came from.
    fn put_back(&self, to: &File, start: u64, length: u64) -> Result<()> {
        let [mut new, mut old] = [vec![0; PIECE], vec![0; PIECE]];
        for at in (0..length).step_by(PIECE) {
            let count = (length - at).min(PIECE as u64) as usize;
            let (new, old) = (&mut new[..count], &mut old[..count]);
            self.file.read_exact_at(new, at)?;
            to.read_exact_at(old, start + at)?;
            if new != old {
                to.write_all_at(new, start + at)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
