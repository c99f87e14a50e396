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
