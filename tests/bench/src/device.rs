//! What a block device counts of itself.

use std::fs;
use std::ops::Sub;

use anyhow::{Context, Result, ensure};
use burnonce_crash::reader::Reader;

/// `/sys/block/NAME/stat` counts in sectors of 512 bytes, whatever the device's own are (Documentation/block/stat.rst).
const SECTOR: u64 = 512;

/// What reached a device since it is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes.
    pub read: u64,
    /// Bytes.
    pub written: u64,
    /// Bytes.
    pub discarded: u64,
    /// Requests to flush the device's cache.
    pub flushes: u64,
}

impl Counters {
    /// Those of a card in its reader.
    ///
    /// # Errors
    /// sysfs does not have them.
    pub fn of(reader: &Reader) -> Result<Self> {
        let path = format!("/sys/block/{}/stat", reader.name());
        let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        Self::parse(&text).with_context(|| format!("reading {path}: {text:?}"))
    }

    /// The columns of `stat` in Documentation/block/stat.rst: 3 and 7 are sectors read and written, 14 sectors discarded (since Linux
    /// 4.18), 16 flush requests (since 5.5).
    ///
    /// # Errors
    /// They are not all there.
    pub fn parse(text: &str) -> Result<Self> {
        let columns = text.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        ensure!(columns.len() >= 17, "this kernel does not count flushes: Linux 5.5 is the first that does");
        let [read, written, discarded] = [2, 6, 13].map(|column| columns[column] * SECTOR);
        Ok(Self { read, written, discarded, flushes: columns[15] })
    }
}

impl Sub for Counters {
    type Output = Self;

    /// What was counted since `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            read: self.read - earlier.read,
            written: self.written - earlier.written,
            discarded: self.discarded - earlier.discarded,
            flushes: self.flushes - earlier.flushes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_those_of_the_kernels_documentation() {
        let text =
            "     101 102 103 104      105 106 107 108        0      110      111 112 113 114 115     116      117\n";
        let seen = Counters::parse(text).unwrap();
        let [read, written, discarded] = [103, 107, 114].map(|sectors| sectors * 512);
        assert_eq!(seen, Counters { read, written, discarded, flushes: 116 });
    }

    #[test]
    fn what_an_older_kernel_shows_is_an_error_and_not_a_zero() {
        assert!(Counters::parse("1 2 3 4 5 6 7 8 9 10 11").unwrap_err().to_string().contains("5.5"));
        assert!(Counters::parse("1 2 x").is_err());
    }

    #[test]
    fn what_is_counted_is_counted_from_a_beginning() {
        let at = |n| Counters { read: n, written: 2 * n, discarded: 3 * n, flushes: 4 * n };
        assert_eq!(at(9) - at(2), at(7));
    }
}
