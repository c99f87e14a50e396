//! `burnonce status`: how this node runs, on one screen. Changes nothing.

use crate::config::{self, Config};
use crate::converge::{OUTCOME, Outcome};
use crate::guard::report::{self, Report};
use crate::observation::{Observation, Place, Root};
use crate::output::print;
use crate::overlay::{self, Configuration};
use crate::plan::decide;
use crate::state::State;
use crate::step::Purpose;
use crate::units::{Bytes, MIB};
use crate::{Exit, files, hold, maintain, mounted, observe};
use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;
use serde::Serialize;
use std::fs;
use std::path::Path;

mod text;

/// What the node's root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// An overlay whose upper is on the card.
    Overlay,
    /// An overlay whose upper is in memory: what is written is lost at power-off.
    Memory,
    /// The image itself.
    Plain,
}

/// How the node is, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It runs on the overlay that was configured.
    Healthy,
    /// It does not run as it was configured.
    Degraded,
    /// burnonce has not made it an overlay node, or is not to.
    NotConverted,
    /// Converted, but told to boot the image itself this time.
    SwitchedOff,
    /// `maintain` has the image open.
    InMaintenance,
}

/// How this node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The version of burnonce that says this.
    pub version: String,
    /// What root is.
    pub mode: Mode,
    /// In a word.
    pub health: Health,
    /// It does not run as it was configured.
    pub degraded: bool,
    /// What is wrong, each a sentence; or why the node is not converted.
    pub reasons: Vec<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The upper, where it is on the card.
    pub upper: Option<Upper>,
    /// The image's root file system.
    pub lower: Option<Lower>,
    /// What the guard did in this boot, where the initramfs that booted has one.
    pub guard: Option<Report>,
    /// apt leaves kernel, firmware and initramfs packages alone here.
    pub held: bool,
    /// What burnonce keeps on the upper about itself: the generation, a pending request, what became of the last one, and what is set
    /// aside.
    pub state: Option<State>,
    /// What `converge` came to in this boot.
    pub converge: Option<Outcome>,
}

/// The upper partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upper {
    /// Its device node.
    pub device: String,
    /// Length of its file system, bytes.
    pub size: Bytes,
    /// Bytes in use.
    pub used: Bytes,
    /// Bytes that an ordinary user can still write.
    pub available: Bytes,
    /// Inodes that are still free.
    pub free_inodes: u64,
    /// It takes writes.
    pub writable: bool,
    /// Errors that the kernel recorded in its superblock.
    pub errors: u64,
}

/// The lower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lower {
    /// Its device node.
    pub device: String,
    /// The kernel refuses writable mounts of it.
    pub sealed: bool,
    /// It is mounted so that a write would reach it.
    pub writable: bool,
}

/// Prints the status of the machine at `root`.
///
/// # Errors
/// The machine could not be observed.
pub fn run(root: &Path, json: bool) -> Result<Exit> {
    let status = gather(root)?;
    if json {
        print(serde_json::to_string_pretty(&status)? + "\n");
    } else {
        print(&status);
    }
    Ok(if status.degraded { Exit::Degraded } else { Exit::Done })
}

fn gather(root: &Path) -> Result<Status> {
    let (loaded, config) = config::of(root);
    let seen = observe::observe(root, &config)?;
    let converge = fs::read_to_string(root.join(OUTCOME)).ok().and_then(|text| serde_json::from_str(&text).ok());
    let upper = match &seen.root {
        Root::Overlay { upper: Some(device), upper_writable, .. } => Some(upper(root, device, *upper_writable)?),
        _ => None,
    };
    let state = upper.as_ref().map(|_| crate::upper::Upper::at(files::below(root, overlay::UPPER)).state());
    let (mut health, mut reasons, mut remedy) = judge(&seen, &loaded, converge.as_ref());
    if maintain::is_at_work(root) {
        (health, reasons, remedy) = (Health::InMaintenance, vec![maintain::AT_WORK.to_owned()], None);
    }
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: mode(&seen),
        health,
        degraded: health == Health::Degraded,
        reasons,
        remedy,
        lower: lower(&seen),
        guard: report::read(root).ok().flatten(),
        held: hold::is_held(root),
        state: None,
        upper,
        converge,
    };
    if matches!(seen.root, Root::Overlay { .. }) && mounted::is_read_only(root)? {
        status.degrade("root itself is read-only, though its upper is not".to_owned());
        status.remedy.get_or_insert_with(|| {
            "take `ro` out of cmdline.txt on the boot partition, where it is, and restart; `mount -o remount,rw /` helps until then".to_owned()
        });
    }
    match state {
        Some(Ok(state)) => status.state = Some(state),
        Some(Err(error)) => status.degrade(format!("{error:#}")),
        None => {}
    }
    if let Some(failed) = status.converge.as_ref().filter(|o| o.outcome == "request-failed") {
        status.degrade(failed.message.clone());
    }
    if let Some(errors) = status.upper.as_ref().map(|u| u.errors).filter(|&n| n > 0) {
        status.degrade(format!(
            "the kernel recorded {errors} {} in the upper's file system; the next restart checks it",
            if errors == 1 { "error" } else { "errors" }
        ));
    }
    if status.upper.as_ref().is_some_and(Upper::is_full) {
        status.degrade("the upper is full: what is written next fails".to_owned());
        status.remedy.get_or_insert_with(|| "delete something, or begin anew with `burnonce reset`".to_owned());
    }
    Ok(status)
}

