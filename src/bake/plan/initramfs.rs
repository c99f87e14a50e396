//! What is put behind an initramfs. The kernel unpacks one archive after the other, and a later file takes the place of an earlier one
//! (kernel, `Documentation/driver-api/early-userspace/buffer-format.rst`).

use crate::inspect::growers::NOTHING;

/// Where an archive may begin, behind a packed one: at a multiple of 4 bytes, with zeros before it.
const ALIGNMENT: usize = 4;

/// An archive (`newc`, not packed) that makes `scripts/SCRIPT` do nothing, and has the empty file `mark`. Pure.
pub fn archive(script: &str, mark: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let path = format!("scripts/{script}");
    for (number, (name, mode, content)) in
        (1..).zip([(path.as_str(), 0o100_755, NOTHING), (mark, 0o100_644, b""), ("TRAILER!!!", 0, b"")])
    {
        // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check.
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(0);
        let mut fields = [0u32; 13];
        (fields[0], fields[1], fields[4]) = (number, mode, 1);
        (fields[6], fields[11]) = (length(content), length(name.as_bytes()) + 1);
        bytes.extend(format!("070701{}", fields.map(|field| format!("{field:08x}")).concat()).bytes());
        bytes.extend(name.bytes().chain([0]));
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
    bytes
}

/// Zeros to be put before an archive, behind an initramfs of this length in bytes. Pure.
pub fn padding(length: u64) -> Vec<u8> {
    let missing = length.next_multiple_of(ALIGNMENT as u64) - length;
    vec![0; usize::try_from(missing).unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::initramfs;
    use std::io::Write;

    /// Behind an initramfs of each packing, and of each length.
    #[test]
    fn the_archive_is_read_behind_a_packed_one() {
        let cpio = archive("local-bottom/other", "init");
        let xz = {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(&cpio).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = zstd::encode_all(cpio.as_slice(), 1).unwrap();
        let gzip = initramfs::tests::made_of(&["scripts/local-bottom/rpi-resizerootfs", "init"]);
        for packed in [xz, zstd, gzip, cpio] {
            let mut whole = packed.clone();
            whole.extend(padding(whole.len() as u64));
            whole.extend(archive("local-bottom/rpi-resizerootfs", "conf/off"));
            let names = initramfs::names(whole.as_slice()).unwrap();
            assert!(names.contains("conf/off") && names.contains("init"), "{names:?}");
        }
        assert!(padding(0).is_empty());
        assert_eq!(padding(4097), [0, 0, 0]);
    }
}
