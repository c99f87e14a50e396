//! Changing of an ext2, ext3 or ext4 through libext2fs: entries of directories, and the inodes behind them.
//!
//! The order of the calls is that of debugfs (e2fsprogs, `misc/create_inode.c`, `debugfs/debugfs.c`). Part of what is changed is in memory
//! until [`Filesystem::close`] writes it: a file system that was dropped without that, or on which something failed, is damaged. So it is a
//! copy that is edited, and thrown away then.

use super::fit::{Condition, condition, unfit};
use super::{Facts, Filesystem, S_IFDIR, S_IFMT, S_IFREG, beginning, check, u32_at};
use crate::units::Bytes;
use anyhow::{Context, Result, bail, ensure};
use e2fsprogs_sys as sys;
use std::ffi::{CStr, c_int, c_long, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;

const INCOMPAT_EXTENTS: u32 = 0x40;
/// The latest second since 1970 that a large inode can hold, and the latest for one of 128 bytes.
const LATEST: u64 = 0x3_7FFF_FFFF;
const LATEST_OF_SMALL: u64 = 0x7FFF_FFFF;
/// How many bytes of a large inode's fields must be in use for all its times to be there, see [`sys::ext2_inode_large`].
const EXTRA_WITH_TIMES: u16 = 24;
/// How much is given to the library at a time, in bytes.
const PIECE: usize = 1 << 20;

/// Whose something is, who may use it, and how old it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permissions and the bits beside them, as of chmod(2): 0o644. A symbolic link has none of its own.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    /// When its content was changed, in seconds since 1970.
    pub mtime: u64,
}

/// What is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes of a block.
    pub block: u64,
    /// Blocks, those among them that are kept for root.
    pub blocks: u64,
    pub inodes: u64,
    /// Files have extents, not lists of blocks.
    pub extents: bool,
    /// For how many bytes of the file system there is one inode, and how many bytes that takes. It keeps both when it grows.
    pub inode_per: u64,
    pub inode_size: u64,
}

impl Room {
    /// How many blocks a file of `length` bytes takes at most, those of its mapping among them. Pure.
    ///
    /// In the worst case each block is an extent of its own: 12 bytes in a block of the tree. A list has 4 bytes for each.
    pub fn taken_by(self, length: u64) -> u64 {
        let data = length.div_ceil(self.block);
        let in_inode = if self.extents { 4 } else { 12 };
        if data <= in_inode { data } else { data + data.div_ceil(self.block / 16) + 2 }
    }

    /// In bytes.
    pub fn bytes(self) -> Bytes {
        Bytes(self.blocks.saturating_mul(self.block))
    }
}

/// Seconds since 1970 as an inode has them: 32 bits, and the two above them, for which only a large inode has room (kernel,
/// `Documentation/filesystems/ext4/inodes.rst`, "Inode Timestamps"). What it cannot hold becomes the latest that it can. Pure.
fn stamp(seconds: u64, large: bool) -> (u32, u32) {
    let seconds = seconds.min(if large { LATEST } else { LATEST_OF_SMALL });
    // The 32 bits are signed: from 2038 on they are negative, and a bit above them makes up for it.
    ((seconds & 0xFFFF_FFFF) as u32, ((seconds + (1 << 31)) >> 32) as u32)
}

/// The other way round; a time before 1970 is 0.
fn seconds(low: u32, extra: u32) -> u64 {
    let seconds = i64::from(low as i32) + (i64::from(extra & 3) << 32);
    u64::try_from(seconds).unwrap_or(0)
}

/// Editing. `now` is the time of the change, in seconds since 1970: an image that is made twice is the same twice.
impl Filesystem {
    /// Opens the file system that begins at the byte `offset` of a file, to be changed. Writes nothing yet.
    ///
    /// # Errors
    /// As [`super::facts`]; it was not unmounted, has errors recorded, is sealed, or has a feature that would not be kept right.
    pub(crate) fn open_to_edit(file: &Path, offset: u64) -> Result<Filesystem> {
        let seen = Filesystem::open_at(file, offset)?.superblock();
        if let Some(reason) = unfit(&seen) {
            bail!("{reason}");
        }
        let fs = Filesystem::open_with(file, Some(&beginning(offset)?), sys::EXT2_FLAG_RW)?;
        // SAFETY: fs.0 is open.
        check(unsafe { sys::ext2fs_read_bitmaps(fs.0) }).context("reading its bitmaps")?;
        Ok(fs)
    }

    /// What state it is in.
    ///
    /// # Errors
    /// The superblock is none.
    pub(crate) fn condition(&self) -> Result<Condition> {
        condition(&self.superblock()).context("the superblock has lost its magic number")
    }

