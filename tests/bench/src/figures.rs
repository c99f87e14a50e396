//! What was measured, as plain data: measuring writes it, the page is drawn from it, and a file of JSON is between them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one whole run of the bench has to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub machine: Machine,
    pub works: Vec<Work>,
}

/// Where and when it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The processor, as /proc/cpuinfo calls it.
    pub processor: String,
    pub cores: usize,
    /// Bytes.
    pub memory: u64,
    pub kernel: String,
    /// The distribution, as os-release calls it.
    pub system: String,
    /// The day, as `2026-11-26`.
    pub date: String,
    /// Of which commit.
    pub commit: String,
    /// How often each case was run by each program.
    pub rounds: usize,
    /// The load (one minute's average) before the first round.
    pub load: f64,
    /// Program and version, burnonce's first.
    pub versions: Vec<(String, String)>,
}

/// One kind of work, done by burnonce and by its peers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// A word: `convert`. Plots are named by it.
    pub name: String,
    /// The heading on the page.
    pub title: String,
    /// What is done, by whom and how, in Markdown.
    pub about: String,
    pub cases: Vec<Case>,
    /// What was to be reached.
    pub targets: Vec<Target>,
    /// What a reader has to know beside the figures, a sentence each, in Markdown.
    pub notes: Vec<String>,
}

/// The same work at one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// As it is printed: `64 GiB`.
    pub label: String,
    /// Where it is on the axis of a plot; what unit it has the labels say.
    pub size: f64,
    /// Burnonce's is the first.
    pub runs: Vec<Run>,
}

/// One program at one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// As it is printed: `burnonce`, `systemd-repart`, `what guides say`.
    pub who: String,
    /// A sample for each round, in their order. What could not be measured is left out of each of them.
    pub samples: Vec<Sample>,
}

/// What one run took.
pub type Sample = BTreeMap<Measure, u64>;

/// What is measured of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Nanoseconds by the clock on the wall.
    Wall,
    /// Nanoseconds of processor time of the program and those it started, in user and system mode.
    Processor,
    /// Bytes written to the block device, by its own counter.
    Written,
    /// Bytes read from the block device, by its own counter.
    Read,
    /// Requests to flush its cache that the block device completed, by its own counter.
    Flushes,
    /// Bytes that were discarded, by the block device's own counter.
    Discarded,
    /// System calls, counted by strace in a run of its own.
    Syscalls,
    /// Bytes of memory: the peak of the resident set.
    Peak,
    /// Bytes of a file.
    Size,
}

/// What was to be reached, and what was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// `bytes written at 64 GiB, beside what guides say`.
    pub what: String,
    /// `at most 1/50`.
    pub wanted: String,
    /// `1/31`.
    pub reached: String,
    pub met: bool,
}
