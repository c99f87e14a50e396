//! The two directories of an overlay, and the marks that overlayfs leaves in the upper
//! (Documentation/filesystems/overlayfs.rst, "Whiteouts and opaque directories", "Renaming directories", "Metadata only copy up").

use super::stat::{self, Stat};
use crate::files;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The two directories of an overlay. Paths are absolute, as the node has them.
#[derive(Debug, Clone)]
pub struct Layers {
    upper: PathBuf,
    lower: PathBuf,
    /// Whether the overlay keeps its marks where ordinary users can make them, too (mount option `userxattr`).
    user_marks: bool,
}

/// What overlayfs noted on a directory of the upper.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// The lower's directory of this path is not seen.
    pub opaque: bool,
    /// Files with the mark `whiteout` in it are whiteouts (Linux 6.7).
    pub whiteout_files: bool,
    /// The lower's directory that is seen here: an absolute path, or a name beside this one.
    pub redirect: Option<PathBuf>,
}

/// A directory that is in the upper.
#[derive(Debug, Clone)]
pub struct Directory {
    /// Where the lower has the directory that it is merged with.
    pub lower: Option<PathBuf>,
    /// See [`Marks::whiteout_files`].
    pub whiteout_files: bool,
}

/// What became of a path.
#[derive(Debug)]
pub enum Located {
    /// The upper has it, in this directory; it may be a whiteout there.
    Upper(Directory),
    /// The upper does not have it: it is as it was burned.
    Unchanged(Stat),
    /// The lower has it, but something in the upper hides it that is further up.
    Hidden(Stat),
    /// Neither the lower nor the node has it.
    Absent,
}

impl Layers {
    /// Those of an overlay that is mounted with these two directories.
    pub fn new(upper: &Path, lower: &Path, user_marks: bool) -> Layers {
        Layers { upper: upper.to_owned(), lower: lower.to_owned(), user_marks }
    }

    /// Where the upper has `path`.
    pub fn upper(&self, path: &Path) -> PathBuf {
        files::below(&self.upper, path)
    }

    /// Where the lower has `path`.
    pub fn lower(&self, path: &Path) -> PathBuf {
        files::below(&self.lower, path)
    }

    /// The lower's entry `path`, where its directory is known to be a directory of the lower and no symlink out of it. A whiteout in
    /// the lower is none: overlayfs does not show it.
    ///
    /// # Errors
    /// It is there, but cannot be looked at.
    pub fn lower_entry(&self, path: &Path) -> io::Result<Option<Stat>> {
        shown(Stat::of(&self.lower(path)))
    }

    /// The lower's entry `path`, whatever its parents are: one below a symlink is none.
    ///
    /// # Errors
    /// It is there, but cannot be looked at.
    pub fn image_entry(&self, path: &Path) -> io::Result<Option<Stat>> {
        let mut parents: Vec<&Path> = path.ancestors().skip(1).collect();
        parents.reverse();
        for parent in parents {
            if !self.lower_entry(parent)?.is_some_and(|m| m.is_dir()) {
                return Ok(None);
            }
        }
        self.lower_entry(path)
    }

    /// The name of a mark.
    fn mark(&self, name: &str) -> String {
        format!("{}{name}", if self.user_marks { USER } else { TRUSTED })
    }

    /// Whether `name` is that of a mark, and no attribute of the file's own.
    pub fn is_mark(&self, name: &OsStr) -> bool {
        let prefix = if self.user_marks { USER } else { TRUSTED };
        // What an overlay on this overlay sets is kept under an escaped name: `trusted.overlay.overlay.opaque`.
        let Some(rest) = name.as_bytes().strip_prefix(prefix.as_bytes()) else {
            // The generation's number, see [`crate::upper::Upper::number`].
            return name.as_bytes().starts_with(b"trusted.burnonce.");
        };
        !rest.starts_with(b"overlay.")
    }

    /// Whether `name` is that of the mark of a file whose metadata alone was copied up.
    pub fn is_metacopy(&self, name: &OsStr) -> bool {
        name == self.mark("metacopy").as_str()
    }

