//! `burnonce/state.json` on the upper partition: what burnonce made there, for which image, and which generation is in use.
//!
//! Its presence is what makes a partition ours, so the file is put there while the file system is made. An agent of an older image
//! must be able to read it, for a reset brings the image's agent back: a newer minor version may add fields, a newer major version is
//! refused.

use crate::units::{Bytes, grouped};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where it is, from the upper partition's root.
pub const PATH: &str = "burnonce/state.json";

/// The version that this agent writes: major, minor.
const VERSION: (u32, u32) = (1, 1);

/// The content of state.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// `major.minor` of this format.
    pub version: String,
    /// The version of burnonce that made the upper.
    pub made_by: String,
    /// UUID of the root file system that this upper was made for: an upper is never laid over another image.
    pub made_for: String,
    /// How many attempts the conversion took.
    pub attempts: u32,
    /// Number of the generation in use, from 1; a reset starts the next one, an undo goes back to an earlier one. The directory `overlay`
    /// itself carries the number, too ([`crate::upper::Upper::number`]): that one changes in the very moment of the exchange.
    pub generation: u32,
    /// When the generation in use was first booted, in seconds since 1970 by the node's clock; 0: not known yet.
    #[serde(default)]
    pub began: u64,
    /// The generation in use is one that a reset began, and no boot has yet put back what its first boot needs on the boot partition.
    #[serde(default)]
    pub fresh: bool,
    /// SHA-256 (hex) of the user-data that the generation in use booted with; empty where the boot partition had none; `None`: to be
    /// taken at the next boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// What the guard is to do at the next boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// What became of the last request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Done>,
    /// Ids of files on the boot partition that were dealt with, carried out or refused, and that may still be there: they ask for nothing
    /// any more. The agent forgets an id when its file is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumed: Vec<String>,
    /// The generations that were set aside and are kept for an undo, the one that ended last at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set_aside: Vec<Generation>,
}

/// What the owner asked for; the guard carries it out, while nothing has the upper mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// One request has one id, so that it is not carried out twice. For a file on the boot partition it is made of that file's name, time
    /// and content: the same file is the same request.
    pub id: String,
    pub kind: Kind,
    pub by: Trigger,
    /// When it was asked for, in seconds since 1970 by the node's clock.
    pub at: u64,
    /// For a reset: the paths and globs whose files go over into the new generation, resolved when it was asked for (the initramfs cannot
    /// see an edit of `/etc/burnonce.yaml` in the overlay).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Begin a new, empty generation.
    Reset,
    /// Go back to the generation that was set aside last.
    Undo,
}

/// How it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// `burnonce reset` or `burnonce undo`.
    Command,
    /// A file on the boot partition.
    File,
    /// User-data that differs from what the generation booted with.
    UserData,
}

/// A request that the guard has dealt with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    #[serde(flatten)]
    pub request: Request,
    /// Why it was not carried out: a sentence without its full stop; `None`: it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// A generation that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    pub number: u32,
    /// When it was first booted, in seconds since 1970; 0: not known.
    #[serde(default)]
    pub began: u64,
    /// When its end was asked for, in seconds since 1970.
    pub ended: u64,
    /// What ended it, and how that was asked for.
    pub kind: Kind,
    pub by: Trigger,
    /// What it holds, where it has been counted since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

/// What a tree holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Size {
    /// Files, directories and everything else, the top itself not counted.
    pub files: u64,
    /// Bytes that they take on the card; a hard link counts once.
    pub bytes: u64,
}

/// `1.2 GiB in 3,417 files`.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.files == 1 { "" } else { "s" };
        write!(f, "{} in {} file{plural}", Bytes(self.bytes), grouped(self.files))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Reset => "reset",
            Kind::Undo => "undo",
        })
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trigger::Command => "by command",
            Trigger::File => "by a file on the boot partition",
            Trigger::UserData => "by changed user-data",
        })
    }
}

impl State {
    /// The state of a fresh upper.
    pub fn new(made_for: &str, attempts: u32) -> State {
        State {
            version: version(),
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            made_for: made_for.to_owned(),
            attempts,
            generation: 1,
            began: 0,
            fresh: false,
            user_data: None,
            request: None,
            last: None,
            consumed: Vec::new(),
            set_aside: Vec::new(),
        }
    }

    /// Puts a request into the books that was carried out, or refused for this reason, and gives what is said of it.
    pub fn close(&mut self, request: Request, refused: Option<String>) -> Done {
        if request.by == Trigger::File && !self.consumed.contains(&request.id) {
            self.consumed.push(request.id.clone());
        }
        let done = Done { request, refused };
        (self.request, self.last) = (None, Some(done.clone()));
        done
    }

    /// The text of state.json. The version becomes that of this agent.
    pub fn to_json(&self) -> Result<String> {
        let state = State { version: version(), ..self.clone() };
        Ok(serde_json::to_string_pretty(&state).context("writing state.json")? + "\n")
    }
}

fn version() -> String {
    format!("{}.{}", VERSION.0, VERSION.1)
}

/// Reads the text of a state.json.
///
/// # Errors
/// Not JSON of this form; a newer major version; a field that this version does not know, unless the file's minor version is newer.
pub fn parse(text: &str) -> Result<State> {
    let value: serde_json::Value = serde_json::from_str(text).context("state.json is not JSON")?;
    let version = value.get("version").and_then(|v| v.as_str()).context("state.json has no version")?;
    let (major, minor) = version
        .split_once('.')
        .and_then(|(a, b)| Some((a.parse::<u32>().ok()?, b.parse::<u32>().ok()?)))
        .with_context(|| format!("state.json has the version `{version}`, which is not `major.minor`"))?;
    if major > VERSION.0 {
        bail!("state.json has version {version}, made by a newer burnonce; this one reads up to {}.x", VERSION.0);
    }
    let state: State = serde_json::from_value(value.clone()).context("state.json")?;
    if (major, minor) <= VERSION {
        let known = serde_json::to_value(&state)?;
        if let Some(key) = value.as_object().and_then(|o| o.keys().find(|k| known.get(k.as_str()).is_none())) {
            bail!("state.json has the unknown field `{key}`");
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let state = State::new("1234-abcd", 2);
        assert_eq!(parse(&state.to_json().unwrap()).unwrap(), state);
    }

    #[test]
    fn versions_decide_what_is_accepted() {
        let with = |version: &str, extra: &str| {
            format!(r#"{{"version":"{version}","made_by":"9","made_for":"u","attempts":1,"generation":4{extra}}}"#)
        };
        assert_eq!(parse(&with("1.0", "")).unwrap().generation, 4);
        assert_eq!(parse(&with("1.7", r#","later":{"id":1}"#)).unwrap().generation, 4);
        for (text, message) in [
            (with("1.0", r#","later":null"#), "unknown field `later`"),
            (with("2.0", ""), "newer burnonce"),
            (with("one", ""), "not `major.minor`"),
            ("{}".to_owned(), "no version"),
            ("torn".to_owned(), "not JSON"),
        ] {
            let error = format!("{:#}", parse(&text).unwrap_err());
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
