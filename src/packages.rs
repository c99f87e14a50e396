//! Packages that came with an image as files, and are installed by dpkg on the node itself, late in a boot of their own.
//!
//! `burnonce bake` puts them there: an image for another processor cannot run their maintainer scripts, so only the node can install
//! them properly. Two things must not happen meanwhile. No service may be started: `systemctl start` would wait for sysinit.target, and
//! that target waits for us. And the initramfs, which takes minutes on a slow board, is not to be rebuilt by each of them: that is a step
//! of its own, after this one.

use crate::command::{DIRECTORIES, Program};
use crate::files;
use crate::mounted;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// Where they wait, as a node has it.
pub const DIRECTORY: &str = "/var/lib/burnonce/packages";
/// How long dpkg may take. On a Pi Zero it takes a few minutes.
pub const LIMIT: Duration = Duration::from_secs(20 * 60);
/// First in dpkg's `PATH` while it runs. On root, since initramfs-tools mounts /run noexec.
const STUBS: &str = "/var/lib/burnonce/stubs";
/// Asked by invoke-rc.d(8) and deb-systemd-invoke(1p) before they start anything.
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// What tells that one is ours.
const MARK: &str = "# burnonce: ";
/// 101 is "action forbidden by policy" (README.policy-rc.d of init-system-helpers).
const FORBID: &str = "#!/bin/sh\n\
    # burnonce: it installs the packages of this image early in a boot, where no service can be started. It removes this file.\n\
    exit 101\n";
/// initramfs-tools 0.142 (Debian 12) and 0.148 (Debian 13) were read for it. Nobody calls `/usr/sbin/update-initramfs` by its absolute
/// path: neither the trigger in initramfs-tools.postinst, nor a kernel's /etc/kernel/postinst.d/initramfs-tools, nor the maintainer scripts
/// of other packages; overlayroot's only sets that trigger. dpkg(1) hands its own `PATH` on to maintainer scripts unchanged.
/// A kernel whose package is among these would get no initramfs by that: `update-initramfs -u` passes over one that has none.
const NO_REBUILD: &str =
    "#!/bin/sh\n# burnonce: rebuilds the initramfs once, when all packages are installed.\nexit 0\n";

