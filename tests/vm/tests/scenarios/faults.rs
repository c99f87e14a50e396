//! A converted node whose upper cannot be used, or not as it should. The whole list of faults is in the long tests.

use anyhow::{Context, Result, ensure};
use burnonce_vm::{Node, Recipe, checks, damage, scenario};

/// Nothing of it can be recognised. (One that is gone from the table is made anew: see `shorter_card`.)
#[test]
fn upper_unrecognised() {
    scenario("upper_unrecognised", |bed| {
        let image = Recipe::stock().make()?;
        runs_on_memory(&mut bed.node(bed.converted(&image)?))
    });
}

/// The upper of a node that is switched off is damaged, and the node is switched on.
pub fn runs_on_memory(node: &mut Node) -> Result<()> {
    damage::zero_superblock(&node.card)?;
    let before = checks::burned(&node.card)?;
    ensure!(node.settle(1)? == 1);
    checks::is_on_memory(node)?;
    checks::says(node, node.boots(), "runs on memory")?;
    checks::says(node, node.boots(), "burnonce repartition --use 3")?;
    let login = node.login()?;
    ensure!(login.contains("memory"), "a login shows {login:?}");
    node.shutdown()?;
    ensure!(checks::burned(&node.card)? == before, "the boot has written to the image");
    Ok(())
}

/// A full upper is no reason for memory: what burnonce holds back for this lets the node boot, and the owner make room.
#[test]
fn upper_full() {
    scenario("upper_full", |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        let before = checks::burned(&node.card)?;
        damage::fill_blocks(&node.card.mount_writable(3)?)?;
        ensure!(node.settle(1)? == 1);
        let (status, _) = checks::status(&node)?;
        ensure!(status["mode"] == "overlay", "{status:#}");
        ensure!(status["reasons"].to_string().contains("full"), "the status does not say that it is full: {status:#}");
        node.sh("rm /fill-* && echo room >/root/room && sync").context("making room")?;
        checks::is_converted(&node)?;
        node.shutdown()?;
        ensure!(checks::burned(&node.card)? == before, "the boot has written to the image");
        Ok(())
    });
}

/// `overlay.on_failure: stop`: the boot ends where the upper cannot be used.
#[test]
fn stops() {
    scenario("stops", |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        node.card
            .edit_lower(|root| Ok(std::fs::write(root.join("etc/burnonce.yaml"), "overlay:\n  on_failure: stop\n")?))?;
        damage::zero_superblock(&node.card)?;
        let before = checks::burned(&node.card)?;
        node.power_on()?;
        node.wait_for("The boot ends here")?;
        std::thread::sleep(std::time::Duration::from_secs(5));
        // Not systemd itself: dracut has one in the initramfs.
        ensure!(!node.console()?.has("burnonce.service"), "the boot went on");
        node.kill()?;
        ensure!(checks::burned(&node.card)? == before, "the boot has written to the image");
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
