//! What an image, or an initramfs, is packed by: told by its first bytes, and undone.

use flate2::bufread::GzDecoder;
use liblzma::stream::{Action, Error, MtStreamBuilder, Status, Stream};
use serde::Serialize;
use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read};

/// How many bytes at the beginning tell.
pub const HEAD: usize = 512;

/// Memory with which xz's blocks are unpacked side by side, in bytes: two of the 24 MiB that `xz -T0` makes. With less it is one after
/// the other.
const XZ_SIDE_BY_SIDE: u64 = 100 << 20;
/// Memory that unpacking xz may take at all, in bytes. `xz -9` needs 65 MiB.
const XZ_MOST: u64 = 130 << 20;
/// The largest window of zstd that is accepted, as a power of two: 128 MiB, that of `zstd --ultra -22` and `--long`.
const ZSTD_WINDOW: u32 = 27;

/// What something is packed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// It is not packed.
    None,
    Xz,
    Zstd,
    Gzip,
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Packing::None => "raw",
            Packing::Xz => "xz",
            Packing::Zstd => "zstd",
            Packing::Gzip => "gzip",
        })
    }
}

/// How something that begins with `head` is packed. Pure.
pub fn of(head: &[u8]) -> Packing {
    match head {
        // The .xz File Format 1.2.0, 2.1.1.1.
        [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => Packing::Xz,
        // RFC 8878, 3.1: a frame, or one that is to be skipped.
        [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Packing::Zstd,
        // RFC 1952, 2.3.1: deflate is the one method there is.
        [0x1F, 0x8B, 8, ..] => Packing::Gzip,
        _ => Packing::None,
    }
}

/// What something that is no image begins with, where one would take it for one: what it is, and what to do. Pure.
pub fn other(head: &[u8]) -> Option<(&'static str, &'static str)> {
    Some(match head {
        [b'P', b'K', 3, 4, ..] => ("a zip archive", "unpack it with `unzip`, and give the .img file that was in it"),
        [0x02, 0x21, 0x4C, 0x18, ..] | [0x04, 0x22, 0x4D, 0x18, ..] => ("packed by lz4", "unpack it with `unlz4`"),
        // It has no magic number: the settings that are usual, and a length that is not given.
        [0x5D, 0, 0, _, _, 0xFF, 0xFF, 0xFF, 0xFF, ..] => ("packed by lzma", "unpack it with `unlzma`"),
        [b'B', b'Z', b'h', ..] => ("packed by bzip2", "unpack it with `bunzip2`"),
        [b'7', b'z', 0xBC, 0xAF, ..] => {
            ("a 7z archive", "unpack it with `7z x`, and give the .img file that was in it")
        }
        [b'Q', b'F', b'I', 0xFB, ..] => {
            ("an image of QEMU's own format", "make a raw one of it with `qemu-img convert -O raw`")
        }
        head if head.get(257..262) == Some(b"ustar") => {
            ("a tar archive", "unpack it with `tar xf`, and give the .img file that was in it")
        }
        _ => return None,
    })
}

/// What `packed` has in it. An error is [`ErrorKind::UnexpectedEof`] where it was cut short, and of another kind where it is damaged.
///
/// # Errors
/// There is no memory for unpacking it.
pub fn unpacked<'r>(packing: Packing, packed: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
    Ok(match packing {
        Packing::None => Box::new(packed),
        Packing::Gzip => Box::new(Gzip { member: Some(GzDecoder::new(packed)) }),
        Packing::Zstd => {
            let mut zstd = zstd::stream::read::Decoder::with_buffer(packed)?;
            zstd.window_log_max(ZSTD_WINDOW)?;
            Box::new(zstd)
        }
        Packing::Xz => Box::new(Xz { packed, stream: stream()?, ended: false, single: false }),
    })
}

/// The same of the first stream, frame or member alone, as the kernel unpacks an initramfs. When all was read, `packed` is at what follows.
///
/// # Errors
/// There is no memory for unpacking it.
pub fn first_unpacked<'r>(packing: Packing, packed: &'r mut dyn BufRead) -> io::Result<Box<dyn Read + 'r>> {
    Ok(match packing {
        Packing::None => Box::new(packed),
        Packing::Gzip => Box::new(GzDecoder::new(packed)),
        Packing::Zstd => {
            let mut zstd = zstd::stream::read::Decoder::with_buffer(packed)?.single_frame();
            zstd.window_log_max(ZSTD_WINDOW)?;
            Box::new(zstd)
        }
        Packing::Xz => Box::new(Xz { packed, stream: stream()?, ended: false, single: true }),
    })
}

