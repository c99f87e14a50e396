//! Which Debian package owns a path: dpkg's own lists.

use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where dpkg keeps `PACKAGE.list`, the paths of each package, one a line (dpkg-query(1), `--listfiles`). Configuration files are among
/// them, those of a package that was removed and not purged, too.
const LISTS: &str = "/var/lib/dpkg/info";

/// Directories that a merged /usr has as symlinks, while packages list their files by either name
/// (https://wiki.debian.org/UsrMerge).
const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libo32", "libx32"];

/// The owners of all paths of a machine.
#[derive(Debug)]
pub struct Packages {
    names: Vec<String>,
    /// Index into the names. A directory that several packages have is the first's, by name.
    owners: HashMap<Vec<u8>, usize>,
}

impl Packages {
    /// Reads the lists of the machine whose root is at `root`. Diversions are not looked at.
    ///
    /// # Errors
    /// There is no dpkg on it, or a list cannot be read.
    pub fn read(root: &Path) -> Result<Packages> {
        let directory = crate::files::below(root, LISTS);
        let reading = || format!("reading {}, where dpkg has its lists", directory.display());
        let mut lists: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(&directory).with_context(reading)? {
            lists.push(entry.with_context(reading)?.path());
        }
        lists.retain(|path| path.extension().is_some_and(|extension| extension == "list"));
        lists.sort_unstable();
        let aliases = aliases(root);
        let mut packages = Packages { names: Vec::new(), owners: HashMap::new() };
        for list in lists {
            let text = match fs::read(&list) {
                // A package that is being removed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                read => read.with_context(|| format!("reading {}", list.display()))?,
            };
            packages.names.push(list.file_stem().unwrap_or_default().to_string_lossy().into_owned());
            let index = packages.names.len() - 1;
            for path in text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"/")) {
                packages.owners.entry(merged(path, &aliases)).or_insert(index);
            }
        }
        Ok(packages)
    }

    /// The package that has `path`, as dpkg names it: `htop`, `libc6:arm64`.
    pub fn owner(&self, path: &Path) -> Option<&str> {
        let index = self.owners.get(path.as_os_str().as_bytes())?;
        self.names.get(*index).map(String::as_str)
    }
}

/// Those of [`MERGED`] that are symlinks into /usr on this machine, as prefixes.
fn aliases(root: &Path) -> Vec<String> {
    let is_alias = |name: &&str| {
        fs::read_link(root.join(name))
            .is_ok_and(|to| to.strip_prefix("/").unwrap_or(&to) == Path::new("usr").join(name))
    };
    MERGED.into_iter().filter(is_alias).map(|name| format!("/{name}/")).collect()
}

/// A path of a list, where it is on a machine with these aliases.
fn merged(path: &[u8], aliases: &[String]) -> Vec<u8> {
    if aliases.iter().any(|alias| path.starts_with(alias.as_bytes())) {
        return [b"/usr", path].concat();
    }
    path.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_an_owner_by_either_of_its_names() {
        let root = tempfile::tempdir().unwrap();
        let lists = root.path().join("var/lib/dpkg/info");
        fs::create_dir_all(&lists).unwrap();
        fs::create_dir_all(root.path().join("sbin")).unwrap();
        std::os::unix::fs::symlink("usr/bin", root.path().join("bin")).unwrap();
        fs::write(lists.join("bash.list"), "/.\n/bin\n/bin/bash\n/etc\n/etc/bash.bashrc\n/usr/bin/bashbug\n").unwrap();
        fs::write(lists.join("libc6:arm64.list"), "/.\n/etc\n/etc/ld.so.conf.d\n/sbin/ldconfig\n").unwrap();
        fs::write(lists.join("bash.md5sums"), "/etc/motd\n").unwrap();
        let packages = Packages::read(root.path()).unwrap();
        for (path, owner) in [
            ("/usr/bin/bash", Some("bash")),
            ("/usr/bin/bashbug", Some("bash")),
            ("/bin", Some("bash")),
            ("/etc", Some("bash")),
            ("/etc/bash.bashrc", Some("bash")),
            ("/sbin/ldconfig", Some("libc6:arm64")),
            ("/usr/sbin/ldconfig", None),
            ("/etc/motd", None),
            ("/", None),
        ] {
            assert_eq!(packages.owner(Path::new(path)), owner, "{path}");
        }
    }

    #[test]
    fn a_machine_without_dpkg_is_told_so() {
        let root = tempfile::tempdir().unwrap();
        let error = format!("{:#}", Packages::read(root.path()).unwrap_err());
        assert!(error.contains("where dpkg has its lists"), "{error}");
    }
}
