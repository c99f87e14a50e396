//! Recordings of an emulated node, by QEMU's `blklogwrites`: everything that a real boot of the image writes, up to the moment that counts.

use std::fs::OpenOptions;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use burnonce_vm::node::End;
use burnonce_vm::{Bed, Image, Node};

use crate::native;
use crate::recording::{self, Recording};
use crate::story::Story;

/// A whole first boot: from power-on to the restart of the agent.
pub fn conversion(bed: &Bed, name: &str, image: &Image) -> Result<Recording> {
    let bed = bed.within(name)?;
    let mut node = bed.node(native::burn(image, &bed.dir().join("card.img"))?);
    let dir = begin(&mut node, name, Story::Conversion)?;
    node.power_on()?;
    ensure!(node.wait_off()? == End::Reboot, "the first boot did not end with a restart");
    Recording::load(&dir)
}

/// A reset, from power-on to the end of the guard's turn.
pub fn reset(bed: &Bed, name: &str, image: &Image) -> Result<Recording> {
    let bed = bed.within(name)?;
    let node = small_node(&bed, image)?;
    node.sh(
        "echo kept >/etc/kept; echo old >/root/marker; rm /etc/issue; mkdir /srv/new; ln /root/marker /srv/new/link",
    )?;
    guard(node, name, "reset --keep /etc/kept")
}

/// An undo, from power-on to the end of the guard's turn.
pub fn undo(bed: &Bed, name: &str, image: &Image) -> Result<Recording> {
    let bed = bed.within(name)?;
    let mut node = small_node(&bed, image)?;
    node.sh("echo old >/root/marker")?;
    node.restarts_by("burnonce reset --yes")?;
    ensure!(node.settle(1)? == 1);
    node.sh("echo new >/root/marker")?;
    guard(node, name, "undo")
}

/// The boot of a card that was copied onto a longer one, from power-on to where the upper has grown.
pub fn grow(bed: &Bed, name: &str, image: &Image) -> Result<Recording> {
    let bed = bed.within(name)?;
    let mut node = small_node(&bed, image)?;
    node.sh("echo old >/root/marker")?;
    node.shutdown()?;
    let card = OpenOptions::new().write(true).open(&node.card.path)?;
    card.set_len(card.metadata()?.len() + native::LONGER)?;
    let dir = begin(&mut node, name, Story::Grow)?;
    node.power_on()?;
    node.wait_for("grow the file system on")?;
    node.wait_for(r"[3/3] done")?;
    // ext4 has its last writes of that in the journal; it commits every five seconds.
    std::thread::sleep(std::time::Duration::from_secs(6));
    node.kill()?;
    Recording::load(&dir)
}

/// A converted node whose upper is small, for that is looked at thousands of times.
fn small_node(bed: &Bed, image: &Image) -> Result<Node> {
    let mut node = bed.node(native::burn(image, &bed.dir().join("card.img"))?);
    ensure!(node.settle(2)? == 2);
    Ok(node)
}

/// Asks a running node for something, and records the guard that carries it out, up to the shell that the initramfs opens behind it.
fn guard(mut node: Node, name: &str, request: &str) -> Result<Recording> {
    node.sh(&format!("burnonce {request} --yes --no-reboot && sync"))?;
    node.shutdown()?;
    let dir = begin(&mut node, name, Story::Swap)?;
    node.machine.words.push("break=bottom".to_owned());
    node.power_on()?;
    node.wait_for("built-in shell (ash)")?;
    node.kill()?;
    Recording::load(&dir)
}

/// From its next power-on, the node's writes are recorded.
fn begin(node: &mut Node, name: &str, story: Story) -> Result<PathBuf> {
    let dir = native::dir(name);
    recording::prepare(&dir, &node.card, story)?;
    node.machine.write_log = Some(recording::log_in(&dir));
    Ok(dir)
}
