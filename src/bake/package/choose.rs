//! Which packages are put into an image.

use super::gather::{Given, gather};
use super::relation::Group;
use super::{Facts, Installed, Package, obstacles};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What all is about.
pub(super) const BURNONCE: &str = "burnonce";

/// Packages by their names.
pub(super) type Named<'p> = BTreeMap<&'p str, &'p Package>;

/// The packages to install of those `given`, sorted by their names: one call of `dpkg --install --auto-deconfigure` on the node, with all of
/// them, will work. Whether their files can be read is not looked at, see [`Package::files`].
///
/// `given` are files, which are taken, and directories, of which burnonce is taken, and whatever one that is taken needs and the image has
/// not. `waiting` are those that an earlier bake put in: one is taken unless it is given anew. `architecture` is the image's, as Debian names
/// it. What the image has in the same version is left out.
///
/// # Errors
/// A package cannot be read, or is not for the image; burnonce is neither there nor in the image; something is missing that one of them
/// needs, or the image has something that cannot be beside one of them.
pub fn choose(
    given: &[PathBuf],
    waiting: Vec<Package>,
    installed: &Installed,
    architecture: &str,
) -> Result<Vec<Package>> {
    let mut given = gather(given, waiting, installed, architecture)?;
    let has_burnonce = given.named.contains_key(BURNONCE) || given.found.contains_key(BURNONCE);
    if !has_burnonce && installed.find(BURNONCE, architecture).is_none() {
        bail!(
            "burnonce is not in the image, and its package is not among those that were given{}: give the one for {architecture} with --deb",
            elsewhere(&given, BURNONCE)
        );
    }
    let taken = resolve(&given, installed, architecture);
    let missing = missing(&taken, &given, installed, architecture);
    if !missing.is_empty() {
        bail!(ask_for(&missing, installed, architecture));
    }
    obstacles::check(&taken, installed, architecture)?;
    let names: Vec<String> = taken.keys().map(|name| (*name).to_owned()).collect();
    Ok(names.iter().filter_map(|name| given.named.remove(name).or_else(|| given.found.remove(name))).collect())
}

/// Packages that are side by side, by what can be asked for.
pub(super) struct System<'f> {
    architecture: &'f str,
    by_name: BTreeMap<&'f str, Vec<&'f Facts>>,
}

impl<'f> System<'f> {
    pub fn of(all: impl Iterator<Item = &'f Facts>, architecture: &'f str) -> System<'f> {
        let mut by_name: BTreeMap<&str, Vec<&Facts>> = BTreeMap::new();
        for facts in all {
            for name in facts.provides.iter().map(|one| one.name.as_str()).chain([facts.name.as_str()]) {
                by_name.entry(name).or_default().push(facts);
            }
        }
        System { architecture, by_name }
    }

    /// Whether one of the alternatives is there.
    pub fn has(&self, group: &Group) -> bool {
        group.0.iter().any(|relation| {
            self.by_name
                .get(relation.name.as_str())
                .into_iter()
                .flatten()
                .any(|facts| facts.is(relation, self.architecture))
        })
    }
}

/// What a system will have: what of it stays, and what is taken.
pub(super) fn after<'p>(
    installed: &'p Installed,
    taken: &Named<'p>,
    architecture: &'p str,
) -> impl Iterator<Item = &'p Facts> + use<'p> {
    let new: Vec<&Facts> = taken.values().map(|package| &package.facts).collect();
    let names: Vec<&str> = taken.keys().copied().collect();
    let stays = move |facts: &&Facts| !facts.fits(architecture) || names.binary_search(&facts.name.as_str()).is_err();
    installed.packages.iter().filter(stays).chain(new)
}

/// What is taken: what was named, burnonce, and from directories what these need and what that needs, as far as it is there.
fn resolve<'p>(given: &'p Given, installed: &'p Installed, architecture: &'p str) -> Named<'p> {
    let borrow =
        |packages: &'p BTreeMap<String, Package>| packages.iter().map(|(name, package)| (name.as_str(), package));
    let found: Named = borrow(&given.found).collect();
    let whole = whole(&found, &borrow(&given.named).collect(), installed, architecture);
    let mut taken: Named = borrow(&given.named).collect();
    taken.extend(found.get_key_value(BURNONCE));
    loop {
        let system = System::of(after(installed, &taken, architecture), architecture);
        let unmet = taken.values().flat_map(|package| package.needs()).filter(|group| !system.has(group));
        let next = unmet.filter_map(|group| pick(group, &[&whole, &found], &taken, architecture)).next();
        match next {
            Some(package) => drop(taken.insert(package.name(), package)),
            None => return taken,
        }
    }
}

