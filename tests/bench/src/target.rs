//! What was to be reached. Pure.

use std::time::Duration;

use crate::figures::{Case, Measure, Target};
use crate::statistics::result;

/// burnonce, as every work has it.
const BURNONCE: &str = "burnonce";

/// That burnonce writes at most the `part`th of what `peer` does.
pub fn part(case: &Case, peer: &str, part: f64) -> Option<Target> {
    let own = result(case, BURNONCE, Measure::Written)?.median;
    let other = result(case, peer, Measure::Written)?.median;
    Some(Target {
        what: format!("bytes written at {}, beside {peer}", case.label),
        wanted: format!("at most 1/{part}"),
        reached: format!("1/{:.1}", other / own),
        met: own * part <= other,
    })
}

/// That burnonce takes no longer than `peer` and so much, in every case.
pub fn behind(cases: &[Case], peer: &str, most: Duration) -> Option<Target> {
    let behind = |case: &Case| {
        let [own, other] = [BURNONCE, peer].map(|who| result(case, who, Measure::Wall));
        Some((own?.median - other?.median, case.label.clone()))
    };
    let all: Vec<(f64, String)> = cases.iter().filter_map(behind).collect();
    let (worst, label) = all.into_iter().max_by(|one, other| one.0.total_cmp(&other.0))?;
    Some(Target {
        what: format!("time, beside {peer}, at every size"),
        wanted: format!("at most {} ms more", most.as_millis()),
        reached: format!("at most {} more, at {label}", Measure::Wall.unit().show(worst.max(0.0))),
        met: worst <= most.as_nanos() as f64,
    })
}

/// That it takes burnonce as long in the last case as in the first, within so many per cent of that.
pub fn flat(cases: &[Case], percent: f64) -> Option<Target> {
    let wall = |case: &Case| Some(result(case, BURNONCE, Measure::Wall)?.median);
    let (first, last) = (cases.first()?, cases.last()?);
    let apart = (wall(last)? - wall(first)?) / wall(first)? * 100.0;
    Some(Target {
        what: format!("time with {}, beside that with {}", last.label, first.label),
        wanted: format!("within {percent} %"),
        reached: format!("{apart:+.0} %"),
        met: apart.abs() <= percent,
    })
}

/// That a boot with nothing to do takes at most so long, and writes nothing.
pub fn steady(case: &Case, most: Duration) -> Vec<Target> {
    let wall = result(case, BURNONCE, Measure::Wall).map(|wall| Target {
        what: "time of a boot with nothing to do".to_owned(),
        wanted: format!("at most {} ms", most.as_millis()),
        reached: Measure::Wall.unit().show(wall.median),
        met: wall.median <= most.as_nanos() as f64,
    });
    let written = result(case, BURNONCE, Measure::Written).map(|written| Target {
        what: "bytes written by a boot with nothing to do".to_owned(),
        wanted: "none".to_owned(),
        reached: Measure::Written.unit().show(written.max as f64),
        met: written.max == 0,
    });
    wall.into_iter().chain(written).collect()
}

/// That the program has at most so many bytes.
pub fn size(case: &Case, most: u64) -> Option<Target> {
    let size = result(case, BURNONCE, Measure::Size)?.median;
    Some(Target {
        what: "the program's length".to_owned(),
        wanted: format!("at most {}", Measure::Size.unit().show(most as f64)),
        reached: Measure::Size.unit().show(size),
        met: size <= most as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{case, run};
    use Measure::{Size, Wall, Written};

    const MS: u64 = 1_000_000;

    #[test]
    fn a_part_is_of_the_peers_bytes() {
        let of = |own: u64| {
            let runs = vec![run("burnonce", &[(Written, &[own])]), run("peer", &[(Written, &[5000])])];
            part(&case("64 GiB", 64.0, runs), "peer", 50.0).unwrap()
        };
        let target = of(100);
        assert_eq!((target.reached.as_str(), target.met), ("1/50.0", true));
        assert_eq!(target.what, "bytes written at 64 GiB, beside peer");
        let target = of(160);
        assert_eq!((target.reached.as_str(), target.met), ("1/31.2", false));
        assert_eq!(part(&case("64 GiB", 64.0, vec![]), "peer", 50.0), None);
    }

    #[test]
    fn the_case_that_is_farthest_behind_counts() {
        let at = |label: &str, own: u64, peer: u64| {
            case(label, 1.0, vec![run("burnonce", &[(Wall, &[own * MS])]), run("peer", &[(Wall, &[peer * MS])])])
        };
        let of = |cases: &[Case]| behind(cases, "peer", Duration::from_millis(20)).unwrap();
        let target = of(&[at("8 GiB", 40, 20), at("64 GiB", 30, 50)]);
        assert_eq!((target.reached.as_str(), target.met), ("at most 20 ms more, at 8 GiB", true));
        let target = of(&[at("8 GiB", 40, 20), at("64 GiB", 71, 50)]);
        assert_eq!((target.reached.as_str(), target.met), ("at most 21 ms more, at 64 GiB", false));
        assert_eq!(behind(&[], "peer", Duration::ZERO), None);
    }

    #[test]
    fn flat_is_neither_slower_nor_faster_by_more() {
        let of = |last: u64| {
            let at = |label: &str, ms| case(label, 1.0, vec![run("burnonce", &[(Wall, &[ms * MS])])]);
            flat(&[at("10 files", 50), at("20 files", 1), at("30 files", last)], 20.0).unwrap()
        };
        assert_eq!((of(60).reached.as_str(), of(60).met), ("+20 %", true));
        assert!(!of(61).met && !of(39).met && of(40).met);
        assert_eq!(of(39).reached, "-22 %");
    }

    #[test]
    fn one_write_in_one_round_is_a_write() {
        let steady = |written: &[u64]| {
            let runs = vec![run("burnonce", &[(Wall, &[4 * MS, 5 * MS, 9 * MS]), (Written, written)])];
            super::steady(&case("8 GiB", 8.0, runs), Duration::from_millis(5))
        };
        let met = |written: &[u64]| steady(written).iter().map(|target| target.met).collect::<Vec<_>>();
        assert_eq!(met(&[0, 0, 0]), [true, true]);
        assert_eq!(met(&[0, 0, 4096]), [true, false]);
    }

    #[test]
    fn a_program_may_have_as_much_as_it_may() {
        let of =
            |size: u64| super::size(&case("program", 1.0, vec![run("burnonce", &[(Size, &[size])])]), 100).unwrap().met;
        assert!(of(100) && !of(101));
    }
}
