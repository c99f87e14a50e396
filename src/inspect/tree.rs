//! A tree of files that is looked at and not mounted: the boot partition or the root of an image.
//!
//! Links are followed here, inside of the tree alone: the target `/etc/x` means the tree's `etc/x`, and no `..` leads out of it.

use anyhow::{Context, Result};
use std::io::Read;

/// How many links one path may lead through, as in Linux (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// What has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    File,
    Directory,
    /// A symbolic link with this target.
    Link(String),
    /// A device, a pipe, a socket.
    Other,
}

/// Files by their paths from the top, without a leading slash: `etc/fstab`. The empty path is the top itself.
///
/// What an implementation gets has no `.`, no `..`, and no link before the last name; it follows none.
pub trait Tree {
    /// What is at `path`; `None` where there is nothing.
    ///
    /// # Errors
    /// A directory on the way cannot be read.
    fn node(&self, path: &str) -> Result<Option<Node>>;

    /// The content of the file at `path`, from its beginning.
    ///
    /// # Errors
    /// It is no file, or cannot be opened.
    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>>;

    /// The names in the directory at `path`, without `.` and `..`, in any order.
    ///
    /// # Errors
    /// It is no directory, or cannot be read.
    fn names(&self, path: &str) -> Result<Vec<String>>;
}

/// What one asks of any tree. Each follows links, the last name's too, where nothing else is said.
impl dyn Tree + '_ {
    /// Where `path` leads, and what is there; `None` where it leads nowhere, or in a circle.
    ///
    /// # Errors
    /// A directory on the way cannot be read.
    pub(crate) fn resolve(&self, path: &str) -> Result<Option<(String, Node)>> {
        let mut left: Vec<String> = parts(path);
        let mut at: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            at.push(name);
            let here = at.join("/");
            match self.node(&here).with_context(|| format!("looking at /{here}"))? {
                None => return Ok(None),
                Some(Node::Link(target)) => {
                    links += 1;
                    if links > MOST_LINKS {
                        // No kernel follows them further.
                        return Ok(None);
                    }
                    at.pop();
                    if target.starts_with('/') {
                        at.clear();
                    }
                    left.extend(parts(&target));
                }
                Some(Node::Directory) => {}
                Some(node) if left.is_empty() => return Ok(Some((here, node))),
                // A file where the path needs a directory.
                Some(_) => return Ok(None),
            }
        }
        Ok(Some((at.join("/"), Node::Directory)))
    }

    /// Whether there is something at `path`.
    ///
    /// # Errors
    /// As [`Tree::node`].
    pub fn has(&self, path: &str) -> Result<bool> {
        Ok(self.resolve(path)?.is_some())
    }

    /// The first of `paths` at which there is something.
    ///
    /// # Errors
    /// As [`Tree::node`].
    pub fn first_of<'p>(&self, paths: &[&'p str]) -> Result<Option<&'p str>> {
        for path in paths {
            if self.has(path)? {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// What is at `path` itself: a link is not followed where it is the last name.
    ///
    /// # Errors
    /// As [`Tree::node`].
    pub fn link(&self, path: &str) -> Result<Option<Node>> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        match self.resolve(directory)? {
            Some((directory, Node::Directory)) => self.node(&join(&directory, name)),
            _ => Ok(None),
        }
    }

    /// The file at `path`; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn file(&self, path: &str) -> Result<Option<Box<dyn Read + '_>>> {
        match self.resolve(path)? {
            Some((place, Node::File)) => self.open(&place).map(Some).with_context(|| format!("opening /{path}")),
            _ => Ok(None),
        }
    }

    /// At most `limit` bytes of the file at `path`; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.file(path)? else { return Ok(None) };
        let mut content = Vec::new();
        file.take(limit).read_to_end(&mut content).with_context(|| format!("reading /{path}"))?;
        Ok(Some(content))
    }

    /// The same as text; what is no UTF-8 is replaced.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn text(&self, path: &str, limit: u64) -> Result<Option<String>> {
        Ok(self.read(path, limit)?.map(|content| String::from_utf8_lossy(&content).into_owned()))
    }

    /// The names in the directory at `path`, sorted; none where there is no such directory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        let Some((place, Node::Directory)) = self.resolve(path)? else { return Ok(Vec::new()) };
        let mut names = self.names(&place).with_context(|| format!("reading the directory /{path}"))?;
        names.sort();
        Ok(names)
    }
}

