//! The mount table of a process: `/proc/self/mountinfo`, proc_pid_mountinfo(5).

use serde::{Deserialize, Serialize};

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Device number of the file system, `major:minor`; major 0 is no block device.
    pub device: String,
    /// Where it is mounted, as this process sees it.
    pub mount_point: String,
    /// Options of this mount: `rw`, `relatime`, …
    pub options: String,
    /// `ext4`, `overlay`, …
    pub fs_type: String,
    /// What was mounted: a device path, `overlayroot`, `server:/export`.
    pub source: String,
    /// Options of the file system (the superblock): `ro`, `lowerdir=…`, …
    pub super_options: String,
}

impl Mount {
    /// Whether a write through this mount can reach the file system. An ext4 that stopped at an error says `ro`, and since Linux 6.15
    /// `emergency_ro` beside `rw`; one that was shut down says `shutdown`.
    pub fn writable(&self) -> bool {
        let stopped = ["emergency_ro", "shutdown"].iter().any(|word| has_option(&self.super_options, word));
        has_option(&self.options, "rw") && has_option(&self.super_options, "rw") && !stopped
    }

    /// Whether the file system takes writes through some mount, if not through this one.
    pub fn file_system_writable(&self) -> bool {
        has_option(&self.super_options, "rw")
    }

    /// The value of `key=` among the file system's options.
    pub fn super_option(&self, key: &str) -> Option<&str> {
        self.super_options.split(',').find_map(|o| o.strip_prefix(key)?.strip_prefix('='))
    }
}

fn has_option(options: &str, wanted: &str) -> bool {
    options.split(',').any(|o| o == wanted)
}

/// Reads the text of a mountinfo file. A line that does not have the form is left out.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    Some(Mount {
        device: (*left.get(2)?).to_owned(),
        mount_point: unescape(left.get(4)?),
        options: (*left.get(5)?).to_owned(),
        fs_type: (*right.first()?).to_owned(),
        source: unescape(right.get(1)?),
        super_options: (*right.get(2)?).to_owned(),
    })
}

/// What is on top at `mount_point`: of several mounts there, the last.
pub fn at<'a>(mounts: &'a [Mount], mount_point: &str) -> Option<&'a Mount> {
    mounts.iter().rev().find(|m| m.mount_point == mount_point)
}

/// Undoes the kernel's octal escapes of space, tab, newline and backslash.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 8).ok());
        match (first, code) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAY: &str = "\
25 1 0:23 / / rw,relatime shared:1 - overlay overlayroot rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/overlay,workdir=/media/root-rw/overlay-workdir/_
26 25 179:2 / /media/root-ro ro,relatime shared:2 - ext4 /dev/mmcblk0p2 ro
27 25 179:3 / /media/root-rw rw,relatime shared:3 - ext4 /dev/mmcblk0p3 rw,errors=remount-ro
28 25 8:1 / /mnt/a\\040b rw - vfat /dev/sda1 rw
not a line";

    #[test]
    fn reads_the_mounts_of_an_overlay_root() {
        let mounts = parse(OVERLAY);
        assert_eq!(mounts.len(), 4);
        let root = at(&mounts, "/").unwrap();
        assert_eq!((root.fs_type.as_str(), root.device.as_str()), ("overlay", "0:23"));
        assert_eq!(root.super_option("upperdir"), Some("/media/root-rw/overlay"));
        assert!(root.writable());
        assert!(!at(&mounts, "/media/root-ro").unwrap().writable());
        assert_eq!(mounts[3].mount_point, "/mnt/a b");
    }

    #[test]
    fn a_file_system_that_went_read_only_is_not_writable_though_the_mount_says_rw() {
        let mounts = parse("27 25 179:3 / / rw,relatime - ext4 /dev/mmcblk0p3 ro,errors=remount-ro");
        assert!(!mounts[0].writable());
        let mounts = parse("27 25 179:3 / / rw,relatime - ext4 /dev/mmcblk0p3 rw,emergency_ro,errors=remount-ro");
        assert!(!mounts[0].writable());
    }

    #[test]
    fn the_last_mount_on_a_place_is_on_top() {
        let mounts = parse("1 1 0:2 / / rw - rootfs rootfs rw\n2 1 179:2 / / ro - ext4 /dev/mmcblk0p2 ro");
        assert_eq!(at(&mounts, "/").unwrap().fs_type, "ext4");
    }
}
