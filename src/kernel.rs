//! Kernels on the boot partition and their modules in the image: a reset must not leave one without the other.

use crate::boot_partition::setting;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

mod image;

/// Where modules are: an upper directory has `usr/lib` and not the image's link to it.
const MODULES: [&str; 2] = ["lib/modules", "usr/lib/modules"];

/// Whether the tree at `root`, an image or an upper directory, has the modules of kernel `version` (`/lib/modules/VERSION`).
pub fn has_modules(root: &Path, version: &str) -> bool {
    MODULES.iter().any(|directory| root.join(directory).join(version).is_dir())
}

/// The version of the kernel that runs the machine at `root`.
///
/// # Errors
/// `/proc` is not there.
pub fn running(root: &Path) -> Result<String> {
    let path = root.join("proc/sys/kernel/osrelease");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// Makes sure that the image at `lower` has the modules of the kernel that boots next from the boot partition at `boot`, where the
/// version now running is `running`.
///
/// # Errors
/// It lacks them; the message is a sentence with both versions and the way out.
pub fn check_next(boot: &Path, lower: &Path, running: &str) -> Result<()> {
    check(Some(boot), &[lower], running)
}

/// The same for a node whose modules may be in any of `trees`, the image first: an undo brings back an upper with modules of its own.
/// Without a boot partition, the kernel that runs is taken for the one that boots next.
///
/// # Errors
/// None of them has the modules.
pub fn check(boot: Option<&Path>, trees: &[&Path], running: &str) -> Result<()> {
    let next = of_flavour(boot.map(kernels).unwrap_or_default(), running);
    let missing = |version: &str| !trees.iter().any(|tree| has_modules(tree, version));
    let Some(lacking) = next.iter().find(|kernel| missing(&kernel.version)) else {
        if next.is_empty() && missing(running) {
            bail!("the kernel that runs is {running}, and {}", lacks(trees));
        }
        return Ok(());
    };
    let Kernel { version, name } = lacking;
    bail!("the kernel that boots next is {version} ({name} on the boot partition), and {}", lacks(trees))
}

/// The rest of the sentence.
fn lacks(trees: &[&Path]) -> String {
    let mut there: Vec<String> = trees.iter().flat_map(|tree| versions_of_modules(tree)).collect();
    there.sort();
    there.dedup();
    let there = if there.is_empty() { "none at all".to_owned() } else { there.join(", ") };
    format!(
        "the image has no modules for it (it has {there}): run `burnonce maintain apt update` and `burnonce maintain apt full-upgrade`, restart, and try again then"
    )
}

fn versions_of_modules(tree: &Path) -> Vec<String> {
    let directories = MODULES.iter().filter_map(|directory| fs::read_dir(tree.join(directory)).ok());
    directories.flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A kernel on the boot partition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kernel {
    version: String,
    /// Its path from the boot partition's root.
    name: String,
}

/// Of several kernels those of the same flavour as `running`, which is what the same board boots; all, where none is.
fn of_flavour(kernels: Vec<Kernel>, running: &str) -> Vec<Kernel> {
    let flavour = |version: &str| version.rsplit_once('-').map(|(_, flavour)| flavour.to_owned());
    let wanted = flavour(running);
    let same: Vec<Kernel> = kernels.iter().filter(|kernel| flavour(&kernel.version) == wanted).cloned().collect();
    if same.is_empty() { kernels } else { same }
}

/// The kernels on the boot partition at `boot` that may boot next and whose version is known.
fn kernels(boot: &Path) -> Vec<Kernel> {
    let config = fs::read(boot.join("config.txt")).unwrap_or_default();
    let config = String::from_utf8_lossy(&config);
    let (prefix, kernel) = (setting(&config, "os_prefix").unwrap_or_default(), setting(&config, "kernel"));
    let with_prefix = candidates(boot, prefix, kernel);
    let names = match with_prefix {
        // The firmware does without a prefix under which there is no kernel.
        names if names.is_empty() && !prefix.is_empty() => candidates(boot, "", kernel),
        names => names,
    };
    let known = |name: String| {
        let version = image::version(&boot.join(&name)).or_else(|| version_in_name(&name))?;
        Some(Kernel { version, name })
    };
    names.into_iter().filter_map(known).collect()
}

/// The names of the files that may be the kernel: the one that is named, or else all that are called like one.
fn candidates(boot: &Path, prefix: &str, named: Option<&str>) -> Vec<String> {
    if let Some(name) = named.map(|kernel| format!("{prefix}{kernel}")).filter(|name| boot.join(name).is_file()) {
        return vec![name];
    }
    let (directory, start) = prefix.rsplit_once('/').map_or(("", prefix), |(directory, start)| (directory, start));
    let Ok(entries) = fs::read_dir(boot.join(directory)) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.strip_prefix(start).is_some_and(is_kernel_name))
        .map(|name| PathBuf::from(directory).join(name).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn is_kernel_name(name: &str) -> bool {
    let spare = [".bak", ".old", ".burnonce-new"].iter().any(|end| name.ends_with(end));
    let kernel = name.starts_with("kernel") && name.ends_with(".img");
    !spare && (kernel || name.starts_with("vmlinuz") || name.starts_with("Image"))
}

/// The version in `vmlinuz-VERSION`, for an image that is packed in a way that is not known here.
fn version_in_name(name: &str) -> Option<String> {
    let base = name.rsplit('/').next()?;
    let (_, version) = base.split_once('-')?;
    version.starts_with(|c: char| c.is_ascii_digit()).then(|| version.to_owned())
}

#[cfg(test)]
mod tests;
