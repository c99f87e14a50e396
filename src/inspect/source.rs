//! The image as a file that can be read anywhere: the one that was named, or what was packed in it, in a temporary file without a name.

use super::packing::{self, Packing};
use crate::output::tell;
use crate::sparse::{PIECE, fill, put};
use crate::units::Bytes;
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind, IsTerminal, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// An image that can be read.
#[derive(Debug)]
pub struct Source {
    /// All of it, not packed.
    pub file: File,
    /// Its length in bytes, not packed.
    pub length: Bytes,
    /// What it was packed by.
    pub packing: Packing,
}

/// Opens the image `path`, which is not changed. A packed one is unpacked into a file that has no name, so that nothing of it stays when
/// this process ends, however it ends: in `$TMPDIR`, or where that is not set beside the image, or else in `/var/tmp`.
///
/// # Errors
/// It is no image, cannot be read, was cut short or is damaged; there is no room to unpack it. The message says what to do.
pub fn open(path: &Path) -> Result<Source> {
    let named = Named::open(path)?;
    let (packing, length) = (named.packing, named.length);
    if packing == Packing::None {
        return Ok(Source { file: named.file, length, packing });
    }
    if std::io::stderr().is_terminal() {
        tell(format_args!("unpacking {}; this can take a minute", path.display()));
    }
    let (into, directory) = temporary(path)?;
    let length = named.unpack(&into, &|_| {}, |error| no_room(path, &directory, error))?;
    Ok(Source { file: into, length, packing })
}

/// A file that was named as an image, and what it begins with.
pub(crate) struct Named {
    path: PathBuf,
    pub file: File,
    pub packing: Packing,
    /// That of the file: of an image that is packed, how long it is packed.
    pub length: Bytes,
    /// It is a block device: a card.
    pub is_device: bool,
}

impl Named {
    /// Opens it. Reads only.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(path: &Path) -> Result<Named> {
        let shown = path.display();
        ensure!(
            path != Path::new("-"),
            "an image is not read from standard input, for it is read in any order; name a file (`./-` is one of that name)"
        );
        let metadata = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => bail!("{shown} is not there; check the name"),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => bail!("{}", forbidden(path)),
            metadata => metadata.with_context(|| format!("looking at {shown}"))?,
        };
        let kind = metadata.file_type();
        ensure!(!kind.is_dir(), "{shown} is a directory; name the image file itself");
        ensure!(kind.is_file() || kind.is_block_device(), "{shown} is no file; name an image file");
        ensure!(
            cfg!(target_os = "linux") || !kind.is_block_device(),
            "{shown} is a card, and cards are read on Linux alone; copy it into a file with `dd`, and name that"
        );
        let mut file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => bail!("{}", forbidden(path)),
            opened => opened.with_context(|| format!("opening {shown}"))?,
        };
        let mut head = Vec::new();
        let reading = || format!("reading {shown}");
        (&file).take(packing::HEAD as u64).read_to_end(&mut head).with_context(reading)?;
        ensure!(!head.is_empty(), "{shown} is empty; download the image again");
        let packing = packing::of(&head);
        if packing == Packing::None {
            check(path, packing, &head)?;
        }
        let length = Bytes(file.seek(SeekFrom::End(0)).with_context(reading)?);
        file.rewind().with_context(reading)?;
        Ok(Named { path: path.to_owned(), file, packing, length, is_device: kind.is_block_device() })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unpacks it into an empty file, and says how long that is now. `progress` is told how many bytes of the packed file were read since
    /// it was told last; `failed` is what an error means that came of writing.
    ///
    /// # Errors
    /// It is no image, was cut short or is damaged; it cannot be written.
    pub fn unpack(
        &self,
        into: &File,
        progress: &dyn Fn(u64),
        failed: impl Fn(std::io::Error) -> anyhow::Error,
    ) -> Result<Bytes> {
        let (path, packing) = (&self.path, self.packing);
        let counted = Counted { file: &self.file, progress };
        let mut packed = packing::unpacked(packing, BufReader::with_capacity(PIECE, counted))
            .with_context(|| format!("unpacking {}", path.display()))?;
        let mut piece = vec![0; PIECE];
        let mut length = fill(&mut packed, &mut piece).map_err(|error| damaged(path, packing, &error))?;
        check(path, packing, &piece[..length])?;
        let mut at = 0;
        while length > 0 {
            put(into, at, &piece[..length]).map_err(&failed)?;
            at += length as u64;
            length = fill(&mut packed, &mut piece).map_err(|error| damaged(path, packing, &error))?;
        }
        into.set_len(at).map_err(&failed)?;
        Ok(Bytes(at))
    }
}

