//! From values to places on the paper. Pure.

use super::ticks::{linear_ticks, log_ends, log_ticks};
use crate::quantity::Unit;

/// How much of a logarithmic axis, which has no place for zero, is between zero and the least value above it.
const ZERO_GAP: f64 = 0.17;

/// An axis: where its values are on the paper.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    log: bool,
    low: f64,
    high: f64,
    /// Where `low` and `high` are; of a vertical axis the first is the greater one.
    place: (f64, f64),
    /// Where zero is.
    edge: f64,
    /// Round values in their order.
    pub ticks: Vec<f64>,
}

impl Scale {
    /// A logarithmic axis with round ends for values of which at least one is above zero. Zeros have their place at the edge, `from`.
    pub fn log(unit: Unit, values: &[f64], place: (f64, f64)) -> Scale {
        let (least, greatest) = positive_ends(values);
        let (low, high) = log_ends(unit, least, greatest);
        let mut scale = Scale { ticks: log_ticks(unit, low, high), ..Scale::exact(values, place) };
        (scale.low, scale.high) = (low, high);
        if values.contains(&0.0) {
            scale.ticks.insert(0, 0.0);
        }
        scale
    }

    /// A logarithmic axis from the least value above zero to the greatest, and without ticks.
    pub fn exact(values: &[f64], place: (f64, f64)) -> Scale {
        let (low, high) = positive_ends(values);
        let (from, to) = place;
        let gap = if values.iter().any(|value| *value <= 0.0) { ZERO_GAP * (to - from) } else { 0.0 };
        Scale { log: true, low, high, place: (from + gap, to), edge: from, ticks: Vec::new() }
    }

    /// A linear axis from zero to a round value.
    pub fn linear(unit: Unit, values: &[f64], place: (f64, f64)) -> Scale {
        let ticks = linear_ticks(unit, values.iter().copied().fold(0.0, f64::max));
        let high = ticks.last().copied().unwrap_or(1.0);
        Scale { log: false, low: 0.0, high, place, edge: place.0, ticks }
    }

    /// Whether it is logarithmic.
    pub fn is_log(&self) -> bool {
        self.log
    }

    /// Where a value is. What is below zero is no measure, and is taken for zero.
    pub fn at(&self, value: f64) -> f64 {
        if value <= 0.0 {
            return self.edge;
        }
        let (from, to) = self.place;
        let part = match self.log {
            true if self.low == self.high => 0.5,
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => value / self.high,
        };
        from + part * (to - from)
    }
}

/// The least and the greatest of the values that are above zero; 1, where there is none.
fn positive_ends(values: &[f64]) -> (f64, f64) {
    let positive = || values.iter().copied().filter(|value| *value > 0.0);
    (positive().reduce(f64::min).unwrap_or(1.0), positive().reduce(f64::max).unwrap_or(1.0))
}

/// Places for labels that are at least `gap` apart and from `low` to `high`, each as near as that allows to where it should be.
pub fn spread(wanted: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    // Labels that touch form a block: how many they are, and the sum of where their first one should be.
    let mut blocks: Vec<(usize, f64)> = Vec::new();
    let first_of = |(count, sum): (usize, f64)| {
        let last = (count - 1) as f64 * gap;
        (sum / count as f64).min(high - last).max(low)
    };
    for index in &order {
        let mut block = (1, wanted[*index]);
        while let Some(&before) = blocks.last() {
            let behind = first_of(before) + before.0 as f64 * gap;
            if behind <= first_of(block) {
                break;
            }
            blocks.pop();
            block = (before.0 + block.0, before.1 + block.1 - (before.0 * block.0) as f64 * gap);
        }
        blocks.push(block);
    }
    let places = blocks.iter().flat_map(|block| (0..block.0).map(|index| first_of(*block) + index as f64 * gap));
    let mut spread = vec![0.0; wanted.len()];
    for (index, place) in order.into_iter().zip(places) {
        spread[index] = place;
    }
    spread
}

