//! A boot in which there is nothing to do.

use anyhow::Result;
use burnonce_crash::boot::Boot;

use crate::cards::{self, Cards, Label, insert};
use crate::figures::Sample;
use crate::measured::{How, Meter, Task};
use crate::works::convert::{agent, repart_task};

/// Guard and agent of a converted card, one after the other, as a boot has them.
pub fn burnonce(cards: &Cards, gib: u64, how: How) -> Result<Sample> {
    let card = cards.converted(gib)?;
    let reader = insert(&card.path)?;
    let mut meter = Meter::waiting(&reader, how);
    let mut boot = Boot::begin_counted(&reader)?;
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
