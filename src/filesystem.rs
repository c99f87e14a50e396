//! ext4: facts of a superblock through libext2fs; making, checking and tuning by the commands of e2fsprogs.

use crate::command::Program;
use crate::units::{Bytes, MIB};
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::process::Output;
use std::sync::mpsc;
use std::time::Duration;

pub(crate) mod ext2;
pub mod mark;
pub mod options;

/// What a partition holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Content {
    /// Nothing that blkid knows, and the first MiB is zero.
    Blank,
    /// No known signature, but not zero either.
    Unknown,
    /// ext2, ext3 or ext4.
    Ext(Superblock),
    /// Something else that `blkid -p` recognises: `vfat`, `btrfs`, `swap`, `LVM2_member`, …
    Other { name: String, label: Option<String> },
    /// It could not be read, for this reason: the card has worn out, or the partition reaches past its end.
    Unreadable { reason: String },
}

/// The facts of an ext4 superblock that decisions rest on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superblock {
    pub label: String,
    pub uuid: String,
    /// Length of the file system (blocks times block size). It may be more than the partition has.
    pub size: Bytes,
    /// `EXT2_VALID_FS` set, no recovery needed.
    pub clean: bool,
    /// `EXT2_ERROR_FS` set, or an error count above 0.
    pub errors: bool,
    /// The RO_COMPAT `read-only` feature: the kernel refuses a writable mount.
    pub sealed: bool,
    /// What the root directory and `/burnonce` hold.
    pub owner: Owner,
}

/// Whose file system this is, as its content shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "owner", rename_all = "kebab-case")]
pub enum Owner {
    /// `/burnonce/state.json` is there, with this text (at most 64 KiB are read).
    /// `used`: the overlay's upper directory has something in it, so a node has run on it.
    Ours {
        state: String,
        #[serde(default)]
        used: bool,
    },
    /// Only `lost+found`.
    Empty,
    /// Something else: the first names, sorted.
    Files { names: Vec<String> },
    /// The file system or its directory could not be read, for this reason. Where `clean` is false, `e2fsck -p` may help.
    Unreadable { reason: String },
}

/// Looks at what `device` (a block device or an image file; it may be mounted) holds. Reads only; libext2fs where it is ext,
/// `blkid -p` elsewhere. A superblock that is not ours but beside which blkid sees something else is [`Content::Other`]: it may
/// be left from an earlier life.
///
/// # Errors
/// The device cannot be opened or read.
pub fn probe(device: &Path) -> Result<Content> {
    let superblock = match ext(device) {
        Ok(superblock) => superblock,
        Err(error) => {
            let head = head(device)?;
            // What libext2fs refuses may be a broken ext4 all the same: its label and UUID then tell whose it was.
            match head.get(ext2::SUPERBLOCK_OFFSET..).and_then(ext2::Facts::parse) {
                Some(facts) => facts.into_superblock(Owner::Unreadable { reason: format!("{error:#}") }),
                None => {
                    let nothing = if head.iter().all(|&byte| byte == 0) { Content::Blank } else { Content::Unknown };
                    return Ok(blkid(device)?.unwrap_or(nothing));
                }
            }
        }
    };
    if !matches!(superblock.owner, Owner::Ours { .. }) {
        match blkid(device)? {
            Some(Content::Other { name, .. }) if matches!(name.as_str(), "ext2" | "ext3" | "ext4" | "ext4dev") => {}
            Some(other) => return Ok(other),
            None => {}
        }
    }
    Ok(Content::Ext(superblock))
}

/// What libext2fs alone says of `device`: the superblock and whose file system it is. Reads only; it may be mounted.
///
/// # Errors
/// The device cannot be read, or libext2fs does not accept what is on it.
pub fn ext(device: &Path) -> Result<Superblock> {
    let (facts, owner) = ext2::facts_and_owner(device)?;
    Ok(facts.into_superblock(owner))
}

