//! Times of day by the node's clock, in UTC: a log that is read elsewhere has no time zone.

use std::time::{SystemTime, UNIX_EPOCH};

/// 2024-01-01 00:00 UTC. A Raspberry Pi has no clock that runs on without power: what is earlier was noted before it had the time.
const PLAUSIBLE: u64 = 1_704_067_200;
const DAY: u64 = 86_400;

/// Now, in seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `2026-11-02 10:11 UTC`; `None` where the node did not know the time.
pub fn utc(seconds: u64) -> Option<String> {
    (seconds >= PLAUSIBLE).then(|| format!("{} UTC", minute(seconds)))
}

/// The same without the time zone, or `unknown`.
pub fn minute_or_unknown(seconds: u64) -> String {
    if seconds >= PLAUSIBLE { minute(seconds) } else { "unknown".to_owned() }
}

fn minute(seconds: u64) -> String {
    let [year, month, day, hour, minute, _] = parts(seconds);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

/// Year, month, day, hour, minute and second of a time in seconds since 1970.
pub fn parts(seconds: u64) -> [u64; 6] {
    let (year, month, day) = date(seconds / DAY);
    [year, month, day, seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60]
}

/// Year, month and day of the day that is `days` after 1970-01-01, in the Gregorian calendar: years are counted from March, so that a
/// leap day is the last of its year (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn date(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01, of which 146,097 make an era of 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00"),
            (951_782_399, "2000-02-28 23:59"),
            (951_782_400, "2000-02-29 00:00"),
            (1_709_164_800, "2024-02-29 00:00"),
            (1_735_689_599, "2024-12-31 23:59"),
            (1_793_614_260, "2026-11-02 10:11"),
            (4_107_542_400, "2100-03-01 00:00"),
            (u64::from(u32::MAX), "2106-02-07 06:28"),
        ] {
            assert_eq!(minute(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_time_from_before_the_clock_was_set_is_unknown() {
        assert_eq!((utc(0), utc(1_704_067_199)), (None, None));
        assert_eq!(utc(1_704_067_200).as_deref(), Some("2024-01-01 00:00 UTC"));
        assert_eq!(minute_or_unknown(12), "unknown");
        assert_eq!(minute_or_unknown(1_793_614_260), "2026-11-02 10:11");
    }
}