/// A decoder for one stream of xz, with a thread for each processor.
fn stream() -> io::Result<Stream> {
    let threads = std::thread::available_parallelism().map_or(1, |threads| u32::try_from(threads.get()).unwrap_or(1));
    let mut builder = MtStreamBuilder::new();
    builder.threads(threads).memlimit_threading(XZ_SIDE_BY_SIDE).memlimit_stop(XZ_MOST);
    builder.decoder().map_err(|error| io::Error::other(said(&error)))
}

/// Behind what was packed stands something that is not, as it does where a download was put behind another file.
#[derive(Debug)]
struct Behind;

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it goes on with something else")
    }
}

impl std::error::Error for Behind {}

/// Whether an error of unpacking means that there is something behind the end.
pub fn is_behind(error: &io::Error) -> bool {
    // The name that zstd has for it (`ZSTD_error_prefix_unknown`): what it begins with was known.
    error.get_ref().is_some_and(|inner| inner.is::<Behind>()) || error.to_string() == "Unknown frame descriptor"
}

/// What liblzma's codes mean.
fn said(error: &Error) -> String {
    match error {
        Error::MemLimit => format!("unpacking it would take more than {} MiB of memory", XZ_MOST >> 20),
        Error::Mem => "there is no memory to unpack it".to_owned(),
        Error::Data => "its data do not fit their checksum".to_owned(),
        Error::Options => "it needs a newer xz".to_owned(),
        other => other.to_string(),
    }
}

/// Unpacks gzip: one member after the other, and zeros that pad them out, as `gzip` itself does.
struct Gzip<R> {
    /// `None` where all was read.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if room.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let given = member.read(room)?;
            if given > 0 {
                return Ok(given);
            }
            let Some(mut packed) = self.member.take().map(GzDecoder::into_inner) else { return Ok(0) };
            loop {
                let zeros = packed.fill_buf()?.iter().take_while(|byte| **byte == 0).count();
                if zeros == 0 {
                    break;
                }
                packed.consume(zeros);
            }
            match packed.fill_buf()?.first() {
                None => return Ok(0),
                Some(0x1F) => {}
                Some(_) => return Err(io::Error::new(ErrorKind::InvalidData, Behind)),
            }
            self.member = Some(GzDecoder::new(packed));
        }
    }
}

/// Unpacks xz: one stream after the other, with what pads them out (The .xz File Format, 2.2).
struct Xz<R> {
    packed: R,
    stream: Stream,
    /// The stream came to its end.
    ended: bool,
    /// There is to be no other one.
    single: bool,
}

