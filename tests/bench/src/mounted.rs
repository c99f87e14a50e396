//! File systems that are mounted while something is measured.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use burnonce_crash::boot;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A file system that is mounted writable; one that was not ended is detached.
pub struct Mounted<'a> {
    at: Option<&'a Path>,
}

impl<'a> Mounted<'a> {
    /// Mounts the ext4 on `device`, which initialises no inode tables in the background: that would be counted.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn at(device: &Path, at: &'a Path) -> Result<Self> {
        fs::create_dir_all(at).with_context(|| format!("making {}", at.display()))?;
        mount(Some(device), at, Some("ext4"), MsFlags::empty(), Some("noinit_itable"))
            .with_context(|| format!("mounting {}", device.display()))?;
        Ok(Self { at: Some(at) })
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// It is in use.
    pub fn end(mut self) -> Result<()> {
        let Some(at) = self.at.take() else { return Ok(()) };
        boot::patiently(|| umount2(at, MntFlags::empty())).with_context(|| format!("unmounting {}", at.display()))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            if let Err(error) = umount2(at, MntFlags::MNT_DETACH) {
                eprintln!("bench: unmounting {}: {error}", at.display());
            }
        }
    }
}
