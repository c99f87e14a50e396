//! Files with holes: what is zero takes no room.

use nix::errno::Errno;
use nix::unistd::Whence;
// The other one counts in 32 bits on armhf.
#[cfg(not(target_os = "linux"))]
use nix::unistd::lseek;
#[cfg(target_os = "linux")]
use nix::unistd::lseek64 as lseek;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// How much is read or unpacked at a time, in bytes.
pub const PIECE: usize = 256 << 10;
/// What is zero in a stretch of so many bytes is left out: ext4's block, and that of the file systems an image is mostly on.
const BLOCK: usize = 4096;

/// Reads until `piece` is full or nothing is left, and says how much was read.
///
/// # Errors
/// As `from`.
pub fn fill(from: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < piece.len() {
        match from.read(&mut piece[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Writes what is not zero, what is side by side at once. The file has holes there, or nothing.
///
/// # Errors
/// It cannot be written.
pub fn put(into: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut from = 0;
    for run in bytes.chunks(BLOCK).collect::<Vec<_>>().chunk_by(|one, next| is_zero(one) == is_zero(next)) {
        let to = from + run.iter().map(|block| block.len()).sum::<usize>();
        if !is_zero(run[0]) {
            into.write_all_at(&bytes[from..to], at + from as u64)?;
        }
        from = to;
    }
    Ok(())
}

/// Whether a block is zero: by memcmp(3), which is fast in any build.
fn is_zero(block: &[u8]) -> bool {
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    *block == ZEROS[..block.len()]
}

/// The stretches of a file's first `length` bytes that are no holes, in their order. Where the file system does not tell, that is all of it.
///
/// # Errors
/// It cannot be asked.
pub fn stretches(file: &File, length: u64) -> io::Result<Vec<Range<u64>>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < length {
        let begin = match seek(file, at, Whence::SeekData) {
            Ok(begin) => begin.min(length),
            Err(Errno::ENXIO) => break,
            // macOS says the second where a file system does not know holes.
            Err(Errno::EINVAL | Errno::ENOTTY) => at,
            Err(error) => return Err(error.into()),
        };
        let end = match seek(file, begin, Whence::SeekHole) {
            Ok(end) if end > begin => end.min(length),
            Ok(_) | Err(Errno::EINVAL | Errno::ENOTTY | Errno::ENXIO) => length,
            Err(error) => return Err(error.into()),
        };
        if begin < end {
            found.push(begin..end);
        }
        at = end;
    }
    Ok(found)
}

fn seek(file: &File, at: u64, whence: Whence) -> nix::Result<u64> {
    let at = i64::try_from(at).map_err(|_| Errno::EINVAL)?;
    lseek(file, at, whence).map(|at| u64::try_from(at).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_zero_becomes_a_hole_and_is_told_as_one() {
        let file = tempfile::tempfile().unwrap();
        let mut bytes = vec![0; 3 << 20];
        bytes[1 << 20..(1 << 20) + 5].copy_from_slice(b"hello");
        *bytes.last_mut().unwrap() = 7;
        put(&file, 0, &bytes).unwrap();
        let length = bytes.len() as u64;
        let found = stretches(&file, length).unwrap();
        // How long a stretch is, is up to the file system.
        assert!(found.iter().any(|stretch| stretch.contains(&(1 << 20))), "{found:?}");
        assert!(found.iter().any(|stretch| stretch.contains(&(length - 1))), "{found:?}");
        assert!(found.iter().all(|stretch| stretch.end - stretch.start <= 1 << 17), "{found:?}");
        let mut read = vec![0; bytes.len()];
        file.read_exact_at(&mut read, 0).unwrap();
        assert!(read == bytes);
        // Blocks side by side, a zero one between, and one that is not whole at the end.
        let odd: Vec<u8> = [vec![1; 2 * BLOCK], vec![0; BLOCK], vec![2; BLOCK], vec![3; 5]].concat();
        let other = tempfile::tempfile().unwrap();
        put(&other, 7, &odd).unwrap();
        let mut read = vec![9; odd.len()];
        other.read_exact_at(&mut read, 7).unwrap();
        assert!(read == odd);
        let empty = tempfile::tempfile().unwrap();
        empty.set_len(5 << 20).unwrap();
        assert_eq!(stretches(&empty, 5 << 20).unwrap(), []);
        assert_eq!(stretches(&empty, 0).unwrap(), []);
    }

    #[test]
    fn a_piece_is_filled_from_what_comes_in_bits() {
        let mut bits = b"abc".chain(&b""[..]).chain(&b"defg"[..]);
        let mut piece = [0; 5];
        assert_eq!(fill(&mut bits, &mut piece).unwrap(), 5);
        assert_eq!(&piece, b"abcde");
        assert_eq!(fill(&mut bits, &mut piece).unwrap(), 2);
        assert_eq!(fill(&mut bits, &mut piece).unwrap(), 0);
    }
}