/// The first MiB of a device, or as much as it has.
fn head(device: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(device)
        .and_then(|file| file.take(MIB).read_to_end(&mut head))
        .with_context(|| format!("reading {}", device.display()))?;
    Ok(head)
}

/// blkid's exit code where it recognises nothing.
const NOTHING: i32 = 2;
/// The one for signatures of more than one kind.
const AMBIVALENT: i32 = 8;

/// What `blkid -p -o export` says of a device, whatever it recognises.
///
/// # Errors
/// It could not be run, or could not read the device.
pub(crate) fn export(device: &Path) -> Result<Output> {
    let blkid = Program::new("blkid").args(["-p", "-o", "export"]).arg(name(device)?);
    let output = blkid.accept(NOTHING).accept(AMBIVALENT).run();
    output.with_context(|| format!("recognising what {} holds", device.display()))
}

/// What `blkid -p` says; `None` where it recognises nothing.
fn blkid(device: &Path) -> Result<Option<Content>> {
    let output = export(device)?;
    Ok(match output.status.code() {
        Some(NOTHING) => None,
        Some(AMBIVALENT) => {
            Some(Content::Other { name: "ambivalent (signatures of more than one kind)".to_owned(), label: None })
        }
        _ => recognised(&String::from_utf8_lossy(&output.stdout)),
    })
}

/// Reads `KEY=value` lines of `blkid -o export`. `None` where neither a type nor a partition table is named.
fn recognised(export: &str) -> Option<Content> {
    let value = |key: &str| {
        let line = export.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.map(|value| value.replace('\\', "")).filter(|value| !value.is_empty())
    };
    let name = value("TYPE").or_else(|| value("PTTYPE").map(|kind| format!("{kind} partition table")))?;
    Some(Content::Other { name, label: value("LABEL") })
}

/// What tells one root file system from another, and whether it is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uuid: String,
    /// The RO_COMPAT `read-only` feature.
    pub sealed: bool,
}

/// Reads the superblock of `device`, which may be mounted; `None` where libext2fs finds none that it accepts. It is done in every
/// boot, so nothing else is read.
///
/// # Errors
/// The device cannot be opened.
pub fn identify(device: &Path) -> Result<Option<Identity>> {
    File::open(device).with_context(|| format!("opening {}", device.display()))?;
    match ext2::facts(device) {
        Ok(facts) => Ok(Some(Identity { uuid: facts.uuid, sealed: facts.sealed })),
        Err(error) => {
            log::debug!("{error:#}");
            Ok(None)
        }
    }
}

/// What the 1024 bytes of a superblock say by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    pub label: String,
    pub uuid: String,
    /// See [`Superblock::size`].
    pub size: Bytes,
    /// Why the file system asks for a check; `None`: it does not.
    pub check: Option<&'static str>,
    /// See [`Superblock::errors`]. An error count alone does not make e2fsck look further, unless it is told to (`-f`).
    pub errors: bool,
}

/// Reads the superblock of `device` and nothing else; `None` where there is none of ext2, ext3 or ext4. Its checksum is not looked at.
///
/// # Errors
/// The device cannot be opened or read.
pub fn glance(device: &Path) -> Result<Option<Glance>> {
    let reading = || format!("reading {}", device.display());
    let mut bytes = [0; SUPERBLOCK];
    let mut file = File::open(device).with_context(reading)?;
    file.seek(SeekFrom::Start(ext2::SUPERBLOCK_OFFSET as u64)).with_context(reading)?;
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(ext2::Facts::parse(&bytes).map(glance_at)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error).with_context(reading),
    }
}

/// Bytes in a superblock.
const SUPERBLOCK: usize = 1024;

fn glance_at(facts: ext2::Facts) -> Glance {
    let reasons = [
        (facts.errors, "errors were found on it"),
        (!facts.clean, "it was not unmounted"),
        (facts.mounts_reached, "it was mounted as often as it is to be without a check"),
    ];
    let check = reasons.iter().find(|(is, _)| *is).map(|(_, why)| *why);
    Glance { label: facts.label, uuid: facts.uuid, size: facts.size, check, errors: facts.errors }
}

