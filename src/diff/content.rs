//! `burnonce diff --content`: what changed in a file.

use super::layers::{self, Layers, Located};
use super::stat::Stat;
use crate::output::escaped;
use crate::units::{Bytes, MIB};
use anyhow::{Context, Result, bail};
use similar::TextDiff;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest file that is compared line by line.
const LONGEST: Bytes = Bytes(8 * MIB);
/// After this, a comparison takes the next best answer: right, but not the shortest.
const PATIENCE: Duration = Duration::from_secs(5);

/// The unified diff of the file `path` against the image's, the missing side of a file that was added or deleted being `/dev/null`;
/// one sentence for content that is no text. `None`: the content is as it was burned.
///
/// # Errors
/// It is not there, is or was no regular file, is too long, or cannot be read.
pub fn content(layers: &Layers, path: &Path) -> Result<Option<String>> {
    let Some([old, new]) = sides(layers, path)? else { return Ok(None) };
    let missing = (old.is_none(), new.is_none());
    let (old, new) = (load(layers, path, old)?, load(layers, path, new)?);
    if old == new && missing == (false, false) {
        return Ok(None);
    }
    let name = |side: &str, missing| if missing { "/dev/null".to_owned() } else { side.to_owned() + &escaped(path) };
    let (from, to) = (name("image", missing.0), name("node", missing.1));
    let (Some(old), Some(new)) = (as_text(&old), as_text(&new)) else {
        return Ok(Some(format!("Binary files {from} and {to} differ\n")));
    };
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(old, new);
    let text = diff.unified_diff().header(&from, &to).to_string();
    // An empty file that was added or deleted has no lines that differ.
    Ok(Some(if text.is_empty() { format!("--- {from}\n+++ {to}\n") } else { text }))
}

/// The files with the image's and the node's content; `None` where the upper has none of it.
fn sides(layers: &Layers, path: &Path) -> Result<Option<[Option<PathBuf>; 2]>> {
    let looking = || format!("looking at {}", path.display());
    let (old, new) = match layers.locate(path).with_context(looking)? {
        Located::Absent => bail!("{}: neither the image nor this node has it", path.display()),
        Located::Unchanged(stat) => {
            regular(path, &stat, "is")?;
            return Ok(None);
        }
        Located::Hidden(stat) => (Some((path.to_owned(), stat)), None),
        Located::Upper(directory) => {
            // Below a directory that was renamed, the lower's is elsewhere; below one that was replaced, it is hidden, but is what the
            // image has.
            let merged = directory.lower.as_ref().zip(path.file_name()).map(|(parent, name)| parent.join(name));
            let was = merged.unwrap_or_else(|| path.to_owned());
            let old = layers.image_entry(&was).with_context(looking)?.map(|stat| (was, stat));
            let stat = Stat::of(&layers.upper(path)).with_context(looking)?;
            let new = if layers.is_whiteout(path, &stat, directory.whiteout_files).with_context(looking)? {
                None
            } else {
                regular(path, &stat, "is")?;
                Some(layers.content(path, directory.lower.as_deref()).with_context(looking)?)
            };
            (old, new)
        }
    };
    let old = match old {
        Some((was, stat)) => {
            regular(path, &stat, "was")?;
            Some(layers.lower(&was))
        }
        None if new.is_none() => bail!("{}: neither the image nor this node has it", path.display()),
        None => None,
    };
    Ok(Some([old, new]))
}

fn regular(path: &Path, stat: &Stat, verb: &str) -> Result<()> {
    let name = stat.file_type().name();
    if !stat.is_file() {
        bail!("{} {verb} a {name}; --content compares regular files", path.display());
    }
    Ok(())
}

fn load(layers: &Layers, path: &Path, side: Option<PathBuf>) -> Result<Vec<u8>> {
    let Some(file) = side else { return Ok(Vec::new()) };
    let reading = || format!("reading {}", file.display());
    let mut bytes = Vec::new();
    layers::open(&file).and_then(|f| f.take(LONGEST.0 + 1).read_to_end(&mut bytes)).with_context(reading)?;
    if bytes.len() as u64 > LONGEST.0 {
        let image = layers.lower(path);
        bail!(
            "{} is longer than {LONGEST}, too long to be compared line by line; `cmp {} {}` says where the two differ first",
            file.display(),
            image.display(),
            path.display()
        );
    }
    Ok(bytes)
}

/// What can be compared line by line.
fn as_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}
