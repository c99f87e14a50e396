//! What `burnonce inspect` reads in an image besides its table and ext4.

use crate::superblock::device;
use burnonce::inspect::fat::Fat;
use burnonce::inspect::initramfs::names;
use burnonce::inspect::tree::{Node, Tree, join};
use std::os::unix::fs::FileExt;

/// How many names of a tree are looked at: in a damaged one, directories may hold each other.
const NAMES: usize = 32;
/// How much of a file is read, in bytes.
const CONTENT: u64 = 64 << 10;

/// The bytes are pieces of a partition, as for the target `owner`.
pub fn fat(data: &[u8]) {
    let device = device(data);
    let file = crate::disk::memory_file().expect("a file in memory");
    file.write_all_at(&device, 0).expect("writing it");
    if let Ok(fat) = Fat::open(&file, 0, device.len() as u64) {
        assert!(fat.uuid().is_none_or(|uuid| uuid.len() == 9));
        assert!(fat.label().map_or(true, |label| label.is_none_or(|label| !label.is_empty())));
        walked(&fat);
    }
}

/// The bytes are an initramfs.
pub fn initramfs(data: &[u8]) {
    if let Ok(names) = names(data) {
        assert!(!names.is_empty());
    }
}

/// Whatever a directory names can be read, or fails with an error.
pub(crate) fn walked(tree: &dyn Tree) {
    let mut left = vec![String::new()];
    let mut looked = 0;
    while let Some(directory) = left.pop() {
        for name in tree.names(&directory).unwrap_or_default() {
            looked += 1;
            if looked > NAMES {
                return;
            }
            let path = join(&directory, &name);
            if let Ok(Some(Node::Directory)) = tree.node(&path) {
                left.push(path.clone());
            }
            if let Ok(Some(content)) = tree.read(&path, CONTENT) {
                assert!(content.len() as u64 <= CONTENT);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If a seed were refused, a fuzzer would begin in front of a closed door.
    #[test]
    fn the_seeds_are_read_to_the_end() {
        for data in [&include_bytes!("../corpus/fat/fat12")[..], include_bytes!("../corpus/fat/fat16")] {
            let device = device(data);
            let file = crate::disk::memory_file().unwrap();
            file.write_all_at(&device, 0).unwrap();
            let fat = Fat::open(&file, 0, device.len() as u64).unwrap();
            assert_eq!((fat.label().unwrap().as_deref(), fat.uuid()), (Some("bootfs"), Some("1234-ABCD")));
            let tree: &dyn Tree = &fat;
            assert_eq!(tree.list("").unwrap(), ["a-directory-with-a-long-name", "config.txt", "current"]);
            assert_eq!(tree.read("current/cmdline.txt", CONTENT).unwrap().unwrap().len(), 1220);
            assert!(tree.has("A-Directory-With-A-Long-Name/NETWORK-CONFIG").unwrap());
        }
        for data in [
            &include_bytes!("../corpus/initramfs/plain")[..],
            include_bytes!("../corpus/initramfs/gzip"),
            include_bytes!("../corpus/initramfs/zstd"),
            include_bytes!("../corpus/initramfs/xz"),
        ] {
            assert_eq!(names(data).unwrap().into_iter().collect::<Vec<_>>(), ["cmdline.txt", "config.txt"]);
        }
    }
}
