//! Cards that were copied onto other ones: scenarios with a recipe.

use anyhow::{Context, ensure};
use std::process::Command;

use crate::{Recipe, checks, host, scenario};

/// How much longer the other card is, in bytes.
const LONGER: u64 = 4 << 30;

/// A converted card is copied onto a longer one: the upper grows in the first boot, while it is in use, and keeps what it holds.
pub fn onto_a_longer_card(name: &str, recipe: Recipe) {
    scenario(name, |bed| {
        let image = recipe.make()?;
        let mut node = bed.node(bed.converted(&image)?);
        std::fs::write(node.card.mount_writable(3)?.path().join("overlay/kept"), "kept")?;
        let (before, root) = (node.card.table()?, node.card.root_digest()?);
        let length = node.card.partition(3)?.bytes();
        let card = std::fs::OpenOptions::new().write(true).open(&node.card.path)?;
        card.set_len(card.metadata()?.len() + LONGER)?;

        ensure!(node.settle(1)? == 1, "it was restarted");
        checks::says(&node, 1, "grow the file system on /dev/vda3")?;
        let status = checks::is_converted(&node)?;
        checks::nothing_failed(&node)?;
        let size = status["upper"]["size"].as_u64().context("no size")?;
        ensure!(size > length, "the upper has {size} bytes, its partition had {length}: {status:#}");
        ensure!(node.sh("cat /kept")? == "kept");
        ensure!(node.sh("burnonce plan")?.starts_with("Nothing to do"), "there is more to do");

        node.reboot()?;
        ensure!(node.settle(1)? == 1);
        ensure!(!node.console_log(2)?.contains("grow the file system"), "it grew again");
        checks::is_converted(&node)?;
        node.shutdown()?;
        let grown = node.card.partition(3)?.bytes() - length;
        ensure!(grown == LONGER, "the partition is {grown} bytes longer");
        let after = node.card.table()?;
        ensure!(after.id == before.id && after.partitions[..2] == before.partitions[..2], "{after:?}");
        ensure!(node.card.root_digest()? == root, "the image was written");
        checks::upper_is_clean(&node.card)?;
        if after.label == "gpt" {
            let verdict = host::run(Command::new("sgdisk").arg("-v").arg(&node.card.path))?;
            ensure!(verdict.contains("No problems found"), "sgdisk -v: {verdict}");
        }
        Ok(())
    });
}
