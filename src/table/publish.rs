//! The one place that writes a partition table to a disk.

use super::{Change, Defect, Scheme, Table, change as change_in_memory, gpt, mbr, read, read_at};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// Whole sectors that are to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Patch {
    /// Where, in bytes from the disk's start.
    pub(super) offset: u64,
    /// What is there now.
    pub(super) old: Vec<u8>,
    /// What is to be there; as long.
    pub(super) new: Vec<u8>,
}

impl Patch {
    /// From the first to the last sector that differs; `None` where nothing does.
    fn narrowed(&self, sector_size: usize) -> Option<Patch> {
        let differs = |&sector: &usize| {
            let range = sector * sector_size..(sector + 1) * sector_size;
            self.old[range.clone()] != self.new[range]
        };
        let sectors = 0..self.old.len() / sector_size;
        let (first, last) = (sectors.clone().find(differs)?, sectors.rev().find(differs)?);
        let range = first * sector_size..(last + 1) * sector_size;
        let offset = self.offset + range.start as u64;
        Some(Patch { offset, old: self.old[range.clone()].to_vec(), new: self.new[range].to_vec() })
    }
}

/// Writes `change` to the card: re-reads the table, requires it to be `before`, writes, flushes, reads it back.
/// MBR: one write of one sector, in which only the slot's 16 bytes differ. GPT: backup array and header, flush, protective MBR's
/// size where the disk grew, flush, primary header and array, flush; the backup goes to the disk's real end. (Where the primary
/// copy is damaged it comes first: the backup is the only good one then.) Only sectors that differ are written, so that a GPT's
/// primary header and the first entries are one write within 4 KiB.
///
/// The health of a GPT's backup (`backup_sound`, `backup_at_end`) may differ from `before`: the backup of a smaller card lies in
/// the free space, where the new partition's file system has been made by now.
///
/// # Errors
/// The table on the card is not `before` any more, a check failed (nothing was written then), or I/O failed: then what was
/// there before is put back, and the error says whether that succeeded.
pub fn publish(disk: &mut File, before: &Table, change: &Change, sector_size: u32, disk_sectors: u64) -> Result<()> {
    let patches = prepare(disk, before, change, sector_size, disk_sectors)?;
    let mut done = Vec::new();
    for patch in &patches {
        done.push(patch);
        if let Err(error) = write(disk, patch) {
            let error = error.context("writing the partition table");
            return Err(match put_back(disk, &done) {
                Ok(()) => error.context("the change was given up and the old table put back"),
                Err(second) => anyhow!(
                    "{error:#}; and putting back the old table failed too ({second:#}): the card may have no partition table now"
                ),
            });
        }
    }
    Ok(())
}

/// Reads, decides and checks; writes nothing. The patches are to be written in their order, with a flush after each.
pub(super) fn prepare(
    disk: &mut (impl Read + Seek),
    before: &Table,
    change: &Change,
    sector_size: u32,
    disk_sectors: u64,
) -> Result<Vec<Patch>> {
    let found = read(disk, sector_size, disk_sectors).context("reading the partition table again")?;
    let found = found.map_err(refusal)?;
    ensure!(
        essence(&found) == essence(before),
        "the partition table on the card is not the one that the plan was made for; nothing was written, try again"
    );
    let after = change_in_memory(&found, change)?;
    let sector = read_at(disk, 0, sector_size as usize).context("reading the disk's first sector")?;
    let patches: Vec<Patch> = match mbr::classify(&sector).map_err(refusal)? {
        mbr::Format::Dos => {
            let new = mbr::changed(&sector, change)?;
            vec![Patch { offset: 0, old: sector, new }]
        }
        mbr::Format::Protective(protective) => {
            let gpt = gpt::read(disk, sector_size, disk_sectors, &protective).context("reading the GPT again")?;
            let gpt = gpt.map_err(refusal)?;
            gpt::patches(disk, &gpt, change, (&sector, &protective), disk_sectors)?
        }
    };
    check(disk, &patches, &after, change, disk_sectors).context("checking the new table before writing it")?;
    Ok(patches.iter().filter_map(|patch| patch.narrowed(sector_size as usize)).collect())
}

