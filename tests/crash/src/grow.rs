//! The upper of a card that became longer, whose growth was cut off. The kernel may refuse to let a mounted file system grow here (it wants
//! `CAP_SYS_RESOURCE`): then the file system grows unmounted, by resize2fs, as the table of the next boot has it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use burnonce_vm::card::SECTOR;
use burnonce_vm::{host, tree};

use crate::boot;
use crate::plan::{self, Expected};
use crate::story::{self, Ending};
use crate::worker::Case;
use crate::{conversion, facts};

/// With less to win, nothing grows.
const WORTHWHILE: u64 = 64 << 20;

/// Boots, lets it grow, and boots again.
pub fn finish(case: &Case) -> Result<Ending> {
    let reader = &case.worker.reader;
    let expected = expected(case)?;
    let mut boot = case.begin()?;
    let report = boot.guard()?;
    ensure!(report["verdict"] == "upper", "the guard says {report:#}");
    facts::check_ext4(&reader.partition(3))?;
    boot::look(&reader.partition(3), |upper| keeps_files(Path::new(boot::UPPER_BEFORE), upper))?;
    boot.go_on(true)?;
    plan::check(&boot, expected)?;
    boot.succeeds(&["converge", "--no-reboot"])?;
    boot.power_off()?;

    let length = reader.scan()?.partitions[2].sectors.0 * SECTOR;
    let upper = reader.partition(3);
    if length - size(&upper)? >= WORTHWHILE {
        host::run(Command::new("e2fsck").arg("-fp").arg(&upper))?;
        host::run(Command::new("resize2fs").arg(&upper))?;
    }
    let mut boot = case.begin()?;
    boot.guard()?;
    boot.go_on(true)?;
    story::settle(&boot, true)?;
    boot.power_off()?;
    let grown = ("the upper's length", size(&upper)?.to_string());
    let mut ending = conversion::ending(case)?;
    ending.0.push(grown);
    Ok(ending)
}

/// What is to be done, by the lengths of card, partition and file system. The reader has scanned the card then.
fn expected(case: &Case) -> Result<Expected> {
    let table = case.worker.reader.scan()?;
    let partition = table.partitions.get(2).context("there is no third partition")?;
    let end = (partition.last().0 + 1) * SECTOR;
    let card = std::fs::metadata(&case.worker.card.path)?.len();
    // The superblock on the card may be older than the journal: the kernel replays that before anybody sees it.
    let upper = case.worker.reader.partition(3);
    boot::change(&upper, |_| Ok(()))?;
    let (size, length) = (size(&upper)?, partition.sectors.0 * SECTOR);
    ensure!(size <= length, "the upper has {size} bytes in a partition of {length}");
    Ok(match (card - end >= WORTHWHILE, length - size >= WORTHWHILE) {
        (true, _) => plan::GROW,
        (false, true) => plan::GROW_FILESYSTEM,
        (false, false) => plan::NOTHING,
    })
}

/// Bytes of an ext4 with blocks of 4 KiB: the words at 0x04 and 0x150 of its superblock.
fn size(device: &Path) -> Result<u64> {
    let (low, high) = (facts::word(device, 0x04)?, facts::word(device, 0x150)?);
    Ok(((u64::from(high) << 32) | u64::from(low)) * 4096)
}

/// No file of the upper is lost or another one. What the boot itself has written since is no matter.
fn keeps_files(before: &Path, after: &Path) -> Result<()> {
    let (old, new) = (tree::manifest(&before.join("overlay"))?, tree::manifest(&after.join("overlay"))?);
    let lost: Vec<_> = old.keys().filter(|path| !new.contains_key(*path)).collect();
    ensure!(lost.is_empty(), "the upper has lost {lost:?}");
    let marker = Path::new("root/marker");
    ensure!(old.contains_key(marker) && old.get(marker) == new.get(marker), "/root/marker is not what it was");
    Ok(())
}
