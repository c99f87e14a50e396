//! A disk of any length of which the fuzzer's bytes are a few pieces, and all else is zero.
//!
//! The bytes: flags (1), length in sectors (8), what to change (1 + 4 + 8 + 8, see [`Disk::wish`]), then pieces: where (1: from the start,
//! or back from the end), how far in bytes (4), how long (2), and what is there.

use crate::bytes::Bytes;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// What a change may be.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub kind: u8,
    pub number: u32,
    pub start: u64,
    pub sectors: u64,
}

/// The disk; reading it is what a device node gives.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Each bit is for the target to use; the lowest one is for sectors of 4096 bytes.
    pub flags: u8,
    pub sector_size: u32,
    pub sectors: u64,
    pub wish: Wish,
    /// Offset and content; a later piece lies over an earlier one.
    pieces: Vec<(u64, Vec<u8>)>,
    position: u64,
}

impl Disk {
    /// The bytes of a piece's head.
    const AT_END: u8 = 1;
    /// More would make reading slow, and tell nothing new.
    const MOST_PIECES: usize = 64;

    /// Takes it from a fuzzer's bytes.
    pub fn new(data: &[u8]) -> Disk {
        let mut bytes = Bytes(data);
        let flags = bytes.byte();
        let sector_size = if flags & 1 == 0 { 512 } else { 4096 };
        let sectors = bytes.long();
        let wish = Wish { kind: bytes.byte(), number: bytes.word(), start: bytes.long(), sectors: bytes.long() };
        let mut disk = Disk { flags, sector_size, sectors, wish, pieces: Vec::new(), position: 0 };
        while !bytes.0.is_empty() && disk.pieces.len() < Disk::MOST_PIECES {
            let (place, far, length) = (bytes.byte(), u64::from(bytes.word()), bytes.short());
            let offset = if place & Disk::AT_END == 0 { far } else { disk.length().saturating_sub(far) };
            disk.write(offset, bytes.slice(usize::from(length)));
        }
        disk
    }

    /// The bytes that [`Disk::new`] makes the disk of again: what a seed is made of.
    pub fn to_bytes(flags: u8, sectors: u64, pieces: &[(u64, &[u8])]) -> Vec<u8> {
        let size: u64 = if flags & 1 == 0 { 512 } else { 4096 };
        let mut data = vec![flags];
        data.extend(sectors.to_le_bytes());
        data.extend([0; 1 + 4 + 8 + 8]);
        for (offset, piece) in pieces {
            let back = sectors * size - offset;
            let (place, far) = if *offset <= back { (0, *offset) } else { (Disk::AT_END, back) };
            data.push(place);
            data.extend(u32::try_from(far).expect("a piece near one of the ends").to_le_bytes());
            data.extend(u16::try_from(piece.len()).expect("a short piece").to_le_bytes());
            data.extend(*piece);
        }
        data
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        self.sectors.saturating_mul(u64::from(self.sector_size))
    }

    /// Lays a piece over what is there.
    pub fn write(&mut self, offset: u64, piece: Vec<u8>) {
        self.pieces.push((offset, piece));
    }

    /// `length` bytes at `offset`, zeroes where there are none; past the end too.
    pub fn bytes_at(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut found = vec![0; length];
        self.fill(offset, &mut found);
        found
    }

    fn fill(&self, offset: u64, buffer: &mut [u8]) {
        buffer.fill(0);
        let end = offset.saturating_add(buffer.len() as u64);
        for (at, piece) in &self.pieces {
            let (from, to) = (offset.max(*at), end.min(at.saturating_add(piece.len() as u64)));
            if from < to {
                let source = &piece[(from - at) as usize..(to - at) as usize];
                buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
            }
        }
    }

    /// The same as a file in memory; `None` where no file can be so long.
    ///
    /// # Errors
    /// The system's.
    pub fn to_file(&self) -> io::Result<Option<File>> {
        // What a seek and a page's rounding leave of 63 bits.
        const LONGEST: u64 = i64::MAX as u64 - (1 << 20);
        if self.length() > LONGEST {
            return Ok(None);
        }
        let file = memory_file()?;
        file.set_len(self.length())?;
        for (offset, piece) in &self.pieces {
            let room = self.length().saturating_sub(*offset);
            let length = piece.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            file.write_all_at(&piece[..length], *offset)?;
        }
        Ok(Some(file))
    }
}

/// A file that is nowhere on a disk.
///
/// # Errors
/// The system's.
pub fn memory_file() -> io::Result<File> {
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    Ok(File::from(nix::sys::memfd::memfd_create(c"disk", flags)?))
}

impl Read for Disk {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = self.length().saturating_sub(self.position);
        let length = buffer.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.fill(self.position, &mut buffer[..length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
