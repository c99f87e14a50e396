//! A card that is read as an image, which only Linux does (see [`crate::inspect::source`]): it must be one that nothing uses, for what is
//! written meanwhile would be in the copy in parts.

use crate::mounts;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Makes sure that nothing uses the block device that `file` is, or a partition of it. `root` is where `proc` and `sys` are: `/`. As long as
/// the descriptor is open that comes of it, the kernel lets nobody mount anything of it.
///
/// # Errors
/// Something does, and what; it cannot be found out.
pub fn need_unused(root: &Path, card: &Path, file: &File) -> Result<File> {
    let number = file.metadata().context("looking at the card")?.rdev();
    let mut users = users(root, &format!("{}:{}", nix::sys::stat::major(number), nix::sys::stat::minor(number)))?;
    // The kernel knows more than its tables show: what has several disks, say (open(2), O_EXCL).
    let alone = OpenOptions::new().read(true).custom_flags(nix::libc::O_EXCL).open(card);
    let is_busy = alone.as_ref().is_err_and(|error| error.raw_os_error() == Some(nix::libc::EBUSY));
    if users.is_empty() && is_busy {
        users.push("by the kernel".to_owned());
    }
    ensure!(
        users.is_empty(),
        "it is in use ({}): what is written meanwhile would be in the copy in parts. Unmount it, and make sure that it is the card and no disk \
         of this machine",
        users.join(", ")
    );
    alone.context("opening the card for nobody else")
}

/// What uses the block device of this number (`8:0`) or a partition of it: `/dev/sda1 is mounted on /mnt`.
fn users(root: &Path, number: &str) -> Result<Vec<String>> {
    let device = root.join("sys/dev/block").join(number);
    let mut parts = vec![device.clone()];
    for entry in fs::read_dir(&device).with_context(|| format!("reading {}", device.display()))? {
        let path = entry.with_context(|| format!("reading {}", device.display()))?.path();
        if path.join("partition").exists() {
            parts.push(path);
        }
    }
    let read = |name: &str| {
        let path = root.join(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let (mounted, swaps) = (mounts::parse(&read("proc/self/mountinfo")?), read("proc/swaps")?);
    let mut found = Vec::new();
    for part in parts {
        let path = part.canonicalize().with_context(|| format!("looking at {}", part.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let number = fs::read_to_string(part.join("dev")).with_context(|| format!("reading the number of {name}"))?;
        let on = mounted.iter().filter(|mount| mount.device == number.trim());
        found.extend(on.map(|mount| format!("/dev/{name} is mounted on {}", mount.mount_point)));
        let is_swap = |line: &str| line.split_whitespace().next() == Some(&format!("/dev/{name}"));
        found.extend(swaps.lines().any(is_swap).then(|| format!("/dev/{name} is swap")));
        // Of device mapper and RAID.
        for holder in fs::read_dir(part.join("holders")).into_iter().flatten().flatten() {
            found.push(format!("/dev/{name} is part of /dev/{}", holder.file_name().to_string_lossy()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A machine with two disks, of which one is free.
    #[test]
    fn who_uses_a_card_is_told() {
        let machine = tempfile::tempdir().unwrap();
        let root = machine.path();
        let put = |path: &str, content: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        for (disk, number, parts) in [("sda", "8:0", 3), ("mmcblk0", "179:0", 2)] {
            put(&format!("sys/block/{disk}/dev"), &format!("{number}\n"));
            let (major, separator) = (number.split(':').next().unwrap(), if disk == "sda" { "" } else { "p" });
            for part in 1..=parts {
                let directory = format!("sys/block/{disk}/{disk}{separator}{part}");
                put(&format!("{directory}/partition"), "1\n");
                put(&format!("{directory}/dev"), &format!("{major}:{part}\n"));
            }
            fs::create_dir_all(root.join("sys/dev/block")).unwrap();
            symlink(format!("../../block/{disk}"), root.join("sys/dev/block").join(number)).unwrap();
        }
        put("sys/block/sda/sda3/holders/dm-0/x", "");
        let mount = |number: &str, at: &str| format!("25 1 {number} / {at} rw - ext4 /dev/root rw\n");
        put("proc/self/mountinfo", &(mount("0:24", "/sys") + &mount("8:1", "/")));
        put("proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n");
        let expected = ["/dev/sda1 is mounted on /", "/dev/sda2 is swap", "/dev/sda3 is part of /dev/dm-0"];
        let mut found = users(root, "8:0").unwrap();
        found.sort();
        assert_eq!(found, expected);
        assert!(users(root, "179:0").unwrap().is_empty());
        assert!(users(root, "1:1").is_err());

        // The number of what is no device.
        let card = root.join("card");
        fs::write(&card, "x").unwrap();
        put("sys/dev/block/0:0/dev", "0:0\n");
        let file = File::open(&card).unwrap();
        let held = need_unused(root, &card, &file).unwrap();
        let flags = nix::fcntl::fcntl(&held, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert!(held.metadata().unwrap().ino() == file.metadata().unwrap().ino() && flags >= 0);
        put("proc/self/mountinfo", &mount("0:0", "/mnt"));
        let error = need_unused(root, &card, &file).unwrap_err().to_string();
        assert!(error.contains("it is in use (/dev/0:0 is mounted on /mnt)"), "{error}");
    }
}
