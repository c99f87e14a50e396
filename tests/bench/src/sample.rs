//! Reports for the tests.

use crate::figures::{Case, Machine, Measure, Report, Run, Sample, Target, Work};

/// A run; of each measure a value for each round, as many as there are.
pub fn run(who: &str, measures: &[(Measure, &[u64])]) -> Run {
    let rounds = measures.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let mut samples = vec![Sample::new(); rounds];
    for (measure, values) in measures {
        for (sample, value) in samples.iter_mut().zip(*values) {
            sample.insert(*measure, *value);
        }
    }
    Run { who: who.to_owned(), samples }
}

pub fn case(label: &str, size: f64, runs: Vec<Run>) -> Case {
    Case { label: label.to_owned(), size, runs }
}

/// A work without targets and notes.
pub fn work(name: &str, cases: Vec<Case>) -> Work {
    Work {
        name: name.to_owned(),
        title: format!("The work {name}"),
        about: format!("What `{name}` does."),
        cases,
        targets: Vec::new(),
        notes: Vec::new(),
    }
}

pub fn target(what: &str, wanted: &str, reached: &str, met: bool) -> Target {
    Target { what: what.to_owned(), wanted: wanted.to_owned(), reached: reached.to_owned(), met }
}

pub fn report(works: Vec<Work>) -> Report {
    let machine = Machine {
        processor: "A processor | of 2.4 GHz".to_owned(),
        cores: 2,
        memory: 8 << 30,
        kernel: "6.12.0".to_owned(),
        system: "Debian GNU/Linux 13 (trixie)".to_owned(),
        date: "2026-11-26".to_owned(),
        commit: "0123abc".to_owned(),
        rounds: 3,
        load: 0.07,
        versions: vec![("burnonce".to_owned(), "0.1.0".to_owned()), ("systemd-repart".to_owned(), "257.7".to_owned())],
    };
    Report { machine, works }
}
