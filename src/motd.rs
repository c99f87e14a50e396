//! What a login shows: that the node does not run as it was configured.
//!
//! `/run/motd.d` is in memory, so a boot that is in order shows nothing. Debian's and Ubuntu's `/etc/pam.d/sshd` and `/etc/pam.d/login` both
//! have `pam_motd.so motd=/run/motd.dynamic` and `pam_motd.so noupdate`; the second names neither file nor directory, and so shows
//! `/run/motd.d`, too (pam_motd(8), "when no options are given"; Linux-PAM 1.3.1 and later). A script in `/etc/update-motd.d` would show
//! the same once more.

use anyhow::{Context, Result};
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where it is, below the root.
pub const PATH: &str = "run/motd.d/burnonce";

/// Makes every login on the machine at `root` show `lines`; `None`: nothing any more.
///
/// # Errors
/// `/run` takes no writes.
pub fn set(root: &Path, lines: Option<&[String]>) -> Result<()> {
    let path = root.join(PATH);
    let Some(lines) = lines else {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("removing {}", path.display())),
        };
    };
    let directory = path.parent().unwrap_or(root);
    let text: String = lines.iter().map(|line| printable(line) + "\n").collect();
    // pam_motd reads it as the user who logs in.
    fs::create_dir_all(directory)
        .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o755)))
        .and_then(|()| fs::write(&path, text))
        .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o644)))
        .with_context(|| format!("writing {}", path.display()))
}

/// The lines for a degraded node: why, each a sentence without its full stop, and what to do.
pub fn degraded(reasons: &[String], remedy: &str) -> Vec<String> {
    let reasons = reasons.iter().map(|reason| format!("burnonce: DEGRADED: {reason}."));
    reasons.chain([format!("burnonce: what to do: {remedy}.")]).collect()
}

/// Whatever terminal it is: one line of ASCII, without control characters.
fn printable(line: &str) -> String {
    line.chars()
        .map(|character| match character {
            ' '..='~' => character,
            _ if character.is_whitespace() || character.is_control() => ' ',
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_shows_the_lines_until_they_are_taken_back() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(PATH);
        set(root.path(), None).unwrap();
        let lines = degraded(&["the upper\u{2019}s\nsuperblock is gone\u{1b}".to_owned()], "see `burnonce status`");
        set(root.path(), Some(&lines)).unwrap();
        let expected =
            "burnonce: DEGRADED: the upper?s superblock is gone .\nburnonce: what to do: see `burnonce status`.\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        set(root.path(), Some(&["less".to_owned()])).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "less\n");
        set(root.path(), None).unwrap();
        assert!(!path.exists());
    }
}
