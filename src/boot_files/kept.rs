//! What the boot partition had of that is kept on the upper, and put back.

use super::{FILES, first_boot_words, with_words, words};
use crate::boot_partition::{Boot, setting};
use crate::files;
use crate::upper::Upper;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The longest file that is kept, in bytes. Some hold a password, so that nobody but root can read what is kept.
const LONGEST: u64 = 64 << 10;
/// Where they are kept, below `burnonce/` on the upper.
const DIRECTORY: &str = "boot";
/// The words are kept beside the files, under this name.
const WORDS: &str = "cmdline.words";
/// What was put back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PutBack {
    /// Files that were gone.
    pub files: Vec<String>,
    /// Words that no word of the command line stood for; they work from the next boot on.
    pub words: Vec<String>,
}

/// Keeps on `upper` what is there on the boot partition at `boot`. What was kept before and is gone by now stays kept; what is kept already
/// is not written again.
///
/// # Errors
/// Something cannot be read, is too long, or cannot be kept; the rest is kept all the same.
pub fn keep(boot: &Path, upper: &Upper) -> Result<()> {
    let directory = upper.own(DIRECTORY);
    match fs::DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => made.with_context(|| format!("making {}", directory.display()))?,
    }
    let mut failed = Vec::new();
    for name in FILES {
        let kept = read(&boot.join(name)).and_then(|content| match content {
            Some(content) => keep_content(&directory.join(name), &content),
            None => Ok(()),
        });
        failed.extend(kept.err());
    }
    failed.extend(keep_words(boot, &directory).err());
    all_of(failed)
}

fn keep_words(boot: &Path, directory: &Path) -> Result<()> {
    let Some(text) = read_text(&cmdline(boot)?)? else { return Ok(()) };
    match first_boot_words(&text).join(" ") {
        words if words.is_empty() => Ok(()),
        words => keep_content(&directory.join(WORDS), words.as_bytes()),
    }
}

fn keep_content(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|kept| kept == content) {
        return Ok(());
    }
    files::replace_with(path, content, 0o600)
}

/// Puts back on the boot partition what was kept on `upper` and is gone. Files that are there stay as they are, whatever is in them;
/// the words are added where none of them is there, after the files that they name. Can be cut off and run again.
///
/// # Errors
/// Something could not be put back; the rest was, as far as it does not need that.
pub fn put_back(boot: &Boot, upper: &Upper) -> Result<PutBack> {
    let kept = upper.own(DIRECTORY);
    let mut back = PutBack::default();
    let mut failed = Vec::new();
    for name in FILES {
        match put_back_file(boot, &kept.join(name), name) {
            Ok(was_gone) => back.files.extend(was_gone.then(|| name.to_owned())),
            Err(error) => failed.push(error),
        }
    }
    match put_back_words(boot, &kept.join(WORDS)) {
        Ok(words) => back.words = words,
        Err(error) => failed.push(error),
    }
    all_of(failed).map(|()| back)
}

/// Whether it was gone.
fn put_back_file(boot: &Boot, kept: &Path, name: &str) -> Result<bool> {
    let Some(content) = read(kept)? else { return Ok(false) };
    let path = boot.directory().join(name);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        found => return found.map(|_| false).with_context(|| format!("looking at {}", path.display())),
    }
    boot.make_writable()?;
    files::replace_with(&path, &content, 0o644).map(|()| true)
}

/// The words that were added.
fn put_back_words(boot: &Boot, kept: &Path) -> Result<Vec<String>> {
    let Some(kept) = read_text(kept)? else { return Ok(Vec::new()) };
    let words: Vec<String> = words(&kept).into_iter().map(str::to_owned).collect();
    let path = cmdline(boot.directory())?;
    let text = read_text(&path)?.with_context(|| format!("{} is not there", path.display()))?;
    if words.is_empty() || !first_boot_words(&text).is_empty() {
        return Ok(Vec::new());
    }
    // A boot that runs a script which is not there ends in that.
    let missing = words.iter().filter_map(|word| script(word)).find(|script| !boot.directory().join(script).is_file());
    if let Some(script) = missing {
        bail!("{script}, which `{}` would run, is not on the boot partition", words.join(" "));
    }
    boot.make_writable()?;
    files::replace_with(&path, with_words(&text, &words).as_bytes(), 0o644)?;
    Ok(words)
}

/// The file on the boot partition that a word runs, by its path there.
fn script(word: &str) -> Option<&str> {
    let command = word.strip_prefix("systemd.run=")?.trim_matches('"').split_whitespace().next()?;
    command.strip_prefix("/boot/firmware/").or_else(|| command.strip_prefix("/boot/"))
}

/// The file that the firmware takes the kernel command line from.
fn cmdline(boot: &Path) -> Result<PathBuf> {
    let text = read_text(&boot.join("config.txt"))?.unwrap_or_default();
    let (prefix, name) = (setting(&text, "os_prefix"), setting(&text, "cmdline").unwrap_or("cmdline.txt"));
    let prefixed = boot.join(format!("{}{name}", prefix.unwrap_or_default()));
    // The firmware ignores a prefix under which there is nothing.
    Ok(if prefixed.is_file() { prefixed } else { boot.join(name) })
}

/// The content of a file, where there is one.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let reading = || format!("reading {}", path.display());
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        metadata => metadata.with_context(reading)?,
    };
    if !metadata.is_file() {
        return Ok(None);
    }
    if metadata.len() > LONGEST {
        bail!("{} has {} bytes; what a reset puts back has at most {LONGEST}", path.display(), metadata.len());
    }
    fs::read(path).map(Some).with_context(reading)
}

fn read_text(path: &Path) -> Result<Option<String>> {
    let Some(content) = read(path)? else { return Ok(None) };
    String::from_utf8(content).map(Some).with_context(|| format!("{} is not UTF-8 text", path.display()))
}

/// One error that names all of them.
fn all_of(failed: Vec<anyhow::Error>) -> Result<()> {
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{}", failed.iter().map(|error| format!("{error:#}")).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests;
