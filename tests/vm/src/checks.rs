//! What several scenarios look at.

use crate::{Card, Image, Node, tree};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The exit code of `burnonce status` on a node that does not run as it was configured.
const DEGRADED: i32 = 4;

/// The only file that conversion changes in the image.
pub const CONFIGURATION: &str = "etc/overlayroot.local.conf";

/// What `burnonce status --json` prints, and its exit code.
pub fn status(node: &Node) -> Result<(Value, i32)> {
    let answer = node.sudo("burnonce status --json")?;
    let code = answer.code.context("burnonce status was killed")?;
    let json = serde_json::from_str(&answer.stdout).with_context(|| format!("burnonce status printed {answer:?}"))?;
    Ok((json, code))
}

/// The node runs on an overlay whose upper is on the third partition, is healthy, and its lower is sealed. Returns the status.
pub fn is_converted(node: &Node) -> Result<Value> {
    is_converted_on(node, "/dev/vda")
}

/// [`is_converted`], where the card is the disk `card`.
pub fn is_converted_on(node: &Node, card: &str) -> Result<Value> {
    let (json, code) = status(node)?;
    ensure!(code == 0 && json["mode"] == "overlay" && json["degraded"] == false, "exit code {code}, {json:#}");
    ensure!(json["upper"]["device"] == format!("{card}3"), "the upper is {}", json["upper"]);
    let lower = &json["lower"];
    ensure!(lower["device"] == format!("{card}2") && lower["sealed"] == true, "the lower is {lower}");
    let mounts =
        node.sh("findmnt -no FSTYPE /; findmnt -no SOURCE /media/root-rw; findmnt -no SOURCE,OPTIONS /media/root-ro")?;
    ensure!(mounts.starts_with(&format!("overlay\n{card}3\n{card}2 ro")), "mounted are {mounts}");
    Ok(json)
}

/// The generation that the node runs on.
pub fn generation(node: &Node) -> Result<u64> {
    let status = is_converted(node)?;
    status["state"]["generation"].as_u64().with_context(|| format!("no generation in {status:#}"))
}

/// Whether `/root/marker` is there, which a scenario makes to know a generation again.
pub fn has_marker(node: &Node) -> Result<bool> {
    Ok(node.sudo("test -e /root/marker")?.code == Some(0))
}

/// The node runs on its overlay, over a sealed lower. (Files of it that are still in use can keep it from being remounted.)
pub fn is_sealed(node: &Node) -> Result<()> {
    let (json, _) = status(node)?;
    ensure!(json["mode"] == "overlay" && json["lower"]["sealed"] == true, "{json:#}");
    Ok(())
}

/// The node runs from its image as if burnonce were not there. Returns the status.
pub fn is_plain(node: &Node) -> Result<Value> {
    ensure!(node.sh("findmnt -no SOURCE,FSTYPE /")? == "/dev/vda2 ext4");
    node.sh("touch /root/writable && rm /root/writable").context("root is not writable")?;
    let (json, code) = status(node)?;
    ensure!(code == 0 && json["mode"] == "plain" && json["degraded"] == false, "exit code {code}, {json:#}");
    Ok(json)
}

/// The node runs on an overlay in memory, and says so wherever one would look. Returns the status.
pub fn is_on_memory(node: &Node) -> Result<Value> {
    let (json, code) = status(node)?;
    ensure!(code == DEGRADED && json["mode"] == "memory" && json["degraded"] == true, "exit code {code}, {json:#}");
    ensure!(json["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()), "no reason in {json:#}");
    ensure!(node.sh("findmnt -no FSTYPE /")? == "overlay");
    node.sh("touch /root/writable").context("the overlay in memory is not writable")?;
    says(node, node.boots(), "DEGRADED")?;
    ensure!(node.sudo("systemctl is-failed burnonce.service")?.code == Some(0), "burnonce.service has not failed");
    let login = node.login()?;
    ensure!(login.contains("burnonce"), "a login shows nothing of it, but {login:?}");
    Ok(json)
}

/// What of the card no fault and no reset may change: the first sector and the root partition.
pub fn burned(card: &Card) -> Result<(Vec<u8>, String)> {
    Ok((card.first_sector()?, card.root_digest()?))
}

/// The upper was left clean: no journal to be replayed (`INCOMPAT_RECOVER`, bit 2 of the superblock's word at 0x60).
pub fn upper_is_clean(card: &Card) -> Result<()> {
    let features = card.partition(3)?.offset() + 1024 + 0x60;
    ensure!(card.read(features..features + 1)?[0] & 4 == 0, "the upper was not left clean");
    Ok(())
}

/// Every unit came up.
pub fn nothing_failed(node: &Node) -> Result<()> {
    let state = node.sudo("systemctl is-system-running --wait")?.stdout;
    ensure!(
        state.trim() == "running",
        "the system is {}: {}",
        state.trim(),
        node.sh("systemctl --failed --no-legend")?
    );
    let cycles = node.sudo("journalctl -b --no-pager --grep 'ordering cycle'")?.stdout;
    ensure!(!cycles.contains("Found ordering cycle"), "{cycles}");
    Ok(())
}

/// The console of boot `number` has the agent saying `words`, however it was wrapped into lines.
pub fn says(node: &Node, number: u32, words: &str) -> Result<()> {
    let console = node.console_log(number)?;
    ensure!(unwrapped(&console).contains(words), "the console of boot {number} does not say {words:?}");
    Ok(())
}

/// The agent indents what it continues on the next line.
fn unwrapped(console: &str) -> String {
    console.split_whitespace().filter(|&word| word != "burnonce:").collect::<Vec<_>>().join(" ")
}

/// Nothing but a third entry has come into the table, and that fills the rest of the card, but for its alignment.
pub fn has_third_partition(card: &Card, before: &Card) -> Result<()> {
    let (now, old) = (card.table()?, before.table()?);
    ensure!(now.id == old.id && now.label == old.label, "the table was {old:?} and is {now:?}");
    ensure!(now.partitions.len() == 3 && now.partitions[..2] == old.partitions[..2], "it was {old:?} and is {now:?}");
    let (root, upper) = (&now.partitions[1], &now.partitions[2]);
    let sectors = std::fs::metadata(&card.path)?.len() / 512;
    let slack = 2 * 8192; // an alignment of 4 MiB at both ends
    ensure!(upper.number == 3 && upper.start >= root.end() && upper.start - root.end() < slack, "{now:?}");
    ensure!(upper.end() <= sectors && sectors - upper.end() < slack, "{now:?} on a card of {sectors} sectors");
    Ok(())
}

/// File by file the lower is the image, but for files whose names begin as `allowed`, one each.
pub fn lower_is_as_burned(card: &Card, image: &Image, allowed: &[&str]) -> Result<()> {
    let (lower, burned) = (card.mount(2)?, image.as_card().mount(2)?);
    let differing = tree::differences(burned.path(), lower.path())?;
    let as_allowed = differing.len() == allowed.len() && differing.iter().zip(allowed).all(|(d, a)| d.starts_with(a));
    ensure!(as_allowed, "the lower differs from the image in {differing:?}");
    Ok(())
}
