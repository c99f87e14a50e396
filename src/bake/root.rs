//! Files, directories and links in the root of an image: an ext4 that begins anywhere in a file, edited by libext2fs.
//!
//! Paths are those of the image. A link to a directory on the way is followed inside of the image alone, so that `lib/x` is put where
//! `/lib -> usr/lib` leads; a link at the end of a path is replaced, not followed.

use crate::inspect::ext4::Ext4;
use crate::inspect::tree::{Node, Tree};
use crate::units::Bytes;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::CString;
use std::path::Path;

pub use crate::filesystem::ext2::edit::{Attributes, Room};

/// The longest name of a file, in bytes (`EXT4_NAME_LEN`).
const LONGEST_NAME: usize = 255;
/// How many blocks one more name may cost: a directory's block is divided in two, and so is the index above it.
const BLOCKS_OF_NAME: u64 = 2;

/// A root file system that is being edited.
pub struct Root {
    tree: Ext4,
    now: u64,
}

/// Where something is, or is to be.
struct Place {
    /// The inode of its directory.
    directory: u32,
    name: CString,
    /// What is there: its inode, and what it is.
    found: Option<(u32, Node)>,
}

impl Root {
    /// Opens the file system that begins at the byte `offset` of `file`. `now` is what changed directories and the inodes of new files bear
    /// as time of the change, in seconds since 1970.
    ///
    /// # Errors
    /// There is no ext2, ext3 or ext4; it was not unmounted, has errors recorded, is sealed, or has a feature that would not be kept right.
    pub fn open(file: &Path, offset: u64, now: u64) -> Result<Root> {
        let opening = || format!("opening the root file system at byte {offset}");
        Ok(Root { tree: Ext4::open_to_edit(file, offset).with_context(opening)?, now })
    }

    /// As it is at this moment.
    pub fn tree(&self) -> &dyn Tree {
        &self.tree
    }

    /// What is free, in blocks and inodes.
    pub fn room(&self) -> Room {
        self.tree.room()
    }

    /// How much is free, with what is kept for root.
    pub fn free(&self) -> Bytes {
        self.tree.room().bytes()
    }

    /// Writes a file. What was at `path`, a file or a link, is gone with all that it had; other names of it stay as they are.
    ///
    /// # Errors
    /// There is no such directory, or a directory at `path`; there is no room, and then nothing was changed; it cannot be written.
    pub fn write(&mut self, path: &str, content: &[u8], attributes: &Attributes) -> Result<()> {
        let now = self.now;
        self.put(
            path,
            |room| room.taken_by(content.len() as u64),
            |tree, place| tree.filesystem().add_file(place.directory, &place.name, content, attributes, now),
        )
        .with_context(|| format!("writing /{}", path.trim_start_matches('/')))
    }

    /// Makes a symbolic link to `target`, in place of a file or a link.
    ///
    /// # Errors
    /// As [`Root::write`]; a target that is empty, or longer than a block.
    pub fn link(&mut self, path: &str, target: &str, attributes: &Attributes) -> Result<()> {
        let now = self.now;
        let linking = || format!("making the link /{}", path.trim_start_matches('/'));
        let block = self.tree.room().block;
        let fits = !target.is_empty() && (target.len() as u64) < block;
        ensure!(fits, "{}: its target has {} bytes, and 1 to {} are possible", linking(), target.len(), block - 1);
        let target = CString::new(target).with_context(linking)?;
        self.put(
            path,
            |_| 1,
            |tree, place| tree.filesystem().add_link(place.directory, &place.name, &target, attributes, now),
        )
        .with_context(linking)
    }

    /// Makes the directory at `path` and those above it, where they are not there. One that is there stays as it is.
    ///
    /// # Errors
    /// Something on the way is no directory; there is no room; it cannot be written.
    pub fn make_directories(&mut self, path: &str, attributes: &Attributes) -> Result<()> {
        let names = names(path)?;
        for count in 1..=names.len() {
            let path = names[..count].join("/");
            self.make_directory(&path, attributes).with_context(|| format!("making the directory /{path}"))?;
        }
        Ok(())
    }

