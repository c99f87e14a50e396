//! Cards whose tables are others than a stock image's.

use std::process::Command;

use anyhow::ensure;
use burnonce_vm::{Recipe, checks, conversion, host, scenario};

#[test]
fn gpt() {
    scenario("gpt", |bed| {
        let image = Recipe::stock().gpt().make()?;
        let mut node = bed.node(bed.card(&image)?);
        conversion::converts(&mut node, &image, &[checks::CONFIGURATION])?;
        let verdict = host::run(Command::new("sgdisk").arg("-v").arg(&node.card.path))?;
        ensure!(verdict.contains("No problems found"), "sgdisk -v: {verdict}");
        Ok(())
    });
}

#[test]
fn placeholder() {
    scenario("placeholder", |bed| {
        let image = Recipe::stock().make()?;
        let card = bed.card(&image)?;
        let start = card.partition(2)?.end();
        card.add_partition(&format!("start={start}, size=64MiB, type=83\n"))?;
        card.make_ext4(3, "burnonce", None)?;
        let mut node = bed.node(card);
        conversion::converts(&mut node, &image, &[checks::CONFIGURATION])?;
        conversion::first_boot_went_to_upper(&node.card)
    });
}
