//! Why dpkg would not install packages that have all that they need. What dpkg does is in its manual page and in Debian Policy, 7.

use super::choose::{BURNONCE, Named, System, after};
use super::relation::{Group, Relation};
use super::version::Version;
use super::{Facts, Installed};
use anyhow::{Context, Result, bail, ensure};

/// The first dpkg of Debian that reads zstd (its changelog). Ubuntu's does since 18.04.
const ZSTD: &str = "1.21.18";

/// Looks for what is in the way of `dpkg --install --auto-deconfigure` with all of `taken`.
///
/// # Errors
/// There is something.
pub fn check(taken: &Named, installed: &Installed, architecture: &str) -> Result<()> {
    if taken.is_empty() {
        return Ok(());
    }
    let dpkg = installed.find("dpkg", architecture).context(
        "the image has no dpkg, which installs packages on the first boot: burnonce is for images of Debian, Raspberry Pi OS and Ubuntu",
    )?;
    check_zstd(taken, dpkg)?;
    check_order(taken, installed, architecture)?;
    check_beside(taken, installed, architecture)?;
    check_needs(taken, installed, architecture)
}

fn check_zstd(taken: &Named, dpkg: &Facts) -> Result<()> {
    let Some(version) = &dpkg.version else { return Ok(()) };
    if version.as_str().contains("ubuntu") || *version >= Version::parse(ZSTD)? {
        return Ok(());
    }
    if let Some(package) = taken.values().find(|package| package.is_zstd()) {
        bail!(
            "{} is packed by zstd, which the image's dpkg {version} does not read: build it anew, `dpkg-deb --raw-extract FILE DIRECTORY` and \
             `dpkg-deb -Zxz --build DIRECTORY`",
            package.path().display()
        );
    }
    Ok(())
}

/// What has to be configured before another package is unpacked cannot come in the same call of dpkg.
fn check_order(taken: &Named, installed: &Installed, architecture: &str) -> Result<()> {
    let before = System::of(installed.packages.iter(), architecture);
    for package in taken.values() {
        // burnonce's own program runs before dpkg does.
        let is_library = |group: &&Group| group.0.iter().all(|relation| relation.name.starts_with("lib"));
        let mut libraries = package.facts.depends.iter().filter(is_library).filter(|group| !before.has(group));
        if let Some(group) = libraries.next().filter(|_| package.name() == BURNONCE) {
            bail!(
                "burnonce {} needs {group}, and the image has not got it. That cannot be brought along, for burnonce runs before packages are \
                 installed: build its package on a system of the image's release, or an older one",
                package.version()
            );
        }
        if let Some(group) = package.facts.pre_depends.iter().find(|group| !before.has(group)) {
            bail!(
                "{} {} needs {group} before it is unpacked (`Pre-Depends`), and the image has not got it: take an image that has, or a package \
                 that can do without",
                package.name(),
                package.version()
            );
        }
    }
    Ok(())
}

/// What one package says about another that it cannot be beside.
fn clashes(one: &Facts, relations: &[Relation], other: &Facts, architecture: &str) -> bool {
    // A package may have the name of what it excludes: it is the only one then.
    one.name != other.name
        && relations.iter().any(|relation| match relation.qualifier.as_deref() {
            None | Some("any") => other.has(relation),
            Some(_) => other.is(relation, architecture),
        })
}

fn check_beside(taken: &Named, installed: &Installed, architecture: &str) -> Result<()> {
    let told = |one: &Facts, word: &str, other: &Facts| -> Result<()> {
        let name = |facts: &Facts| format!("{} {}", facts.name, facts.version.as_ref().map_or("", Version::as_str));
        let owner = |facts: &Facts| if taken.contains_key(facts.name.as_str()) { "given" } else { "of the image" };
        bail!(
            "{} ({}) cannot be installed beside {} ({}): it {word} it. Leave out what was given, or give versions that go together",
            name(one).trim(),
            owner(one),
            name(other).trim(),
            owner(other)
        )
    };
    let after: Vec<&Facts> = after(installed, taken, architecture).collect();
    for new in taken.values().map(|package| &package.facts) {
        // What was there before it, too: dpkg goes from one package to the next.
        for other in installed.packages.iter().chain(after.iter().copied()) {
            ensure_not(clashes(new, &new.conflicts, other, architecture), || told(new, "conflicts with", other))?;
        }
        for other in after.iter().copied() {
            ensure_not(clashes(new, &new.breaks, other, architecture), || told(new, "breaks", other))?;
            ensure_not(clashes(other, &other.conflicts, new, architecture), || told(other, "conflicts with", new))?;
            ensure_not(clashes(other, &other.breaks, new, architecture), || told(other, "breaks", new))?;
        }
    }
    Ok(())
}

fn ensure_not(is_so: bool, told: impl FnOnce() -> Result<()>) -> Result<()> {
    if is_so { told() } else { Ok(()) }
}

/// What the image has, and had all that it needs, still has it.
fn check_needs(taken: &Named, installed: &Installed, architecture: &str) -> Result<()> {
    let before = System::of(installed.packages.iter(), architecture);
    let system = System::of(after(installed, taken, architecture), architecture);
    for facts in after(installed, taken, architecture) {
        for group in facts.needs() {
            ensure!(
                system.has(group) || !before.has(group),
                "{} of the image needs {group}, in whose place another version would come: give a {} that goes with it, or leave the newer \
                 version out",
                facts.name,
                facts.name
            );
        }
    }
    Ok(())
}
