//! Kernel, firmware and initramfs packages are held on a node that runs on its overlay: an upgrade there would put a new kernel on the boot
//! partition, which is shared with the image, and its modules in the upper, which a reset takes away.
//!
//! The hold is a file of apt's in the overlay (apt_preferences(5)), not in the image: `burnonce maintain apt full-upgrade`, which works on
//! the image, does not see it. It holds in apt, in unattended-upgrades (which gives up a version that is pinned lower than the installed
//! one) and in every other front end of libapt; `dpkg -i` it does not stop. The marks of `apt-mark hold` are in dpkg's status file, one for
//! each package that is installed already, and a full-upgrade could still install a new one: they are not needed beside it.

use crate::files;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Where it is.
pub const PATH: &str = "/etc/apt/preferences.d/burnonce";

/// What a boot takes from the boot partition, and what it needs to fit to that. Debian, Raspberry Pi OS, Ubuntu, Armbian; meta packages are
/// among them, so that none brings a new kernel in.
const PACKAGES: &[&str] = &[
    "linux-image-*",
    "linux-headers-*",
    "linux-modules-*",
    "linux-dtb-*",
    "linux-raspi*",
    "linux-generic*",
    "linux-virtual*",
    "raspberrypi-kernel*",
    "raspberrypi-bootloader*",
    "raspi-firmware*",
    "rpi-eeprom*",
    "linux-firmware*",
    "firmware-*",
    "armbian-firmware*",
    "flash-kernel*",
    "u-boot-*",
    "linux-u-boot-*",
    "initramfs-tools*",
    "dracut*",
    "overlayroot",
    "burnonce",
];

/// Holds the packages on the node at `root`, or lets them go. Writes only where something is to change; a file that is there is left as it
/// is. Says whether something changed. A node without apt is left alone.
///
/// # Errors
/// The overlay takes no writes.
pub fn converge(root: &Path, wanted: bool) -> Result<bool> {
    let path = files::below(root, PATH);
    if !wanted {
        return files::remove(&path);
    }
    if path.exists() || !files::below(root, "/etc/apt").is_dir() {
        return Ok(false);
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    files::replace(&path, &text()).map(|()| true)
}

/// Whether the packages are held on the node at `root`.
pub fn is_held(root: &Path) -> bool {
    files::below(root, PATH).exists()
}

/// The file. The first record, which is the one that counts for a version that is installed, makes that the best one there is; the second
/// forbids all others.
pub fn text() -> String {
    let packages = PACKAGES.join(" ");
    format!(
        "\
Explanation: Made by burnonce. This node runs on an overlay: what is installed here is in the
Explanation: overlay, but a kernel goes to the boot partition, which the image below shares. After
Explanation: a reset that kernel would have no modules. To upgrade these packages in the image, and
Explanation: the boot partition with it:
Explanation:     burnonce maintain apt update
Explanation:     burnonce maintain apt full-upgrade
Explanation: To hold nothing: `overlay: {{hold: false}}` in /etc/burnonce.yaml; the next boot removes this file.
Package: {packages}
Pin: release a=now
Pin-Priority: 1001

Package: {packages}
Pin: version *
Pin-Priority: -1
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_and_goes_and_is_not_written_twice() {
        let root = tempfile::tempdir().unwrap();
        let path = files::below(root.path(), PATH);
        assert!(!converge(root.path(), true).unwrap(), "no apt");
        fs::create_dir_all(root.path().join("etc/apt")).unwrap();
        assert!(converge(root.path(), true).unwrap() && is_held(root.path()));
        assert_eq!(fs::read_to_string(&path).unwrap(), text());
        fs::write(&path, "the owner's\n").unwrap();
        assert!(!converge(root.path(), true).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "the owner's\n");
        assert!(converge(root.path(), false).unwrap() && !is_held(root.path()));
        assert!(!converge(root.path(), false).unwrap());
    }
}