    /// Writes all that was changed, and flushes it.
    ///
    /// # Errors
    /// It cannot be written: the file system is damaged then.
    pub(crate) fn close(self) -> Result<()> {
        let mut fs = ManuallyDrop::new(self).0;
        // What close writes by itself after a failure is of no interest.
        // SAFETY: fs is open; it is freed by the second call, whatever comes of that, and not used any more (`ManuallyDrop`).
        let (flushed, closed) = unsafe { (sys::ext2fs_flush(fs), sys::ext2fs_close_free(&mut fs)) };
        check(flushed).and_then(|()| check(closed)).context("writing the changes")
    }

    /// What is free at this moment.
    pub(crate) fn room(&self) -> Room {
        let superblock = self.superblock();
        let size = Facts::parse(&superblock).map_or(Bytes(0), |facts| facts.size);
        let high = if u32_at(&superblock, 0x60) & super::INCOMPAT_64BIT == 0 { 0 } else { u32_at(&superblock, 0x158) };
        Room {
            block: 1024 << u32_at(&superblock, 0x18).min(6),
            blocks: (u64::from(high) << 32) | u64::from(u32_at(&superblock, 0xC)),
            inodes: u64::from(u32_at(&superblock, 0x10)),
            extents: u32_at(&superblock, 0x60) & INCOMPAT_EXTENTS != 0,
            inode_per: size.0 / u64::from(u32_at(&superblock, 0).max(1)),
            inode_size: self.inode_size() as u64,
        }
    }

    /// How many blocks an inode has, and whether they become free with one of its names: 0 where it has others.
    pub(crate) fn freed_with(&self, number: sys::ext2_ino_t) -> Result<u64> {
        let inode = self.inode(number)?;
        if inode.i_links_count > 1 || inode.i_mode & S_IFMT == S_IFDIR {
            return Ok(0);
        }
        Ok(u64::from(inode.i_blocks) * 512 / self.room().block)
    }

    /// Bytes of an inode.
    fn inode_size(&self) -> usize {
        let superblock = self.superblock();
        // Of the first revision, which has no such field.
        if u32_at(&superblock, 0x4C) == 0 {
            128
        } else {
            usize::from(u16::from_le_bytes([superblock[0x58], superblock[0x59]]))
        }
    }

    fn large(&self, number: sys::ext2_ino_t) -> Result<sys::ext2_inode_large> {
        let mut found = sys::ext2_inode_large::ZERO;
        // SAFETY: self.0 is open; `found` has the bytes that the call may fill, and its first field is the small inode.
        check(unsafe { sys::ext2fs_read_inode_full(self.0, number, (&raw mut found).cast(), size(&found)) })?;
        Ok(found)
    }

    fn set_large(&mut self, number: sys::ext2_ino_t, mut inode: sys::ext2_inode_large) -> Result<()> {
        // SAFETY: as above; the call reads from it.
        check(unsafe { sys::ext2fs_write_inode_full(self.0, number, (&raw mut inode).cast(), size(&inode)) })
    }

    /// Adds a regular file. The name must be free.
    pub(crate) fn add_file(
        &mut self,
        directory: sys::ext2_ino_t,
        name: &CStr,
        content: &[u8],
        attributes: &Attributes,
        now: u64,
    ) -> Result<()> {
        let length = u32::try_from(content.len()).ok().filter(|length| *length < 1 << 31);
        let length = length.context("a file of more than 2 GiB")?;
        let mut number = 0;
        let mode = c_int::from(S_IFREG | 0o644);
        // SAFETY: self.0 is open, with its bitmaps; `number` is a place for one number.
        check(unsafe { sys::ext2fs_new_inode(self.0, directory, mode, std::ptr::null_mut(), &mut number) })
            .context("finding a free inode")?;
        // SAFETY: the inode was free.
        unsafe { sys::ext2fs_inode_alloc_stats2(self.0, number, 1, 0) };
        let mut inode = sys::ext2_inode::ZERO;
        (inode.i_mode, inode.i_size, inode.i_links_count) = (S_IFREG, length, 1);
        if self.room().extents {
            let mut tree = std::ptr::null_mut();
            // SAFETY: `inode` outlives `tree`, which refers to it and is freed at once.
            check(unsafe { sys::ext2fs_extent_open2(self.0, number, &mut inode, &mut tree) })?;
            // SAFETY: it was opened just now.
            unsafe { sys::ext2fs_extent_free(tree) };
        }
        // SAFETY: `inode` is the small inode, which the call copies.
        check(unsafe { sys::ext2fs_write_new_inode(self.0, number, &mut inode) })?;
        self.fill(number, content)?;
        self.dress(number, attributes, now)?;
        self.adding(directory, now, |fs| {
            // SAFETY: fs is open; `name` ends with a NUL.
            unsafe { sys::ext2fs_link(fs, directory, name.as_ptr(), number, sys::EXT2_FT_REG_FILE) }
        })
    }

