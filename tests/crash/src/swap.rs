//! A reset or an undo that was cut off in the guard's hands: the next guard has to finish it, and neither generation may lose a file.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use burnonce::state::{Kind, State};
use burnonce::upper::Upper;
use burnonce_vm::swapped::{Swap, Trees};

use crate::boot;
use crate::story::{self, Ending};
use crate::worker::Case;
use crate::{conversion, facts};

/// A boot, whose guard finishes it; the guard of the next one has nothing to do.
pub fn finish(case: &Case) -> Result<Ending> {
    let before = Path::new(boot::UPPER_BEFORE);
    let swap = asked_for(before)?;
    let trees = Trees::of(before, &swap)?;
    let reader = &case.worker.reader;
    reader.scan()?;
    let upper = reader.partition(3);

    let mut boot = case.begin()?;
    let report = boot.guard()?;
    ensure!(report["verdict"] == "upper", "the guard says {report:#}");
    facts::check_ext4(&upper)?;
    boot::look(&upper, |upper| trees.are_swapped(upper, &swap))?;
    boot.go_on(true)?;
    story::settle(&boot, true)?;
    boot.power_off()?;

    let mut boot = case.begin()?;
    let report = boot.guard()?;
    boot.power_off()?;
    ensure!(report["verdict"] == "upper" && report["request"].is_null(), "the next guard says {report:#}");
    ensure!(report["did"].is_null(), "the next guard did more: {report:#}");
    conversion::ending(case)
}

/// What is to come of the request that is recorded on the upper.
pub fn asked_for(upper: &Path) -> Result<Swap> {
    let state: State = Upper::at(upper).state()?;
    let request = state.request.as_ref().context("the card was recorded without a request")?;
    let mut others = state.set_aside.iter().map(|generation| generation.number);
    let old = state.generation;
    let new = match request.kind {
        Kind::Reset => others.fold(old, u32::max) + 1,
        Kind::Undo => others.next_back().context("there is nothing to go back to")?,
    };
    let mut kept = Vec::new();
    for path in &request.keep {
        let path = Path::new(path.trim_start_matches('/'));
        kept.extend(path.ancestors().filter(|path| *path != Path::new("")).map(|path| path.display().to_string()));
    }
    kept.sort();
    Ok(Swap { new, old, kept, room: true })
}
