//! How much is measured.

/// Sizes, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// How often each program does each case.
    pub rounds: usize,
    /// How often each boots, where whole nodes do the work.
    pub boots: usize,
    /// The cards that are converted, in GiB.
    pub cards: Vec<u64>,
    /// How many files a node has when it is reset.
    pub files: Vec<usize>,
    /// How many files differ from the image when they are listed.
    pub changed: usize,
}

/// A number as it is read: `500,000`.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_in_threes() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (500_000, "500,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(thousands(number), text);
        }
    }
}