impl Upper {
    /// Whether there is no more room than a log file needs, for anybody but root; what the guard has given up of the ballast for this
    /// boot is none.
    fn is_full(&self) -> bool {
        self.available < Bytes(MIB) || self.free_inodes < 256
    }
}

impl Status {
    fn degrade(&mut self, reason: String) {
        (self.health, self.degraded) = (Health::Degraded, true);
        self.reasons.push(reason);
    }
}

fn mode(seen: &Observation) -> Mode {
    match &seen.root {
        Root::Overlay { upper: Some(_), .. } => Mode::Overlay,
        Root::Overlay { upper: None, .. } => Mode::Memory,
        Root::Plain { .. } | Root::OtherOverlay => Mode::Plain,
    }
}

/// How the node is, why, and what to do. A node that is not converted is not degraded, but it says why.
fn judge(
    seen: &Observation,
    loaded: &Result<Config>,
    converge: Option<&Outcome>,
) -> (Health, Vec<String>, Option<String>) {
    let plan = match decide(seen, loaded) {
        Ok(plan) => plan,
        Err(refusal) => return (Health::NotConverted, vec![refusal.to_string()], None),
    };
    match plan.purpose {
        Purpose::Nothing | Purpose::Grow => {
            let refused = converge.filter(|o| matches!(o.outcome.as_str(), "converged" | "sealed"));
            let refused = refused.map(|o| o.message.clone()).filter(|message| !message.is_empty());
            (Health::Healthy, plan.notes.into_iter().chain(refused).collect(), None)
        }
        Purpose::Off { why } if matches!(seen.configuration, Configuration::Complete(_)) => {
            let remedy = "take the word out of cmdline.txt on the boot partition and restart";
            (
                Health::SwitchedOff,
                vec![why, "what is written goes into the image itself".to_owned()],
                Some(remedy.to_owned()),
            )
        }
        Purpose::Off { why } => (Health::NotConverted, vec![why], None),
        Purpose::Seal => {
            let reason = "the image is not sealed: it is protected by the overlay's configuration alone".to_owned();
            (Health::Degraded, vec![reason], Some("restart; burnonce.service seals it".to_owned()))
        }
        Purpose::Degraded { reasons, remedy } => {
            (Health::Degraded, reasons.into_iter().chain(plan.notes).collect(), Some(remedy))
        }
        Purpose::Remake { reasons } => {
            let remedy = "restart: the next boot makes a new upper. To do it now, run `burnonce repartition`";
            (Health::Degraded, reasons.into_iter().chain(plan.notes).collect(), Some(remedy.to_owned()))
        }
        Purpose::Convert | Purpose::Prepare { .. } | Purpose::MakeWay { .. } => {
            let failed = converge.filter(|o| o.outcome == "failed");
            let failed = failed.map(|o| format!("the last attempt failed: {}", o.message));
            let reason = "not converted yet: the next boot does it".to_owned();
            (Health::NotConverted, failed.into_iter().chain([reason]).collect(), None)
        }
    }
}

fn lower(seen: &Observation) -> Option<Lower> {
    let Place::Partition { name, sealed, .. } = &seen.lower else { return None };
    let writable = match &seen.root {
        Root::Overlay { lower_writable, .. } => *lower_writable,
        Root::Plain { writable, .. } => *writable,
        Root::OtherOverlay => !sealed,
    };
    Some(Lower { device: format!("/dev/{name}"), sealed: *sealed, writable })
}

fn upper(root: &Path, device: &str, writable: bool) -> Result<Upper> {
    let mounted = files::below(root, overlay::UPPER);
    let numbers = statvfs(&mounted).with_context(|| format!("looking at {}", mounted.display()))?;
    let bytes = |blocks: u64| Bytes(blocks.saturating_mul(numbers.fragment_size()));
    let errors = root.join("sys/fs/ext4").join(device).join("errors_count");
    Ok(Upper {
        device: format!("/dev/{device}"),
        size: bytes(numbers.blocks()),
        used: bytes(numbers.blocks().saturating_sub(numbers.blocks_free())),
        available: bytes(numbers.blocks_available()),
        free_inodes: numbers.files_free(),
        writable,
        errors: fs::read_to_string(errors).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests;
