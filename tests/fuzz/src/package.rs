//! What `burnonce bake` reads besides the image: Debian packages.

use burnonce::bake::package::{Entry, Kind, Package};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// How many entries are looked at.
const ENTRIES: usize = 256;
/// How much of a file is read, in bytes.
const CONTENT: u64 = 64 << 10;

/// The bytes are a .deb.
pub fn package(data: &[u8]) {
    if let Ok(entries) = read(data) {
        assert!(entries <= ENTRIES);
    }
}

/// Reads a .deb; says how many entries it has.
fn read(data: &[u8]) -> Result<usize, String> {
    let file = crate::disk::memory_file().expect("a file in memory");
    file.write_all_at(data, 0).expect("writing it");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let package = Package::open(&path).map_err(|error| format!("{error:#}"))?;
    let name = package.file_name();
    assert!(!name.is_empty() && !name.contains('/') && name.is_ascii(), "{name}");
    let mut entries = 0;
    let looked = package.files(|Entry { path, kind, .. }| {
        entries += 1;
        assert!(is_inside(&path), "{path}");
        match kind {
            Kind::File { size, content } => {
                let mut all = Vec::new();
                content.take(CONTENT).read_to_end(&mut all)?;
                assert_eq!(all.len() as u64, size.min(CONTENT));
            }
            Kind::Hardlink(target) => assert!(is_inside(&target), "{target}"),
            Kind::Symlink(target) => assert!(!target.is_empty()),
            Kind::Directory => {}
        }
        // Small data can be packed that have many.
        if entries < ENTRIES { Ok(()) } else { Err(std::io::Error::other("enough was looked at").into()) }
    });
    looked.map(|()| entries).map_err(|error| format!("{error:#}"))
}

/// Whether a path leads to something below the root.
fn is_inside(path: &str) -> bool {
    path.split('/').all(|name| !matches!(name, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If a seed were refused, a fuzzer would begin in front of a closed door.
    #[test]
    fn the_seeds_are_read_to_the_end() {
        for data in [
            &include_bytes!("../corpus/package/none")[..],
            include_bytes!("../corpus/package/gzip"),
            include_bytes!("../corpus/package/xz"),
            include_bytes!("../corpus/package/zstd"),
        ] {
            assert_eq!(read(data), Ok(6));
        }
    }
}
