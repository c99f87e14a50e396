//! The whole of it: recordings, their cuts, and boots of some.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use burnonce_vm::writes::Dice;
use burnonce_vm::{Bed, Image};

use crate::boots;
use crate::cut::{Amount, Cut, Sort, cuts};
use crate::matrix::{self, Counts};
use crate::recording::Recording;

/// Makes a recording of this name.
pub type Maker<'a> = (&'static str, Box<dyn Fn(&str) -> Result<Recording> + 'a>);

/// How much of it is done.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub amount: Amount,
    /// Cards that are booted by an emulated node.
    pub boots: usize,
}

/// What came of one recording.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub writes: usize,
    pub flushes: usize,
    pub counts: Counts,
    pub boots: usize,
}

/// What came of all.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub rows: Vec<Row>,
    pub boots_took: Duration,
}

/// Records, tries every cut, and boots some.
///
/// # Errors
/// The first cut that did harm, with how to try it again.
pub fn run(bed: &Bed, makers: &[Maker], extent: Extent, seed: u64) -> Result<Outcome> {
    all(bed, makers, extent, &mut Dice::new(seed)).with_context(|| format!("with BURNONCE_SEED={seed}"))
}

fn all(bed: &Bed, makers: &[Maker], extent: Extent, dice: &mut Dice) -> Result<Outcome> {
    let mut recordings = Vec::new();
    let mut all: Vec<Vec<(Sort, Cut)>> = Vec::new();
    let mut rows = Vec::new();
    for (name, make) in makers {
        let recording = make(name).with_context(|| format!("recording {name}"))?;
        let cuts = cuts(&recording.log, extent.amount, dice);
        let (writes, flushes) = (recording.log.writes.len(), recording.log.flushes);
        println!("crash: {name}: {writes} writes, {flushes} flushes, {} cuts", cuts.len());
        let counts = matrix::run(&recording, &cuts)?;
        ensure!(counts.prefixes == writes + 1, "of {writes} writes, {} prefixes were tried", counts.prefixes);
        println!("crash: {name}: held, {} s", counts.took.as_secs());
        rows.push(Row { name: (*name).to_owned(), writes, flushes, counts, boots: 0 });
        recordings.push(recording);
        all.push(cuts);
    }
    let choices = boots::choose(&all, extent.boots, dice);
    let start = Instant::now();
    boots::run(bed, &recordings, &all, &choices)?;
    let mut booted = BTreeMap::<usize, usize>::new();
    choices.iter().for_each(|(recording, _)| *booted.entry(*recording).or_default() += 1);
    booted.into_iter().for_each(|(recording, count)| rows[recording].boots = count);
    Ok(Outcome { rows, boots_took: start.elapsed() })
}

/// What this machine records by itself.
pub fn native<'a>(image: &'a Image, gpt: &'a Image) -> Vec<Maker<'a>> {
    use crate::native;
    vec![
        ("conversion", Box::new(|name| native::conversion(name, image))),
        ("conversion-gpt", Box::new(|name| native::conversion(name, gpt))),
        ("conversion-again", Box::new(|name| native::conversion_again(name, image))),
        ("reset", Box::new(|name| native::reset(name, image))),
        ("undo", Box::new(|name| native::undo(name, image))),
        ("reclaim", Box::new(|name| native::reclaim(name, image))),
        ("grow", Box::new(|name| native::grow(name, image))),
        ("remake", Box::new(|name| native::remake(name, image))),
        ("remake-gpt", Box::new(|name| native::remake(name, gpt))),
    ]
}

/// What emulated nodes record.
pub fn emulated<'a>(bed: &'a Bed, image: &'a Image) -> Vec<Maker<'a>> {
    use crate::vm;
    vec![
        ("node-conversion", Box::new(|name| vm::conversion(bed, name, image))),
        ("node-reset", Box::new(|name| vm::reset(bed, name, image))),
        ("node-undo", Box::new(|name| vm::undo(bed, name, image))),
        ("node-grow", Box::new(|name| vm::grow(bed, name, image))),
    ]
}

impl Outcome {
    /// Cuts of all recordings.
    pub fn total(&self) -> Counts {
        self.rows.iter().fold(Counts::default(), |sum, Row { counts, .. }| Counts {
            prefixes: sum.prefixes + counts.prefixes,
            subsets: sum.subsets + counts.subsets,
            torn: sum.torn + counts.torn,
            took: sum.took + counts.took,
        })
    }
}
