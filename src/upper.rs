//! The upper partition, mounted somewhere: what is where on it, and how its parts are changed so that a power cut leaves the old or the
//! new.
//!
//! ```text
//! overlay/               the upper directory of the generation in use
//! overlay-workdir/_      its work directory
//! burnonce/state.json    see [`crate::state`]
//! burnonce/log/          what the consoles said of conversions and resets
//! burnonce/boot/         files of the boot partition that a first boot consumes, as they were burned
//! burnonce/generations/N/overlay   the upper directory of a generation that was set aside
//! burnonce/spare/        a new, empty pair `overlay` and `overlay-workdir/_`, ready for a reset of a full file system
//! burnonce/next/         the same, while a request is carried out
//! burnonce/reclaim/      what is being deleted; never used again
//! burnonce/ballast/      files that are deleted when something must be written and nothing else is free
//! ```

use crate::files;
use crate::state::{self, State};
use anyhow::{Context, Result};
use nix::errno::Errno;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

mod stock;

pub(crate) use stock::{is_spare, make_ballast, make_directory, names};

/// The extended attribute of an upper directory that holds its generation's number, in decimal digits. It is set before the directory
/// comes into use and goes with it through every rename. The one that conversion made has none and is number 1.
const NUMBER: &str = "trusted.burnonce.generation";

/// The directories that a new upper partition begins with, parents before what is in them; all 0755, root's.
pub const DIRECTORIES: [&str; 12] = [
    "",
    "overlay",
    "overlay-workdir",
    "overlay-workdir/_",
    "burnonce",
    "burnonce/log",
    "burnonce/generations",
    "burnonce/reclaim",
    "burnonce/spare",
    "burnonce/spare/overlay",
    "burnonce/spare/overlay-workdir",
    "burnonce/spare/overlay-workdir/_",
];

/// The longest state.json that is read, in bytes. With nine generations and many patterns it has a few thousand.
const LONGEST_STATE: u64 = 1 << 20;

/// An upper partition that is mounted.
#[derive(Debug, Clone)]
pub struct Upper {
    root: PathBuf,
}

impl Upper {
    /// The one whose root directory is `root`: [`crate::overlay::UPPER`] on a running node.
    pub fn at(root: impl Into<PathBuf>) -> Upper {
        Upper { root: root.into() }
    }

    /// Its root directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The upper directory in use.
    pub fn overlay(&self) -> PathBuf {
        self.root.join("overlay")
    }

    /// The work directory's parent, as overlayroot has it.
    pub fn workdir(&self) -> PathBuf {
        self.root.join("overlay-workdir")
    }

    /// Below `burnonce/`.
    pub fn own(&self, name: &str) -> PathBuf {
        self.root.join("burnonce").join(name)
    }

    /// Where generation `number` is set aside.
    pub fn generation(&self, number: u32) -> PathBuf {
        self.own("generations").join(number.to_string())
    }

    /// Reads state.json, and leaves no access time behind: a boot with nothing to do writes nothing to the card.
    ///
    /// # Errors
    /// It is not there, cannot be read, or is not for this agent.
    pub fn state(&self) -> Result<State> {
        let text = self.state_text().with_context(|| format!("reading {}", self.root.join(state::PATH).display()))?;
        state::parse(&text)
    }

    /// The text of state.json. A boot must get to its end whatever has that name: nothing is waited for (a pipe), followed (a link), or
    /// read without an end.
    ///
    /// # Errors
    /// `InvalidData`: it is no such file; those of open(2) and read(2).
    pub fn state_text(&self) -> io::Result<String> {
        let none = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why);
        let opened = fs::OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NOATIME | nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(self.root.join(state::PATH));
        let file = match opened {
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ELOOP | nix::libc::ENXIO)) => {
                return Err(none("it is no file"));
            }
            opened => opened?,
        };
        if !file.metadata()?.is_file() {
            return Err(none("it is no file"));
        }
        let mut bytes = Vec::new();
        file.take(LONGEST_STATE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST_STATE {
            return Err(none("it is too long"));
        }
        String::from_utf8(bytes).map_err(|_| none("it is no UTF-8 text"))
    }

    /// Replaces state.json. On a full file system the ballast is deleted for it.
    ///
    /// # Errors
    /// The file system takes no writes, or is full though there is no ballast any more.
    pub fn write_state(&self, state: &State) -> Result<()> {
        let (path, text) = (self.root.join(state::PATH), state.to_json()?);
        match files::replace(&path, &text) {
            Err(error) if is_full(&error) && self.drop_ballast()? => files::replace(&path, &text),
            written => written,
        }
    }

    /// The generation's number that the upper directory at `directory` carries.
    ///
    /// # Errors
    /// The directory or its attribute cannot be read.
    pub fn number(directory: &Path) -> Result<u32> {
        let reading = || format!("reading {NUMBER} of {}", directory.display());
        let Some(value) = xattr::get(directory, NUMBER).with_context(reading)? else { return Ok(1) };
        std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()).with_context(reading)
    }

    /// Gives the upper directory at `directory` its number. The attribute has room within the inode: a full file system takes it, too.
    ///
    /// # Errors
    /// The file system takes no writes.
    pub fn set_number(directory: &Path, number: u32) -> Result<()> {
        xattr::set(directory, NUMBER, number.to_string().as_bytes())
            .with_context(|| format!("setting {NUMBER} of {}", directory.display()))
    }

    /// Which file system it is on: changes of state.json and of the spare parts by two processes of a node exclude each other by a lock
    /// on this directory.
    ///
    /// # Errors
    /// Another process holds the lock: `burnonce reset`, `undo` or `reclaim` is at work.
    pub fn lock(&self) -> Result<nix::fcntl::Flock<fs::File>> {
        let path = self.own("");
        let directory = fs::File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        nix::fcntl::Flock::lock(directory, nix::fcntl::FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .with_context(|| format!("locking {}", path.display()))
    }
}

/// Whether the reason of `error` is that there is no space or no inode left.
pub fn is_full(error: &anyhow::Error) -> bool {
    let full = [Errno::ENOSPC as i32, Errno::EDQUOT as i32];
    error.chain().any(|cause| {
        let code = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        code.or(cause.downcast_ref::<Errno>().map(|e| *e as i32)).is_some_and(|code| full.contains(&code))
    })
}

/// Whether `path` is a whiteout: a character device 0:0 (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
pub fn is_whiteout(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}
