//! What system the root of an image holds, and what of it burnonce has to do with. Pure: it looks at a [`Tree`].

pub(crate) use super::dpkg::{Package, packages};
use super::dpkg::{State, listed};
use super::tree::{Node, Tree, join};
use crate::config::{self, Config};
use crate::overlay::{self, Configuration, Generator};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The longest small text file that is read, in bytes.
pub const TEXT: u64 = 256 << 10;
/// Where packages are that the first boot of a node installs.
pub const PACKAGES: &str = "var/lib/burnonce/packages";
/// Where systemd keeps what an administrator says of units.
const UNITS: &str = "etc/systemd/system";
/// Where packages put units.
const PACKAGED_UNITS: [&str; 2] = ["usr/lib/systemd/system", "lib/systemd/system"];

/// The system of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct System {
    pub distribution: Distribution,
    /// As it calls itself: `PRETTY_NAME` of os-release; empty where it has none.
    pub name: String,
    /// `VERSION_ID` of os-release: `12`, `24.04`.
    pub version: Option<String>,
    /// `VERSION_CODENAME` of os-release: `bookworm`, `noble`.
    pub codename: Option<String>,
    /// What the image builder numbers its images by: the date in Raspberry Pi OS' rpi-issue, Armbian's version and board.
    pub release: Option<String>,
    /// As Debian names it: `arm64`, `armhf`.
    pub architecture: Option<String>,
    /// What makes the initramfs.
    pub generator: Generator,
    pub overlayroot: Overlayroot,
    pub burnonce: Burnonce,
    /// cloud-init, where it is installed.
    pub cloud_init: Option<CloudInit>,
    /// The image has a machine id of its own, which each card would have: it was booted before it was read out.
    pub has_machine_id: bool,
}

/// Whose image it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    Ubuntu,
    RaspberryPiOs,
    Debian,
    Armbian,
    /// None of these.
    Other,
}

/// The package overlayroot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Overlayroot {
    pub installed: bool,
    pub version: Option<String>,
}

/// burnonce in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Burnonce {
    pub installed: bool,
    pub version: Option<String>,
    /// burnonce.service is enabled: the first boot converts.
    pub armed: bool,
    /// What `/etc/overlayroot*.conf` says.
    pub configuration: Configuration,
    /// What `/etc/burnonce.yaml` says of converting.
    pub convert: Convert,
    /// The names of the packages' files that the first boot installs.
    pub waiting: Vec<String>,
}

impl Burnonce {
    /// Whether this package is among those that the first boot installs.
    pub fn brings(&self, package: &str) -> bool {
        self.waiting.iter().any(|name| name.split_once('_').is_some_and(|(name, _)| name == package))
    }
}

/// Whether a boot is to convert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Convert {
    /// It is, as where there is no configuration.
    On,
    /// `convert: false`.
    Off,
    /// There is this mistake in the configuration, and with one nothing is converted.
    Mistake(String),
}

/// cloud-init in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CloudInit {
    pub version: Option<String>,
    /// The kernel command line says so, or `/etc/cloud/cloud-init.disabled` is there.
    pub disabled: bool,
}

impl System {
    /// Whether cloud-init is there and runs.
    pub fn has_cloud_init(&self) -> bool {
        self.cloud_init.as_ref().is_some_and(|cloud_init| !cloud_init.disabled)
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Distribution::Ubuntu => "Ubuntu",
            Distribution::RaspberryPiOs => "Raspberry Pi OS",
            Distribution::Debian => "Debian",
            Distribution::Armbian => "Armbian",
            Distribution::Other => "an unknown distribution",
        })
    }
}

