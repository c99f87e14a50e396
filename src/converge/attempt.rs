//! Carrying out a plan, and what is left of a failure: for the owner, and for the next boot.

use super::{Options, leave_notice};
use crate::apply::{self, Failure, Machine};
use crate::config::{self, Config, Led};
use crate::console::Console;
use crate::led::Blink;
use crate::observation::Observation;
use crate::overlay::{Configuration, Counts};
use crate::step::{Plan, Purpose, Step};
use crate::{notice, observe, plan};
use anyhow::Result;
use std::thread::sleep;
use std::time::Duration;

/// For what makes the first attempt fail to pass.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);

/// Carries the plan out, blinks meanwhile, and writes a failure down where it will be found.
///
/// # Errors
/// The step that failed, and why.
pub(crate) fn carry_out(
    plan: &Plan,
    seen: &Observation,
    config: &Config,
    options: &Options,
    console: &mut Console,
) -> Result<()> {
    let Some(disk) = seen.disk.as_ref().filter(|_| !plan.steps.is_empty()) else { return Ok(()) };
    let counts = match &seen.configuration {
        Configuration::Begun(counts) | Configuration::Complete(counts) => counts.clone(),
        Configuration::Absent | Configuration::Foreign { .. } => Counts::default(),
    };
    let machine = Machine {
        root: options.root,
        disk,
        lower: &seen.lower,
        conf: &config.overlay.conf,
        counts,
        reboot: options.reboot,
    };
    let restarts = plan.steps.contains(&Step::Reboot);
    let _blink = if restarts && config.console.led == Led::Auto { Blink::start(options.root) } else { None };
    if plan.purpose == Purpose::Convert {
        notice::clear(options.root, disk, &seen.lower)
            .unwrap_or_else(|error| log::info!("looking for an old {} on the boot partition: {error:#}", notice::NAME));
    }
    apply::run(plan, &machine, console, options.limit).map_err(|failure| failed(plan, seen, &machine, failure))
}

/// The second attempt to convert, after the first has failed on something else than the restart: much that fails does so once, and a boot
/// that goes on writes a first boot's files to the image. What fails again is for the owner, who needs a node to log in to.
pub(super) fn again(first: &Plan, options: &Options) -> Option<(Plan, Observation)> {
    if !first.steps.contains(&Step::RecordAttempt { attempt: 1 }) {
        return None;
    }
    sleep(BETWEEN_ATTEMPTS);
    let (loaded, config) = config::of(options.root);
    let seen = observe::observe(options.root, &config).ok()?;
    let second = plan::decide(&seen, &loaded).ok()?;
    let is_configured = matches!(seen.configuration, Configuration::Complete(_));
    (second.purpose == Purpose::Convert && !is_configured).then_some((second, seen))
}

/// Writes down what failed, for the owner and the next boot.
fn failed(plan: &Plan, seen: &Observation, machine: &Machine, failure: Failure) -> anyhow::Error {
    let begun = plan.steps.iter().find_map(|step| match step {
        Step::RecordAttempt { attempt } => {
            Some(("convert this node", *attempt, Counts { attempts: *attempt, ..machine.counts.clone() }))
        }
        Step::InstallPackages { attempt, .. } => {
            let counts = Counts { rebuilds: *attempt, rebuilt: false, ..machine.counts.clone() };
            Some(("prepare this node", *attempt, counts))
        }
        Step::RebuildInitramfs { rebuild, .. } => {
            Some(("rebuild the initramfs", *rebuild, Counts { rebuilds: *rebuild, ..machine.counts.clone() }))
        }
        _ => None,
    });
    if failure.configured {
        return failure.error.context(format!("could not {}", failure.step));
    }
    if let Some((what, attempt, counts)) = begun.filter(|_| failure.step != Step::Reboot.to_string()) {
        apply::record_failure(machine, counts, &failure);
        let most = plan::MAX_ATTEMPTS;
        let next = if attempt < most {
            "The next boot tries again. Until then"
        } else {
            "burnonce does not try again. From now on"
        };
        let text = format!("{}: {:#}", failure.step, failure.error);
        leave_notice(
            machine.root,
            seen,
            &format!(
                "Attempt {attempt} of {most} to {what} failed. {text}.\n{next} the node writes to the image as it would without burnonce, \
                 and that stays in it:\nwhere a reset is to give back what was burned, burn the card again."
            ),
        );
    }
    failure.error.context(format!("could not {}", failure.step))
}
