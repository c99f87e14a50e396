//! What the owner named on the command line: read, and checked before anything is written.

mod keys;
mod network;

use super::Options;
use super::package::{self, Entry, Installed, Kind, Package};
use super::plan::{AgentFile, AgentKind, Payload, Request};
use crate::inspect::system::PACKAGES;
use crate::inspect::tree::Tree;
use crate::inspect::{Inspection, path_of};
use crate::units::Bytes;
use crate::{config, files, user_data};
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_yaml::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// The longest file that is put in as it is, in bytes.
const LONGEST: u64 = 1 << 20;
/// The longest package, in bytes: all that are put in are in memory at once. burnonce's own and what it needs have 1 MiB or so.
const LONGEST_PACKAGE: u64 = 32 << 20;
/// What a file takes at least in a file system, in bytes: ext4's block.
const BLOCK: u64 = 4096;

/// Reads the files that `options` name, but for the packages.
///
/// # Errors
/// A file cannot be read, or is wrong.
pub fn read(options: &Options) -> Result<Request> {
    let mut request = Request {
        grow: options.grow,
        hostname_from_serial: options.hostname_from_serial,
        distribution: options.distribution,
        ..Request::default()
    };
    if let Some(path) = &options.config {
        let content = bytes(path, LONGEST)?;
        config::parse_bytes(&content).map_err(|wrong| anyhow!("{}: {wrong}", path.display()))?;
        request.config = Some(content);
    }
    if let Some(path) = &options.user_data {
        let text = user_data::read(path)?;
        request.seed.push((user_data::NAME, text.into_bytes()));
    }
    if let Some(path) = &options.network_config {
        request.seed.push(("network-config", network_config(path)?));
    }
    if let Some(path) = &options.meta_data {
        request.seed.push(("meta-data", mapping(path)?.0));
    }
    for path in &options.ssh_keys {
        request.keys.extend(keys::keys(&bytes(path, LONGEST)?, &path.display().to_string())?);
    }
    Ok(request)
}

/// Chooses the packages that an image needs, and reads them.
///
/// # Errors
/// One is missing, or cannot be read, or does not fit the image.
pub fn packages(options: &Options, seen: &Inspection, root: &dyn Tree, request: &mut Request) -> Result<()> {
    if !request.packages.is_empty() {
        return Ok(());
    }
    let system = &seen.findings.system;
    let is_there = system.burnonce.version.is_some() || system.burnonce.brings("burnonce");
    if options.debs.is_empty() && is_there {
        return Ok(());
    }
    let architecture = system.architecture.as_deref().context(
        "for which architecture the image is cannot be told, so no package can be chosen; use an image with dpkg in it",
    )?;
    ensure!(
        !options.debs.is_empty(),
        "burnonce is not in the image, and no package was named; give burnonce's .deb for {architecture}, and those that it needs, \
         by --deb FILE or --deb DIRECTORY"
    );
    // The files in which those are have no names, and are there as long as this.
    let (waiting, _files) = waiting(root)?;
    for package in package::choose(&options.debs, waiting, &Installed::of(root)?, architecture)? {
        let is_agent = package.name() == "burnonce";
        let mut unpacked = 0u64;
        // One that is damaged is found here, and not on the node.
        package.files(|entry| {
            let size = match &entry.kind {
                Kind::File { size, .. } => *size,
                _ => 0,
            };
            unpacked = unpacked.saturating_add(size.next_multiple_of(BLOCK)).saturating_add(BLOCK);
            if is_agent {
                request.agent.extend(agent_file(entry)?);
            }
            Ok(())
        })?;
        request.packages.push(Payload {
            name: package.name().to_owned(),
            version: package.version().to_string(),
            file_name: package.file_name(),
            content: package_content(package.content()?, package.path())?,
            unpacked: Bytes(unpacked),
        });
    }
    Ok(())
}

/// The packages that an earlier bake put into the image, and files without names that they are in: dpkg gets all of them in one call.
fn waiting(root: &dyn Tree) -> Result<(Vec<Package>, Vec<File>)> {
    let (mut packages, mut files) = (Vec::new(), Vec::new());
    for name in root.list(PACKAGES)?.into_iter().filter(|name| name.ends_with(".deb")) {
        let mut file = tempfile::tempfile().context("making a file for a package that is in the image")?;
        let content = root.read(&format!("{PACKAGES}/{name}"), LONGEST_PACKAGE)?.unwrap_or_default();
        file.write_all(&content).with_context(|| format!("keeping {name}, which is in the image"))?;
        let opened = Package::open(&path_of(&file));
        packages.push(opened.with_context(|| format!("/{PACKAGES}/{name} in the image"))?);
        files.push(file);
    }
    Ok((packages, files))
}

