//! Reading of ext2, ext3 and ext4 through libext2fs: superblock, directories, files. [`edit`] changes them.
//!
//! The offsets of a superblock's fields are those of the disk format (kernel, `Documentation/filesystems/ext4/super.rst`), which
//! the library keeps in memory, too. It does so in host byte order: here that is the disk's, for burnonce is for little-endian
//! machines alone.

use super::{Owner, Superblock};
use crate::units::Bytes;
use anyhow::{Context, Result};
use e2fsprogs_sys as sys;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io::{self, Read};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Once;

use error::check;
pub(crate) use error::{Failed, UnknownFeature};

pub(crate) mod edit;
mod error;
pub(crate) mod fit;

#[cfg(not(target_endian = "little"))]
compile_error!("burnonce reads superblocks on little-endian machines only");

/// Where the superblock starts, in bytes, whatever the block size.
pub const SUPERBLOCK_OFFSET: usize = 1024;
/// How long it is, in bytes.
pub const SUPERBLOCK_SIZE: usize = sys::SUPERBLOCK_SIZE;

const MAGIC: u16 = 0xEF53;
const STATE_VALID: u16 = 1;
const STATE_ERROR: u16 = 2;
const COMPAT_HAS_JOURNAL: u32 = 0x4;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_64BIT: u32 = 0x80;
const RO_COMPAT_READONLY: u32 = 0x1000;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
/// Where the superblock's checksum is: behind all that it is of.
const CHECKSUM: usize = 0x3FC;

/// How much of `state.json` is read, in bytes.
const STATE_LIMIT: usize = 64 << 10;
/// After how many entries the reading of the root directory stops.
const NAMES_READ: usize = 1000;
/// How many names [`Owner::Files`] keeps.
const NAMES_KEPT: usize = 10;

const S_IFMT: u16 = 0o170_000;
const S_IFREG: u16 = 0o100_000;
const S_IFDIR: u16 = 0o040_000;
const S_IFLNK: u16 = 0o120_000;
/// The longest target that a symbolic link has, in bytes (PATH_MAX).
const LONGEST_TARGET: usize = 4096;

/// The facts that the superblock itself has; `None` where the magic number is not there.
pub struct Facts {
    /// See [`Superblock::label`].
    pub label: String,
    /// See [`Superblock::uuid`].
    pub uuid: String,
    /// See [`Superblock::size`].
    pub size: Bytes,
    /// See [`Superblock::clean`].
    pub clean: bool,
    /// See [`Superblock::errors`].
    pub errors: bool,
    /// See [`Superblock::sealed`].
    pub sealed: bool,
    /// It has a journal (`has_journal`).
    pub journal: bool,
    /// What it is called: `ext2`, `ext3` or `ext4`.
    pub name: &'static str,
    /// It was mounted as often as it is to be without a check (`s_mnt_count`, `s_max_mnt_count`); mke2fs sets no such number by itself.
    pub mounts_reached: bool,
}

impl Facts {
    /// Reads the 1024 bytes of a superblock. Pure; every value is possible in every field, for a checksum is libext2fs's affair.
    pub fn parse(bytes: &[u8]) -> Option<Facts> {
        let bytes: &[u8; sys::SUPERBLOCK_SIZE] = bytes.get(..sys::SUPERBLOCK_SIZE)?.try_into().ok()?;
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if u16_at(0x38) != MAGIC {
            return None;
        }
        let state = u16_at(0x3A);
        let incompat = u32_at(0x60);
        let high = if incompat & INCOMPAT_64BIT != 0 { u64::from(u32_at(0x150)) } else { 0 };
        let blocks = (high << 32) | u64::from(u32_at(0x4));
        let block = 1u64.checked_shl(u32_at(0x18).saturating_add(10)).unwrap_or(u64::MAX);
        Some(Facts {
            label: text(&bytes[0x78..0x88]),
            uuid: uuid(&bytes[0x68..0x78]),
            size: Bytes(block.saturating_mul(blocks)),
            clean: state & STATE_VALID != 0 && incompat & INCOMPAT_RECOVER == 0,
            errors: state & STATE_ERROR != 0 || u32_at(0x194) > 0,
            sealed: u32_at(0x64) & RO_COMPAT_READONLY != 0,
            journal: u32_at(0x5C) & COMPAT_HAS_JOURNAL != 0,
            name: name(u32_at(0x5C), incompat, u32_at(0x64)),
            // The maximum is signed: 0 and -1 mean that there is none.
            mounts_reached: (1..1 << 15).contains(&u16_at(0x36)) && u16_at(0x34) >= u16_at(0x36),
        })
    }

