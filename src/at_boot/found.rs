//! Requests that lie on the boot partition as files.

use crate::state::Kind;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// How much of a file's content makes its id, in bytes: whoever leaves one may write into it what he likes.
const READ: u64 = 64 << 10;

/// The files that ask for something, each kind in the order of their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    pub reset: Vec<PathBuf>,
    pub undo: Vec<PathBuf>,
}

impl Found {
    /// Those of one kind.
    pub fn of(&self, kind: Kind) -> &[PathBuf] {
        match kind {
            Kind::Reset => &self.reset,
            Kind::Undo => &self.undo,
        }
    }
}

/// Looks for them in the root of the boot partition at `boot`: `burnonce-reset` and `burnonce-undo` in any case, and with the `.txt` that
/// some editors add.
///
/// # Errors
/// The directory cannot be read.
pub fn find(boot: &Path) -> Result<Found> {
    let reading = || format!("reading {}", boot.display());
    let mut found = Found::default();
    for entry in fs::read_dir(boot).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let name = entry.file_name().to_string_lossy().to_ascii_lowercase();
        let files = match name.strip_suffix(".txt").unwrap_or(&name) {
            "burnonce-reset" => &mut found.reset,
            "burnonce-undo" => &mut found.undo,
            _ => continue,
        };
        if entry.file_type().with_context(reading)?.is_file() {
            files.push(entry.path());
        }
    }
    found.reset.sort();
    found.undo.sort();
    Ok(found)
}

/// The id of the request that `file` is: of what it asks for, when it was written, its length and its content.
///
/// # Errors
/// It cannot be read.
pub fn id(kind: Kind, file: &Path) -> Result<String> {
    let reading = || format!("reading {}", file.display());
    let opened = File::open(file).with_context(reading)?;
    let metadata = opened.metadata().with_context(reading)?;
    let time = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |at| at.as_secs());
    let mut content = Vec::new();
    opened.take(READ).read_to_end(&mut content).with_context(reading)?;
    let mut digest = Sha256::new();
    digest.update(format!("{kind} {time} {} ", metadata.len()));
    digest.update(&content);
    Ok(hex(&digest.finalize()))
}

/// SHA-256 of the user-data on the boot partition at `boot`; empty where there is none.
///
/// # Errors
/// It cannot be read.
pub fn user_data(boot: &Path) -> Result<String> {
    let path = boot.join("user-data");
    match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        content => {
            content.map(|content| hex(&Sha256::digest(content))).with_context(|| format!("reading {}", path.display()))
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_whatever_an_editor_made_of_their_name() {
        let boot = tempfile::tempdir().unwrap();
        for name in ["BURNONCE-RESET.TXT", "burnonce-reset", "Burnonce-Undo.txt", "burnonce.txt", "burnonce-resets"] {
            fs::write(boot.path().join(name), "x").unwrap();
        }
        fs::create_dir(boot.path().join("burnonce-undo")).unwrap();
        let found = find(boot.path()).unwrap();
        let names = |files: &[PathBuf]| -> Vec<String> {
            files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        assert_eq!(names(found.of(Kind::Reset)), ["BURNONCE-RESET.TXT", "burnonce-reset"]);
        assert_eq!(names(found.of(Kind::Undo)), ["Burnonce-Undo.txt"]);
    }

    #[test]
    fn an_id_is_of_kind_time_length_and_content() {
        let boot = tempfile::tempdir().unwrap();
        let file = boot.path().join("burnonce-reset");
        let at = |seconds: u64, content: &[u8], kind| {
            fs::write(&file, content).unwrap();
            let time = UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
            id(kind, &file).unwrap()
        };
        let first = at(1_700_000_000, b"", Kind::Reset);
        assert_eq!(first.len(), 64);
        assert_eq!(first, at(1_700_000_000, b"", Kind::Reset));
        let long = |last: u8, more: usize| [vec![b'x'; 70_000 + more], vec![last]].concat();
        let ids = [
            first,
            at(1_700_000_002, b"", Kind::Reset),
            at(1_700_000_000, b"x", Kind::Reset),
            at(1_700_000_000, b"", Kind::Undo),
            at(1_700_000_000, &long(b'x', 0), Kind::Reset),
            at(1_700_000_000, &long(b'x', 1), Kind::Reset),
        ];
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len(), "{ids:?}");
    }

    #[test]
    fn user_data_that_is_not_there_is_an_empty_digest() {
        let boot = tempfile::tempdir().unwrap();
        assert_eq!(user_data(boot.path()).unwrap(), "");
        fs::write(boot.path().join("user-data"), "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(user_data(boot.path()).unwrap(), abc);
    }
}