/// The names of a path, the first of them at the end.
fn parts(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !matches!(*part, "" | ".")).rev().map(str::to_owned).collect()
}

/// The path of `name` in `directory`.
pub fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

#[cfg(test)]
pub mod memory {
    use super::*;
    use anyhow::bail;
    use std::collections::BTreeMap;

    /// A tree in memory, for tests.
    #[derive(Debug, Clone, Default)]
    pub struct Memory(BTreeMap<String, (Node, Vec<u8>)>);

    impl Memory {
        /// With a file, and the directories above it.
        pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Memory {
            self.with(path, Node::File, content.as_ref().to_vec())
        }

        /// With a symbolic link.
        pub fn symlink(self, path: &str, target: &str) -> Memory {
            self.with(path, Node::Link(target.to_owned()), Vec::new())
        }

        /// With a directory.
        pub fn directory(self, path: &str) -> Memory {
            self.with(path, Node::Directory, Vec::new())
        }

        /// Without what is at `path`.
        pub fn without(mut self, path: &str) -> Memory {
            self.0.remove(path);
            self
        }

        fn with(mut self, path: &str, node: Node, content: Vec<u8>) -> Memory {
            for (at, _) in path.match_indices('/') {
                self.0.entry(path[..at].to_owned()).or_insert((Node::Directory, Vec::new()));
            }
            self.0.insert(path.to_owned(), (node, content));
            self
        }
    }

    impl Tree for Memory {
        fn node(&self, path: &str) -> Result<Option<Node>> {
            let top = path.is_empty().then_some(Node::Directory);
            Ok(top.or_else(|| self.0.get(path).map(|(node, _)| node.clone())))
        }

        fn open(&self, path: &str) -> Result<Box<dyn Read + '_>> {
            match self.0.get(path) {
                Some((Node::File, content)) => Ok(Box::new(content.as_slice())),
                _ => bail!("{path} is no file"),
            }
        }

        fn names(&self, path: &str) -> Result<Vec<String>> {
            let below = if path.is_empty() { String::new() } else { format!("{path}/") };
            let names = self.0.keys().filter_map(|key| key.strip_prefix(&below)).filter(|name| !name.contains('/'));
            Ok(names.map(str::to_owned).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::memory::Memory;
    use super::*;

    #[test]
    fn links_are_followed_inside_of_the_tree_alone() {
        let tree = Memory::default()
            .file("usr/lib/os-release", "ID=debian\n")
            .file("etc/passwd", "the image's")
            .symlink("etc/os-release", "../usr/lib/os-release")
            .symlink("lib", "usr/lib")
            .symlink("etc/absolute", "/etc/passwd")
            .symlink("etc/outside", "../../../../../etc/passwd")
            .symlink("etc/a", "b")
            .symlink("etc/b", "a")
            .symlink("etc/nowhere", "/dev/null")
            .symlink("etc/through", "passwd/x");
        let tree: &dyn Tree = &tree;
        for (path, content) in [
            ("etc/os-release", Some("ID=debian\n")),
            ("lib/os-release", Some("ID=debian\n")),
            ("/etc//./absolute", Some("the image's")),
            ("etc/outside", Some("the image's")),
            ("etc/nowhere", None),
            ("etc/a", None),
            ("etc/through", None),
            ("etc/none", None),
            ("etc", None),
        ] {
            assert_eq!(tree.text(path, 100).unwrap().as_deref(), content, "{path}");
        }
        assert_eq!(tree.text("etc/passwd", 3).unwrap().as_deref(), Some("the"));
        assert_eq!(tree.link("etc/nowhere").unwrap(), Some(Node::Link("/dev/null".to_owned())));
        assert_eq!(tree.link("lib/os-release").unwrap(), Some(Node::File));
        assert_eq!(tree.list("").unwrap(), ["etc", "lib", "usr"]);
        assert_eq!(tree.list("lib").unwrap(), ["os-release"]);
        assert!(tree.has("").unwrap() && tree.has("lib/os-release").unwrap() && !tree.has("etc/nowhere").unwrap());
    }
}
