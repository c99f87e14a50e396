//! An archive behind an initramfs: the kernel unpacks one after the other, and the last file of a name stays.
//! The format is `newc` (Documentation/driver-api/early-userspace/buffer-format.rst).

/// `initramfs` with an archive of these files behind it; as it is for none.
pub fn behind(mut initramfs: Vec<u8>, files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let more = archive(files);
    if !more.is_empty() {
        // The kernel looks for the next archive at multiples of four only, and leaves what is elsewhere without a word.
        initramfs.resize(initramfs.len().next_multiple_of(4), 0);
        initramfs.extend(more);
    }
    initramfs
}

/// Files of root; scripts can be executed, the others nobody can. None for none.
fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = Vec::new();
    if files.is_empty() {
        return archive;
    }
    for (number, (name, content)) in files.iter().enumerate() {
        let mode = if content.starts_with(b"#!") { 0o100_755 } else { 0o100_600 };
        entry(&mut archive, number + 1, mode, name, content);
    }
    entry(&mut archive, 0, 0, "TRAILER!!!", &[]);
    archive
}

fn entry(archive: &mut Vec<u8>, inode: usize, mode: u32, name: &str, content: &[u8]) {
    // Between two archives there may be zeroes up to a multiple of four, so that each can count from its own start.
    let pad = |archive: &mut Vec<u8>| archive.resize(archive.len().next_multiple_of(4), 0);
    // Inode, mode, owner (2), links, time, size, device (4), length of the name, checksum.
    let size = content.len();
    let fields = [inode, mode as usize, 0, 0, 1, 0, size, 0, 0, 0, 0, name.len() + 1, 0];
    archive.extend(b"070701");
    fields.iter().for_each(|field| archive.extend(format!("{field:08x}").bytes()));
    archive.extend(name.bytes().chain([0]));
    pad(archive);
    archive.extend(content);
    pad(archive);
}

#[cfg(test)]
mod tests {
    use super::{archive, behind};

    #[test]
    fn an_archive_begins_where_the_kernel_looks_for_it() {
        let files = [("a/b", b"hello".to_vec())];
        for length in 5..9 {
            assert_eq!(behind(vec![1; length], &files)[length.next_multiple_of(4)..], archive(&files));
            assert_eq!(behind(vec![1; length], &[]), vec![1; length]);
        }
    }

    #[test]
    fn an_archive_is_that_of_cpio() {
        assert!(archive(&[]).is_empty());
        let one = archive(&[("a/b", b"hello".to_vec())]);
        let header = "070701000000010000818000000000000000000000000100000000000000050000000000000000\
                      00000000000000000000000400000000a/b\0\0\0hello\0\0\0";
        assert!(one.starts_with(header.as_bytes()), "{}", String::from_utf8_lossy(&one));
        assert_eq!(one.len(), header.len() + 110 + "TRAILER!!!".len() + 4);
    }
}
