//! A new upper for a converted card, the making of which was cut off: the next boot goes on, on memory, or runs on what is there.

use anyhow::{Result, bail, ensure};

use crate::story::{self, Ending};
use crate::worker::Case;
use crate::{conversion, plan};

/// One that makes the upper, and one on it.
const BOOTS: u32 = 2;

/// Boots until the node runs on its upper.
pub fn finish(case: &Case) -> Result<Ending> {
    for _ in 0..BOOTS {
        if boot_once(case)? {
            return conversion::ending(case);
        }
    }
    bail!("after {BOOTS} boots the node does not run on its upper")
}

/// One boot; what it has to be is decided by the table. Returns whether it was one on the upper.
fn boot_once(case: &Case) -> Result<bool> {
    let published = case.worker.reader.scan()?.partitions.len() == 3;
    let mut boot = case.begin()?;
    let report = boot.guard()?;
    let verdict = if published { "upper" } else { "memory" };
    ensure!(report["verdict"] == verdict, "the guard does not say {verdict}, but {report:#}");
    if published {
        boot.go_on(true)?;
        story::settle(&boot, true)?;
    } else {
        boot.go_on_in_memory()?;
        plan::check(&boot, plan::REMAKE)?;
        boot.succeeds(&["converge", "--no-reboot"])?;
    }
    boot.power_off()?;
    Ok(published)
}
