//! Nodes that burnonce leaves as they are: they boot as they would without it, and say why.

use anyhow::{Context, Result, ensure};
use burnonce_vm::{Card, Recipe, checks, scenario};

/// What a refusal leaves on the boot partition for an owner who has no screen.
fn notice(card: &Card) -> Result<String> {
    card.boot_text("burnonce.txt")?.context("there is no burnonce.txt on the boot partition")
}

#[test]
fn without_overlayroot() {
    scenario("without_overlayroot", |bed| {
        let image = Recipe::stock().without_overlayroot().make()?;
        let mut node = bed.node(bed.card(&image)?);
        ensure!(node.settle(1)? == 1);
        let status = checks::is_plain(&node)?;
        ensure!(status["reasons"].to_string().contains("overlayroot"), "{status:#}");
        checks::says(&node, 1, "not converting this node")?;
        checks::says(&node, 1, "this image has no overlayroot package")?;
        checks::nothing_failed(&node)?;
        node.shutdown()?;
        let notice = notice(&node.card)?;
        ensure!(notice.contains("overlayroot"), "burnonce.txt says {notice:?}");
        ensure!(node.card.table()?.partitions.len() == 2, "a partition was made");
        Ok(())
    });
}

#[test]
fn foreign_third_partition() {
    scenario("foreign_third_partition", |bed| {
        let image = Recipe::stock().make()?;
        let card = bed.card(&image)?;
        let start = card.partition(2)?.end();
        card.add_partition(&format!("start={start}, size=256MiB, type=83\n"))?;
        let files = bed.dir().join("data");
        std::fs::create_dir(&files)?;
        std::fs::write(files.join("precious"), "not ours\n")?;
        card.make_ext4(3, "data", Some(&files))?;
        let before = (card.table()?, card.digest(3, &[])?);

        let mut node = bed.node(card);
        ensure!(node.settle(1)? == 1);
        checks::is_plain(&node)?;
        checks::says(&node, 1, "not converting this node: /dev/vda3 holds an ext4")?;
        checks::says(&node, 1, "labelled \"data\"")?;
        checks::nothing_failed(&node)?;
        node.shutdown()?;
        ensure!(
            (node.card.table()?, node.card.digest(3, &[])?) == before,
            "the table or the foreign partition changed"
        );
        let notice = notice(&node.card)?;
        ensure!(notice.contains("/dev/vda3") && notice.contains("\"data\""), "burnonce.txt says {notice:?}");
        Ok(())
    });
}

#[test]
fn burnonce_off() {
    scenario("burnonce_off", |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.card(&image)?);
        node.machine.words.push("burnonce=off".to_owned());
        ensure!(node.settle(1)? == 1);
        checks::is_plain(&node)?;
        checks::says(&node, 1, "switched off")?;
        checks::nothing_failed(&node)?;
        node.shutdown()?;
        ensure!(node.card.table()?.partitions.len() == 2, "a partition was made");
        ensure!(!node.card.mount(2)?.has("etc/overlayroot.local.conf"), "the overlay was configured");
        Ok(())
    });
}
