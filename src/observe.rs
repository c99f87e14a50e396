//! Looks at the machine and writes nothing. What it sees becomes an [`Observation`].

use crate::files;
use crate::filesystem::{self, Content, mark};
use crate::guard::report::{self, Problem};
use crate::observation::{Cmdline, Disk, Held, KernelPartition, Observation, Overlayroot, Place, Root};
use crate::overlay::{self, Configuration, Generator};
use crate::table::{self, Defect, Table};
use crate::units::{Bytes, Lba, Sectors};
use crate::{config::Config, mounts, mounts::Mount, packages, plan};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod others;

/// Sysfs counts in sectors of this many bytes, whatever the disk (Documentation/ABI/stable/sysfs-block).
pub(crate) const SYSFS_SECTOR: u64 = 512;
/// How much of the log of what makes the overlay is kept: its end says what failed.
const LOG_LINES: usize = 40;

/// Sees the machine whose root is at `root`: `/`, or in a test a directory with `proc`, `sys`, `dev`, `etc` and `run`.
///
/// # Errors
/// Something that every Linux has could not be read; the message names it.
pub fn observe(root: &Path, config: &Config) -> Result<Observation> {
    let mounts = mounts::parse(&read(&root.join("proc/self/mountinfo"))?);
    let on_root = mounts::at(&mounts, "/").context("/proc/self/mountinfo names no root file system")?;
    let mode = root_mode(&mounts, on_root);
    let overlaid = matches!(mode, Root::Overlay { .. });
    let upper = if let Root::Overlay { upper: Some(name), .. } = &mode { Some(name.as_str()) } else { None };
    let below = if overlaid { mounts::at(&mounts, overlay::LOWER).unwrap_or(on_root) } else { on_root };
    let (lower, disk_path) = place(root, below)?;
    let mut disk = match (&lower, disk_path) {
        (Place::Partition { number, .. }, Some(path)) => Some(disk(root, &path, *number, upper)?),
        _ => None,
    };
    let tree = if overlaid { files::below(root, overlay::LOWER) } else { root.to_owned() };
    let configuration = configuration(&tree, &config.overlay.conf)?;
    let twins = disk.as_ref().map_or(Vec::new(), |disk| others::twins(root, disk));
    if let (Some(disk), None, Configuration::Complete(_)) = (&mut disk, upper, &configuration) {
        disk.begun = begun(root, disk, config);
    }
    // A boot with nothing to do is to be short, and on an overlay nothing is installed into the image.
    let plain = matches!(mode, Root::Plain { .. });
    let packages = if plain { packages::waiting(root)? } else { Vec::new() };
    let usr = if plain { usr(&mounts) } else { None };
    Ok(Observation {
        cmdline: cmdline(&read(&root.join("proc/cmdline"))?),
        root: mode,
        lower,
        disk,
        usr,
        configuration,
        overlayroot: overlayroot(root, plain),
        twins,
        packages,
    })
}

/// What is mounted on `/usr`. An overlay there is what systemd-sysext(8) merges into a system that has booted.
fn usr(mounts: &[Mount]) -> Option<String> {
    mounts::at(mounts, "/usr").filter(|mount| mount.fs_type != "overlay").map(|mount| mount.source.clone())
}

/// What `/` of the machine at `root` is, without a look at any disk.
///
/// # Errors
/// The mount table could not be read, or has no `/`.
pub fn mode(root: &Path) -> Result<Root> {
    let mounts = mounts::parse(&read(&root.join("proc/self/mountinfo"))?);
    let on_root = mounts::at(&mounts, "/").context("/proc/self/mountinfo names no root file system")?;
    Ok(root_mode(&mounts, on_root))
}

/// What the mount table says of `/`, where `on_root` is mounted.
pub fn root_mode(mounts: &[Mount], on_root: &Mount) -> Root {
    if on_root.fs_type != "overlay" {
        return Root::Plain { fs_type: on_root.fs_type.clone(), writable: on_root.writable() };
    }
    let (lower, upper) = (mounts::at(mounts, overlay::LOWER), mounts::at(mounts, overlay::UPPER));
    let (Some(lower), Some(upper)) = (lower, upper) else { return Root::OtherOverlay };
    if on_root.super_option("upperdir") != Some(&format!("{}/overlay", overlay::UPPER)) {
        return Root::OtherOverlay;
    }
    let name = upper.source.strip_prefix("/dev/").map(str::to_owned);
    Root::Overlay {
        upper: if upper.fs_type == "tmpfs" { None } else { name },
        lower_writable: lower.file_system_writable(),
        upper_writable: upper.writable(),
    }
}

