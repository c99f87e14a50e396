//! Cards that are converted: the first boot makes the upper, the second is a first boot.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::faults::runs_on_memory;
use anyhow::{Context, Result, ensure};
use burnonce_vm::{Bed, Card, Image, Node, Recipe, checks, conversion, scenario, tree};

#[test]
fn first_boot_to_overlay() {
    scenario("first_boot_to_overlay", |bed| first_boot(bed, &Recipe::stock().make()?).map(drop));
}

/// The same on an image whose initramfs dracut makes, and what becomes of it without an upper. The rest is for `make test-long`.
#[test]
fn dracut() {
    scenario("dracut", |bed| {
        let mut node = first_boot(bed, &Recipe::stock().dracut().make()?)?;
        let before = checks::burned(&node.card)?;
        runs_on_memory(&mut node)?;
        ensure!(checks::burned(&node.card)? == before, "the sealed image was written");
        Ok(())
    });
}

/// A card is burned, converts, and has its first boot and another one. The node is switched off.
fn first_boot(bed: &Bed, image: &Image) -> Result<Node> {
    let mut node = bed.node(bed.card(image)?);
    node.machine.clock = Some("1970-01-01".to_owned());
    // With all that writes to a first boot's root; the other boots do without (see the words of the emulated machine).
    node.machine.words.push("systemd.condition_needs_update=yes".to_owned());
    ensure!(node.settle(2)? == 2, "it was not exactly one restart");
    checks::is_converted(&node)?;
    checks::nothing_failed(&node)?;
    node.sh("echo kept >/root/written")?;
    node.shutdown()?;
    checks::upper_is_clean(&node.card)?;

    checks::has_third_partition(&node.card, &image.as_card())?;
    // Early in a boot mke2fs falls back to a UUID of clock and MAC address, unless it is given time.
    ensure!(node.card.uuid_version(3)? == 4, "the upper's UUID is not a random one");
    let boot_code = |card: &Card| Ok::<_, anyhow::Error>(card.first_sector()?[..446].to_vec());
    ensure!(boot_code(&node.card)? == boot_code(&image.as_card())?, "boot code or disk signature has changed");
    conversion::first_boot_went_to_upper(&node.card)?;
    ensure!(node.card.mount(3)?.text("overlay/root/written")? == "kept\n");
    checks::lower_is_as_burned(&node.card, image, &[checks::CONFIGURATION])?;
    node.machine.words.clear();
    third_boot_changes_nothing(&mut node)?;
    Ok(node)
}

/// What must not change in a boot with nothing to do.
#[derive(Debug, PartialEq)]
struct Untouched {
    table: Vec<u8>,
    boot: String,
    root: String,
    /// The agent's own directory on the upper.
    state: BTreeMap<PathBuf, Option<Vec<u8>>>,
}

impl Untouched {
    fn of(card: &Card) -> Result<Self> {
        let upper = card.mount(3)?;
        let dir = upper.path().join("burnonce");
        let mut state = BTreeMap::new();
        for (path, metadata) in tree::walk(&dir)? {
            let content = if metadata.is_file() { Some(std::fs::read(dir.join(&path))?) } else { None };
            state.insert(path, content);
        }
        Ok(Self { table: card.first_sector()?, boot: card.boot_digest()?, root: card.root_digest()?, state })
    }
}

fn third_boot_changes_nothing(node: &mut Node) -> Result<()> {
    let before = Untouched::of(&node.card)?;
    ensure!(node.settle(1)? == 1);
    let status = checks::is_converted(node)?;
    ensure!(status["converge"]["outcome"] == "converged", "converge: {}", status["converge"]);
    ensure!(node.sh("cat /root/written; cat /var/lib/demo/ran")? == "kept\ncloud-init ran");
    checks::nothing_failed(node)?;
    println!("vm: a boot with nothing to do: converge took {} ms", status["converge"]["took_ms"]);
    ensure!(!node.console_log(node.boots())?.contains("burnonce: checking"), "a clean upper was checked");
    node.shutdown()?;
    checks::upper_is_clean(&node.card)?;
    ensure!(Untouched::of(&node.card)? == before, "a boot with nothing to do has written to the card");
    Ok(())
}

#[test]
fn stale_initramfs() {
    scenario("stale_initramfs", |bed| {
        let image = Recipe::stock().stale_initramfs().make()?;
        let mut node = bed.node(bed.card(&image)?);
        ensure!(node.settle(3)? == 3, "it was not one restart after rebuilding and one after converting");
        checks::is_converted(&node)?;
        checks::nothing_failed(&node)?;
        ensure!(node.sh("cat /var/lib/demo/ran")? == "cloud-init ran");
        let lacks = if Recipe::stock().is_of_dracut() { "guard of burnonce" } else { "overlayroot" };
        checks::says(&node, 1, &format!("the initramfs of this image has no {lacks}"))?;
        checks::says(&node, 2, "converting this node")?;
        node.shutdown()?;
        checks::has_third_partition(&node.card, &image.as_card())?;
        conversion::first_boot_went_to_upper(&node.card)?;
        checks::lower_is_as_burned(&node.card, &image, &["boot/initrd.img-", checks::CONFIGURATION])?;
        let rebuilt = node.card.read_boot("initrd.img")?;
        ensure!(rebuilt != image.as_card().read_boot("initrd.img")?, "the initramfs that boots is still the stale one");
        Ok(())
    });
}

/// Debian's own Pi images boot with `rw`: root is writable before the agent runs, and PID 1 writes a machine-id into the
/// image. That is all that differs then.
#[test]
fn rw_on_command_line() {
    scenario("rw_on_command_line", |bed| {
        let image = Recipe::stock().make()?;
        let card = bed.card(&image)?;
        let line = card.boot_text("cmdline.txt")?.context("the image has no cmdline.txt")?;
        card.write_boot("cmdline.txt", format!("{} rw\n", line.trim()))?;
        let mut node = bed.node(card);
        conversion::converts(&mut node, &image, &["etc/machine-id", checks::CONFIGURATION])
    });
}
