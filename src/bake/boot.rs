//! Files on the boot partition of an image: FAT12, FAT16 or FAT32 with long names, written by `fatfs`.
//!
//! `fatfs` computes with what it reads unchecked. So what it will touch is first read by the reader of [`crate::inspect`], which believes
//! nothing, and it gets no byte outside of the partition. It has one fault more (0.3.6): a cluster by which the root directory of a FAT32
//! becomes longer is not zeroed, and what was in it becomes entries. [`Boot::write`] makes up for that.

use crate::inspect::fat::Fat;
use crate::inspect::tree::{Node, Tree};
use crate::time;
use crate::units::Bytes;
use anyhow::{Context, Result, bail, ensure};
use fatfs::{Date, DateTime, FileSystem, FsOptions, Time, TimeProvider};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// Bytes of a directory's entry.
const ENTRY: usize = 32;
/// How much of a long name is in one entry, in units of UTF-16.
const PART: usize = 13;
/// What begins an entry that was deleted, and one behind which there is none.
const DELETED: u8 = 0xE5;
const END: u8 = 0;

/// A boot partition that is being edited.
pub struct Boot<'f> {
    file: &'f File,
    start: u64,
    length: u64,
    clock: &'static Clock,
}

impl<'f> Boot<'f> {
    /// The file system in the partition that begins at the byte `start` of `file` and has `length` bytes. `now` is what changed files bear as
    /// their time, in seconds since 1970; FAT has it in steps of 2 seconds, from 1980 to 2107, and here in UTC.
    ///
    /// # Errors
    /// There is no FAT, or one that was not unmounted.
    pub fn open(file: &'f File, start: u64, length: u64, now: u64) -> Result<Boot<'f>> {
        let boot = Boot::look(file, start, length, now)?;
        ensure!(
            !boot.reader()?.is_dirty().context("opening the boot partition")?,
            "the boot partition was not unmounted; let `fsck.vfat -a` look at it"
        );
        Ok(boot)
    }

    /// The same to be looked at, also where it was not unmounted: a copy of it is put in order before it is edited.
    ///
    /// # Errors
    /// There is no FAT.
    pub fn look(file: &'f File, start: u64, length: u64, now: u64) -> Result<Boot<'f>> {
        Fat::open(file, start, length).context("opening the boot partition")?;
        // `fatfs` wants it for as long as the program runs: 16 bytes for each partition that is edited.
        Ok(Boot { file, start, length, clock: Box::leak(Box::new(Clock(dos_time(now)))) })
    }

    /// How much is free.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn free(&self) -> Result<Bytes> {
        let fat = self.reader()?;
        Ok(Bytes(fat.free_clusters()? * fat.cluster_length()))
    }

    /// How long the file at `path` is, in bytes; 0 where there is none.
    ///
    /// # Errors
    /// There is a directory; it cannot be read.
    pub fn length_of(&self, path: &str) -> Result<u64> {
        Ok(old_length(&self.reader()?, path)?.unwrap_or(0))
    }

    /// Writes a file. One that is there keeps its name, in the case that it has; a new one gets the name as it is given. Its directory must
    /// be there.
    ///
    /// # Errors
    /// There is no such directory, or a directory at `path`; the name is none for FAT; there is no room, and then nothing was changed; it
    /// cannot be written.
    pub fn write(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        self.put(path, content).with_context(|| format!("writing {path} on the boot partition"))
    }

    fn put(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        ensure!(!name.ends_with(['.', ' ']), "a name on FAT does not end with a dot or a space");
        let fat = self.reader()?;
        let old = old_length(&fat, path)?;
        let slot = match old {
            Some(_) => None,
            None => Some(Slot::find(&fat, directory, name)?),
        };
        let cluster = fat.cluster_length();
        let needed = (content.len() as u64).div_ceil(cluster) + slot.as_ref().map_or(0, |slot| slot.clusters);
        let free = fat.free_clusters()? + old.unwrap_or(0).div_ceil(cluster);
        ensure!(
            needed <= free,
            "there is no room: {} are needed, and {} are free; use an image with a larger boot partition",
            Bytes(needed * cluster),
            Bytes(free * cluster)
        );
        let fatfs = self.session()?;
        let mut file = fatfs.root_dir().create_file(path)?;
        file.truncate()?;
        file.write_all(content)?;
        file.flush()?;
        drop(file);
        fatfs.unmount()?;
        match slot {
            Some(slot) => self.clear_behind(directory, &slot),
            None => Ok(()),
        }
    }

    /// Zeroes what lies behind the last entry of a directory, where a new one was written over the mark of its end.
    fn clear_behind(&mut self, directory: &str, slot: &Slot) -> Result<()> {
        if slot.end <= slot.mark {
            return Ok(());
        }
        let fat = self.reader()?;
        let (stretches, _) = fat.stretches(directory)?.context("the directory is gone")?;
        let mut behind = slot.end * ENTRY as u64;
        for stretch in stretches {
            let length = stretch.end - stretch.start;
            let from = stretch.start + behind.min(length);
            behind = behind.saturating_sub(length);
            let place = from..stretch.end;
            if fat.bytes_at(&place)?.iter().any(|byte| *byte != 0) {
                let zeros = vec![0; usize::try_from(place.end - place.start)?];
                self.file.write_all_at(&zeros, self.start + place.start).context("clearing a directory's end")?;
            }
        }
        Ok(())
    }

    fn reader(&self) -> Result<Fat<'f>> {
        Fat::open(self.file, self.start, self.length)
    }

