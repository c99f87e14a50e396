//! What the units run: look, decide, do, and say so.

use crate::apply::{self, RUN};
use crate::at_boot::Next;
use crate::config::{self, Config};
use crate::console::Console;
use crate::guard::check;
use crate::observation::{Observation, Root};
use crate::output::print;
use crate::refusal::{Refusal, aftermath};
use crate::step::{Plan, Purpose};
use crate::{Exit, at_boot, files, hold, maintain, motd, mounted, notice, observe, overlay, packages, plan};
use anyhow::{Context, Result};
pub(crate) use attempt::carry_out;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::time::Instant;
use words::{announce, overlay_line, say_what_is_prepared};

mod attempt;
mod words;

/// How a run of `converge` or `prepare` is to be.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The machine's root: `/`.
    pub root: &'a Path,
    /// When the program was started.
    pub started: Instant,
    /// Whether the machine is restarted at the end of a conversion.
    pub reboot: bool,
    /// How many steps of the plan to carry out at most.
    pub limit: usize,
    /// This is the late run: the one that may rebuild the initramfs.
    pub late: bool,
}

/// What the last run in this boot came to, kept in `/run/burnonce/converge.json` for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// `converged`, `off`, `refused`, `degraded`, `failed`, `preparing`, `converted`, `sealed`, `remade`, `restarting`,
    /// `request-failed`.
    pub outcome: String,
    /// What the console said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Milliseconds from the start of the program to its end.
    pub took_ms: u64,
    /// The version that ran.
    pub version: String,
}

/// Where an [`Outcome`] is kept, below the root.
pub const OUTCOME: &str = "run/burnonce/converge.json";
/// There as soon as something has run in this boot.
const STARTED: &str = "run/burnonce/started";
/// The late unit runs where this file is.
const PREPARE: &str = "run/burnonce/prepare";

