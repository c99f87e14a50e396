//! FFI to libext2fs (e2fsprogs): the few calls with which burnonce reads superblocks, directories and files, and those with which it
//! puts files into an image.
//!
//! Hand-written from `<ext2fs/ext2fs.h>`, `<ext2fs/ext2_fs.h>` and `<et/com_err.h>` of e2fsprogs 1.46 to 1.47. Of
//! `struct struct_ext2_filsys` only the first five members are described, which no release has moved.
#![no_std]
#![allow(non_camel_case_types)]

use core::ffi::{c_char, c_int, c_long, c_uint, c_void};

/// 0, or a code for [`error_message`].
pub type errcode_t = c_long;
/// An inode's number.
pub type ext2_ino_t = u32;

/// Length of a superblock in bytes.
pub const SUPERBLOCK_SIZE: usize = 1024;

/// `struct struct_ext2_filsys`, an open file system, as far as the superblock.
#[repr(C)]
pub struct struct_ext2_filsys {
    _magic: errcode_t,
    _io: *mut c_void,
    _flags: c_int,
    _device_name: *mut c_char,
    /// `struct ext2_super_block`, the 1024 bytes of the disk in host byte order; checked by [`ext2fs_open2`].
    pub superblock: *const [u8; SUPERBLOCK_SIZE],
}
/// A handle of an open file system.
pub type ext2_filsys = *mut struct_ext2_filsys;

/// `struct ext2_file`, an open file.
#[repr(C)]
pub struct struct_ext2_file {
    _opaque: [u8; 0],
}
/// A handle of an open file.
pub type ext2_file_t = *mut struct_ext2_file;

/// `struct struct_io_manager`: how blocks are read.
#[repr(C)]
pub struct struct_io_manager {
    _opaque: [u8; 0],
}
/// How blocks are read.
pub type io_manager = *mut struct_io_manager;

/// `struct ext2_dir_entry`, a record of a directory block. Only `name_len & 0xff` bytes of the name are there; the memory that
/// follows need not belong to the entry, so never make a reference to the whole of it.
#[repr(C)]
pub struct ext2_dir_entry {
    pub inode: u32,
    pub rec_len: u16,
    /// Low byte: length of the name. High byte: file type (`EXT2_FT_…`) with the `filetype` feature.
    pub name_len: u16,
    pub name: [c_char; 255],
}

/// `struct ext2_inode`: the 128 bytes that every inode has, with the fields of Linux. All in host byte order.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ext2_inode {
    pub i_mode: u16,
    /// Low half of the owner's number.
    pub i_uid: u16,
    /// Low half of the length in bytes.
    pub i_size: u32,
    /// Seconds since 1970, as are the next two; further bits of them are in [`ext2_inode_large`].
    pub i_atime: u32,
    pub i_ctime: u32,
    pub i_mtime: u32,
    pub i_dtime: u32,
    /// Low half of the group's number.
    pub i_gid: u16,
    pub i_links_count: u16,
    pub i_blocks: u32,
    /// `EXT2_…_FL` and `EXT4_…_FL`.
    pub i_flags: u32,
    _osd1: u32,
    /// The blocks of a file; of a short symbolic link, the target itself.
    pub i_block: [u32; 15],
    pub i_generation: u32,
    _i_file_acl: u32,
    /// High half of the length of a regular file.
    pub i_size_high: u32,
    _i_faddr: u32,
    _l_i_blocks_hi: u16,
    _l_i_file_acl_high: u16,
    /// High half of the owner's number.
    pub l_i_uid_high: u16,
    /// High half of the group's number.
    pub l_i_gid_high: u16,
    _l_i_checksum_lo: u16,
    _l_i_reserved: u16,
}

impl ext2_inode {
    /// Room for [`ext2fs_read_inode`] to fill.
    pub const ZERO: ext2_inode = ext2_inode {
        i_mode: 0,
        i_uid: 0,
        i_size: 0,
        i_atime: 0,
        i_ctime: 0,
        i_mtime: 0,
        i_dtime: 0,
        i_gid: 0,
        i_links_count: 0,
        i_blocks: 0,
        i_flags: 0,
        _osd1: 0,
        i_block: [0; 15],
        i_generation: 0,
        _i_file_acl: 0,
        i_size_high: 0,
        _i_faddr: 0,
        _l_i_blocks_hi: 0,
        _l_i_file_acl_high: 0,
        l_i_uid_high: 0,
        l_i_gid_high: 0,
        _l_i_checksum_lo: 0,
        _l_i_reserved: 0,
    };
}

