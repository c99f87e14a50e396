//! What is computed; the editing itself is tested with [`crate::bake::root`].

use super::*;

#[test]
fn times_beyond_2038_take_two_bits_more() {
    for (time, large, small) in [
        (0, (0, 0), 0),
        (0x7FFF_FFFF, (0x7FFF_FFFF, 0), 0x7FFF_FFFF),
        (0x8000_0000, (0x8000_0000, 1), 0x7FFF_FFFF),
        (0x1_0000_0000, (0, 1), 0x7FFF_FFFF),
        (LATEST, (0x7FFF_FFFF, 3), 0x7FFF_FFFF),
        (u64::MAX, (0x7FFF_FFFF, 3), 0x7FFF_FFFF),
    ] {
        assert_eq!(stamp(time, true), large, "{time:#x}");
        assert_eq!(stamp(time, false).0, small, "{time:#x}");
        assert_eq!(seconds(large.0, large.1), time.min(LATEST));
    }
    assert_eq!(seconds(0xFFFF_FFFF, 0), 0, "1969");
}

#[test]
fn what_a_file_takes_is_its_blocks_and_those_of_its_mapping() {
    let room = |block, extents| Room { block, blocks: 0, inodes: 0, extents, inode_per: 16384, inode_size: 256 };
    for (block, extents, length, taken) in [
        (4096, true, 0, 0),
        (4096, true, 1, 1),
        (4096, true, 16384, 4),
        (4096, true, 16385, 5 + 1 + 2),
        (1024, false, 12 << 10, 12),
        (1024, false, 13 << 10, 13 + 1 + 2),
        (4096, true, 100 << 20, 25600 + 100 + 2),
    ] {
        assert_eq!(room(block, extents).taken_by(length), taken, "{block} {extents} {length}");
    }
}