fn refusal(defect: Defect) -> anyhow::Error {
    anyhow!("{defect}")
}

/// A table without the health of its backup.
fn essence(table: &Table) -> Table {
    let mut table = table.clone();
    if let Scheme::Gpt { backup_sound, backup_at_end, .. } = &mut table.scheme {
        (*backup_sound, *backup_at_end) = (true, true);
    }
    table
}

/// Checks the very bytes that are to be written, by other means than those that made them: which bytes differ from the card's,
/// and what a reader of the patched disk sees.
fn check(
    disk: &mut (impl Read + Seek),
    patches: &[Patch],
    after: &Table,
    change: &Change,
    disk_sectors: u64,
) -> Result<()> {
    let size = after.sector_size;
    let number = change.number();
    for patch in patches {
        ensure!(patch.old.len() == patch.new.len(), "a patch changes its length");
        ensure!(
            (patch.offset + patch.new.len() as u64) / u64::from(size) <= disk_sectors,
            "a patch reaches past the disk's end"
        );
    }
    let mut patched = Patched { disk, patches, position: 0 };
    let seen = read(&mut patched, size, disk_sectors)?.map_err(refusal)?;
    ensure!(seen == *after, "the table would read differently from what was planned");
    match after.scheme {
        Scheme::Mbr { .. } => {
            let [patch] = patches else { bail!("an MBR is one sector") };
            differ_only_in(patch, &[mbr::slot(number)])
        }
        Scheme::Gpt { .. } => check_gpt(&mut patched, after, number, disk_sectors),
    }
}

/// Header fields of a GPT that may change, in bytes: checksum, the other header's place, last usable sector, array's checksum.
const MAY_CHANGE: [Range<usize>; 4] = [16..20, 32..40, 48..56, 88..92];

/// That of a GPT's first sector, primary header and array only those bytes change that must, and that the backup's array
/// is the primary's.
fn check_gpt(patched: &mut Patched<'_, impl Read + Seek>, after: &Table, number: u32, disk_sectors: u64) -> Result<()> {
    const ENTRY: usize = 128;
    let size = after.sector_size as usize;
    let array = after.slots as usize * ENTRY;
    let at = (number as usize - 1) * ENTRY;
    let end = disk_sectors - 1;
    let array_sectors = array.div_ceil(size) as u64;
    for patch in patched.patches {
        match patch.offset / size as u64 {
            0 => {
                let mbr::Format::Protective(protective) = mbr::classify(&patch.old).map_err(refusal)? else {
                    bail!("the protective MBR is gone");
                };
                let length = protective.length_at..protective.length_at + 4;
                differ_only_in(patch, std::slice::from_ref(&length))?;
            }
            // A damaged primary copy may change everywhere; it was compared with the backup when it was read.
            1 if patch.old.starts_with(b"EFI PART") && sound_before(patched.disk, after, disk_sectors)? => {
                let mut ranges = MAY_CHANGE.to_vec();
                ranges.push(size + at..size + at + ENTRY);
                // Bytes after the header, which the standard wants to be zero.
                ranges.push(92..size);
                differ_only_in(patch, &ranges)?;
            }
            1 => {}
            first => ensure!(first == end - array_sectors, "a patch at sector {first}, where no part of the table is"),
        }
    }
    let size = size as u64;
    let primary = read_at(patched, 2 * size, array)?;
    let backup = read_at(patched, (end - array_sectors) * size, array)?;
    ensure!(primary == backup, "the two copies of the table would differ");
    Ok(())
}

/// Whether the disk as it is has a sound primary copy.
fn sound_before(disk: &mut (impl Read + Seek), after: &Table, disk_sectors: u64) -> Result<bool> {
    let before = read(disk, after.sector_size, disk_sectors)?.map_err(refusal)?;
    Ok(matches!(before.scheme, Scheme::Gpt { primary_sound: true, .. }))
}

