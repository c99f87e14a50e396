//! What a node needs before it can be converted: packages that came with the image, and an initramfs with overlayroot and the guard.

use super::MAX_ATTEMPTS;
use crate::observation::{Lacks, Observation};
use crate::overlay::Counts;
use crate::refusal::Refusal;
use crate::step::{Plan, Purpose, Step};

/// The boot that prepares the node; `None`: it needs none.
///
/// # Errors
/// It cannot be prepared, or was begun to be too often.
pub(super) fn prepare(seen: &Observation, counts: &Counts) -> Result<Option<Plan>, Refusal> {
    if !seen.packages.is_empty() {
        return install(&seen.packages, counts).map(Some);
    }
    let Some(lacks) = seen.overlayroot.lacks() else { return Ok(None) };
    let steps = rebuild(seen, lacks, counts)?.into();
    Ok(Some(Plan { purpose: Purpose::Prepare { lacks }, steps, notes: Vec::new() }))
}

/// overlayroot and initramfs-tools can be among the packages, so nothing is said against an image that has none. What is still missing
/// when they are installed, the plan of the next boot says. Nor does it count that the initramfs was rebuilt before.
fn install(packages: &[String], counts: &Counts) -> Result<Plan, Refusal> {
    if counts.rebuilds >= MAX_ATTEMPTS {
        return Err(Refusal::PackageAttempts { attempts: counts.rebuilds, failure: counts.failure.clone() });
    }
    let attempt = counts.rebuilds + 1;
    let lacks = Lacks::Packages;
    let steps = vec![
        Step::InstallPackages { packages: packages.to_vec(), attempt },
        Step::RebuildInitramfs { lacks, rebuild: attempt },
        Step::Reboot,
    ];
    let failure = counts.failure.iter().filter(|_| attempt > 1);
    let notes = failure.map(|failure| format!("an attempt before this one failed: {failure}")).collect();
    Ok(Plan { purpose: Purpose::Prepare { lacks }, steps, notes })
}

/// The initramfs that booted lacks something: rebuild it, where it can be. Once is enough, but a rebuild that was cut off is begun
/// again.
fn rebuild(seen: &Observation, lacks: Lacks, counts: &Counts) -> Result<[Step; 2], Refusal> {
    if !seen.overlayroot.installed {
        return Err(if seen.overlayroot.rebuildable {
            Refusal::NoOverlayroot { generator: seen.overlayroot.generator }
        } else {
            Refusal::NotRebuildable { lacks }
        });
    }
    if !seen.overlayroot.rebuildable {
        return Err(Refusal::NotRebuildable { lacks });
    }
    if counts.rebuilt {
        return Err(Refusal::RebuiltInVain { lacks });
    }
    if counts.rebuilds >= MAX_ATTEMPTS {
        return Err(Refusal::RebuildAttempts { attempts: counts.rebuilds, failure: counts.failure.clone() });
    }
    Ok([Step::RebuildInitramfs { lacks, rebuild: counts.rebuilds + 1 }, Step::Reboot])
}
