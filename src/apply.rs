//! Carries out a plan. Besides this module only [`crate::notice`] and [`crate::maintain`] write to a card.

use crate::boot_files;
use crate::boot_partition;
use crate::command::Program;
use crate::console::Console;
use crate::files;
use crate::filesystem::{self, mark};
use crate::mounted::{self, Mounted};
use crate::observation::{Disk, Place};
use crate::overlay::{self, Configuration, Counts};
use crate::packages::{self, Installer};
use crate::state::{self, State};
use crate::step::{Plan, Step};
use crate::sys;
use crate::table::{self, Change, NewPartition, Table};
use crate::upper::{self, Upper};
use anyhow::{Context, Result, anyhow};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where the agent works in a boot; memory, never the card.
pub const RUN: &str = "run/burnonce";

/// The machine that a plan is carried out on.
#[derive(Debug)]
pub struct Machine<'a> {
    /// Where its root is mounted: `/`.
    pub root: &'a Path,
    /// The disk of the lower.
    pub disk: &'a Disk,
    /// Where the lower is.
    pub lower: &'a Place,
    /// overlayroot's configuration file.
    pub conf: &'a Path,
    /// What the configuration counted when this boot began.
    pub counts: Counts,
    /// Whether [`Step::Reboot`] restarts the machine, or is only said.
    pub reboot: bool,
}

/// What stopped a plan.
#[derive(Debug)]
pub struct Failure {
    /// The step, in words.
    pub step: String,
    /// Why.
    pub error: anyhow::Error,
    /// The overlay was configured by then: the next boot is one.
    pub configured: bool,
}

/// Carries out the steps of `plan` in their order, at most `limit` of them, and says each on the console. Returns only where there
/// is no restart in it, or where a step failed before the configuration was written.
///
/// # Errors
/// The first step that failed. Once the overlay is configured, it is the restart alone that can fail: whatever else does, to let this
/// boot go on would be to write to the lower.
pub fn run(plan: &Plan, machine: &Machine, console: &mut Console, limit: usize) -> Result<(), Failure> {
    let total = plan.steps.len();
    let mut configured = false;
    for (number, step) in (1..).zip(plan.steps.iter().take(limit)) {
        console.step(number, total, step);
        match apply(step, machine, console) {
            Ok(()) => console.done(""),
            Err(error) => {
                // The file can be there though something after it failed.
                configured |= matches!(step, Step::WriteConfiguration { .. }) && is_configured(machine);
                // A file that is open for writing keeps a file system writable. The seal comes all the same: it shuts out the next mount.
                let seal_follows = matches!(step, Step::MakeReadOnly { .. });
                // A card without a boot partition is converted like any other.
                let beside = matches!(step, Step::KeepBootFiles { .. });
                if *step == Step::Reboot || !(configured || seal_follows || beside) {
                    forget_unpublished(plan, machine);
                    return Err(Failure { step: step.to_string(), error, configured });
                }
                console.warn(format_args!("that failed: {error:#}"));
            }
        }
        configured |= matches!(step, Step::WriteConfiguration { .. });
    }
    Ok(())
}

/// Whether the complete configuration is on the lower.
fn is_configured(machine: &Machine) -> bool {
    let text = fs::read_to_string(machine.conf_path());
    text.is_ok_and(|text| matches!(overlay::parse(&text), Configuration::Complete(_)))
}