/// Which of the labels at an axis can be shown, from the first on, so that none touches another: each its place and its width.
pub fn legible(labels: &[(f64, f64)], gap: f64) -> Vec<bool> {
    let mut taken: Vec<(f64, f64)> = Vec::new();
    let mut shown = Vec::new();
    for (place, width) in labels {
        let (start, end) = (place - width / 2.0 - gap / 2.0, place + width / 2.0 + gap / 2.0);
        let free = taken.iter().all(|(from, to)| end <= *from || start >= *to);
        if free {
            taken.push((start, end));
        }
        shown.push(free);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-9
    }

    #[test]
    fn a_logarithmic_axis_has_equal_steps_for_equal_ratios() {
        let scale = Scale::log(Unit::Count, &[1.0, 100.0], (0.0, 200.0));
        for (value, place) in [(1.0, 0.0), (10.0, 100.0), (100.0, 200.0)] {
            assert!(near(scale.at(value), place), "{value}: {}", scale.at(value));
        }
        assert!(scale.is_log());
        assert_eq!(scale.ticks, [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }

    #[test]
    fn zero_has_its_place_at_the_edge_of_a_logarithmic_axis() {
        let scale = Scale::log(Unit::Count, &[0.0, 1.0, 10.0], (300.0, 0.0));
        assert_eq!(scale.ticks, [0.0, 1.0, 2.0, 5.0, 10.0]);
        for (value, place) in [(0.0, 300.0), (1.0, 249.0), (10.0, 0.0)] {
            assert!(near(scale.at(value), place), "{value}: {}", scale.at(value));
        }
    }

    #[test]
    fn one_value_is_in_the_middle() {
        assert!(near(Scale::exact(&[64.0, 64.0], (10.0, 20.0)).at(64.0), 15.0));
        assert!(near(Scale::exact(&[0.0], (10.0, 20.0)).at(0.0), 10.0));
        let alone = Scale::log(Unit::Count, &[1.0], (0.0, 100.0));
        assert!(alone.at(1.0) > 30.0 && alone.at(1.0) < 70.0, "{}", alone.at(1.0));
    }

    #[test]
    fn a_linear_axis_begins_at_zero() {
        let scale = Scale::linear(Unit::Count, &[0.0, 41.0], (100.0, 600.0));
        for (value, place) in [(0.0, 100.0), (25.0, 350.0), (50.0, 600.0)] {
            assert!(near(scale.at(value), place), "{value}: {}", scale.at(value));
        }
        assert!(!scale.is_log());
    }

    #[test]
    fn huge_and_tiny_values_stay_on_the_paper() {
        let values = [1e-3, u64::MAX as f64];
        for unit in [Unit::Nanoseconds, Unit::Bytes, Unit::Count] {
            let scale = Scale::log(unit, &values, (0.0, 100.0));
            for value in values {
                assert!((0.0..=100.0).contains(&scale.at(value)), "{value}: {}", scale.at(value));
            }
        }
    }

    #[test]
    fn labels_are_moved_apart_and_no_further() {
        for (wanted, expected) in [
            (&[][..], &[][..]),
            (&[10.0], &[10.0]),
            (&[10.0, 50.0], &[10.0, 50.0]),
            (&[50.0, 50.0], &[45.0, 55.0]),
            (&[52.0, 50.0, 10.0], &[56.0, 46.0, 10.0]),
            (&[0.0, 0.0, 0.0], &[0.0, 10.0, 20.0]),
            (&[100.0, 100.0], &[90.0, 100.0]),
            (&[40.0, 45.0, 56.0, 57.0], &[34.5, 44.5, 54.5, 64.5]),
        ] {
            assert_eq!(spread(wanted, 10.0, 0.0, 100.0), expected, "{wanted:?}");
        }
    }

    #[test]
    fn labels_that_would_touch_are_left_out() {
        for (labels, shown) in [
            (&[(0.0, 10.0), (20.0, 10.0)][..], &[true, true][..]),
            (&[(0.0, 10.0), (12.0, 10.0), (30.0, 10.0)], &[true, false, true]),
            (&[(0.0, 10.0), (0.0, 10.0)], &[true, false]),
        ] {
            assert_eq!(legible(labels, 4.0), shown, "{labels:?}");
        }
    }
}
