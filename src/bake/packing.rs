//! Packing of an image, as the name of its file says: `.xz`, `.zst`, or not at all.

use crate::inspect::Packing;
use crate::sparse::{PIECE, put, stretches};
use anyhow::{Result, bail, ensure};
use liblzma::stream::{Check, MtStreamBuilder, Stream};
use liblzma::write::XzEncoder;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How well xz packs: as `xz -2`. A thread of `xz -6` takes 166 MiB of memory, and one of these with blocks of 4 MiB takes 29 MiB.
const XZ_PRESET: u32 = 2;
/// How much a thread packs at a time, in bytes: twice the dictionary, as liblzma recommends at least.
const XZ_BLOCK: u64 = 4 << 20;
/// Memory that packing by xz may take, in bytes. There are as many threads as that is enough for.
const XZ_MOST: u64 = 150 << 20;
/// How well zstd packs: as `zstd -9`.
const ZSTD_LEVEL: i32 = 9;
/// So many threads at most: each of zstd's has a part of the image and a window of its own.
const ZSTD_THREADS: u32 = 8;

/// Endings of names that an image has in other packings and formats, which would say what is not true.
const NOT_WRITTEN: [&str; 15] = [
    ".gz", ".zip", ".bz2", ".7z", ".rar", ".lz4", ".lzma", ".tar", ".tgz", ".qcow2", ".vmdk", ".vdi", ".vhd", ".vhdx",
    ".iso",
];

/// How an image at `target` is to be packed. Pure.
///
/// # Errors
/// The name is that of a packing or a format that is not written, or the usual one for standard output.
pub fn of_target(target: &Path) -> Result<Packing> {
    ensure!(
        target != Path::new("-"),
        "no image is written to standard output, for what is made is looked at once more before it is given out; name a file (`./-` is one \
         of that name)"
    );
    let name = target.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    for (ending, packing) in [(".xz", Packing::Xz), (".zst", Packing::Zstd), (".zstd", Packing::Zstd)] {
        if name.ends_with(ending) {
            return Ok(packing);
        }
    }
    for ending in NOT_WRITTEN {
        if name.ends_with(ending) {
            bail!("{}: no {ending} is written; name a file that ends with .img, .img.xz or .img.zst", target.display());
        }
    }
    Ok(Packing::None)
}

/// What failed.
#[derive(Debug)]
pub enum Failure {
    /// The image could not be read.
    Reading(io::Error),
    /// What comes of it could not be written.
    Writing(io::Error),
}

/// Copies a `part` of `image`, in bytes, to the empty file `into`. What is zero becomes a hole. `progress` is told how many bytes were done
/// since it was told last.
///
/// # Errors
/// See [`Failure`].
pub fn copy(image: &File, part: Range<u64>, into: &File, progress: &dyn Fn(u64)) -> Result<(), Failure> {
    let mut piece = vec![0; PIECE];
    let mut told = part.start;
    for stretch in stretches(image, part.end).map_err(Failure::Reading)? {
        let mut at = stretch.start.max(part.start);
        while at < stretch.end {
            let wanted = piece_of(&mut piece, stretch.end - at);
            image.read_exact_at(wanted, at).map_err(Failure::Reading)?;
            put(into, at - part.start, wanted).map_err(Failure::Writing)?;
            at += wanted.len() as u64;
            progress(at - told);
            told = at;
        }
    }
    progress(part.end.saturating_sub(told));
    into.set_len(part.end.saturating_sub(part.start)).map_err(Failure::Writing)
}

/// Writes the first `length` bytes of `image` to `into`, packed; `progress` as in [`copy`].
///
/// # Errors
/// See [`Failure`]. What was written until then is of no use.
pub fn pack(image: &File, length: u64, packing: Packing, into: &File, progress: &dyn Fn(u64)) -> Result<(), Failure> {
    match packing {
        Packing::None => copy(image, 0..length, into, progress),
        Packing::Xz => {
            let encoder = XzEncoder::new_stream(into, xz().map_err(Failure::Writing)?);
            let encoder = feed(image, length, encoder, progress)?;
            encoder.finish().map(drop).map_err(Failure::Writing)
        }
        Packing::Zstd => {
            let encoder = feed(image, length, zstd(length, into).map_err(Failure::Writing)?, progress)?;
            encoder.finish().map(drop).map_err(Failure::Writing)
        }
        Packing::Gzip => Err(Failure::Writing(io::Error::other("no gzip is written"))),
    }
}

/// Gives an image to an encoder.
fn feed<W: Write>(image: &File, length: u64, mut encoder: W, progress: &dyn Fn(u64)) -> Result<W, Failure> {
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < length {
        let wanted = piece_of(&mut piece, length - at);
        image.read_exact_at(wanted, at).map_err(Failure::Reading)?;
        encoder.write_all(wanted).map_err(Failure::Writing)?;
        at += wanted.len() as u64;
        progress(wanted.len() as u64);
    }
    Ok(encoder)
}

/// As much of `piece` as is `left` to be read.
fn piece_of(piece: &mut [u8], left: u64) -> &mut [u8] {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
    &mut piece[..length]
}

/// How many threads there may be.
fn threads() -> u32 {
    std::thread::available_parallelism().map_or(1, |threads| u32::try_from(threads.get()).unwrap_or(1))
}

/// An encoder of xz with a thread for each processor, or for as many as there is memory for. It packs in blocks, so that they can be
/// unpacked side by side.
fn xz() -> io::Result<Stream> {
    fitting(threads()).encoder().map_err(io::Error::from)
}

