//! What is on a card, found out without burnonce: by e2fsprogs, sfdisk, and a look at bytes and files.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use burnonce_vm::card::Card;
use burnonce_vm::{host, tree};

use crate::reader::table_of;
use crate::recording::Before;

/// The configuration in the image, relative to its root.
pub const CONFIGURATION: &str = "etc/overlayroot.local.conf";
/// What a power cut while it is written can leave beside it. The next attempt writes the same file.
const CONFIGURATION_BEGUN: &str = "etc/overlayroot.local.conf.burnonce-new";
/// Where an MBR's boot code and disk signature end.
const SIGNATURE_END: usize = 446;

/// The table is sound, for burnonce and for sfdisk, and nothing in it but the third entry is new. Returns whether that is there.
pub fn check_table(card: &Card, before: &Before) -> Result<bool> {
    let table = table_of(&mut File::open(&card.path)?)?;
    let old = &before.table.partitions;
    ensure!(
        table.partitions.starts_with(&old[..2]),
        "the image's partitions were {old:?} and are {:?}",
        table.partitions
    );
    let numbers: Vec<u32> = table.partitions.iter().map(|partition| partition.number).collect();
    ensure!(numbers == [1, 2] || numbers == [1, 2, 3], "there are partitions {numbers:?}");
    let first = card.first_sector()?;
    ensure!(first[..SIGNATURE_END] == before.first_sector[..SIGNATURE_END], "boot code or disk signature were changed");
    let by_sfdisk: Vec<_> = card.table()?.partitions.iter().map(|p| (p.number, p.start, p.size)).collect();
    let by_burnonce: Vec<_> = table.partitions.iter().map(|p| (p.number, p.start.0, p.sectors.0)).collect();
    ensure!(by_sfdisk == by_burnonce, "sfdisk reads {by_sfdisk:?}, and burnonce {by_burnonce:?}");
    Ok(numbers.len() == 3)
}

/// Fails where e2fsck finds anything to do.
pub fn check_ext4(device: &Path) -> Result<()> {
    let output = Command::new("e2fsck").arg("-fn").arg(device).output().context("starting e2fsck")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(0), "e2fsck -fn {} ({}): {text}", device.display(), output.status);
    Ok(())
}

/// Fails where fsck.vfat finds damage.
pub fn check_vfat(device: &Path) -> Result<()> {
    let output = Command::new("fsck.vfat").arg("-n").arg(device).output().context("starting fsck.vfat")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(0), "fsck.vfat -n {} ({}): {text}", device.display(), output.status);
    Ok(())
}

/// Whether the image at `root` configures an overlay, as a shell would see it.
pub fn is_configured(root: &Path) -> Result<bool> {
    let path = root.join(CONFIGURATION);
    if !path.exists() {
        return Ok(false);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.lines().any(|line| line.starts_with("overlayroot=")))
}

/// Whether the ext4 on `device` is one that the kernel mounts only read-only: `RO_COMPAT_READONLY`, bit 12 of the word at byte 0x64 of its
/// superblock.
pub fn is_sealed(device: &Path) -> Result<bool> {
    Ok(word(device, 0x64)? & 0x1000 != 0)
}

/// Whether its journal is to be replayed: `INCOMPAT_RECOVER`, bit 2 of the word at byte 0x60.
pub fn needs_recovery(device: &Path) -> Result<bool> {
    Ok(word(device, 0x60)? & 4 != 0)
}

/// The word at byte `at` of the superblock of the ext4 on `device`.
pub fn word(device: &Path, at: u64) -> Result<u32> {
    let mut word = [0; 4];
    File::open(device)?.read_exact_at(&mut word, 1024 + at)?;
    Ok(u32::from_le_bytes(word))
}

/// The image at `root` is the one at `burned`, but for the configuration.
pub fn check_image(burned: &Path, root: &Path) -> Result<()> {
    let mut differing = tree::differences(burned, root)?;
    differing.retain(|path| path != CONFIGURATION && path != CONFIGURATION_BEGUN);
    ensure!(differing.is_empty(), "of the image, these differ: {differing:?}");
    Ok(())
}

/// The table, as far as it is the same whenever it is written: an MBR's sector, byte by byte. A GPT gives a new entry a random GUID, so of
/// that it is what burnonce reads, with whether both copies are sound.
pub fn table(card: &Card) -> Result<String> {
    let first = card.first_sector()?;
    // The type of a protective MBR's one entry.
    if first[450] != 0xEE {
        return Ok(format!("{first:02x?}"));
    }
    Ok(format!("{:?}", table_of(&mut File::open(&card.path)?)?))
}

/// The names in a directory, sorted.
pub fn names(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The label of the ext4 on `device`: 16 bytes at 0x78 of its superblock.
pub fn label(device: &Path) -> Result<String> {
    let mut bytes = [0; 16];
    File::open(device)?.read_exact_at(&mut bytes, 1024 + 0x78)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned())
}

/// Where on the card the journal of the ext4 in partition `number` is, and its superblock.
pub fn journal(card: &Card, number: u32) -> Result<HashSet<u64>> {
    const BLOCK: u64 = 4096;
    let start = card.partition(number)?.offset();
    let device = format!("{}?offset={start}", card.path.display());
    let listed = host::run(Command::new("debugfs").args(["-R", "blocks <8>", &device]))?;
    let blocks: Vec<u64> = listed.split_whitespace().map(str::parse).collect::<Result<_, _>>().context(listed)?;
    ensure!(blocks.len() > 1, "debugfs finds no journal in partition {number} of {}", card.path.display());
    Ok(blocks.into_iter().chain([0]).map(|block| start + block * BLOCK).collect())
}
