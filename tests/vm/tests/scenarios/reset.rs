//! The loop: edit, reset, reboot; and back by undo.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burnonce_vm::{Bed, Card, Image, Node, Recipe, checks, host, scenario, tree};

/// What two first boots of one image make differently: identity, logs, a password's salt, the time in a comment. Names of
/// files begin with these.
const OF_ONE_BOOT: &[&str] = &[
    "etc/machine-id",
    "etc/shadow",
    "etc/ssh/ssh_host_",
    "etc/sudoers.d/90-cloud-init-users",
    "var/lib/cloud/",
    "var/lib/systemd/",
    "var/log/",
];

/// What a later boot of the same generation changes: overlayroot writes fstab in each, cloud-init the hostname of the user-data that is
/// there now.
const OF_ANY_BOOT: &[&str] =
    &["etc/fstab", "etc/hostname", "var/lib/cloud/", "var/lib/systemd/", "var/log/", "var/tmp"];

/// Paths that the mess makes, which the image does not have.
const MADE: &[&str] = &["srv/mess", "home/extra", "usr/bin/mess", "usr/share/base-passwd/new", "etc/kept-token"];

/// Paths of the image that it deletes.
const DELETED: &[&str] =
    &["etc/debian_version", "usr/share/common-licenses/GPL-3", "usr/share/base-passwd/passwd.master"];

#[test]
fn reset() {
    scenario("reset", |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        let burned = checks::burned(&node.card)?;
        let user_data = new_user_data(&node.card)?;
        ensure!(node.settle(1)? == 1);
        checks::is_converted(&node)?;
        kernel_is_held(&node)?;
        make_a_mess(bed, &node)?;

        let file = bed.dir().join("user-data");
        std::fs::write(&file, &user_data)?;
        node.send(&file, "/tmp/user-data")?;
        let asked = Instant::now();
        node.restarts_by("burnonce reset --yes --keep '/etc/kept-*' --user-data /tmp/user-data")?;
        let down = asked.elapsed();
        let old = manifest(&node.card, "overlay")?;
        let asked = Instant::now();
        ensure!(node.settle(1)? == 1, "it was not exactly one restart");
        println!("vm: from reset to a finished cloud-init: {} s", (down + asked.elapsed()).as_secs());
        is_reset(&node)?;

        node.restarts_by("burnonce undo --yes")?;
        ensure!(checks::burned(&node.card)? == burned, "reset has written to the image or the table");
        let aside = manifest(&node.card, "burnonce/generations/1/overlay")?;
        ensure!(aside == old, "what was set aside differs in {:?}", tree::disagreements(&old, &aside));
        equals_fresh(bed, &image, &user_data, &node.card)?;
        let new = manifest(&node.card, "overlay")?;

        ensure!(node.settle(1)? == 1, "undo was not exactly one restart");
        checks::is_converted(&node)?;
        exist(&node, MADE, true)?;
        exist(&node, DELETED, false)?;
        ensure!(node.sh("cat /var/lib/demo/ran")? == "cloud-init ran", "after undo, cloud-init ran again");
        checks::nothing_failed(&node)?;

        node.restarts_by("burnonce undo --yes")?;
        came_back("the first generation", &old, &manifest(&node.card, "overlay")?)?;
        ensure!(node.settle(1)? == 1);
        ensure!(node.sh("hostname; cat /var/lib/demo/ran")? == "renamed\ncloud-init ran again", "after undo of undo");
        exist(&node, &["srv/mess", "home/extra"], false)?;
        checks::is_converted(&node)?;
        node.shutdown()?;
        came_back("the second generation", &new, &manifest(&node.card, "overlay")?)?;
        ensure!(checks::burned(&node.card)? == burned, "undo has written to the image or the table");
        Ok(())
    });
}

/// The card's user-data with another hostname and another command; the login stays.
fn new_user_data(card: &Card) -> Result<String> {
    let old = card.boot_text("user-data")?.context("the image has no user-data")?;
    let new = old.replace("hostname: node", "hostname: renamed").replace("cloud-init ran", "cloud-init ran again");
    ensure!(new.matches("renamed").count() == 1 && new.contains("ran again"), "the image's user-data is {old}");
    Ok(new)
}

