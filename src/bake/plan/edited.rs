//! A tree as it will be: what is there, with edits over it. So a plan can be looked at like an image, before anything is written.

use super::Edit;
use crate::inspect::tree::{Node, Tree, join};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::io::Read;

/// What an edit leaves at a path.
#[derive(Debug, Clone, Copy)]
enum Left<'e> {
    Directory,
    File(&'e [u8]),
    Link(&'e str),
    Gone,
    /// What was there, and this behind it.
    More(&'e [u8]),
}

/// A tree with edits over it.
pub struct Edited<'e> {
    base: &'e dyn Tree,
    /// By paths without links before their last names.
    left: BTreeMap<String, Left<'e>>,
}

impl<'e> Edited<'e> {
    /// The root after these edits; those of the boot partition are passed over.
    ///
    /// # Errors
    /// A directory on the way cannot be read.
    pub fn root(base: &'e dyn Tree, edits: impl Iterator<Item = &'e Edit>) -> Result<Edited<'e>> {
        Edited::of(base, edits.filter(|edit| edit.is_on_root()))
    }

    /// The boot partition after these edits; those of the root are passed over.
    ///
    /// # Errors
    /// A directory on the way cannot be read.
    pub fn boot(base: &'e dyn Tree, edits: impl Iterator<Item = &'e Edit>) -> Result<Edited<'e>> {
        Edited::of(base, edits.filter(|edit| !edit.is_on_root()))
    }

    fn of(base: &'e dyn Tree, edits: impl Iterator<Item = &'e Edit>) -> Result<Edited<'e>> {
        let mut edited = Edited { base, left: BTreeMap::new() };
        for edit in edits {
            let (path, left) = match edit {
                Edit::Directory { path, .. } => (path, Left::Directory),
                Edit::File { path, content, .. } | Edit::Boot { path, content } => (path, Left::File(content)),
                Edit::Link { path, target } => (path, Left::Link(target)),
                Edit::Remove { path } => (path, Left::Gone),
                Edit::Append { path, content } => (path, Left::More(content)),
            };
            edited.put(path.trim_start_matches('/'), left)?;
        }
        Ok(edited)
    }

    /// Puts it at its place, with the directories above it, and says where that is.
    fn put(&mut self, path: &str, left: Left<'e>) -> Result<String> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = match self.base.resolve(directory)? {
            Some((place, _)) => place,
            None => self.put(directory, Left::Directory)?,
        };
        let path = join(&directory, name);
        let stays = matches!(left, Left::Directory) && self.node(&path)?.is_some();
        if !stays {
            self.left.insert(path.clone(), left);
        }
        Ok(path)
    }
}

impl Tree for Edited<'_> {
    fn node(&self, path: &str) -> Result<Option<Node>> {
        Ok(match self.left.get(path) {
            None => return self.base.node(path),
            Some(Left::Directory) => Some(Node::Directory),
            Some(Left::File(_) | Left::More(_)) => Some(Node::File),
            Some(Left::Link(target)) => Some(Node::Link((*target).to_owned())),
            Some(Left::Gone) => None,
        })
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>> {
        Ok(match self.left.get(path) {
            None => return self.base.open(path),
            Some(Left::File(content)) => Box::new(*content),
            // Who reads an initramfs passes over zeros between two archives, and needs none.
            Some(Left::More(content)) => Box::new(self.base.open(path)?.chain(*content)),
            Some(_) => bail!("{path} is no file"),
        })
    }

    fn names(&self, path: &str) -> Result<Vec<String>> {
        let is_new = matches!(self.left.get(path), Some(Left::Directory));
        let mut names = if is_new { Vec::new() } else { self.base.names(path)? };
        names.retain(|name| !self.left.contains_key(&join(path, name)));
        for (at, left) in &self.left {
            let (directory, name) = at.rsplit_once('/').unwrap_or(("", at));
            if directory == path && !matches!(left, Left::Gone) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::super::made;
    use super::*;
    use crate::inspect::tree::memory::Memory;

    #[test]
    fn a_tree_is_seen_as_it_will_be() {
        let base = Memory::default()
            .file("usr/lib/a", "a")
            .file("usr/lib/b", "b")
            .symlink("lib", "usr/lib")
            .file("boot/initrd", "first");
        let edits = [
            Edit::File { path: "lib/systemd/c".to_owned(), content: b"c".to_vec(), attributes: made(0o644) },
            Edit::File { path: "lib/a".to_owned(), content: b"new".to_vec(), attributes: made(0o644) },
            Edit::Remove { path: "usr/lib/b".to_owned() },
            Edit::Link { path: "etc/new/d".to_owned(), target: "../../lib/systemd/c".to_owned() },
            Edit::Directory { path: "usr/lib".to_owned(), attributes: made(0o755) },
            Edit::Append { path: "/boot/initrd".to_owned(), content: b" second".to_vec() },
            Edit::Boot { path: "other".to_owned(), content: Vec::new() },
        ];
        let edited = Edited::root(&base, edits.iter()).unwrap();
        let tree: &dyn Tree = &edited;
        let text = |path: &str| tree.text(path, 100).unwrap();
        assert_eq!(text("usr/lib/a").as_deref(), Some("new"));
        assert_eq!(text("usr/lib/systemd/c").as_deref(), Some("c"));
        assert_eq!(text("etc/new/d").as_deref(), Some("c"));
        assert_eq!(text("boot/initrd").as_deref(), Some("first second"));
        assert!(text("usr/lib/b").is_none() && text("other").is_none());
        assert_eq!(tree.list("lib").unwrap(), ["a", "systemd"]);
        assert_eq!(tree.list("etc").unwrap(), ["new"]);
        assert_eq!(tree.list("").unwrap(), ["boot", "etc", "lib", "usr"]);
        let other = Edited::boot(&Memory::default(), edits.iter()).unwrap().names("").unwrap();
        assert_eq!(other, ["other"]);
    }
}
