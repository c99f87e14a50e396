//! Boots of cards that a cut left, by an emulated node: the whole system, from the initramfs to a login.

use std::fs::OpenOptions;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use burnonce::state::State;
use burnonce::upper::Upper;
use burnonce_vm::writes::Dice;
use burnonce_vm::{Bed, Card, checks};

use crate::cut::{Cut, Sort};
use crate::matrix::told;
use crate::recording::Recording;
use crate::story::Story;

/// Cuts that can be tried by one thread while a node is booted.
pub const WORTH: usize = 150;
/// A conversion that goes on takes two.
const POWER_ONS: u32 = 3;

/// A cut to be booted, by the numbers of its recording and its own.
pub type Choice = (usize, usize);

/// A random choice of `count` cuts, in turn of each recording.
pub fn choose(cuts: &[Vec<(Sort, Cut)>], count: usize, dice: &mut Dice) -> Vec<Choice> {
    let recordings = (0..cuts.len()).cycle().take(count);
    recordings.map(|recording| (recording, dice.below(cuts[recording].len() as u64) as usize)).collect()
}

/// Boots one of them: the node is healthy, and what it holds is of the right generation. Returns how long it took.
///
/// # Errors
/// It does not come up as it should; with the command that repeats the cut.
pub fn run(bed: &Bed, recording: &Recording, cut: &Cut) -> Result<Duration> {
    let start = Instant::now();
    boot(bed, recording, cut).with_context(|| told(recording, cut))?;
    Ok(start.elapsed())
}

fn boot(bed: &Bed, recording: &Recording, cut: &Cut) -> Result<()> {
    let card = recording.before.card.duplicate(&bed.dir().join("card.img"))?;
    cut.apply(&recording.log, &OpenOptions::new().write(true).open(&card.path)?)?;
    let expected = Expected::of(recording)?;
    let mut node = bed.node(card);
    node.settle(POWER_ONS)?;
    let status = checks::is_converted(&node)?;
    let state = &status["state"];
    ensure!(state["generation"] == expected.generation && state["request"].is_null(), "{status:#}");
    let marker = node.sudo("cat /root/marker")?.stdout;
    ensure!(marker.trim() == expected.marker, "the marker is {marker:?}, not {:?}", expected.marker);
    ensure!(node.sh("cat /var/lib/demo/ran")? == "cloud-init ran");
    if recording.by_node() {
        // Made by the step that keeps what a first boot consumes. Of that, the image of the test bed has nothing.
        node.sh("test -d /media/root-rw/burnonce/boot").context("of the boot partition, nothing was kept")?;
    }
    checks::nothing_failed(&node)?;
    node.shutdown()?;
    std::fs::remove_file(&node.card.path).context("removing the card")
}

/// What a node finds itself to be.
struct Expected {
    generation: u32,
    /// What is in `/root/marker`.
    marker: String,
}

impl Expected {
    fn of(recording: &Recording) -> Result<Self> {
        match recording.story {
            Story::Conversion | Story::Remake => Ok(Self { generation: 1, marker: String::new() }),
            Story::Swap => {
                let swap = with_upper(&recording.before.card, crate::swap::asked_for)?;
                let marker = if swap.new > swap.old { "" } else { "old" };
                Ok(Self { generation: swap.new, marker: marker.to_owned() })
            }
            Story::Reclaim | Story::Grow => {
                let state: State = with_upper(&recording.before.card, |upper| Upper::at(upper).state())?;
                Ok(Self { generation: state.generation, marker: "old".to_owned() })
            }
        }
    }
}

fn with_upper<T>(card: &Card, look: impl FnOnce(&std::path::Path) -> Result<T>) -> Result<T> {
    look(card.mount(3)?.path())
}
