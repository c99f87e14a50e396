//! The package going from a node again, and what it stands on changing below it.

use std::os::unix::fs::symlink;

use anyhow::{Context, ensure};
use burnonce_vm::{Recipe, Switch, checks, running, scenario};

#[test]
fn purge_on_running() {
    scenario("purge_on_running", |bed| {
        let mut node = running::plain(bed, &Recipe::stock().without_package().make()?)?;
        running::install(&node)?;
        node.sh("dpkg --purge burnonce")?;
        let left = node.sh("find /etc /usr /var/lib /boot -xdev -name '*burnonce*' -o -name overlayroot.local.conf")?;
        ensure!(left.is_empty(), "a purge left {left}");
        running::install(&node)?;
        node.reboot()?;
        ensure!(node.settle(2)? == 2, "the restart did not convert");
        checks::is_converted(&node)?;
        node.shutdown()
    });
}

/// An administrator changes what makes the initramfs, from one tool to the other: whichever it is by now, the node converts and runs.
#[test]
fn switched_tools() {
    scenario("switched_tools", |bed| {
        for (switch, name, log) in [
            (Switch::Dracut, "dracut", "/run/burnonce/overlay.log"),
            (Switch::Back, "back", "/run/initramfs/overlayroot.log"),
        ] {
            let bed = bed.within(name)?;
            let mut node = bed.node(bed.card(&Recipe::default().switched(switch).make()?)?);
            ensure!(node.settle(2)? == 2, "{name}: it was not exactly one restart");
            checks::is_converted(&node)?;
            checks::nothing_failed(&node)?;
            node.sh(&format!("test -e {log}"))?;
            node.shutdown()?;
            bed.remove_cards()?;
        }
        Ok(())
    });
}

/// dracut, left to itself, puts into an initramfs what it sees that the machine needs (hostonly), and below an overlay it sees no device of
/// root's. With burnonce's configuration, what it makes inside of `maintain` and on the overlay boots.
#[test]
fn other_initramfs() {
    scenario("other_initramfs", |bed| {
        let mut node = bed.node(bed.converted(&Recipe::default().dracut().make()?)?);
        ensure!(node.settle(1)? == 1);
        let make = "sed -i -e /^hostonly=/d -e /^drivers/d /etc/dracut.conf.d/vm.conf && update-initramfs -u -k all";
        for step in [format!("burnonce maintain sh -c '{make}'"), make.to_owned()] {
            let before = node.sh("sha256sum /boot/firmware/initrd.img")?;
            node.sh(&step)?;
            ensure!(node.sh("sha256sum /boot/firmware/initrd.img")? != before, "{step}: the initramfs is as before");
            node.reboot()?;
            ensure!(node.settle(1)? == 1);
            checks::is_converted(&node).with_context(|| step.clone())?;
            checks::nothing_failed(&node).with_context(|| step.clone())?;
        }
        node.shutdown()
    });
}

/// Starts before burnonce, writes to root as soon as that can be done, and does not let go.
const HOLDER: &str = "[Unit]\nDefaultDependencies=no\nBefore=burnonce.service\n\n[Service]\nType=exec\nNice=19\n\
    ExecStart=/bin/sh -c 'until sleep 10000 2>/dev/null >/held; do :; done'\n";

/// The kernel makes a root read-only that somebody writes to, when it is asked for that in an emergency.
#[test]
fn held_open() {
    scenario("held_open", |bed| {
        let image = Recipe::stock().make()?;
        let card = bed.card(&image)?;
        let root = card.mount_writable(2)?;
        let units = root.path().join("etc/systemd/system");
        std::fs::write(units.join("holder.service"), HOLDER)?;
        symlink("../holder.service", units.join("sysinit.target.wants/holder.service"))?;
        drop(root);
        let mut node = bed.node(card);
        ensure!(node.settle(2)? == 2, "it was not exactly one restart");
        ensure!(node.console_log(1)?.contains("Emergency Remount"), "root was not held");
        checks::is_converted(&node)?;
        checks::nothing_failed(&node)?;
        node.shutdown()?;
        let units = "etc/systemd/system/";
        let allowed = [
            checks::CONFIGURATION,
            &format!("{units}holder.service"),
            &format!("{units}sysinit.target.wants/holder.service"),
            "held",
        ];
        checks::lower_is_as_burned(&node.card, &image, &allowed)
    });
}