fn agent_file(entry: Entry<'_>) -> Result<Option<AgentFile>> {
    let kind = match entry.kind {
        Kind::Directory => AgentKind::Directory,
        Kind::Symlink(target) => AgentKind::Symlink(target),
        Kind::File { size, content } => {
            ensure!(size <= LONGEST_PACKAGE, "/{} has {}; that cannot be right", entry.path, Bytes(size));
            let mut whole = Vec::new();
            content.read_to_end(&mut whole)?;
            AgentKind::File(whole)
        }
        // burnonce's package has none.
        Kind::Hardlink(_) => return Ok(None),
    };
    Ok(Some(AgentFile { path: entry.path, kind, attributes: entry.attributes }))
}

fn bytes(path: &Path, most: u64) -> Result<Vec<u8>> {
    let bytes = files::content(path, most + 1)?;
    ensure!(bytes.len() as u64 <= most, "{} is longer than {}; that cannot be right", path.display(), Bytes(most));
    Ok(bytes)
}

fn package_content(file: File, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST_PACKAGE + 1).read_to_end(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
    ensure!(
        bytes.len() as u64 <= LONGEST_PACKAGE,
        "{} has more than {}, and no longer package is taken, for all that are put in are in memory at once; \
         install it in a chroot of the image, or on the node",
        path.display(),
        Bytes(LONGEST_PACKAGE)
    );
    Ok(bytes)
}

/// A file that is a mapping in YAML, and that mapping.
fn mapping(path: &Path) -> Result<(Vec<u8>, Value)> {
    let content = bytes(path, LONGEST)?;
    let shown = path.display();
    let text = std::str::from_utf8(&content).with_context(|| format!("{shown} is not UTF-8 text"))?;
    if let Some(line) = user_data::too_deep(text) {
        bail!("{shown}:{line}: {}", user_data::TOO_DEEP);
    }
    let is_no_yaml = |error| anyhow!("{shown} is not YAML: {error}");
    let mut value: Value = serde_yaml::from_str(text).map_err(is_no_yaml)?;
    value.apply_merge().map_err(is_no_yaml)?;
    ensure!(value.is_mapping(), "{shown} is no mapping: it is to consist of keys with values, `key: value`");
    Ok((content, value))
}

/// cloud-init's network configuration.
fn network_config(path: &Path) -> Result<Vec<u8>> {
    let (content, value) = mapping(path)?;
    network::check(&value).map_err(|wrong| anyhow!("{}: {wrong}", path.display()))?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn file(directory: &tempfile::TempDir, content: &str) -> PathBuf {
        let path = directory.path().join("given");
        fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn a_file_for_cloud_init_is_a_mapping() {
        let directory = tempfile::tempdir().unwrap();
        for (content, wanted) in [
            ("version: 2\nethernets: {}\n", ""),
            ("x: &a {b: c}\nversion: 2\n", "given: `x:` is none of the sections"),
            ("version: 2\n<<: {bridges: {}}\n", ""),
            ("- a\n", "is no mapping"),
            ("a: b: c\n", "is not YAML"),
            (&"[".repeat(400_000), "given:1: more than 100 brackets"),
        ] {
            match network_config(&file(&directory, content)) {
                Ok(found) => assert!(wanted.is_empty() && found == content.as_bytes(), "{content}"),
                Err(error) => assert!(!wanted.is_empty() && error.to_string().contains(wanted), "{content}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_too_long_is_told_with_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("big.deb");
        File::create(&path).unwrap().set_len(LONGEST_PACKAGE + 1).unwrap();
        let error = package_content(File::open(&path).unwrap(), &path).unwrap_err().to_string();
        assert!(error.contains("big.deb has more than 32 MiB") && error.contains("in memory"), "{error}");
        let error = bytes(&path, LONGEST).unwrap_err().to_string();
        assert!(error.contains("big.deb is longer than 1 MiB"), "{error}");
    }
}
