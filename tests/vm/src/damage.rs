//! What can happen to the upper of a card: each function does one kind of damage to partition 3 of a card that is out of its node.

use std::fs::{self, File};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::card::{Card, Mounted};
use crate::host;

/// Bytes of a block in every upper of the scenarios.
const BLOCK: u64 = 4096;

/// Overwrites the first superblock (and the boot sectors before it).
pub fn zero_superblock(card: &Card) -> Result<()> {
    card.write(card.partition(3)?.offset(), &[0; BLOCK as usize])
}

/// Overwrites all group descriptors behind the first superblock; their backups stay.
pub fn corrupt_group_descriptors(card: &Card) -> Result<()> {
    card.write(card.partition(3)?.offset() + BLOCK, &[0xFF; 4 * BLOCK as usize])
}

/// Overwrites the group descriptors and every copy of them, which leaves nothing to repair them from. The superblocks stay.
pub fn corrupt_all_group_descriptors(card: &Card) -> Result<()> {
    corrupt_group_descriptors(card)?;
    let partition = card.partition(3)?;
    for group in crate::card::backups(partition.bytes()) {
        card.write(partition.offset() + group * crate::card::GROUP + BLOCK, &[0xFF; 4 * BLOCK as usize])?;
    }
    Ok(())
}

/// Overwrites the block of the root directory.
pub fn corrupt_root_directory(card: &Card) -> Result<()> {
    let offset = card.partition(3)?.offset();
    let device = format!("{}?offset={offset}", card.path.display());
    let blocks = host::run(Command::new("debugfs").args(["-R", "blocks <2>", &device]))?;
    let mut numbers = blocks.split_whitespace().map(str::parse::<u64>);
    let block = numbers.next().with_context(|| format!("debugfs shows no block of the root directory: {blocks:?}"))?;
    card.write(offset + block? * BLOCK, &[0xFF; BLOCK as usize])
}

/// Leaves not one free block, those reserved for root included.
pub fn fill_blocks(upper: &Mounted) -> Result<()> {
    let mut size: u64 = 1 << 30;
    let mut number = 0;
    while size >= BLOCK {
        // Space without content: the file that is the card stays small.
        let file = upper.path().join(format!("overlay/fill-{number}"));
        number += 1;
        let mut fallocate = Command::new("fallocate");
        if host::run(fallocate.arg("-l").arg(size.to_string()).arg(&file)).is_err() {
            fs::remove_file(&file)?;
            size /= 2;
        }
    }
    Ok(())
}

/// Leaves not one free inode.
pub fn fill_inodes(upper: &Mounted) -> Result<()> {
    const IN_A_DIRECTORY: u64 = 10_000;
    for number in 0.. {
        let dir = upper.path().join(format!("overlay/fill-{}", number / IN_A_DIRECTORY));
        let made = if number % IN_A_DIRECTORY == 0 {
            fs::create_dir(&dir)
        } else {
            File::create(dir.join((number % IN_A_DIRECTORY).to_string())).map(drop)
        };
        match made {
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
            made => made.with_context(|| format!("making entry {number} in {}", dir.display()))?,
        }
    }
    let left = host::run(Command::new("stat").args(["-f", "-c", "%d"]).arg(upper.path()))?;
    ensure!(left.trim() == "0", "{left} inodes are left, but another one could not be made");
    Ok(())
}