/// What the root of an image holds.
///
/// # Errors
/// Something that is there cannot be read.
pub fn look(root: &dyn Tree) -> Result<System> {
    let listed = listed(root)?;
    let names = |state: State| listed.iter().filter(move |(_, one)| *one == state).map(|(package, _)| package);
    let unpacked: Vec<String> = names(State::Unpacked).map(|package| package.name.clone()).collect();
    let packages: BTreeMap<String, Package> =
        names(State::Installed).map(|package| (package.name.clone(), package.clone())).collect();
    let version = |name: &str| packages.get(name).and_then(|package| package.version.clone());
    let release = os_release(root)?;
    let value = |key: &str| release.get(key).cloned().filter(|value| !value.is_empty());
    let (distribution, issue) = distribution(root, &release)?;
    let has_script =
        root.has(Generator::InitramfsTools.script())? || root.has("usr/lib/dracut/modules.d/50overlayroot")?;
    let has_cloud_init = packages.contains_key("cloud-init") || root.has("usr/bin/cloud-init")?;
    let cloud_init = CloudInit { version: version("cloud-init"), disabled: root.has("etc/cloud/cloud-init.disabled")? };
    Ok(System {
        distribution,
        name: value("PRETTY_NAME").or_else(|| value("NAME")).unwrap_or_default(),
        version: value("VERSION_ID"),
        codename: value("VERSION_CODENAME"),
        release: issue,
        architecture: architecture(root, &packages)?,
        generator: generator(root, &packages, &unpacked)?,
        overlayroot: Overlayroot {
            installed: has_script || packages.contains_key("overlayroot"),
            version: version("overlayroot"),
        },
        burnonce: Burnonce {
            installed: packages.contains_key("burnonce") || root.has("usr/sbin/burnonce")?,
            version: version("burnonce"),
            armed: unit(root, "burnonce.service")? == Unit::Enabled,
            configuration: configuration(root)?,
            convert: convert(root)?,
            waiting: waiting(root)?,
        },
        cloud_init: has_cloud_init.then_some(cloud_init),
        has_machine_id: root.text("etc/machine-id", 64)?.is_some_and(|id| is_machine_id(id.trim())),
    })
}

fn is_machine_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The settings of os-release(5), which is shell: `KEY="value"`.
fn os_release(root: &dyn Tree) -> Result<BTreeMap<String, String>> {
    let text = match root.text("etc/os-release", TEXT)? {
        Some(text) => Some(text),
        None => root.text("usr/lib/os-release", TEXT)?,
    };
    Ok(text.as_deref().map(settings).unwrap_or_default())
}

/// Lines `KEY=value` of a file that a shell could read.
fn settings(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
        .collect()
}

/// Whose image it is, and its builder's number. Raspberry Pi OS and Armbian call themselves Debian or Ubuntu in os-release.
fn distribution(root: &dyn Tree, release: &BTreeMap<String, String>) -> Result<(Distribution, Option<String>)> {
    if let Some(text) = root.text("etc/armbian-release", TEXT)? {
        let found = settings(&text);
        let numbers: Vec<&str> =
            ["VERSION", "BOARD"].iter().filter_map(|key| found.get(*key)).map(String::as_str).collect();
        return Ok((Distribution::Armbian, Some(numbers.join(" ")).filter(|text| !text.is_empty())));
    }
    if let Some(text) = root.text("etc/rpi-issue", TEXT)? {
        // `Raspberry Pi reference 2024-11-19`
        let date = text
            .lines()
            .find_map(|line| line.strip_prefix("Raspberry Pi reference "))
            .map(|date| date.trim().to_owned());
        return Ok((Distribution::RaspberryPiOs, date));
    }
    let distribution = match release.get("ID").map(String::as_str) {
        Some("ubuntu") => Distribution::Ubuntu,
        Some("debian") => Distribution::Debian,
        // The 32-bit Raspberry Pi OS.
        Some("raspbian") => Distribution::RaspberryPiOs,
        _ => Distribution::Other,
    };
    Ok((distribution, None))
}

/// What the root of an image calls its system: `PRETTY_NAME` of os-release; empty where it has none.
///
/// # Errors
/// It cannot be read.
pub(crate) fn name(root: &dyn Tree) -> Result<String> {
    Ok(os_release(root)?.remove("PRETTY_NAME").unwrap_or_default())
}

/// The architecture of dpkg itself; by the header of its program where there is no list of packages.
fn architecture(root: &dyn Tree, packages: &BTreeMap<String, Package>) -> Result<Option<String>> {
    if let Some(architecture) = packages.get("dpkg").and_then(|package| package.architecture.clone()) {
        return Ok(Some(architecture));
    }
    for program in ["usr/bin/dpkg", "usr/bin/env", "bin/sh"] {
        let header = root.read(program, 64)?;
        if let Some(architecture) = header.as_deref().and_then(machine) {
            return Ok(Some(architecture.to_owned()));
        }
    }
    Ok(None)
}

