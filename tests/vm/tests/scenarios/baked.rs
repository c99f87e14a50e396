//! A stock image that `burnonce bake` has made into one that burns once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burnonce_vm::image::package;
use burnonce_vm::{Bed, Card, Image, Recipe, bake, checks, conversion, cpio, scenario, tree};

/// What grows root over the card in the initramfs, where the kernel command line has the word `resize`: as Raspberry Pi OS' script of this
/// name does, which calls parted.
const GROWER: &str = r#"#!/bin/sh
[ "$1" != prereqs ] || exit 0
grep -qw resize /proc/cmdline || exit 0
count=$(($(cat /sys/block/vda/size) - $(cat /sys/block/vda/vda2/start)))
for shift in 0 8 16 24; do
	printf "\\$(printf %03o $((count >> shift & 255)))"
done | dd of=/dev/vda bs=1 seek=474 conv=notrunc
blockdev --rereadpt /dev/vda
echo "grower: the root partition has $(cat /sys/block/vda/vda2/size) sectors"
"#;
const NAME: &str = "scripts/local-premount/resize_early";

/// The image with that grower in the initramfs that boots, in the root, and on the command line.
fn with_grower(bed: &Bed, image: &Image) -> Result<Image> {
    let card = Card { path: bed.dir().join("stock.img") };
    fs::copy(&image.path, &card.path).context("copying the image")?;
    let line = card.boot_text("cmdline.txt")?.context("the image has no cmdline.txt")?;
    card.write_boot("cmdline.txt", format!("{} resize\n", line.trim()))?;
    let order = format!("/{NAME} \"$@\"\n[ -e /conf/param.conf ] && . /conf/param.conf\n");
    let files = [(NAME, GROWER.into()), ("scripts/local-premount/ORDER", order.into())];
    card.write_boot("initrd.img", cpio::behind(card.read_boot("initrd.img")?, &files))?;
    let root = card.mount_writable(2)?;
    let path = root.path().join("usr/share/initramfs-tools").join(NAME);
    fs::create_dir_all(path.parent().context("it is in a directory")?)?;
    fs::write(&path, GROWER).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(Image { path: card.path })
}

/// A grower that was not switched off leaves no room: burnonce refuses, and says what to do.
#[test]
fn grown_by_the_initramfs() {
    scenario("grown_by_the_initramfs", |bed| {
        let image = with_grower(bed, &Recipe::stock().make()?)?;
        let mut node = bed.node(bed.card(&image)?);
        ensure!(node.settle(1)? == 1);
        checks::is_plain(&node)?;
        checks::says(&node, 1, "grower: the root partition has ")?;
        checks::says(&node, 1, "not converting this node: ")?;
        node.shutdown()
    });
}

/// The same grower, and neither overlayroot nor burnonce: baked, the image installs them on its first boot, converts on its second, and its
/// third is a first boot.
#[test]
fn baked() {
    scenario("baked", |bed| {
        let stock = Recipe::stock().without_package().without_overlayroot().stale_initramfs().make()?;
        let overlayroot = stock.path.with_extension("overlayroot.deb");
        let stock = with_grower(bed, &stock)?;
        let options = ["--deb".into(), package()?.into_os_string(), "--deb".into(), overlayroot.into_os_string()];
        let image = bake(bed, &stock, &options)?;
        ensure!(image.as_card().boot_text("cmdline.txt")?.is_some_and(|line| !line.contains("resize")));

        let mut node = bed.node(bed.card(&image)?);
        ensure!(node.settle(3)? == 3, "it was not one restart after installing and one after converting");
        checks::is_converted(&node)?;
        checks::nothing_failed(&node)?;
        checks::says(&node, 2, "converting this node")?;
        ensure!(!node.console_log(1)?.contains("grower:"), "the grower has run");
        ensure!(node.sh("cat /var/lib/demo/ran")? == "cloud-init ran");
        let packages =
            node.sh("dpkg-query -f '${Package} ${db:Status-Status}\\n' -W burnonce overlayroot; dpkg --audit")?;
        ensure!(packages == "burnonce installed\noverlayroot installed", "dpkg says {packages}");
        node.shutdown()?;
        checks::has_third_partition(&node.card, &stock.as_card())?;
        conversion::first_boot_went_to_upper(&node.card)?;
        lower_differs_by_packages(&node.card, &image)?;
        let rebuilt = node.card.read_boot("initrd.img")?;
        ensure!(rebuilt != image.as_card().read_boot("initrd.img")?, "the initramfs that boots is still the stale one");
        Ok(())
    });
}

/// Of the lower, nothing differs from the baked image but what dpkg and update-initramfs write.
fn lower_differs_by_packages(card: &Card, image: &Image) -> Result<()> {
    const WRITTEN: [&str; 13] = [
        "boot/initrd.img-",
        "etc/overlayroot",
        "etc/update-motd.d",
        "usr/",
        "var/lib/burnonce",
        "var/lib/dpkg/",
        "var/lib/initramfs-tools/",
        "var/lib/systemd/deb-systemd-helper-enabled",
        "var/lib/apt/",
        "var/cache/apt/",
        "var/log/dpkg.log",
        "etc/systemd/system",
        "etc/initramfs-tools",
    ];
    let (lower, burned) = (card.mount(2)?, image.as_card().mount(2)?);
    let differing = tree::differences(burned.path(), lower.path())?;
    let others: Vec<_> = differing.iter().filter(|path| !WRITTEN.iter().any(|one| path.starts_with(one))).collect();
    ensure!(others.is_empty(), "the lower differs from the image in {others:?}");
    ensure!(!Path::new(lower.path()).join("var/lib/burnonce/packages").exists(), "the packages are there still");
    Ok(())
}
