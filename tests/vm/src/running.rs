//! The package on a node that runs already.

use anyhow::{Context, Result, ensure};

use crate::{Bed, Image, Node, image};

/// A node that runs from an image without burnonce, and has the package in `/tmp`.
pub fn plain(bed: &Bed, image: &Image) -> Result<Node> {
    let card = bed.card(image)?;
    // A stock image grows its root over the whole card on first boot; then there would be nothing left to take.
    let seed = card.boot_text("user-data")?.context("the image has no user-data")?;
    card.write_boot("user-data", format!("{seed}growpart: {{mode: 'off'}}\nresize_rootfs: false\n"))?;
    let mut node = bed.node(card);
    ensure!(node.settle(1)? == 1);
    node.send(&image::package()?, "/tmp/burnonce.deb")?;
    Ok(node)
}

/// Installs the package on a running node, which stays what it is until it is restarted.
pub fn install(node: &Node) -> Result<()> {
    node.sh("dpkg --install /tmp/burnonce.deb")?;
    ensure!(node.sh("findmnt -no SOURCE,FSTYPE /")? == "/dev/vda2 ext4");
    ensure!(node.sh("lsblk -nro NAME /dev/vda | wc -l")? == "3", "a partition was made on the spot");
    ensure!(node.sh("systemctl is-enabled burnonce.service")? == "enabled");
    node.sh("systemctl start multi-user.target").context("starting a target that wants burnonce.service")?;
    ensure!(node.sudo("test -e /etc/overlayroot.local.conf")?.code == Some(1), "it was configured on the spot");
    Ok(())
}
