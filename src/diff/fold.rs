//! Which changes are counted and not listed: `diff.fold`.

use glob::{MatchOptions, Pattern};
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `*` and `?` match within a name, `**` any number of directories.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// Patterns, and how many changes each has matched so far. A pattern matches a path and all that is below it.
#[derive(Debug)]
pub struct Fold {
    counted: Vec<(String, u64)>,
    /// Most patterns are plain paths: one look-up for all of them.
    plain: HashMap<Vec<u8>, usize>,
    globs: Vec<(Pattern, usize)>,
    /// The directory of the last path, and what matched it: changes come directory by directory.
    last: (PathBuf, Option<usize>),
}

impl Fold {
    /// These patterns, in the form that [`crate::config::pattern`] gives. Those that match `at` are left out: what was asked for is
    /// listed.
    pub fn new(patterns: &[String], at: &Path) -> Fold {
        let all = Fold::of(patterns);
        let wanted: Vec<String> = patterns
            .iter()
            .enumerate()
            .filter(|(index, _)| !at.ancestors().any(|path| all.is_match(path, *index)))
            .map(|(_, pattern)| pattern.clone())
            .collect();
        Fold::of(&wanted)
    }

    fn of(patterns: &[String]) -> Fold {
        let mut fold =
            Fold { counted: Vec::new(), plain: HashMap::new(), globs: Vec::new(), last: (PathBuf::new(), None) };
        for (index, pattern) in patterns.iter().enumerate() {
            fold.counted.push((pattern.clone(), 0));
            if pattern.contains(['*', '?', '[']) {
                // The configuration has checked it.
                fold.globs.extend(Pattern::new(pattern).ok().map(|glob| (glob, index)));
            } else {
                fold.plain.entry(pattern.as_bytes().to_vec()).or_insert(index);
            }
        }
        fold
    }

    fn is_match(&self, path: &Path, index: usize) -> bool {
        let plain = self.plain.get(path.as_os_str().as_bytes()) == Some(&index);
        plain || self.globs.iter().any(|(glob, i)| *i == index && matches(glob, path))
    }

    /// Whether `path` is folded; then it is counted.
    pub fn takes(&mut self, path: &Path) -> bool {
        let parent = path.parent().unwrap_or(path);
        if self.last.0 != parent {
            self.last = (parent.to_owned(), self.above(parent));
        }
        let Some(index) = self.last.1.or_else(|| self.exactly(path)) else { return false };
        if let Some((_, count)) = self.counted.get_mut(index) {
            *count += 1;
        }
        true
    }

    /// The pattern that matches `path` or a directory it is in, the uppermost first.
    fn above(&self, path: &Path) -> Option<usize> {
        let mut above: Vec<&Path> = path.ancestors().collect();
        above.reverse();
        above.into_iter().find_map(|path| self.exactly(path))
    }

    fn exactly(&self, path: &Path) -> Option<usize> {
        let plain = self.plain.get(path.as_os_str().as_bytes()).copied();
        plain.or_else(|| self.globs.iter().find(|(glob, _)| matches(glob, path)).map(|(_, index)| *index))
    }

    /// The patterns that matched something, and how many changes.
    pub fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counted.iter().filter(|(_, count)| *count > 0).map(|(pattern, count)| (pattern.as_str(), *count))
    }
}

fn matches(glob: &Pattern, path: &Path) -> bool {
    glob.matches_with(&path.to_string_lossy(), OPTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(patterns: &[&str], at: &str, paths: &[&str]) -> (Vec<bool>, Vec<(String, u64)>) {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        let mut fold = Fold::new(&patterns, Path::new(at));
        let taken = paths.iter().map(|path| fold.takes(Path::new(path))).collect();
        (taken, fold.counts().map(|(pattern, count)| (pattern.to_owned(), count)).collect())
    }

    #[test]
    fn a_pattern_takes_a_path_and_all_that_is_below_it() {
        let paths = ["/var/cache", "/var/cache/apt/x", "/var/cache/apt/y", "/var/cached", "/var", "/var/log/x"];
        let (taken, counts) = folded(&["/var/cache", "/etc"], "/", &paths);
        assert_eq!(taken, [true, true, true, false, false, false]);
        assert_eq!(counts, [("/var/cache".to_owned(), 3)]);
    }

    #[test]
    fn a_star_stays_within_a_name_and_two_do_not() {
        let paths =
            ["/home/a/.cache/x", "/home/a/b/.cache/x", "/usr/lib/a/b/__pycache__/c.pyc", "/etc/passwd-", "/etc/a/b-"];
        let (taken, counts) = folded(&["/home/*/.cache", "/usr/**/__pycache__", "/etc/*-"], "/", &paths);
        assert_eq!(taken, [true, false, true, true, false]);
        assert_eq!(counts.len(), 3);
    }

    #[test]
    fn what_was_asked_for_is_not_folded() {
        let (taken, _) = folded(
            &["/var/cache", "/var/c*", "/var/cache/apt/x"],
            "/var/cache/apt",
            &["/var/cache/apt/x", "/var/cache/apt/y"],
        );
        assert_eq!(taken, [true, false]);
    }
}
