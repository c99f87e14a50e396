//! What the owner named on the command line: read, and checked before anything is written.

use super::Options;
use super::package::{self, Entry, Installed, Kind, Package};
use super::plan::{AgentFile, AgentKind, Payload, Request};
use crate::inspect::system::PACKAGES;
use crate::inspect::tree::Tree;
use crate::inspect::{Inspection, path_of};
use crate::units::Bytes;
use crate::{config, user_data};
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_yaml::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// The longest file that is put in as it is, in bytes.
const LONGEST: u64 = 1 << 20;
/// The longest package, in bytes: all that are taken are in memory at once. burnonce's own and what it needs have 1 MiB or so.
const LONGEST_PACKAGE: u64 = 32 << 20;
/// What a file takes at least in a file system, in bytes: ext4's block.
const BLOCK: u64 = 4096;
/// Types of public keys (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").
const KEY_TYPES: [&str; 8] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-dss",
];

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
        request.keys.extend(keys(path)?);
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
            content: all(package.content()?, package.path(), LONGEST_PACKAGE)?,
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
    all(File::open(path).with_context(|| format!("reading {}", path.display()))?, path, most)
}

fn all(file: File, path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
    ensure!(bytes.len() as u64 <= most, "{} is longer than {} MiB; that cannot be right", path.display(), most >> 20);
    Ok(bytes)
}

/// A file that is a mapping in YAML, and that mapping.
fn mapping(path: &Path) -> Result<(Vec<u8>, Value)> {
    let content = bytes(path, LONGEST)?;
    let shown = path.display();
    let text = std::str::from_utf8(&content).with_context(|| format!("{shown} is not UTF-8 text"))?;
    let value: Value = serde_yaml::from_str(text).map_err(|error| anyhow!("{shown} is not YAML: {error}"))?;
    ensure!(value.is_mapping(), "{shown} is no mapping: it is to consist of keys with values, `key: value`");
    Ok((content, value))
}

/// cloud-init's network configuration, of version 1 or 2 (its documentation, "Network configuration").
fn network_config(path: &Path) -> Result<Vec<u8>> {
    let (content, value) = mapping(path)?;
    let inner = value.get("network").unwrap_or(&value);
    match inner.get("version").and_then(Value::as_i64) {
        Some(1 | 2) => Ok(content),
        Some(other) => bail!("{}: `version: {other}`: cloud-init knows 1 and 2", path.display()),
        None if inner.get("config").and_then(Value::as_str) == Some("disabled") => Ok(content),
        None => bail!("{} has no `version:`; write `version: 2` at its beginning", path.display()),
    }
}

/// The public keys in a file, one on each line.
fn keys(path: &Path) -> Result<Vec<String>> {
    let shown = path.display();
    let content = bytes(path, LONGEST)?;
    let text = std::str::from_utf8(&content).with_context(|| format!("{shown} is no public key"))?;
    ensure!(
        !text.contains("PRIVATE KEY"),
        "{shown} is a private key, which no image may hold; name the public one, {shown}.pub"
    );
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let found: Vec<String> = lines.map(str::to_owned).collect();
    ensure!(!found.is_empty(), "{shown} holds no key");
    for line in &found {
        ensure!(
            is_key(line),
            "{shown}: `{line}` is no public SSH key; it begins with its type, as `ssh-ed25519 AAAA…`"
        );
    }
    Ok(found)
}

fn is_key(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let is_known = words.next().is_some_and(|kind| KEY_TYPES.contains(&kind));
    // Base64 of a length of four bytes, of which two at least are zero.
    let is_data = |data: &str| {
        data.len() > 40
            && data.starts_with("AAAA")
            && data.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
    };
    is_known && words.next().is_some_and(is_data) && !line.chars().any(char::is_control)
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
    fn a_network_config_has_a_version() {
        let directory = tempfile::tempdir().unwrap();
        for (content, wanted) in [
            ("version: 2\nethernets: {}\n", ""),
            ("network:\n  version: 1\n  config: []\n", ""),
            ("network: {config: disabled}\n", ""),
            ("ethernets: {}\n", "has no `version:`"),
            ("version: 3\n", "knows 1 and 2"),
            ("- a\n", "is no mapping"),
            ("a: b: c\n", "is not YAML"),
        ] {
            match network_config(&file(&directory, content)) {
                Ok(found) => assert!(wanted.is_empty() && found == content.as_bytes(), "{content}"),
                Err(error) => assert!(!wanted.is_empty() && error.to_string().contains(wanted), "{content}: {error}"),
            }
        }
    }

    #[test]
    fn a_public_key_is_told_from_what_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let key = format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{} me@laptop", "b".repeat(43));
        assert_eq!(keys(&file(&directory, &format!("# mine\n\n{key}\n"))).unwrap(), std::slice::from_ref(&key));
        for (content, wanted) in [
            ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "given.pub"),
            ("\n", "holds no key"),
            ("hello\n", "is no public SSH key"),
            ("ssh-ed25519 short\n", "is no public SSH key"),
        ] {
            let error = keys(&file(&directory, content)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
