//! What needs `unsafe`: the ioctls of partitions and of inode flags, which no library wraps, what happens between fork and exec, in a
//! handler of signals, and the environment. [`crate::filesystem`] has the one other place, the calls into libext2fs.

use crate::units::{Lba, Sectors};
use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction, signal};
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::raw::{c_char, c_int, c_long, c_longlong, c_void};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

/// `struct blkpg_ioctl_arg` of `<linux/blkpg.h>`.
#[repr(C)]
struct BlkpgIoctlArg {
    op: c_int,
    flags: c_int,
    datalen: c_int,
    data: *mut c_void,
}

/// `struct blkpg_partition` of `<linux/blkpg.h>`; start and length are bytes.
#[repr(C)]
struct BlkpgPartition {
    start: c_longlong,
    length: c_longlong,
    pno: c_int,
    devname: [c_char; 64],
    volname: [c_char; 64],
}

/// `BLKPG_ADD_PARTITION` of `<linux/blkpg.h>`.
const ADD_PARTITION: c_int = 1;
/// `BLKPG_DEL_PARTITION` of `<linux/blkpg.h>`.
const DEL_PARTITION: c_int = 2;
/// `BLKPG_RESIZE_PARTITION` of `<linux/blkpg.h>`.
const RESIZE_PARTITION: c_int = 3;

// BLKPG is _IO(0x12, 105) in <linux/fs.h>: it carries a pointer although its number says that it carries nothing.
nix::ioctl_write_ptr_bad!(blkpg, nix::request_code_none!(0x12, 105), BlkpgIoctlArg);

/// Tells the kernel, and only the kernel, of a partition: its device node appears, no byte of the disk changes.
///
/// # Errors
/// `EBUSY`: it overlaps another one, or the number is taken. `EINVAL`: not on a sector boundary.
pub fn add_kernel_partition(disk: &File, number: u32, start: Lba, sectors: Sectors, sector_size: u32) -> Result<()> {
    let (start, length) = in_bytes(start, sectors, sector_size)?;
    partition_operation(disk, ADD_PARTITION, number, start, length)
        .with_context(|| format!("telling the kernel of partition {number}"))
}

/// Makes the kernel forget a partition; the disk is not changed.
///
/// # Errors
/// `ENXIO`: the kernel knows no such partition. `EBUSY`: it is in use.
pub fn forget_kernel_partition(disk: &File, number: u32) -> Result<()> {
    partition_operation(disk, DEL_PARTITION, number, 0, 0)
        .with_context(|| format!("making the kernel forget partition {number}"))
}

/// Tells the kernel, and only the kernel, the new length of a partition, which may be mounted; the disk is not changed.
///
/// # Errors
/// `ENXIO`: the kernel knows no such partition. `EBUSY`: it would overlap another one.
pub fn resize_kernel_partition(disk: &File, number: u32, start: Lba, sectors: Sectors, sector_size: u32) -> Result<()> {
    let (start, length) = in_bytes(start, sectors, sector_size)?;
    partition_operation(disk, RESIZE_PARTITION, number, start, length)
        .with_context(|| format!("telling the kernel the new length of partition {number}"))
}

/// Start and length as the kernel is told them.
fn in_bytes(start: Lba, sectors: Sectors, sector_size: u32) -> Result<(i64, i64)> {
    let start = i64::try_from(start.to_offset(sector_size)).context("the partition starts beyond 8 EiB")?;
    let length = i64::try_from(sectors.to_bytes(sector_size).0).context("the partition is longer than 8 EiB")?;
    Ok((start, length))
}

fn partition_operation(disk: &File, op: c_int, number: u32, start: i64, length: i64) -> Result<()> {
    let pno = c_int::try_from(number)?;
    let mut partition = BlkpgPartition { start, length, pno, devname: [0; 64], volname: [0; 64] };
    let argument = BlkpgIoctlArg {
        op,
        flags: 0,
        datalen: c_int::try_from(size_of::<BlkpgPartition>())?,
        data: (&raw mut partition).cast(),
    };
    // SAFETY: `argument` and the `partition` that it points to live until the call returns, their layout is that of
    // <linux/blkpg.h>, and the kernel copies from them; the descriptor is open as long as `disk` is borrowed.
    unsafe { blkpg(disk.as_raw_fd(), &raw const argument) }?;
    Ok(())
}

// Both numbers say `long` in <linux/fs.h>, and the kernel reads and writes an `int` (ioctl_iflags(2), "BUGS").
nix::ioctl_read_bad!(get_inode_flags, nix::request_code_read!(b'f', 1, size_of::<c_long>()), c_int);
nix::ioctl_write_ptr_bad!(set_inode_flags, nix::request_code_write!(b'f', 2, size_of::<c_long>()), c_int);

/// `FS_IMMUTABLE_FL` and `FS_APPEND_FL` of `<linux/fs.h>`.
const PROTECTED: c_int = 0x10 | 0x20;

