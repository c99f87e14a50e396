//! The boot partition of an image as a [`Tree`]: FAT12, FAT16 or FAT32 with long names, read where it lies in the file.
//!
//! The format is that of Microsoft's "FAT: General Overview of On-Disk Format" (1.03). Whatever the bytes say, nothing outside of the
//! partition is read, and no chain of clusters is followed for longer than the partition has clusters. (`fatfs`, the crate that one would
//! take, computes with what it reads unchecked: a damaged image overflows it.)

mod chain;

use super::tree::{Node, Tree};
use anyhow::{Context, Result, bail, ensure};
use chain::{Chain, Whole};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// Bytes of a directory entry.
const ENTRY: usize = 32;
/// The longest directory that is read, in bytes: 8,192 entries. The format allows for more; no boot partition has a tenth of it.
const LONGEST_DIRECTORY: u64 = 8192 * ENTRY as u64;

const ATTRIBUTE_VOLUME: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
const ATTRIBUTE_LONG: u8 = 0x0F;

/// Which of the three it is: how wide the entries of the table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Twelve,
    Sixteen,
    ThirtyTwo,
}

/// A FAT file system in a partition of an image.
#[derive(Debug)]
pub struct Fat<'f> {
    file: &'f File,
    /// Where the partition begins in the file, and how long it is, in bytes.
    start: u64,
    length: u64,
    width: Width,
    /// Where the first table begins in the partition, in bytes.
    table: u64,
    /// FAT12 and FAT16: place and length of the root directory in the partition, in bytes.
    fixed_root: (u64, u64),
    /// FAT32: the first cluster of the root directory.
    root_cluster: u32,
    /// Where cluster 2 begins in the partition, in bytes.
    data: u64,
    cluster_length: u64,
    clusters: u32,
    uuid: Option<String>,
    /// The label in the boot sector, where there is one.
    sector_label: Option<String>,
}

