//! `/run/burnonce/guard.json`: what the guard saw and did in this boot.

use crate::files;
use crate::overlay;
use crate::state::Done;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Where it is, below the root of the running system and of the initramfs alike: init moves `/run`.
pub const PATH: &str = "run/burnonce/guard.json";

/// What overlayroot's configuration sources, below the root: the guard's answer in its language.
pub const CONF: &str = "run/burnonce/overlayroot.conf";

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

impl Problem {
    /// Each becomes one line, whatever a program or a file name put into it.
    pub fn new(why: impl Into<String>, remedy: impl Into<String>) -> Problem {
        let line = |text: String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Problem { why: line(why.into()), remedy: line(remedy.into()) }
    }
}

impl Report {
    /// The report of a guard that has not looked at anything yet.
    pub fn begun() -> Report {
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            verdict: Verdict::NotConfigured,
            upper: None,
            problem: None,
            did: Vec::new(),
            request: None,
            took_ms: Vec::new(),
            total_ms: 0,
        }
    }

    /// The text of [`CONF`]; `None` where overlayroot's own files are to say what they say without a guard.
    fn conf(&self) -> Option<String> {
        let value = match (self.verdict, &self.upper) {
            (Verdict::NotConfigured | Verdict::Off, _) => return None,
            (Verdict::Upper, Some(device)) => format!("device:dev={device},recurse=0"),
            (Verdict::Lower, _) => String::new(),
            // Should the boot go on though it was to stop, memory does no harm.
            (Verdict::Upper | Verdict::Memory | Verdict::Stop, _) => "tmpfs:recurse=0".to_owned(),
        };
        Some(format!("overlayroot=\"{value}\"\n"))
    }

    /// Writes it below `root`, in memory: the report, what overlayroot is to do, and why where that is not the upper. What an earlier guard
    /// of this boot wrote does not stay.
    ///
    /// # Errors
    /// `/run` takes no files.
    pub fn write(&self, root: &Path) -> Result<()> {
        let reason = self.problem.as_ref().map(|p| format!("{}\n{}\n", p.why, p.remedy));
        let report = serde_json::to_string(self)? + "\n";
        for (name, text) in [(PATH, Some(report)), (overlay::REASON, reason), (CONF, self.conf())] {
            let path = root.join(name);
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
            }
            match text {
                Some(text) => fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?,
                None => files::remove(&path).map(drop)?,
            }
        }
        Ok(())
    }
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
