//! A converted node whose upper cannot be used: it runs on memory and says so; the image stays as it was burned.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use burnonce_vm::{Node, Recipe, host, scenario};

use crate::checks;

/// Lets `damage` happen to a converted card, and boots it.
fn runs_on_memory(name: &str, damage: fn(&mut Node) -> Result<()>) {
    scenario(name, |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        damage(&mut node).context("doing the damage")?;
        let before = (node.card.first_sector()?, node.card.root_digest()?);
        ensure!(node.settle(1)? == 1);
        checks::is_on_memory(&node)?;
        checks::says(&node, 1, "runs on memory")?;
        node.shutdown()?;
        ensure!((node.card.first_sector()?, node.card.root_digest()?) == before, "the boot has written to the image");
        Ok(())
    });
}

#[test]
fn upper_missing() {
    runs_on_memory("upper_missing", |node| node.card.delete_partitions(&["3"]));
}

#[test]
fn superblock_zeroed() {
    runs_on_memory("superblock_zeroed", |node| node.card.write(node.card.partition(3)?.offset(), &[0; 4096]));
}

#[test]
fn upper_full() {
    runs_on_memory("upper_full", |node| fill(node.card.mount_writable(3)?.path()));
}

#[test]
fn write_protected() {
    runs_on_memory("write_protected", |node| {
        node.machine.write_protected = true;
        Ok(())
    });
}

/// Another disk carries a partition that looks like the upper, and takes the name that the card had.
#[test]
fn other_disk() {
    scenario("other_disk", |bed| {
        let image = Recipe::stock().make()?;
        let card = bed.converted(&image)?;
        let other = card.duplicate(&bed.dir().join("other.img"))?;
        other.delete_partitions(&["1", "2"])?;
        let before = other.digest(3, &[])?;
        let mut node = bed.node(card);
        node.machine.other_drives.push(other.path.clone());
        ensure!(node.settle(1)? == 1);
        checks::is_converted_on(&node, "/dev/vdb")?;
        checks::nothing_failed(&node)?;
        node.shutdown()?;
        ensure!(other.digest(3, &[])? == before, "the other disk was written");
        Ok(())
    });
}

/// Leaves not one free block, those reserved for root included.
fn fill(upper: &Path) -> Result<()> {
    let mut size: u64 = 1 << 30;
    let mut number = 0;
    while size >= 4096 {
        // Space without content: the file that is the card stays small.
        let file = upper.join(format!("overlay/fill-{number}"));
        number += 1;
        let mut fallocate = Command::new("fallocate");
        if host::run(fallocate.arg("-l").arg(size.to_string()).arg(&file)).is_err() {
            fs::remove_file(&file)?;
            size /= 2;
        }
    }
    Ok(())
}
