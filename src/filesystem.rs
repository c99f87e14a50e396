//! ext4: facts of a superblock through libext2fs; making, checking and tuning by the commands of e2fsprogs.

use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a partition holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Content {
    /// Nothing that blkid knows, and the first MiB is zero.
    Blank,
    /// No known signature, but not zero either.
    Unknown,
    /// ext2, ext3 or ext4.
    Ext(Superblock),
    /// Something else that `blkid -p` recognises: `vfat`, `btrfs`, `swap`, `LVM2_member`, …
    Other { name: String, label: Option<String> },
}

/// The facts of an ext4 superblock that decisions rest on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superblock {
    pub label: String,
    pub uuid: String,
    /// Length of the file system (blocks times block size).
    pub size: Bytes,
    /// `EXT2_VALID_FS` set, no recovery needed.
    pub clean: bool,
    /// `EXT2_ERROR_FS` set, or an error count above 0.
    pub errors: bool,
    /// The RO_COMPAT `read-only` feature: the kernel refuses a writable mount.
    pub sealed: bool,
    /// What the root directory and `/burnonce` hold.
    pub owner: Owner,
}

/// Whose file system this is, as its content shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "owner", rename_all = "kebab-case")]
pub enum Owner {
    /// `/burnonce/state.json` is there, with this text (at most 64 KiB are read).
    Ours { state: String },
    /// Only `lost+found`.
    Empty,
    /// Something else: the first names, sorted.
    Files { names: Vec<String> },
    /// The directory could not be read, for this reason.
    Unreadable { reason: String },
}

/// Looks at what `device` holds. Reads only; libext2fs where it is ext, `blkid -p` elsewhere.
///
/// # Errors
/// The device cannot be opened or read.
pub fn probe(device: &Path) -> anyhow::Result<Content> {
    let _ = device;
    todo!()
}

/// Whether the ext4 on `device` (it may be mounted) has the RO_COMPAT `read-only` feature. Reads one block.
pub fn sealed(device: &Path) -> anyhow::Result<bool> {
    let _ = device;
    todo!()
}

/// Makes the upper's ext4 on `device`, filled with the tree at `content` (`mke2fs -d`), with the label `burnonce` and a
/// fresh UUID, and flushes it. design.md's table of options.
pub fn make(device: &Path, length: Bytes, content: &Path) -> anyhow::Result<()> {
    let _ = (device, length, content);
    todo!()
}

/// Sets the `read-only` feature on the (mounted or unmounted) ext4 on `device` and flushes.
pub fn seal(device: &Path) -> anyhow::Result<()> {
    let _ = device;
    todo!()
}

/// Clears it, and flushes.
pub fn unseal(device: &Path) -> anyhow::Result<()> {
    let _ = device;
    todo!()
}