    /// Completes them with the owner.
    pub fn into_superblock(self, owner: Owner) -> Superblock {
        let Facts { label, uuid, size, clean, errors, sealed, .. } = self;
        Superblock { label, uuid, size, clean, errors, sealed, owner }
    }
}

/// What a file system with these features is called, by the rule of libblkid (util-linux, `libblkid/src/superblocks/ext.c`): with one that
/// the kernel's ext3 did not know it is an ext4, with or without a journal; else the journal makes it an ext3. Pure.
fn name(compat: u32, incompat: u32, ro_compat: u32) -> &'static str {
    /// filetype, recover and meta_bg; sparse_super, large_file and btree_dir. `read-only`, by which a lower is sealed, tells nothing.
    const OF_EXT3: (u32, u32) = (0x2 | INCOMPAT_RECOVER | 0x10, 0x1 | 0x2 | 0x4 | RO_COMPAT_READONLY);
    if incompat & !OF_EXT3.0 != 0 || ro_compat & !OF_EXT3.1 != 0 {
        "ext4"
    } else if compat & COMPAT_HAS_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    }
}

/// Whether these are the bytes of a superblock, with the right checksum where it has one.
pub fn is_whole(bytes: &[u8]) -> bool {
    let u32_at = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    Facts::parse(bytes).is_some()
        && (u32_at(0x64) & RO_COMPAT_METADATA_CSUM == 0 || u32_at(CHECKSUM) == crc32c(&bytes[..CHECKSUM]))
}

/// CRC-32C, reflected, as ext4 uses it: begun with all ones, and not inverted in the end.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    })
}

/// Text up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// 16 bytes as blkid prints a file system's UUID.
fn uuid(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(36);
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

/// Opens the file system on `device` and reads its superblock. Reads only; it may be mounted.
///
/// # Errors
/// The device cannot be read, or libext2fs does not accept what is on it: another magic number, a wrong checksum, impossible numbers.
pub fn facts(device: &Path) -> Result<Facts> {
    Filesystem::open(device)?.facts()
}

/// The same, and whose it is. What cannot be read behind the superblock is an answer, not an error: a file system that was not
/// unmounted may be unreadable until `e2fsck -p` has replayed its journal.
///
/// # Errors
/// As [`facts`].
pub fn facts_and_owner(device: &Path) -> Result<(Facts, Owner)> {
    let fs = Filesystem::open(device)?;
    let owner = owner(&fs).unwrap_or_else(|error| Owner::Unreadable { reason: format!("{error:#}") });
    Ok((fs.facts()?, owner))
}

fn owner(fs: &Filesystem) -> Result<Owner> {
    if let Some(file) = fs.state().context("looking for /burnonce/state.json")? {
        let state = fs.content(file, STATE_LIMIT).context("reading /burnonce/state.json")?;
        let used = match fs.lookup(sys::EXT2_ROOT_INO, c"overlay")? {
            Some(upper) => {
                fs.names(upper, 3).context("reading /overlay")?.iter().any(|name| name != "." && name != "..")
            }
            None => false,
        };
        return Ok(Owner::Ours { state: String::from_utf8_lossy(&state).into_owned(), used });
    }
    let mut names = fs.names(sys::EXT2_ROOT_INO, NAMES_READ).context("reading the root directory")?;
    names.retain(|name| !matches!(name.as_str(), "." | ".." | "lost+found"));
    if names.is_empty() {
        return Ok(Owner::Empty);
    }
    names.sort();
    names.truncate(NAMES_KEPT);
    Ok(Owner::Files { names })
}

/// An ext2, ext3 or ext4 opened for reading.
pub(crate) struct Filesystem(sys::ext2_filsys);

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    /// A symbolic link, with its target; bytes that are no UTF-8 are replaced.
    Link(String),
    /// A device, a pipe, a socket.
    Other,
}

impl Filesystem {
    fn open(device: &Path) -> Result<Filesystem> {
        Filesystem::open_with(device, None, 0)
            .with_context(|| format!("opening the file system on {}", device.display()))
    }

    /// Opens the file system that begins at the byte `offset` of a file. Reads only.
    ///
    /// # Errors
    /// As [`facts`].
    pub(crate) fn open_at(file: &Path, offset: u64) -> Result<Filesystem> {
        Filesystem::open_with(file, Some(&beginning(offset)?), 0)
    }

