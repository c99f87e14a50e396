//! What `burnonce reset --preview` prints.

use crate::keep::Survey;
use crate::output::escaped;
use crate::state::Size;
use crate::time;
use crate::units::{Bytes, grouped};
use std::fmt::Write;

/// How many lines show what would be lost.
const LINES: usize = 15;

/// The whole text. `began`: when the present generation did, in seconds since 1970.
pub(super) fn text(survey: &Survey, began: u64) -> String {
    let mut text = String::new();
    if survey.kept.is_empty() {
        text += "Nothing is kept.\n";
    } else {
        let _ = writeln!(text, "What is kept: {}.", survey.kept());
        for (kept, size) in &survey.kept {
            let deleted = if kept.deleted { " (deleted, and stays so)" } else { "" };
            let _ = writeln!(text, "{}  {}{deleted}", columns(*size), escaped(&kept.path));
        }
    }
    for pattern in &survey.unmatched {
        let _ = writeln!(text, "Nothing that was written matches {}.", escaped(pattern));
    }
    let _ = writeln!(text, "What is lost: {}.", lost(survey, began));
    let all = &survey.dropped_below;
    // One line more is no worse than a line that says so.
    let shown = if all.len() > LINES { LINES - 1 } else { all.len() };
    for (path, size) in &all[..shown] {
        let _ = writeln!(text, "{}  {}", columns(*size), escaped(path));
    }
    if shown < all.len() {
        let rest = all[shown..].iter().fold(Size::default(), |sum, (_, size)| Size {
            files: sum.files + size.files,
            bytes: sum.bytes + size.bytes,
        });
        let _ = writeln!(text, "{}  {} more in /", columns(rest), all.len() - shown);
    }
    text
}

/// `1.2 GiB in 3,417 files, written since 2026-11-01 10:12 UTC`.
pub(super) fn lost(survey: &Survey, began: u64) -> String {
    let since = time::utc(began).map_or(String::new(), |began| format!(", written since {began}"));
    format!("{}{since}", survey.dropped)
}

fn columns(size: Size) -> String {
    format!("  {:>10}  {:>10}", Bytes(size.bytes), grouped(size.files))
}
