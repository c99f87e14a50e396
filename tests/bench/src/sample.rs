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

/// A case, burnonce's run first.
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

/// A target that was reached or was not.
pub fn target(what: &str, wanted: &str, reached: &str, met: bool) -> Target {
    Target { what: what.to_owned(), wanted: wanted.to_owned(), reached: reached.to_owned(), met }
}

/// A report of a machine that has a `|` in its name.
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

/// A work of several sizes with a peer that writes much more.
pub fn convert() -> Work {
    let sizes = [8_u64, 64, 256, 1024];
    let cases = sizes.map(|size| {
        let time = |base: u64, each: u64| (base + each * size) * 1_000_000;
        let around = |middle: u64| [middle * 11 / 10, middle * 9 / 10, middle];
        let (own, sfdisk, guides, repart) = (time(410, 1), time(300, 12), time(2_000, 260), time(290, 1));
        let written = [(4 << 20) + (size << 15), size * (17 << 20), size * (17 << 20) + (90 << 20), 5 << 20];
        case(
            &format!("{size} GiB"),
            size as f64,
            vec![
                run("burnonce", &[(Measure::Wall, &around(own)), (Measure::Written, &[written[0]; 3])]),
                run("sfdisk and mkfs.ext4", &[(Measure::Wall, &around(sfdisk)), (Measure::Written, &[written[1]; 3])]),
                run("what guides say", &[(Measure::Wall, &around(guides)), (Measure::Written, &[written[2]; 3])]),
                run("systemd-repart", &[(Measure::Wall, &around(repart)), (Measure::Written, &[written[3]; 3])]),
            ],
        )
    });
    Work {
        title: "Converting a card".to_owned(),
        targets: vec![
            target("bytes written at 64 GiB, beside what guides say", "at most 1/50", "1/192", true),
            target("wall-clock time at 64 GiB, beside systemd-repart", "at most 1×", "1.34×", false),
        ],
        notes: vec!["A loop device is no card: it has no erase blocks.".to_owned()],
        ..work("convert", cases.into())
    }
}

/// A work of several sizes in which burnonce's time does not grow.
pub fn reset() -> Work {
    let cases = [("10 files", 10_u64), ("10 k files", 10_000), ("500 k files", 500_000)].map(|(label, files)| {
        let time = |base: u64, each: u64| base * 1_000_000 + files * each;
        let around = |middle: u64| [middle, middle * 8 / 10, middle * 13 / 10];
        case(
            label,
            files as f64,
            vec![
                run("burnonce", &[(Measure::Wall, &around(time(31, 0))), (Measure::Written, &[90_112; 3])]),
                run(
                    "rm -rf",
                    &[(Measure::Wall, &around(time(2, 21_000))), (Measure::Written, &[20_480 + files * 300; 3])],
                ),
                run("mkfs.ext4", &[(Measure::Wall, &around(time(320, 0))), (Measure::Written, &[69 << 20; 3])]),
                run(
                    "burning the image again",
                    &[(Measure::Wall, &around(time(61_000, 0))), (Measure::Written, &[3 << 30; 3])],
                ),
            ],
        )
    });
    Work { title: "A reset".to_owned(), ..work("reset", cases.into()) }
}

/// A work of one case, in which burnonce writes nothing.
pub fn steady() -> Work {
    let runs = vec![
        run(
            "burnonce",
            &[
                (Measure::Wall, &[3_100_000, 2_900_000, 4_000_000]),
                (Measure::Written, &[0; 3]),
                (Measure::Syscalls, &[412]),
            ],
        ),
        run("systemd-growfs", &[(Measure::Wall, &[8_000_000; 3]), (Measure::Written, &[4096, 4096, 8192])]),
        run(
            "cloud-init's growpart",
            &[(Measure::Wall, &[240_000_000, 251_000_000, 260_000_000]), (Measure::Syscalls, &[31_877])],
        ),
    ];
    Work { title: "A boot with nothing to do".to_owned(), ..work("steady", vec![case("a card of 8 GiB", 8.0, runs)]) }
}
