//! A node that was deleting what resets have set aside: the next run goes on, and what is in use or kept loses no file.

use std::path::Path;

use anyhow::{Result, ensure};
use burnonce::state::State;
use burnonce::upper::Upper;
use burnonce_vm::tree;

use crate::boot;
use crate::story::{self, Ending};
use crate::worker::Case;
use crate::{conversion, facts};

/// Boots, and reclaims again.
pub fn finish(case: &Case) -> Result<Ending> {
    let reader = &case.worker.reader;
    reader.scan()?;
    let mut boot = case.begin()?;
    let report = boot.guard()?;
    ensure!(report["verdict"] == "upper", "the guard says {report:#}");
    facts::check_ext4(&reader.partition(3))?;
    boot.go_on(true)?;
    story::settle(&boot, true)?;
    boot.succeeds(&["reclaim"])?;
    boot.power_off()?;
    boot::look(&reader.partition(3), |upper| is_reclaimed(Path::new(boot::UPPER_BEFORE), upper))?;
    conversion::ending(case)
}

/// One generation is kept, which is what the configuration says where it says nothing.
fn is_reclaimed(before: &Path, after: &Path) -> Result<()> {
    let state: State = Upper::at(before).state()?;
    let now: State = Upper::at(after).state()?;
    let kept: Vec<u32> = state.set_aside.last().map(|generation| generation.number).into_iter().collect();
    let booked: Vec<u32> = now.set_aside.iter().map(|generation| generation.number).collect();
    ensure!(booked == kept && now.generation == state.generation, "of {state:?} there is {now:?}");
    let names: Vec<String> = kept.iter().map(u32::to_string).collect();
    let there = facts::names(&after.join("burnonce/generations"))?;
    ensure!(there == names, "there are generations {there:?}");
    ensure!(facts::names(&after.join("burnonce/reclaim"))?.is_empty(), "not all of it was deleted");
    let aside = names.iter().map(|number| format!("burnonce/generations/{number}/overlay"));
    for place in aside.chain(["overlay".to_owned()]) {
        let (old, new) = (tree::manifest(&before.join(&place))?, tree::manifest(&after.join(&place))?);
        ensure!(old == new, "{place} differs in {:?}", tree::disagreements(&old, &new));
    }
    Ok(())
}
