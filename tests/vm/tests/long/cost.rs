//! What the guard costs a boot with nothing to do.

use anyhow::{Context, Result, ensure};
use burnonce_vm::{Bed, Image, Recipe, scenario};

/// Milliseconds of the guest that a boot may take longer with the guard than without it.
const MOST_MS: i64 = 50;
/// Boots of each kind. The times are by the clock, on a machine that has other things to do: the shortest counts.
const BOOTS: usize = 2;
/// The guard's program in the initramfs.
const GUARD: &str = "usr/sbin/burnonce";

#[test]
fn guard_costs_little() {
    scenario("guard_costs_little", |bed| {
        let image = Recipe::stock().make()?;
        let (without, with) = image.initramfs_sizes()?;
        let grown = with.saturating_sub(without);
        println!("vm: guard: initramfs {} KiB larger", grown / 1024);
        ensure!(grown <= 1 << 20, "the initramfs grew from {without} to {with} bytes");

        let (mut with, mut without) = (Vec::new(), Vec::new());
        for number in 0..BOOTS {
            with.push(until_the_upper(&bed.within(&format!("with-{number}"))?, &image, true)?);
            without.push(until_the_upper(&bed.within(&format!("without-{number}"))?, &image, false)?);
        }
        println!("vm: guard: ms from root's mount to the upper's: {with:?} with it, {without:?} without it");
        let shortest = |times: &[i64]| times.iter().copied().min().context("no boots");
        let more = shortest(&with)? - shortest(&without)?;
        println!("vm: guard: a boot with nothing to do takes {more} ms longer");
        ensure!(more < MOST_MS, "the guard costs {more} ms");
        Ok(())
    })
}

/// Boots a converted card up to systemd. Milliseconds by the guest's kernel from root's mount to the last one of the upper: without the
/// guard, overlayroot's configuration looks for the upper by itself.
fn until_the_upper(bed: &Bed, image: &Image, guard: bool) -> Result<i64> {
    let mut node = bed.node(bed.converted(image)?);
    if !guard {
        // The script runs it only where it can be executed.
        node.machine.instead.push((GUARD, Vec::new()));
    }
    node.power_on()?;
    node.wait_for("systemd[1]: systemd")?;
    let console = node.console()?.text();
    node.kill()?;
    std::fs::remove_file(&node.card.path)?;
    let times = |words: &str| console.lines().filter(|l| l.contains(words)).map(milliseconds).collect::<Vec<_>>();
    let root = times("EXT4-fs (vda2): mounted filesystem");
    let upper = times("EXT4-fs (vda3): mounted filesystem");
    // Each of the two has a look before overlayroot comes; without the guard it is a writable mount.
    ensure!(root.len() == 1 && upper.len() == 2, "the console shows other mounts: {root:?}, {upper:?}");
    let look = console.lines().find(|line| line.contains("EXT4-fs (vda3): mounted")).unwrap_or_default();
    ensure!(look.contains(" ro with") == guard, "this is a boot of the other kind: {look}");
    upper[1].zip(root[0]).map(|(upper, root)| upper - root).context("a line without the kernel's time")
}

/// The time in a line of the kernel's: `[    9.733992] ...`.
fn milliseconds(line: &str) -> Option<i64> {
    let (time, _) = line.rsplit_once("] EXT4-fs")?;
    let seconds: f64 = time.rsplit_once('[')?.1.trim().parse().ok()?;
    Some((seconds * 1000.0) as i64)
}
