//! More room in the root of an image: the file, the partition and the file system are made longer.
//!
//! The file system is grown by resize2fs, which can do without a mount. It has to be kept from one thing: of an image it takes the offset,
//! but not for the length of the file. It would cut the image off at the length that the file system has (e2fsprogs, `resize/main.c`: an
//! `ftruncate` in the end). It leaves the length alone where its descriptor of the file is number 0 (`fd > 0`), and that it is where the
//! program was started with its standard input closed. What is copied to be without an offset, and back, would be all of root. That
//! the image is as long as before is looked at afterwards, and the file system is checked.

use super::check::{Checked, check};
use super::programs;
use super::root::Room;
use crate::command::Program;
use crate::inspect::ext4::Ext4;
use crate::inspect::partition::extent;
use crate::table::{self, Change, Scheme, Table};
use crate::units::{Bytes, MIB, Sectors};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};

/// To what the end of the partition and the length of the image are rounded up: the unit in which most cards erase.
const ALIGNMENT: u64 = 4 * MIB;
/// How much of an MBR's disk its entries reach, in sectors: they count in 32 bits.
const REACH_OF_MBR: u64 = 1 << 32;

/// What is to stay free beside all that is written, for the node's own work before it has an upper: dpkg unpacks beside what is there and
/// writes its database anew; update-initramfs puts an unpacked tree of up to 100 MiB below /var/tmp, and two new initramfs of up to 32 MiB
/// beside the old ones.
pub const MARGIN: Bytes = Bytes(192 * MIB);
/// The same in files: the modules of a kernel in that tree are some thousands.
pub const MARGIN_INODES: u64 = 8192;
/// One file in an unpacked package, in bytes: half of what it is on Debian on the average, so that inodes are not short.
const UNPACKED_FILE: u64 = 8 << 10;
/// What growing costs beside inodes, as a share of what is added: bitmaps, copies of the superblock, and room for more descriptors.
const OVERHEAD: u64 = 16;

/// How much longer a root must become.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needed {
    pub bytes: Bytes,
    /// It is inodes that it is short of: they come with the room.
    pub for_inodes: bool,
}

/// How much longer the root must be made, so that what is written to it fits and [`MARGIN`] and [`MARGIN_INODES`] stay free. 0 where
/// there is enough. Pure.
///
/// `files` are the lengths of all files that are written, in bytes; a directory or a link counts as a file of one byte. `unpacked` is what
/// packages take that the node unpacks itself.
pub fn needed(room: Room, files: &[Bytes], unpacked: Bytes) -> Needed {
    // With each file, its name can cost a block of the directory and one of its index.
    let of_files = files.iter().map(|length| room.taken_by(length.0).saturating_add(2));
    let blocks = of_files.fold(0, u64::saturating_add);
    // Blocks that are not full are in it; what maps them and directories are not.
    let unpacked_room = unpacked.0.saturating_add(unpacked.0 / 8).saturating_add(MARGIN.0);
    let bytes = blocks.saturating_mul(room.block).saturating_add(unpacked_room);
    let inodes = (files.len() as u64).saturating_add(unpacked.0.div_ceil(UNPACKED_FILE)).saturating_add(MARGIN_INODES);

    let short = bytes.saturating_sub(room.bytes().0);
    let short_inodes = inodes.saturating_sub(room.inodes);
    // Of each `inode_per` bytes that are added, `inode_size` are the inode.
    let per = room.inode_per.max(1);
    let of_use = per.saturating_sub(room.inode_size + per / OVERHEAD).max(1);
    let for_bytes = u128::from(short) * u128::from(per) / u128::from(of_use);
    let for_inodes = u128::from(short_inodes) * u128::from(per);
    let bytes = match u64::try_from(for_bytes.max(for_inodes)).unwrap_or(u64::MAX) {
        0 => Bytes(0),
        // Inodes come by groups, and a last group that is too short for its own tables is left out.
        more => Bytes(more.saturating_add(2 * ALIGNMENT)),
    };
    Needed { bytes, for_inodes: for_inodes > for_bytes }
}

/// Makes the root file system of an image longer: by `by` at least, up to the end of its partition, which grows for that where it is too
/// short, and with it the image. With `by` 0, the file system comes to fill its partition. What is added is a hole, but for the file
/// system's own tables. Gives the table as it is then.
///
/// `file` is open for reading and writing, and `path` leads to it, see [`super::check::path_for_programs`]; it is absolute. `root` is the number of
/// root's partition in `table`. Where this fails after the checks, the image is of no use any more.
///
/// # Errors
/// With nothing changed: there is no such partition, or one lies behind it; the file system is not fit to be edited or damaged; the table
/// cannot count so far; a program is not there. Otherwise: the image cannot be written, or resize2fs fails.
pub fn grow(file: &File, path: &Path, table: &Table, root: u32, by: Bytes) -> Result<Table> {
    grow_by(file, path, table, root, by)
        .with_context(|| format!("growing the root file system (partition {root}) by {by}"))
}

/// Whether that can be done, as far as can be known without changing anything; arguments as of [`grow`].
///
/// # Errors
/// As those of [`grow`] with which nothing was changed.
pub fn possible(file: &File, path: &Path, table: &Table, root: u32, by: Bytes) -> Result<()> {
    let image = file.metadata().context("looking at the image")?.len();
    let partition = table.partitions.iter().find(|p| p.number == root);
    let (start, _) = extent(table, partition.context("it is not in the table")?);
    // Whoever plans may read the image, and need not be allowed to write it.
    let size = Ext4::open(path, start)?.facts()?.size;
    target(table, root, image, size, by).with_context(|| format!("growing the root file system by {by}"))?;
    programs::need("resize2fs")?;
    programs::need("e2fsck").map(drop)
}

