//! `/etc/fstab` and `/etc/crypttab` of an image: whether they name a partition. findmnt(8) reads the former, blkid(8) says what the
//! partition is called: `UUID=`, `LABEL=`, `PARTUUID=`, `PARTLABEL=`.

use crate::command::Program;
use crate::{files, filesystem};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::fs;
use std::path::Path;

#[derive(Deserialize)]
struct Listed {
    filesystems: Vec<Line>,
}

/// A line of fstab(5): what is mounted, as the file has it, and where; `none` for swap space.
#[derive(Deserialize)]
struct Line {
    source: Option<String>,
    target: String,
}

/// Which line below `tree` names the partition whose device node is `device`: the file, and in brackets where it is mounted or what it is
/// opened as.
///
/// # Errors
/// A file could not be read, findmnt or blkid not be run, or they said what cannot be understood.
pub fn naming(tree: &Path, device: &Path) -> Result<Option<String>> {
    let (fstab, crypttab) = (files::below(tree, "/etc/fstab"), files::below(tree, "/etc/crypttab"));
    let names = names(device)?;
    let is_named = |source: &str| is_among(source, &names) || is_link(source, device);
    if fstab.exists() {
        let findmnt = Program::new("findmnt")
            .args(["--json", "--output", "SOURCE,TARGET", "--tab-file"])
            .arg(fstab.to_string_lossy())
            // A file without a line.
            .accept(1);
        let lines = lines(&findmnt.run()?.stdout).with_context(|| format!("what `{}` says", findmnt.line()))?;
        if let Some(line) = lines.iter().find(|line| line.source.as_deref().is_some_and(is_named)) {
            return Ok(Some(format!("/etc/fstab ({})", line.target)));
        }
    }
    if crypttab.exists() {
        let text = fs::read_to_string(&crypttab).with_context(|| format!("reading {}", crypttab.display()))?;
        return Ok(opened(&text)
            .find(|(_, source)| is_named(source))
            .map(|(name, _)| format!("/etc/crypttab ({name})")));
    }
    Ok(None)
}

/// All names of a partition.
fn names(device: &Path) -> Result<Vec<String>> {
    let mut names = vec![device.display().to_string()];
    // One that begins past the end of the card has no node, and nothing by which it could be called otherwise.
    if device.exists() {
        let output = filesystem::export(device)?;
        names.extend(tags(&String::from_utf8_lossy(&output.stdout)));
    }
    Ok(names)
}

/// The tags of fstab(5) for what `blkid -p -o export` says.
fn tags(export: &str) -> impl Iterator<Item = String> {
    const TAGS: [(&str, &str); 4] =
        [("UUID", "UUID"), ("LABEL", "LABEL"), ("PART_ENTRY_UUID", "PARTUUID"), ("PART_ENTRY_NAME", "PARTLABEL")];
    export.lines().filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        let (_, tag) = TAGS.iter().find(|(said, _)| *said == key)?;
        Some(format!("{tag}={}", value.replace('\\', "")))
    })
}

/// Whether `source` is one of `names`. Some read a tag in quotes, and a UUID in either case.
fn is_among(source: &str, names: &[String]) -> bool {
    let plain = source.replace('"', "");
    names.iter().any(|name| name.eq_ignore_ascii_case(&plain))
}

/// Whether `path` leads to `device`, as the names below `/dev/disk` do.
fn is_link(path: &str, device: &Path) -> bool {
    path.starts_with('/') && fs::canonicalize(path).is_ok_and(|found| found == device)
}

fn lines(json: &[u8]) -> Result<Vec<Line>> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let listed: Listed = serde_json::from_slice(json)?;
    Ok(listed.filesystems)
}

/// Names and devices of crypttab(5).
fn opened(crypttab: &str) -> impl Iterator<Item = (&str, &str)> {
    crypttab.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next().filter(|name| !name.starts_with('#'))?;
        Some((name, words.next()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_names_a_partition_is_found() {
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join(name);
        let device = at("p3");
        let named = || naming(tree.path(), &device).unwrap();
        assert_eq!(named(), None, "there are no files");
        fs::create_dir(at("etc")).unwrap();
        fs::File::create(&device).unwrap().set_len(8 << 20).unwrap();
        let uuid = "0b1c2d3e-0000-4000-8000-00000000abcd";
        let mke2fs = Program::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-L", "my data", "-U", uuid]);
        mke2fs.arg(device.to_string_lossy()).run().unwrap();
        std::os::unix::fs::symlink(&device, at("by-id")).unwrap();
        let path = |name| at(name).display().to_string();
        for (source, is_named) in [
            (path("p3"), true),
            (path("by-id"), true),
            (path("p4"), false),
            (format!("UUID={uuid}"), true),
            (format!("UUID=\"{}\"", uuid.to_uppercase()), true),
            ("UUID=0b1c2d3e-0000-4000-8000-00000000abce".to_owned(), false),
            ("LABEL=my\\040data".to_owned(), true),
            ("LABEL=data".to_owned(), false),
        ] {
            let fstab = format!(
                "# {} /c ext4 d 0 2\nnot a line\ntmpfs /t tmpfs d 0 0\n{source} /x\\040y ext4 nofail 0 2\n",
                path("p3")
            );
            fs::write(at("etc/fstab"), fstab).unwrap();
            assert_eq!(named(), is_named.then(|| "/etc/fstab (/x y)".to_owned()), "{source}");
        }
        fs::write(at("etc/fstab"), "# nothing\n").unwrap();
        fs::write(at("etc/crypttab"), format!("# a {0}\nsecret UUID={uuid} none luks\n", path("p3"))).unwrap();
        assert_eq!(named().as_deref(), Some("/etc/crypttab (secret)"));
    }

    #[test]
    fn a_partition_has_the_names_that_blkid_gives_it() {
        let export = "DEVNAME=/dev/sda3\nLABEL=my\\ data\nUUID=1234-ABCD\nTYPE=vfat\nPART_ENTRY_NAME=burnonce\nPART_ENTRY_UUID=2b1c-03\n";
        let found: Vec<String> = tags(export).collect();
        assert_eq!(found, ["LABEL=my data", "UUID=1234-ABCD", "PARTLABEL=burnonce", "PARTUUID=2b1c-03"]);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(lines(b"{\"filesystems\": 3}").is_err());
        assert!(lines(b"\n").unwrap().is_empty());
    }
}