/// With so many threads of xz, or as many as there is memory for.
fn fitting(threads: u32) -> MtStreamBuilder {
    let mut builder = MtStreamBuilder::new();
    builder.preset(XZ_PRESET).block_size(XZ_BLOCK).check(Check::Crc64);
    let fits = |count: &u32| builder.threads(*count).memusage() <= XZ_MOST;
    let count = (1..=threads).rev().find(fits).unwrap_or(1);
    builder.threads(count);
    builder
}

/// An encoder of zstd with threads. What it writes has the image's length in its header, and a checksum.
fn zstd(length: u64, into: &File) -> io::Result<zstd::Encoder<'_, &File>> {
    let mut encoder = zstd::Encoder::new(into, ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(length))?;
    encoder.multithread(threads().min(ZSTD_THREADS))?;
    Ok(encoder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Program;
    use std::cell::Cell;
    use std::fs;
    use tempfile::TempDir;

    #[test]
    fn the_name_says_how_it_is_packed() {
        for (name, packing) in [
            ("mine.img", Packing::None),
            ("/a/b.xz/mine.img", Packing::None),
            ("mine", Packing::None),
            ("mine.img.xz", Packing::Xz),
            ("mine.IMG.XZ", Packing::Xz),
            ("mine.zst", Packing::Zstd),
        ] {
            assert_eq!(of_target(Path::new(name)).unwrap(), packing, "{name}");
        }
        assert!(NOT_WRITTEN.iter().all(|ending| of_target(Path::new(&format!("mine{ending}"))).is_err()));
        assert!(of_target(Path::new("-")).is_err());
        assert_eq!(of_target(Path::new("./-")).unwrap(), Packing::None);
        let error = of_target(Path::new("a/mine.img.gz")).unwrap_err().to_string();
        assert_eq!(error, "a/mine.img.gz: no .gz is written; name a file that ends with .img, .img.xz or .img.zst");
    }

    /// Five MiB, of which some at the beginning, in the midst and at the end are not zero.
    fn image() -> (File, Vec<u8>) {
        let mut bytes = vec![0; 5 << 20];
        let noise: Vec<u8> = (0..100_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        for at in [0, 2 << 20, (5 << 20) - noise.len()] {
            bytes[at..at + noise.len()].copy_from_slice(&noise);
        }
        let file = tempfile::tempfile().unwrap();
        put(&file, 0, &bytes).unwrap();
        (file, bytes)
    }

    #[test]
    fn what_is_packed_is_unpacked_by_the_programs() {
        let directory = TempDir::new().unwrap();
        let (image, bytes) = image();
        for (name, packing, program) in [("a.xz", Packing::Xz, "xz"), ("a.zst", Packing::Zstd, "zstd")] {
            let path = directory.path().join(name);
            pack(&image, bytes.len() as u64, packing, &File::create(&path).unwrap(), &|_| {}).unwrap();
            let unpacked = Program::new(program).args(["-dc", path.to_str().unwrap()]).run().unwrap().stdout;
            assert!(unpacked == bytes, "{name}");
            assert!(fs::metadata(&path).unwrap().len() < 2 << 20);
        }
        let said = Program::new("zstd").args(["-lv", directory.path().join("a.zst").to_str().unwrap()]).run().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.contains("Decompressed Size: 5.00 MiB (5242880 B)") && said.contains("Check: XXH64"), "{said}");
    }

    #[test]
    fn xz_has_as_many_threads_as_there_is_memory_for() {
        let used = |threads| fitting(threads).memusage();
        // Each takes the same.
        assert_eq!(used(4) - used(3), used(2) - used(1));
        assert!(used(1) > 20 << 20, "{}", used(1));
        let most = used(64);
        assert!((XZ_MOST - (used(2) - used(1))..=XZ_MOST).contains(&most), "{most}");
    }

    #[test]
    fn a_copy_has_holes() {
        use std::os::unix::fs::MetadataExt;
        let (image, bytes) = image();
        let into = tempfile::tempfile().unwrap();
        copy(&image, 0..bytes.len() as u64, &into, &|_| {}).unwrap();
        let mut read = vec![0; bytes.len()];
        into.read_exact_at(&mut read, 0).unwrap();
        assert!(read == bytes);
        assert!(into.metadata().unwrap().blocks() * 512 < 2 << 20);
        assert!(matches!(copy(&image, 0..6 << 20, &into, &|_| {}), Ok(())), "what is behind the end is a hole, too");
        let (part, counted) = (tempfile::tempfile().unwrap(), Cell::new(0));
        let from = (5 << 20) - 10_000;
        copy(&image, from..5 << 20, &part, &|more| counted.set(counted.get() + more)).unwrap();
        let mut read = vec![0; 10_000];
        part.read_exact_at(&mut read, 0).unwrap();
        assert!(read == bytes[from as usize..]);
        assert_eq!((part.metadata().unwrap().len(), counted.get()), (10_000, 10_000));
    }

    #[test]
    fn what_cannot_be_written_is_told_from_what_cannot_be_read() {
        let (image, _) = image();
        let nowhere = File::options().write(true).open("/dev/full").unwrap();
        for packing in [Packing::Xz, Packing::Zstd] {
            let failure = pack(&image, 5 << 20, packing, &nowhere, &|_| {}).unwrap_err();
            assert!(
                matches!(&failure, Failure::Writing(error) if error.kind() == io::ErrorKind::StorageFull),
                "{failure:?}"
            );
            let failure = pack(&image, 6 << 20, packing, &tempfile::tempfile().unwrap(), &|_| {}).unwrap_err();
            assert!(matches!(failure, Failure::Reading(_)), "{failure:?}");
        }
    }
}