/// A used entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    short: String,
    directory: bool,
    cluster: u32,
    length: u32,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl<'f> Fat<'f> {
    /// Reads the boot sector of the partition that begins at the byte `start` of `file` and has `length` bytes.
    ///
    /// # Errors
    /// It holds no FAT file system, or one with impossible numbers.
    pub fn open(file: &'f File, start: u64, length: u64) -> Result<Fat<'f>> {
        let mut sector = [0; 512];
        ensure!(length >= 512, "it is shorter than a sector");
        file.read_exact_at(&mut sector, start).context("reading its boot sector")?;
        ensure!(sector[510..] == [0x55, 0xAA], "its boot sector has no signature");
        let sector_size = u64::from(u16_at(&sector, 11));
        let per_cluster = u64::from(sector[13]);
        ensure!(
            sector_size.is_power_of_two() && (512..=4096).contains(&sector_size),
            "it has sectors of {sector_size} bytes"
        );
        ensure!(per_cluster.is_power_of_two(), "it has clusters of {per_cluster} sectors");
        let (reserved, tables) = (u64::from(u16_at(&sector, 14)), u64::from(sector[16]));
        ensure!(reserved > 0 && (1..=2).contains(&tables), "it has {reserved} reserved sectors and {tables} tables");
        let root_length = u64::from(u16_at(&sector, 17)) * ENTRY as u64;
        let total = match u16_at(&sector, 19) {
            0 => u64::from(u32_at(&sector, 32)),
            sectors => u64::from(sectors),
        };
        let short_table = u64::from(u16_at(&sector, 22));
        let is_32 = short_table == 0;
        let table_sectors = if is_32 { u64::from(u32_at(&sector, 36)) } else { short_table };
        let before_root = reserved + tables * table_sectors;
        let before_data = before_root + root_length.div_ceil(sector_size);
        ensure!(table_sectors > 0 && total > before_data, "it has {total} sectors, less than its own tables take");
        let clusters = (total - before_data) / per_cluster;
        let width = match clusters {
            _ if is_32 => Width::ThirtyTwo,
            0..4085 => Width::Twelve,
            _ => Width::Sixteen,
        };
        let bits = match width {
            Width::Twelve => 12,
            Width::Sixteen => 16,
            Width::ThirtyTwo => 32,
        };
        // A table may be too short for all clusters; the others cannot be in use then.
        let described = (table_sectors * sector_size * 8 / bits).saturating_sub(2);
        let extended = if is_32 { 66 } else { 38 };
        // Without that mark the fields behind it are not there; an older one has the first of them.
        let has = |marks: &[u8]| marks.contains(&sector[extended]);
        let serial = u32_at(&sector, extended + 1);
        Ok(Fat {
            file,
            start,
            length,
            width,
            table: reserved * sector_size,
            fixed_root: (before_root * sector_size, root_length),
            root_cluster: if is_32 { u32_at(&sector, 44) } else { 0 },
            data: before_data * sector_size,
            cluster_length: per_cluster * sector_size,
            clusters: u32::try_from(clusters.min(described).min(0x0FFF_FFF5)).unwrap_or(0),
            uuid: has(&[0x28, 0x29]).then(|| format!("{:04X}-{:04X}", serial >> 16, serial & 0xFFFF)),
            sector_label: has(&[0x29]).then(|| label(&sector[extended + 5..extended + 16])).flatten(),
        })
    }

    /// The serial number, as blkid and fstab have it: `1234-ABCD`; `None` where there is none.
    pub fn uuid(&self) -> Option<&str> {
        self.uuid.as_deref()
    }

    /// The label: the entry for it in the root directory, else that of the boot sector.
    ///
    /// # Errors
    /// The root directory cannot be read.
    pub fn label(&self) -> Result<Option<String>> {
        let root = self.root()?;
        let volume = root.chunks_exact(ENTRY).take_while(|entry| entry[0] != 0).find(|entry| {
            entry[0] != 0xE5 && entry[11] & ATTRIBUTE_LONG != ATTRIBUTE_LONG && entry[11] & ATTRIBUTE_VOLUME != 0
        });
        Ok(volume.and_then(|entry| label(&entry[..11])).or_else(|| self.sector_label.clone()))
    }

    fn read_at(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let end = at.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(io::Error::other("the file system reaches past the end of its partition"));
        }
        self.file.read_exact_at(bytes, self.start.saturating_add(at))
    }

    /// The cluster after this one; `None` at the end of the chain.
    fn next(&self, cluster: u32) -> io::Result<Option<u32>> {
        let number = u64::from(cluster);
        let mut bytes = [0; 4];
        let (next, end) = match self.width {
            Width::Twelve => {
                self.read_at(self.table + number + number / 2, &mut bytes[..2])?;
                let pair = u16_at(&bytes, 0);
                (u32::from(if cluster % 2 == 0 { pair & 0xFFF } else { pair >> 4 }), 0xFF8)
            }
            Width::Sixteen => {
                self.read_at(self.table + number * 2, &mut bytes[..2])?;
                (u32::from(u16_at(&bytes, 0)), 0xFFF8)
            }
            Width::ThirtyTwo => {
                self.read_at(self.table + number * 4, &mut bytes)?;
                (u32_at(&bytes, 0) & 0x0FFF_FFFF, 0x0FFF_FFF8)
            }
        };
        Ok((next < end).then_some(next))
    }

    /// Where a cluster begins in the partition, in bytes.
    fn place(&self, cluster: u32) -> io::Result<u64> {
        match cluster.checked_sub(2).filter(|index| *index < self.clusters) {
            Some(index) => Ok(self.data + u64::from(index) * self.cluster_length),
            None => {
                Err(io::Error::other(format!("its table names cluster {cluster}, and there is none of that number")))
            }
        }
    }

    /// The bytes of a chain, up to `length`.
    fn chain(&self, first: u32, length: u64) -> Chain<'_> {
        Chain { fat: self, cluster: Some(first), within: 0, left: length, clusters_left: self.clusters }
    }

    /// The bytes of the root directory.
    fn root(&self) -> Result<Vec<u8>> {
        if self.width == Width::ThirtyTwo {
            return self.directory(self.root_cluster);
        }
        let (at, length) = self.fixed_root;
        ensure!(length <= LONGEST_DIRECTORY, "its root directory is said to have {length} bytes");
        let mut bytes = vec![0; usize::try_from(length).context("a long root directory")?];
        self.read_at(at, &mut bytes)?;
        Ok(bytes)
    }

    /// The bytes of a directory that is a chain: there is no length but that of the chain.
    fn directory(&self, first: u32) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.chain(first, LONGEST_DIRECTORY + 1).read_to_end(&mut bytes)?;
        ensure!(bytes.len() as u64 <= LONGEST_DIRECTORY, "a directory has more than {LONGEST_DIRECTORY} bytes");
        Ok(bytes)
    }

    /// The entries of the directory at `path`; `None` where there is no such directory.
    fn entries(&self, path: &str) -> Result<Option<Vec<Entry>>> {
        let mut entries = entries(&self.root()?);
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let Some(entry) = find(&entries, name).filter(|entry| entry.directory) else { return Ok(None) };
            entries = self::entries(&self.directory(entry.cluster)?);
        }
        Ok(Some(entries))
    }

    fn entry(&self, path: &str) -> Result<Option<Entry>> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(self.entries(directory)?.and_then(|entries| find(&entries, name).cloned()))
    }
}

