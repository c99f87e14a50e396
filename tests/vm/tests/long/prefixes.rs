//! Every power cut that there is: all that the guard writes is recorded in a node, and each card that a cut could leave is given to the
//! guard again. It has to finish what was begun; no old generation may lose a file, and nothing but the upper may have been written.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burnonce_vm::swapped::{Swap, Trees};
use burnonce_vm::writes::{self, Dice, Entry};
use burnonce_vm::{Bed, Card, Node, Recipe, checks, damage, native, scenario};

/// Random orders tried for each stretch between two flushes.
const SUBSETS: usize = 12;

/// What the card is asked for, and what has to come of it.
struct Case {
    /// `burnonce` with these arguments is typed on the node.
    request: &'static str,
    swap: Swap,
}

#[test]
fn of_reset() {
    scenario("of_reset", |bed| {
        let kept = vec!["etc".to_owned(), "etc/kept".to_owned()];
        let case = Case { request: "reset --keep /etc/kept", swap: Swap { new: 2, old: 1, kept, room: true } };
        let node = small_node(bed)?;
        node.sh("echo kept >/etc/kept; echo old >/root/marker; rm /etc/debian_version; mkdir /srv/new; ln /root/marker /srv/new/link")?;
        survives(bed, node, &case)
    });
}

#[test]
fn of_undo() {
    scenario("of_undo", |bed| {
        let case = Case { request: "undo", swap: Swap { new: 1, old: 2, kept: Vec::new(), room: true } };
        let mut node = small_node(bed)?;
        node.sh("echo old >/root/marker")?;
        node.restarts_by("burnonce reset --yes")?;
        ensure!(node.settle(1)? == 1);
        node.sh("echo new >/root/marker")?;
        survives(bed, node, &case)
    });
}

/// Without a free block: then the spare parts and the ballast are what a reset is made of.
#[test]
fn of_reset_of_a_full_upper() {
    scenario("of_reset_of_a_full_upper", |bed| {
        let case = Case { request: "reset", swap: Swap { new: 2, old: 1, kept: Vec::new(), room: false } };
        let node = small_node(bed)?;
        node.sh("echo old >/root/marker")?;
        survives_after(bed, node, &case, |card| damage::fill_blocks(&card.mount_writable(3)?))
    });
}

/// A converted node whose upper is small, for that is copied hundreds of times.
fn small_node(bed: &Bed) -> Result<Node> {
    let image = Recipe::stock().make()?;
    let size = std::fs::metadata(&image.path)?.len() + (600 << 20);
    let mut node = bed.node(bed.card_of(&image, size)?);
    ensure!(node.settle(2)? == 2);
    Ok(node)
}

fn survives(bed: &Bed, node: Node, case: &Case) -> Result<()> {
    survives_after(bed, node, case, |_| Ok(()))
}

fn survives_after(bed: &Bed, mut node: Node, case: &Case, prepare: fn(&Card) -> Result<()>) -> Result<()> {
    node.sh(&format!("burnonce {} --yes --no-reboot && sync", case.request))?;
    node.shutdown()?;
    prepare(&node.card)?;
    let burned = checks::burned(&node.card)?;
    let dir = native::memory(&case.request.replace(' ', "-"))?;
    // The card before the boot; what differs between cuts is written into its copy.
    let before = node.card.duplicate(&bed.dir().join("before.img"))?;
    let entries = record(&mut node, bed)?;
    ensure!(checks::burned(&node.card)? == burned, "the guard has written to the image");
    let outcome = replay(&before, &entries, &dir.join("card.img"), case);
    std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    outcome
}

/// Boots with a log of all writes, up to the shell that the initramfs opens behind the guard's turn.
fn record(node: &mut Node, bed: &Bed) -> Result<Vec<Entry>> {
    let log = bed.dir().join("writes.img");
    node.machine.write_log = Some(log.clone());
    node.machine.words.push("break=bottom".to_owned());
    node.power_on()?;
    node.wait_for("built-in shell (ash)")?;
    node.kill()?;
    writes::read(&log)
}

fn replay(before: &Card, entries: &[Entry], file: &Path, case: &Case) -> Result<()> {
    let upper = before.partition(3)?;
    let inside = |w: &writes::Write| {
        w.offset >= upper.offset() && w.offset + w.data.len() as u64 <= upper.offset() + upper.bytes()
    };
    let writes: Vec<_> = entries.iter().filter_map(|e| if let Entry::Write(w) = e { Some(w) } else { None }).collect();
    if let Some(outside) = writes.iter().find(|w| !inside(w)) {
        anyhow::bail!("the guard wrote {} bytes at {}, outside of the upper", outside.data.len(), outside.offset);
    }
    let trees = Trees::of(before.mount(3)?.path(), &case.swap)?;
    let card = before.duplicate(file)?;
    let mut dice = Dice::thrown(case.request)?;
    let cuts = writes::cuts(entries, SUBSETS, &mut dice);
    let start = Instant::now();
    for (number, cut) in cuts.iter().enumerate() {
        restore(&before.path, &card.path, upper.offset()..upper.offset() + upper.bytes())?;
        let target = OpenOptions::new().write(true).open(&card.path)?;
        for &index in cut {
            let Entry::Write(write) = &entries[index] else { unreachable!("cuts are of writes") };
            write.apply(&target)?;
        }
        drop(target);
        finishes(&card, &trees, case)
            .with_context(|| format!("cut {number} of {}: of {} writes there are {cut:?}", cuts.len(), writes.len()))?;
    }
    println!(
        "vm: {}: {} writes, {} flushes, {} cuts, each finished by the next boot's guard, {} s",
        case.request,
        writes.len(),
        entries.len() - writes.len(),
        cuts.len(),
        start.elapsed().as_secs()
    );
    Ok(())
}

/// The guard brings the card to its end: all of the old generation is set aside, the new one in use, the request done.
fn finishes(card: &Card, trees: &Trees, case: &Case) -> Result<()> {
    let report = native::guard(card)?;
    ensure!(report["verdict"] == "upper", "the guard says {report:#}");
    native::check_upper(card)?;
    trees.are_swapped(card.mount(3)?.path(), &case.swap)
}

/// Makes the bytes in `range` of `to` those of `from` again.
fn restore(from: &Path, to: &Path, range: std::ops::Range<u64>) -> Result<()> {
    let (from, to) = (File::open(from)?, OpenOptions::new().read(true).write(true).open(to)?);
    let mut at = range.start;
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    while at < range.end {
        let length = usize::try_from((range.end - at).min(ours.len() as u64))?;
        from.read_exact_at(&mut theirs[..length], at)?;
        to.read_exact_at(&mut ours[..length], at)?;
        if ours[..length] != theirs[..length] {
            to.write_all_at(&theirs[..length], at)?;
        }
        at += length as u64;
    }
    Ok(())
}