    fn session(&self) -> Result<FileSystem<Window<'f>>> {
        let window = Window { file: self.file, start: self.start, length: self.length, at: 0 };
        Ok(FileSystem::new(window, FsOptions::new().time_provider(self.clock))?)
    }
}

/// The length of the file at `path`, all of which can be read; `None` where there is none.
fn old_length(fat: &Fat<'_>, path: &str) -> Result<Option<u64>> {
    match fat.node(path)? {
        None => Ok(None),
        Some(Node::File) => {
            let length = io::copy(&mut fat.open(path)?, &mut io::sink()).context("reading what is there")?;
            Ok(Some(length))
        }
        Some(_) => bail!("there is a directory"),
    }
}

/// Where `fatfs` puts the entries of a new name, in a directory's entries.
#[derive(Debug, PartialEq, Eq)]
struct Slot {
    /// The first entry behind them.
    end: u64,
    /// The one that marks the end of the directory, or would be behind its last.
    mark: u64,
    /// How many clusters the directory needs more.
    clusters: u64,
}

impl Slot {
    fn find(fat: &Fat<'_>, directory: &str, name: &str) -> Result<Slot> {
        let found = fat.stretches(directory)?;
        let (stretches, can_grow) = found.with_context(|| format!("there is no directory {directory}"))?;
        let mut bytes = Vec::new();
        for stretch in &stretches {
            bytes.extend(fat.bytes_at(stretch)?);
        }
        let wanted = 1 + name.encode_utf16().count().div_ceil(PART);
        let (at, mark) = slot(&bytes, wanted);
        let (end, room) = (at + wanted, bytes.len() / ENTRY);
        let missing = (end.saturating_sub(room) * ENTRY) as u64;
        ensure!(missing == 0 || can_grow, "the root directory has no room for one more name; remove a file from it");
        Ok(Slot { end: end as u64, mark: mark as u64, clusters: missing.div_ceil(fat.cluster_length()) })
    }
}

/// The first entry of the place for `wanted` ones, and that of the end: the first run of deleted ones that is long enough, else the end,
/// with the deleted ones before it. Pure.
fn slot(directory: &[u8], wanted: usize) -> (usize, usize) {
    let end = directory.chunks_exact(ENTRY).position(|entry| entry[0] == END).unwrap_or(directory.len() / ENTRY);
    let mut run = 0;
    for (index, entry) in directory.chunks_exact(ENTRY).take(end).enumerate() {
        run = if entry[0] == DELETED { run + 1 } else { 0 };
        if run == wanted {
            return (index + 1 - run, end);
        }
    }
    (end - run, end)
}

/// Tells `fatfs` one time, always.
#[derive(Debug)]
struct Clock(DateTime);

impl TimeProvider for Clock {
    fn get_current_date(&self) -> Date {
        self.0.date
    }

    fn get_current_date_time(&self) -> DateTime {
        self.0
    }
}

/// Seconds since 1970 as FAT has them; what it cannot hold becomes the nearest that it can. Pure.
fn dos_time(seconds: u64) -> DateTime {
    /// 1980-01-01 00:00:00 and 2107-12-31 23:59:58.
    const RANGE: (u64, u64) = (315_532_800, 4_354_819_198);
    // Each is at most 2107.
    let [year, month, day, hour, min, sec] = time::parts(seconds.clamp(RANGE.0, RANGE.1)).map(|part| part as u16);
    DateTime { date: Date { year, month, day }, time: Time { hour, min, sec, millis: 0 } }
}

/// A partition as a file of its own: nothing outside of it is read or written.
struct Window<'f> {
    file: &'f File,
    start: u64,
    length: u64,
    at: u64,
}

impl Window<'_> {
    /// How much of `wanted` is left in it.
    fn left(&self, wanted: usize) -> usize {
        usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX).min(wanted)
    }
}

impl Read for Window<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let left = self.left(room.len());
        let count = self.file.read_at(&mut room[..left], self.start.saturating_add(self.at))?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Write for Window<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left(bytes.len());
        let count = self.file.write_at(&bytes[..left], self.start.saturating_add(self.at))?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        self.at = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests;
