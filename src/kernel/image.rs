//! The version of a kernel, read out of its image.

use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Begins the text by which a kernel names itself (`linux_banner`, init/version.c).
const BANNER: &[u8] = b"Linux version ";
/// More than the longest version (`__NEW_UTS_LEN`, 64 bytes, <linux/utsname.h>).
const LONGEST: usize = 96;
/// What is read of an image before it is known what it is: the version of a bzImage is within the first 64 KiB and a bit.
const HEAD: usize = 0x1_0200 + LONGEST;
const GZIP: &[u8] = &[0x1f, 0x8b, 8];

/// The version of the kernel in the file at `path`; `None` where it cannot be found.
pub(super) fn version(path: &Path) -> Option<String> {
    let found = File::open(path).and_then(read);
    found.inspect_err(|error| log::warn!("reading the kernel {}: {error}", path.display())).ok().flatten()
}

fn read(mut image: impl Read + Seek) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    image.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    if let Some(version) = of_bzimage(&head) {
        return Ok(Some(version));
    }
    match gzip_at(&head) {
        Some(offset) => {
            image.seek(SeekFrom::Start(offset))?;
            Ok(in_gzip(image))
        }
        None => {
            image.rewind()?;
            search(image)
        }
    }
}

/// The version that the header of an x86 bzImage points to (Documentation/arch/x86/boot.rst, `kernel_version`).
fn of_bzimage(head: &[u8]) -> Option<String> {
    let is_one = number(head, 0x1fe, 2)? == 0xaa55 && head.get(0x202..0x206)? == b"HdrS";
    let offset = usize::try_from(number(head, 0x20e, 2)?).ok().filter(|&offset| is_one && offset > 0)?;
    first_word(head.get(offset + 0x200..)?)
}

/// Where a gzip stream with the kernel begins: the file is one; the header of an EFI zboot image names it
/// (drivers/firmware/efi/libstub/zboot-header.S); an ARM zImage has it somewhere after its code, which is short.
fn gzip_at(head: &[u8]) -> Option<u64> {
    let is_gzip = |offset: usize| head.get(offset..).is_some_and(|rest| rest.starts_with(GZIP));
    if is_gzip(0) {
        return Some(0);
    }
    if head.get(4..8) == Some(b"zimg") {
        let packed = head.get(24..)?.starts_with(b"gzip");
        return number(head, 8, 4).filter(|_| packed);
    }
    // Documentation/arch/arm/booting.rst and arch/arm/boot/compressed/head.S: the magic number of a zImage.
    let is_zimage = number(head, 0x24, 4) == Some(0x016f_2818);
    (0..head.len()).find(|&offset| is_zimage && is_gzip(offset)).map(|offset| offset as u64)
}

/// The version in what the stream unpacks to. What comes after the kernel's end is not looked at, so that it cannot be an error.
fn in_gzip(stream: impl Read) -> Option<String> {
    search(GzDecoder::new(stream)).inspect_err(|error| log::debug!("unpacking a kernel: {error}")).ok().flatten()
}

/// Reads on until the banner is found.
fn search(mut from: impl Read) -> io::Result<Option<String>> {
    let mut window: Vec<u8> = Vec::new();
    let mut piece = vec![0; 256 << 10];
    loop {
        let length = match from.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        window.extend_from_slice(&piece[..length]);
        if let Some(version) = in_bytes(&window, length == 0) {
            return Ok(Some(version));
        }
        if length == 0 {
            return Ok(None);
        }
        // The banner may begin in this piece and end in the next.
        window.drain(..window.len().saturating_sub(BANNER.len() + LONGEST));
    }
}

/// The version after a banner in these bytes. One too near to their end is left for the next time, unless this `is_all`.
fn in_bytes(bytes: &[u8], is_all: bool) -> Option<String> {
    let mut rest = bytes;
    while let Some(at) = rest.windows(BANNER.len()).position(|window| window == BANNER) {
        rest = &rest[at + BANNER.len()..];
        if rest.len() < LONGEST && !is_all {
            return None;
        }
        if let Some(version) = first_word(rest) {
            return Some(version);
        }
    }
    None
}

/// The version at the start of these bytes, which ends with a space or a NUL.
fn first_word(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().take(LONGEST).position(|&byte| matches!(byte, b' ' | 0))?;
    let word = std::str::from_utf8(&bytes[..end]).ok()?;
    // Other texts begin alike: `Linux version %s`.
    let plain = word.chars().all(|c| c.is_ascii_graphic() && c != '/');
    (plain && word.starts_with(|c: char| c.is_ascii_digit())).then(|| word.to_owned())
}

/// The little-endian number of `length` bytes at `offset`.
fn number(bytes: &[u8], offset: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset + length)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}
