//! Every kind of initramfs on every kind of table: one card each, from its first boot to a damaged upper.

use anyhow::{Result, ensure};
use burnonce_vm::{Bed, Recipe, checks, damage, scenario};

const HEAD: &str = "| suite | initramfs by | table | converts | first boot in the upper | reset | upper damaged |\n|---|---|---|---|---|---|---|";

/// Prints the table of docs/testing.md.
#[test]
fn matrix() {
    scenario("matrix", |bed| {
        let mut table = HEAD.to_owned();
        for (dracut, gpt) in [(false, false), (false, true), (true, false), (true, true)] {
            table += &format!("\n{}", row(bed, dracut, gpt)?);
        }
        println!("{table}");
        Ok(())
    });
}

/// The row of one kind: what is in it held, or the scenario has failed.
fn row(bed: &Bed, dracut: bool, gpt: bool) -> Result<String> {
    let recipe = if dracut { Recipe::stock().dracut() } else { Recipe::stock() };
    let recipe = if gpt { recipe.gpt() } else { recipe };
    let bed =
        bed.within(&format!("{}-{}", if dracut { "dracut" } else { "tools" }, if gpt { "gpt" } else { "mbr" }))?;
    let image = recipe.make()?;
    let mut node = bed.node(bed.card(&image)?);
    ensure!(node.settle(2)? == 2, "it was not exactly one restart");
    let status = checks::is_converted(&node)?;
    ensure!(status["state"]["generation"] == 1, "{status:#}");
    ensure!(node.sh("cat /var/lib/demo/ran")? == "cloud-init ran", "cloud-init did not run exactly once");
    checks::nothing_failed(&node)?;
    let suite = node.sh("sed -n 's/^VERSION_CODENAME=//p' /etc/os-release")?;
    let version =
        if dracut { "dracut --version" } else { "dpkg-query -W -f 'initramfs-tools ${Version}' initramfs-tools" };
    let generator = node.sh(version)?;

    node.sh("echo written >/root/written")?;
    node.restarts_by("burnonce reset --yes")?;
    ensure!(node.settle(1)? == 1, "it was not exactly one restart");
    let status = checks::is_converted(&node)?;
    ensure!(status["state"]["generation"] == 2, "{status:#}");
    ensure!(
        node.sh("test -e /root/written || cat /var/lib/demo/ran")? == "cloud-init ran",
        "it is not as freshly burned"
    );
    checks::nothing_failed(&node)?;
    node.shutdown()?;
    checks::lower_is_as_burned(&node.card, &image, &[checks::CONFIGURATION])?;

    damage::zero_superblock(&node.card)?;
    let before = checks::burned(&node.card)?;
    ensure!(node.settle(1)? == 1);
    checks::is_on_memory(&node)?;
    node.shutdown()?;
    ensure!(checks::burned(&node.card)? == before, "the boot has written to the image");
    bed.remove_cards()?;
    let table = if gpt { "GPT" } else { "MBR" };
    Ok(format!(
        "| {suite} | {generator} | {table} | yes | yes | as freshly burned, image untouched | on memory, image untouched |"
    ))
}
