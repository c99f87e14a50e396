//! `burnonce.txt` on the boot partition: why a node was not converted, for an owner who has no screen on it and puts the card into
//! a reader.

use crate::boot_partition::{Boot, with};
use crate::files;
use crate::observation::{Disk, Place};
use anyhow::Result;
use std::fs;
use std::path::Path;

/// Its name on the boot partition.
pub const NAME: &str = "burnonce.txt";

/// Writes `text` there; writes nothing where the file says so already.
///
/// # Errors
/// There is no FAT partition before root, or it takes no writes.
pub fn leave(root: &Path, disk: &Disk, lower: &Place, text: &str) -> Result<()> {
    with(root, disk, lower, |boot| leave_on(boot, text))
}

/// The same on a boot partition that is mounted.
///
/// # Errors
/// It takes no writes.
pub fn leave_on(boot: &Boot, text: &str) -> Result<()> {
    // A Windows editor may be what it is read with.
    let text = text.replace('\n', "\r\n");
    let path = boot.directory().join(NAME);
    if fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    boot.make_writable()?;
    files::replace(&path, &text)
}

/// Removes it where it is: it is not true any more.
///
/// # Errors
/// As [`leave`].
pub fn clear(root: &Path, disk: &Disk, lower: &Place) -> Result<()> {
    with(root, disk, lower, clear_on)
}

/// The same on a boot partition that is mounted.
///
/// # Errors
/// As [`leave_on`].
pub fn clear_on(boot: &Boot) -> Result<()> {
    let path = boot.directory().join(NAME);
    if !path.exists() {
        return Ok(());
    }
    boot.make_writable()?;
    files::remove(&path).map(drop)
}
