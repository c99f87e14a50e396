//! Where an axis begins and ends, and the round values on it. Pure.

use crate::quantity::Unit;

/// Values that are round at one coarseness: each multiplier times each power of the base.
struct Round {
    base: f64,
    multipliers: &'static [f64],
}

/// More ticks than these on a logarithmic axis are a crowd.
const MOST: usize = 7;

/// More steps than these on a linear axis are one, too.
const MOST_STEPS: f64 = 5.0;

/// For a logarithmic axis, from the finest on.
fn coarseness(unit: Unit) -> &'static [Round] {
    match unit {
        Unit::Bytes => &[
            Round { base: 1024.0, multipliers: &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0] },
            Round { base: 1024.0, multipliers: &[1.0, 10.0, 100.0] },
            Round { base: 1024.0, multipliers: &[1.0] },
        ],
        Unit::Nanoseconds | Unit::Count => &[
            Round { base: 10.0, multipliers: &[1.0, 2.0, 5.0] },
            Round { base: 10.0, multipliers: &[1.0] },
            Round { base: 1e3, multipliers: &[1.0] },
            Round { base: 1e6, multipliers: &[1.0] },
        ],
    }
}

/// Steps of a linear axis: every multiple of one is round as well.
fn steps(unit: Unit) -> Round {
    match unit {
        Unit::Bytes => Round { base: 2.0, multipliers: &[1.0] },
        Unit::Nanoseconds | Unit::Count => Round { base: 10.0, multipliers: &[1.0, 2.0, 5.0] },
    }
}

impl Round {
    /// The round values from `low` to `high`, both above zero, in their order.
    fn between(&self, low: f64, high: f64) -> Vec<f64> {
        let power = |value: f64| value.log(self.base).floor() as i32;
        let all = (power(low) - 1..=power(high) + 1).flat_map(|power| {
            // A negative power would make 0.1 three times to something else than 0.3.
            let one = self.base.powi(power.abs());
            self.multipliers.iter().map(move |times| if power < 0 { times / one } else { times * one })
        });
        all.filter(|value| (low..=high).contains(value)).collect()
    }
}

/// The ends of a logarithmic axis that has both values, which are above zero: the next round values, never twice the same.
pub fn log_ends(unit: Unit, least: f64, greatest: f64) -> (f64, f64) {
    // A bit more than the widest gap between two round values, which is from 1 to 2.5, or from 500 to 1024.
    let round = coarseness(unit)[0].between(least / 4.0, greatest * 4.0);
    let low = round.iter().rev().find(|value| **value <= least).copied().unwrap_or(least);
    let high = round.iter().find(|value| **value >= greatest).copied().unwrap_or(greatest);
    if low < high {
        return (low, high);
    }
    let before = round.iter().rev().find(|value| **value < low).copied().unwrap_or(low / 2.0);
    let behind = round.iter().find(|value| **value > high).copied().unwrap_or(high * 2.0);
    (before, behind)
}

/// Round values on a logarithmic axis between its ends, as many as do not crowd.
pub fn log_ticks(unit: Unit, low: f64, high: f64) -> Vec<f64> {
    let mut ticks = Vec::new();
    for round in coarseness(unit) {
        ticks = round.between(low, high);
        if ticks.len() <= MOST {
            break;
        }
    }
    ticks
}

/// Round values of a linear axis from 0 on, the last of which is its end: at least as much as the greatest value.
pub fn linear_ticks(unit: Unit, greatest: f64) -> Vec<f64> {
    if greatest <= 0.0 {
        return vec![0.0, 1.0];
    }
    let step = steps(unit).between(greatest / MOST_STEPS, greatest).first().copied().unwrap_or(greatest);
    let count = (greatest / step).ceil() as u32;
    (0..=count).map(|index| f64::from(index) * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Unit::{Bytes, Count, Nanoseconds};

    const KIB: f64 = 1024.0;
    const MIB: f64 = 1024.0 * KIB;

    #[test]
    fn a_logarithmic_axis_ends_at_round_values() {
        for (unit, least, greatest, ends) in [
            (Nanoseconds, 3.0, 70.0, (2.0, 100.0)),
            (Nanoseconds, 1e9, 5e9, (1e9, 5e9)),
            // One value alone still has an axis.
            (Nanoseconds, 1e9, 1e9, (5e8, 2e9)),
            (Nanoseconds, 3e9, 3e9, (2e9, 5e9)),
            (Bytes, 600.0, 600.0, (500.0, KIB)),
            (Bytes, 1.0, 1.0, (500.0 / KIB, 2.0)),
            (Bytes, 3.0 * KIB, 700.0 * MIB, (2.0 * KIB, KIB * MIB)),
            (Count, 0.5, 9.0, (0.5, 10.0)),
            (Count, 1.0, 1.8e19, (1.0, 2e19)),
        ] {
            assert_eq!(log_ends(unit, least, greatest), ends, "{least} to {greatest}");
        }
    }

    #[test]
    fn ticks_of_a_logarithmic_axis_are_1_2_5_or_powers() {
        for (unit, low, high, ticks) in [
            (Count, 1.0, 100.0, &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0][..]),
            (Count, 1.0, 200.0, &[1.0, 10.0, 100.0]),
            (Nanoseconds, 5e8, 2e9, &[5e8, 1e9, 2e9]),
            (Nanoseconds, 2e6, 5e11, &[1e7, 1e8, 1e9, 1e10, 1e11]),
            (Nanoseconds, 1.0, 1e12, &[1.0, 1e3, 1e6, 1e9, 1e12]),
            (Nanoseconds, 1.0, 1e20, &[1.0, 1e3, 1e6, 1e9, 1e12, 1e15, 1e18]),
            (Bytes, 200.0 * KIB, 5.0 * MIB, &[200.0 * KIB, 500.0 * KIB, MIB, 2.0 * MIB, 5.0 * MIB]),
            (Bytes, 2.0 * MIB, 500.0 * MIB, &[10.0 * MIB, 100.0 * MIB]),
            (Bytes, 1.0, KIB * MIB, &[1.0, KIB, MIB, KIB * MIB]),
        ] {
            assert_eq!(log_ticks(unit, low, high), ticks, "{low} to {high}");
        }
    }

    #[test]
    fn every_logarithmic_axis_has_ticks_that_do_not_crowd() {
        for unit in [Nanoseconds, Bytes, Count] {
            for (from, to) in (0..64).flat_map(|from| (from..64).map(move |to| (from, to))) {
                let (least, greatest) = ((1_u64 << from) as f64 * 0.7, (1_u64 << to) as f64);
                let (low, high) = log_ends(unit, least, greatest);
                assert!(low <= least && greatest <= high && low < high, "{least} to {greatest}: {low} to {high}");
                let ticks = log_ticks(unit, low, high);
                assert!((2..=MOST).contains(&ticks.len()), "{least} to {greatest}: {ticks:?}");
                assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]), "{ticks:?}");
            }
        }
    }

    #[test]
    fn ticks_of_a_linear_axis_are_multiples_of_a_round_step() {
        for (unit, greatest, ticks) in [
            (Count, 0.0, &[0.0, 1.0][..]),
            (Count, 1.0, &[0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]),
            (Count, 41.0, &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]),
            (Nanoseconds, 1.2e9, &[0.0, 5e8, 1e9, 1.5e9]),
            (Bytes, 1.2 * MIB, &[0.0, 256.0 * KIB, 512.0 * KIB, 768.0 * KIB, MIB, 1.25 * MIB]),
            (Bytes, 5.0, &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        ] {
            assert_eq!(linear_ticks(unit, greatest), ticks, "{greatest}");
        }
    }
}
