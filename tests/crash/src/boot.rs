//! Boots of a card by this machine's kernel: what an initramfs does, then the agent in a chroot. Half a second instead of a minute.
//!
//! A thread that boots cards is in a mount namespace of its own, with a `/run` and a `/media` that are not this machine's.

use std::ffi::OsString;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use burnonce_vm::{Card, host};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::reader::Reader;

/// Where the node's root is, in the thread's namespace.
const NODE: &str = "/run/node";
/// Where overlayroot mounts lower and upper before they go below the new root: the mount table of the overlay keeps these names.
const LOWER: &str = "/media/root-ro";
const UPPER: &str = "/media/root-rw";
/// Where the recording's card, as it was before, can be seen: its image, and its upper where it had one.
pub const BEFORE: &str = "/run/before";
pub const UPPER_BEFORE: &str = "/run/before-upper";

/// Gives this thread a mount namespace of its own.
pub fn own_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace (this needs CAP_SYS_ADMIN)")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .context("making mounts private")?;
    for place in ["/run", "/media"] {
        mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("mounting a tmpfs on {place}"))?;
    }
    // What the guard and the agent say is not for this machine's log and console.
    for device in ["/dev/kmsg", "/dev/console"] {
        if Path::new(device).exists() {
            bind(Path::new("/dev/null"), Path::new(device))?;
        }
    }
    for directory in [NODE, LOWER, UPPER, BEFORE, UPPER_BEFORE, "/run/look"] {
        fs::create_dir_all(directory).with_context(|| format!("making {directory}"))?;
    }
    Ok(())
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("mounting {} on {}", from.display(), to.display()))
}

fn mount_ext4(device: &Path, at: &Path, flags: MsFlags, options: Option<&str>) -> Result<()> {
    mount(Some(device), at, Some("ext4"), flags, options)
        .with_context(|| format!("mounting {} on {}", device.display(), at.display()))
}

fn mount_tmpfs(at: &Path) -> Result<()> {
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mounting a tmpfs on {}", at.display()))
}

fn unmount(at: &Path) -> Result<()> {
    patiently(|| umount2(at, MntFlags::empty())).with_context(|| format!("unmounting {}", at.display()))
}

/// Tries again for a while what is in use: a process that another thread starts has, for a moment, the open files of this one, too.
pub fn patiently<T>(mut work: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    const TRIES: u32 = 200;
    for _ in 1..TRIES {
        match work() {
            Err(Errno::EBUSY) => std::thread::sleep(Duration::from_millis(10)),
            done => return done,
        }
    }
    work()
}

/// Mounts the ext4 at `range` of a card in its file, for comparison; it goes with the namespace.
pub fn mount_before(card: &Card, range: Range<u64>, at: &str) -> Result<()> {
    let options = format!("loop,ro,noload,offset={},sizelimit={}", range.start, range.end - range.start);
    host::run(Command::new("mount").args(["-t", "ext4", "-o", &options]).arg(&card.path).arg(at)).map(drop)
}

/// Lets `look` see a partition which nothing else has mounted, read-only; nothing is replayed or written.
pub fn look<T>(device: &Path, look: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    mounted(device, MsFlags::MS_RDONLY, Some("noload"), look)
}

/// Lets `change` change what is in a partition which nothing else has mounted.
pub fn change<T>(device: &Path, change: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    mounted(device, MsFlags::empty(), None, change)
}

fn mounted<T>(
    device: &Path,
    flags: MsFlags,
    options: Option<&str>,
    work: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    let at = Path::new("/run/look");
    mount_ext4(device, at, flags, options)?;
    let outcome = work(at);
    unmount(at)?;
    outcome
}

/// A boot, as far as the initramfs has come; it ends with [`Boot::power_off`].
pub struct Boot<'a> {
    reader: &'a Reader,
    /// What is to be unmounted at the end, in this order.
    mounts: Vec<PathBuf>,
    overlay: bool,
    counted: bool,
}

impl<'a> Boot<'a> {
    /// Mounts root read-only. The kernel replays its journal, where it has to.
    pub fn begin(reader: &'a Reader) -> Result<Self> {
        let node = PathBuf::from(NODE);
        mount_ext4(&reader.partition(2), &node, MsFlags::MS_RDONLY, None)?;
        Ok(Self { reader, mounts: vec![node], overlay: false, counted: false })
    }

    /// The same where what reaches the card is counted, and what the agent asks of the kernel: inode tables are not initialised in the
    /// background, and the node has no disk but its own.
    pub fn begin_counted(reader: &'a Reader) -> Result<Self> {
        let mut boot = Self::begin(reader)?;
        boot.counted = true;
        Ok(boot)
    }

    /// The node's root.
    pub fn root(&self) -> &Path {
        Path::new(NODE)
    }

    /// The guard's turn. Returns its report.
    pub fn guard(&mut self) -> Result<Value> {
        self.guard_by(|words| Command::new(&words[0]).args(&words[1..]).output().context("starting the guard"))
    }