    /// `access`: 0 to read, `EXT2_FLAG_RW` to write.
    fn open_with(device: &Path, option: Option<&CStr>, access: c_int) -> Result<Filesystem> {
        static ERRORS: Once = Once::new();
        // SAFETY: registers a static table; called once, before any code is turned into text.
        ERRORS.call_once(|| unsafe { sys::initialize_ext2_error_table() });
        let name = CString::new(device.as_os_str().as_bytes()).context("a device's name has no NUL")?;
        let mut fs = std::ptr::null_mut();
        let flags = access | sys::EXT2_FLAG_64BITS | sys::EXT2_FLAG_SOFTSUPP_FEATURES;
        let option = option.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: `name` and `option` live through the call, `fs` is a place for one pointer. Opening writes nothing.
        let code = unsafe { sys::ext2fs_open2(name.as_ptr(), option, flags, 0, 0, sys::unix_io_manager, &mut fs) };
        if matches!(code, sys::EXT2_ET_UNSUPP_FEATURE | sys::EXT2_ET_RO_UNSUPP_FEATURE) {
            return Err(UnknownFeature.into());
        }
        check(code)?;
        Ok(Filesystem(fs))
    }

    /// What the superblock says.
    pub(crate) fn facts(&self) -> Result<Facts> {
        Facts::parse(&self.superblock()).context("the superblock has lost its magic number")
    }

    /// The superblock as the library has it.
    fn superblock(&self) -> [u8; SUPERBLOCK_SIZE] {
        // SAFETY: self.0 is open, and so is its superblock, 1024 bytes that nobody writes while they are copied here.
        unsafe { *(*self.0).superblock }
    }

    /// The inode of `/burnonce/state.json`, where that is a file in a directory.
    fn state(&self) -> Result<Option<sys::ext2_ino_t>> {
        let Some(directory) = self.lookup(sys::EXT2_ROOT_INO, c"burnonce")? else { return Ok(None) };
        if self.mode(directory)? & S_IFMT != S_IFDIR {
            return Ok(None);
        }
        let Some(file) = self.lookup(directory, c"state.json")? else { return Ok(None) };
        Ok((self.mode(file)? & S_IFMT == S_IFREG).then_some(file))
    }

    /// The inode of `name` in `directory`, links not followed.
    pub(crate) fn lookup(&self, directory: sys::ext2_ino_t, name: &CStr) -> Result<Option<sys::ext2_ino_t>> {
        let mut inode = 0;
        let length = c_int::try_from(name.to_bytes().len()).context("a long name")?;
        // SAFETY: self.0 is open; `name` has `length` bytes and lives through the call; no buffer, so the library makes its own.
        let code =
            unsafe { sys::ext2fs_lookup(self.0, directory, name.as_ptr(), length, std::ptr::null_mut(), &mut inode) };
        if code == sys::EXT2_ET_FILE_NOT_FOUND {
            return Ok(None);
        }
        check(code)?;
        Ok(Some(inode))
    }

    fn inode(&self, number: sys::ext2_ino_t) -> Result<sys::ext2_inode> {
        let mut found = sys::ext2_inode::ZERO;
        // SAFETY: self.0 is open; `found` has the 128 bytes that the call fills.
        check(unsafe { sys::ext2fs_read_inode(self.0, number, &mut found) })?;
        Ok(found)
    }

    fn mode(&self, number: sys::ext2_ino_t) -> Result<u16> {
        Ok(self.inode(number)?.i_mode)
    }

    /// What an inode is, and where it is a symbolic link, its target.
    pub(crate) fn kind(&self, number: sys::ext2_ino_t) -> Result<Kind> {
        let inode = self.inode(number)?;
        Ok(match inode.i_mode & S_IFMT {
            S_IFREG => Kind::File,
            S_IFDIR => Kind::Directory,
            S_IFLNK => Kind::Link(self.target(number, &inode)?),
            _ => Kind::Other,
        })
    }

    /// The target of a symbolic link: in the inode itself where it is shorter than the list of blocks, else in a block
    /// (kernel, `Documentation/filesystems/ext4/ifork.rst`).
    fn target(&self, number: sys::ext2_ino_t, inode: &sys::ext2_inode) -> Result<String> {
        let length = inode.i_size as usize;
        let short: Vec<u8> = inode.i_block.iter().flat_map(|word| word.to_le_bytes()).collect();
        let target = match short.get(..length).filter(|target| target.len() < short.len()) {
            Some(target) => target.to_vec(),
            None => self.content(number, length.min(LONGEST_TARGET))?,
        };
        Ok(String::from_utf8_lossy(&target).into_owned())
    }

