//! What is in the tar archives of a .deb. As dpkg, it reads ustar, and GNU's long names; nothing of POSIX' pax headers, nothing sparse.

use super::{CUT, DAMAGED};
use crate::filesystem::ext2::edit::Attributes;
use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use std::io::{self, ErrorKind, Read};
use tar::{Archive, EntryType, Header};

/// The longest file that is taken, in bytes.
const FILE: u64 = 256 << 20;
/// The most that an archive may have unpacked, in bytes.
pub const ALL: u64 = 2 << 30;
/// The most entries.
const ENTRIES: usize = 200_000;
/// The longest path, and target of a link, in bytes: one less than Linux' `PATH_MAX`.
const PATH: u64 = 4095;
/// The longest name in a path, in bytes.
const NAME: usize = 255;

/// Something that a package brings along.
pub struct Entry<'r> {
    /// From the root, without a leading slash, without `.` and `..`: `usr/sbin/burnonce`.
    pub path: String,
    pub kind: Kind<'r>,
    pub attributes: Attributes,
}

/// What it is.
pub enum Kind<'r> {
    Directory,
    File {
        /// In bytes, at most 256 MiB.
        size: u64,
        /// So many bytes, or an error.
        content: &'r mut dyn Read,
    },
    /// A link to this, as it is written.
    Symlink(String),
    /// Another name of the file that came before at this path, which is as [`Entry::path`] is.
    Hardlink(String),
}

/// Calls `each` for what is in the archive, in its order, without the root itself; then reads to its end, so that checksums are checked. At
/// most `most` bytes are unpacked.
///
/// # Errors
/// The archive is damaged or cut short, is larger than it may be, or has in it what no package should have; what `each` fails with.
pub fn entries(archive: impl Read, most: u64, mut each: impl FnMut(Entry<'_>) -> Result<()>) -> Result<()> {
    let mut archive = Archive::new(Limited { inner: archive, left: most });
    let mut names = LongNames::default();
    // Raw: the crate would read long names and pax headers of any length into memory.
    let entries = archive.entries().map_err(told)?.raw(true);
    for (count, entry) in entries.enumerate() {
        ensure!(count < ENTRIES, "it has more than {ENTRIES} entries; no such package is taken");
        let mut entry = entry.map_err(told)?;
        let header = entry.header().clone();
        let size = entry.size();
        if names.take(&header, size, &mut entry)? {
            continue;
        }
        let given = path(&names.path.take().unwrap_or_else(|| header.path_bytes().into_owned()))?;
        let target = names.target.take();
        if given.is_empty() {
            continue;
        }
        let looking = || format!("/{given}");
        let mut content = Content { inner: &mut entry, left: size };
        let kind = kind(&header, target, &mut content).with_context(looking)?;
        let attributes = attributes(&header).with_context(looking)?;
        each(Entry { path: given.clone(), kind, attributes })?;
        io::copy(&mut content, &mut io::sink()).with_context(looking)?;
    }
    ensure!(names.path.is_none() && names.target.is_none(), "it ends after a name; {CUT}");
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(told)?;
    Ok(())
}

/// What an entry is.
fn kind<'r>(header: &Header, target: Option<Vec<u8>>, content: &'r mut Content<'_>) -> Result<Kind<'r>> {
    let target = || target.or_else(|| header.link_name_bytes().map(|name| name.into_owned())).unwrap_or_default();
    Ok(match header.entry_type() {
        EntryType::Directory => Kind::Directory,
        // So it was before there was a type for them.
        EntryType::Regular if header.path_bytes().ends_with(b"/") => Kind::Directory,
        EntryType::Regular => {
            let size = content.left;
            ensure!(size <= FILE, "it has {size} bytes; no file of a package may have more than {} MiB", FILE >> 20);
            Kind::File { size, content }
        }
        EntryType::Symlink => {
            let target = String::from_utf8(target()).ok().filter(|text| !text.is_empty() && !text.contains('\0'));
            Kind::Symlink(target.with_context(|| format!("the target of the link is no text; {DAMAGED}"))?)
        }
        EntryType::Link => {
            let target = path(&target())?;
            ensure!(!target.is_empty(), "it is a link to nothing; {DAMAGED}");
            Kind::Hardlink(target)
        }
        EntryType::XHeader | EntryType::XGlobalHeader => {
            bail!("it has a pax header, which dpkg does not read; build the package with `dpkg-deb --build`")
        }
        EntryType::GNUSparse => {
            bail!("it is sparse, which dpkg does not read; build the package with `dpkg-deb --build`")
        }
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            bail!("it is a device or a pipe, which burnonce takes from no package")
        }
        other => bail!("it is of an unknown kind, {:?}; {DAMAGED}", char::from(other.as_byte())),
    })
}

