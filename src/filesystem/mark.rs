//! The mark of an upper that is being made: how often that was begun.
//!
//! It lies in the last 4 KiB of the new partition, which its file system leaves free (mke2fs writes over all that is before). As long as the
//! partition is not in the table nothing points at it, and when it is, the mark is cleared: one that is found in free space says that an
//! attempt to make an upper there was cut off. A conversion counts its attempts in the configuration file; a node whose lower is sealed
//! has this.

use crate::units::Bytes;
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is kept for it at the end of the partition, in bytes: a block of the file system.
pub(super) const ROOM: u64 = 4096;
/// Bytes that it can have.
const LENGTH: usize = 512;
const TEXT: &str = "burnonce attempt ";

/// Sets it on `device`, of which the new partition has the first `length` bytes. The flush is the caller's.
///
/// # Errors
/// It cannot be written.
pub(super) fn set(device: &File, length: Bytes, attempt: u32) -> Result<()> {
    let mut bytes = format!("{TEXT}{attempt}\n").into_bytes();
    bytes.resize(LENGTH, 0);
    device.write_all_at(&bytes, length.0.saturating_sub(ROOM)).context("marking it as begun")
}

/// The attempt that this mark is of; 0: it is none. Pure.
fn parse(bytes: &[u8]) -> u32 {
    let number = bytes.strip_prefix(TEXT.as_bytes()).and_then(|rest| rest.split(|&byte| byte == b'\n').next());
    number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0)
}

/// How often an upper was begun to be made that ends at the byte `end` of `disk`, and never finished.
///
/// # Errors
/// It cannot be read.
pub fn attempts(disk: &File, end: u64) -> Result<u32> {
    let mut bytes = [0; LENGTH];
    disk.read_exact_at(&mut bytes, end.saturating_sub(ROOM))
        .context("looking for the mark of an attempt in the free space")?;
    Ok(parse(&bytes))
}

/// Takes the mark from an upper of `length` bytes that is finished and in the table.
///
/// # Errors
/// It cannot be written.
pub fn clear(device: &Path, length: Bytes) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .open(device)
        .and_then(|file| file.write_all_at(&[0; LENGTH], length.0.saturating_sub(ROOM)).and_then(|()| file.sync_all()))
        .with_context(|| format!("taking the mark of an attempt from {}", device.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_until_it_is_cleared_and_nothing_else_is_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let length = Bytes(64 << 10);
        file.as_file().write_all_at(&vec![0xFF; 64 << 10], 0).unwrap();
        assert_eq!(attempts(file.as_file(), length.0).unwrap(), 0);
        set(file.as_file(), length, 2).unwrap();
        assert_eq!(attempts(file.as_file(), length.0).unwrap(), 2);
        assert_eq!(attempts(file.as_file(), length.0 - ROOM).unwrap(), 0);
        clear(file.path(), length).unwrap();
        assert_eq!(attempts(file.as_file(), length.0).unwrap(), 0);
        for text in ["burnonce attempt", "burnonce attempt x\n", "burnonce attempt 4294967296\n", ""] {
            assert_eq!(parse(text.as_bytes()), 0, "{text}");
        }
        assert!(attempts(file.as_file(), 1 << 20).is_err());
    }
}
