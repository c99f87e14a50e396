//! `burnonce maintain`: the one door to the sealed lower.
//!
//! The lower becomes writable in a mount namespace of this process alone: what the rest of the node sees of it stays read-only.
//! Whatever happens inside, the lower is made read-only and sealed again.

use crate::config::{self, Config};
use crate::files;
use crate::mounted;
use crate::mounts;
use crate::observation::{Observation, Place, Root};
use crate::output::tell;
use crate::overlay::{self, Configuration};
use crate::{Exit, filesystem, observe, sys};
use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// Tells the package's scripts that they run inside.
pub const ENVIRONMENT: &str = "BURNONCE_MAINTAIN";
/// What the tree of the lower needs from the running system.
const BORROWED: [&str; 5] = ["/dev", "/proc", "/sys", "/run", BOOT];
/// Where the boot partition is mounted.
const BOOT: &str = "/boot/firmware";

/// Where a running `maintain` holds its lock.
const LOCK: &str = "/run/burnonce/maintain.lock";

/// Signals that must not end this process, which lives on to seal; the command gets them as usual.
const IGNORED: [Signal; 5] = [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGTERM, Signal::SIGPIPE];
/// Ignored by the command, too: one that a Ctrl-Z has stopped would keep the image open without an end. A shell sees to its own.
const IGNORED_BY_ALL: [Signal; 1] = [Signal::SIGTSTP];

/// Runs `command` (a shell, where it is empty) in the lower, as root there.
///
/// # Errors
/// The node does not run on an overlay; another `maintain` is at work; the lower could not be made writable. An exit code of the
/// command is no error: it is handed on.
pub fn run(command: &[String]) -> Result<Exit> {
    let (_, config) = config::of(Path::new("/"));
    let seen = observe::observe(Path::new("/"), &config)?;
    let device = PathBuf::from("/dev").join(lower_of_overlay(&seen)?);
    let lower = Path::new(overlay::LOWER);
    let _lock = lock()?;
    // Neither a Ctrl-C meant for the command nor a lost SSH connection may keep it from sealing.
    sys::ignore(&IGNORED);
    sys::ignore(&IGNORED_BY_ALL);
    unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("making the mounts private")?;
    let inside = open(&device, lower).and_then(|()| enter(lower, command));
    let closed = close(&device, lower, &config);
    if let Err(error) = &closed {
        tell(format_args!("the image is NOT sealed again: {error:#}. Restart; burnonce.service then seals it"));
    }
    let exit = inside?;
    closed?;
    tell(format_args!(
        "the image was changed below a running overlay: restart soon, before you rely on what you changed."
    ));
    Ok(exit)
}

/// Kernel name of the lower.
fn lower_of_overlay(seen: &Observation) -> Result<&str> {
    match (&seen.root, &seen.lower, &seen.configuration) {
        (Root::Overlay { .. }, Place::Partition { name, .. }, Configuration::Complete(_)) => Ok(name),
        (Root::Plain { .. }, _, Configuration::Complete(_)) => {
            bail!(
                "root is the image itself in this boot; with `burnonce=off` in cmdline.txt it is writable: change it directly then"
            )
        }
        (Root::Plain { .. }, ..) => {
            bail!("root is no overlay in this boot, so there is nothing to open: change the system directly")
        }
        _ => bail!("this overlay was not configured by burnonce; `overlayroot-chroot` is the tool for it"),
    }
}

/// Whether one is at work now: the image is open then, and is to be.
pub fn is_at_work(root: &Path) -> bool {
    File::open(files::below(root, LOCK)).is_ok_and(|file| Flock::lock(file, FlockArg::LockSharedNonblock).is_err())
}

/// What is said while it is.
pub const AT_WORK: &str = "`burnonce maintain` is at work; it seals the image when it ends";

