//! FFI to libext2fs (e2fsprogs): the few calls with which burnonce reads superblocks, directories and files. Reading only.
//!
//! Hand-written from `<ext2fs/ext2fs.h>` and `<et/com_err.h>` of e2fsprogs 1.46 to 1.47. Of `struct struct_ext2_filsys` only the
//! first five members are described, which no release has moved.
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

/// `struct ext2_inode`: the 128 bytes that every inode has. Mode and the rest in host byte order.
#[repr(C)]
pub struct ext2_inode {
    pub i_mode: u16,
    pub i_uid: u16,
    /// Low half of the length in bytes.
    pub i_size: u32,
    _times_and_counts: [u32; 8],
    /// The blocks of a file; of a short symbolic link, the target itself.
    pub i_block: [u32; 15],
    _rest: [u32; 7],
}

impl ext2_inode {
    /// Room for [`ext2fs_read_inode`] to fill.
    pub const ZERO: ext2_inode =
        ext2_inode { i_mode: 0, i_uid: 0, i_size: 0, _times_and_counts: [0; 8], i_block: [0; 15], _rest: [0; 7] };
}

/// What [`ext2fs_dir_iterate2`] calls for each entry: directory, kind of entry, entry, offset, block size, block, own data.
pub type dir_iterate_fn =
    unsafe extern "C" fn(ext2_ino_t, c_int, *mut ext2_dir_entry, c_int, c_int, *mut c_char, *mut c_void) -> c_int;

/// The root directory's inode.
pub const EXT2_ROOT_INO: ext2_ino_t = 2;
/// Accept features whose support is in progress.
pub const EXT2_FLAG_SOFTSUPP_FEATURES: c_int = 0x8000;
/// The caller knows bitmaps of more than 2^32 blocks.
pub const EXT2_FLAG_64BITS: c_int = 0x20000;
/// Returned by a [`dir_iterate_fn`]: no more entries.
pub const DIRENT_ABORT: c_int = 2;

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
    /// Closes the file.
    pub fn ext2fs_file_close(file: ext2_file_t) -> errcode_t;
}

/// Code of [`ext2fs_lookup`] for a name that is not there.
pub const EXT2_ET_FILE_NOT_FOUND: errcode_t = 2_133_571_404;
/// Codes of [`ext2fs_open2`] for a feature that the library does not know.
pub const EXT2_ET_UNSUPP_FEATURE: errcode_t = 2_133_571_395;
pub const EXT2_ET_RO_UNSUPP_FEATURE: errcode_t = 2_133_571_396;
