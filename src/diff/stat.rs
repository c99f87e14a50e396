//! What lstat(2) tells of a path. The standard library cannot ask for it relative to an open directory, and to look every path up from
//! the root of the node takes longer than all else that is done with most of them.

use super::change::{FileType, Owner};
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What lstat(2) tells of a path.
#[derive(Debug, Clone, Copy)]
pub struct Stat(FileStat);

impl Stat {
    /// Of this path; no symlink at its end is followed.
    ///
    /// # Errors
    /// Those of lstat(2).
    pub fn of(path: &Path) -> io::Result<Stat> {
        Ok(Stat(fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW)?))
    }

    /// Of this name in an open directory.
    ///
    /// # Errors
    /// Those of lstat(2).
    pub fn at(directory: impl AsFd, name: &OsStr) -> io::Result<Stat> {
        Ok(Stat(fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?))
    }

    /// Of an open file.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn of_file(file: &File) -> io::Result<Stat> {
        Ok(Stat(fstat(file)?))
    }

    fn kind(&self) -> SFlag {
        SFlag::from_bits_truncate(self.0.st_mode & SFlag::S_IFMT.bits())
    }

    /// Its type.
    pub fn file_type(&self) -> FileType {
        match self.kind() {
            SFlag::S_IFDIR => FileType::Directory,
            SFlag::S_IFLNK => FileType::Symlink,
            SFlag::S_IFCHR => FileType::CharacterDevice,
            SFlag::S_IFBLK => FileType::BlockDevice,
            SFlag::S_IFIFO => FileType::Fifo,
            SFlag::S_IFSOCK => FileType::Socket,
            _ => FileType::File,
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == SFlag::S_IFDIR
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind() == SFlag::S_IFREG
    }

    /// Whether it is a character device 0:0, which stands for a deleted path.
    pub fn is_whiteout(&self) -> bool {
        self.kind() == SFlag::S_IFCHR && self.device() == 0
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        u64::try_from(self.0.st_size).unwrap_or(0)
    }

    /// Permissions with set-uid, set-gid and sticky bit.
    pub fn permissions(&self) -> u32 {
        self.0.st_mode & 0o7777
    }

    /// User and group.
    pub fn owner(&self) -> Owner {
        Owner { uid: self.0.st_uid, gid: self.0.st_gid }
    }

    /// What device it stands for.
    pub fn device(&self) -> nix::libc::dev_t {
        self.0.st_rdev
    }

    /// Whether both were modified at the same time.
    pub fn is_as_old_as(&self, other: &Stat) -> bool {
        (self.0.st_mtime, self.0.st_mtime_nsec) == (other.0.st_mtime, other.0.st_mtime_nsec)
    }
}

/// Opens a directory to look names up in it.
///
/// # Errors
/// It is not there, or is none.
pub fn directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// Opens a regular file of a layer for reading, by its name in an open directory. Neither a symlink nor a FIFO that has taken its place is
/// waited for or followed, and the file's access time stays.
///
/// # Errors
/// It is not there, or cannot be read.
pub fn open_at(directory: impl AsFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOATIME | OFlag::O_CLOEXEC;
    Ok(File::from(openat(directory, name, flags, Mode::empty())?))
}
