//! `/etc/fstab`: whether it names a partition. findmnt(8) reads the file, and finds out which device a tag (`UUID=`, `LABEL=`,
//! `PARTUUID=`, `PARTLABEL=`) stands for; links it leaves as they are.

use crate::command::Program;
use crate::files;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::fs;
use std::path::Path;

#[derive(Deserialize)]
struct Listed {
    filesystems: Vec<Line>,
}

/// A line, with the device that it stands for; `None` where there is none now.
#[derive(Deserialize)]
struct Line {
    source: Option<String>,
    target: String,
}

/// Where the first line of `etc/fstab` below `tree` that names `device` (a device node) mounts it: a directory, or `none` for swap space.
///
/// # Errors
/// findmnt could not be run, or said what cannot be understood.
pub fn target_of(tree: &Path, device: &str) -> Result<Option<String>> {
    let path = files::below(tree, "/etc/fstab");
    if !path.exists() {
        return Ok(None);
    }
    let findmnt = Program::new("findmnt")
        .args(["--evaluate", "--json", "--output", "SOURCE,TARGET", "--tab-file"])
        .arg(path.to_string_lossy())
        // A file without a line.
        .accept(1);
    target_in(&findmnt.run()?.stdout, device).with_context(|| format!("what `{}` says", findmnt.line()))
}

fn target_in(json: &[u8], device: &str) -> Result<Option<String>> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let listed: Listed = serde_json::from_slice(json)?;
    let names = |line: &Line| line.source.as_deref().is_some_and(|source| source == device || is_link(source, device));
    Ok(listed.filesystems.into_iter().find(names).map(|line| line.target))
}

/// Whether `path` leads to `device`, as the names below `/dev/disk` do.
fn is_link(path: &str, device: &str) -> bool {
    path.starts_with('/') && fs::canonicalize(path).is_ok_and(|found| found == Path::new(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_names_a_device_is_found() {
        let tree = tempfile::tempdir().unwrap();
        assert_eq!(target_of(tree.path(), "/dev/null").unwrap(), None, "there is no file");
        fs::create_dir(tree.path().join("etc")).unwrap();
        let link = tree.path().join("by-id");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let text = format!(
            "# /dev/null /comment ext4 defaults 0 2\nUUID=none-such / ext4 defaults 0 1\nnot a line\n/dev/zero none swap sw 0 0\n{} /my\\040data ext4 nofail 0 2\n",
            link.display()
        );
        fs::write(tree.path().join("etc/fstab"), text).unwrap();
        let target = |device| target_of(tree.path(), device).unwrap();
        assert_eq!(target("/dev/null").as_deref(), Some("/my data"));
        assert_eq!(target("/dev/zero").as_deref(), Some("none"));
        assert_eq!(target("/dev/full"), None);
        fs::write(tree.path().join("etc/fstab"), "# nothing\n").unwrap();
        assert_eq!(target("/dev/null"), None);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(target_in(b"{\"filesystems\": 3}", "/dev/null").is_err());
        assert_eq!(target_in(b"\n", "/dev/null").unwrap(), None);
    }
}
