//! A card that was copied onto a longer one grows while its node runs.

use std::fs::OpenOptions;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burnonce_vm::card::GIB;
use burnonce_vm::{Bed, Card, Node, checks};

use crate::contest::{self, Contender};
use crate::extent::Extent;
use crate::figures::{Case, Measure, Sample, Work};
use crate::works::convert::BURNONCE;
use crate::works::nodes::{self, Who};

/// The two cards, in GiB.
const FROM: u64 = 60;
const TO: u64 = 470;

const ABOUT: &str = "A card of 60 GiB was copied onto one of 470 GiB, and its node is switched on. `burnonce` is `burnonce converge` in the first boot: \
the third partition grows, and its file system with it, while the node runs on it. `growpart, resize2fs` does so with root on a node that \
has no overlay. Both are emulated nodes, and each has a clock of its own: see below.";

/// What grows root, which is mounted, and says how many nanoseconds that took.
const GROW: &str = "begin=$(date +%s%N); growpart /dev/vda 2 >/dev/null && resize2fs /dev/vda2 >/dev/null 2>&1 && echo $(($(date +%s%N) - begin))";

/// What a file system that has grown over a card of [`FROM`] GiB has more bytes than, and one that has grown over a card of [`TO`] GiB.
const GROWN: u64 = 55 * GIB;
const GROWN_AGAIN: u64 = (TO - FROM) * GIB;

/// The work, by whole nodes.
///
/// # Errors
/// A node did not come up, or did not grow.
pub fn work(extent: &Extent) -> Result<Work> {
    eprintln!("bench: growing from {FROM} to {TO} GiB");
    let bed = Bed::new("bench-grow")?;
    let (ours, theirs) = (template(&bed, Who::Burnonce)?, template(&bed, Who::Guide)?);
    let contenders = [
        Contender::new(BURNONCE, |_| burnonce(&bed, &ours)),
        Contender::new("growpart, resize2fs", |_| growpart(&bed, &theirs)),
    ];
    let runs = contest::hold(&contenders, extent.boots, &[])?;
    bed.remove_cards()?;
    Ok(Work {
        name: "grow".to_owned(),
        title: "Growing while the node runs".to_owned(),
        about: ABOUT.to_owned(),
        cases: vec![Case { label: format!("{FROM} to {TO} GiB"), size: TO as f64, runs }],
        targets: Vec::new(),
        notes: vec![
            "The two times are of different clocks. burnonce's is its own, in milliseconds, of the whole of `burnonce converge`, early in a \
             boot, while much else starts: it is what `burnonce status` says. That of `growpart, resize2fs` is from one `date` to another \
             around the two, on a node whose boot is over. What separates them by less than a few times says nothing."
                .to_owned(),
        ],
    })
}

/// A card of the first length, of a node that has run: on its overlay, or on a root that has all of the card.
fn template(bed: &Bed, who: Who) -> Result<Card> {
    let within = bed.within(&format!("{who:?}").to_lowercase())?;
    let mut node = within.node(nodes::burned(&within, who, FROM * GIB)?);
    let most = if who == Who::Burnonce { 2 } else { 1 };
    ensure!(node.settle(most)? == most, "the node does not take {most} boots");
    if who == Who::Guide {
        grow_root(&node, GROWN)?;
    }
    node.shutdown()?;
    node.card.duplicate(&within.dir().join("template.img"))
}

/// A copy of it on the longer card.
fn copied(bed: &Bed, template: &Card) -> Result<Card> {
    let card = template.duplicate(&bed.dir().join("card.img"))?;
    lengthen(&card.path, TO * GIB)?;
    Ok(card)
}

fn lengthen(path: &Path, bytes: u64) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path).with_context(|| format!("opening {}", path.display()))?;
    file.set_len(bytes).with_context(|| format!("making {} longer", path.display()))
}

fn burnonce(bed: &Bed, template: &Card) -> Result<Sample> {
    let mut node = bed.node(copied(bed, template)?);
    ensure!(node.settle(1)? == 1, "the node was restarted");
    let status = checks::is_converted(&node)?;
    let size = status["upper"]["size"].as_u64().context("the status has no size of the upper")?;
    ensure!(size > GROWN_AGAIN, "the upper has {size} bytes");
    let took = status["converge"]["took_ms"].as_u64().context("the status has no time")?;
    node.kill()?;
    Ok(Sample::from([(Measure::Wall, took * 1_000_000)]))
}

fn growpart(bed: &Bed, template: &Card) -> Result<Sample> {
    let mut node = bed.node(copied(bed, template)?);
    ensure!(node.settle(1)? == 1, "the node was restarted");
    let took = grow_root(&node, GROWN_AGAIN)?;
    node.kill()?;
    Ok(Sample::from([(Measure::Wall, took)]))
}

/// Grows the node's root, which has to get more than `least` bytes by it; returns the nanoseconds that it took.
fn grow_root(node: &Node, least: u64) -> Result<u64> {
    let said = node.sh(GROW)?;
    let took = said.parse().with_context(|| format!("growing gave {said:?}"))?;
    let size = node.sh("findmnt -bno SIZE /")?;
    ensure!(
        size.parse::<u64>().is_ok_and(|size| size > least),
        "root has {size} bytes, and was to have more than {least}"
    );
    Ok(took)
}