    /// The same, started by `start`, which gets the words of the command.
    pub fn guard_by(&mut self, start: impl FnOnce(&[OsString]) -> Result<Output>) -> Result<Value> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("asking for the kernel's version")?;
        // The guard looks whether the image has modules of the kernel that runs: it has, of the kernel here.
        let modules = self.root().join("usr/lib/modules");
        mount_tmpfs(&modules)?;
        self.mounts.insert(0, modules.clone());
        fs::create_dir(modules.join(kernel.trim())).context("making a directory of modules")?;
        if Path::new("/run/burnonce").exists() {
            fs::remove_dir_all("/run/burnonce").context("removing what the last boot left in /run")?;
        }
        let guard = self.root().join("usr/lib/burnonce/guard");
        let output = start(&[guard.into(), "guard".into(), "--root".into(), NODE.into()])?;
        ensure!(output.status.success(), "the guard failed: {}", said(&output));
        let text = fs::read_to_string("/run/burnonce/guard.json").context("reading the guard's report")?;
        let report: Value = serde_json::from_str(&text).with_context(|| format!("the guard's report is {text:?}"))?;
        let modules = self.mounts.remove(0);
        unmount(&modules)?;
        Ok(report)
    }

    /// What overlayroot does if the guard came to `upper`, and what systemd has ready when the agent begins.
    pub fn go_on(&mut self, overlay: bool) -> Result<()> {
        if overlay {
            let options = self.counted.then_some("noinit_itable");
            mount_ext4(&self.reader.partition(3), Path::new(UPPER), MsFlags::empty(), options)?;
            self.mount_overlay()?;
        }
        self.hand_over()
    }

    /// The same if the guard came to `memory`.
    pub fn go_on_in_memory(&mut self) -> Result<()> {
        mount_tmpfs(Path::new(UPPER))?;
        for directory in ["overlay", "overlay-workdir/_"] {
            fs::create_dir_all(Path::new(UPPER).join(directory))?;
        }
        self.mount_overlay()?;
        self.hand_over()
    }

    /// What systemd has ready.
    fn hand_over(&mut self) -> Result<()> {
        let node = self.root().to_path_buf();
        let early = self.mounts.len();
        for name in ["proc", "sys", "dev"] {
            bind(&Path::new("/").join(name), &node.join(name))?;
            self.mounts.insert(0, node.join(name));
        }
        if self.counted {
            self.hide_other_disks()?;
        }
        mount_tmpfs(&node.join("run"))?;
        self.mounts.insert(self.mounts.len() - early, node.join("run"));
        fs::create_dir_all(node.join("run/initramfs"))?;
        fs::create_dir_all(node.join("run/burnonce"))?;
        fs::write(node.join("run/initramfs/overlayroot.log"), "overlayroot disabled\n")?;
        fs::copy("/run/burnonce/guard.json", node.join("run/burnonce/guard.json"))
            .context("handing over the report")?;
        Ok(())
    }

    /// `/sys/block` with the card alone.
    fn hide_other_disks(&self) -> Result<()> {
        let disks = self.root().join("sys/block");
        let name = self.reader.name();
        let link = fs::read_link(disks.join(name)).with_context(|| format!("reading where {name} is in sysfs"))?;
        // It goes with the mount of /sys that it is on.
        mount_tmpfs(&disks)?;
        std::os::unix::fs::symlink(link, disks.join(name)).with_context(|| format!("showing {name}"))
    }

    /// Lays the upper, which is mounted, over root.
    fn mount_overlay(&mut self) -> Result<()> {
        let node = self.root().to_path_buf();
        self.mounts.push(UPPER.into());
        let relocate = |from: &str, to: &Path| {
            mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>)
                .with_context(|| format!("moving {from} to {}", to.display()))
        };
        relocate(NODE, Path::new(LOWER))?;
        self.mounts = vec![LOWER.into(), UPPER.into()];
        let options = format!("lowerdir={LOWER},upperdir={UPPER}/overlay,workdir={UPPER}/overlay-workdir/_");
        mount(Some("overlayroot"), &node, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .context("mounting the overlay")?;
        self.mounts.push(node.clone());
        for (number, place) in [LOWER, UPPER].into_iter().enumerate() {
            let below = node.join(place.trim_start_matches('/'));
            fs::create_dir_all(&below).with_context(|| format!("making {}", below.display()))?;
            relocate(place, &below)?;
            self.mounts[number] = below;
        }
        self.overlay = true;
        Ok(())
    }

    /// The directory of the upper partition, in an overlay boot.
    pub fn upper(&self) -> PathBuf {
        self.root().join(UPPER.trim_start_matches('/'))
    }

    /// Runs the agent that is in the image.
    pub fn burnonce(&self, arguments: &[&str]) -> Result<Output> {
        let mut chroot = Command::new("chroot");
        chroot.arg(NODE).arg("/usr/sbin/burnonce").args(arguments).stdin(std::process::Stdio::null());
        chroot.output().context("starting chroot")
    }

    /// The same, where it has to succeed.
    pub fn succeeds(&self, arguments: &[&str]) -> Result<String> {
        let output = self.burnonce(arguments)?;
        ensure!(output.status.success(), "burnonce {}: {} {}", arguments.join(" "), output.status, said(&output));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Unmounts everything.
    pub fn power_off(mut self) -> Result<()> {
        // Binds of /proc, /sys and /dev have mounts below them; none of these holds the card.
        for at in std::mem::take(&mut self.mounts) {
            let tree = ["proc", "sys", "dev"].iter().any(|name| at == self.root().join(name));
            let flags = if tree { MntFlags::MNT_DETACH } else { MntFlags::empty() };
            patiently(|| umount2(&at, flags)).with_context(|| format!("unmounting {}", at.display()))?;
        }
        Ok(())
    }
}

impl Drop for Boot<'_> {
    /// A boot that failed leaves nothing mounted either.
    fn drop(&mut self) {
        for at in &self.mounts {
            if let Err(error) = umount2(at, MntFlags::MNT_DETACH) {
                eprintln!("crash: unmounting {}: {error}", at.display());
            }
        }
    }
}

/// All that a program wrote.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
}
