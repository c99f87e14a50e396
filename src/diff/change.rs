//! What can be said of a path that is not as it was burned.

use serde::Serialize;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// A path that is not as it was burned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute, as the node has it.
    pub path: PathBuf,
    /// What happened to it.
    pub what: What,
    /// What it is now; of a deleted path, what it was.
    pub file_type: FileType,
    /// What differs, of a path that both have.
    pub details: Details,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// The image has nothing at this path.
    Added,
    /// Both have it.
    Modified,
    /// The image has it, and all that is below it; the node does not.
    Deleted,
    /// The image has a directory at this path. It is gone with all that was in it, and something else is in its place: another
    /// directory, what is in that being listed as added; or, where the details name a type, something that is none.
    Replaced,
}

impl What {
    /// The letter that stands for it, that of `docker diff` but for M (there C) and R (there C, too).
    pub fn letter(self) -> char {
        match self {
            What::Added => 'A',
            What::Modified => 'M',
            What::Deleted => 'D',
            What::Replaced => 'R',
        }
    }
}

/// The types of inode(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileType {
    File,
    Directory,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Fifo,
    Socket,
}

impl FileType {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            FileType::File => "file",
            FileType::Directory => "directory",
            FileType::Symlink => "symlink",
            FileType::CharacterDevice => "character device",
            FileType::BlockDevice => "block device",
            FileType::Fifo => "fifo",
            FileType::Socket => "socket",
        }
    }
}

impl From<fs::FileType> for FileType {
    fn from(of: fs::FileType) -> FileType {
        match of {
            _ if of.is_dir() => FileType::Directory,
            _ if of.is_symlink() => FileType::Symlink,
            _ if of.is_char_device() => FileType::CharacterDevice,
            _ if of.is_block_device() => FileType::BlockDevice,
            _ if of.is_fifo() => FileType::Fifo,
            _ if of.is_socket() => FileType::Socket,
            _ => FileType::File,
        }
    }
}

/// A value in the image and on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pair<T> {
    /// In the image.
    pub from: T,
    /// On the node.
    pub to: T,
}

impl<T: PartialEq> Pair<T> {
    /// The pair, where its values differ.
    pub fn unequal(from: T, to: T) -> Option<Pair<T>> {
        (from != to).then_some(Pair { from, to })
    }
}

/// Who owns a path, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// Names of extended attributes that differ. ACLs are among them: `system.posix_acl_access`, `system.posix_acl_default`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Attributes {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
}

/// What differs between the image's path and the node's. What is absent is equal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Details {
    /// The types. Nothing else is then compared.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub file_type: Option<Pair<FileType>>,
    /// A directory that was renamed, with the overlay's `redirect_dir`: where the image has it. What is below it is compared with
    /// what is there.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy")]
    pub renamed_from: Option<PathBuf>,
    /// Permissions with set-uid, set-gid and sticky bit: four octal digits in JSON.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "octal")]
    pub mode: Option<Pair<u32>>,
    /// User and group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Pair<Owner>>,
    /// The content of a file: its lengths in bytes, which may be equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Pair<u64>>,
    /// Where a symlink points.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy_pair")]
    pub target: Option<Pair<PathBuf>>,
    /// `major:minor` of a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<Pair<String>>,
    /// Extended attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xattrs: Option<Attributes>,
    /// Only the time of the last modification differs, not the content: a `touch`, or the same written again. Not noted of directories,
    /// whose time changes with each name in them, nor of symlinks.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub touched: bool,
}

impl Details {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Details::default()
    }
}

fn octal<S: serde::Serializer>(mode: &Option<Pair<u32>>, to: S) -> Result<S::Ok, S::Error> {
    mode.as_ref().map(|m| Pair { from: format!("{:04o}", m.from), to: format!("{:04o}", m.to) }).serialize(to)
}

fn lossy<S: serde::Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(to)
}

fn lossy_pair<S: serde::Serializer>(paths: &Option<Pair<PathBuf>>, to: S) -> Result<S::Ok, S::Error> {
    paths.as_ref().map(|p| Pair { from: p.from.to_string_lossy(), to: p.to.to_string_lossy() }).serialize(to)
}

/// One element of `changes` in `diff --json`.
#[derive(Debug, Serialize)]
struct Element<'a> {
    /// U+FFFD stands for what is not UTF-8.
    path: std::borrow::Cow<'a, str>,
    /// The bytes of a path that is not UTF-8, two hexadecimal digits each.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    change: What,
    #[serde(rename = "type")]
    file_type: FileType,
    /// With `--package` only; null where no package owns the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Details::is_empty")]
    details: &'a Details,
}

/// A change as `diff --json` has it; `package` is the owner, where it was asked for.
///
/// # Errors
/// None that is known: all keys are strings.
pub fn to_json(change: &Change, package: Option<Option<&str>>) -> serde_json::Result<String> {
    serde_json::to_string(&Element {
        path: change.path.to_string_lossy(),
        path_bytes: change.path.to_str().is_none().then(|| base16(&change.path)),
        change: change.what,
        file_type: change.file_type,
        package,
        details: &change.details,
    })
}

fn base16(path: &Path) -> String {
    path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
