//! A reset and an undo that are cut off: after any step the upper directory in use is an old one or a new one, whole, and the next run
//! comes to the end that it would have come to at once.

use crate::card::memory;
use burnonce::guard::swap::{self, Swap};
use burnonce::state::{Generation, Kind, Request, State, Trigger};
use burnonce::upper::{self, Upper};
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

const KERNEL: &str = "6.1-test";

/// The generation before.
const OLD: u32 = 4;

/// A request, and the end that it leads to.
struct Case {
    kind: Kind,
    /// Whether a spare pair of directories waits.
    spare: bool,
    /// The number of the generation that it leads to, and what is in that.
    generation: u32,
    content: &'static [&'static str],
}

/// An upper with a request in it, and its lower, in memory.
struct Bench {
    directory: tempfile::TempDir,
    upper: Upper,
}

impl Bench {
    fn new(case: &Case) -> Bench {
        let directory = memory();
        let upper = Upper::at(directory.path().join("upper"));
        upper::DIRECTORIES.iter().for_each(|d| fs::create_dir_all(upper.root().join(d)).unwrap());
        fs::create_dir_all(directory.path().join("lower/lib/modules").join(KERNEL)).unwrap();
        fs::write(upper.overlay().join("present"), "").unwrap();
        fs::create_dir(upper.workdir().join("_/work")).unwrap();
        if !case.spare {
            fs::remove_dir_all(upper.own("spare")).unwrap();
        }
        let mut state = State::new("u", 1);
        (state.generation, state.began) = (OLD, 40);
        Upper::set_number(&upper.overlay(), OLD).unwrap();
        for number in [1, 3] {
            let aside = upper.generation(number);
            fs::create_dir_all(aside.join("overlay")).unwrap();
            fs::create_dir_all(aside.join("overlay-workdir/_/work")).unwrap();
            fs::write(aside.join("overlay").join(format!("aside-{number}")), "").unwrap();
            if number != 1 {
                Upper::set_number(&aside.join("overlay"), number).unwrap();
            }
            let (began, ended) = (u64::from(number) * 10, u64::from(number) * 10 + 5);
            state.set_aside.push(Generation { number, began, ended, kind: Kind::Reset, by: Trigger::File, size: None });
        }
        state.request =
            Some(Request { id: "r".to_owned(), kind: case.kind, by: Trigger::Command, at: 45, keep: Vec::new() });
        upper.write_state(&state).unwrap();
        Bench { directory, upper }
    }

    /// A boot whose power goes before its step number `limit`, from 0. How many steps it did; `None`: it was cut off.
    fn boot(&self, limit: usize) -> Option<usize> {
        let state = self.upper.state().unwrap();
        if !swap::is_due(&self.upper, &state).unwrap() {
            return Some(0);
        }
        let lower = self.directory.path().join("lower");
        let mut steps = 0;
        let mut pace = || {
            if steps == limit {
                resume_unwind(Box::new("the power is off"));
            }
            steps += 1;
        };
        let swap = Swap { upper: &self.upper, lower: &lower, kernel: KERNEL };
        let ended = catch_unwind(AssertUnwindSafe(|| swap.run(state, &mut pace)));
        ended.ok().map(|ending| ending.unwrap()).map(|_| steps)
    }

    /// Makes sure that the generation in use is whole.
    fn assert_whole(&self, case: &Case, context: &str) {
        let number = Upper::number(&self.upper.overlay()).unwrap();
        let content = if number == OLD { &["present"] } else { case.content };
        assert!([OLD, case.generation].contains(&number), "{context}: generation {number}");
        assert_eq!(names(&self.upper.overlay()), content, "{context}: generation {number}");
        assert!(self.upper.workdir().join("_").is_dir(), "{context}");
    }

    /// All that is on it, but for what old work directories hold.
    fn tree(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        collect(self.upper.root(), self.upper.root(), &mut found);
        found
    }
}

