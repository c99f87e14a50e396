//! Versions of Debian packages, compared as dpkg does (deb-version(7)).

use anyhow::{Result, bail, ensure};
use std::cmp::Ordering;
use std::fmt;

/// A version: `1:2.36-9+rpt2`.
#[derive(Debug, Clone)]
pub struct Version {
    text: String,
    epoch: u32,
    upstream: String,
    revision: String,
}

impl Version {
    /// The version that `text` is.
    ///
    /// # Errors
    /// It is none, as dpkg sees it.
    pub fn parse(text: &str) -> Result<Version> {
        let text = text.trim();
        let (epoch, rest) = match text.split_once(':') {
            // `parse` would take a sign, too.
            Some((epoch, rest)) if !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit()) => {
                // The most that dpkg takes is the largest `int`.
                match epoch.parse::<u32>() {
                    Ok(number) if i32::try_from(number).is_ok() => (number, rest),
                    _ => bail!("`{text}` is no version: its epoch is too large"),
                }
            }
            Some(_) => bail!("`{text}` is no version: what is before the colon is no number"),
            None => (0, text),
        };
        let (upstream, revision) = match rest.rsplit_once('-') {
            Some((_, "")) => bail!("`{text}` is no version: nothing is after its last hyphen"),
            Some((upstream, revision)) => (upstream, revision),
            None => (rest, ""),
        };
        ensure!(!upstream.is_empty(), "`{text}` is no version: it has no number");
        let is_good = |byte: u8, more: &[u8]| byte.is_ascii_alphanumeric() || more.contains(&byte);
        let wrong = upstream
            .chars()
            .find(|c| !u8::try_from(*c).is_ok_and(|byte| is_good(byte, b".-+~:")))
            .or_else(|| revision.chars().find(|c| !u8::try_from(*c).is_ok_and(|byte| is_good(byte, b".+~"))));
        if let Some(wrong) = wrong {
            bail!("`{text}` is no version: no version has {wrong:?} there");
        }
        Ok(Version { text: text.to_owned(), epoch, upstream: upstream.to_owned(), revision: revision.to_owned() })
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// It without its epoch, as it is in the name of a .deb (dpkg-name(1)).
    pub fn without_epoch(&self) -> &str {
        self.text.split_once(':').map_or(&self.text, |(_, rest)| rest)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare(self.upstream.as_bytes(), other.upstream.as_bytes()))
            .then_with(|| compare(self.revision.as_bytes(), other.revision.as_bytes()))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As they are compared: `1.0` is `1.00`.
impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

/// Where a character that is no digit comes: `~` before the end, letters after it, everything else after letters.
fn place(byte: Option<u8>) -> u16 {
    match byte {
        Some(b'~') => 0,
        // A digit ends the part, as the end itself does.
        None | Some(b'0'..=b'9') => 1,
        Some(byte) if byte.is_ascii_alphabetic() => u16::from(byte),
        Some(byte) => u16::from(byte) + 256,
    }
}

/// Parts without digits and numbers by turns: deb-version(7), "Sorting algorithm".
fn compare(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        loop {
            let (ours, theirs) = (left.first().copied(), right.first().copied());
            if place(ours) != place(theirs) {
                return place(ours).cmp(&place(theirs));
            }
            // Both are at the end of the part where one is: nothing else has its place.
            if place(ours) == 1 {
                break;
            }
            (left, right) = (&left[1..], &right[1..]);
        }
        let (ours, theirs) = (number(&mut left), number(&mut right));
        // A number of any length; without zeros before it, the longer one is the larger one.
        let order = ours.len().cmp(&theirs.len()).then_with(|| ours.cmp(theirs));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes the digits at the beginning, and gives them without the zeros before them.
fn number<'t>(text: &mut &'t [u8]) -> &'t [u8] {
    let (digits, rest) = text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count());
    *text = rest;
    &digits[digits.iter().take_while(|byte| **byte == b'0').count()..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap_or_else(|error| panic!("{text}: {error:#}"))
    }

    #[test]
    fn versions_come_in_dpkgs_order() {
        let rising = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0a",
            "0+",
            "0.0",
            "1.0~beta1~svn1245",
            "1.0~beta1",
            "1.0~rc1-1",
            "1.0",
            "1.0-0.1",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1ubuntu1",
            "1.0-1+rpt1",
            "1.0-1.1",
            "1.0-2",
            "1.0-10",
            "1.0a",
            "1.0+dfsg-1",
            "1.0-1-1",
            "1.0.1",
            "1.2",
            "1.10",
            "1.99999999999999999999999999999998",
            "1.99999999999999999999999999999999",
            "1:0.1",
            "1:1:0",
            "2:0",
        ];
        for pair in rising.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{} < {}", pair[0], pair[1]);
        }
        for (one, other) in
            [("1.0", "1.00"), ("0:1.0", "1.0"), ("1.0-0", "1.0"), ("1.a", "1.a0"), ("01", "1"), (" 1 ", "1")]
        {
            assert_eq!(version(one), version(other), "{one} = {other}");
        }
        assert_eq!((version("1:2-3").without_epoch(), version("2-3").without_epoch()), ("2-3", "2-3"));
    }

    #[test]
    fn what_is_no_version_is_told() {
        for (text, reason) in [
            ("", "has no number"),
            ("-1", "has no number"),
            ("1:", "has no number"),
            (":1", "no number"),
            ("a:1", "no number"),
            ("-1:1", "no number"),
            ("+1:1", "no number"),
            ("2147483648:1", "epoch is too large"),
            ("99999999999999999999:1", "epoch is too large"),
            ("1-", "last hyphen"),
            ("1 2", "' '"),
            ("1_2", "'_'"),
            ("1.0-ä", "'ä'"),
            ("1-1:1", "no number"),
            ("0:1-1:1", "':'"),
        ] {
            let error = Version::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    fn some_version() -> impl Strategy<Value = String> {
        // Few different characters, so that many begin alike.
        "(0:|1:)?[0-2][01a~+.Z-]{0,6}[01a](-[01a~+.]{1,4})?"
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_order_is_a_total_one(a in some_version(), b in some_version(), c in some_version()) {
            let (a, b, c) = (version(&a), version(&b), version(&c));
            prop_assert_eq!(a.cmp(&a), Ordering::Equal);
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            let mut sorted = [a, b, c];
            sorted.sort();
            prop_assert!(sorted[0] <= sorted[1] && sorted[1] <= sorted[2] && sorted[0] <= sorted[2]);
            prop_assert!(sorted[0] != sorted[1] || sorted[0].cmp(&sorted[2]) == sorted[1].cmp(&sorted[2]));
        }

        #[test]
        fn any_text_is_a_version_or_none(text in any::<String>(), near in "[0-9a-c:~+. -]{0,12}") {
            for text in [text, near] {
                if let Ok(version) = Version::parse(&text) {
                    prop_assert_eq!(version.to_string(), text.trim());
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn dpkg_says_the_same(a in some_version(), b in some_version()) {
            let (ours, theirs) = (version(&a), version(&b));
            let word = match ours.cmp(&theirs) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            let status = Command::new("dpkg")
                .args(["--compare-versions", &a, word, &b])
                .status()
                .expect("this test asks dpkg, of the package dpkg; it has to be installed");
            prop_assert!(status.success(), "dpkg does not find {} {} {}", a, word, b);
        }
    }
}
