//! A converted node whose upper cannot be used: it runs on memory and says so; the image stays as it was burned.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use burnonce_vm::{Card, Recipe, host, scenario};

use crate::checks;

/// Converts a card, lets `damage` happen to it, boots it, and boots it once more.
fn runs_on_memory(name: &str, damage: fn(&Card) -> Result<()>) {
    scenario(name, |bed| {
        let image = Recipe::stock().make()?;
        let card = bed.converted(&image)?;
        damage(&card).context("doing the damage")?;
        let before = (card.first_sector()?, card.root_digest()?);
        let mut node = bed.node(card);
        for boot in 1..=2 {
            ensure!(node.settle(1)? == 1);
            checks::is_on_memory(&node).with_context(|| format!("boot {boot} with the damage"))?;
            checks::says(&node, boot, "runs on memory")?;
            node.shutdown()?;
            ensure!(
                (node.card.first_sector()?, node.card.root_digest()?) == before,
                "boot {boot} has written to the image"
            );
        }
        Ok(())
    });
}

#[test]
fn upper_missing() {
    runs_on_memory("upper_missing", |card| {
        host::run(Command::new("sfdisk").args(["--quiet", "--no-tell-kernel", "--delete"]).arg(&card.path).arg("3"))
            .map(drop)
    });
}

#[test]
fn superblock_zeroed() {
    runs_on_memory("superblock_zeroed", |card| card.write(card.partition(3)?.offset(), &[0; 4096]));
}

#[test]
fn upper_full() {
    runs_on_memory("upper_full", |card| fill(card.mount_writable(3)?.path()));
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