/// Where a mounted file system is, by what the kernel knows.
pub(crate) enum Location {
    /// On a partition: its kernel name, its number, and the sysfs directory of its disk.
    Partition { name: String, number: u32, disk: PathBuf },
    /// Not on one.
    Elsewhere(Place),
}

/// Finds the device of a mounted file system in sysfs.
pub(crate) fn locate(root: &Path, mount: &Mount) -> Result<Location> {
    let no_device = || Location::Elsewhere(Place::NoDevice { source: mount.source.clone() });
    if mount.device.starts_with("0:") {
        return Ok(no_device());
    }
    let link = root.join("sys/dev/block").join(&mount.device);
    let Ok(device) = link.canonicalize() else { return Ok(no_device()) };
    let name = base_name(&device);
    let (Ok(number), Some(disk)) = (read_number(&device.join("partition")), device.parent()) else {
        let shown = fs::read_to_string(device.join("dm/name")).map_or(name.clone(), |n| n.trim().to_owned());
        let place = if is_mapped(&device) { Place::Mapped { name: shown } } else { Place::WholeDisk { name } };
        return Ok(Location::Elsewhere(place));
    };
    if is_mapped(disk) {
        return Ok(Location::Elsewhere(Place::Mapped { name: base_name(disk) }));
    }
    Ok(Location::Partition { name, number: u32::try_from(number)?, disk: disk.to_owned() })
}

/// Where a mounted file system is, and the sysfs directory of its disk.
fn place(root: &Path, mount: &Mount) -> Result<(Place, Option<PathBuf>)> {
    match locate(root, mount)? {
        Location::Elsewhere(place) => Ok((place, None)),
        Location::Partition { name, number, disk } => {
            let (uuid, sealed) = identify(&root.join("dev").join(&name), &mount.fs_type)?;
            Ok((Place::Partition { number, uuid, sealed, name }, Some(disk)))
        }
    }
}

/// Whether the sysfs directory of a disk is that of a device mapper target or an md array.
fn is_mapped(disk: &Path) -> bool {
    disk.join("dm").exists() || disk.join("md").exists()
}

/// UUID and seal of the file system on `node`. The kernel writes a mounted superblock in two steps, so that its checksum can be wrong
/// for a moment (LP#2090972): a second look decides.
fn identify(node: &Path, fs_type: &str) -> Result<(String, bool)> {
    let mut found = filesystem::identify(node)?;
    if found.is_none() && fs_type == "ext4" {
        std::thread::sleep(Duration::from_millis(200));
        found = filesystem::identify(node)?;
    }
    Ok(found.map_or((String::new(), false), |found| (found.uuid, found.sealed)))
}

/// The disk whose sysfs directory is `path`. Where an upper is in use, the partitions are not looked into, so that a boot with nothing
/// to do stays short.
fn disk(root: &Path, path: &Path, root_number: u32, upper: Option<&str>) -> Result<Disk> {
    let name = base_name(path);
    let sector_size = u32::try_from(read_number(&path.join("queue/logical_block_size"))?)?;
    let scale = u64::from(sector_size) / SYSFS_SECTOR;
    let sectors = Sectors(read_number(&path.join("size"))? / scale.max(1));
    let node = root.join("dev").join(&name);
    let mut file = File::open(&node).with_context(|| format!("opening {}", node.display()))?;
    let table = table::read(&mut file, sector_size, sectors.0)
        .unwrap_or_else(|error| Err(Defect::Unreadable { error: format!("{error:#}") }));
    // What cannot be read was said above.
    let cut_short = table::read_cut_short(&mut file, sector_size, sectors.0).unwrap_or(None);
    let mut disk = Disk {
        sectors,
        sector_size,
        read_only: read_number(&path.join("ro")).unwrap_or(0) != 0,
        erase_size: read_number(&path.join("device/preferred_erase_size")).ok().filter(|&n| n > 0).map(Bytes),
        kernel: kernel_partitions(path, scale.max(1))?,
        contents: Vec::new(),
        file_system: None,
        begun: 0,
        cut_short,
        table,
        name,
    };
    if let Some(upper) = upper {
        // The kernel's own copy. Where it cannot be read, nothing grows in this boot.
        let glance = filesystem::glance(&root.join("dev").join(upper)).unwrap_or_else(|error| {
            log::warn!("{error:#}");
            None
        });
        disk.file_system = glance.map(|glance| glance.size);
    } else if let Some(table) = disk.table.as_ref().ok().or(disk.cut_short.as_ref()) {
        disk.contents = contents(root, &disk, table, root_number);
    }
    Ok(disk)
}

