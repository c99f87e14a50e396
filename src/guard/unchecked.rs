//! A sealed root is not checked at boot: e2fsck writes the time of a check into the superblock of whatever it looks at.

use crate::{Exit, filesystem};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// What keeps systemd from checking root once more, in the system itself (`ConditionPathExists=` of systemd-fsck-root.service(8)): the
/// initramfs of initramfs-tools makes it where it has checked.
const STAMP: &str = "run/initramfs/fsck-root";
/// Words of the kernel command line by which an owner asks for a check: of systemd-fsck(8), and an older one that both generators know.
const ASKED: [&str; 2] = ["fsck.mode=force", "forcefsck"];

/// Whether the root on `device` is to be left out of the check before it is mounted, on the machine at `root` (in an initramfs `/`):
/// [`Exit::Done`] where it is, and systemd is told so; [`Exit::Refused`] where it is checked as ever: not sealed, or it asks for a check
/// itself, or the owner does.
///
/// # Errors
/// The device or the command line cannot be read; then it is to be checked, too.
pub fn unchecked(root: &Path, device: &Path) -> Result<Exit> {
    let cmdline = root.join("proc/cmdline");
    let text = fs::read_to_string(&cmdline).with_context(|| format!("reading {}", cmdline.display()))?;
    if text.split_whitespace().any(|word| ASKED.contains(&word)) || !filesystem::is_sealed_and_clean(device)? {
        return Ok(Exit::Refused);
    }
    let stamp = root.join(STAMP);
    let directory = stamp.parent().unwrap_or(root);
    fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    fs::write(&stamp, "").with_context(|| format!("writing {}", stamp.display()))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Program;

    /// A machine with this command line and a file system that tune2fs and debugfs were told these things of.
    fn answer(cmdline: &str, tune2fs: &[&str], debugfs: &str) -> (Exit, bool) {
        let machine = tempfile::tempdir().unwrap();
        let at = |path: &str| machine.path().join(path);
        fs::create_dir(at("proc")).unwrap();
        fs::write(at("proc/cmdline"), cmdline).unwrap();
        fs::File::create(at("disk")).unwrap().set_len(4 << 20).unwrap();
        let disk = at("disk").display().to_string();
        Program::new("mke2fs").args(["-q", "-F", "-t", "ext4"]).arg(&disk).run().unwrap();
        if !tune2fs.is_empty() {
            Program::new("tune2fs").args(tune2fs.iter().copied()).arg(&disk).run().unwrap();
        }
        Program::new("debugfs").args(["-w", "-R", debugfs]).arg(&disk).run().unwrap();
        (unchecked(machine.path(), &at("disk")).unwrap(), at(STAMP).exists())
    }

    #[test]
    fn only_a_sealed_root_that_nobody_wants_to_have_checked_is_left_out() {
        const SEALED: &[&str] = &["-O", "read-only"];
        const NOTHING: &str = "stats";
        for (cmdline, tune2fs, debugfs, left_out) in [
            ("root=/dev/vda2 ro\n", SEALED, NOTHING, true),
            ("root=/dev/vda2 fsck.mode=auto", SEALED, NOTHING, true),
            ("root=/dev/vda2 fsck.mode=force", SEALED, NOTHING, false),
            ("forcefsck", SEALED, NOTHING, false),
            ("", &[], NOTHING, false),
            // Errors are recorded; it was not unmounted.
            ("", SEALED, "ssv state 3", false),
            ("", SEALED, "ssv state 0", false),
        ] {
            let expected = (if left_out { Exit::Done } else { Exit::Refused }, left_out);
            assert_eq!(answer(cmdline, tune2fs, debugfs), expected, "{cmdline} {tune2fs:?} {debugfs}");
        }
    }

    #[test]
    fn what_is_no_file_system_or_not_there_is_not_left_out() {
        let machine = tempfile::tempdir().unwrap();
        fs::create_dir(machine.path().join("proc")).unwrap();
        fs::write(machine.path().join("proc/cmdline"), "").unwrap();
        let disk = machine.path().join("disk");
        assert!(unchecked(machine.path(), &disk).unwrap_err().to_string().contains("disk"));
        fs::write(&disk, [0; 8192]).unwrap();
        assert_eq!(unchecked(machine.path(), &disk).unwrap(), Exit::Refused);
        assert!(!machine.path().join(STAMP).exists());
    }
}
