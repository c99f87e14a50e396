//! What can go wrong with the upper, one by one. In each case the node boots, the image stays as burned, and the reason is shown.

use anyhow::{Context, Result, ensure};
use burnonce_vm::qemu::Fault;
use burnonce_vm::{Node, Recipe, checks, damage, scenario};

/// Lets `damage` happen to a converted card and boots it: it runs on memory, and says `words`.
fn runs_on_memory(name: &str, words: &str, damage: fn(&mut Node) -> Result<()>) {
    scenario(name, |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        damage(&mut node).context("doing the damage")?;
        let before = checks::burned(&node.card)?;
        ensure!(node.settle(1)? == 1);
        checks::is_on_memory(&node)?;
        checks::says(&node, 1, "runs on memory")?;
        checks::says(&node, 1, words)?;
        node.shutdown()?;
        ensure!(checks::burned(&node.card)? == before, "the boot has written to the image");
        Ok(())
    });
}

#[test]
fn superblock_zeroed() {
    runs_on_memory("superblock_zeroed", "or its superblock is", |node| damage::zero_superblock(&node.card));
}

/// e2fsck does not take the backups of group descriptors unasked. Asked, as the node says, it brings the upper back.
#[test]
fn group_descriptors() {
    scenario("group_descriptors", |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        damage::corrupt_group_descriptors(&node.card)?;
        let before = checks::burned(&node.card)?;
        ensure!(node.settle(1)? == 1);
        checks::is_on_memory(&node)?;
        checks::says(&node, 1, "runs on memory")?;
        checks::says(&node, 1, "Run e2fsck -f /dev/vda3, and restart.")?;
        let repaired = node.sudo("e2fsck -f -y /dev/vda3")?;
        ensure!(repaired.code == Some(1), "{repaired:?}");
        node.reboot()?;
        ensure!(node.settle(1)? == 1);
        checks::is_converted(&node)?;
        checks::nothing_failed(&node)?;
        node.shutdown()?;
        ensure!(checks::burned(&node.card)? == before, "the image was written");
        Ok(())
    });
}

#[test]
fn all_group_descriptors() {
    runs_on_memory("all_group_descriptors", "/dev/vda3", |node| damage::corrupt_all_group_descriptors(&node.card));
}

#[test]
fn root_directory() {
    runs_on_memory("root_directory", "/dev/vda3", |node| damage::corrupt_root_directory(&node.card));
}

#[test]
fn write_protected() {
    runs_on_memory("write_protected", "write-protected", |node| {
        node.machine.write_protected = true;
        Ok(())
    });
}

/// Every write to the card fails, as on a card that has worn out but does not say so.
#[test]
fn writes_fail() {
    runs_on_memory("writes_fail", "/dev/vda3", |node| {
        node.machine.faults.push(Fault::Writes);
        Ok(())
    });
}

/// The first MiB of the upper cannot be read: superblock, group descriptors, and what comes behind them.
#[test]
fn reads_fail() {
    runs_on_memory("reads_fail", "burnonce", |node| {
        let start = node.card.partition(3)?.offset();
        node.machine.faults.push(Fault::Reads(start..start + (1 << 20)));
        Ok(())
    });
}

/// The superblock can be read, the block behind it, with the group descriptors, cannot.
#[test]
fn some_reads_fail() {
    runs_on_memory("some_reads_fail", "/dev/vda3", |node| {
        let start = node.card.partition(3)?.offset();
        node.machine.faults.push(Fault::Reads(start + 4096..start + (1 << 20)));
        Ok(())
    });
}