/// Takes "immutable" and "append-only" (chattr(1), `i` and `a`) from a regular file or a directory. Not for a device node: the driver
/// would get the ioctl. On a file system without such flags nothing is done.
///
/// # Errors
/// Not root; the file system takes no writes.
pub fn unprotect(file: &impl AsFd) -> nix::Result<()> {
    let file = file.as_fd().as_raw_fd();
    let mut flags: c_int = 0;
    // SAFETY: the descriptor is open as long as `file` is borrowed, and `flags` is an int that lives until the call returns.
    match unsafe { get_inode_flags(file, &raw mut flags) } {
        Err(nix::errno::Errno::ENOTTY | nix::errno::Errno::EOPNOTSUPP) => return Ok(()),
        got => got?,
    };
    let free = flags & !PROTECTED;
    if free != flags {
        // SAFETY: as above; the kernel only reads `free`.
        unsafe { set_inode_flags(file, &raw const free) }?;
    }
    Ok(())
}

/// Tells libext2fs and its programs, started from here, what time goes into superblocks instead of the clock's, in seconds since 1970 (e2fsprogs,
/// `lib/ext2fs/openfs.c`: `E2FSPROGS_FAKE_TIME`; `e2fsck/unix.c`: `E2FSCK_TIME`). To be called while there is one thread.
pub fn set_time_of_e2fsprogs(seconds: u64) {
    for name in ["E2FSPROGS_FAKE_TIME", "E2FSCK_TIME"] {
        // SAFETY: no other thread reads the environment meanwhile, for there is none.
        unsafe { std::env::set_var(name, seconds.to_string()) };
    }
}

/// Whether somebody (NTP, or a clock of the board's own that was set by it) has told the kernel that its clock is right: adjtimex(2). A board
/// without a clock begins at the time of its software's build.
pub fn clock_is_set() -> bool {
    // SAFETY: `struct timex` is integers alone, for which zeroes are values; with no mode set the call changes nothing and fills it in.
    unsafe {
        let mut timex: nix::libc::timex = std::mem::zeroed();
        let state = nix::libc::adjtimex(&raw mut timex);
        state >= 0 && state != nix::libc::TIME_ERROR && timex.status & nix::libc::STA_UNSYNC == 0
    }
}

/// Ignores `signals` from now on, in this process.
pub fn ignore(signals: &[Signal]) {
    signals.iter().for_each(|s| set_handler(*s, SigHandler::SigIgn));
}

/// Makes `command` start in the tree at `root`, as chroot(1) does, and with `signals` at their defaults.
pub fn start_inside(command: &mut Command, root: PathBuf, signals: Vec<Signal>) {
    // SAFETY: between fork and exec only sigaction, chroot and chdir are called, which are async-signal-safe; what they need
    // was allocated before.
    unsafe {
        command.pre_exec(move || {
            signals.iter().for_each(|s| set_handler(*s, SigHandler::SigDfl));
            nix::unistd::chroot(&root)?;
            nix::unistd::chdir("/")?;
            Ok(())
        });
    }
}

fn set_handler(which: Signal, handler: SigHandler) {
    // SAFETY: "ignore" and "default" are constants of the kernel: no code of ours runs in a signal. The call cannot fail for
    // the signals that are passed here, which can all be ignored.
    let _ = unsafe { signal(which, handler) };
}

/// Names of files that go when a signal ends the program. Null: none.
static DOOMED: [AtomicPtr<c_char>; 4] = [const { AtomicPtr::new(null_mut()) }; 4];
/// What ends a program that somebody does not want any more.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// As long as it lives, the file of that name is removed when SIGINT, SIGTERM or SIGHUP ends the program. A signal that is ignored, as under
/// nohup(1), stays so.
#[derive(Debug)]
pub struct Doomed(usize);

impl Doomed {
    /// For the file at `path`, which need not be there yet.
    ///
    /// # Errors
    /// There are four already; the name has a NUL.
    pub fn new(path: &Path) -> Result<Doomed> {
        static HANDLERS: Once = Once::new();
        HANDLERS.call_once(|| ENDING.iter().for_each(|signal| remove_at(*signal)));
        let absolute = std::path::absolute(path).with_context(|| format!("finding {}", path.display()))?;
        // Never freed: the handler may be reading it.
        let name = CString::new(absolute.as_os_str().as_bytes()).context("a name with a NUL")?.into_raw();
        let taken = |slot: &AtomicPtr<c_char>| {
            slot.compare_exchange(null_mut(), name, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        };
        DOOMED.iter().position(taken).map(Doomed).context("more than four temporary files at a time")
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        DOOMED[self.0].store(null_mut(), Ordering::SeqCst);
    }
}

fn remove_at(which: Signal) {
    let action = SigAction::new(SigHandler::Handler(remove_and_end), SaFlags::empty(), SigSet::empty());
    // SAFETY: `remove_and_end` calls what is async-signal-safe alone. The calls cannot fail for these signals.
    unsafe {
        if let Ok(before) = sigaction(which, &action) {
            if before.handler() != SigHandler::SigDfl {
                let _ = sigaction(which, &before);
            }
        }
    }
}

/// The handler: removes the files, and lets the signal end the program as it would have.
extern "C" fn remove_and_end(signal: c_int) {
    for slot in &DOOMED {
        let name = slot.swap(null_mut(), Ordering::SeqCst);
        if !name.is_null() {
            // SAFETY: a string that ends with a NUL and is never freed; unlink(2) is async-signal-safe.
            unsafe { nix::libc::unlink(name) };
        }
    }
    // SAFETY: both are async-signal-safe (signal-safety(7)). The signal is blocked until this returns, and then ends the program.
    unsafe {
        nix::libc::signal(signal, nix::libc::SIG_DFL);
        nix::libc::raise(signal);
    }
}