/// Tells how much was read.
struct Counted<'f> {
    file: &'f File,
    progress: &'f dyn Fn(u64),
}

impl Read for Counted<'_> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(room)?;
        (self.progress)(count as u64);
        Ok(count)
    }
}

fn forbidden(path: &Path) -> String {
    format!("you may not read {}; run this with sudo, or name a copy that you can read", path.display())
}

/// Whether something that begins so may be a disk: the two bytes at the end of the first sector are those of any partition table.
fn check(path: &Path, packing: Packing, head: &[u8]) -> Result<()> {
    let shown = path.display();
    if let Some((what, remedy)) = packing::other(head) {
        bail!("{shown} is {what}; {remedy}");
    }
    let what = if packing == Packing::None { shown.to_string() } else { format!("what is packed in {shown}") };
    ensure!(packing::of(head) == Packing::None, "{what} is packed once more; unpack it by hand");
    ensure!(
        head.get(510..512) == Some(&[0x55, 0xAA]),
        "{what} is no disk image: its first sector has no partition table; name an image that can be burned with `dd`"
    );
    Ok(())
}

/// A file without a name, and the directory that it is in.
fn temporary(image: &Path) -> Result<(File, PathBuf)> {
    let beside = || image.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let directories = match std::env::var_os("TMPDIR").filter(|directory| !directory.is_empty()) {
        Some(directory) => vec![PathBuf::from(directory)],
        None => vec![beside(), PathBuf::from("/var/tmp")],
    };
    let mut failed = anyhow!("there is no directory for it");
    for directory in directories {
        match tempfile::tempfile_in(&directory) {
            Ok(file) => return Ok((file, directory)),
            Err(error) => failed = anyhow!(error).context(format!("making a file in {}", directory.display())),
        }
    }
    Err(failed.context(format!(
        "{} is packed, and there is no place to unpack it; set TMPDIR to a directory that you can write to",
        image.display()
    )))
}

fn no_room(image: &Path, directory: &Path, error: std::io::Error) -> anyhow::Error {
    let what = format!("unpacking {} into {}", image.display(), directory.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            anyhow!("{what}: there is no room ({error}); set TMPDIR to a directory with enough of it")
        }
        _ => anyhow!(error).context(what),
    }
}

fn damaged(image: &Path, packing: Packing, error: &std::io::Error) -> anyhow::Error {
    let image = image.display();
    let again = "download it again, and compare it with the checksum that its publisher gives";
    match error.kind() {
        ErrorKind::UnexpectedEof => {
            anyhow!("{image} is cut short: its {packing} data end before they are complete; {again}")
        }
        _ if packing::is_behind(error) => {
            anyhow!(
                "{image} has something behind the end of its {packing} data, which is no part of the image; {again}"
            )
        }
        _ => anyhow!("{image} cannot be unpacked: its {packing} data are damaged ({error}); {again}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_read_is_told_with_a_remedy() {
        let text = forbidden(Path::new("/dev/sdx"));
        assert_eq!(text, "you may not read /dev/sdx; run this with sudo, or name a copy that you can read");
        let text = open(Path::new("-")).unwrap_err().to_string();
        assert!(text.starts_with("an image is not read from standard input"), "{text}");
    }
}
