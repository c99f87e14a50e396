//! Changing the image of a converted node, and the package coming and going on a running one.

use anyhow::{Context, ensure};
use burnonce_vm::{Recipe, checks, running, scenario};

#[test]
fn maintain() {
    scenario("maintain", |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        ensure!(node.settle(1)? == 1);
        node.sh("burnonce maintain touch /etc/via-maintain")?;
        let status = checks::is_converted(&node)?;
        ensure!(status["lower"]["writable"] == false, "the lower is still writable");
        let failing = node.sudo("burnonce maintain false")?;
        ensure!(failing.code == Some(1), "a command that fails inside gave {failing:?}");
        checks::is_converted(&node).context("after a command that failed inside")?;
        // A library that every process has open is replaced, as an upgrade does.
        let replace = "cp -a /lib/x86_64-linux-gnu/libc.so.6 /lib/new && mv /lib/new /lib/x86_64-linux-gnu/libc.so.6";
        node.sh(&format!("burnonce maintain sh -c '{replace}'"))?;
        checks::is_sealed(&node).context("after a library was replaced")?;
        node.reboot()?;
        ensure!(node.settle(1)? == 1);
        node.sh("test -e /media/root-ro/etc/via-maintain && test -e /etc/via-maintain")?;
        checks::is_converted(&node)?;
        checks::nothing_failed(&node)?;
        node.shutdown()?;
        ensure!(node.card.mount(2)?.has("etc/via-maintain"), "the change is not in the lower");
        ensure!(!node.card.mount(3)?.has("overlay/etc/via-maintain"), "the change is in the upper");
        Ok(())
    });
}

/// An attempt that fails is made once more; and what the owner does about one that fails again: nothing converts under their hands, the
/// next boot does.
#[test]
fn failed_attempt() {
    scenario("failed_attempt", |bed| {
        let image = Recipe::stock().make()?;
        let card = bed.card(&image)?;
        let root = card.mount_writable(2)?;
        std::fs::rename(root.path().join("usr/sbin/mke2fs"), root.path().join("usr/sbin/mke2fs.away"))?;
        drop(root);
        let mut node = bed.node(card);
        ensure!(node.settle(1)? == 1);
        checks::is_plain(&node)?;
        checks::says(&node, 1, "failed: could not make an ext4 file system on /dev/vda3")?;
        checks::says(&node, 1, "It is tried once more")?;
        checks::says(&node, 1, "note on the card that attempt 2 of 3 begins")?;
        let notice = node.sh("cat /boot/firmware/burnonce.txt")?;
        ensure!(notice.contains("Attempt 2 of 3"), "burnonce.txt says {notice:?}");

        node.sh("mv /usr/sbin/mke2fs.away /usr/sbin/mke2fs")?;
        node.sh("systemctl isolate multi-user.target").context("starting every unit that is not up")?;
        let typed = node.sudo("burnonce converge")?;
        ensure!(typed.code == Some(3) && typed.stdout.contains("restart it"), "converge by hand: {typed:?}");
        checks::is_plain(&node)?;
        node.reboot()?;
        ensure!(node.card.table()?.partitions.len() == 2, "the running node was converted");
        ensure!(node.settle(2)? == 2, "the restart did not convert");
        let status = checks::is_converted(&node)?;
        ensure!(status["state"]["attempts"] == 3, "{status:#}");
        node.shutdown()?;
        ensure!(node.card.boot_text("burnonce.txt")?.is_none(), "burnonce.txt is still there");
        Ok(())
    });
}

#[test]
fn install_on_running() {
    scenario("install_on_running", |bed| {
        let image = Recipe::stock().without_package().make()?;
        let mut node = running::plain(bed, &image)?;
        running::install(&node)?;
        node.reboot()?;
        ensure!(node.card.table()?.partitions.len() == 2, "it was converted before the restart");
        ensure!(node.settle(2)? == 2, "the restart did not convert");
        checks::is_converted(&node)?;
        checks::nothing_failed(&node)?;

        let removal = node.sudo("dpkg --remove burnonce")?;
        ensure!(removal.code != Some(0), "the removal on the overlay was not refused");
        ensure!(removal.stderr.contains("burnonce maintain"), "the refusal says {removal:?}");
        checks::is_converted(&node).context("after a removal that was refused")?;
        node.shutdown()
    });
}