/// Those of `found` whose own needs can be met. Of alternatives, one of these is better than one that cannot be installed in any way.
fn whole<'p>(found: &Named<'p>, named: &Named<'p>, installed: &'p Installed, architecture: &'p str) -> Named<'p> {
    let mut whole = found.clone();
    loop {
        let there = whole.values().chain(named.values()).map(|package| &package.facts);
        let system = System::of(installed.packages.iter().chain(there), architecture);
        let before = whole.len();
        whole.retain(|_, package| package.needs().all(|group| system.has(group)));
        if whole.len() == before {
            return whole;
        }
    }
}

/// A package that meets `group`: from the first of `pools` that has one, for the first alternative, and rather itself than what provides it.
fn pick<'p>(group: &Group, pools: &[&Named<'p>], taken: &Named<'p>, architecture: &str) -> Option<&'p Package> {
    let candidates = pools.iter().flat_map(|pool| group.0.iter().map(move |relation| (pool, relation)));
    let picked = candidates.flat_map(|(pool, relation)| {
        let itself = pool.get(relation.name.as_str()).into_iter();
        itself
            .chain(pool.values())
            .find(|package| package.facts.is(relation, architecture) && !taken.contains_key(package.name()))
    });
    picked.copied().next()
}

/// Something that is not there.
struct Missing<'p> {
    group: &'p Group,
    /// Who needs it, with their versions.
    by: Vec<String>,
    /// What there is instead; empty where there is nothing.
    instead: String,
}

fn missing<'p>(taken: &Named<'p>, given: &Given, installed: &Installed, architecture: &str) -> Vec<Missing<'p>> {
    let system = System::of(after(installed, taken, architecture), architecture);
    let mut missing: BTreeMap<String, Missing> = BTreeMap::new();
    for package in taken.values() {
        for group in package.facts.needs().filter(|group| !system.has(group)) {
            let instead = group.0.iter().map(|relation| match installed.find(&relation.name, architecture) {
                Some(Facts { version: Some(version), .. }) => format!("; the image has {} {version}", relation.name),
                _ => elsewhere(given, &relation.name),
            });
            let one = || Missing { group, by: Vec::new(), instead: instead.collect() };
            let by = format!("{} {}", package.name(), package.version());
            let all = &mut missing.entry(group.to_string()).or_insert_with(one).by;
            if !all.contains(&by) {
                all.push(by);
            }
        }
    }
    missing.into_values().collect()
}

/// What to say where a package is there for another architecture.
fn elsewhere(given: &Given, name: &str) -> String {
    let other = given.foreign.iter().find(|package| package.name() == name);
    other
        .map_or_else(String::new, |package| format!("; {} is for {}", package.path().display(), package.architecture()))
}

/// The sentence that lists what is missing, and where it can be had.
fn ask_for(missing: &[Missing], installed: &Installed, architecture: &str) -> String {
    let lines = missing.iter().map(|one| format!("\n  {}, needed by {}{}", one.group, one.by.join(", "), one.instead));
    let list: String = lines.collect();
    let mut names: Vec<&str> = missing.iter().map(|one| one.group.0[0].name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let system = if installed.system.is_empty() { "the release of the image" } else { &installed.system };
    let site = if system.contains("Ubuntu") { "packages.ubuntu.com" } else { "packages.debian.org" };
    let is_old = missing.iter().any(|one| one.instead.contains("the image has"));
    let older = "\nWhere the image has another version, the package that needs it was made for another release: get that one for the image's.";
    format!(
        "packages are missing, in the image and among those that were given:{list}\nDownload them for {architecture} and {system}, \
         with `apt-get download {}` on a machine that runs it or from https://{site}, and give each with --deb.{}",
        names.join(" "),
        if is_old { older } else { "" }
    )
}
