//! The root of an image as a [`Tree`]: ext2, ext3 or ext4, read by libext2fs where it lies in the file.

use super::tree::{Node, Tree};
use crate::filesystem::ext2::edit::Room;
use crate::filesystem::ext2::fit::Condition;
use crate::filesystem::ext2::{Facts, Filesystem, Kind};
use anyhow::{Context, Result, bail};
use std::ffi::CString;
use std::io::Read;
use std::path::Path;

/// The root directory's inode.
const ROOT: u32 = e2fsprogs_sys::EXT2_ROOT_INO;
/// After how many entries the reading of a directory stops.
const MOST_NAMES: usize = 100_000;

/// An open file system. Its journal is not replayed: what stands in it is not seen.
pub struct Ext4(Filesystem);

impl Ext4 {
    /// Opens the file system that begins at the byte `offset` of a file. Reads only.
    ///
    /// # Errors
    /// The file cannot be read, or libext2fs does not accept what is there.
    pub fn open(file: &Path, offset: u64) -> Result<Ext4> {
        Filesystem::open_at(file, offset).map(Ext4)
    }

    /// Whether nothing but `lost+found` is in it. One that cannot be read is not taken for empty.
    pub(crate) fn is_empty(&self) -> bool {
        (self as &dyn Tree).list("").is_ok_and(|names| names.iter().all(|name| name == "lost+found"))
    }

    /// Opens it to be changed, see [`Filesystem::open_to_edit`].
    ///
    /// # Errors
    /// As [`Ext4::open`]; it is not fit for that.
    pub(crate) fn open_to_edit(file: &Path, offset: u64) -> Result<Ext4> {
        Filesystem::open_to_edit(file, offset).map(Ext4)
    }

    /// The file system itself.
    pub(crate) fn filesystem(&mut self) -> &mut Filesystem {
        &mut self.0
    }

    /// Writes what was changed, see [`Filesystem::close`].
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn close(self) -> Result<()> {
        self.0.close()
    }

    /// How much of it is free, see [`Filesystem::room`].
    pub(crate) fn room(&self) -> Room {
        self.0.room()
    }

    /// What state it is in, see [`Filesystem::condition`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn condition(&self) -> Result<Condition> {
        self.0.condition()
    }

    /// What its superblock says.
    pub(crate) fn facts(&self) -> Result<Facts> {
        self.0.facts()
    }

    /// The inode at `path`, on which no link lies.
    pub(crate) fn inode(&self, path: &str) -> Result<Option<u32>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Program;
    use std::fs;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    /// With short and long files and links: inside of the inode and in blocks.
    #[test]
    fn a_tree_is_read_where_it_lies_in_a_file() {
        const OFFSET: u64 = 3 << 20;
        let directory = TempDir::new().unwrap();
        let (tree, image) = (directory.path().join("tree"), directory.path().join("image"));
        fs::create_dir_all(tree.join("etc/many")).unwrap();
        let long = "x".repeat(200_000);
        let files = [("etc/short", "a"), ("etc/long", &long), ("etc/empty", "")];
        files.iter().for_each(|(path, content)| fs::write(tree.join(path), content).unwrap());
        (0..500).for_each(|n| fs::write(tree.join(format!("etc/many/file-with-a-long-name-{n}")), "").unwrap());
        let targets = ["short".to_owned(), "y".repeat(59), "y".repeat(60), "y".repeat(200)];
        targets.iter().enumerate().for_each(|(n, target)| symlink(target, tree.join(format!("link{n}"))).unwrap());
        let features = ["inline_data,metadata_csum", "^inline_data,^extent,^64bit,^metadata_csum", "metadata_csum"];
        for features in features {
            fs::File::create(&image).unwrap().set_len(OFFSET + (8 << 20)).unwrap();
            let mke2fs = Program::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-b", "1024", "-O", features]);
            let offset = format!("offset={OFFSET}");
            mke2fs.args(["-E", &offset, "-d", tree.to_str().unwrap(), image.to_str().unwrap(), "8M"]).run().unwrap();
            let ext4 = Ext4::open(&image, OFFSET).unwrap();
            assert!(ext4.facts().unwrap().clean);
            let read: &dyn Tree = &ext4;
            for (path, content) in files {
                assert_eq!(read.text(path, 1 << 20).unwrap().as_deref(), Some(content), "{features} {path}");
            }
            assert_eq!(read.text("etc/long", 10).unwrap().as_deref(), Some("xxxxxxxxxx"));
            for (n, target) in targets.iter().enumerate() {
                let link = format!("link{n}");
                assert_eq!(read.node(&link).unwrap(), Some(Node::Link(target.clone())), "{features} {link}");
            }
            assert_eq!(read.list("etc/many").unwrap().len(), 500, "{features}");
            assert_eq!(read.node("etc/short/x").unwrap(), None);
            assert_eq!(read.node("etc/none").unwrap(), None);
            assert!(read.open("etc").is_err() && read.names("etc/none").is_err());
        }
    }
}
