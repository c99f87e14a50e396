//! The members of an ar archive, which a .deb is (deb(5); ar(5) of the BSDs).

use super::{CUT, DAMAGED};
use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Seek, SeekFrom};

/// What an archive begins with.
const MAGIC: &[u8; 8] = b"!<arch>\n";
/// The length of a member's header, in bytes.
const HEADER: u64 = 60;
/// What a header ends with.
const END: &[u8; 2] = b"`\n";

/// Where a member is in its archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// Where its content begins, in bytes from the beginning of the archive.
    pub offset: u64,
    /// How long its content is, in bytes.
    pub size: u64,
}

/// The members of an archive, one after the other.
pub struct Members<R> {
    archive: R,
    /// How long the archive is, in bytes.
    length: u64,
    /// Where the next header is.
    next: u64,
}

impl<R: Read + Seek> Members<R> {
    /// # Errors
    /// It is no archive; it cannot be read.
    pub fn of(mut archive: R) -> Result<Members<R>> {
        let length = archive.seek(SeekFrom::End(0))?;
        archive.rewind()?;
        let mut magic = Vec::new();
        (&mut archive).take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        ensure!(!magic.is_empty(), "it is empty; {CUT}");
        ensure!(
            magic == MAGIC,
            "it is no Debian package: one begins with `!<arch>`; give a file that `dpkg-deb --info` can read"
        );
        Ok(Members { archive, length, next: MAGIC.len() as u64 })
    }

    /// The next member; `None` at the end.
    ///
    /// # Errors
    /// The archive is damaged, or cut short; it cannot be read.
    pub fn next(&mut self) -> Result<Option<Member>> {
        if self.next >= self.length {
            return Ok(None);
        }
        let offset = self.next + HEADER;
        ensure!(offset <= self.length, "it ends within a header; {CUT}");
        let mut header = [0; HEADER as usize];
        self.archive.seek(SeekFrom::Start(self.next))?;
        self.archive.read_exact(&mut header)?;
        ensure!(header[58..] == *END, "at byte {} there is no header of ar; {DAMAGED}", self.next);
        let (Some(name), Some(size)) = (text(&header[..16]), text(&header[48..58])) else {
            bail!("the header at byte {} is no text; {DAMAGED}", self.next);
        };
        // GNU's ar ends names with a slash.
        let name = name.strip_suffix('/').unwrap_or(name).to_owned();
        // Ten digits at most, which go into 64 bits.
        ensure!(size.bytes().all(|byte| byte.is_ascii_digit()), "the size of {name} is no number; {DAMAGED}");
        let size: u64 = size.parse().with_context(|| format!("the size of {name}; {DAMAGED}"))?;
        ensure!(offset + size <= self.length, "it ends in the midst of {name}; {CUT}");
        // Members begin at even bytes.
        self.next = (offset + size).next_multiple_of(2);
        Ok(Some(Member { name, offset, size }))
    }
}

/// A field of a header, without the spaces that fill it up.
fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok().filter(|text| text.is_ascii()).map(str::trim_end)
}