/// Whether the ext4 on `device` (it may be mounted) has the RO_COMPAT `read-only` feature.
///
/// # Errors
/// The device cannot be read, or has no ext superblock.
pub fn sealed(device: &Path) -> Result<bool> {
    match identify(device)? {
        Some(found) => Ok(found.sealed),
        None => bail!("{} has no ext4 superblock", device.display()),
    }
}

/// Whether the ext file system on `device` is sealed and does not ask for a check; one without a sound superblock is neither.
///
/// # Errors
/// The device cannot be read.
pub fn is_sealed_and_clean(device: &Path) -> Result<bool> {
    let sealed = identify(device)?.is_some_and(|found| found.sealed);
    Ok(sealed && glance(device)?.is_some_and(|glance| glance.check.is_none()))
}

/// Makes the upper's ext4 on `device`, filled with the tree at `content` (`mke2fs -d`), with the label `burnonce` and a
/// fresh UUID, and flushes it. design.md's table of options. `length` is that of the partition.
///
/// Owners, modes and times of `content` are copied: run as root, with a tree that root made. 1 % of the blocks are kept for
/// root (mke2fs's 5 % would be 3 GiB of a 64 GiB card): enough for root to log in and clean up when users have filled the card.
///
/// What an earlier life left in the first and last MiB (LVM, RAID, a GPT's backup, …) is wiped first; with it the [`mark`] of this
/// attempt is set, for which the last block is left free.
///
/// # Errors
/// The device is in use (mounted, or claimed), smaller than `length`, or cannot be written; mke2fs failed.
pub fn make(device: &Path, length: Bytes, content: &Path, attempt: u32) -> Result<()> {
    const LEAST: u64 = 16 * MIB;
    ensure!(length.0 >= LEAST, "{length} are too few for the upper file system: at least {} are needed", Bytes(LEAST));
    wait_for_randomness();
    wipe(device, length, attempt).with_context(|| format!("wiping old signatures from {}", device.display()))?;
    Program::new("mke2fs")
        .args(options::of(length))
        .args(["-d", name(content)?, name(device)?])
        .arg(((length.0 - mark::ROOM) / options::BLOCK).to_string())
        .run()
        .with_context(|| format!("making the upper file system on {}", device.display()))?;
    flush(device)
}

/// Waits until the kernel's random numbers are random. So early in a boot they are not, and mke2fs, which never waits, then retries for a
/// second for each of its UUIDs and settles for one made of clock and MAC address: of a board without a clock. A read that waits
/// makes the kernel gather what it needs (random(7); `try_to_generate_entropy` in drivers/char/random.c).
fn wait_for_randomness() {
    const LONGEST: Duration = Duration::from_secs(10);
    let (done, waiting) = mpsc::channel();
    std::thread::spawn(move || {
        let read = File::open("/dev/random").and_then(|mut random| random.read_exact(&mut [0]));
        // The other end has gone when this took too long.
        let _ = done.send(read);
    });
    match waiting.recv_timeout(LONGEST) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::warn!("reading /dev/random: {error}"),
        Err(_) => log::warn!("no random numbers after {} s; the file system's UUID is made without", LONGEST.as_secs()),
    }
}

/// Zeroes the first and the last MiB of the device, and sets the mark of this attempt. Refuses a device that is mounted or otherwise claimed (`O_EXCL`).
///
/// What is zero already, as on most new cards, is not written: a card reads faster than it writes, and does not wear out by it.
fn wipe(device: &Path, length: Bytes, attempt: u32) -> Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let is_block = std::fs::metadata(device).context("looking at it")?.file_type().is_block_device();
    if is_block {
        options.custom_flags(nix::libc::O_EXCL);
    }
    let mut file = options.open(device).context("opening it, exclusively")?;
    let end = file.seek(SeekFrom::End(0)).context("finding its end")?;
    ensure!(end >= length.0, "it has {}, less than the {length} that the file system is to have", Bytes(end));
    for at in [0, end.saturating_sub(MIB)] {
        zero(&file, at).with_context(|| format!("at byte {at}"))?;
    }
    mark::set(&file, length, attempt)?;
    file.sync_all().context("flushing it")
}

