//! A Raspberry Pi 3, emulated by QEMU: an image like Raspberry Pi OS', baked by a user without any rights and burned by `dd`. It
//! takes twenty minutes, needs root, burnonce's package (`make deb`) and that for arm64 (`make deb ARCH=arm64`):
//!
//! ```text
//! sudo cargo test -p burnonce-vm --test pi -- --nocapture
//! ```

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use burnonce_vm::card::SECTOR;
use burnonce_vm::node::End;
use burnonce_vm::{Bed, Board, Image, Node, bake, checks, host, image, scenario};

/// What only a first boot does: another generation has another one.
const IDENTITY: &str = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub";

#[test]
fn raspberry_pi() {
    scenario("pi", |bed| {
        host::require_emulator(Board::Pi3)?;
        let stock = Image::raspberry_pi()?;
        grows(bed, &stock)?;
        let image = baked(bed, &stock)?;
        let mut node = bed.node(bed.card(&image)?);
        node.machine.board = Board::Pi3;

        node.power_on()?;
        ensure!(node.wait_off()? == End::Reboot, "installing the packages did not end with a restart");
        node.power_on()?;
        ensure!(node.wait_off()? == End::Reboot, "the conversion did not end with a restart");
        checks::says(&node, 2, "converting this node")?;
        checks::has_third_partition(&node.card, &stock.as_card())?;
        ensure!(node.card.uuid_version(3)? == 4, "the upper's UUID is not a random one");
        let converted = checks::burned(&node.card)?;

        let first = first_boot(&mut node)?;
        node.reboot()?;
        later_boot(&mut node, &first)?;
        node.restarts_by("burnonce reset --yes")?;
        after_a_reset(&mut node, &first)?;
        node.shutdown()?;

        checks::upper_is_clean(&node.card)?;
        ensure!(checks::burned(&node.card)? == converted, "since the conversion, table or lower have been written to");
        for number in 1..=node.boots() {
            ensure!(!node.console_log(number)?.contains("grower:"), "the grower has run in boot {number}");
        }
        Ok(())
    });
}

/// As it is, the image takes the whole card for its root, before anything in it could prevent that.
fn grows(bed: &Bed, stock: &Image) -> Result<()> {
    let bed = bed.within("stock")?;
    let mut node = bed.node(bed.card(stock)?);
    node.machine.board = Board::Pi3;
    node.power_on()?;
    node.wait_for("grower: ")?;
    node.kill()?;
    let (end, sectors) = (node.card.partition(2)?.end(), std::fs::metadata(&node.card.path)?.len() / SECTOR);
    ensure!(end == sectors, "the grower has made root end at {end} on a card of {sectors} sectors");
    bed.remove_cards()
}

/// The image with burnonce, overlayroot and what that needs, for its first boot to install, and with a key.
fn baked(bed: &Bed, stock: &Image) -> Result<Image> {
    let key = image::login_key().with_extension("pub").canonicalize()?;
    let [this, needed] = [image::package_for_arm64()?, stock.debs()].map(PathBuf::into_os_string);
    let options = ["--deb".into(), this, "--deb".into(), needed, "--ssh-key".into(), key.into_os_string()];
    let image = bake(bed, stock, &options)?;
    let (before, after) = (stock.as_card(), image.as_card());
    let line = after.boot_text("cmdline.txt")?.context("the baked image has no cmdline.txt")?;
    ensure!(before.boot_text("cmdline.txt")? == Some(line.replace("rootwait\n", "rootwait resize\n")), "it is {line}");
    ensure!(after.table()?.id == before.table()?.id, "the disk signature, which root is named by, has changed");
    ensure!(after.partition(1)?.start == 16384, "the boot partition is not where Raspberry Pi OS has it");
    Ok(image)
}

/// The third boot, the first one on the overlay. Returns its identity.
fn first_boot(node: &mut Node) -> Result<String> {
    ensure!(node.settle(1)? == 1, "the first boot on the overlay was not the last restart");
    let packages =
        node.sh("dpkg-query -f '${Package} ${db:Status-Status}\\n' -W burnonce overlayroot; dpkg --audit")?;
    ensure!(packages == "burnonce installed\noverlayroot installed", "dpkg says {packages}");
    is_converted(node)?;
    ensure!(!node.card.boot_names()?.iter().any(|name| name == "ssh"), "the first boot has not consumed the file ssh");
    node.sh("echo kept >/srv/written && sync")?;
    node.sh(IDENTITY)
}

/// What was written is there, and not in the lower.
fn later_boot(node: &mut Node, first: &str) -> Result<()> {
    ensure!(node.settle(1)? == 1);
    is_converted(node)?;
    let found = node.sh("cat /srv/written; ls -A /media/root-ro/srv; cat /media/root-rw/overlay/srv/written")?;
    ensure!(found == "kept\nkept", "in /srv, of the lower and of the upper, there is {found:?}");
    ensure!(node.sh(IDENTITY)? == first, "another boot made another identity");
    Ok(())
}

/// The node is fresh: SSH has been started by a file that the boot partition had lost.
fn after_a_reset(node: &mut Node, first: &str) -> Result<()> {
    ensure!(node.settle(1)? == 1, "it was not exactly one restart");
    is_converted(node)?;
    ensure!(node.sh("ls -A /srv")?.is_empty(), "the reset left what was written");
    let second = node.sh(IDENTITY)?;
    let both = second.lines().zip(first.lines());
    ensure!(second.lines().count() == 2 && both.clone().all(|(new, old)| new != old), "{first} became {second}");
    Ok(())
}

fn is_converted(node: &Node) -> Result<()> {
    checks::is_converted_on(node, Board::Pi3.partitions())?;
    checks::nothing_failed(node)?;
    let said = node.sh(
        "for at in / /media/root-ro /media/root-rw; do findmnt -no TARGET,FSTYPE,SOURCE $at; done; burnonce status",
    )?;
    println!("vm: boot {}: {said}", node.boots());
    Ok(())
}