impl<R: BufRead> Read for Xz<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if room.is_empty() {
            return Ok(0);
        }
        loop {
            if self.ended && self.single {
                return Ok(0);
            }
            let packed = self.packed.fill_buf()?;
            if self.ended {
                let zeros = packed.iter().take_while(|byte| **byte == 0).count();
                if zeros > 0 {
                    self.packed.consume(zeros);
                    continue;
                }
                if packed.is_empty() {
                    return Ok(0);
                }
                (self.stream, self.ended) = (stream()?, false);
            }
            let action = if packed.is_empty() { Action::Finish } else { Action::Run };
            let (was_in, was_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self.stream.process(packed, room, action).map_err(|error| match error {
                // The first one was told by its beginning.
                Error::Format => io::Error::new(ErrorKind::InvalidData, Behind),
                error => io::Error::other(said(&error)),
            })?;
            // Neither is longer than its buffer.
            let taken = (self.stream.total_in() - was_in) as usize;
            let given = (self.stream.total_out() - was_out) as usize;
            let at_end = packed.is_empty();
            self.packed.consume(taken);
            self.ended = matches!(status, Status::StreamEnd);
            if given > 0 {
                return Ok(given);
            }
            // liblzma's word for "no progress is possible".
            if taken == 0 && matches!(status, Status::MemNeeded) {
                let kind = if at_end { ErrorKind::UnexpectedEof } else { ErrorKind::InvalidData };
                return Err(io::Error::new(kind, "it ends in the midst of its data"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Write};

    #[test]
    fn the_first_bytes_tell() {
        for (head, packing) in [
            (&b"\xFD7zXZ\0..."[..], Packing::Xz),
            (b"\x28\xB5\x2F\xFD.", Packing::Zstd),
            (b"\x50\x2A\x4D\x18.", Packing::Zstd),
            (b"\x1F\x8B\x08.", Packing::Gzip),
            (b"\x1F\x8B", Packing::None),
            (b"", Packing::None),
        ] {
            assert_eq!(of(head), packing, "{head:?}");
        }
        let mut tar = [0; HEAD];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(other(&tar).map(|(what, _)| what), Some("a tar archive"));
        assert_eq!(other(b"PK\x03\x04").map(|(what, _)| what), Some("a zip archive"));
        assert_eq!(other(&[0; HEAD]), None);
        for (head, what) in
            [(&b"\x02\x21\x4C\x18"[..], "packed by lz4"), (b"]\0\0\x80\0\xFF\xFF\xFF\xFF", "packed by lzma")]
        {
            assert_eq!(other(head).map(|(what, _)| what), Some(what));
        }
    }

    fn packed(packing: Packing, content: &[u8]) -> Vec<u8> {
        match packing {
            Packing::None => content.to_vec(),
            Packing::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(content).unwrap();
                gzip.finish().unwrap()
            }
            Packing::Zstd => {
                let mut zstd = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
                zstd.include_checksum(true).unwrap();
                zstd.write_all(content).unwrap();
                zstd.finish().unwrap()
            }
            Packing::Xz => liblzma::encode_all(content, 0).unwrap(),
        }
    }

    fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        // A small buffer, so that everything goes over its edge.
        unpacked(of(packed), BufReader::with_capacity(7, packed))?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn what_was_packed_comes_out_and_what_is_cut_short_or_damaged_does_not() {
        let content: Vec<u8> = (0..40_000u32).flat_map(|n| (n * n / 7).to_le_bytes()).collect();
        for packing in [Packing::Xz, Packing::Zstd, Packing::Gzip] {
            let whole = packed(packing, &content);
            assert_eq!(unpack(&whole).unwrap(), content, "{packing}");
            assert_eq!(
                unpack(&[&whole[..], &whole].concat()).unwrap(),
                [&content[..], &content].concat(),
                "{packing} twice"
            );
            for length in [8, 20, whole.len() / 2, whole.len() - 1] {
                let error = unpack(&whole[..length]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{packing}, {length} bytes: {error}");
            }
            let mut damaged = whole.clone();
            damaged[whole.len() / 2] ^= 0x55;
            let error = unpack(&damaged).unwrap_err();
            assert_ne!(error.kind(), ErrorKind::UnexpectedEof, "{packing}: {error}");
        }
        for packing in [Packing::Xz, Packing::Gzip] {
            let padded = [packed(packing, b"one"), vec![0; 8], packed(packing, b"two"), vec![0; 40]].concat();
            assert_eq!(unpack(&padded).unwrap(), b"onetwo", "{packing}");
        }
        for packing in [Packing::Xz, Packing::Zstd, Packing::Gzip] {
            for behind in [&b"two and more"[..], &[0xFF; 4000]] {
                let error = unpack(&[&packed(packing, b"one"), behind].concat()).unwrap_err();
                assert!(is_behind(&error), "{packing}: {error:?}");
            }
            let mut damaged = packed(packing, &content);
            let place = damaged.len() / 2;
            damaged[place] ^= 0x55;
            assert!(!is_behind(&unpack(&damaged).unwrap_err()), "{packing}");
        }
    }
}
