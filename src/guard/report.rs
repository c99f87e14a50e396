//! `/run/burnonce/guard.json`: what the guard saw and did in this boot.

use crate::state::Done;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Where it is, below the root of the running system and of the initramfs alike: init moves `/run`.
pub const PATH: &str = "run/burnonce/guard.json";

/// What the guard came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Root is not configured for an overlay of burnonce's: nothing was looked at.
    NotConfigured,
    /// `burnonce=off` is on the kernel command line.
    Off,
    /// The overlay gets its upper on the card.
    Upper,
    /// It gets one in memory: the upper cannot be used.
    Memory,
    /// There is none: the upper cannot be used, and `overlay.on_failure: lower` is set.
    Lower,
    /// The boot ends here: the upper cannot be used, and `overlay.on_failure: stop` is set.
    Stop,
}

/// What the guard saw and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version that ran: the initramfs may have an older one than root.
    pub version: String,
    pub verdict: Verdict,
    /// Device node of the upper, where one was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<String>,
    /// Why the upper cannot be used, and what to do: two sentences with their full stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// What was repaired, cleared away or otherwise done beside a request, each a sentence without its full stop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub did: Vec<String>,
    /// The request that was dealt with in this boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Done>,
    /// Milliseconds that each part took, in their order: `find`, `check`, `look`, `request`, ...
    pub took_ms: Vec<(String, u64)>,
    /// Milliseconds from the start of the process to its end.
    pub total_ms: u64,
}

/// Why the upper cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What was found, a sentence.
    pub why: String,
    /// What the owner can do, a sentence.
    pub remedy: String,
}

/// Reads the report of this boot; `None`: the initramfs that booted has no guard.
///
/// # Errors
/// The file is there, but is none of the guard's.
pub fn read(root: &Path) -> Result<Option<Report>> {
    let path = root.join(PATH);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("reading {}", path.display()))?,
    };
    serde_json::from_str(&text).map(Some).with_context(|| format!("reading {}", path.display()))
}