/// `struct ext2_inode_large`: what an inode of 256 bytes and more has besides, of which the first [`ext2_inode_large::i_extra_isize`] bytes
/// are in use.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ext2_inode_large {
    pub base: ext2_inode,
    /// How many bytes of the fields from this one on are in use.
    pub i_extra_isize: u16,
    _i_checksum_hi: u16,
    /// Nanoseconds in the upper 30 bits, bits 32 and 33 of the seconds in the lower two; so in the next two and in `i_crtime_extra`.
    pub i_ctime_extra: u32,
    pub i_mtime_extra: u32,
    pub i_atime_extra: u32,
    /// When it was made, in seconds since 1970.
    pub i_crtime: u32,
    pub i_crtime_extra: u32,
    _i_version_hi: u32,
    _i_projid: u32,
}

impl ext2_inode_large {
    /// Room for [`ext2fs_read_inode_full`] to fill.
    pub const ZERO: ext2_inode_large = ext2_inode_large {
        base: ext2_inode::ZERO,
        i_extra_isize: 0,
        _i_checksum_hi: 0,
        i_ctime_extra: 0,
        i_mtime_extra: 0,
        i_atime_extra: 0,
        i_crtime: 0,
        i_crtime_extra: 0,
        _i_version_hi: 0,
        _i_projid: 0,
    };
}

/// `struct ext2_extent_handle`: the tree of a file's extents.
#[repr(C)]
pub struct ext2_extent_handle {
    _opaque: [u8; 0],
}
/// A handle of a tree of extents.
pub type ext2_extent_handle_t = *mut ext2_extent_handle;

/// `struct ext2fs_struct_generic_bitmap`.
#[repr(C)]
pub struct ext2fs_struct_generic_bitmap {
    _opaque: [u8; 0],
}
/// A handle of a bitmap of inodes; null: that of the file system itself.
pub type ext2fs_inode_bitmap = *mut ext2fs_struct_generic_bitmap;

/// What [`ext2fs_block_iterate3`] calls for each block: file system, block, its number in the file (negative: a block of the mapping
/// itself), the block that it is named in, where there, own data.
pub type block_iterate_fn = unsafe extern "C" fn(ext2_filsys, *mut u64, i64, u64, c_int, *mut c_void) -> c_int;

/// What [`ext2fs_dir_iterate2`] calls for each entry: directory, kind of entry, entry, offset, block size, block, own data.
pub type dir_iterate_fn =
    unsafe extern "C" fn(ext2_ino_t, c_int, *mut ext2_dir_entry, c_int, c_int, *mut c_char, *mut c_void) -> c_int;

/// The root directory's inode.
pub const EXT2_ROOT_INO: ext2_ino_t = 2;
/// For [`ext2fs_open2`]: the file system is to be changed.
pub const EXT2_FLAG_RW: c_int = 0x1;
/// Accept features whose support is in progress.
pub const EXT2_FLAG_SOFTSUPP_FEATURES: c_int = 0x8000;
/// The caller knows bitmaps of more than 2^32 blocks.
pub const EXT2_FLAG_64BITS: c_int = 0x20000;
/// Returned by a [`dir_iterate_fn`]: no more entries.
pub const DIRENT_ABORT: c_int = 2;
/// For [`ext2fs_file_open`]: to write.
pub const EXT2_FILE_WRITE: c_int = 0x1;
/// For [`ext2fs_block_iterate3`]: the blocks are not changed by what is called.
pub const BLOCK_FLAG_READ_ONLY: c_int = 8;
/// An inode's flag: a directory with an index of hashes.
pub const EXT2_INDEX_FL: u32 = 0x1000;
/// In a directory's record: the entry is a regular file.
pub const EXT2_FT_REG_FILE: c_int = 1;

