//! What a work says of its programs: medians, the least and the greatest, and ratios. Pure.

use std::collections::BTreeSet;

use crate::figures::{Case, Measure, Sample, Work};

/// The samples of one run, of one measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Of an even number of samples, the mean of the two in the middle: it may have half a unit.
    pub median: f64,
    /// The least sample.
    pub min: u64,
    /// The greatest one.
    pub max: u64,
    /// How many samples have the measure.
    pub samples: usize,
}

/// What the samples say of a measure; `None` where none of them has it.
pub fn summarize(samples: &[Sample], measure: Measure) -> Option<Summary> {
    let mut values: Vec<u64> = samples.iter().filter_map(|sample| sample.get(&measure).copied()).collect();
    values.sort_unstable();
    let (min, max) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    // A float has 53 bits: the error is below one in 10^15, and three digits are printed.
    let median = match values.len() % 2 {
        0 => (values[middle - 1] as f64 + values[middle] as f64) / 2.0,
        _ => values[middle] as f64,
    };
    Some(Summary { median, min, max, samples: values.len() })
}

/// How many times the first is of the second, by their medians; `None` where the second is nothing.
pub fn ratio(peer: &Summary, own: &Summary) -> Option<f64> {
    (own.median > 0.0).then(|| peer.median / own.median)
}

/// What a program, by its name, took in a case; `None` where it did not run there, or where this was not measured.
pub fn result(case: &Case, who: &str, measure: Measure) -> Option<Summary> {
    summarize(&case.runs.iter().find(|run| run.who == who)?.samples, measure)
}

/// How many times a peer took what burnonce did; `None` for burnonce itself, and where there is no such ratio.
pub fn beside_burnonce(case: &Case, who: &str, measure: Measure) -> Option<f64> {
    let own = &case.runs.first()?.who;
    if own == who {
        return None;
    }
    ratio(&result(case, who, measure)?, &result(case, own, measure)?)
}

/// The programs that did the work, in the order in which the cases name them.
pub fn programs(work: &Work) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for run in work.cases.iter().flat_map(|case| &case.runs) {
        if !names.contains(&run.who.as_str()) {
            names.push(&run.who);
        }
    }
    names
}

/// What was measured of at least one run of the work.
pub fn measures(work: &Work) -> BTreeSet<Measure> {
    let runs = work.cases.iter().flat_map(|case| &case.runs);
    runs.flat_map(|run| &run.samples).flat_map(|sample| sample.keys().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{case, run, work};
    use Measure::{Processor, Wall, Written};

    fn samples(values: &[u64]) -> Vec<Sample> {
        values.iter().map(|value| Sample::from([(Wall, *value)])).collect()
    }

    #[test]
    fn the_median_is_the_one_in_the_middle_or_between_the_two_that_are() {
        for (values, median, min, max) in [
            (&[7][..], 7.0, 7, 7),
            (&[3, 1, 2], 2.0, 1, 3),
            (&[4, 1, 2, 30], 3.0, 1, 30),
            (&[0, 1], 0.5, 0, 1),
            (&[5, 5, 5], 5.0, 5, 5),
            (&[9, 0, 0, 0, 9], 0.0, 0, 9),
            (&[u64::MAX, u64::MAX], u64::MAX as f64, u64::MAX, u64::MAX),
        ] {
            let expected = Summary { median, min, max, samples: values.len() };
            assert_eq!(summarize(&samples(values), Wall), Some(expected), "{values:?}");
        }
    }

    #[test]
    fn what_was_not_measured_has_no_summary() {
        assert_eq!(summarize(&[], Wall), None);
        assert_eq!(summarize(&samples(&[1, 2]), Written), None);
    }

    #[test]
    fn a_round_that_lacks_the_measure_is_left_out() {
        let rounds = [Sample::from([(Wall, 4)]), Sample::from([(Processor, 9)]), Sample::from([(Wall, 2)])];
        assert_eq!(summarize(&rounds, Wall), Some(Summary { median: 3.0, min: 2, max: 4, samples: 2 }));
    }

    #[test]
    fn ratios_are_to_burnonce_and_need_something_to_compare_with() {
        let table = case(
            "8 GiB",
            8.0,
            vec![
                run("burnonce", &[(Wall, &[10, 20, 30]), (Written, &[0])]),
                run("peer", &[(Wall, &[50]), (Written, &[7]), (Processor, &[1])]),
                run("idle", &[(Wall, &[0])]),
            ],
        );
        for (who, measure, expected) in [
            ("peer", Wall, Some(2.5)),
            ("idle", Wall, Some(0.0)),
            ("burnonce", Wall, None),
            ("peer", Written, None),
            ("peer", Processor, None),
            ("idle", Written, None),
            ("nobody", Wall, None),
        ] {
            assert_eq!(beside_burnonce(&table, who, measure), expected, "{who} {measure:?}");
        }
        assert_eq!(beside_burnonce(&case("empty", 1.0, vec![]), "peer", Wall), None);
    }

    #[test]
    fn programs_and_measures_are_those_of_all_cases() {
        let convert = work(
            "convert",
            vec![
                case("8 GiB", 8.0, vec![run("burnonce", &[(Written, &[1])]), run("b", &[(Wall, &[1])])]),
                case("9 GiB", 9.0, vec![run("burnonce", &[]), run("a", &[(Wall, &[1])]), run("b", &[])]),
            ],
        );
        assert_eq!(programs(&convert), ["burnonce", "b", "a"]);
        assert_eq!(measures(&convert).into_iter().collect::<Vec<_>>(), [Wall, Written]);
    }
}
