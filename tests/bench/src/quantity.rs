//! What is measured, in words, and how its values are printed: three significant digits, in a unit that suits them. Pure.

use burnonce::units::grouped;

use crate::figures::Measure;
use crate::statistics::Summary;

/// What a measure counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    Bytes,
    Count,
}

/// From this on a count is printed in thousands: what a reader could count up to stays exact.
const LONG_COUNT: f64 = 9_999.5;

impl Measure {
    /// What its values are.
    pub fn unit(self) -> Unit {
        match self {
            Measure::Wall | Measure::Processor => Unit::Nanoseconds,
            Measure::Written | Measure::Read | Measure::Discarded | Measure::Peak | Measure::Size => Unit::Bytes,
            Measure::Flushes | Measure::Syscalls => Unit::Count,
        }
    }

    /// Its name, in the middle of a sentence.
    pub fn title(self) -> &'static str {
        match self {
            Measure::Wall => "wall-clock time",
            Measure::Processor => "processor time",
            Measure::Written => "bytes written",
            Measure::Read => "bytes read",
            Measure::Flushes => "flushes",
            Measure::Discarded => "bytes discarded",
            Measure::Syscalls => "system calls",
            Measure::Peak => "peak memory",
            Measure::Size => "file size",
        }
    }

    /// How it was taken.
    pub fn meaning(self) -> &'static str {
        match self {
            Measure::Wall => "from the beginning to the end, by the clock on the wall",
            Measure::Processor => "of the program and those it started, in user and system mode",
            Measure::Written => "to the block device, by the device's own counter",
            Measure::Read => "from the block device, by the device's own counter",
            Measure::Flushes => "requests to flush its cache that the block device completed, by its own counter",
            Measure::Discarded => "on the block device, by the device's own counter",
            Measure::Syscalls => "counted by strace in a run of its own",
            Measure::Peak => "the peak of the resident set",
            Measure::Size => "the length of a file",
        }
    }
}