    /// Writes the content of a file that has none.
    fn fill(&mut self, number: sys::ext2_ino_t, content: &[u8]) -> Result<()> {
        let mut file = std::ptr::null_mut();
        // SAFETY: self.0 is open for writing; `file` is a place for one pointer.
        check(unsafe { sys::ext2fs_file_open(self.0, number, sys::EXT2_FILE_WRITE, &mut file) })?;
        let mut written = Ok(());
        for piece in content.chunks(PIECE) {
            let mut left = piece;
            while !left.is_empty() && written.is_ok() {
                let mut count = 0;
                // A piece is shorter than 4 GiB.
                let length = left.len() as u32;
                // SAFETY: the file is open; `left` has `length` bytes.
                written = check(unsafe { sys::ext2fs_file_write(file, left.as_ptr().cast(), length, &mut count) });
                left = &left[count as usize..];
                if count == 0 && written.is_ok() {
                    written = Err(anyhow::anyhow!("nothing more was taken"));
                }
            }
        }
        // SAFETY: it was opened above, and is not used any more.
        let closed = check(unsafe { sys::ext2fs_file_close(file) });
        written.and(closed)
    }

    /// Adds a directory. The name must be free.
    pub(crate) fn add_directory(
        &mut self,
        parent: sys::ext2_ino_t,
        name: &CStr,
        attributes: &Attributes,
        now: u64,
    ) -> Result<()> {
        self.adding(parent, now, |fs| {
            // SAFETY: fs is open; `name` ends with a NUL; 0: the library finds an inode.
            unsafe { sys::ext2fs_mkdir(fs, parent, 0, name.as_ptr()) }
        })?;
        self.dress_added(parent, name, attributes, now)
    }

    /// Adds a symbolic link. The name must be free.
    pub(crate) fn add_link(
        &mut self,
        parent: sys::ext2_ino_t,
        name: &CStr,
        target: &CStr,
        attributes: &Attributes,
        now: u64,
    ) -> Result<()> {
        self.adding(parent, now, |fs| {
            // SAFETY: fs is open; both strings end with a NUL; 0: the library finds an inode.
            unsafe { sys::ext2fs_symlink(fs, parent, 0, name.as_ptr(), target.as_ptr()) }
        })?;
        self.dress_added(parent, name, &Attributes { mode: 0o777, ..*attributes }, now)
    }

    fn dress_added(&mut self, parent: sys::ext2_ino_t, name: &CStr, attributes: &Attributes, now: u64) -> Result<()> {
        let number = self.lookup(parent, name)?.context("it is not there after it was made")?;
        self.dress(number, attributes, now)
    }

    /// Calls what adds an entry to a directory. Where there is no room in its blocks, it is made longer, and that is called again.
    fn adding(&mut self, directory: sys::ext2_ino_t, now: u64, add: impl Fn(sys::ext2_filsys) -> c_long) -> Result<()> {
        let mut code = add(self.0);
        if code == sys::EXT2_ET_DIR_NO_SPACE {
            // The library keeps the index of hashes itself, and says this of one that cannot grow any more.
            ensure!(self.inode(directory)?.i_flags & sys::EXT2_INDEX_FL == 0, "its directory cannot hold more names");
            // SAFETY: self.0 is open for writing, with its bitmaps.
            check(unsafe { sys::ext2fs_expand_dir(self.0, directory) }).context("making its directory longer")?;
            code = add(self.0);
        }
        check(code)?;
        self.touch(directory, now)
    }

    /// Sets owner, permissions and times of something new.
    fn dress(&mut self, number: sys::ext2_ino_t, attributes: &Attributes, now: u64) -> Result<()> {
        let mut inode = self.large(number)?;
        let large = inode.i_extra_isize >= EXTRA_WITH_TIMES;
        inode.base.i_mode = (inode.base.i_mode & S_IFMT) | (attributes.mode & !S_IFMT);
        (inode.base.i_uid, inode.base.l_i_uid_high) = halves(attributes.uid);
        (inode.base.i_gid, inode.base.l_i_gid_high) = halves(attributes.gid);
        let (mtime, now) = (stamp(attributes.mtime, large), stamp(now, large));
        (inode.base.i_mtime, inode.base.i_ctime, inode.base.i_atime) = (mtime.0, now.0, mtime.0);
        if large {
            (inode.i_mtime_extra, inode.i_ctime_extra, inode.i_atime_extra) = (mtime.1, now.1, mtime.1);
            (inode.i_crtime, inode.i_crtime_extra) = now;
        }
        self.set_large(number, inode)
    }

