//! Tries the cuts of a recording.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use burnonce_vm::native;

use crate::cut::{Cut, Sort};
use crate::recording::Recording;
use crate::story::Ending;
use crate::worker::{Seen, Worker};

/// Cuts that are tried before the whole card is compared.
const PATIENCE: usize = 32;

/// How many cuts were tried.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub prefixes: usize,
    pub subsets: usize,
    pub torn: usize,
    pub took: Duration,
}

/// Where the copies of cards are, which go at the end.
struct Copies(PathBuf);

impl Drop for Copies {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("crash: removing {}: {error}", self.0.display());
        }
    }
}

/// Tries all of `cuts`, in at `least` so many threads, of which each has a card of its own in memory: each has to end as no cut does.
///
/// # Errors
/// The first of each thread that does not, with the command that repeats it.
pub fn run(recording: &Recording, cuts: &[(Sort, Cut)], least: usize) -> Result<Counts> {
    let threads = recording.story.threads().max(least);
    let start = Instant::now();
    let copies = Copies(native::memory(&recording.name)?);
    let seen = Seen::of(recording)?;
    let reference = alone(recording, &Cut::none(&recording.log), &seen, &copies.0.join("reference.img"))
        .context("without a cut")?;
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let counts = Mutex::new(BTreeMap::<u8, usize>::new());
    let work = |number: usize| -> Result<()> {
        let mut worker = Worker::begin(recording, &seen, &copies.0.join(format!("{number}.img")))?;
        for patience in [1, 2, 4, 8, 16].into_iter().chain(std::iter::repeat(PATIENCE)) {
            let some = &cuts[take(&next, patience, cuts.len(), threads)];
            if some.is_empty() || stop.load(Ordering::Relaxed) {
                break;
            }
            if let Err(error) = rightly(&mut worker, recording, some, &seen, &reference) {
                stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
            let mut counts = counts.lock().map_err(|_| anyhow!("another thread panicked"))?;
            some.iter().for_each(|(sort, _)| *counts.entry(*sort as u8).or_default() += 1);
            let done: usize = counts.values().sum();
            println!("crash: {}: {done} of {}, {} s", recording.name, cuts.len(), start.elapsed().as_secs());
        }
        Ok(())
    };
    let failures = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))).err())
            .collect::<Vec<_>>()
    });
    failures.iter().for_each(|failure| eprintln!("crash: {failure:#}\n"));
    if let Some(first) = failures.into_iter().next() {
        return Err(first);
    }
    let counts = counts.into_inner().map_err(|_| anyhow!("a thread panicked"))?;
    let of = |sort: Sort| counts.get(&(sort as u8)).copied().unwrap_or_default();
    Ok(Counts { prefixes: of(Sort::Prefix), subsets: of(Sort::Subset), torn: of(Sort::Torn), took: start.elapsed() })
}

/// The next of `all` cuts for one of the `threads`: no more than it has `patience` for, nor so many that the others would wait for it at the
/// end.
fn take(next: &AtomicUsize, patience: usize, all: usize, threads: usize) -> Range<usize> {
    let end = |from: usize| from + patience.min((all - from).div_ceil(threads));
    let (Ok(from) | Err(from)) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |from| Some(end(from)));
    from..end(from)
}

/// Tries some cuts one after the other, and all of them again if one of them did not begin with its card.
fn rightly(
    worker: &mut Worker,
    recording: &Recording,
    cuts: &[(Sort, Cut)],
    seen: &Seen,
    reference: &Ending,
) -> Result<()> {
    loop {
        let outcome = cuts.iter().try_for_each(|(_, cut)| {
            let ending = worker.run(recording, cut, seen).and_then(|ending| ending.is_that_of(reference));
            ending.with_context(|| told(recording, cut))
        });
        if worker.was_right(seen)? {
            return outcome;
        }
        seen.forget();
    }
}

/// Tries one cut, in a thread of its own.
fn alone(recording: &Recording, cut: &Cut, seen: &Seen, file: &Path) -> Result<Ending> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut worker = Worker::begin(recording, seen, file)?;
            let ending = worker.run(recording, cut, seen);
            // It began with a new card, which is the right one; what its boots change is known to the others then.
            worker.was_right(seen)?;
            std::fs::remove_file(file)?;
            ending
        });
        thread.join().unwrap_or_else(|_| Err(anyhow!("the thread panicked")))
    })
}

/// Which cut it was, and how to try it again.
pub fn told(recording: &Recording, cut: &Cut) -> String {
    let (name, dir) = (&recording.name, recording.dir.display());
    format!(
        "{name}, where of {} writes these had arrived: {cut}. To repeat: \
         BURNONCE_CUT={cut} cargo run -p burnonce-crash -- {dir}",
        recording.log.writes.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cut_is_taken_once() {
        for (threads, expected) in
            [(1, vec![0..8, 8..16, 16..20, 20..20]), (4, vec![0..5, 5..9, 9..12, 12..14, 14..16])]
        {
            let next = AtomicUsize::new(0);
            let taken: Vec<_> = expected.iter().map(|_| take(&next, 8, 20, threads)).collect();
            assert_eq!(taken, expected);
        }
        let next = AtomicUsize::new(0);
        let taken: Vec<_> = (0..20).flat_map(|_| take(&next, 8, 20, 4)).collect();
        assert_eq!(taken, (0..20).collect::<Vec<_>>());
    }
}