fn apply(step: &Step, machine: &Machine, console: &mut Console) -> Result<()> {
    let root = machine.root;
    match step {
        Step::RecordAttempt { attempt } => {
            let mut counts = Counts { attempts: *attempt, ..machine.counts.clone() };
            if *attempt == 1 {
                // What it says then is what a rebuild of the initramfs failed on.
                counts.failure = None;
            }
            write_configuration(machine, &overlay::begun(&counts))
        }
        Step::ForgetKernelPartition { number, .. } => sys::forget_kernel_partition(&machine.open_disk()?, *number),
        Step::RemovePartition { device, number, before, .. } => {
            let disk = machine.open_disk()?;
            let known = machine.node(device).exists();
            if known {
                need_unused(&machine.node(device))?;
            }
            machine.publish(before, &Change::Remove { number: *number })?;
            // The kernel has none that begins past the end of the card.
            if known { sys::forget_kernel_partition(&disk, *number) } else { Ok(()) }
        }
        Step::AddKernelPartition { partition: NewPartition { number, start, sectors }, .. } => {
            sys::add_kernel_partition(&machine.open_disk()?, *number, *start, *sectors, machine.disk.sector_size)
        }
        Step::GrowKernelPartition { partition: NewPartition { number, start, sectors }, .. } => {
            sys::resize_kernel_partition(&machine.open_disk()?, *number, *start, *sectors, machine.disk.sector_size)
        }
        Step::GrowFilesystem { device, .. } => filesystem::grow(&machine.node(device)),
        Step::MakeFilesystem { device, length, made_for, attempt } => {
            let content = stage(root, &State::new(made_for, *attempt))?;
            filesystem::make(&machine.node(device), *length, &content, *attempt)?;
            // The kernel that made it must be able to use it, before anything points at it.
            Mounted::new(&machine.node(device), "ext4", &root.join(RUN).join("upper"), true)?.close()
        }
        Step::PublishTable { before, change, .. } => {
            machine.publish(before, change)?;
            match change {
                Change::Add(new) => {
                    let device = machine.node(&machine.disk.partition_name(new.number));
                    mark::clear(&device, new.sectors.to_bytes(machine.disk.sector_size))
                }
                Change::Remove { .. } | Change::Grow { .. } => Ok(()),
            }
        }
        Step::KeepBootFiles { device } => keep_boot_files(machine, device),
        Step::WriteConfiguration { attempt } => {
            let counts = Counts { attempts: *attempt, failure: None, ..machine.counts.clone() };
            write_configuration(machine, &overlay::complete(&counts))?;
            mounted::quiesce(root, machine.reboot)
        }
        Step::MakeReadOnly { directory } if directory == "/" => mounted::quiesce(root, machine.reboot),
        Step::MakeReadOnly { directory } => mounted::remount(&files::below(root, directory), false),
        Step::Seal { device } => filesystem::seal(&machine.node(device)),
        Step::Unseal { device } => filesystem::unseal(&machine.node(device)),
        Step::KeepLog { device } => keep_log(machine, device, console),
        Step::InstallPackages { packages, attempt } => {
            let installer = Installer::of(root);
            install(&installer, packages, *attempt, machine, console)
        }
        Step::RebuildInitramfs { rebuild, .. } => {
            let counts = Counts { rebuilds: *rebuild, rebuilt: false, ..machine.counts.clone() };
            write_configuration(machine, &overlay::begun(&counts))?;
            // Root is writable this late in a boot, but not where it was sealed until just now.
            let rebuild = || Program::new("update-initramfs").args(["-u", "-k", "all"]).run();
            mounted::with_root_writable(root, rebuild)?;
            write_configuration(machine, &overlay::begun(&Counts { rebuilt: true, failure: None, ..counts }))
        }
        Step::Reboot if machine.reboot => Err(restart(root, console)),
        Step::Reboot => {
            log::info!("not restarting, as asked");
            Ok(())
        }
    }
}

impl Machine<'_> {
    fn conf_path(&self) -> PathBuf {
        files::below(self.root, self.conf)
    }

    fn node(&self, name: &str) -> PathBuf {
        self.root.join("dev").join(name)
    }

    fn open_disk(&self) -> Result<File> {
        let node = self.node(&self.disk.name);
        OpenOptions::new().read(true).write(true).open(&node).with_context(|| format!("opening {}", node.display()))
    }

    fn publish(&self, before: &Table, change: &Change) -> Result<()> {
        // A table that was cut short is read and changed as that of the longer card it comes from.
        let sectors = self.disk.sectors.0.max(before.last_usable.0.saturating_add(1));
        table::publish(&mut self.open_disk()?, before, change, self.disk.sector_size, sectors)
            .with_context(|| format!("writing the partition table of /dev/{}", self.disk.name))
    }
}

/// Makes sure that nothing has the partition mounted or otherwise claimed.
fn need_unused(device: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::libc::O_EXCL);
    let opened = options.open(device).map(drop);
    opened.with_context(|| format!("{} is in use: unmount it, or whatever else has it open", device.display()))
}

/// Writes overlayroot's configuration into the lower, and flushes it.
fn write_configuration(machine: &Machine, text: &str) -> Result<()> {
    mounted::with_root_writable(machine.root, || files::replace(&machine.conf_path(), text))
}

/// Writes down what an attempt failed on, for the refusal that follows the last one. Best effort: the card may be what failed.
pub fn record_failure(machine: &Machine, begun: Counts, failure: &Failure) {
    let counts = Counts { failure: Some(format!("{}: {:#}", failure.step, failure.error)), ..begun };
    if let Err(error) = write_configuration(machine, &overlay::begun(&counts)) {
        log::warn!("the failure could not be written down: {error:#}");
    }
}