impl Tree for Fat<'_> {
    fn node(&self, path: &str) -> Result<Option<Node>> {
        if path.is_empty() {
            return Ok(Some(Node::Directory));
        }
        Ok(self.entry(path)?.map(|entry| if entry.directory { Node::Directory } else { Node::File }))
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>> {
        match self.entry(path)? {
            Some(Entry { directory: false, length: 0, .. }) => Ok(Box::new(io::empty())),
            Some(Entry { directory: false, cluster, length, .. }) => {
                Ok(Box::new(Whole { chain: self.chain(cluster, u64::from(length)) }))
            }
            _ => bail!("/{path} is no file"),
        }
    }

    fn names(&self, path: &str) -> Result<Vec<String>> {
        let entries = self.entries(path)?.with_context(|| format!("/{path} is no directory"))?;
        Ok(entries.into_iter().map(|entry| entry.name).filter(|name| !matches!(name.as_str(), "." | "..")).collect())
    }
}

/// A name is the same whatever its case.
fn find<'e>(entries: &'e [Entry], name: &str) -> Option<&'e Entry> {
    let name = name.to_lowercase();
    entries.iter().find(|entry| entry.name.to_lowercase() == name || entry.short.to_lowercase() == name)
}

/// The used entries of a directory, each with its long name where it has one.
fn entries(bytes: &[u8]) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut long = Long::default();
    for entry in bytes.chunks_exact(ENTRY).take_while(|entry| entry[0] != 0) {
        if entry[0] == 0xE5 {
            long = Long::default();
        } else if entry[11] & 0x3F == ATTRIBUTE_LONG {
            long.add(entry);
        } else {
            let long = std::mem::take(&mut long);
            if entry[11] & ATTRIBUTE_VOLUME != 0 {
                continue;
            }
            let short = short_name(entry);
            let cluster = (u32::from(u16_at(entry, 20)) << 16) | u32::from(u16_at(entry, 26));
            found.push(Entry {
                name: long.name_of(entry).unwrap_or_else(|| short.clone()),
                short,
                directory: entry[11] & ATTRIBUTE_DIRECTORY != 0,
                cluster,
                length: u32_at(entry, 28),
            });
        }
    }
    found
}

/// A long name as it is collected: its entries stand before that of the file, the last part first.
#[derive(Debug, Default)]
struct Long {
    units: Vec<u16>,
    checksum: u8,
    /// The number of the part that was added last; 0: nothing, or a part was missing.
    part: u8,
}

impl Long {
    fn add(&mut self, entry: &[u8]) {
        let (number, is_last) = (entry[0] & 0x1F, entry[0] & 0x40 != 0);
        let continues = self.part > 1 && number == self.part - 1 && entry[13] == self.checksum;
        if number == 0 || !(is_last || continues) {
            *self = Long::default();
            return;
        }
        if is_last {
            *self = Long { checksum: entry[13], ..Long::default() };
        }
        self.part = number;
        let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
        let part: Vec<u16> = places.map(|at| u16_at(entry, at)).collect();
        self.units.splice(..0, part);
    }

    /// The name, where it is whole and that of this entry.
    fn name_of(self, entry: &[u8]) -> Option<String> {
        let checksum = entry[..11].iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        if self.part != 1 || self.checksum != checksum {
            return None;
        }
        let end = self.units.iter().position(|unit| matches!(unit, 0 | 0xFFFF)).unwrap_or(self.units.len());
        Some(String::from_utf16_lossy(&self.units[..end])).filter(|name| !name.is_empty() && !name.contains('/'))
    }
}

/// The name in 8.3 form. Two bits of byte 12 say that a part is to be shown in lower case, as Windows NT has it.
fn short_name(entry: &[u8]) -> String {
    let part = |bytes: &[u8], lower: bool| {
        let text: String = bytes.iter().map(|&byte| if byte.is_ascii() { char::from(byte) } else { '_' }).collect();
        let text = text.trim_end_matches(' ').replace('/', "_");
        if lower { text.to_lowercase() } else { text }
    };
    let (base, extension) = (part(&entry[..8], entry[12] & 0x08 != 0), part(&entry[8..11], entry[12] & 0x10 != 0));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

/// A label without the spaces behind it; `None` where it is empty, or the format's word for that.
fn label(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes).trim_end_matches([' ', '\0']).to_owned();
    Some(text).filter(|text| !text.is_empty() && text != "NO NAME")
}