    /// The marks of the upper's directory `path`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn marks(&self, path: &Path) -> io::Result<Marks> {
        let path = self.upper(path);
        // Most directories that are new have no attribute at all but `opaque`: two calls at most, then.
        let names: Vec<_> = attribute_names(&path)?.filter(|name| self.is_mark(name)).collect();
        let value = |name: &str| {
            let name = self.mark(name);
            if names.iter().any(|n| n == name.as_str()) { xattr::get(&path, &name) } else { Ok(None) }
        };
        let opaque = value("opaque")?;
        Ok(Marks {
            opaque: opaque.as_deref() == Some(b"y"),
            whiteout_files: opaque.as_deref() == Some(b"x"),
            redirect: value("redirect")?.map(|bytes| PathBuf::from(OsStr::from_bytes(&bytes))),
        })
    }

    /// Whether the upper's entry `path` is a whiteout.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_whiteout(&self, path: &Path, stat: &Stat, whiteout_files: bool) -> io::Result<bool> {
        if !whiteout_files || !stat.is_file() || stat.length() > 0 {
            return Ok(stat.is_whiteout());
        }
        Ok(xattr::get(self.upper(path), self.mark("whiteout"))?.is_some())
    }

    /// The lower's directory that the upper's directory `path`, with these marks, is merged with. `parent` is that of its parent.
    ///
    /// # Errors
    /// It is there, but cannot be looked at.
    pub fn merged_with(
        &self,
        path: &Path,
        marks: &Marks,
        parent: Option<&Path>,
    ) -> io::Result<Option<(PathBuf, Stat)>> {
        if marks.opaque {
            return Ok(None);
        }
        let Some(lower) = self.redirected(path, marks.redirect.as_deref(), parent) else { return Ok(None) };
        let found = if marks.redirect.is_some() { self.image_entry(&lower)? } else { self.lower_entry(&lower)? };
        Ok(found.filter(Stat::is_dir).map(|stat| (lower, stat)))
    }

    /// Where the lower has what is at `path` on the node, that has this redirect.
    fn redirected(&self, path: &Path, redirect: Option<&Path>, parent: Option<&Path>) -> Option<PathBuf> {
        match redirect {
            Some(to) if to.is_absolute() => is_plain(to).then(|| to.to_owned()),
            Some(to) => Some(parent?.join(to)).filter(|to| is_plain(to)),
            None => Some(parent?.join(path.file_name()?)),
        }
    }

    /// The file that holds the content of the upper's file `path`: that one, or the lower's where only the metadata was copied up.
    ///
    /// # Errors
    /// The marks cannot be read.
    pub fn content(&self, path: &Path, parent: Option<&Path>) -> io::Result<PathBuf> {
        let upper = self.upper(path);
        if xattr::get(&upper, self.mark("metacopy"))?.is_none() {
            return Ok(upper);
        }
        let redirect = xattr::get(&upper, self.mark("redirect"))?.map(|bytes| PathBuf::from(OsStr::from_bytes(&bytes)));
        Ok(self.redirected(path, redirect.as_deref(), parent).map_or(upper, |lower| self.lower(&lower)))
    }

    /// What became of `path`.
    ///
    /// # Errors
    /// One of the directories on the way cannot be read.
    pub fn locate(&self, path: &Path) -> io::Result<Located> {
        let mut directory = self.top()?;
        let mut here = PathBuf::from("/");
        let names: Vec<&OsStr> = path.iter().skip(1).collect();
        let Some((last, parents)) = names.split_last() else { return Ok(Located::Upper(directory)) };
        for name in parents {
            here.push(name);
            let Some(found) = present(Stat::of(&self.upper(&here)))? else {
                return self.below_the_upper(path, &here, &directory);
            };
            if !found.is_dir() {
                return self.hidden(path);
            }
            let marks = self.marks(&here)?;
            let lower = self.merged_with(&here, &marks, directory.lower.as_deref())?.map(|(path, _)| path);
            directory = Directory { lower, whiteout_files: marks.whiteout_files };
        }
        here.push(last);
        match present(Stat::of(&self.upper(&here)))? {
            Some(_) => Ok(Located::Upper(directory)),
            None => self.below_the_upper(path, &here, &directory),
        }
    }

    /// The root of the overlay.
    ///
    /// # Errors
    /// The upper directory cannot be read.
    pub fn top(&self) -> io::Result<Directory> {
        let root = PathBuf::from("/");
        let whiteout_files = self.marks(&root)?.whiteout_files;
        Ok(Directory { lower: Some(root), whiteout_files })
    }

    /// `path`, whose beginning `missing` is not in the upper's directory `directory`.
    fn below_the_upper(&self, path: &Path, missing: &Path, directory: &Directory) -> io::Result<Located> {
        let rest = path.strip_prefix(missing.parent().unwrap_or(missing)).unwrap_or(path);
        let seen = match &directory.lower {
            Some(lower) => self.image_entry(&lower.join(rest))?,
            None => None,
        };
        seen.map_or_else(|| self.hidden(path), |stat| Ok(Located::Unchanged(stat)))
    }

    fn hidden(&self, path: &Path) -> io::Result<Located> {
        Ok(self.image_entry(path)?.map_or(Located::Absent, Located::Hidden))
    }
}

const TRUSTED: &str = "trusted.overlay.";
const USER: &str = "user.overlay.";

/// The names of the extended attributes of `path`, itself and not what it points to. A file system that has none is no error.
///
/// # Errors
/// It cannot be read.
pub fn attribute_names(path: &Path) -> io::Result<impl Iterator<Item = std::ffi::OsString>> {
    listed(xattr::list(path))
}

/// The same of names that were asked for otherwise.
///
/// # Errors
/// They could not be read.
pub fn listed(names: io::Result<xattr::XAttrs>) -> io::Result<impl Iterator<Item = std::ffi::OsString>> {
    match names {
        Ok(names) => Ok(Some(names).into_iter().flatten()),
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EOPNOTSUPP as i32) => {
            Ok(None.into_iter().flatten())
        }
        Err(error) => Err(error),
    }
}

/// Opens a regular file of a layer, see [`stat::open_at`].
///
/// # Errors
/// It is not there, or cannot be read.
pub fn open(path: &Path) -> io::Result<File> {
    stat::open_at(nix::fcntl::AT_FDCWD, path.as_os_str())
}

/// What the lower shows of what was found in it.
///
/// # Errors
/// It is there, but could not be looked at.
pub fn shown(found: io::Result<Stat>) -> io::Result<Option<Stat>> {
    Ok(present(found)?.filter(|stat| !stat.is_whiteout()))
}

/// What is not there is nothing: the node is at work while it is looked at. Nor is what is below something that is no directory.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an absolute path stays below the directory that it is joined to.
fn is_plain(path: &Path) -> bool {
    path.is_absolute() && path.components().skip(1).all(|part| matches!(part, Component::Normal(_)))
}
