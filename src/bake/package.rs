//! Debian packages that are put into an image, and are installed by its own dpkg on the node's first boot. That this will work is checked
//! here, where it can be told to somebody: [`choose`].
//!
//! A .deb (deb(5)) is an ar archive of two tar archives: what the package says of itself, and its files. It comes from anywhere, and nothing
//! of it is believed: sizes and paths have limits, and what does not fit is an error, not a surprise on the node.

mod ar;
mod choose;
mod facts;
mod gather;
mod installed;
mod obstacles;
pub mod relation;
mod tarball;
#[cfg(test)]
mod tests;
pub mod version;

use crate::inspect::packing::{Packing, unpacked};
use anyhow::{Context, Result, bail, ensure};
use ar::{Member, Members};
use relation::{Group, Provided};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use version::Version;

pub use choose::choose;
pub use facts::Facts;
pub use installed::Installed;
pub use tarball::{Entry, Kind};

/// What to do where a .deb was cut short.
const CUT: &str = "it was not downloaded or copied to its end: fetch it again";
/// What to do where it is damaged.
const DAMAGED: &str = "the file is damaged: fetch it again";
/// The longest file `control`, in bytes.
const CONTROL: u64 = 1 << 20;
/// The most that control.tar may have unpacked, in bytes; the list of checksums of the kernel's headers has 2 MiB.
const CONTROL_ALL: u64 = 32 << 20;
/// The most members that are looked at.
const MEMBERS: usize = 16;
/// The longest file `debian-binary`, in bytes.
const FORMAT: u64 = 256;
/// The longest name that a file can have, in bytes.
const NAME: usize = 255;

/// A .deb.
#[derive(Debug)]
pub struct Package {
    path: PathBuf,
    facts: Facts,
    version: Version,
    data: Member,
    packing: Packing,
    /// One of its two archives is packed by zstd.
    zstd: bool,
}

impl Package {
    /// Reads what the .deb at `path` says of itself. Its files are looked at by [`Package::files`].
    ///
    /// # Errors
    /// It is no .deb, is damaged or cut short, or says what no package should say; it cannot be read.
    pub fn open(path: &Path) -> Result<Package> {
        Package::read(path).with_context(|| format!("the package {}", path.display()))
    }

    fn read(path: &Path) -> Result<Package> {
        // Before it is opened: that of a pipe would wait for somebody who writes.
        ensure!(path.metadata()?.is_file(), "it is no file");
        let file = File::open(path)?;
        let mut members = Members::of(&file)?;
        let format = members.next()?.filter(|member| member.name == "debian-binary");
        let format = format.with_context(|| format!("its first member is not debian-binary; {DAMAGED}"))?;
        check_format(&mut content(&file, &format)?.take(FORMAT))?;
        let control = part(&mut members, "control.tar")?;
        let data = part(&mut members, "data.tar")?;
        let text = control_file(&file, &control)?;
        let facts = Facts::read(&facts::fields(&text).context("its file control")?).context("its file control")?;
        let version = facts.version.clone().context("its file control has no field version")?;
        let packing = packing_of(&data)?;
        let zstd = packing == Packing::Zstd || packing_of(&control)? == Packing::Zstd;
        let package = Package { path: path.to_owned(), facts, version, data, packing, zstd };
        ensure!(package.file_name().len() <= NAME, "its name and version are too long for the name of a file");
        Ok(package)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What such a .deb is called, whatever this file is: `burnonce_0.1.0_arm64.deb` (dpkg-name(1)). It has letters, digits and `-+._~` alone.
    pub fn file_name(&self) -> String {
        let version = self.version.without_epoch().replace(':', "%3a");
        format!("{}_{version}_{}.deb", self.facts.name, self.facts.architecture)
    }

    /// What it is called: `burnonce`.
    pub fn name(&self) -> &str {
        &self.facts.name
    }

    /// Which it is.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// As Debian names it: `arm64`; `all` where it is for every one.
    pub fn architecture(&self) -> &str {
        &self.facts.architecture
    }

    /// `Pre-Depends` and `Depends`.
    pub fn needs(&self) -> impl Iterator<Item = &Group> {
        self.facts.needs()
    }

    /// What it is besides itself.
    pub fn provides(&self) -> &[Provided] {
        &self.facts.provides
    }

    /// All that it says.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether zstd is needed to unpack it, which Debian's dpkg reads since 1.21.18.
    pub fn is_zstd(&self) -> bool {
        self.zstd
    }

    /// The .deb itself.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn content(&self) -> Result<File> {
        let opened = File::open(&self.path).and_then(|mut file| {
            // A path in macOS' /dev/fd leads to where the open file was read to.
            file.rewind()?;
            Ok(file)
        });
        opened.with_context(|| format!("the package {}", self.path.display()))
    }

