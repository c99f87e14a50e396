//! Lengths and addresses on a disk, kept apart by type.
//!
//! A sector here is always a *logical* sector of the disk at hand (512 or 4096 bytes): the unit in which partition
//! tables count. Sysfs counts in 512-byte units whatever the disk; [`crate::observe`] converts at the door.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// 1 MiB in bytes.
pub const MIB: u64 = 1 << 20;
/// 1 GiB in bytes.
pub const GIB: u64 = 1 << 30;

/// A length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A length in logical sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Sectors(pub u64);

/// A logical block address: the number of a logical sector, counted from the start of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Lba(pub u64);

impl Bytes {
    /// The whole sectors that this length holds; a remainder is dropped. None, of a size that no sector has.
    pub fn to_sectors(self, sector_size: u32) -> Sectors {
        Sectors(self.0.checked_div(u64::from(sector_size)).unwrap_or(0))
    }
}

impl Sectors {
    /// This length in bytes; saturates where 64 bits do not hold it.
    pub fn to_bytes(self, sector_size: u32) -> Bytes {
        Bytes(self.0.saturating_mul(u64::from(sector_size)))
    }
}

impl Lba {
    /// The byte offset of this sector from the start of the disk; saturates.
    pub fn to_offset(self, sector_size: u32) -> u64 {
        self.0.saturating_mul(u64::from(sector_size))
    }

    /// The address `length` sectors further on; `None` on overflow.
    pub fn checked_add(self, length: Sectors) -> Option<Lba> {
        self.0.checked_add(length.0).map(Lba)
    }

    /// The next address that is a multiple of `alignment` sectors (itself, where it is one); `None` on overflow.
    pub fn align_up(self, alignment: Sectors) -> Option<Lba> {
        match alignment.0 {
            0 | 1 => Some(self),
            a => self.0.checked_next_multiple_of(a).map(Lba),
        }
    }
}

/// As people read sizes: `7.4 GiB`, `512 MiB`, `28 KiB`, `17 bytes`. One decimal below 10, none from there on.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 5] =
            [("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", GIB), ("MiB", MIB), ("KiB", 1 << 10)];
        for (name, unit) in UNITS {
            if self.0 >= unit {
                let tenths = (u128::from(self.0) * 10 + u128::from(unit) / 2) / u128::from(unit);
                let text = if tenths >= 100 || tenths % 10 == 0 {
                    format!("{} {name}", (tenths + 5) / 10)
                } else {
                    format!("{}.{} {name}", tenths / 10, tenths % 10)
                };
                return f.pad(&text);
            }
        }
        f.pad(&format!("{} bytes", self.0))
    }
}

/// A number as people read it: `3,417`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Sectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Parses `512 MiB`, `512MiB`, `2G`, `1048576`. `K`, `M`, `G`, `T` and `KiB`, `MiB`, … are powers of 1024, as in
/// `lsblk` and `fdisk`; `kB`, `MB`, `GB`, `TB` are powers of 1000.
impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Bytes, String> {
        let wrong = || format!("`{text}` is not a size; write for example `512 MiB` or `2 GiB`");
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let number: u64 = trimmed[..digits].parse().map_err(|_| wrong())?;
        let unit: u64 = match trimmed[digits..].trim() {
            "" | "B" | "bytes" => 1,
            "K" | "KiB" => 1 << 10,
            "M" | "MiB" => MIB,
            "G" | "GiB" => GIB,
            "T" | "TiB" => 1 << 40,
            "kB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(unit).map(Bytes).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_as_people_read_them() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (17, "17 bytes"),
            (1024, "1 KiB"),
            (28 << 10, "28 KiB"),
            (512 * MIB, "512 MiB"),
            (GIB + GIB / 2, "1.5 GiB"),
            (7_948_206_080, "7.4 GiB"),
            (59 * GIB + 600 * MIB, "60 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text, "{bytes}");
        }
    }

    #[test]
    fn large_numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (3417, "3,417"), (123_456, "123,456"), (1_000_000, "1,000,000")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn sizes_parse_and_nonsense_is_refused() {
        for (text, bytes) in
            [("1", 1), ("512 MiB", 512 * MIB), ("2G", 2 * GIB), (" 3 GB ", 3_000_000_000), ("4KiB", 4096)]
        {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5 GiB", "1 XiB", "99999999999999999999", "20000000 TiB"] {
            let error = text.parse::<Bytes>().unwrap_err();
            assert!(error.contains("is not a size"), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_align_upwards_and_do_not_overflow() {
        assert_eq!(Lba(8193).align_up(Sectors(8192)), Some(Lba(16384)));
        assert_eq!(Lba(8192).align_up(Sectors(8192)), Some(Lba(8192)));
        assert_eq!(Lba(5).align_up(Sectors(0)), Some(Lba(5)));
        assert_eq!(Lba(u64::MAX).align_up(Sectors(8192)), None);
        assert_eq!(Lba(u64::MAX).checked_add(Sectors(1)), None);
    }
}