fn attributes(header: &Header) -> Result<Attributes> {
    let number = |number: io::Result<u64>| -> Result<u32> {
        u32::try_from(number.map_err(told)?).map_err(|_| anyhow!("its owner has a number that is too large; {DAMAGED}"))
    };
    Ok(Attributes {
        // Twelve bits; the rest is the kind.
        mode: (header.mode().map_err(told)? & 0o7777) as u16,
        uid: number(header.uid())?,
        gid: number(header.gid())?,
        mtime: header.mtime().map_err(told)?,
    })
}

/// A path of the archive, as in [`Entry::path`]; empty for the root itself.
fn path(bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let text = text.with_context(|| format!("it has a name that is no text: `{}`; {DAMAGED}", bytes.escape_ascii()))?;
    ensure!(!text.starts_with('/'), "it has the absolute path `{text}`, which no package should have: do not use it");
    let names: Vec<&str> = text.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    ensure!(!names.contains(&".."), "it has the path `{text}`, which leads out of the root: do not use it");
    ensure!(names.iter().all(|name| name.len() <= NAME), "it has a name of more than {NAME} bytes: `{text}`");
    Ok(names.join("/"))
}

/// What is at fault where an archive could not be read.
fn told(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => anyhow!("it ends too early; {CUT}"),
        // The sentences of `Limited`.
        ErrorKind::FileTooLarge => anyhow!(error),
        _ => anyhow!("{error}; {DAMAGED}"),
    }
}

/// Names that are too long for a header, and come before it as the content of an entry of their own (GNU tar's manual, "Basic Tar Format").
#[derive(Default)]
struct LongNames {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

impl LongNames {
    /// Takes the name that an entry has; says whether it has one.
    fn take(&mut self, header: &Header, size: u64, content: &mut impl Read) -> Result<bool> {
        let place = match header.entry_type() {
            EntryType::GNULongName => &mut self.path,
            EntryType::GNULongLink => &mut self.target,
            _ => return Ok(false),
        };
        // With the zero at its end.
        ensure!(size <= PATH + 1, "it has a path of {size} bytes; Linux takes no more than {PATH}");
        let mut name = Vec::new();
        Content { inner: content, left: size }.read_to_end(&mut name)?;
        while name.last() == Some(&0) {
            name.pop();
        }
        *place = Some(name);
        Ok(true)
    }
}

/// A file of the archive. That the archive ends within it is an error.
struct Content<'r> {
    inner: &'r mut dyn Read,
    left: u64,
}

/// Its errors say what to do: they come out of whatever reads the content.
impl Read for Content<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let given = match self.inner.read(room) {
            Ok(0) if self.left > 0 && !room.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
            other => other,
        };
        let given = given.map_err(|error| io::Error::new(error.kind(), told(error)))?;
        self.left = self.left.saturating_sub(given as u64);
        Ok(given)
    }
}

/// What has no more than so many bytes. That it has more is an error.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let given = self.inner.read(room)?;
        self.left = self.left.checked_sub(given as u64).ok_or_else(|| {
            io::Error::new(
                ErrorKind::FileTooLarge,
                "unpacked, it is larger than any package burnonce takes: do not use it",
            )
        })?;
        Ok(given)
    }
}