/// Debian's name for the machine of an ELF header (elf(5)): `e_machine` at byte 18, and for ARM the flag of its hard-float ABI.
fn machine(header: &[u8]) -> Option<&'static str> {
    const HARD_FLOAT: u8 = 0x04;
    if !header.starts_with(b"\x7fELF") || header.len() < 52 {
        return None;
    }
    match u16::from_le_bytes([header[18], header[19]]) {
        0xB7 => Some("arm64"),
        // The second byte of `e_flags`, which a 32-bit header has at byte 36.
        0x28 if header[37] & HARD_FLOAT != 0 => Some("armhf"),
        0x28 => Some("armel"),
        0x3E => Some("amd64"),
        0x03 => Some("i386"),
        0xF3 => Some("riscv64"),
        _ => None,
    }
}

/// Programs are there, too, of a package that is unpacked and was not set up.
fn generator(root: &dyn Tree, packages: &BTreeMap<String, Package>, unpacked: &[String]) -> Result<Generator> {
    let is_there = |package: &str, program: &str| -> Result<bool> {
        let is_listed = packages.contains_key(package) || unpacked.iter().any(|name| name == package);
        Ok(is_listed || (packages.is_empty() && root.has(program)?))
    };
    Ok(if is_there("dracut", "usr/bin/dracut")? {
        Generator::Dracut
    } else if is_there("initramfs-tools", "usr/sbin/mkinitramfs")? {
        Generator::InitramfsTools
    } else {
        Generator::None
    })
}

/// What overlayroot's files say: the one of the administrator counts before the package's.
fn configuration(root: &dyn Tree) -> Result<Configuration> {
    for path in ["etc/overlayroot.local.conf", "etc/overlayroot.conf"] {
        if let Some(text) = root.text(path, TEXT)? {
            match overlay::parse(&text) {
                Configuration::Absent => {}
                found => return Ok(found),
            }
        }
    }
    Ok(Configuration::Absent)
}

fn convert(root: &dyn Tree) -> Result<Convert> {
    let Some(content) = root.read(config::PATH, TEXT)? else { return Ok(Convert::On) };
    Ok(match config::parse_bytes(&content) {
        Ok(Config { convert: true, .. }) => Convert::On,
        Ok(_) => Convert::Off,
        Err(error) => Convert::Mistake(error.to_string()),
    })
}

/// The packages that the first boot installs.
fn waiting(root: &dyn Tree) -> Result<Vec<String>> {
    let mut names = root.list(PACKAGES)?;
    names.retain(|name| name.ends_with(".deb"));
    Ok(names)
}

/// How systemd sees a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// There is none of that name.
    Missing,
    /// It is there, and nothing starts it.
    Disabled,
    /// Something wants it.
    Enabled,
    /// It is a link to /dev/null, or empty.
    Masked,
}

/// Whether a file of systemd's takes the place of another and says nothing: a link to /dev/null, or an empty file.
///
/// # Errors
/// Something on the way cannot be read.
pub fn is_mask(root: &dyn Tree, path: &str) -> Result<bool> {
    let is_link = root.link(path)? == Some(Node::Link("/dev/null".to_owned()));
    Ok(is_link || root.read(path, 1)?.is_some_and(|content| content.is_empty()))
}

/// How systemd sees the unit `name` (systemd.unit(5)).
///
/// # Errors
/// One of its directories cannot be read.
pub fn unit(root: &dyn Tree, name: &str) -> Result<Unit> {
    let mut is_there = false;
    for directory in [UNITS].iter().chain(&PACKAGED_UNITS) {
        let path = join(directory, name);
        if !is_there && is_mask(root, &path)? {
            return Ok(Unit::Masked);
        }
        is_there = is_there || root.has(&path)?;
    }
    if !is_there {
        return Ok(Unit::Missing);
    }
    for directory in [UNITS].iter().chain(&PACKAGED_UNITS) {
        for wants in root.list(directory)?.iter().filter(|n| n.ends_with(".wants") || n.ends_with(".requires")) {
            if root.link(&format!("{directory}/{wants}/{name}"))?.is_some() {
                return Ok(Unit::Enabled);
            }
        }
    }
    Ok(Unit::Disabled)
}
