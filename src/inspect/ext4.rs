//! The root of an image as a [`Tree`]: ext2, ext3 or ext4, read by libext2fs where it lies in the file.

use super::tree::{Node, Tree};
use crate::filesystem::ext2::{Filesystem, Kind};
use anyhow::{Context, Result, bail};
use std::ffi::CString;
use std::io::Read;

/// The root directory's inode.
const ROOT: u32 = e2fsprogs_sys::EXT2_ROOT_INO;
/// After how many entries the reading of a directory stops.
const MOST_NAMES: usize = 100_000;

/// An open file system. Its journal is not replayed: what stands in it is not seen.
pub struct Ext4(pub(crate) Filesystem);

impl Ext4 {
    /// The inode at `path`.
    fn inode(&self, path: &str) -> Result<Option<u32>> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if self.0.kind(at)? != Kind::Directory {
                return Ok(None);
            }
            // No name on a disk has a NUL in it.
            let Ok(name) = CString::new(name) else { return Ok(None) };
            let Some(found) = self.0.lookup(at, &name)? else { return Ok(None) };
            at = found;
        }
        Ok(Some(at))
    }

    fn existing(&self, path: &str) -> Result<u32> {
        self.inode(path)?.with_context(|| format!("there is no /{path}"))
    }
}

impl Tree for Ext4 {
    fn node(&self, path: &str) -> Result<Option<Node>> {
        let Some(inode) = self.inode(path)? else { return Ok(None) };
        Ok(Some(match self.0.kind(inode)? {
            Kind::File => Node::File,
            Kind::Directory => Node::Directory,
            Kind::Link(target) => Node::Link(target),
            Kind::Other => Node::Other,
        }))
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>> {
        let inode = self.existing(path)?;
        if self.0.kind(inode)? != Kind::File {
            bail!("/{path} is no file");
        }
        Ok(Box::new(self.0.file(inode)?))
    }

    fn names(&self, path: &str) -> Result<Vec<String>> {
        let mut names = self.0.names(self.existing(path)?, MOST_NAMES)?;
        names.retain(|name| !matches!(name.as_str(), "." | ".."));
        Ok(names)
    }
}
