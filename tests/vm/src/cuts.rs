//! Power cuts: scenarios with a number of them, at the steps of a conversion and at moments that nobody chose.
//!
//! A cut ends QEMU. What the node had written by then is on the card, flushed or not; what a real card may lose is the matter of
//! [`crate::writes`].

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::writes::Dice;
use crate::{Image, Node, Recipe, checks, scenario};

/// From about here on in a boot, the guard runs. The initramfs prints it, where the kernel's command line lacks `quiet`.
fn guard() -> &'static str {
    if Recipe::stock().is_of_dracut() { "dracut-pre-pivot.service" } else { "Running /scripts/local-bottom" }
}

/// The guard is done by then.
const GUARD_MS: u64 = 1500;
/// A boot that does not wait for the console is past the guard by then, on an idle machine.
const BOOT_MS: u64 = 25_000;
/// Deleting [`FILES`] files takes about as long.
const RECLAIM_MS: u64 = 5000;
/// Files of a generation that is to be reclaimed.
const FILES: u32 = 20_000;

/// A fresh card for each of the `steps`: the power goes when the console says that the step begins, and the next boots go on from what is
/// there.
pub fn of_conversion(name: &str, steps: &[&str]) {
    scenario(name, |bed| {
        let image = Recipe::stock().make()?;
        for step in steps {
            let mut node = bed.node(bed.card(&image)?);
            node.power_on()?;
            node.wait_for(step)?;
            node.kill()?;
            let boots = node.settle(2).with_context(|| format!("after a cut at {step:?}"))?;
            checks::is_converted(&node).with_context(|| format!("after a cut at {step:?}, {boots} boots"))?;
            node.shutdown()?;
            checks::has_third_partition(&node.card, &image.as_card())?;
            checks::lower_is_as_burned(&node.card, &image, &[checks::CONFIGURATION])?;
        }
        Ok(())
    });
}

/// Resets and undoes in turn, each with one cut of the boot that carries it out, `count` in all.
pub fn of_guard(name: &str, count: u32) {
    scenario(name, |bed| {
        let mut dice = Dice::thrown(name)?;
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        let burned = checks::burned(&node.card)?;
        ensure!(node.settle(1)? == 1);
        node.sh("echo 0 >/root/marker")?;
        for number in 1..=count {
            let undo = number % 2 == 0;
            node.sh(&format!("burnonce {} --yes --no-reboot && sync", if undo { "undo" } else { "reset" }))?;
            node.reboot()?;
            ensure!(checks::burned(&node.card)? == burned, "before cut {number} the image was written");
            // Every other one at any time, the others while the guard is at work.
            let when = if dice.below(2) == 0 {
                let after = dice.below(BOOT_MS);
                node.cut(Duration::from_millis(after))?;
                format!("{after} ms after power-on")
            } else {
                node.power_on()?;
                node.wait_for(guard())?;
                let after = dice.below(GUARD_MS);
                std::thread::sleep(Duration::from_millis(after));
                node.kill()?;
                format!("{after} ms after the guard's begin")
            };
            let told = || format!("cut {number}, of {}, {when}", if undo { "an undo" } else { "a reset" });
            println!("vm: {name}: {}", told());
            ensure!(node.settle(1).with_context(told)? == 1);
            after_a_cut(&node, undo, number).with_context(told)?;
        }
        node.shutdown()?;
        ensure!(checks::burned(&node.card)? == burned, "after the last cut the image was written");
        Ok(())
    });
}

/// The request is carried out to its end and once: one of the generations is there, whole.
fn after_a_cut(node: &Node, undo: bool, number: u32) -> Result<()> {
    let status = checks::is_converted(node)?;
    ensure!(status["state"]["request"].is_null(), "the request is still pending: {status:#}");
    let marker = node.sudo("cat /root/marker")?.stdout;
    let expected = if undo { "0\n" } else { "" };
    ensure!(marker == expected, "the marker is {marker:?}, not {expected:?}: {status:#}");
    ensure!(node.sh("cat /var/lib/demo/ran")? == "cloud-init ran");
    checks::nothing_failed(node)?;
    if !undo {
        node.sh(&format!("test ! -e /root/of-reset && echo {number} >/root/of-reset"))?;
    }
    Ok(())
}

/// Resets of a generation with many files, each with one cut while the one before is deleted.
pub fn of_reclaim(name: &str, count: u32) {
    scenario(name, |bed| {
        let mut dice = Dice::thrown(name)?;
        let image: Image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        let burned = checks::burned(&node.card)?;
        ensure!(node.settle(1)? == 1);
        for number in 0..=count {
            fill(&node, number)?;
            node.restarts_by("burnonce reset --yes")?;
            ensure!(node.settle(1)? == 1);
            // The first one leaves nothing to be deleted.
            if number == 0 {
                continue;
            }
            node.sh("systemctl start --no-block burnonce-reclaim.service")?;
            let after = dice.below(RECLAIM_MS);
            std::thread::sleep(Duration::from_millis(after));
            node.kill()?;
            println!("vm: {name}: cut {number}, {after} ms after the begin of reclaiming");
            ensure!(node.settle(1)? == 1);
            is_reclaimed(&node, number).with_context(|| format!("cut {number}, {after} ms after the begin"))?;
        }
        node.shutdown()?;
        ensure!(checks::burned(&node.card)? == burned, "after the last cut the image was written");
        Ok(())
    });
}

fn fill(node: &Node, number: u32) -> Result<()> {
    let script = format!(
        "import os\nos.makedirs(\"/srv/many\")\nfor i in range({FILES}): open(f\"/srv/many/{{i}}\", \"w\").write(str(i))\n"
    );
    node.sh(&format!("echo {number} >/srv/number && echo '{script}' | python3 - && sync")).map(drop)
}

/// The generation that was set aside last is whole; of the others, nothing is left.
fn is_reclaimed(node: &Node, number: u32) -> Result<()> {
    checks::is_converted(node)?;
    let own = "/media/root-rw/burnonce";
    node.sh("systemctl start burnonce-reclaim.service")?;
    let kept =
        node.sh(&format!("cd {own}/generations && cat */overlay/srv/number && ls */overlay/srv/many | wc -l"))?;
    ensure!(kept == format!("{number}\n{FILES}"), "kept are number and files {kept:?}");
    let left = node.sh(&format!("ls {own}/generations | wc -l; ls -A {own}/reclaim"))?;
    ensure!(left == "1", "generations and what is left to reclaim: {left:?}");
    ensure!(node.sudo("test -e /srv/number")?.code == Some(1), "the reset left /srv/number");
    checks::nothing_failed(node)
}
