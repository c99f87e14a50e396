//! File systems that are mounted for a moment, and root's change between read-only and writable.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::syncfs;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A device that is mounted as long as this lives.
#[derive(Debug)]
pub struct Mounted {
    directory: PathBuf,
}

impl Mounted {
    /// Mounts `device` on `directory`, which is made where it is not there; nosuid, nodev, noexec.
    ///
    /// # Errors
    /// The kernel refuses; the message names device and file system.
    pub fn new(device: &Path, fs_type: &str, directory: &Path, writable: bool) -> Result<Mounted> {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | read_only_unless(writable);
        // The times of a FAT are local times; taken for UTC they are the same in every boot, whatever time zone the kernel has by then
        // (Documentation/filesystems/vfat.rst).
        let options = (fs_type == "vfat").then_some("tz=UTC");
        mount(Some(device), directory, Some(fs_type), flags, options)
            .with_context(|| format!("mounting {} ({fs_type})", device.display()))?;
        Ok(Mounted { directory: directory.to_owned() })
    }

    /// Where it is mounted.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes it writable.
    ///
    /// # Errors
    /// The device or the file system takes no writes.
    pub fn make_writable(&self) -> Result<()> {
        remount(&self.directory, true)
    }

    /// Unmounts it, which writes out what is outstanding.
    ///
    /// # Errors
    /// It is in use.
    pub fn close(mut self) -> Result<()> {
        // Where that fails, it is detached all the same: nothing else is to run into it.
        while_busy(|| {
            umount2(&self.directory, MntFlags::empty())
                .with_context(|| format!("unmounting {}", self.directory.display()))
        })?;
        drop(std::mem::take(&mut self.directory));
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = umount2(&self.directory, MntFlags::MNT_DETACH) {
            log::warn!("unmounting {}: {error}", self.directory.display());
        }
    }
}

fn read_only_unless(writable: bool) -> MsFlags {
    if writable { MsFlags::empty() } else { MsFlags::MS_RDONLY }
}

/// How long somebody else who uses a file system is waited for.
const OTHERS_END: Duration = Duration::from_secs(2);

/// Does it again as long as it is refused because somebody uses the file system (`EBUSY`). Early in a boot much begins at a time, and what
/// looks at a mount or opens a file for writing does so for a moment.
fn while_busy<T>(call: impl Fn() -> Result<T>) -> Result<T> {
    let begin = Instant::now();
    loop {
        match call() {
            Err(error) if error.downcast_ref() == Some(&Errno::EBUSY) && begin.elapsed() < OTHERS_END => {
                sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

/// Makes the file system that is mounted on `directory` writable or read-only, and keeps its other flags.
///
/// # Errors
/// Read-only: a file is open for writing (`EBUSY`). Writable: the device or the file system takes no writes.
pub fn remount(directory: &Path, writable: bool) -> Result<()> {
    remount_with(directory, writable, flags(directory)?)
}

/// The flags of a mount, but for the one that makes it read-only.
fn flags(directory: &Path) -> Result<MsFlags> {
    let now = statvfs(directory).with_context(|| format!("looking at {}", directory.display()))?.flags();
    let known = [
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ];
    let kept = known.iter().filter(|(is, _)| now.contains(*is)).fold(MsFlags::empty(), |all, (_, flag)| all | *flag);
    // Without any of the three the kernel keeps what there is (fs/namespace.c, path_mount).
    let strict = !kept.intersects(MsFlags::MS_NOATIME | MsFlags::MS_RELATIME);
    Ok(if strict { kept | MsFlags::MS_STRICTATIME } else { kept })
}

fn remount_with(directory: &Path, writable: bool, flags: MsFlags) -> Result<()> {
    let flags = MsFlags::MS_REMOUNT | flags | read_only_unless(writable);
    mount(None::<&str>, directory, None::<&str>, flags, None::<&str>).with_context(|| {
        format!("mounting {} {}", directory.display(), if writable { "writable" } else { "read-only" })
    })?;
    // A sealed ext4 comes up read-only without an error (fs/ext4/super.c, EXT4_FEATURE_RO_COMPAT_READONLY).
    if writable && is_read_only(directory)? {
        bail!("mounting {} writable: the kernel left it read-only", directory.display());
    }
    Ok(())
}

/// Writes out what is outstanding on the file system that `directory` is on.
///
/// # Errors
/// There is no such directory, or the device returned an error.
pub fn flush(directory: &Path) -> Result<()> {
    let opened = File::open(directory).with_context(|| format!("opening {}", directory.display()))?;
    syncfs(opened).with_context(|| format!("flushing the file system on {}", directory.display()))
}

/// Whether the file system on `directory` is mounted read-only.
///
/// # Errors
/// There is no such directory.
pub fn is_read_only(directory: &Path) -> Result<bool> {
    let flags = statvfs(directory).with_context(|| format!("looking at {}", directory.display()))?.flags();
    Ok(flags.contains(FsFlags::ST_RDONLY))
}

/// Runs `work` while root is writable, and makes root read-only again afterwards if it was before. Where somebody holds a file open for
/// writing, root stays writable, as on a node that boots with `rw`: what needs it at rest calls [`quiesce`]. Meanwhile nobody writes to root
/// by reading a file, whose access time is not noted.
///
/// # Errors
/// Those of `work`, and of making root writable.
pub fn with_root_writable<T>(root: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if !is_read_only(root)? {
        return work();
    }
    let before = flags(root)?;
    remount_with(root, true, before | MsFlags::MS_NOATIME)?;
    let result = work();
    while_busy(|| remount_with(root, false, before))
        .unwrap_or_else(|error| log::warn!("{error:#}; it stays writable for now"));
    result
}

/// Brings root to rest before a restart: what is outstanding is written, and root becomes read-only. Where a process holds a
/// file open for writing, and `emergency` allows it, the kernel's emergency remount (SysRq `u`,
/// Documentation/admin-guide/sysrq.rst) makes every file system of the machine read-only, which an ordinary remount refuses.
///
/// # Errors
/// Root is still writable, with `emergency` after five seconds.
pub fn quiesce(root: &Path, emergency: bool) -> Result<()> {
    if is_read_only(root)? {
        return Ok(());
    }
    flush(root)?;
    match while_busy(|| remount(root, false)) {
        Err(error) if !emergency => return Err(error),
        Err(error) => log::warn!("{error:#}; asking the kernel for an emergency remount"),
        Ok(()) => return Ok(()),
    }
    let trigger = root.join("proc/sysrq-trigger");
    fs::write(&trigger, "u").with_context(|| format!("writing {}", trigger.display()))?;
    for _ in 0..50 {
        sleep(Duration::from_millis(100));
        // It is read-only before all of it is written: the kernel answers when that is done.
        if is_read_only(root)? && remount(root, false).is_ok() {
            return Ok(());
        }
    }
    bail!("{} was not brought to rest by the kernel's emergency remount", root.display())
}
