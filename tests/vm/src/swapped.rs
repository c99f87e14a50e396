//! What an upper has to be once the guard has carried out a reset or an undo.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::tree;

type Manifest = BTreeMap<PathBuf, tree::Facts>;

/// What has to come of a request.
#[derive(Clone, Debug)]
pub struct Swap {
    /// The generation that comes into use.
    pub new: u32,
    /// The one that is set aside.
    pub old: u32,
    /// Paths that a new generation begins with.
    pub kept: Vec<String>,
    /// There is room for the one that is set aside. If not, it goes: but it is never half of itself.
    pub room: bool,
}

/// The two generations as they were before.
pub struct Trees {
    in_use: Manifest,
    /// None for a reset: it begins a new one.
    set_aside: Option<Manifest>,
}

impl Trees {
    /// Those of the upper that is mounted on `upper`.
    pub fn of(upper: &Path, swap: &Swap) -> Result<Self> {
        let aside = aside(upper, swap.new);
        let set_aside = if aside.exists() { Some(tree::manifest(&aside)?) } else { None };
        Ok(Self { in_use: tree::manifest(&upper.join("overlay"))?, set_aside })
    }

    /// All of the old generation is set aside, the new one is in use, and the request is done, on the upper that is mounted on `upper`.
    pub fn are_swapped(&self, upper: &Path, swap: &Swap) -> Result<()> {
        let state = state(upper)?;
        ensure!(state["generation"] == swap.new && state["request"].is_null(), "{state:#}");
        ensure!(state["last"]["refused"].is_null() && state["last"]["kind"].is_string(), "{state:#}");
        let newest = state["set_aside"].as_array().and_then(|all| all.last()?["number"].as_u64());
        if swap.room {
            ensure!(newest == Some(u64::from(swap.old)), "{state:#}");
        }
        let aside = aside(upper, swap.old);
        if swap.room || aside.exists() {
            are_alike(&self.in_use, &tree::manifest(&aside)?).context("what was set aside")?;
        }
        let now = tree::manifest(&upper.join("overlay"))?;
        match &self.set_aside {
            Some(before) => are_alike(before, &now).context("what came back")?,
            None => {
                let paths: Vec<_> = now.keys().map(|path| path.display().to_string()).collect();
                ensure!(paths == swap.kept, "the new generation begins with {paths:?}");
            }
        }
        let has = |path: &str| upper.join(path).symlink_metadata().is_ok();
        ensure!(has("overlay-workdir/_"), "there is no work directory");
        ensure!(!has("burnonce/next"), "burnonce/next is still there");
        Ok(())
    }
}

fn aside(upper: &Path, number: u32) -> PathBuf {
    upper.join(format!("burnonce/generations/{number}/overlay"))
}

fn are_alike(before: &Manifest, now: &Manifest) -> Result<()> {
    ensure!(before == now, "it differs in {:?}", tree::disagreements(before, now));
    Ok(())
}

/// `burnonce/state.json` of the upper that is mounted on `upper`.
pub fn state(upper: &Path) -> Result<Value> {
    let path = upper.join("burnonce/state.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} holds {text:?}", path.display()))
}
