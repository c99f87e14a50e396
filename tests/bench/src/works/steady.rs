//! A boot in which there is nothing to do.

use std::time::Duration;

use anyhow::{Context, Result};
use burnonce_crash::boot::Boot;

use crate::cards::{self, Cards, Label, insert};
use crate::contest::{self, Contender};
use crate::extent::Extent;
use crate::figures::{Case, Sample, Work};
use crate::measured::{How, Meter, Task};
use crate::target;
use crate::works::convert::{SEES_ITS_CARD, agent, repart_task};

/// What is done, for the page.
const ABOUT: &str = "A boot in which everything is as it is to be. `burnonce` is the guard in the initramfs and `burnonce converge`, one after \
the other; systemd-repart runs on a card that has all its partitions; `true` is what it takes to start a program. The time ends when the \
program does.";

/// All who do it, on the smallest of the cards.
///
/// # Errors
/// One of them failed.
pub fn work(cards: &Cards, extent: &Extent) -> Result<Work> {
    let gib = extent.cards.iter().copied().min().context("no card was named")?;
    eprintln!("bench: a boot with nothing to do, on {gib} GiB");
    let contenders = [
        Contender::new("burnonce", |how| burnonce(cards, gib, how)),
        Contender::new("systemd-repart", |how| repart(cards, gib, how)),
        Contender::new("true", |how| nothing(cards, gib, how)),
    ];
    let runs = contest::hold(&contenders, extent.rounds, &[How::Traced, How::Weighed])?;
    let case = Case { label: format!("{gib} GiB"), size: gib as f64, runs };
    Ok(Work {
        name: "steady".to_owned(),
        title: "A boot with nothing to do".to_owned(),
        about: ABOUT.to_owned(),
        targets: target::steady(&case, Duration::from_millis(5)).into_iter().collect(),
        cases: vec![case],
        notes: vec![
            "Each run has a card that was just put into its reader. The programs were read before, burnonce's and its peers': a boot reads \
             them from the card, and how long they are is below, with the sizes."
                .to_owned(),
            "What mounting the upper writes, which overlayroot does between guard and agent, is not burnonce's, and not counted.".to_owned(),
            SEES_ITS_CARD.to_owned(),
        ],
    })
}

/// Guard and agent of a converted card, one after the other, as a boot has them.
pub fn burnonce(cards: &Cards, gib: u64, how: How) -> Result<Sample> {
    let card = cards.converted(gib)?;
    let reader = insert(&card.path)?;
    let mut meter = Meter::waiting(&reader, how);
    let mut boot = Boot::begin_counted(&reader)?;
    cards::warm(boot.root())?;
    let report = boot.guard_by(|words| meter.output(&Task::new(words)))?;
    cards::expect(&report, true)?;
    boot.go_on(true)?;
    meter.run(&agent(&boot, &["converge"]))?;
    boot.power_off()?;
    Ok(meter.sample())
}

/// systemd-repart on a card that has everything.
pub fn repart(cards: &Cards, gib: u64, how: How) -> Result<Sample> {
    let card = cards.fresh(&format!("repart-{gib}"), |file| {
        let card = cards.burned(gib, Label::Gpt)?;
        let reader = insert(&card.path)?;
        Meter::of(&reader, How::Plain).run(&repart_task(&reader)?)?;
        drop(reader);
        card.duplicate(file).map(drop)
    })?;
    let reader = insert(&card.path)?;
    let mut meter = Meter::waiting(&reader, how);
    meter.run(&repart_task(&reader)?)?;
    Ok(meter.sample())
}

/// The least that a program can take.
pub fn nothing(cards: &Cards, gib: u64, how: How) -> Result<Sample> {
    let card = cards.converted(gib)?;
    let reader = insert(&card.path)?;
    let mut meter = Meter::waiting(&reader, how);
    meter.run(&Task::new(["true"]))?;
    Ok(meter.sample())
}