fn grow_by(file: &File, path: &Path, table: &Table, root: u32, by: Bytes) -> Result<Table> {
    let image = file.metadata().context("looking at the image")?.len();
    let partition = table.partitions.iter().find(|p| p.number == root);
    let (start, _) = extent(table, partition.context("it is not in the table")?);
    let (size, block) = size_and_block(path, start)?;
    let target = target(table, root, image, size, by)?;
    let blocks = target.sectors.to_bytes(table.sector_size).0 / block;
    if blocks <= size.0 / block {
        return Ok(table.clone());
    }
    let resize2fs = programs::need("resize2fs")?;
    programs::need("e2fsck")?;
    check(path, start).context("before it is grown")?;

    if target.image > image {
        file.set_len(target.image).with_context(|| format!("making the image {} long", Bytes(target.image)))?;
    }
    let table = publish(file, table, root, &target)?;
    resize(&resize2fs, path, start, blocks)?;
    let length = file.metadata().context("looking at the image again")?.len();
    ensure!(length == target.image, "resize2fs has changed the length of the image; it is damaged");
    let (after, _) = size_and_block(path, start)?;
    ensure!(after > size, "resize2fs left the file system as long as it was ({size}); try to grow it by more");
    match check(path, start).context("after it was grown")? {
        Checked::Sound => Ok(table),
        Checked::LeftOut(program) => bail!("{program} has gone"),
    }
}

/// How long the file system is, and its blocks.
fn size_and_block(path: &Path, start: u64) -> Result<(Bytes, u64)> {
    let ext4 = Ext4::open_to_edit(path, start)?;
    Ok((ext4.facts()?.size, ext4.room().block))
}

/// What the image is to become.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// The length of root's partition.
    sectors: Sectors,
    /// The length of the image, in bytes.
    image: u64,
}

/// Decides how long the partition and the image of `image` bytes become, when the file system of `size` grows by `by`. Pure.
fn target(table: &Table, root: u32, image: u64, size: Bytes, by: Bytes) -> Result<Target> {
    let found = table.partitions.iter().find(|p| p.number == root);
    let partition = found.context("it is not in the table")?;
    if let Some(other) = table.partitions.iter().find(|p| p.start > partition.start) {
        bail!(
            "partition {} lies behind root, so that root cannot become longer; use an image whose root is its last partition",
            other.number
        );
    }
    let (start, length) = extent(table, partition);
    ensure!(
        size.0 <= length,
        "the file system ({size}) is longer than its partition ({}); the image is damaged, download it again",
        Bytes(length)
    );
    let too_long = || anyhow!("a file system of {size} cannot grow by {by}");
    let wanted = size.0.checked_add(by.0).with_context(too_long)?;
    if wanted <= length {
        return Ok(Target { sectors: partition.sectors, image });
    }
    let aligned = |bytes: u64| bytes.checked_next_multiple_of(ALIGNMENT).with_context(too_long);
    let end = aligned(start.checked_add(wanted).with_context(too_long)?)?;
    let sector = u64::from(table.sector_size);
    let behind = match table.scheme {
        Scheme::Mbr { .. } => {
            ensure!(
                end <= REACH_OF_MBR * sector,
                "root would end {} from the image's beginning, and an MBR counts to {}; grow it by less",
                Bytes(end),
                Bytes(REACH_OF_MBR * sector)
            );
            0
        }
        // The backup: entries of 128 bytes, and the header.
        Scheme::Gpt { .. } => ((u64::from(table.slots) * 128).div_ceil(sector) + 1) * sector,
    };
    let least = end.checked_add(behind).with_context(too_long)?;
    let image = if image >= least { image } else { aligned(least)? };
    Ok(Target { sectors: Bytes(end - start).to_sectors(table.sector_size), image })
}

/// Makes root's entry as long as it is to be, where it is not.
fn publish(file: &File, table: &Table, root: u32, target: &Target) -> Result<Table> {
    let (sector, sectors) = (table.sector_size, target.image / u64::from(table.sector_size));
    let read = || table::read(&mut &*file, sector, sectors)?.map_err(|defect| anyhow!("{defect}"));
    let before = read().context("reading the partition table of the image")?;
    ensure!(before.partitions == table.partitions, "the image has another partition table by now");
    if before.partitions.iter().any(|p| p.number == root && p.sectors == target.sectors) {
        return Ok(before);
    }
    let change = Change::Grow { number: root, sectors: target.sectors };
    let mut disk = file.try_clone().context("opening the image once more")?;
    table::publish(&mut disk, &before, &change, sector, sectors)?;
    read().context("reading the partition table of the image again")
}

/// Runs resize2fs, its standard input closed. "-f": it does not ask for a check, which was made.
fn resize(resize2fs: &Path, path: &Path, start: u64, blocks: u64) -> Result<()> {
    let place = programs::place(path, start)?;
    let shell = Program::at(PathBuf::from("/bin/sh")).args(["-c", "exec \"$0\" \"$@\" <&-"]);
    let name = resize2fs.to_str().context("resize2fs is in a directory whose name is no UTF-8")?;
    shell.args([name, "-f", &place, &blocks.to_string()]).run()?;
    Ok(())
}

#[cfg(test)]
mod tests;