    /// A directory's times become those of this change, where they are not later already.
    fn touch(&mut self, directory: sys::ext2_ino_t, now: u64) -> Result<()> {
        let mut inode = self.large(directory)?;
        let large = inode.i_extra_isize >= EXTRA_WITH_TIMES;
        let (low, extra) = stamp(now, large);
        let of = |low, extra| seconds(low, if large { extra } else { 0 });
        if of(inode.base.i_mtime, inode.i_mtime_extra) < now {
            (inode.base.i_mtime, inode.i_mtime_extra) = (low, if large { extra } else { inode.i_mtime_extra });
        }
        if of(inode.base.i_ctime, inode.i_ctime_extra) < now {
            (inode.base.i_ctime, inode.i_ctime_extra) = (low, if large { extra } else { inode.i_ctime_extra });
        }
        self.set_large(directory, inode)
    }

    /// Takes a name, which is no directory's, out of its directory. With the last name of an inode goes all that it has.
    pub(crate) fn remove(
        &mut self,
        directory: sys::ext2_ino_t,
        name: &CStr,
        number: sys::ext2_ino_t,
        now: u64,
    ) -> Result<()> {
        // SAFETY: self.0 is open for writing; `name` ends with a NUL.
        check(unsafe { sys::ext2fs_unlink(self.0, directory, name.as_ptr(), number, 0) })?;
        self.touch(directory, now)?;
        let mut inode = self.large(number)?;
        if inode.base.i_links_count > 1 {
            inode.base.i_links_count -= 1;
            let large = inode.i_extra_isize >= EXTRA_WITH_TIMES;
            let (low, extra) = stamp(now, large);
            (inode.base.i_ctime, inode.i_ctime_extra) = (low, if large { extra } else { inode.i_ctime_extra });
            return self.set_large(number, inode);
        }
        self.release(number, inode.base)
    }

    /// Frees an inode that has no name any more, its blocks and its attributes. What it held is overwritten.
    fn release(&mut self, number: sys::ext2_ino_t, mut inode: sys::ext2_inode) -> Result<()> {
        // SAFETY: self.0 is open, `inode` lives through the call.
        if unsafe { sys::ext2fs_inode_has_valid_blocks2(self.0, &mut inode) } != 0 {
            let (flags, none) = (sys::BLOCK_FLAG_READ_ONLY, std::ptr::null_mut());
            // SAFETY: self.0 is open, with its bitmaps; no buffer, so the library makes its own; `free_block` needs no data.
            let code = unsafe {
                sys::ext2fs_block_iterate3(self.0, number, flags, none, Some(free_block), std::ptr::null_mut())
            };
            check(code).context("freeing its blocks")?;
        }
        // SAFETY: self.0 is open; null: the library reads the inode and writes it.
        check(unsafe { sys::ext2fs_free_ext_attr(self.0, number, std::ptr::null_mut()) })
            .context("freeing its extended attributes")?;
        let length = self.inode_size();
        // Of words, so that it is aligned as the structure is.
        let mut zeros = vec![0u32; length.div_ceil(4)];
        let length = c_int::try_from(length).context("a long inode")?;
        // SAFETY: `zeros` has `length` bytes, which the call copies.
        check(unsafe { sys::ext2fs_write_inode_full(self.0, number, zeros.as_mut_ptr().cast(), length) })?;
        // SAFETY: the inode was in use.
        unsafe { sys::ext2fs_inode_alloc_stats2(self.0, number, -1, 0) };
        Ok(())
    }
}

/// A number's low and high half.
fn halves(number: u32) -> (u16, u16) {
    ((number & 0xFFFF) as u16, (number >> 16) as u16)
}

/// How long an inode's structure is, as the library wants it.
fn size(inode: &sys::ext2_inode_large) -> c_int {
    // 160.
    size_of_val(inode) as c_int
}

/// Called by libext2fs for each block of a file that goes.
unsafe extern "C" fn free_block(
    fs: sys::ext2_filsys,
    block: *mut u64,
    _number: i64,
    _within: u64,
    _offset: c_int,
    _private: *mut c_void,
) -> c_int {
    // SAFETY: the library gives an open file system, and a block's number, which it compares with what there is.
    unsafe { sys::ext2fs_block_alloc_stats2(fs, *block, -1) };
    0
}

#[cfg(test)]
mod tests;