#[test]
fn no_inodes() {
    scenario("no_inodes", |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        let before = checks::burned(&node.card)?;
        damage::fill_inodes(&node.card.mount_writable(3)?)?;
        ensure!(node.settle(1)? == 1);
        let (status, _) = checks::status(&node)?;
        ensure!(status["mode"] == "overlay", "{status:#}");
        ensure!(status["reasons"].to_string().contains("full"), "the status does not say that it is full: {status:#}");
        // A reset needs neither space nor inodes.
        node.restarts_by("burnonce reset --yes")?;
        ensure!(node.settle(1)? == 1);
        checks::is_converted(&node)?;
        checks::nothing_failed(&node)?;
        ensure!(node.sudo("test -e /fill-0")?.code == Some(1), "the reset left something");
        node.shutdown()?;
        ensure!(checks::burned(&node.card)? == before, "the image was written");
        Ok(())
    });
}

/// A reset of a full upper, no block and no space reserved for root left.
#[test]
fn reset_of_a_full_upper() {
    scenario("reset_of_a_full_upper", |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        let before = checks::burned(&node.card)?;
        damage::fill_blocks(&node.card.mount_writable(3)?)?;
        node.card.write_boot("burnonce-reset", "")?;
        ensure!(node.settle(2)? == 2);
        let (status, _) = checks::status(&node)?;
        ensure!(status["mode"] == "overlay" && status["state"]["generation"] == 2, "{status:#}");
        ensure!(node.sudo("test -e /fill-0")?.code == Some(1), "the reset left something");
        // What is in the way is deleted to make room; then there is nothing left to complain of.
        node.sh("for i in $(seq 120); do burnonce status >/dev/null && exit; sleep 1; done; exit 1")
            .context("waiting for room")?;
        node.shutdown()?;
        ensure!(checks::burned(&node.card)? == before, "the image was written");
        Ok(())
    });
}

/// The reserve went for a boot, and the upper is full again: the node runs on memory, and a file on the boot partition is of use still.
#[test]
fn reset_of_an_upper_too_full_to_boot() {
    scenario("reset_of_an_upper_too_full_to_boot", |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        let before = checks::burned(&node.card)?;
        let upper = node.card.mount_writable(3)?;
        for entry in std::fs::read_dir(upper.path().join("burnonce/ballast"))? {
            let file = entry?.path();
            if !file.ends_with("0") {
                std::fs::remove_file(file)?;
            }
        }
        damage::fill_blocks(&upper)?;
        drop(upper);
        ensure!(node.settle(1)? == 1);
        checks::is_on_memory(&node)?;
        checks::says(&node, 1, "is full")?;
        node.shutdown()?;
        node.card.write_boot("burnonce-reset", "")?;
        ensure!(node.settle(2)? == 2);
        let (status, _) = checks::status(&node)?;
        ensure!(status["mode"] == "overlay" && status["state"]["generation"] == 2, "{status:#}");
        ensure!(node.sudo("test -e /fill-0")?.code == Some(1), "the reset left something");
        node.shutdown()?;
        ensure!(checks::burned(&node.card)? == before, "the image was written");
        Ok(())
    });
}

/// `overlay.on_failure: lower`: the node runs from the image itself, and says that it writes to it.
#[test]
fn on_failure_lower() {
    scenario("on_failure_lower", |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        node.card.edit_lower(|root| {
            Ok(std::fs::write(root.join("etc/burnonce.yaml"), "overlay:\n  on_failure: lower\n")?)
        })?;
        let partition = node.card.partition(3)?;
        let superblock = node.card.read(partition.offset()..partition.offset() + 4096)?;
        damage::zero_superblock(&node.card)?;
        ensure!(node.settle(1)? == 1);
        ensure!(node.sh("findmnt -no SOURCE,FSTYPE /")? == "/dev/vda2 ext4", "root is not the image");
        node.sh("touch /root/writable")?;
        let (status, code) = checks::status(&node)?;
        ensure!(code == 4 && status["mode"] == "plain", "exit code {code}, {status:#}");
        node.shutdown()?;
        // Once the upper is there again, the image is sealed again.
        node.card.write(partition.offset(), &superblock)?;
        ensure!(node.settle(1)? == 1);
        checks::is_converted(&node)?;
        node.shutdown()
    });
}
