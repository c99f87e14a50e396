//! A conversion that was cut off: the next boots have to bring the card to where it would be without the cut.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burnonce_vm::swapped;

use crate::boot;
use crate::story::{self, Ending};
use crate::worker::Case;
use crate::{facts, plan};

/// A conversion, and the boot that may have to seal.
const BOOTS: u32 = 2;

/// Boots until the node runs on its overlay.
pub fn finish(case: &Case) -> Result<Ending> {
    for _ in 0..BOOTS {
        if boot_once(case)? {
            return ending(case);
        }
    }
    anyhow::bail!("after {BOOTS} boots the node does not run on its overlay")
}

/// One boot. What it is to do is decided by what is on the card. Returns whether it was one into the overlay.
fn boot_once(case: &Case) -> Result<bool> {
    let reader = &case.worker.reader;
    let published = reader.scan()?.partitions.len() == 3;
    let mut boot = case.begin()?;
    let configured = facts::is_configured(boot.root())?;
    let sealed = facts::is_sealed(&reader.partition(2))?;
    ensure!(published || !configured, "an overlay is configured, and there is no upper");
    ensure!(configured || !sealed, "the image is sealed, and no overlay is configured");
    let report = boot.guard()?;
    let verdict = if configured { "upper" } else { "not-configured" };
    ensure!(report["verdict"] == verdict, "the guard does not say {verdict}, but {report:#}");
    boot.go_on(configured)?;
    if configured {
        story::settle(&boot, sealed)?;
    } else {
        match published {
            true if facts::needs_recovery(&reader.partition(3))? => plan::check_before_replay(&boot, plan::CONFIGURE)?,
            true => plan::check(&boot, plan::CONFIGURE)?,
            false => plan::check(&boot, plan::CONVERT)?,
        }
        boot.succeeds(&["converge", "--no-reboot"])?;
    }
    boot.power_off()?;
    Ok(configured)
}

/// What has to be the same after each cut.
pub fn ending(case: &Case) -> Result<Ending> {
    let reader = &case.worker.reader;
    let (lower, upper) = (reader.partition(2), reader.partition(3));
    facts::check_ext4(&lower)?;
    facts::check_ext4(&upper)?;
    case.check_image_at_end()?;
    ensure!(facts::is_sealed(&lower)?, "the image is not sealed");
    let configuration = boot::look(&lower, |root| {
        let text = fs::read_to_string(root.join(facts::CONFIGURATION)).context("reading the configuration")?;
        let beside = facts::names(&root.join("etc"))?;
        // The first line counts attempts: after a cut there are two.
        Ok((text.split_once('\n').map(|(_, rest)| rest.to_owned()), beside))
    })?;
    let (state, tree) = boot::look(&upper, |root| Ok((state(root)?, upper_tree(root)?)))?;
    Ok(Ending(vec![
        ("the partition table", facts::table(&case.worker.card)?),
        ("the configuration, and what is beside it", format!("{configuration:?}")),
        ("the upper's label", facts::label(&upper)?),
        ("state.json", state),
        ("what the upper holds", tree),
    ]))
}

/// state.json, without what says when and how often.
fn state(upper: &Path) -> Result<String> {
    let mut state = swapped::state(upper)?;
    let fields = state.as_object_mut().context("state.json is no object")?;
    for field in ["attempts", "began"] {
        ensure!(fields.remove(field).is_some(), "state.json has no {field}");
    }
    Ok(state.to_string())
}

/// Every file of the upper but the logs (a conversion that was cut off behind its configuration keeps none), what overlays have in their
/// work directories, and, where this machine cannot mount the boot partition, what is kept of that.
fn upper_tree(upper: &Path) -> Result<String> {
    let known = fs::read_to_string("/proc/filesystems").context("asking for the kernel's file systems")?;
    let kept = known.split_whitespace().any(|name| name == "vfat");
    let mut paths: Vec<_> = burnonce_vm::tree::walk(upper)?.into_keys().collect();
    let is_work = |path: &Path| path.parent().is_some_and(|parent| parent.ends_with("overlay-workdir/_"));
    paths.retain(|path| {
        let other = path.starts_with("burnonce/log") || path.ancestors().any(is_work);
        !other && (kept || !path.starts_with("burnonce/boot"))
    });
    Ok(paths.iter().map(|path| format!("{}\n", path.display())).collect())
}