/// One at a time: the end of one would make the image read-only under the other.
fn lock() -> Result<Flock<File>> {
    fs::create_dir_all("/run/burnonce").context("making /run/burnonce")?;
    let file = File::create(LOCK).with_context(|| format!("creating {LOCK}"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| anyhow!("another `burnonce maintain` is at work on this node; try again when it has ended"))
}

fn open(device: &Path, lower: &Path) -> Result<()> {
    filesystem::unseal(device)?;
    mounted::remount(lower, true)
}

/// Runs the command inside and waits for it.
fn enter(lower: &Path, command: &[String]) -> Result<Exit> {
    if Path::new(BOOT).is_dir() && !is_mount_point(BOOT)? {
        tell(format_args!(
            "no boot partition is mounted on {BOOT}: what a kernel or firmware package puts there does not get to it"
        ));
    }
    for directory in BORROWED {
        let inside = files::below(lower, directory);
        if directory == BOOT && !inside.exists() && is_mount_point(directory)? {
            // systemd has made it in the overlay: an upgrade of the kernel here is for the boot partition, too.
            fs::create_dir_all(&inside).with_context(|| format!("making {}", inside.display()))?;
        }
        if Path::new(directory).is_dir() && inside.is_dir() {
            bind(Path::new(directory), &inside)?;
        }
    }
    borrow_resolver(lower)?;
    let shell = [String::from("/bin/sh"), "-i".to_owned()];
    let command = if command.is_empty() { shell.as_slice() } else { command };
    if command == shell {
        tell(format_args!(
            "a shell in the image itself; what you change here stays in it for good. `exit` to seal it again."
        ));
    }
    let (program, arguments) = command.split_first().context("no command")?;
    let mut child = Command::new(program);
    child.args(arguments).env(ENVIRONMENT, "1").env("debian_chroot", "burnonce");
    sys::start_inside(&mut child, lower.to_owned(), IGNORED.to_vec());
    let status = child.status().with_context(|| format!("running `{}` in the image", command.join(" ")))?;
    if let Some(number) = status.signal() {
        tell(format_args!("`{}` was ended by signal {number}", command.join(" ")));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Of(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// Whether something is mounted on this directory.
fn is_mount_point(directory: &str) -> Result<bool> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    Ok(mounts::parse(&text).iter().any(|mount| mount.mount_point == directory))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("binding {} to {}", from.display(), to.display()))
}

/// Name resolution as the node has it, where the image has a file of its own for that. A link into /run works as it is.
fn borrow_resolver(lower: &Path) -> Result<()> {
    let (here, inside) = (Path::new("/etc/resolv.conf"), lower.join("etc/resolv.conf"));
    let is_file = fs::symlink_metadata(&inside).is_ok_and(|m| m.is_file());
    if is_file && here.exists() { bind(here, &inside) } else { Ok(()) }
}

/// Makes the lower read-only and seals it, unless burnonce was removed from it: then the node is to be a plain one.
fn close(device: &Path, lower: &Path, config: &Config) -> Result<()> {
    end_left_processes(lower);
    // Busy where a file was replaced that the running node has open through the overlay, as an upgrade of a library does. The seal
    // holds all the same, and nobody else can write: in the other mount namespaces the lower is mounted read-only.
    if let Err(error) = mounted::remount(lower, false) {
        log::info!("{error:#}: files of it that were replaced are still in use; the restart ends that");
    }
    // Either file of overlayroot's: the node's own burnonce.yaml may name another one than the image's did. In doubt it is sealed.
    let configured = !matches!(
        observe::configuration(lower, &config.overlay.conf),
        Ok(Configuration::Absent | Configuration::Begun(_) | Configuration::Foreign { .. })
    );
    if configured {
        filesystem::seal(device)?;
        return mounted::flush(lower);
    }
    tell(format_args!(
        "the overlay's configuration is gone from the image, so it is not sealed: the next boot has no overlay."
    ));
    Ok(())
}

/// Ends what was left running inside; an open file would keep the lower writable.
fn end_left_processes(lower: &Path) {
    for attempt in 0..20 {
        let left = processes_in(lower);
        if left.is_empty() {
            return;
        }
        let with = if attempt < 10 { Signal::SIGTERM } else { Signal::SIGKILL };
        for pid in left {
            log::info!("ending process {pid}, which was left running in the image");
            let _ = kill(pid, with);
        }
        sleep(Duration::from_millis(200));
    }
}

/// Processes whose root is the lower as this mount namespace has it: `overlayroot-chroot`'s look alike, but are in another one.
fn processes_in(lower: &Path) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let here = fs::read_link("/proc/self/ns/mnt").ok();
    let inside = |n: &i32| {
        fs::read_link(format!("/proc/{n}/root")).is_ok_and(|root| root == lower)
            && fs::read_link(format!("/proc/{n}/ns/mnt")).ok() == here
    };
    let numbers = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(inside).map(Pid::from_raw).collect()
}
