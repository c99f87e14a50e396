//! What mke2fs is told of an upper. docs/design.md has the reasons.

use crate::units::{Bytes, GIB, MIB};

/// The ext4 block size, in bytes: it does not follow the partition's size, as mke2fs's own choice does.
pub(super) const BLOCK: u64 = 4096;

/// Explicit, so that no mke2fs.conf of a release adds one that an older e2fsck (Ubuntu 22.04) refuses: no `orphan_file`, no
/// `metadata_csum_seed`. `resize_inode` keeps room for the group descriptors of a longer file system, see [`room`].
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,\
large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// How many inodes a file system of `length` is made with: 512 Ki up to 32 GiB, since containers need them, and one per 128 KiB beyond; on a
/// small card, where that would be too many, one per 16 KiB. The kernel writes 256 bytes for each after the first mount.
pub fn inodes(length: Bytes) -> u64 {
    const KIB: u64 = 1 << 10;
    let beyond = length.0.saturating_sub(32 * GIB);
    (512 * KIB + beyond / (128 * KIB)).min(length.0 / (16 * KIB)).min(u64::from(u32::MAX))
}

/// The journal's length in MiB: 1/128 of the file system, 64 at most (8 GiB and more), 4 (mke2fs's least) to 32 on cards below 4 GiB.
pub fn journal(length: Bytes) -> u64 {
    (length.0 / 128 / MIB).clamp(4, 64)
}

/// Up to which length mke2fs is asked to keep room for growing while mounted: 2 TiB, where an MBR ends, but at least 16 and at most 1024 times
/// `length`. (Beyond the room, the kernel turns to `meta_bg`.) It reserves at most 1024 blocks of descriptors, which with blocks of 4 KiB and
/// descriptors of 64 bytes are those of 8 TiB more: from about 546 GiB on the room is that, and less than 16 times. mke2fs itself keeps room for
/// 1024 times, up to 4 MiB, and writes it all: each block of it names its copies. `None` leaves it to mke2fs, from 16 TiB on: on a 32-bit machine
/// it reads this number of blocks as 32 bits (for both e2fsprogs, `misc/mke2fs.c`: `parse_extended_opts`).
pub fn room(length: Bytes) -> Option<Bytes> {
    const MBR: u64 = 2048 * GIB;
    const MOST: u64 = u32::MAX as u64 * BLOCK;
    let times = |times: u64| length.0.saturating_mul(times);
    let room = MBR.max(times(16)).min(times(1024)).min(MOST);
    (room > length.0).then_some(Bytes(room))
}

/// The arguments for the upper of a partition that has `length`: all but its content, the device and its blocks.
pub fn of(length: Bytes) -> Vec<String> {
    let (block, inodes, journal) = (BLOCK.to_string(), inodes(length), journal(length));
    // In the blocks of `-b`.
    let resize = room(length).map_or_else(String::new, |room| format!(",resize={}", room.0 / BLOCK));
    let extended = format!("lazy_journal_init=1,lazy_itable_init=1,nodiscard{resize}");
    let sizes = ["-q", "-t", "ext4", "-b", &block, "-I", "256", "-O", FEATURES, "-m", "1", "-e", "remount-ro"];
    let (inodes, journal) = (inodes.to_string(), format!("size={journal}"));
    let rest = ["-N", &inodes, "-J", &journal, "-E", &extended, "-L", "burnonce", "-U", "random"];
    [&sizes[..], &rest].concat().into_iter().map(str::to_owned).collect()
}
