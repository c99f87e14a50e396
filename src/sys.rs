//! What needs `unsafe`: the ioctls of partitions and of inode flags, which no library wraps, what happens between fork and exec.
//! [`crate::doomed`] has a handler of signals, and [`crate::filesystem`] the calls into libext2fs.

use crate::units::{Lba, Sectors};
use anyhow::{Context, Result};
use nix::sys::signal::{SigHandler, Signal, signal};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::raw::{c_char, c_int, c_long, c_longlong, c_void};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

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
