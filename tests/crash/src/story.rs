//! What a card is in the middle of, and how it has to end.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};

use crate::boot::Boot;
use crate::worker::Case;
use crate::{conversion, grow, plan, reclaim, remake, swap};

/// What a recording is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// The first boot of a burned card.
    Conversion,
    /// The guard carries out a reset or an undo.
    Swap,
    /// A running node deletes a generation.
    Reclaim,
    /// A node on a card that became longer.
    Grow,
    /// A converted card that has lost its upper.
    Remake,
}

/// How a card has ended: what is the same after every cut as without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending(pub Vec<(&'static str, String)>);

impl Story {
    const ALL: [(Story, &'static str); 5] = [
        (Story::Conversion, "conversion"),
        (Story::Swap, "swap"),
        (Story::Reclaim, "reclaim"),
        (Story::Grow, "grow"),
        (Story::Remake, "remake"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(story, _)| *story == self).map_or("", |(_, name)| name)
    }

    /// Threads that are to try the cuts of one recording while something else is done beside them. One: two would look at the same images
    /// at the same time. But a guard that finds no upper waits three seconds for one, so these threads sleep most of the time.
    pub fn threads(self) -> usize {
        if self == Story::Remake { 4 } else { 1 }
    }

    /// Boots the card until there is nothing more to do, and says how it ended.
    pub fn finish(self, case: &Case) -> Result<Ending> {
        match self {
            Story::Conversion => conversion::finish(case),
            Story::Swap => swap::finish(case),
            Story::Reclaim => reclaim::finish(case),
            Story::Grow => grow::finish(case),
            Story::Remake => remake::finish(case),
        }
    }
}

impl FromStr for Story {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.iter().find(|(_, name)| *name == text) {
            Some((story, _)) => Ok(*story),
            None => bail!("there is no story {text:?}"),
        }
    }
}

impl Ending {
    /// Fails where another ending is not this one.
    pub fn is_that_of(&self, other: &Ending) -> Result<()> {
        for ((what, ours), (_, theirs)) in self.0.iter().zip(&other.0) {
            let (lost, new) = (without(theirs, ours), without(ours, theirs));
            ensure!(ours == theirs, "{what} is not as without a cut: there is {new:?}, and no {lost:?}");
        }
        ensure!(self.0.len() == other.0.len(), "{self:?}, {other:?}");
        Ok(())
    }
}

/// The lines of a text that another one does not have.
fn without<'a>(text: &'a str, other: &str) -> Vec<&'a str> {
    text.lines().filter(|line| !other.lines().any(|other| other == *line)).collect()
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A boot on the overlay, with nothing to do but perhaps to seal; then it has come to rest.
pub fn settle(boot: &Boot, sealed: bool) -> Result<()> {
    plan::check(boot, if sealed { plan::NOTHING } else { plan::SEAL })?;
    boot.succeeds(&["converge", "--no-reboot"])?;
    if sealed { Ok(()) } else { plan::check(boot, plan::NOTHING) }
}
