//! The packages that were given: files, and directories of them.

use super::{Installed, Package};
use anyhow::{Context, Result, bail, ensure};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Packages by their names.
#[derive(Debug, Default)]
pub struct Given {
    /// Those that were named, and those that wait in the image and were not given anew.
    pub named: BTreeMap<String, Package>,
    /// Those in directories, of each the newest that fits, where it is newer than the image's and was not named.
    pub found: BTreeMap<String, Package>,
    /// Those in directories that are for another architecture.
    pub foreign: Vec<Package>,
}

/// Reads what was given. `waiting` are those that wait in the image.
///
/// # Errors
/// Something cannot be read; a package that was named is for another architecture, is older than the image's, or is there twice.
pub fn gather(given: &[PathBuf], waiting: Vec<Package>, installed: &Installed, architecture: &str) -> Result<Given> {
    let mut all = Given::default();
    for path in given {
        let metadata = fs::metadata(path).with_context(|| format!("the package {}", path.display()))?;
        if !metadata.is_dir() {
            name(&mut all, Package::open(path)?, architecture)?;
            continue;
        }
        for path in packages_in(path)? {
            let opened = Package::open(&path);
            let package = opened
                .context("a directory was given that has a package in it that cannot be used: move it elsewhere")?;
            if package.facts.fits(architecture) {
                find(&mut all.found, package);
            } else {
                all.foreign.push(package);
            }
        }
    }
    for package in waiting {
        if !all.named.contains_key(package.name()) && !all.found.contains_key(package.name()) {
            name(&mut all, package, architecture)?;
        }
    }
    let named = &all.named;
    all.found.retain(|name, package| !named.contains_key(name) && against(package, installed, architecture).is_gt());
    if let Some(package) = all.named.values().find(|package| against(package, installed, architecture).is_lt()) {
        bail!(
            "{} has {} {}, and the image has a newer one, {}: leave it out, or give one that is newer",
            package.path().display(),
            package.name(),
            package.version(),
            installed
                .find(package.name(), architecture)
                .and_then(|facts| facts.version.as_ref())
                .map_or("", |version| version.as_str())
        );
    }
    all.named.retain(|_, package| against(package, installed, architecture).is_gt());
    Ok(all)
}

/// How a package is to the one that it would take the place of: newer also where there is none.
fn against(package: &Package, installed: &Installed, architecture: &str) -> Ordering {
    match installed.find(package.name(), architecture).and_then(|facts| facts.version.as_ref()) {
        Some(version) => package.version().cmp(version),
        None => Ordering::Greater,
    }
}

fn name(all: &mut Given, package: Package, architecture: &str) -> Result<()> {
    ensure!(
        package.facts.fits(architecture),
        "{} is for {}, and the image is for {architecture}: give the one for {architecture}",
        package.path().display(),
        package.architecture()
    );
    match all.named.get(package.name()) {
        Some(other) if other.version() != package.version() => bail!(
            "{} and {} are two versions of {}, {} and {}: give one of them",
            other.path().display(),
            package.path().display(),
            package.name(),
            other.version(),
            package.version()
        ),
        Some(_) => {}
        None => drop(all.named.insert(package.name().to_owned(), package)),
    }
    Ok(())
}

fn find(found: &mut BTreeMap<String, Package>, package: Package) {
    match found.get(package.name()) {
        Some(other) if other.version() >= package.version() => {}
        _ => drop(found.insert(package.name().to_owned(), package)),
    }
}

/// The files `*.deb` in a directory, sorted.
fn packages_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("the directory of packages {}", directory.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        if path.extension().is_some_and(|extension| extension == "deb") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
