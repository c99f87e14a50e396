//! dpkg's list of what is installed in an image. Pure: it looks at a [`Tree`].

use super::tree::Tree;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

/// The longest list of packages that is read, in bytes; that of a full desktop has 3 MiB.
const STATUS: u64 = 64 << 20;

/// A package of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Package {
    pub name: String,
    pub version: Option<String>,
    pub architecture: Option<String>,
    /// What it says of other packages: the fields [`RELATIONS`] that it has.
    pub relations: BTreeMap<&'static str, String>,
}

/// The fields that say of a package what it needs, what it can stand for, and what it cannot be beside (deb-control(5)).
const RELATIONS: [&str; 6] = ["Pre-Depends", "Depends", "Provides", "Conflicts", "Breaks", "Multi-Arch"];

/// The installed packages, by dpkg's own list (deb-control(5) has its form). One that is there for two architectures is in it twice.
///
/// # Errors
/// The list cannot be read, or is none.
pub(crate) fn packages(root: &dyn Tree) -> Result<Vec<Package>> {
    let listed = listed(root)?.into_iter();
    Ok(listed.filter(|(_, state)| *state == State::Installed).map(|(package, _)| package).collect())
}

/// How far a package is, by the third word of its field `Status` (dpkg(1), "Package states").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is gone, or its files are there in parts.
    Absent,
    /// Its files are there, and its script did not run to the end.
    Unpacked,
    /// That ran, too; that of another package may be to come.
    Installed,
}

impl State {
    fn of(status: &str) -> State {
        match status.split_whitespace().nth(2) {
            Some("installed" | "triggers-awaited" | "triggers-pending") => State::Installed,
            Some("unpacked" | "half-configured") => State::Unpacked,
            _ => State::Absent,
        }
    }
}

/// All of the list, each with its state.
///
/// # Errors
/// As [`packages`].
pub(super) fn listed(root: &dyn Tree) -> Result<Vec<(Package, State)>> {
    const LIST: &str = "var/lib/dpkg/status";
    let reading = || format!("/{LIST}, dpkg's list of what is installed, cannot be read");
    let mut found = Vec::new();
    let Some(file) = root.file(LIST).with_context(reading)? else { return Ok(found) };
    let mut package = Package::default();
    let (mut state, mut is_empty) = (State::Absent, true);
    for line in BufReader::new(file.take(STATUS)).split(b'\n') {
        let line = line.with_context(reading)?;
        is_empty = is_empty && line.is_empty();
        let line = String::from_utf8_lossy(&line);
        match line.split_once(": ") {
            Some(("Package", value)) => {
                let before =
                    std::mem::replace(&mut package, Package { name: value.trim().to_owned(), ..Package::default() });
                found.push((before, state));
                state = State::Absent;
            }
            Some(("Status", value)) => state = State::of(value),
            Some(("Version", value)) => package.version = Some(value.trim().to_owned()),
            Some(("Architecture", value)) => package.architecture = Some(value.trim().to_owned()),
            Some((field, value)) => {
                if let Some(field) = RELATIONS.iter().find(|one| **one == field) {
                    package.relations.insert(field, value.trim().to_owned());
                }
            }
            None => {}
        }
    }
    found.push((package, state));
    found.retain(|(package, _)| !package.name.is_empty());
    ensure!(
        is_empty || !found.is_empty(),
        "/{LIST}, dpkg's list of what is installed, lists no package: it is damaged, so what is in the image is not known"
    );
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::system;
    use crate::inspect::tree::memory::Memory;
    use crate::overlay::Generator;

    fn list(packages: &[(&str, &str)]) -> Memory {
        let text: String = packages
            .iter()
            .map(|(name, status)| format!("Package: {name}\nStatus: {status}\nVersion: 1\n\n"))
            .collect();
        Memory::default().file("var/lib/dpkg/status", text)
    }

    #[test]
    fn a_package_is_installed_when_its_script_ran() {
        let root = list(&[
            ("a", "install ok installed"),
            ("b", "install ok triggers-pending"),
            ("c", "install ok half-configured"),
            ("d", "deinstall ok config-files"),
            ("e", "hold ok installed"),
        ]);
        let names: Vec<String> = packages(&root).unwrap().into_iter().map(|package| package.name).collect();
        assert_eq!(names, ["a", "b", "e"]);
    }

    #[test]
    fn what_makes_the_initramfs_is_there_when_it_is_unpacked() {
        for (state, expected) in [
            ("install ok half-configured", Generator::InitramfsTools),
            ("install ok unpacked", Generator::InitramfsTools),
            ("install reinstreq half-installed", Generator::None),
            ("deinstall ok config-files", Generator::None),
        ] {
            let root = list(&[("dpkg", "install ok installed"), ("initramfs-tools", state)]);
            assert_eq!(system::look(&root).unwrap().generator, expected, "{state}");
        }
    }

    #[test]
    fn a_list_that_is_none_is_told_from_one_that_is_not_there() {
        for text in ["", "\n"] {
            assert_eq!(packages(&Memory::default().file("var/lib/dpkg/status", text)).unwrap(), []);
        }
        assert_eq!(packages(&Memory::default()).unwrap(), []);
        let error = packages(&Memory::default().file("var/lib/dpkg/status", "\0\0\0")).unwrap_err().to_string();
        assert!(
            error.starts_with("/var/lib/dpkg/status, dpkg's list of what is installed, lists no package"),
            "{error}"
        );
    }
}
