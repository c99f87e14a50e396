//! Work of which no part waits for another one, two parts at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow};

/// Parts at a time. Each may mount, boot or emulate something: two keep two processors busy.
const THREADS: usize = 2;

/// A part of the work.
pub type Part<'a, T> = Box<dyn FnOnce() -> Result<T> + Send + 'a>;

/// Does all `parts`, begun in their order. Returns what came of each, in the same order.
///
/// # Errors
/// That of the first part in this order which failed; the others are printed. Behind a failure no part is begun.
pub fn run<T: Send>(parts: Vec<Part<T>>) -> Result<Vec<T>> {
    let pending = Mutex::new(parts.into_iter().enumerate());
    let stop = AtomicBool::new(false);
    let work = || {
        let mut done = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            // Taking a part cannot panic, and while one is done nothing is locked.
            let next = pending.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((number, part)) = next else { break };
            let outcome = part();
            stop.fetch_or(outcome.is_err(), Ordering::Relaxed);
            done.push((number, outcome));
        }
        done
    };
    let threads: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join()).collect()
    });
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.map_err(|_| anyhow!("a thread panicked"))?);
    }
    all.sort_by_key(|(number, _)| *number);
    let (mut whole, mut failures) = (Vec::new(), Vec::new());
    for (_, outcome) in all {
        match outcome {
            Ok(value) => whole.push(value),
            Err(error) => failures.push(error),
        }
    }
    let mut failures = failures.into_iter();
    let Some(first) = failures.next() else { return Ok(whole) };
    failures.for_each(|failure| eprintln!("crash: {failure:#}\n"));
    Err(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::ensure;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn two_at_a_time_and_in_order() {
        // Each part waits for another one: one after the other, they would not end.
        let barrier = Barrier::new(2);
        let parts = (0..6).map(|number| -> Part<usize> {
            let barrier = &barrier;
            Box::new(move || {
                barrier.wait();
                Ok(number)
            })
        });
        assert_eq!(run(parts.collect()).unwrap(), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_failure_is_told_and_nothing_more_is_begun() {
        let begun = AtomicUsize::new(0);
        let parts = (0..100).map(|number| -> Part<()> {
            let begun = &begun;
            Box::new(move || {
                begun.fetch_add(1, Ordering::Relaxed);
                ensure!(number < 3, "part {number}");
                Ok(())
            })
        });
        let error = run(parts.collect()).unwrap_err().to_string();
        assert!(error == "part 3" || error == "part 4", "{error}");
        assert!(begun.into_inner() <= 5);
        let panics: Part<u32> = Box::new(|| "a part".parse().map(Ok).unwrap());
        assert_eq!(run(vec![panics]).unwrap_err().to_string(), "a thread panicked");
    }
}
