//! The whole of it: recordings, their cuts, and boots of some.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use burnonce_vm::writes::Dice;
use burnonce_vm::{Bed, Image};

use crate::boots;
use crate::cut::{Amount, Cut, Log, Sort, cuts};
use crate::matrix::{self, Counts};
use crate::pair::{self, Part};
use crate::recording::Recording;

/// Makes a recording of this name.
pub type Maker<'a> = (&'static str, Box<dyn Fn(&str) -> Result<Recording> + Sync + 'a>);

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
    /// All of them together, though two may have run at a time.
    pub boots_took: Duration,
}

/// Records, two recordings at a time. Then it tries every cut, and boots some: two recordings or boots at a time.
///
/// # Errors
/// The first cut that did harm, with how to try it again.
pub fn run(bed: &Bed, makers: &[Maker], extent: Extent, seed: u64) -> Result<Outcome> {
    all(bed, makers, extent, &mut Dice::new(seed)).with_context(|| format!("with BURNONCE_SEED={seed}"))
}

fn all(bed: &Bed, makers: &[Maker], extent: Extent, dice: &mut Dice) -> Result<Outcome> {
    // The agent flushes file systems by name, never the whole machine: what one recording does is not a flush in another one.
    let recordings = pair::run(makers.iter().map(|maker| -> Part<_> { Box::new(move || record(maker)) }).collect())?;
    // However long each of these took, the dice are thrown in the order of the makers.
    let cuts: Vec<_> = recordings.iter().map(|recording| cuts(&recording.log, extent.amount, dice)).collect();
    let choices = boots::choose(&cuts, extent.boots, dice);
    let mut parts: Vec<(usize, Part<Done>)> = Vec::new();
    let least = if recordings.len() > 1 { 1 } else { 2 };
    for (recording, cuts) in recordings.iter().zip(&cuts) {
        parts.push((cuts.len(), Box::new(move || tried(recording, cuts, least).map(Done::Tried))));
    }
    for (number, &(recording, cut)) in choices.iter().enumerate() {
        let which = format!("boot {} of {}", number + 1, choices.len());
        let (recording, (_, cut)) = (&recordings[recording], &cuts[recording][cut]);
        let boot = move || {
            println!("crash: {which}: {} with {cut}", recording.name);
            let took = boots::run(&bed.within(&format!("boot-{number}"))?, recording, cut)?;
            println!("crash: {which}: held, {} s", took.as_secs());
            Ok(Done::Booted(took))
        };
        parts.push((boots::WORTH, Box::new(boot)));
    }
    let mut rows = Vec::new();
    let mut boots_took = Duration::ZERO;
    for done in longest_first(parts)? {
        match done {
            Done::Tried(row) => rows.push(row),
            Done::Booted(took) => boots_took += took,
        }
    }
    choices.iter().for_each(|&(recording, _)| rows[recording].boots += 1);
    Ok(Outcome { rows, boots_took })
}

/// What came of a part of the work.
enum Done {
    Tried(Row),
    Booted(Duration),
}

/// Does the parts, each with the cuts that it is worth: at the end no thread has long to go on alone. What came of them is in the order of
/// `parts`.
fn longest_first<T: Send>(parts: Vec<(usize, Part<T>)>) -> Result<Vec<T>> {
    let (worths, parts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let order = order(&worths);
    let mut parts: Vec<_> = parts.into_iter().map(Some).collect();
    let done = pair::run(order.iter().filter_map(|&number| parts[number].take()).collect())?;
    let mut done: Vec<_> = order.into_iter().zip(done).collect();
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, done)| done).collect())
}

/// The numbers of parts that are worth so much, those with most first, equals as they are.
fn order(worths: &[usize]) -> Vec<usize> {
    let mut numbers: Vec<_> = (0..worths.len()).collect();
    numbers.sort_by_key(|&number| Reverse(worths[number]));
    numbers
}

fn record((name, make): &Maker) -> Result<Recording> {
    let start = Instant::now();
    let recording = make(name).with_context(|| format!("recording {name}"))?;
    let Log { writes, flushes, .. } = &recording.log;
    println!("crash: {name}: {} writes, {flushes} flushes, recorded in {} s", writes.len(), start.elapsed().as_secs());
    Ok(recording)
}

/// Tries the cuts of one recording.
fn tried(recording: &Recording, cuts: &[(Sort, Cut)], least: usize) -> Result<Row> {
    let (name, writes) = (&recording.name, recording.log.writes.len());
    println!("crash: {name}: {} cuts", cuts.len());
    let counts = matrix::run(recording, cuts, least)?;
    ensure!(counts.prefixes == writes + 1, "of {writes} writes, {} prefixes were tried", counts.prefixes);
    println!("crash: {name}: held, {} s", counts.took.as_secs());
    Ok(Row { name: name.clone(), writes, flushes: recording.log.flushes, counts, boots: 0 })
}

/// What this machine records by itself.
pub fn native<'a>(image: &'a Image, gpt: &'a Image) -> Vec<Maker<'a>> {
    use crate::native;
    vec![
        ("conversion", Box::new(|name| native::conversion(name, image))),
        ("conversion-gpt", Box::new(|name| native::conversion(name, gpt))),
        ("conversion-again", Box::new(|name| native::conversion_again(name, image))),
        ("conversion-again-gpt", Box::new(|name| native::conversion_again(name, gpt))),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_longest_begins_and_what_comes_of_it_stays_in_its_place() {
        let worths = [3, 9, 1, 9, 7];
        assert_eq!(order(&worths), [1, 3, 4, 0, 2]);
        let part = |worth| -> (usize, Part<usize>) { (worth, Box::new(move || Ok(10 * worth))) };
        assert_eq!(longest_first(worths.map(part).into()).unwrap(), [30, 90, 10, 90, 70]);
        assert_eq!(longest_first::<()>(Vec::new()).unwrap(), []);
    }
}
