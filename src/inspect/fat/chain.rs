//! Chains of clusters: read from end to end, and the places that a directory takes.

use super::{Fat, LONGEST_DIRECTORY, Width, entries, find, u16_at, u32_at};
use anyhow::{Result, ensure};
use std::io::{self, Read};
use std::ops::Range;

/// How much of the table is read at a time, in bytes.
const TABLE_PIECE: u64 = 64 << 10;

/// The bytes of a chain of clusters.
pub(super) struct Chain<'f> {
    pub(super) fat: &'f Fat<'f>,
    /// The cluster that is read; `None` behind the last one.
    pub(super) cluster: Option<u32>,
    /// How many bytes of it were read.
    pub(super) within: u64,
    /// How many bytes are still wanted.
    pub(super) left: u64,
    /// How many clusters the chain may still have.
    pub(super) clusters_left: u32,
}

impl Read for Chain<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || room.is_empty() {
            return Ok(0);
        }
        if self.within == self.fat.cluster_length {
            self.cluster = match self.cluster {
                Some(cluster) => self.fat.next(cluster)?,
                None => None,
            };
            self.within = 0;
            self.clusters_left = self.clusters_left.saturating_sub(1);
        }
        let Some(cluster) = self.cluster else { return Ok(0) };
        if self.clusters_left == 0 {
            return Err(io::Error::other("a chain of clusters goes in a circle"));
        }
        let length = (self.fat.cluster_length - self.within).min(self.left).min(room.len() as u64);
        let place = self.fat.place(cluster)? + self.within;
        // Not longer than `room`.
        let length = usize::try_from(length).unwrap_or(room.len());
        self.fat.read_at(place, &mut room[..length])?;
        self.within += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}

/// A file: its chain must be as long as its entry says.
pub(super) struct Whole<'f> {
    pub(super) chain: Chain<'f>,
}

impl Read for Whole<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let length = self.chain.read(room)?;
        if length == 0 && self.chain.left > 0 && !room.is_empty() {
            return Err(io::Error::other("a file's chain of clusters is shorter than the file"));
        }
        Ok(length)
    }
}

/// What one who writes has to know of the places in the partition.
impl Fat<'_> {
    /// Where the directory at `path` lies in the partition, in bytes: its stretches, in their order, and whether it can be made longer.
    /// `None` where there is no such directory.
    ///
    /// # Errors
    /// A directory on the way cannot be read.
    pub(crate) fn stretches(&self, path: &str) -> Result<Option<(Vec<Range<u64>>, bool)>> {
        let Some(first) = self.first_cluster(path)? else { return Ok(None) };
        if first == 0 {
            let (at, length) = self.fixed_root;
            let root = at..at + length;
            return Ok(Some((vec![root], false)));
        }
        let mut stretches = Vec::new();
        let mut next = Some(first);
        while let Some(cluster) = next {
            ensure!(
                stretches.len() as u64 * self.cluster_length <= LONGEST_DIRECTORY,
                "a directory has more than {LONGEST_DIRECTORY} bytes"
            );
            let at = self.place(cluster)?;
            stretches.push(at..at + self.cluster_length);
            next = self.next(cluster)?;
        }
        Ok(Some((stretches, true)))
    }

    /// The first cluster of the directory at `path`; 0: the root directory of FAT12 and FAT16, which is none.
    fn first_cluster(&self, path: &str) -> Result<Option<u32>> {
        let mut cluster = self.root_cluster;
        let mut bytes = self.root()?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let found = entries(&bytes);
            let Some(entry) = find(&found, name).filter(|entry| entry.directory) else { return Ok(None) };
            cluster = entry.cluster;
            ensure!(cluster != 0, "the directory {name} has no clusters");
            bytes = self.directory(cluster)?;
        }
        Ok(Some(cluster))
    }

    /// Bytes at a place in the partition.
    ///
    /// # Errors
    /// They reach past its end, or cannot be read.
    pub(crate) fn bytes_at(&self, place: &Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(place.end.saturating_sub(place.start))?];
        self.read_at(place.start, &mut bytes)?;
        Ok(bytes)
    }

    /// How many clusters are free, counted in the table.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn free_clusters(&self) -> Result<u64> {
        // Bytes of an entry, and those of its bits that count.
        let (width, mask) = match self.width {
            Width::Twelve => return self.free_of_twelve(),
            Width::Sixteen => (2, [0xFF, 0xFF, 0, 0]),
            Width::ThirtyTwo => (4, [0xFF, 0xFF, 0xFF, 0x0F]),
        };
        // Those of clusters 0 and 1, which are none, come first.
        let (mut at, end) = (self.table + 2 * width, self.table + (u64::from(self.clusters) + 2) * width);
        let mut free = 0;
        while at < end {
            let next = (at + TABLE_PIECE).min(end);
            let entries = self.bytes_at(&(at..next))?;
            let is_free = |entry: &&[u8]| entry.iter().zip(mask).all(|(byte, mask)| byte & mask == 0);
            free += entries.chunks_exact(width as usize).filter(is_free).count() as u64;
            at = next;
        }
        Ok(free)
    }

    /// The same where two entries share a byte; there are few of them.
    fn free_of_twelve(&self) -> Result<u64> {
        let mut free = 0;
        for cluster in 2..self.clusters.saturating_add(2) {
            free += u64::from(self.next(cluster)? == Some(0));
        }
        Ok(free)
    }

    /// Bytes of a cluster.
    pub(crate) fn cluster_length(&self) -> u64 {
        self.cluster_length
    }

    /// Whether it was not unmounted, as Linux and Windows note it in the boot sector and in the table's second entry.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn is_dirty(&self) -> Result<bool> {
        Ok(!self.marks()?.is_empty())
    }

    /// The bytes in which that is noted, each with its place in the partition and with what it is where nothing is noted. Linux has it in a
    /// byte of the boot sector that the specification calls reserved (kernel, `fs/fat/inode.c`: `fat_set_state`); Windows in the second
    /// entry of each table (Microsoft's "FAT: General Overview of On-Disk Format" 1.03, "ClnShutBitMask"). dosfstools looks at the first.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn marks(&self) -> Result<Vec<(u64, u8)>> {
        let at = if self.width == Width::ThirtyTwo { 0x41 } else { 0x25 };
        let sector = self.bytes_at(&(0..at + 1))?;
        let state = sector[at as usize];
        let mut found = Vec::new();
        if state & 1 != 0 {
            found.push((at, state & !1));
        }
        // The last byte of the second entry, and the bit in it.
        let (last, clean) = match self.width {
            Width::Twelve => return Ok(found),
            Width::Sixteen => (3, 0x80),
            Width::ThirtyTwo => (7, 0x08),
        };
        let sectors = match u16_at(&sector, 22) {
            0 => u64::from(u32_at(&sector, 36)),
            sectors => u64::from(sectors),
        };
        let length = sectors * u64::from(u16_at(&sector, 11));
        for number in 0..u64::from(sector[16]) {
            let at = self.table + number * length + last;
            let byte = self.bytes_at(&(at..at + 1))?[0];
            if byte & clean == 0 {
                found.push((at, byte | clean));
            }
        }
        Ok(found)
    }
}