    /// The first `limit` bytes of a file.
    fn content(&self, inode: sys::ext2_ino_t, limit: usize) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.file(inode)?.take(limit as u64).read_to_end(&mut content)?;
        Ok(content)
    }

    /// A file, opened for reading from its beginning.
    pub(crate) fn file(&self, inode: sys::ext2_ino_t) -> Result<Content<'_>> {
        let mut file = std::ptr::null_mut();
        // SAFETY: self.0 is open; `file` is a place for one pointer.
        check(unsafe { sys::ext2fs_file_open(self.0, inode, 0, &mut file) })?;
        let mut content = Content { file, left: 0, _of: PhantomData };
        // SAFETY: the file is open; `left` is a place for one number.
        check(unsafe { sys::ext2fs_file_get_lsize(content.file, &mut content.left) })?;
        Ok(content)
    }

    /// The names in a directory, in its order; no more than `limit` of them.
    pub(crate) fn names(&self, directory: sys::ext2_ino_t, limit: usize) -> Result<Vec<String>> {
        let mut found = Names { names: Vec::new(), limit };
        // SAFETY: self.0 is open; `collect` gets `found` back, which lives through the call and is not touched elsewhere.
        let code = unsafe {
            let private = (&raw mut found).cast::<c_void>();
            sys::ext2fs_dir_iterate2(self.0, directory, 0, std::ptr::null_mut(), Some(collect), private)
        };
        check(code)?;
        Ok(found.names)
    }
}

impl Drop for Filesystem {
    fn drop(&mut self) {
        // SAFETY: self.0 came from ext2fs_open2 and is freed once.
        unsafe { sys::ext2fs_free(self.0) }
    }
}

/// The content of a file. It does not outlive its file system.
pub(crate) struct Content<'fs> {
    file: sys::ext2_file_t,
    /// How many bytes of it were not read yet.
    left: u64,
    _of: PhantomData<&'fs Filesystem>,
}

impl Read for Content<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(room.len());
        let room = &mut room[..length];
        let wanted = u32::try_from(room.len()).unwrap_or(u32::MAX);
        let mut got = 0;
        // SAFETY: self.file is open, and so is its file system, which is borrowed; `room` has at least `wanted` bytes.
        let code = unsafe { sys::ext2fs_file_read(self.file, room.as_mut_ptr().cast(), wanted, &mut got) };
        check(code).map_err(io::Error::other)?;
        self.left -= u64::from(got);
        Ok(got as usize)
    }
}

impl Drop for Content<'_> {
    fn drop(&mut self) {
        // SAFETY: self.file came from ext2fs_file_open and is closed once; it was only read, so there is nothing that could fail.
        unsafe { sys::ext2fs_file_close(self.file) };
    }
}

/// What [`collect`] fills.
struct Names {
    names: Vec<String>,
    limit: usize,
}

/// Called by libext2fs for each entry of a directory.
unsafe extern "C" fn collect(
    _directory: sys::ext2_ino_t,
    _kind: c_int,
    entry: *mut sys::ext2_dir_entry,
    _offset: c_int,
    _block_size: c_int,
    _block: *mut c_char,
    private: *mut c_void,
) -> c_int {
    // SAFETY: `private` is the `Names` that `names` gave. `entry` points to a record of which libext2fs has checked that the
    // low byte of `name_len` counts bytes inside the block; no reference to the whole record is made.
    let (found, name) = unsafe {
        let found = &mut *private.cast::<Names>();
        let length = usize::from((&raw const (*entry).name_len).read_unaligned() & 0xff);
        (found, std::slice::from_raw_parts((&raw const (*entry).name).cast::<u8>(), length))
    };
    found.names.push(String::from_utf8_lossy(name).into_owned());
    if found.names.len() < found.limit { 0 } else { sys::DIRENT_ABORT }
}

/// libext2fs's option for a file system that begins at the byte `offset` of its file.
fn beginning(offset: u64) -> Result<CString> {
    CString::new(format!("offset={offset}")).context("a number has no NUL")
}

/// A number of the superblock.
fn u32_at(bytes: &[u8; SUPERBLOCK_SIZE], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