fn differ_only_in(patch: &Patch, ranges: &[Range<usize>]) -> Result<()> {
    let differs = |&at: &usize| patch.old[at] != patch.new[at] && !ranges.iter().any(|range| range.contains(&at));
    match (0..patch.old.len()).find(differs) {
        None => Ok(()),
        Some(at) => {
            bail!("byte {} of the disk would change, which is not part of the change", patch.offset + at as u64)
        }
    }
}

/// A disk as it would be with patches applied.
struct Patched<'a, D> {
    disk: &'a mut D,
    patches: &'a [Patch],
    position: u64,
}

impl<D: Read + Seek> Read for Patched<'_, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.disk.seek(SeekFrom::Start(self.position))?;
        let length = self.disk.read(buffer)?;
        let (start, end) = (self.position, self.position + length as u64);
        for patch in self.patches {
            let (from, to) = (patch.offset.max(start), (patch.offset + patch.new.len() as u64).min(end));
            if from < to {
                let source = (from - patch.offset) as usize..(to - patch.offset) as usize;
                buffer[(from - start) as usize..(to - start) as usize].copy_from_slice(&patch.new[source]);
            }
        }
        self.position = end;
        Ok(length)
    }
}

impl<D: Read + Seek> Seek for Patched<'_, D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = self.disk.seek(to)?;
        Ok(self.position)
    }
}

/// Writes one patch, flushes, and reads it back.
fn write(disk: &mut File, patch: &Patch) -> Result<()> {
    let Patch { offset, new, .. } = patch;
    put(disk, *offset, new)?;
    forget(disk, *offset, new.len());
    let found = read_at(disk, *offset, new.len()).with_context(|| format!("reading back at byte {offset}"))?;
    ensure!(
        found == *new,
        "what was written at byte {offset} reads back differently: the card does not keep what it is given"
    );
    Ok(())
}

/// Puts back what was there before, the last patch first, and goes by what can be read then: a write that failed may have
/// changed nothing. One that cannot be put back does not keep the others from it.
fn put_back(disk: &mut File, done: &[&Patch]) -> Result<()> {
    let mut result = Ok(());
    for patch in done.iter().rev() {
        let Patch { offset, old, .. } = patch;
        let written = put(disk, *offset, old);
        forget(disk, *offset, old.len());
        if !matches!(read_at(disk, *offset, old.len()), Ok(found) if found == *old) {
            let reason = written.err().unwrap_or_else(|| anyhow!("byte {offset} and on read back differently"));
            result = result.and(Err(reason));
        }
    }
    result
}

/// Lets go of the kernel's copy, so that the next read comes from the card. Advice only: without it, the cache is compared.
#[cfg(target_os = "linux")]
fn forget(disk: &File, offset: u64, length: usize) {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    /// The largest page that an ARM kernel has: pages that the range covers in part only would be kept.
    const PAGE: u64 = 64 << 10;
    let from = offset / PAGE * PAGE;
    let Some(to) = (offset + length as u64).checked_next_multiple_of(PAGE) else { return };
    let (Ok(from), Ok(length)) = (i64::try_from(from), i64::try_from(to - from)) else { return };
    if let Err(error) = posix_fadvise(disk, from, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED) {
        log::debug!("the kernel keeps its copy of the partition table: {error}");
    }
}

/// Only images are written elsewhere, not cards.
#[cfg(not(target_os = "linux"))]
fn forget(_: &File, _: u64, _: usize) {}

/// Writes and flushes.
fn put(disk: &mut File, offset: u64, bytes: &[u8]) -> Result<()> {
    disk.seek(SeekFrom::Start(offset))
        .and_then(|_| disk.write_all(bytes))
        .and_then(|()| disk.sync_all())
        .with_context(|| format!("writing {} bytes at byte {offset}", bytes.len()))
}