/// Runs it. The console of the node has said everything when this returns.
pub fn run(options: Options) -> Exit {
    // A unit that failed is started again whenever another one is: the consoles have heard it all.
    let first = options.late || is_first_run(options.root);
    let mut console = if first { Console::open(options.root) } else { Console::silent() };
    let (exit, outcome, message) = match converge(&options, first, &mut console) {
        Ok(end) => end,
        Err(error) => {
            let message = format!("{error:#}");
            console.warn(format_args!("failed: {message}. This boot goes on without burnonce"));
            (Exit::Failed, "failed", message)
        }
    };
    if exit != Exit::Degraded {
        motd::set(options.root, None).unwrap_or_else(|error| log::warn!("{error:#}"));
    }
    let took_ms = u64::try_from(options.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    log::info!("{outcome} in {took_ms} ms");
    let outcome =
        Outcome { outcome: outcome.to_owned(), message, took_ms, version: env!("CARGO_PKG_VERSION").to_owned() };
    if let Err(error) = keep(options.root, &outcome) {
        log::warn!("{error:#}");
    }
    exit
}

fn keep(root: &Path, outcome: &Outcome) -> Result<()> {
    let path = root.join(OUTCOME);
    fs::create_dir_all(root.join(RUN)).with_context(|| format!("making {}", root.join(RUN).display()))?;
    // Memory: no need for a flush, and a boot with nothing to do is to be short.
    fs::write(&path, serde_json::to_string(outcome)? + "\n").with_context(|| format!("writing {}", path.display()))
}

type End = (Exit, &'static str, String);

/// Whether nothing has run in this boot, and from now on something has: the mark is made before anything else, for a run can be killed.
fn is_first_run(root: &Path) -> bool {
    let mark = root.join(STARTED);
    if mark.exists() {
        return false;
    }
    let made = fs::create_dir_all(root.join(RUN)).and_then(|()| fs::write(&mark, ""));
    made.unwrap_or_else(|error| log::warn!("writing {}: {error}", mark.display()));
    true
}

fn converge(options: &Options, first: bool, console: &mut Console) -> Result<End> {
    let root = options.root;
    let (loaded, config) = config::of(root);
    let mut seen = observe::observe(root, &config)?;
    let mut decided = plan::decide(&seen, &loaded);
    // Before anything is written: from then on root may be writable.
    let booting = is_booting(options, &seen, first)?;
    // A preparation that the power has cut off: whatever this boot comes to, services are to start again.
    if matches!(seen.root, Root::Plain { .. }) && packages::has_leftovers(root) && booting {
        mounted::with_root_writable(root, || packages::clear_leftovers(root))
            .unwrap_or_else(|error| log::warn!("{error:#}"));
    }
    // Nobody else has the upper checked as long as the overlay is not configured.
    if matches!(decided, Err(Refusal::UnusableUpper { .. })) && booting {
        if let Some(device) = plan::unclean_upper(&seen) {
            match check::repair(&root.join("dev").join(device), false) {
                Ok(did) => console.say(format_args!("{did}.")),
                Err(problem) => log::warn!("{}", problem.why),
            }
            seen = observe::observe(root, &config)?;
            decided = plan::decide(&seen, &loaded);
        }
    }
    if options.late {
        // Asked for once: were this unit started again in the same boot, it would have nothing to do.
        files::remove(&root.join(PREPARE))?;
    }
    let is_node_at_work = at_boot::is_for(&seen) && !options.late && is_unit(options, first);
    // What a file with a mistake says of this is not known.
    if is_node_at_work && loaded.is_ok() {
        hold::converge(root, config.overlay.hold)
            .map(drop)
            .unwrap_or_else(|error| log::warn!("holding packages: {error:#}"));
    }
    match decided {
        Err(refusal) => Ok(refuse(root, &seen, &refusal, console)),
        Ok(plan) => pursue(&plan, &seen, &config, options, first, booting, console),
    }
}

/// Says why the node is left alone, on the console and on the boot partition.
fn refuse(root: &Path, seen: &Observation, refusal: &Refusal, console: &mut Console) -> End {
    let message = refusal.to_string();
    console.warn(format_args!("not converting this node: {message}."));
    console.say(aftermath(seen));
    if matches!(seen.root, Root::Plain { .. }) {
        leave_notice(root, seen, &format!("This node was not converted: {message}."));
    }
    (Exit::Refused, "refused", message)
}

fn leave_notice(root: &Path, seen: &Observation, text: &str) {
    let Some(disk) = &seen.disk else { return };
    let text = format!(
        "burnonce {}\n\n{text}\n\n{}\n\
         burnonce looks again at every boot, and removes this file when it converts the node.\n",
        env!("CARGO_PKG_VERSION"),
        aftermath(seen)
    );
    if let Err(error) = notice::leave(root, disk, &seen.lower, &text) {
        log::warn!("leaving {} on the boot partition: {error:#}", notice::NAME);
    }
}

fn pursue(
    plan: &Plan,
    seen: &Observation,
    config: &Config,
    options: &Options,
    first: bool,
    booting: bool,
    console: &mut Console,
) -> Result<End> {
    for note in &plan.notes {
        console.say(format_args!("note: {note}."));
    }
    if first && !options.late {
        at_boot::say_what_the_guard_did(options.root, console);
    }
    match &plan.purpose {
        Purpose::Seal | Purpose::Remake { .. } | Purpose::Degraded { .. } if maintain::is_at_work(options.root) => {
            print(format_args!("{}.\n", maintain::AT_WORK));
            Ok((Exit::Refused, "refused", maintain::AT_WORK.to_owned()))
        }
        Purpose::Nothing => {
            // The console hears of it once: a boot with nothing to do is to be short, and a serial line is slow.
            if is_first_overlay_boot(options.root) {
                console.say(overlay_line(seen));
            } else {
                log::info!("{}", overlay_line(seen));
            }
            in_overlay((Exit::Done, "converged", String::new()), seen, config, options, first, console)
        }
        Purpose::Off { why } => {
            console.say(format_args!("switched off: {why}."));
            carry_out(plan, seen, config, options, console).map(|()| (Exit::Done, "off", why.clone()))
        }
        Purpose::Seal => {
            carry_out(plan, seen, config, options, console)?;
            console.say(overlay_line(seen));
            in_overlay((Exit::Done, "sealed", String::new()), seen, config, options, first, console)
        }
        Purpose::Grow => {
            console.say(
                "there is free space behind the upper: it grows now, while it is in use, and keeps what it holds.",
            );
            // The node is as good as before without it, and the next boot tries again.
            if let Err(error) = carry_out(plan, seen, config, options, console) {
                console.warn(format_args!("the upper has not grown: {error:#}."));
            }
            in_overlay((Exit::Done, "converged", String::new()), seen, config, options, first, console)
        }
        Purpose::Remake { .. } if options.late || !is_unit(options, first) => {
            let message = "the next boot of this node does that: restart it, or run `burnonce repartition`";
            print(format_args!("{plan}{message}.\n"));
            Ok((Exit::Refused, "refused", message.to_owned()))
        }
        Purpose::Remake { reasons } => {
            reasons.iter().for_each(|reason| console.warn(format_args!("{reason}.")));
            console.say("a new upper is made. This takes seconds, and ends with a restart.");
            match carry_out(plan, seen, config, options, console) {
                Ok(()) => Ok((Exit::Done, "remade", String::new())),
                Err(error) => {
                    // The partition of the old one may be gone by now. A second look that fails is no reason to end here.
                    let seen = observe::observe(options.root, config).unwrap_or_else(|_| seen.clone());
                    go_on_without(
                        &plan::without_a_new_upper(&seen, config, &error),
                        &seen,
                        config,
                        options,
                        first,
                        console,
                    )
                }
            }
        }
        // Only `burnonce repartition` plans that.
        Purpose::MakeWay { .. } => Ok((Exit::Refused, "refused", "a partition is in the way".to_owned())),
        Purpose::Degraded { .. } => go_on_without(plan, seen, config, options, first, console),
        Purpose::Convert | Purpose::Prepare { .. } if !booting => {
            let message = "the next boot of this node does that: restart it. \
                           To do it now would cut off whatever runs, and what has been written since the boot began would be \
                           in the image for good";
            print(format_args!("{plan}{message}.\n"));
            Ok((Exit::Refused, "refused", message.to_owned()))
        }
        Purpose::Prepare { lacks } if !options.late => {
            say_what_is_prepared(*lacks, &seen.packages, console);
            let path = options.root.join(PREPARE);
            fs::create_dir_all(options.root.join(RUN))
                .with_context(|| format!("making {}", options.root.join(RUN).display()))?;
            fs::write(&path, "").with_context(|| format!("writing {}", path.display()))?;
            Ok((Exit::Done, "preparing", String::new()))
        }
        Purpose::Prepare { .. } => {
            carry_out(plan, seen, config, options, console)?;
            Ok((Exit::Done, "preparing", String::new()))
        }
        Purpose::Convert if options.late => Ok((Exit::Done, "preparing", String::new())),
        Purpose::Convert => {
            announce(plan, seen, console);
            if let Err(error) = carry_out(plan, seen, config, options, console) {
                let Some((second, seen)) = attempt::again(plan, options) else { return Err(error) };
                console.warn(format_args!("failed: {error:#}. It is tried once more"));
                carry_out(&second, &seen, config, options, console)?;
            }
            Ok((Exit::Done, "converted", String::new()))
        }
    }
}

/// Goes on in a boot whose overlay is not what it should be: a plan of [`Purpose::Degraded`].
fn go_on_without(
    plan: &Plan,
    seen: &Observation,
    config: &Config,
    options: &Options,
    first: bool,
    console: &mut Console,
) -> Result<End> {
    let Purpose::Degraded { reasons, remedy } = &plan.purpose else {
        return Ok((Exit::Degraded, "degraded", String::new()));
    };
    say_degraded(options.root, reasons, remedy, console);
    if let Err(error) = carry_out(plan, seen, config, options, console) {
        console.warn(format_args!("{error:#}"));
    }
    let end = (Exit::Degraded, "degraded", reasons.join("; "));
    if !matches!(seen.root, Root::Overlay { upper: None, .. }) || !is_unit(options, first) {
        return Ok(end);
    }
    go_on(at_boot::on_memory(options.root, seen, config, console), end, options, console)
}

/// Says it on the consoles, and to everybody who logs in.
fn say_degraded(root: &Path, reasons: &[String], remedy: &str, console: &mut Console) {
    reasons.iter().for_each(|reason| console.warn(format_args!("DEGRADED: {reason}.")));
    console.warn(format_args!("what to do: {remedy}."));
    motd::set(root, Some(&motd::degraded(reasons, remedy))).unwrap_or_else(|error| log::warn!("{error:#}"));
}

/// What there is to do in a boot whose overlay is sound; it ends in `end`, where nothing of that changes it.
fn in_overlay(
    end: End,
    seen: &Observation,
    config: &Config,
    options: &Options,
    first: bool,
    console: &mut Console,
) -> Result<End> {
    if !at_boot::is_for(seen) || options.late || !is_unit(options, first) {
        return Ok(end);
    }
    go_on(at_boot::run(options.root, seen, config, console), end, options, console)
}

/// Goes on as what was asked for on the boot partition has it.
fn go_on(next: Next, end: End, options: &Options, console: &mut Console) -> Result<End> {
    match next {
        Next::GoOn => Ok(end),
        Next::Refused(why) => Ok((end.0, end.1, why)),
        Next::Restart if options.reboot => Err(apply::restart(options.root, console)),
        Next::Restart => {
            log::info!("not restarting, as asked");
            Ok((Exit::Done, "restarting", String::new()))
        }
        Next::Degraded(why, remedy) => {
            say_degraded(options.root, std::slice::from_ref(&why), &remedy, console);
            Ok((Exit::Degraded, "request-failed", format!("{why}: {remedy}")))
        }
    }
}

/// Whether this is the unit's run in a boot, and not a command that somebody typed on a node that is at work, nor a unit that was
/// started again: for a conversion nothing has made root writable yet, too; where the kernel command line did, this is the first run.
fn is_booting(options: &Options, seen: &Observation, first: bool) -> Result<bool> {
    let early = options.late || (seen.cmdline.rw && first) || mounted::is_read_only(options.root)?;
    Ok(is_unit(options, first) && early)
}

/// Whether systemd has started this very process (`SYSTEMD_EXEC_PID`, systemd.exec(5)), as the first of this boot. Without a restart it
/// may be typed, as tests do.
fn is_unit(options: &Options, first: bool) -> bool {
    // Before version 248 systemd gave a name to the run, but not the process.
    let by_systemd = match std::env::var("SYSTEMD_EXEC_PID") {
        Ok(pid) => pid == std::process::id().to_string(),
        Err(_) => nix::unistd::getppid().as_raw() == 1 && std::env::var_os("INVOCATION_ID").is_some(),
    };
    (by_systemd && first) || !options.reboot
}

/// Whether this is the first boot on this upper: no program has written to it yet.
fn is_first_overlay_boot(root: &Path) -> bool {
    !files::below(root, overlay::UPPER).join("overlay/var").exists()
}
