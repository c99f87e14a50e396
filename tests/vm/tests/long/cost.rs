//! What the guard costs a boot with nothing to do. A time by the clock: this one wants the machine for itself.

use anyhow::{Result, ensure};
use burnonce_vm::{Recipe, checks, scenario};

/// Milliseconds that the guard may take.
const MOST: u64 = 50;

#[test]
fn guard_costs_little() {
    scenario("guard_costs_little", |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        let mut boot = || -> Result<u64> {
            ensure!(node.settle(1)? == 1);
            let guard = checks::guard(&node)?;
            node.shutdown()?;
            Ok(guard.total_ms)
        };
        let times = [boot()?, boot()?, boot()?];
        ensure!(times.iter().any(|time| *time < MOST), "the guard never took less than {MOST} ms: {times:?}");
        Ok(())
    });
}