    fn make_directory(&mut self, path: &str, attributes: &Attributes) -> Result<()> {
        match self.tree().resolve(path)? {
            Some((_, Node::Directory)) => return Ok(()),
            Some(_) => bail!("there is something that is no directory"),
            None => {}
        }
        let place = self.place(path)?;
        ensure!(place.found.is_none(), "there is a link that leads nowhere");
        self.check_room(1 + BLOCKS_OF_NAME, 1, 0)?;
        let now = self.now;
        self.tree.filesystem().add_directory(place.directory, &place.name, attributes, now)
    }

    /// Removes the file or link at `path`. Says whether there was one.
    ///
    /// # Errors
    /// There is a directory at `path`; it cannot be removed.
    pub fn remove(&mut self, path: &str) -> Result<bool> {
        let removing = || format!("removing /{}", path.trim_start_matches('/'));
        let parent = names(path)?.split_last().map(|(_, above)| above.join("/")).unwrap_or_default();
        if !matches!(self.tree().resolve(&parent)?, Some((_, Node::Directory))) {
            return Ok(false);
        }
        let place = self.place(path).with_context(removing)?;
        let there = place.found.is_some();
        self.clear(&place).with_context(removing)?;
        Ok(there)
    }

    /// Writes what was changed. Without it, the file system is damaged.
    ///
    /// # Errors
    /// It cannot be written: then, too.
    pub fn close(self) -> Result<()> {
        self.tree.close().context("writing the root file system")
    }

    /// Puts something new at `path` by `add`, which takes up to `blocks` blocks beside the entry.
    fn put(
        &mut self,
        path: &str,
        blocks: impl Fn(Room) -> u64,
        add: impl FnOnce(&mut Ext4, &Place) -> Result<()>,
    ) -> Result<()> {
        let place = self.place(path)?;
        let (freed, of_name) = match &place.found {
            Some((number, _)) => (self.tree.filesystem().freed_with(*number)?, 0),
            None => (0, BLOCKS_OF_NAME),
        };
        let blocks = blocks(self.tree.room()) + of_name;
        self.check_room(blocks, 1, freed)?;
        self.clear(&place)?;
        add(&mut self.tree, &place)
    }

    /// Takes away what is at a place.
    fn clear(&mut self, place: &Place) -> Result<()> {
        match &place.found {
            None => Ok(()),
            Some((_, Node::Directory)) => bail!("there is a directory"),
            Some((number, _)) => self.tree.filesystem().remove(place.directory, &place.name, *number, self.now),
        }
    }

    /// Says where there is no room for so many blocks and inodes, of which `freed` blocks come from what is replaced.
    fn check_room(&self, blocks: u64, inodes: u64, freed: u64) -> Result<()> {
        let room = self.tree.room();
        ensure!(
            blocks <= room.blocks + freed,
            "there is no room in the root file system: {} are needed, and {} are free; let the image be grown (--grow)",
            Bytes(blocks * room.block),
            Bytes((room.blocks + freed) * room.block)
        );
        ensure!(
            inodes <= room.inodes,
            "the root file system has no free inode: it can hold no more files, however much of it is free; use an image with more"
        );
        Ok(())
    }

    /// Finds out where `path` is: its directory must be there.
    fn place(&self, path: &str) -> Result<Place> {
        let names = names(path)?;
        let (name, above) = names.split_last().context("that is the root directory itself")?;
        let above = above.join("/");
        let directory = match self.tree().resolve(&above)? {
            Some((place, Node::Directory)) => place,
            Some(_) => bail!("/{above} is no directory"),
            None => bail!("there is no directory /{above}; it has to be made first"),
        };
        let path = crate::inspect::tree::join(&directory, name);
        let found = match self.tree.node(&path)? {
            Some(node) => Some((self.tree.inode(&path)?.context("it is gone")?, node)),
            None => None,
        };
        let directory = self.tree.inode(&directory)?.context("its directory is gone")?;
        Ok(Place { directory, name: CString::new(*name)?, found })
    }
}

/// The names of a path, each fit for a file.
fn names(path: &str) -> Result<Vec<&str>> {
    let names: Vec<&str> = path.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    for name in &names {
        ensure!(*name != "..", "{path}: a path in an image has no `..`");
        ensure!(
            name.len() <= LONGEST_NAME && !name.contains('\0'),
            "{path}: a name has more than {LONGEST_NAME} bytes, or a NUL"
        );
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