unsafe extern "C" {
    /// Reads blocks of a device or file through read(2).
    pub static unix_io_manager: io_manager;

    /// Lets [`error_message`] know the library's codes.
    pub fn initialize_ext2_error_table();
    /// The text of a code; never null, never freed.
    pub fn error_message(code: errcode_t) -> *const c_char;

    /// Opens a file system; without `EXT2_FLAG_RW` only reads. `superblock` 0: the primary. `io_options` for [`unix_io_manager`]:
    /// null, or `offset=N`, where the file system begins in the file, in bytes.
    pub fn ext2fs_open2(
        name: *const c_char,
        io_options: *const c_char,
        flags: c_int,
        superblock: c_int,
        block_size: c_uint,
        manager: io_manager,
        ret_fs: *mut ext2_filsys,
    ) -> errcode_t;
    /// Closes the device and frees the handle, writing nothing.
    pub fn ext2fs_free(fs: ext2_filsys);
    /// The inode of `name` in `dir`; follows nothing.
    pub fn ext2fs_lookup(
        fs: ext2_filsys,
        dir: ext2_ino_t,
        name: *const c_char,
        namelen: c_int,
        buf: *mut c_char,
        inode: *mut ext2_ino_t,
    ) -> errcode_t;
    /// Reads an inode.
    pub fn ext2fs_read_inode(fs: ext2_filsys, ino: ext2_ino_t, inode: *mut ext2_inode) -> errcode_t;
    /// Calls `func` for each used entry of `dir` (flags 0).
    pub fn ext2fs_dir_iterate2(
        fs: ext2_filsys,
        dir: ext2_ino_t,
        flags: c_int,
        block_buf: *mut c_char,
        func: Option<dir_iterate_fn>,
        priv_data: *mut c_void,
    ) -> errcode_t;
    /// Opens a file by its inode (flags 0: to read).
    pub fn ext2fs_file_open(fs: ext2_filsys, ino: ext2_ino_t, flags: c_int, ret: *mut ext2_file_t) -> errcode_t;
    /// The file's length in bytes.
    pub fn ext2fs_file_get_lsize(file: ext2_file_t, ret_size: *mut u64) -> errcode_t;
    /// Reads up to `wanted` bytes; fewer at the file's end. Of a file that is inside its inode it gives what the inode has room for,
    /// zeros behind the file's end as well.
    pub fn ext2fs_file_read(file: ext2_file_t, buf: *mut c_void, wanted: c_uint, got: *mut c_uint) -> errcode_t;
    /// Closes the file; of one that was written, what is still in its buffer is written first.
    pub fn ext2fs_file_close(file: ext2_file_t) -> errcode_t;

    /// Reads both bitmaps, without which nothing can be allocated or freed.
    pub fn ext2fs_read_bitmaps(fs: ext2_filsys) -> errcode_t;
    /// Writes all that was changed, the superblock last, and has the operating system flush it.
    pub fn ext2fs_flush(fs: ext2_filsys) -> errcode_t;
    /// As [`ext2fs_flush`], and frees the handle, also where it fails; sets `*fs` to null.
    pub fn ext2fs_close_free(fs: *mut ext2_filsys) -> errcode_t;
    /// Finds a free inode, near the directory `dir`; `map` null: in the file system's own bitmap. Does not take it:
    /// [`ext2fs_inode_alloc_stats2`] does.
    pub fn ext2fs_new_inode(
        fs: ext2_filsys,
        dir: ext2_ino_t,
        mode: c_int,
        map: ext2fs_inode_bitmap,
        ret: *mut ext2_ino_t,
    ) -> errcode_t;
    /// Takes (`inuse` 1) or gives back (-1) an inode, in bitmap and counters.
    pub fn ext2fs_inode_alloc_stats2(fs: ext2_filsys, ino: ext2_ino_t, inuse: c_int, isdir: c_int);
    /// Takes (`inuse` 1) or gives back (-1) a block, in bitmap and counters.
    pub fn ext2fs_block_alloc_stats2(fs: ext2_filsys, blk: u64, inuse: c_int);
    /// Writes an inode that was not in use, with the fields that large ones have; times that are 0 become now.
    pub fn ext2fs_write_new_inode(fs: ext2_filsys, ino: ext2_ino_t, inode: *mut ext2_inode) -> errcode_t;
    /// Reads the first `bufsize` bytes of an inode; no more than it has.
    pub fn ext2fs_read_inode_full(
        fs: ext2_filsys,
        ino: ext2_ino_t,
        inode: *mut ext2_inode,
        bufsize: c_int,
    ) -> errcode_t;
    /// Writes the first `bufsize` bytes of an inode, no more than it has, and its checksum. What lies behind is kept.
    pub fn ext2fs_write_inode_full(
        fs: ext2_filsys,
        ino: ext2_ino_t,
        inode: *mut ext2_inode,
        bufsize: c_int,
    ) -> errcode_t;
    /// Begins the tree of extents of `inode`; where `i_block` is zero, an empty one is made in it.
    pub fn ext2fs_extent_open2(
        fs: ext2_filsys,
        ino: ext2_ino_t,
        inode: *mut ext2_inode,
        ret_handle: *mut ext2_extent_handle_t,
    ) -> errcode_t;
    /// Frees the handle.
    pub fn ext2fs_extent_free(handle: ext2_extent_handle_t);
    /// Writes `nbytes` where the last write ended, and allocates blocks for them.
    pub fn ext2fs_file_write(file: ext2_file_t, buf: *const c_void, nbytes: c_uint, written: *mut c_uint) -> errcode_t;
    /// Adds an entry to a directory; flags are its type (`EXT2_FT_…`). [`EXT2_ET_DIR_NO_SPACE`]: [`ext2fs_expand_dir`] is to be called first.
    pub fn ext2fs_link(
        fs: ext2_filsys,
        dir: ext2_ino_t,
        name: *const c_char,
        ino: ext2_ino_t,
        flags: c_int,
    ) -> errcode_t;
    /// Takes the entry of that name and inode out of a directory; the inode is not changed.
    pub fn ext2fs_unlink(
        fs: ext2_filsys,
        dir: ext2_ino_t,
        name: *const c_char,
        ino: ext2_ino_t,
        flags: c_int,
    ) -> errcode_t;
    /// Makes a directory one block longer.
    pub fn ext2fs_expand_dir(fs: ext2_filsys, dir: ext2_ino_t) -> errcode_t;
    /// Makes a directory; `inum` 0: with a new inode. [`EXT2_ET_DIR_NO_SPACE`] as with [`ext2fs_link`].
    pub fn ext2fs_mkdir(fs: ext2_filsys, parent: ext2_ino_t, inum: ext2_ino_t, name: *const c_char) -> errcode_t;
    /// Makes a symbolic link; `ino` 0: with a new inode. [`EXT2_ET_DIR_NO_SPACE`] as with [`ext2fs_link`].
    pub fn ext2fs_symlink(
        fs: ext2_filsys,
        parent: ext2_ino_t,
        ino: ext2_ino_t,
        name: *const c_char,
        target: *const c_char,
    ) -> errcode_t;
    /// Whether the inode has blocks, and not its content in itself.
    pub fn ext2fs_inode_has_valid_blocks2(fs: ext2_filsys, inode: *mut ext2_inode) -> c_int;
    /// Calls `func` for each block of a file, those of its mapping too.
    pub fn ext2fs_block_iterate3(
        fs: ext2_filsys,
        ino: ext2_ino_t,
        flags: c_int,
        block_buf: *mut c_char,
        func: Option<block_iterate_fn>,
        priv_data: *mut c_void,
    ) -> errcode_t;
    /// Takes the block of extended attributes from an inode, and gives it back where no other has it; `inode` null: it is read and written.
    pub fn ext2fs_free_ext_attr(fs: ext2_filsys, ino: ext2_ino_t, inode: *mut ext2_inode_large) -> errcode_t;
}

/// Code of [`ext2fs_link`] and its like: there is no room in the directory's blocks.
pub const EXT2_ET_DIR_NO_SPACE: errcode_t = 2_133_571_366;
/// Code of a channel that wrote a block in part.
pub const EXT2_ET_SHORT_WRITE: errcode_t = 2_133_571_365;
/// Code of [`ext2fs_lookup`] for a name that is not there.
pub const EXT2_ET_FILE_NOT_FOUND: errcode_t = 2_133_571_404;
/// Codes of [`ext2fs_open2`] for a feature that the library does not know.
pub const EXT2_ET_UNSUPP_FEATURE: errcode_t = 2_133_571_395;
pub const EXT2_ET_RO_UNSUPP_FEATURE: errcode_t = 2_133_571_396;
