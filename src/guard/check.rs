//! Whether the upper is sound and ours.

use super::report::Problem;
use crate::command::Program;
use crate::filesystem;
use crate::mounted::Mounted;
use crate::state::{self, State};
use crate::upper::Upper;
use anyhow::{Context, Result, anyhow};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Exit codes of e2fsck, bits of a sum (e2fsck(8)): errors were corrected; and the system should be restarted, which is about a mounted
/// root alone.
const CORRECTED: i32 = 1;
const RESTART: i32 = 2;

/// Repairs what can be repaired unasked on the unmounted `device`. Without `force` a file system that is clean is left alone. Says
/// what was done.
///
/// # Errors
/// What is left is for the owner to decide, or the check could not be made.
pub fn repair(device: &Path, force: bool) -> Result<String, Problem> {
    let name = device.display();
    let program = Program::new("e2fsck").args(force.then_some("-f")).args(["-p".to_owned(), name.to_string()]);
    let program = [CORRECTED, RESTART, CORRECTED | RESTART].iter().fold(program, |p, code| p.accept(*code));
    let (checked, kept) = filesystem::keeping_superblock(device, || program.run());
    // A look comes after this: it shows whether the upper can be used.
    kept.unwrap_or_else(|error| log::warn!("{error:#}"));
    match checked {
        Ok(output) => Ok(match output.status.code() {
            Some(0) => format!("checked {name}: it is sound"),
            _ => format!("repaired {name} ({})", last_line(&output.stdout)),
        }),
        // The kernel replays a journal, and what it cannot read shows in the look.
        Err(error) if is_missing(&error) => Ok(format!("{name} was not checked: there is no e2fsck here")),
        Err(error) => Err(Problem::new(
            format!("The check of {name} found damage that it must not repair unasked: {error:#}."),
            format!("Run e2fsck -f {name}, and restart."),
        )),
    }
}

/// e2fsck ends with a line of numbers; what it did is before that.
fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    lines.find(|line| !line.contains(" blocks")).unwrap_or("e2fsck -p").to_owned()
}

fn is_missing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::NotFound))
}

/// Why a look came to nothing.
#[derive(Debug)]
pub enum Failure {
    /// Something cannot be read: a check may help.
    Unreadable(anyhow::Error),
    /// It can, and cannot be used.
    Unusable(Problem),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Unreadable(error)
    }
}

/// Mounts `device` read-only on `directory` and makes sure that it is an upper for the image with this UUID. A clean file system is
/// not written by that.
///
/// # Errors
/// See [`Failure`].
pub fn look(device: &Path, directory: &Path, lower_uuid: &str) -> Result<(Mounted, State), Failure> {
    let mounted = Mounted::new(device, "ext4", directory, false)?;
    let state = state(&Upper::at(directory), device, lower_uuid)?;
    Ok((mounted, state))
}

fn state(upper: &Upper, device: &Path, lower_uuid: &str) -> Result<State, Failure> {
    let name = device.display();
    let unusable = |why: String, remedy: &str| Err(Failure::Unusable(Problem::new(why, remedy)));
    let text = match upper.state_text() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return unusable(
                format!("{name} is labelled burnonce, but was not made by it (it has no {}).", state::PATH),
                "burnonce plan shows what the card holds.",
            );
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(anyhow!("state.json cannot be read: {error}")),
        read => Ok(read.with_context(|| format!("reading {}", upper.root().join(state::PATH).display()))?),
    };
    let state = match text.and_then(|text| state::parse(&text)) {
        Ok(state) => state,
        Err(error) => {
            return unusable(
                format!("{name} cannot be used by this burnonce ({}): {error:#}.", env!("CARGO_PKG_VERSION")),
                "burnonce plan shows what the card holds.",
            );
        }
    };
    if state.made_for != lower_uuid {
        return unusable(
            format!("{name} was made for another image than the one on this card."),
            "burnonce plan shows what the card holds.",
        );
    }
    let overlay = upper.overlay();
    let looking = || format!("reading {}", overlay.display());
    match fs::symlink_metadata(&overlay) {
        Ok(metadata) if metadata.is_dir() => {}
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(looking)?,
        _ => {
            return unusable(
                format!("{name} has no directory overlay, which held the changes."),
                "Mount it and look for the directory, for example in lost+found; or make an empty one, and restart.",
            );
        }
    }
    for entry in fs::read_dir(&overlay).with_context(looking)? {
        entry.with_context(looking)?;
    }
    Upper::number(&overlay)?;
    Ok(state)
}