    /// Calls `each` for every file, directory and link that it brings along, in the order of its archive, and reads it to its end, whatever
    /// `each` reads. The root itself is left out.
    ///
    /// # Errors
    /// It is damaged or cut short, or has what no package should have: absolute paths, such with `..`, devices, a file of more than
    /// 256 MiB. Where there is a checksum, an error may come after `each` was called for everything. What `each` fails with.
    pub fn files(&self, each: impl FnMut(Entry<'_>) -> Result<()>) -> Result<()> {
        let reading = || format!("the package {}", self.path.display());
        let file = self.content()?;
        let data = unpack(&file, &self.data, self.packing).with_context(reading)?;
        tarball::entries(data, tarball::ALL, each)
            .with_context(|| format!("its {}", self.data.name))
            .with_context(reading)
    }
}

/// Whether the format is 2.x. A minor number and lines after the first may be added to it (deb(5)).
fn check_format(content: &mut impl Read) -> Result<()> {
    let mut text = Vec::new();
    content.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let format = text.lines().next().unwrap_or_default();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match format.split_once('.') {
        Some(("2", minor)) if is_number(minor) => Ok(()),
        Some((major, minor)) if is_number(major) && is_number(minor) => {
            bail!(
                "it is of format {format}, of which there is 2.0 alone here; build the package with `dpkg-deb --build`"
            )
        }
        _ => bail!("it says no format; {DAMAGED}"),
    }
}

/// The member that is next, which has to be `name`, packed in one way or another. Before it may come what begins with an underscore (deb(5)).
fn part(members: &mut Members<&File>, name: &str) -> Result<Member> {
    for _ in 0..MEMBERS {
        let member = members.next()?.with_context(|| format!("it ends before {name}; {CUT}"))?;
        if member.name.starts_with('_') {
            continue;
        }
        ensure!(
            member.name.starts_with(name),
            "it has `{}` where {name} should be; {DAMAGED}",
            member.name.escape_debug()
        );
        return Ok(member);
    }
    bail!("it has no {name} among its first members; {DAMAGED}")
}

/// How a member is packed, by its name, as dpkg goes by it.
fn packing_of(member: &Member) -> Result<Packing> {
    Ok(match member.name.split_once(".tar").map(|(_, rest)| rest) {
        Some("") => Packing::None,
        Some(".xz") => Packing::Xz,
        Some(".zst") => Packing::Zstd,
        Some(".gz") => Packing::Gzip,
        _ => bail!(
            "burnonce does not unpack `{}`; build the package anew: `dpkg-deb --raw-extract FILE DIRECTORY`, then `dpkg-deb -Zxz --build DIRECTORY`",
            member.name.escape_debug()
        ),
    })
}

fn content<'f>(mut file: &'f File, member: &Member) -> Result<impl Read + use<'f>> {
    file.seek(SeekFrom::Start(member.offset))?;
    Ok(file.take(member.size))
}

fn unpack<'f>(file: &'f File, member: &Member, packing: Packing) -> Result<Box<dyn Read + 'f>> {
    Ok(unpacked(packing, BufReader::with_capacity(64 << 10, content(file, member)?))?)
}

/// The file `control` in control.tar.
fn control_file(file: &File, member: &Member) -> Result<String> {
    let archive = unpack(file, member, packing_of(member)?)?;
    let mut found = None;
    let taking = |entry: Entry<'_>| {
        let Kind::File { size, content } = entry.kind else { return Ok(()) };
        if entry.path == "control" {
            ensure!(found.is_none(), "it has two files control; {DAMAGED}");
            ensure!(size <= CONTROL, "its file control has {size} bytes; no such package is taken");
            let mut text = Vec::new();
            content.read_to_end(&mut text)?;
            found = Some(String::from_utf8_lossy(&text).into_owned());
        }
        Ok(())
    };
    tarball::entries(archive, CONTROL_ALL, taking).with_context(|| format!("its {}", member.name))?;
    found.with_context(|| format!("its {} has no file control; {DAMAGED}", member.name))
}
