//! What an initramfs has in it: the names in its cpio archives.
//!
//! An initramfs is a row of archives of the form `newc`, each packed or not (kernel, `Documentation/driver-api/early-userspace/buffer-format.rst`).
//! Debian's is two: what must not be packed, and the rest, packed. `burnonce bake` puts one more behind them.

use super::packing::{self, Packing};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read};

/// The header of an entry: a magic number of 6 characters and 13 numbers of 8 hexadecimal digits.
const HEADER: usize = 110;
/// Where two of these numbers are: the length of the content, and that of the name with a NUL at its end.
const FILE_SIZE: usize = 6 + 6 * 8;
const NAME_SIZE: usize = 6 + 11 * 8;
/// The name of the last entry.
const TRAILER: &str = "TRAILER!!!";
/// The longest name, in bytes (PATH_MAX).
const LONGEST_NAME: u64 = 4096;
/// More than this, unpacked, is no initramfs, in bytes.
const MOST: u64 = 2 << 30;
/// More names than this are no initramfs.
const MOST_NAMES: usize = 200_000;
/// What U-Boot puts before an initramfs: a header of 64 bytes that begins so (`include/image.h`).
const UBOOT: [u8; 4] = [0x27, 0x05, 0x19, 0x56];

/// The paths in an initramfs, without a leading `./` or `/`.
///
/// # Errors
/// It is no initramfs, is damaged, or is packed by something other than xz, zstd or gzip.
pub fn names(file: impl Read) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut file = BufReader::new(file);
    if file.fill_buf()?.starts_with(&UBOOT) {
        skip(&mut file, 64)?;
    }
    archives(&mut file, &mut names, true)?;
    ensure!(!names.is_empty(), "there is no archive in it");
    Ok(names)
}

/// Reads one archive after the other. What is in a packed one is not packed again.
fn archives(file: &mut dyn BufRead, names: &mut BTreeSet<String>, may_be_packed: bool) -> Result<()> {
    loop {
        let head = file.fill_buf()?;
        match head {
            [] => return Ok(()),
            [0, ..] => {
                let zeros = head.iter().take_while(|byte| **byte == 0).count();
                file.consume(zeros);
            }
            [b'0', ..] => archive(file, names)?,
            _ if may_be_packed => {
                let packing = packing::of(head);
                let other = packing::other(head).map_or("packed by something else", |(what, _)| what);
                ensure!(packing != Packing::None, "it is {other}, and only xz, zstd and gzip are unpacked here");
                let unpacked = packing::first_unpacked(packing, file)?;
                archives(&mut BufReader::new(unpacked.take(MOST)), names, false)?;
            }
            _ => bail!("something that is no archive is in it"),
        }
    }
}

/// Reads one archive, up to its trailer.
fn archive(file: &mut dyn BufRead, names: &mut BTreeSet<String>) -> Result<()> {
    loop {
        let mut header = [0; HEADER];
        file.read_exact(&mut header).context("reading an entry of the archive")?;
        ensure!(matches!(&header[..6], b"070701" | b"070702"), "an entry of the archive has no header");
        let (name_size, file_size) = (number(&header, NAME_SIZE)?, number(&header, FILE_SIZE)?);
        ensure!((1..=LONGEST_NAME).contains(&name_size), "an entry of the archive has a name of {name_size} bytes");
        let mut name = Vec::new();
        (&mut *file).take(name_size).read_to_end(&mut name)?;
        skip(file, padding(HEADER as u64 + name_size))?;
        skip(file, file_size + padding(file_size))?;
        let name = String::from_utf8_lossy(&name);
        let name = name.trim_end_matches('\0').trim_start_matches("./").trim_start_matches('/');
        if name == TRAILER {
            return Ok(());
        }
        ensure!(names.len() < MOST_NAMES, "it has more than {MOST_NAMES} names");
        names.insert(name.to_owned());
    }
}

fn number(header: &[u8; HEADER], at: usize) -> Result<u64> {
    let digits = std::str::from_utf8(&header[at..at + 8]).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    digits.context("an entry of the archive has a length that is no number")
}

/// Names and contents end at multiples of 4 bytes.
fn padding(length: u64) -> u64 {
    length.next_multiple_of(4) - length
}

fn skip(file: &mut dyn BufRead, length: u64) -> Result<()> {
    let skipped = io::copy(&mut file.take(length), &mut io::sink())?;
    ensure!(skipped == length, "it is cut short");
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::io::Write;

    /// An archive with empty files of these names, packed by gzip behind one that is not packed.
    pub fn made_of(names: &[&str]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&cpio(names)).unwrap();
        let mut whole = cpio(&["kernel/x86/microcode/x.bin"]);
        whole.resize(whole.len().next_multiple_of(512), 0);
        [whole, gzip.finish().unwrap()].concat()
    }

    fn cpio(names: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in names.iter().chain([&TRAILER]) {
            let content = if *name == TRAILER { "" } else { "12345" };
            let mut numbers = [0; 13];
            (numbers[6], numbers[11]) = (content.len(), name.len() + 1);
            bytes.extend(format!("070701{}", numbers.map(|n| format!("{n:08x}")).concat()).bytes());
            bytes.extend(name.bytes().chain([0]));
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(content.bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn the_names_of_all_archives_are_found() {
        let wanted = ["scripts/local-premount/resize_early", "./sbin/burnonce", "usr"];
        let whole = made_of(&wanted);
        let found = names(whole.as_slice()).unwrap();
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(
            found,
            ["kernel/x86/microcode/x.bin", "sbin/burnonce", "scripts/local-premount/resize_early", "usr"]
        );
        let uboot = [&UBOOT[..], &[0; 60], &whole].concat();
        assert_eq!(names(uboot.as_slice()).unwrap().len(), 4);
    }

    #[test]
    fn what_is_no_initramfs_is_an_error() {
        let whole = made_of(&["init"]);
        let mut cpio = cpio(&["init"]);
        cpio[NAME_SIZE] = b'x';
        for (bytes, message) in [
            (&b""[..], "there is no archive in it"),
            (b"\x02\x21\x4c\x18 lz4", "packed by lz4, and only"),
            (&whole[..whole.len() - 9], ""),
            (&whole[..100], "reading an entry"),
            (&cpio, "no number"),
        ] {
            let error = format!("{:#}", names(bytes).unwrap_err());
            assert!(error.contains(message), "{error}");
        }
    }
}
