//! `burnonce/state.json` on the upper partition: what burnonce made there, and for which image.
//!
//! Its presence is what makes a partition ours, so the file is put there while the file system is made. An agent of an older image
//! must be able to read it: a newer minor version may add fields, a newer major version is refused.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Where it is, from the upper partition's root.
pub const PATH: &str = "burnonce/state.json";

/// The version that this agent writes: major, minor.
const VERSION: (u32, u32) = (1, 0);

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
    /// Number of the upper in use, from 1; a reset starts the next one.
    pub generation: u32,
}

impl State {
    /// The state of a fresh upper.
    pub fn new(made_for: &str, attempts: u32) -> State {
        State {
            version: format!("{}.{}", VERSION.0, VERSION.1),
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            made_for: made_for.to_owned(),
            attempts,
            generation: 1,
        }
    }

    /// The text of state.json.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self).context("writing state.json")? + "\n")
    }
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
        assert_eq!(parse(&with("1.7", r#","request":{"id":1}"#)).unwrap().generation, 4);
        for (text, message) in [
            (with("1.0", r#","request":null"#), "unknown field `request`"),
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
