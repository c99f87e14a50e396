//! The library is there, answers, and is part of this program.

use e2fsprogs_sys::*;
use std::ffi::CStr;

#[test]
fn a_file_that_is_no_file_system_is_refused_with_a_text() {
    let mut fs = std::ptr::null_mut();
    // SAFETY: strings and places live through the calls; the text is static.
    let text = unsafe {
        initialize_ext2_error_table();
        let name = c"/proc/self/exe".as_ptr();
        let code = ext2fs_open2(name, std::ptr::null(), EXT2_FLAG_64BITS, 0, 0, unix_io_manager, &mut fs);
        CStr::from_ptr(error_message(code))
    };
    assert_eq!(text.to_str(), Ok("Bad magic number in super-block"));
}

#[test]
fn nothing_of_e2fsprogs_is_linked_dynamically() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let found: Vec<&str> =
        maps.lines().filter(|line| line.contains("libext2fs") || line.contains("libcom_err")).collect();
    assert_eq!(found, Vec::<&str>::new());
}

/// Sizes as `<ext2fs/ext2_fs.h>` has them.
#[test]
fn structures_have_the_library_s_sizes() {
    assert_eq!(size_of::<ext2_inode>(), 128);
    assert_eq!(std::mem::offset_of!(ext2_inode, i_gid), 0x18);
    assert_eq!(std::mem::offset_of!(ext2_inode, i_block), 40);
    assert_eq!(std::mem::offset_of!(ext2_inode, i_size_high), 0x6C);
    assert_eq!(std::mem::offset_of!(ext2_inode, l_i_uid_high), 0x78);
    assert_eq!(size_of::<ext2_inode_large>(), 160);
    assert_eq!(std::mem::offset_of!(ext2_inode_large, i_mtime_extra), 0x88);
    assert_eq!(std::mem::offset_of!(ext2_inode_large, i_crtime), 0x90);
    assert_eq!(std::mem::offset_of!(ext2_dir_entry, name), 8);
}