/// The file names of the packages that wait on the node whose root is at `root`, sorted.
///
/// # Errors
/// The directory is there and cannot be read.
pub fn waiting(root: &Path) -> Result<Vec<String>> {
    let directory = files::below(root, DIRECTORY);
    let reading = || format!("reading {}", directory.display());
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(reading),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.with_context(reading)?.file_name();
        names.extend(name.to_str().filter(|name| name.ends_with(".deb")).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// What the owner is told of them: `3 packages (burnonce, busybox, overlayroot)`.
pub fn summary(packages: &[String]) -> String {
    const SHOWN: usize = 4;
    // Their files are named NAME_VERSION_ARCHITECTURE.deb.
    let names: Vec<&str> = packages.iter().map(|file| file.split('_').next().unwrap_or(file)).collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    format!("{} package{plural} ({}{more})", names.len(), names[..names.len().min(SHOWN)].join(", "))
}

/// How they are installed.
#[derive(Debug)]
pub struct Installer<'a> {
    /// Where the node's root is mounted: `/`. It is writable.
    pub root: &'a Path,
    /// dpkg(1).
    pub dpkg: Program,
    /// How long it may take.
    pub limit: Duration,
}

impl<'a> Installer<'a> {
    /// As a node has it.
    pub fn of(root: &'a Path) -> Installer<'a> {
        Installer { root, dpkg: Program::new("dpkg"), limit: LIMIT }
    }

    /// Installs the packages, all in one call, so that dpkg finds an order for them. `again`: an attempt was made before and did not come
    /// to its end. `said` gets what dpkg is at, in a few words for the console; all that it writes goes to the log.
    ///
    /// Of a run that was cut off dpkg recovers by itself: its database is written as a journal, and a package that was half unpacked
    /// or not configured is unpacked and configured again by `--install`. Not so a package that is not among these and that was cut
    /// off in a trigger, as initramfs-tools, and that those depend on: `--configure -a` puts it right, before. What that can not
    /// do by itself is no failure: `--install` has the last word.
    ///
    /// # Errors
    /// dpkg failed, and why, or took too long. What keeps services from being started is removed all the same.
    pub fn install(&self, packages: &[String], again: bool, said: &mut dyn FnMut(&str)) -> Result<()> {
        let end = Instant::now() + self.limit;
        let quiet = Quiet::begin(self.root)?;
        if again {
            match self.dpkg(vec!["--configure".to_owned(), "-a".to_owned()], end, &mut |_| {}) {
                Ok(status) => log::info!("dpkg --configure -a: {status}"),
                Err(error) => log::warn!("{error:#}"),
            }
        }
        let directory = files::below(self.root, DIRECTORY);
        // As apt does: what another package breaks is deconfigured, not refused.
        let mut arguments = vec!["--install".to_owned(), "--auto-deconfigure".to_owned()];
        arguments.extend(packages.iter().map(|name| directory.join(name).display().to_string()));
        let mut lines = Vec::new();
        let installed = self.dpkg(arguments, end, &mut |line| {
            if let Some(words) = progress(line) {
                said(&words);
            }
            lines.push(line.to_owned());
        });
        let ended = quiet.end();
        let status = installed?;
        if !status.success() {
            bail!("dpkg failed ({status}): {}", reason(&lines));
        }
        ended
    }

    fn dpkg(&self, arguments: Vec<String>, end: Instant, heard: &mut dyn FnMut(&str)) -> Result<ExitStatus> {
        let stubs = files::below(self.root, STUBS);
        let path = format!("{}:{}", stubs.display(), DIRECTORIES.join(":"));
        // What the image has changed of its configuration stays as it is; nobody can be asked.
        let dpkg = self.dpkg.clone().args(["--force-confold", "--force-confdef"]).args(arguments);
        let dpkg = dpkg.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
        let dpkg = dpkg.env("HOME", "/root").env("PATH", path);
        dpkg.watch(end.saturating_duration_since(Instant::now()), &mut |line| {
            log::info!("dpkg: {line}");
            heard(line);
        })
    }
}

/// As long as this lives, no maintainer script starts a service or rebuilds the initramfs.
#[derive(Debug)]
struct Quiet<'a> {
    root: &'a Path,
}

impl<'a> Quiet<'a> {
    fn begin(root: &'a Path) -> Result<Quiet<'a>> {
        let quiet = Quiet { root };
        clear_leftovers(root)?;
        let stubs = files::below(root, STUBS);
        fs::create_dir_all(&stubs).with_context(|| format!("making {}", stubs.display()))?;
        files::replace_with(&stubs.join("update-initramfs"), NO_REBUILD.as_bytes(), 0o755)?;
        let policy = files::below(root, POLICY);
        // One that the image has is the business of whoever made it, and has no other use than to forbid.
        if fs::symlink_metadata(&policy).is_err() {
            files::replace_with(&policy, FORBID.as_bytes(), 0o755)?;
        }
        Ok(quiet)
    }

    fn end(self) -> Result<()> {
        let ended = clear_leftovers(self.root);
        std::mem::forget(self);
        ended
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        clear_leftovers(self.root).unwrap_or_else(|error| log::warn!("{error:#}"));
    }
}

/// Whether a run that was cut off left something behind.
pub fn has_leftovers(root: &Path) -> bool {
    files::below(root, STUBS).exists() || ours(root).next().is_some()
}

/// Removes what keeps services from being started and the initramfs from being rebuilt, also that of a run that was cut off.
///
/// # Errors
/// It is there and cannot be removed.
pub fn clear_leftovers(root: &Path) -> Result<()> {
    for path in ours(root) {
        files::remove(&path)?;
    }
    remove_directory(&files::below(root, STUBS))
}

/// What of policy-rc.d is ours: the file, and what a power cut leaves of writing it.
fn ours(root: &Path) -> impl Iterator<Item = PathBuf> {
    let policy = files::below(root, POLICY);
    let unfinished = files::beside(&policy);
    let marked = fs::read(&policy).is_ok_and(|text| String::from_utf8_lossy(&text).contains(MARK));
    let policy = marked.then_some(policy);
    policy.into_iter().chain(fs::symlink_metadata(&unfinished).is_ok().then_some(unfinished))
}

/// Removes the packages that are installed now, and flushes before: a power cut leaves installed packages, or files to install again.
///
/// # Errors
/// They cannot be removed, or the card returned an error.
pub fn remove(root: &Path) -> Result<()> {
    mounted::flush(root)?;
    remove_directory(&files::below(root, DIRECTORY))?;
    // The last thing in it. Where it is not, it stays.
    if let Some(parent) = files::below(root, DIRECTORY).parent() {
        let _ = fs::remove_dir(parent);
    }
    Ok(())
}

fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.with_context(|| format!("removing {}", path.display()))?,
    }
    let parent = path.parent().unwrap_or(path);
    File::open(parent).and_then(|parent| parent.sync_all()).with_context(|| format!("flushing {}", parent.display()))
}

/// What a line of dpkg says for the console: `unpacking overlayroot (0.47)`, `setting up overlayroot (0.47)`.
fn progress(line: &str) -> Option<String> {
    let line = line.strip_suffix(" ...")?;
    let (what, package) = [("Unpacking ", "unpacking"), ("Setting up ", "setting up")]
        .into_iter()
        .find_map(|(begin, what)| line.strip_prefix(begin).map(|package| (what, package)))?;
    Some(format!("{what} {package}"))
}

/// Why dpkg failed: what it says from its first error on, without the list at its end; else its last words. It is to fit into a line
/// of 300 characters that is kept for the refusal.
fn reason(lines: &[String]) -> String {
    let said: Vec<&str> = lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let first = said.iter().position(|line| line.starts_with("dpkg: ") && line.contains("error"));
    let from = first.unwrap_or(said.len().saturating_sub(3));
    let words = said[from..].iter().take_while(|line| !line.starts_with("Errors were encountered"));
    let words: Vec<&str> = words.copied().take(3).collect();
    if words.is_empty() { "it said nothing".to_owned() } else { words.join(" / ") }
}

#[cfg(test)]
mod tests;