/// Zeroes the MiB at the byte `at`, as far as it is not zero. What cannot be read is written, too.
fn zero(file: &File, at: u64) -> std::io::Result<()> {
    const PIECE: usize = 64 << 10;
    let zeroes = [0u8; PIECE];
    let mut found = [0u8; PIECE];
    for at in (at..at + MIB).step_by(PIECE) {
        if file.read_exact_at(&mut found, at).is_err() || found != zeroes {
            file.write_all_at(&zeroes, at)?;
        }
    }
    Ok(())
}

/// Makes the ext4 on `device`, which is mounted and takes writes, as long as the device (`resize2fs`): the kernel does it, group by
/// group, each in a transaction of its journal.
///
/// # Errors
/// The kernel or resize2fs refuses.
pub fn grow(device: &Path) -> Result<()> {
    Program::new("resize2fs")
        .arg(name(device)?)
        .run()
        .with_context(|| format!("growing the file system on {}", device.display()))
        .map(drop)
}

/// Sets the `read-only` feature on the (mounted or unmounted) ext4 on `device` and flushes. Does nothing where it is set.
///
/// # Errors
/// No ext4 there, tune2fs failed, or the flag is not there after it.
pub fn seal(device: &Path) -> Result<()> {
    set_read_only(device, true)
}

/// Clears it, and flushes. Does nothing where it is clear.
///
/// # Errors
/// As [`seal`].
pub fn unseal(device: &Path) -> Result<()> {
    set_read_only(device, false)
}

fn set_read_only(device: &Path, wanted: bool) -> Result<()> {
    if sealed(device)? == wanted {
        return Ok(());
    }
    let (tuned, kept) = keeping_superblock(device, || tune(device, wanted));
    tuned.map_err(|error| match kept {
        Ok(()) => error,
        Err(second) => anyhow!("{error:#}; and {second:#}: run e2fsck on it"),
    })
}

fn tune(device: &Path, wanted: bool) -> Result<()> {
    let doing = if wanted { "sealing" } else { "unsealing" };
    Program::new("tune2fs")
        .args(["-O", if wanted { "read-only" } else { "^read-only" }, name(device)?])
        .run()
        .with_context(|| format!("{doing} {}", device.display()))?;
    flush(device)?;
    ensure!(
        sealed(device)? == wanted,
        "{doing} {}: tune2fs said nothing, but the flag did not change",
        device.display()
    );
    Ok(())
}

/// Runs `work`, in which a program of e2fsprogs writes the superblock of `device`. They write a field and the checksum one after the other,
/// and may get no further than the first (e2fsck does not even say so): no kernel mounts that. Then what was there is put back.
pub fn keeping_superblock<T>(device: &Path, work: impl FnOnce() -> T) -> (T, Result<()>) {
    let before = superblock(device).ok().filter(|bytes| ext2::is_whole(bytes));
    let done = work();
    let kept = match before {
        Some(before) if !superblock(device).is_ok_and(|bytes| ext2::is_whole(&bytes)) => OpenOptions::new()
            .write(true)
            .open(device)
            .and_then(|file| file.write_all_at(&before, ext2::SUPERBLOCK_OFFSET as u64).and_then(|()| file.sync_all()))
            .with_context(|| format!("the superblock of {} could not be put back", device.display())),
        _ => Ok(()),
    };
    (done, kept)
}

fn superblock(device: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; ext2::SUPERBLOCK_SIZE];
    File::open(device)?.read_exact_at(&mut bytes, ext2::SUPERBLOCK_OFFSET as u64)?;
    Ok(bytes)
}

/// Flushes the device to the medium.
fn flush(device: &Path) -> Result<()> {
    File::open(device).and_then(|file| file.sync_all()).with_context(|| format!("flushing {}", device.display()))
}

/// A path as an argument.
fn name(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests;
