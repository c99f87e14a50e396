//! Globs on absolute paths: `*` and `?` stay within a name, `**` stands for any number of directories.

use anyhow::{Context, Result};
use glob::{MatchOptions, Pattern};
use std::cell::Cell;
use std::path::{Component, Path};

const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// What is to be kept.
pub(super) struct Patterns(Vec<Keep>);

/// One pattern.
pub(super) struct Keep {
    pub(super) text: String,
    whole: Pattern,
    /// What each name of a matching path matches. `None`: from here on anything may.
    names: Vec<Option<Pattern>>,
    matched: Cell<bool>,
}

impl Patterns {
    pub(super) fn new(texts: &[String]) -> Result<Patterns> {
        texts.iter().map(|text| Keep::new(text)).collect::<Result<_>>().map(Patterns)
    }

    /// Whether one of them matches `path`; notes each that does.
    pub(super) fn matches(&self, path: &Path) -> bool {
        // A name that is not UTF-8 is compared as it is shown.
        let path = path.to_string_lossy();
        let matching = self.0.iter().filter(|keep| keep.whole.matches_with(&path, OPTIONS));
        matching.inspect(|keep| keep.matched.set(true)).count() > 0
    }

    /// Whether something below this directory may match.
    pub(super) fn may_match_below(&self, directory: &Path) -> bool {
        self.0.iter().any(|keep| keep.may_match_below(directory))
    }

    /// Those that have matched nothing so far.
    pub(super) fn without_match(&self) -> impl Iterator<Item = &Keep> {
        self.0.iter().filter(|keep| !keep.matched.get())
    }
}

impl Keep {
    fn new(text: &str) -> Result<Keep> {
        let whole = Pattern::new(text).with_context(|| format!("`{text}` is no glob"))?;
        // A class that holds a slash is torn here, and is then no glob.
        let name = |name: &str| Some(name).filter(|name| *name != "**").and_then(|name| Pattern::new(name).ok());
        let names = text.split('/').skip(1).map(name).collect();
        Ok(Keep { text: text.to_owned(), whole, names, matched: Cell::new(false) })
    }

    /// Whether something below this directory may match.
    pub(super) fn may_match_below(&self, directory: &Path) -> bool {
        let mut wanted = self.names.iter();
        for component in directory.components() {
            let Component::Normal(name) = component else { continue };
            match wanted.next() {
                Some(None) => return true,
                Some(Some(pattern)) if pattern.matches_with(&name.to_string_lossy(), OPTIONS) => {}
                _ => return false,
            }
        }
        wanted.next().is_some()
    }
}