/// How often a new upper was begun to be made. What cannot be read counts for nothing: making one fails on it, too.
fn begun(root: &Path, disk: &Disk, config: &Config) -> u32 {
    let Ok(table) = &disk.table else { return 0 };
    let (start, sectors) = plan::place(disk, table, config);
    let end = Lba(start.0 + sectors.0).to_offset(disk.sector_size);
    let opened = File::open(root.join("dev").join(&disk.name)).map_err(anyhow::Error::from);
    let read = opened.and_then(|file| mark::attempts(&file, end));
    read.unwrap_or_else(|error| {
        log::debug!("{error:#}");
        0
    })
}

/// What the partitions hold beside root. One that cannot be read must not keep the owner from learning what else there is.
fn contents(root: &Path, disk: &Disk, table: &Table, root_number: u32) -> Vec<Held> {
    let others = table.partitions.iter().map(|partition| partition.number).filter(|&number| number != root_number);
    let held = others.map(|number| {
        let node = root.join("dev").join(disk.partition_name(number));
        let probed = if node.exists() { filesystem::probe(&node) } else { Ok(Content::Unknown) };
        let content = probed.unwrap_or_else(|error| Content::Unreadable { reason: format!("{error:#}") });
        Held { number, content }
    });
    held.collect()
}

fn kernel_partitions(path: &Path, scale: u64) -> Result<Vec<KernelPartition>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("reading {}", path.display()))? {
        let directory = entry?.path();
        if let Ok(number) = read_number(&directory.join("partition")) {
            found.push(KernelPartition {
                number: u32::try_from(number)?,
                start: Lba(read_number(&directory.join("start"))? / scale),
                sectors: Sectors(read_number(&directory.join("size"))? / scale),
            });
        }
    }
    found.sort_by_key(|p| p.number);
    Ok(found)
}

/// Reads the words that matter from a kernel command line; of several the last counts.
pub fn cmdline(text: &str) -> Cmdline {
    let mut seen = Cmdline::default();
    for word in text.split_whitespace() {
        match word.split_once('=') {
            None if word == "rw" => (seen.rw, seen.ro) = (true, false),
            None if word == "ro" => (seen.rw, seen.ro) = (false, true),
            // As the shells of the initramfs have it: one is enough.
            Some(("burnonce", value)) => seen.off |= value == "off",
            Some(("overlayroot", value)) => seen.overlayroot = Some(value.to_owned()),
            _ if overlay::is_dracut_overlay(word) => seen.rd_overlay = Some(word.to_owned()),
            _ => {}
        }
    }
    seen
}

/// overlayroot's configuration in the tree of the lower: a complete one of ours, a begun one at `conf`, or somebody's in either of
/// its two files.
pub(crate) fn configuration(tree: &Path, conf: &Path) -> Result<Configuration> {
    let mut found = Configuration::Absent;
    for path in ["/etc/overlayroot.conf", "/etc/overlayroot.local.conf"] {
        let Some(text) = read_if_there(&files::below(tree, path))? else { continue };
        match overlay::parse(&text) {
            Configuration::Absent => {}
            // overlayroot reads them in this order: the later one counts.
            counts @ (Configuration::Foreign { .. } | Configuration::Complete(_)) => found = counts,
            begun if Path::new(path) == conf && found == Configuration::Absent => found = begun,
            // A count that was begun before `overlay.conf` was changed.
            Configuration::Begun(_) => {}
        }
    }
    Ok(found)
}

/// How the overlay gets into a boot. Where what made it is known, what makes the next initramfs is looked for on a `plain` root alone, where
/// one may have to be made: a boot with nothing to do is to be short.
fn overlayroot(root: &Path, plain: bool) -> Overlayroot {
    let booted = [Generator::InitramfsTools, Generator::Dracut].into_iter().find(|one| root.join(one.log()).exists());
    let looks = plain || booted.is_none();
    let tool = if looks { fs::read_to_string(root.join("usr/sbin/update-initramfs")).ok() } else { None };
    let installed = tool.as_ref().map_or(Generator::None, |text| Generator::of_update_initramfs(text));
    let generator = booted.unwrap_or(installed);
    let log = fs::read(root.join(generator.log())).ok().map(|bytes| {
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    });
    // A report that cannot be read is as good as none.
    let guard = report::read(root).unwrap_or_else(|error| {
        log::warn!("{error:#}");
        None
    });
    let reason = fs::read_to_string(root.join(overlay::REASON)).ok().map(|t| t.trim().to_owned());
    let problem = guard.as_ref().and_then(|report| report.problem.as_ref());
    Overlayroot {
        generator,
        log,
        guard: guard.as_ref().map(|report| report.verdict),
        reason: reason.or_else(|| problem.map(|Problem { why, remedy }| format!("{why}\n{remedy}"))),
        installed: looks && root.join(installed.script()).exists(),
        rebuildable: tool.is_some(),
    }
}

