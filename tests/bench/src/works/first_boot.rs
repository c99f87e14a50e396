//! The first boot of a node whose card is slow, and what its kernel writes in the minutes after it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use burnonce_vm::card::GIB;
use burnonce_vm::qemu::Speed;
use burnonce_vm::{Bed, Node};

use crate::contest::{self, Contender};
use crate::device::Counters;
use crate::extent::Extent;
use crate::figures::{Case, Measure, Sample, Work};
use crate::target;
use crate::works::convert::{BURNONCE, GUIDES};
use crate::works::nodes::{self, Who};

/// A card that writes 20 MB/s, and 500 times a second: the least that a card of application performance class A1 may do (SD Association,
/// "Application Performance Class": 500 IOPS of random writing).
const CARD: Speed = Speed { bytes: 20_000_000, requests: 500 };
/// Its length, in GiB.
const LENGTH: u64 = 64;
/// How long the kernel is watched after power-on, in seconds.
const WATCHED: u64 = 300;

const ABOUT: &str = "An emulated node with a card of 64 GiB that writes 20 MB/s and 500 times a second is switched on for the first time, until \
somebody can log in to its overlay and cloud-init is done: two boots with the restart between them. `what guides say` is the script of the \
conversion above in a unit that is burnonce's in everything else.";

const AFTERWARDS: &str = "What is written to the third partition in the first five minutes of the boot on the overlay, on the same kind of node: by \
the node's first boot, and by the kernel, which zeroes the inode tables of the new file system meanwhile.";

/// Both works, by whole nodes.
///
/// # Errors
/// A node did not come up.
pub fn works(extent: &Extent) -> Result<Vec<Work>> {
    eprintln!("bench: first boots with a slow card");
    let contenders = [
        Contender::new(BURNONCE, |_| timed(booted(Who::Burnonce)?)),
        Contender::new(GUIDES, |_| timed(booted(Who::Guide)?)),
    ];
    let runs = contest::hold(&contenders, extent.boots, &[])?;
    let case = |runs| Case { label: format!("{LENGTH} GiB"), size: LENGTH as f64, runs };
    let first = Work {
        name: "first-boot".to_owned(),
        title: "The first boot with a slow card".to_owned(),
        about: ABOUT.to_owned(),
        cases: vec![case(runs)],
        targets: Vec::new(),
        notes: vec![
            "The processor is emulated, too, so that a boot takes much longer than on a Pi. What the card takes is by the clock, so it is the \
             difference between the two that counts, not the ratio."
                .to_owned(),
            "The emulated card takes no time for a flush. That favours burnonce, which makes about fifty more than the guide in its conversion: \
             the table of flushes at the conversion has both numbers."
                .to_owned(),
        ],
    };
    eprintln!("bench: the five minutes after a first boot");
    let contenders = [
        Contender::new(BURNONCE, |_| afterwards(booted(Who::Burnonce)?)),
        Contender::new(GUIDES, |_| afterwards(booted(Who::Guide)?)),
    ];
    // It is counted, and takes ten minutes a time.
    let after = case(contest::hold(&contenders, 1, &[])?);
    let background = Work {
        name: "background".to_owned(),
        title: "What is written after the conversion".to_owned(),
        about: AFTERWARDS.to_owned(),
        targets: target::part(&after, GUIDES, 4.0).into_iter().collect(),
        cases: vec![after],
        notes: vec![
            "The kernel zeroes at a tenth of the speed that the card has left, so a slow card has more to be zeroed after five minutes.".to_owned(),
        ],
    };
    Ok(vec![first, background])
}

/// A node that has come up on its overlay, and how long that took.
struct Booted {
    bed: Bed,
    node: Node,
    took: Duration,
}

fn booted(who: Who) -> Result<Booted> {
    let bed = Bed::new("bench-first-boot")?;
    let card = nodes::burned(&bed, who, LENGTH * GIB)?;
    if who == Who::Guide {
        nodes::add_guide(&card)?;
    }
    let mut node = bed.node(card);
    node.machine.speed = Some(CARD);
    let began = Instant::now();
    let boots = node.settle(2)?;
    let took = began.elapsed();
    ensure!(boots == 2, "it took {boots} boots");
    nodes::has_overlay(&node)?;
    Ok(Booted { bed, node, took })
}

impl Booted {
    /// Switches it off and removes its cards.
    fn end(mut self) -> Result<()> {
        self.node.kill()?;
        self.bed.remove_cards()
    }
}

/// How long it took to come up; the node is ended.
fn timed(booted: Booted) -> Result<Sample> {
    let took = u64::try_from(booted.took.as_nanos()).unwrap_or(u64::MAX);
    booted.end()?;
    Ok(Sample::from([(Measure::Wall, took)]))
}

/// What was written to the third partition when the boot is five minutes old; the node is ended.
fn afterwards(booted: Booted) -> Result<Sample> {
    let stat = booted.node.sh(&format!(
        "while read -r up rest </proc/uptime && [ \"${{up%.*}}\" -lt {WATCHED} ]; do sleep 1; done; cat /sys/class/block/vda3/stat"
    ))?;
    let written = Counters::parse(&stat)?.written;
    booted.end()?;
    Ok(Sample::from([(Measure::Written, written)]))
}