/// Installs a package made on the spot, and does all that `mess.sh` does.
fn make_a_mess(bed: &Bed, node: &Node) -> Result<()> {
    let package = bed.dir().join("mess");
    std::fs::create_dir_all(package.join("usr/bin"))?;
    std::fs::create_dir_all(package.join("DEBIAN"))?;
    std::fs::write(package.join("usr/bin/mess"), "#!/bin/sh\n")?;
    let control =
        "Package: mess\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: a mess\n";
    std::fs::write(package.join("DEBIAN/control"), control)?;
    let deb = bed.dir().join("mess.deb");
    host::run(Command::new("dpkg-deb").args(["--build", "--root-owner-group"]).args([&package, &deb]))?;
    node.send(&deb, "/tmp/mess.deb")?;
    node.send(&host::project().join("tests/vm/mess.sh"), "/tmp/mess.sh")?;
    // Where all of this is there already, the test would show nothing.
    exist(node, DELETED, true)?;
    exist(node, MADE, false)?;
    node.sh("sh /tmp/mess.sh")?;
    exist(node, DELETED, false)?;
    exist(node, MADE, true)
}

/// Each of the paths exists on the node, or none does.
fn exist(node: &Node, paths: &[&str], wanted: bool) -> Result<()> {
    for path in paths {
        let there = node.sudo(&format!("test -e /{path}"))?.code == Some(0);
        ensure!(there == wanted, "/{path} is {}there", if there { "" } else { "not " });
    }
    Ok(())
}

/// The node is as freshly burned, with the new user-data; what was to be kept is there.
fn is_reset(node: &Node) -> Result<()> {
    let status = checks::is_converted(node)?;
    ensure!(status["state"]["generation"] == 2, "{status:#}");
    checks::nothing_failed(node)?;
    ensure!(
        node.sh("hostname; cat /var/lib/demo/ran")? == "renamed\ncloud-init ran again",
        "cloud-init's run is another"
    );
    let kept = "stat -c '%u:%g %a %Y' /etc/kept-token; cat /etc/kept-token";
    ensure!(node.sh(kept)? == format!("1234:4321 640 {}\nkept", node.sh("date -d '2001-02-03 04:05:06' +%s")?));
    exist(node, &["srv/mess", "home/extra", "usr/bin/mess", "usr/share/base-passwd/new"], false)?;
    exist(node, DELETED, true)?;
    ensure!(node.sh("dpkg-query -W mess 2>&1 || :")?.contains("no packages found"), "the package is still installed");
    let backup = node.sh("cat /boot/firmware/user-data.bak")?;
    ensure!(backup.contains("hostname: node"), "user-data.bak is {backup}");
    println!("{}", node.sh("burnonce generations")?);
    Ok(())
}

fn manifest(card: &Card, directory: &str) -> Result<std::collections::BTreeMap<PathBuf, tree::Facts>> {
    tree::manifest(&card.mount(3)?.path().join(directory))
}

/// Beside what boots of a generation write, it is as it was.
fn came_back(what: &str, before: &Manifest, after: &Manifest) -> Result<()> {
    let changed = unexpected(tree::disagreements(before, after), OF_ANY_BOOT);
    ensure!(changed.is_empty(), "{what} came back with changes in {changed:?}");
    Ok(())
}

type Manifest = std::collections::BTreeMap<PathBuf, tree::Facts>;

/// The paths that begin with none of the prefixes. A directory on the way to such a path may differ in its times.
fn unexpected(paths: Vec<String>, prefixes: &[&str]) -> Vec<String> {
    let expected = |path: &String| {
        prefixes.iter().any(|prefix| path.starts_with(prefix) || prefix.starts_with(&format!("{path}/")))
    };
    paths.into_iter().filter(|path| !expected(path)).collect()
}

/// The upper is that of a card which was burned anew, with the new user-data put on it at once, but for the file that was kept.
fn equals_fresh(bed: &Bed, image: &Image, user_data: &str, card: &Card) -> Result<()> {
    let bed = bed.within("fresh")?;
    let fresh = bed.card(image)?;
    fresh.write_boot("user-data", user_data)?;
    let mut node = bed.node(fresh);
    ensure!(node.settle(2)? == 2);
    checks::nothing_failed(&node)?;
    node.shutdown()?;
    let (ours, theirs) = (card.mount(3)?, node.card.mount(3)?);
    let overlay = |upper: &Path| upper.join("overlay");
    let differing = tree::differences(&overlay(theirs.path()), &overlay(ours.path()))?;
    let mut allowed = OF_ONE_BOOT.to_vec();
    allowed.push("etc/kept-token");
    let differing = unexpected(differing, &allowed);
    ensure!(differing.is_empty(), "after a reset the upper differs from a fresh one in {differing:?}");
    Ok(())
}

/// Kernel, firmware and initramfs packages are left alone by apt while the node runs on its overlay.
fn kernel_is_held(node: &Node) -> Result<()> {
    exist(node, &["etc/apt/preferences.d/burnonce"], true)?;
    exist(node, &["media/root-ro/etc/apt/preferences.d/burnonce"], false)?;
    let status = node.sh("burnonce status")?;
    ensure!(status.contains("held"), "the status does not say that packages are held: {status}");
    Ok(())
}