fn collect(root: &Path, directory: &Path, found: &mut BTreeMap<String, String>) {
    for name in names(directory) {
        let path = directory.join(&name);
        let shown = path.strip_prefix(root).unwrap().display().to_string();
        let content = match path.is_dir() {
            true if name == "overlay" => format!("generation {}", Upper::number(&path).unwrap()),
            true => String::new(),
            false => fs::read_to_string(&path).unwrap(),
        };
        if path.is_dir() && !(shown.starts_with("burnonce/generations") && name == "_") {
            collect(root, &path, found);
        }
        found.insert(shown, content);
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every pair of cuts: one in the first boot, one in the next, and then a boot that comes to its end.
fn ends_as_if_it_had_not_been_cut_off(case: &Case) {
    assert!(nix::unistd::geteuid().is_root(), "trusted extended attributes need root: run it with sudo");
    let whole = Bench::new(case);
    let steps = whole.boot(usize::MAX).unwrap();
    whole.assert_whole(case, "not cut off");
    let (expected, state) = (whole.tree(), whole.upper.state().unwrap());
    assert_eq!((state.generation, state.request), (case.generation, None));
    assert!(steps > 9, "{steps} steps");
    for first in 0..steps {
        let mut second = 0;
        loop {
            let bench = Bench::new(case);
            let context = format!("{}, cut before step {first} of {steps}, then before step {second}", case.kind);
            assert_eq!(bench.boot(first), None, "{context}");
            bench.assert_whole(case, &context);
            let again = bench.boot(second);
            bench.assert_whole(case, &context);
            bench.boot(usize::MAX).unwrap();
            assert_eq!(bench.tree(), expected, "{context}");
            if again.is_some() {
                break;
            }
            second += 1;
        }
    }
}

#[test]
fn a_reset_that_is_cut_off_anywhere_is_finished() {
    for spare in [true, false] {
        ends_as_if_it_had_not_been_cut_off(&Case { kind: Kind::Reset, spare, generation: 5, content: &[] });
    }
}

#[test]
fn an_undo_that_is_cut_off_anywhere_is_finished() {
    ends_as_if_it_had_not_been_cut_off(&Case { kind: Kind::Undo, spare: true, generation: 3, content: &["aside-3"] });
}

/// A boot without a guard lies between, and in it somebody asked for something else.
#[test]
fn another_request_does_not_mix_up_what_is_unfinished() {
    let case = Case { kind: Kind::Reset, spare: true, generation: 5, content: &[] };
    let last = Bench::new(&case).boot(usize::MAX).unwrap() - 1;
    let bench = Bench::new(&case);
    assert_eq!(bench.boot(last), None, "cut before the books");
    let mut state = bench.upper.state().unwrap();
    state.request = Some(Request { kind: Kind::Undo, id: "u".to_owned(), ..state.request.unwrap() });
    bench.upper.write_state(&state).unwrap();
    bench.boot(usize::MAX).unwrap();
    let state = bench.upper.state().unwrap();
    assert_eq!((state.generation, names(&bench.upper.overlay())), (OLD, vec!["present".to_owned()]));
    assert_eq!(state.set_aside.iter().map(|g| g.number).collect::<Vec<_>>(), [1, 3, 5]);
    assert_eq!(state.last.unwrap().request.id, "u");
}

/// An upper directory that somebody put there from a backup has no number, or another one.
#[test]
fn a_directory_from_elsewhere_is_not_taken_for_a_reset() {
    let case = Case { kind: Kind::Reset, spare: true, generation: 5, content: &[] };
    let bench = Bench::new(&case);
    let mut state = bench.upper.state().unwrap();
    state.request = None;
    bench.upper.write_state(&state).unwrap();
    Upper::set_number(&bench.upper.overlay(), 9).unwrap();
    bench.boot(usize::MAX).unwrap();
    assert_eq!(Upper::number(&bench.upper.overlay()).unwrap(), OLD);
    assert_eq!(bench.upper.state().unwrap(), state);
}