impl Unit {
    /// Units, each with how many of the smallest it is, from the largest on.
    fn steps(self) -> &'static [(f64, &'static str)] {
        match self {
            Unit::Nanoseconds => &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")],
            Unit::Bytes => &[
                ((1_u64 << 60) as f64, " EiB"),
                ((1_u64 << 50) as f64, " PiB"),
                ((1_u64 << 40) as f64, " TiB"),
                ((1_u64 << 30) as f64, " GiB"),
                ((1_u64 << 20) as f64, " MiB"),
                ((1_u64 << 10) as f64, " KiB"),
                (1.0, " bytes"),
            ],
            Unit::Count => &[(1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")],
        }
    }

    /// The value as people read it: `1.23 s`, `64 MiB`, `41`, `12.3 k`. What is exact in its unit has no decimals.
    pub fn show(self, value: f64) -> String {
        let (number, name) = self.parts(value);
        format!("{number}{name}")
    }

    /// A round value at an axis: no zeros behind the decimals, and nothing is `0` without a unit.
    pub fn show_tick(self, value: f64) -> String {
        let (number, name) = self.parts(value);
        match number.as_str() {
            "0" => number,
            _ if number.contains('.') => format!("{}{name}", number.trim_end_matches('0').trim_end_matches('.')),
            _ => format!("{number}{name}"),
        }
    }

    /// Median, and in brackets the least and the greatest where they differ as they are printed.
    pub fn show_summary(self, summary: &Summary) -> String {
        let Summary { median, min, max, .. } = *summary;
        let median = self.show(median);
        let ((low, low_name), (high, high_name)) = (self.parts(min as f64), self.parts(max as f64));
        if (&low, low_name) == (&high, high_name) {
            return median;
        }
        let low_name = if low_name == high_name { "" } else { low_name };
        format!("{median} ({low}{low_name} … {high}{high_name})")
    }

    /// The digits, and the unit with the space before it.
    fn parts(self, value: f64) -> (String, &'static str) {
        match self {
            Unit::Nanoseconds if value == 0.0 => return ("0".to_owned(), " s"),
            Unit::Bytes if value == 1.0 => return ("1".to_owned(), " byte"),
            Unit::Count if (1000.0..LONG_COUNT).contains(&value) => return (digits(value.round()), ""),
            _ => (),
        }
        let steps = self.steps();
        let fits = |(unit, _): &&(f64, &str)| rounded(value / unit).0 >= 1.0;
        let (unit, name) = steps.iter().find(fits).or(steps.last()).copied().unwrap_or((1.0, ""));
        (digits(value / unit), name)
    }
}

/// How many times as much: `31×`, `1.03×`. What is below a hundredth reads better as a fraction: `1/813×`.
pub fn show_ratio(ratio: f64) -> String {
    if ratio > 0.0 && ratio < 0.01 { format!("1/{}×", digits(1.0 / ratio)) } else { format!("{}×", digits(ratio)) }
}

/// To three significant digits, and the power of ten of the first.
fn rounded(value: f64) -> (f64, i32) {
    let text = format!("{value:.2e}");
    let power = text.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    (text.parse().unwrap_or(value), power)
}

/// Three significant digits; all of them, of a whole number below 10,000.
fn digits(value: f64) -> String {
    if value.fract() == 0.0 && value < 10_000.0 {
        return grouped(value as u64);
    }
    let (value, power) = rounded(value);
    match usize::try_from(2 - power) {
        Ok(decimals) if decimals > 0 => format!("{value:.decimals$}"),
        _ => grouped(value as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_in_three_digits() {
        for (nanoseconds, text) in [
            (0.0, "0 s"),
            (1.0, "1 ns"),
            (2.5, "2.50 ns"),
            (999.0, "999 ns"),
            (1_000.0, "1 µs"),
            (1_234.0, "1.23 µs"),
            (999_499.0, "999 µs"),
            (999_500.0, "1.00 ms"),
            (12_345_678.0, "12.3 ms"),
            (999_600_000.0, "1.00 s"),
            (1_000_000_000.0, "1 s"),
            (61_500_000_000.0, "61.5 s"),
            (1_234_500_000_000.0, "1,230 s"),
            (u64::MAX as f64, "18,400,000,000 s"),
        ] {
            assert_eq!(Unit::Nanoseconds.show(nanoseconds), text, "{nanoseconds}");
        }
    }

    #[test]
    fn bytes_are_printed_in_powers_of_1024() {
        for (bytes, text) in [
            (0.0, "0 bytes"),
            (0.5, "0.500 bytes"),
            (1.0, "1 byte"),
            (1_023.0, "1,023 bytes"),
            (1_024.0, "1 KiB"),
            (4_196_000.0, "4.00 MiB"),
            (4_194_304.0, "4 MiB"),
            (1_047_000.0, "1,020 KiB"),
            (1_048_400.0, "1.00 MiB"),
            (123_456_789.0, "118 MiB"),
            (1_099_511_627_776.0, "1 TiB"),
            (u64::MAX as f64, "16 EiB"),
        ] {
            assert_eq!(Unit::Bytes.show(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn counts_are_exact_below_ten_thousand() {
        for (count, text) in [
            (0.0, "0"),
            (0.5, "0.500"),
            (3.5, "3.50"),
            (41.0, "41"),
            (1_234.0, "1,234"),
            (1_234.5, "1,235"),
            (9_999.0, "9,999"),
            (9_999.5, "10.0 k"),
            (10_000.0, "10 k"),
            (12_345.0, "12.3 k"),
            (999_600.0, "1.00 M"),
            (7_654_321.0, "7.65 M"),
            (u64::MAX as f64, "18,400,000,000 G"),
        ] {
            assert_eq!(Unit::Count.show(count), text, "{count}");
        }
    }

    #[test]
    fn ratios_are_printed_with_a_times_sign() {
        for (ratio, text) in [
            (0.0, "0×"),
            (1.0, "1×"),
            (1.0004, "1.00×"),
            (31.0, "31×"),
            (31.26, "31.3×"),
            (0.517, "0.517×"),
            (0.0517, "0.0517×"),
            (0.00123, "1/813×"),
            (1e-12, "1/1,000,000,000,000×"),
            (999.7, "1,000×"),
            (12_345.6, "12,300×"),
        ] {
            assert_eq!(show_ratio(ratio), text, "{ratio}");
        }
    }

    #[test]
    fn ticks_are_round() {
        for (unit, value, text) in [
            (Unit::Nanoseconds, 0.0, "0"),
            (Unit::Nanoseconds, 1_500_000_000.0, "1.5 s"),
            (Unit::Nanoseconds, 500_000_000.0, "500 ms"),
            (Unit::Bytes, 1_310_720.0, "1.25 MiB"),
            (Unit::Bytes, 102_400.0, "100 KiB"),
            (Unit::Count, 0.0, "0"),
            (Unit::Count, 200.0, "200"),
            (Unit::Count, 25_500.0, "25.5 k"),
        ] {
            assert_eq!(unit.show_tick(value), text, "{value}");
        }
    }

    #[test]
    fn a_summary_names_a_unit_once_where_it_can() {
        for (unit, median, min, max, text) in [
            (Unit::Nanoseconds, 2e9, 2_000_000_000, 2_000_000_000, "2 s"),
            (Unit::Nanoseconds, 1.23e9, 1_100_000_000, 1_400_000_000, "1.23 s (1.10 … 1.40 s)"),
            (Unit::Nanoseconds, 1.23e9, 980_000_000, 1_400_000_000, "1.23 s (980 ms … 1.40 s)"),
            (Unit::Bytes, 4096.0, 0, 8192, "4 KiB (0 bytes … 8 KiB)"),
            (Unit::Bytes, 273_680_000.0, 273_670_000, 273_690_000, "261 MiB"),
            (Unit::Count, 3.0, 3, 4, "3 (3 … 4)"),
        ] {
            let summary = Summary { median, min, max, samples: 3 };
            assert_eq!(unit.show_summary(&summary), text);
        }
    }
}
