//! Cards that were copied onto other ones: scenarios with a recipe.

use anyhow::{Context, ensure};
use std::process::Command;

use crate::{Recipe, checks, host, scenario};

/// How much longer another card usually is, in bytes.
pub const LONGER: u64 = 4 << 30;

/// A converted card is copied onto one that is `longer` bytes longer: the upper grows in the first boot, while it is in use, and keeps what it holds.
pub fn onto_a_longer_card(name: &str, recipe: Recipe, longer: u64) {
    scenario(name, |bed| {
        let image = recipe.make()?;
        let mut node = bed.node(bed.converted(&image)?);
        std::fs::write(node.card.mount_writable(3)?.path().join("overlay/kept"), "kept")?;
        let (before, root) = (node.card.table()?, node.card.root_digest()?);
        let length = node.card.partition(3)?.bytes();
        let card = std::fs::OpenOptions::new().write(true).open(&node.card.path)?;
        card.set_len(card.metadata()?.len() + longer)?;

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
        ensure!(grown == longer, "the partition is {grown} bytes longer");
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

/// A converted card is copied onto a shorter one, which cuts the upper short: the node runs on memory, says by how much, and
/// `burnonce repartition` makes a new upper. Then the first two partitions alone are restored: the first boot makes a new one, once.
pub fn onto_a_shorter_card(name: &str, recipe: Recipe) {
    scenario(name, |bed| {
        let image = recipe.make()?;
        let mut node = bed.node(bed.converted(&image)?);
        std::fs::write(node.card.mount_writable(3)?.path().join("overlay/lost"), "lost")?;
        let burned = checks::burned(&node.card)?;
        let upper = node.card.partition(3)?;
        let shorter = upper.offset() + SHORT_UPPER;
        std::fs::OpenOptions::new().write(true).open(&node.card.path)?.set_len(shorter)?;

        ensure!(node.settle(1)? == 1, "it was restarted");
        let status = checks::is_on_memory(&node)?;
        let missing = format!("past the end of the card (/dev/vda, {})", burnonce_size(shorter));
        checks::says(&node, 1, &missing)?;
        checks::says(&node, 1, "run `burnonce repartition`")?;
        ensure!(status["reasons"].to_string().contains(&missing), "{status:#}");
        ensure!(checks::burned(&node.card)? == burned, "the boot on memory wrote to the image");
        node.restarts_by("burnonce repartition --yes")?;
        is_anew(&mut node, 1, shorter)?;

        node.shutdown()?;
        ensure!(node.card.root_digest()? == burned.1, "the image was written");
        node.card.delete_partitions(&["3"])?;
        is_anew(&mut node, 2, shorter)?;
        checks::says(&node, node.boots() - 1, "no partition of /dev/vda is its upper")?;
        node.reboot()?;
        ensure!(node.settle(1)? == 1, "a new upper was made again");
        node.shutdown()?;
        ensure!(node.card.root_digest()? == burned.1, "the image was written");
        Ok(())
    });
}

/// How much of the upper a shorter card holds, in bytes.
const SHORT_UPPER: u64 = 2 << 30;

/// As burnonce prints sizes of a few GiB.
fn burnonce_size(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// After `boots` power-ons the node runs on a new, empty upper that ends where the card of `length` bytes does.
fn is_anew(node: &mut crate::Node, boots: u32, length: u64) -> anyhow::Result<()> {
    ensure!(node.settle(boots)? == boots, "it takes {boots} power-ons");
    let status = checks::is_converted(node)?;
    checks::nothing_failed(node)?;
    ensure!(status["state"]["generation"] == 1, "{status:#}");
    ensure!(node.sudo("test -e /lost")?.code == Some(1), "the old upper's files are back");
    ensure!(node.sh("cat /var/lib/demo/ran")? == "cloud-init ran");
    ensure!(node.card.partition(3)?.end() <= length / crate::card::SECTOR, "the upper reaches past the end");
    Ok(())
}
