//! Programs that do the same work, one after the other, again and again.

use anyhow::{Context, Result};

use crate::figures::{Run, Sample};
use crate::measured::How;

/// Does the work once, and says what it took.
type Work<'a> = dyn Fn(How) -> Result<Sample> + 'a;

/// One who does the work.
pub struct Contender<'a> {
    pub who: String,
    work: Box<Work<'a>>,
}

impl<'a> Contender<'a> {
    pub fn new(who: &str, work: impl Fn(How) -> Result<Sample> + 'a) -> Self {
        Self { who: who.to_owned(), work: Box::new(work) }
    }

    fn once(&self, how: How) -> Result<Sample> {
        (self.work)(how).with_context(|| self.who.clone())
    }
}

/// Lets each of them do it so many times: in each round every one once, so that what else the machine does meets all of them. What is
/// measured in runs of their own (`asides`) is measured once, and is in the first sample alone.
///
/// # Errors
/// One of them failed.
pub fn hold(contenders: &[Contender], rounds: usize, asides: &[How]) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = contenders.iter().map(|c| Run { who: c.who.clone(), samples: Vec::new() }).collect();
    for round in 0..rounds {
        for number in order(round, contenders.len()) {
            runs[number].samples.push(contenders[number].once(How::Plain)?);
        }
    }
    for (contender, run) in contenders.iter().zip(&mut runs) {
        for &how in asides {
            let aside = contender.once(how)?;
            run.samples.first_mut().into_iter().for_each(|sample| sample.extend(&aside));
        }
    }
    Ok(runs)
}

/// Who comes when: each round begins with another one, so that none always follows the same.
fn order(round: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.rotate_left(round % count.max(1));
    if (round / count.max(1)) % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::figures::Measure;

    #[test]
    fn each_round_has_everyone_once_and_begins_with_another() {
        let rounds: Vec<Vec<usize>> = (0..6).map(|round| order(round, 3)).collect();
        assert_eq!(rounds[..3], [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
        assert_eq!(rounds[3..], [[2, 1, 0], [0, 2, 1], [1, 0, 2]]);
        assert!(order(4, 0).is_empty());
    }

    #[test]
    fn samples_stay_with_whom_they_are_of() {
        let done = RefCell::new(Vec::new());
        let contender = |who: &'static str, takes: u64| {
            let done = &done;
            Contender::new(who, move |how| {
                done.borrow_mut().push((who, how));
                let measure = if how == How::Plain { Measure::Wall } else { Measure::Syscalls };
                Ok(Sample::from([(measure, takes)]))
            })
        };
        let runs = hold(&[contender("a", 1), contender("b", 2)], 2, &[How::Traced]).unwrap();
        let plain = |n| Sample::from([(Measure::Wall, n)]);
        let first = |n| Sample::from([(Measure::Wall, n), (Measure::Syscalls, n)]);
        assert_eq!(runs[0], Run { who: "a".to_owned(), samples: vec![first(1), plain(1)] });
        assert_eq!(runs[1], Run { who: "b".to_owned(), samples: vec![first(2), plain(2)] });
        let order: Vec<&str> = done.borrow().iter().map(|(who, _)| *who).collect();
        assert_eq!(order, ["a", "b", "b", "a", "a", "b"]);
    }

    #[test]
    fn who_failed_is_said() {
        let failing = Contender::new("growpart", |_| anyhow::bail!("no room"));
        assert_eq!(format!("{:#}", hold(&[failing], 1, &[]).unwrap_err()), "growpart: no room");
    }
}