pub(crate) fn base_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn read_if_there(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

pub(crate) fn read_number(path: &Path) -> Result<u64> {
    let text = read(path)?;
    text.trim().parse().with_context(|| format!("{} holds `{}`, not a number", path.display(), text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_read_word_by_word() {
        let seen = cmdline("console=tty1 root=LABEL=writable rw overlayroot=tmpfs burnonce=off ro burnonce.x=off\n");
        let (overlayroot, rd_overlay) = (Some("tmpfs".to_owned()), None);
        assert_eq!(seen, Cmdline { off: true, rw: false, ro: true, overlayroot, rd_overlay });
        let dracut = cmdline("root=LABEL=writable rd.overlay=LABEL=changes");
        assert_eq!(dracut.rd_overlay.as_deref(), Some("rd.overlay=LABEL=changes"));
        assert_eq!(cmdline("root=/dev/mmcblk0p2 burnonce=offline wrong"), Cmdline::default());
    }

    #[test]
    fn a_usr_of_its_own_is_told_from_an_extended_one() {
        let root = "25 1 179:2 / / ro,relatime shared:1 - ext4 /dev/mmcblk0p2 ro\n";
        let own = "31 25 8:1 / /usr ro,relatime shared:2 - ext4 /dev/sda1 ro\n";
        let extended = "90 25 0:40 / /usr ro,nodev - overlay sysext ro,lowerdir=/run/systemd/sysext:/usr\n";
        for (lines, expected) in [("", None), (own, Some("/dev/sda1")), (extended, None)] {
            let mounts = mounts::parse(&format!("{root}{lines}"));
            assert_eq!(usr(&mounts).as_deref(), expected, "{lines}");
        }
    }

    #[test]
    fn what_makes_the_next_initramfs_is_looked_for_where_it_matters() {
        let machine = tempfile::tempdir().unwrap();
        let at = |path: &str| machine.path().join(path);
        fs::create_dir_all(at("usr/sbin")).unwrap();
        fs::create_dir_all(at("run/burnonce")).unwrap();
        fs::write(at("usr/sbin/update-initramfs"), "dracut --force").unwrap();
        // No log of this boot: only what is installed says whose words on the command line count.
        for plain in [true, false] {
            let seen = overlayroot(machine.path(), plain);
            assert_eq!((seen.generator, seen.rebuildable), (Generator::Dracut, true), "{plain}");
        }
        fs::write(at(Generator::Dracut.log()), "[success]: done").unwrap();
        let seen = overlayroot(machine.path(), false);
        assert_eq!((seen.generator, seen.rebuildable), (Generator::Dracut, false));
        assert!(overlayroot(machine.path(), true).rebuildable);
    }

    #[test]
    fn a_configuration_is_found_in_either_of_the_two_files() {
        const LOCAL: &str = "/etc/overlayroot.local.conf";
        const OTHER: &str = "/etc/overlayroot.conf";
        let counts = overlay::Counts { attempts: 2, ..Default::default() };
        let (begun, complete) = (overlay::begun(&counts), overlay::complete(&counts));
        let foreign = "overlayroot=tmpfs\n".to_owned();
        let nothing = "overlayroot=\"\"\n".to_owned();
        for (local, other, expected) in [
            (&nothing, &nothing, Configuration::Absent),
            (&begun, &nothing, Configuration::Begun(counts.clone())),
            // `overlay.conf` was changed after the first attempt: what was counted elsewhere does not count.
            (&nothing, &begun, Configuration::Absent),
            // After a conversion it does not matter what `overlay.conf` names.
            (&nothing, &complete, Configuration::Complete(counts.clone())),
            (&begun, &complete, Configuration::Complete(counts.clone())),
            // The local file is read last, so it is what counts.
            (&complete, &foreign, Configuration::Complete(counts.clone())),
            (&foreign, &complete, Configuration::Foreign { line: "overlayroot=tmpfs".to_owned() }),
            (&foreign, &nothing, Configuration::Foreign { line: "overlayroot=tmpfs".to_owned() }),
        ] {
            let tree = tempfile::tempdir().unwrap();
            fs::create_dir(tree.path().join("etc")).unwrap();
            fs::write(tree.path().join(&LOCAL[1..]), local).unwrap();
            fs::write(tree.path().join(&OTHER[1..]), other).unwrap();
            assert_eq!(configuration(tree.path(), Path::new(LOCAL)).unwrap(), expected, "{local}{other}");
        }
    }
}