/// The tree that a new upper begins with, in memory. `overlay` has root's mode, since the merged `/` takes the upper's.
fn stage(root: &Path, state: &State) -> Result<PathBuf> {
    let stage = root.join(RUN).join("stage");
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("removing {}", stage.display()))?;
    }
    for directory in upper::DIRECTORIES {
        let path = stage.join(directory);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        set_mode(&path, 0o755)?;
    }
    upper::make_ballast(&Upper::at(&stage).own("ballast"))?;
    files::replace(&stage.join(state::PATH), &state.to_json()?)?;
    Ok(stage)
}

/// Installs the packages that came with the image. They are there until all of it is on the card: a power cut installs them again.
fn install(
    installer: &Installer,
    waiting: &[String],
    attempt: u32,
    machine: &Machine,
    console: &mut Console,
) -> Result<()> {
    let root = machine.root;
    let counts = Counts { rebuilds: attempt, rebuilt: false, ..machine.counts.clone() };
    write_configuration(machine, &overlay::begun(&counts))?;
    // As in the rebuild. But where it was sealed until just now, it stays writable: dpkg has replaced the very program that runs here,
    // and as long as one of its old files is in use, root cannot become read-only but by the end of this boot.
    if mounted::is_read_only(root)? {
        mounted::remount(root, true)?;
    }
    installer.install(waiting, attempt > 1, &mut |words| console.say(words))?;
    packages::remove(root)
}

/// Sets a mode whatever the umask is.
fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("setting the mode of {}", path.display()))
}

/// Puts on the upper partition what a first boot consumes from the boot partition.
fn keep_boot_files(machine: &Machine, device: &str) -> Result<()> {
    let upper = Mounted::new(&machine.node(device), "ext4", &machine.root.join(RUN).join("upper"), true)?;
    let kept = boot_partition::with(machine.root, machine.disk, machine.lower, |boot| {
        boot_files::keep(boot.directory(), &Upper::at(upper.directory()))
    });
    upper.close()?;
    kept
}

/// Puts the transcript of the console on the upper partition.
fn keep_log(machine: &Machine, device: &str, console: &Console) -> Result<()> {
    let upper = Mounted::new(&machine.node(device), "ext4", &machine.root.join(RUN).join("upper"), true)?;
    let directory = upper.directory().join("burnonce/log");
    let number = fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))?.count() + 1;
    let path = directory.join(format!("{number:04}-conversion.log"));
    // Unmounting puts it on the card. Nothing goes by it, so it is not worth the flushes of a file that must be whole.
    fs::write(&path, console.transcript()).with_context(|| format!("writing {}", path.display()))?;
    upper.close()
}

/// After a failure the kernel must not show a partition that the card does not have.
fn forget_unpublished(plan: &Plan, machine: &Machine) {
    let Some((number, ..)) = plan.new_partition() else { return };
    let Ok(mut disk) = machine.open_disk() else { return };
    let published = match table::read(&mut disk, machine.disk.sector_size, machine.disk.sectors.0) {
        Ok(Ok(table)) => table.partitions.iter().any(|p| p.number == number),
        // Not known: then it stays as it is.
        _ => true,
    };
    if published {
        return;
    }
    if let Err(error) = sys::forget_kernel_partition(&disk, number) {
        log::debug!("partition {number} was not there to forget: {error:#}");
    }
}

/// Restarts the machine at once, past systemd: a unit that asks systemd for a restart and returns lets later units start, and they
/// write to the lower. Returns only the reason why it did not.
pub fn restart(root: &Path, console: &Console) -> anyhow::Error {
    nix::unistd::sync();
    if let Err(error) = mounted::quiesce(root, true) {
        // The journal of a file system that is writable at a restart is replayed; a boot that goes on is worse.
        log::warn!("{error:#}");
    }
    // Below an overlay root that is read-only by now: at rest, too, the guard need not replay its journal.
    let upper = files::below(root, overlay::UPPER);
    if mounted::is_read_only(&upper).is_ok_and(|read_only| !read_only) {
        mounted::remount(&upper, false).unwrap_or_else(|error| log::info!("{error:#}"));
    }
    console.settle();
    match nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_AUTOBOOT) {
        Ok(never) => match never {},
        Err(error) => anyhow!(error).context("restarting"),
    }
}
