use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

/// Makes a tree of one directory in another, `depth` deep, each with a file beside the next directory.
fn deep(top: &Path, depth: usize) {
    fs::create_dir(top).unwrap();
    let mut at = OwnedFd::from(File::open(top).unwrap());
    for _ in 0..depth {
        let mode = Mode::from_bits_truncate(0o755);
        nix::sys::stat::mkdirat(&at, "a-directory-with-a-name", mode).unwrap();
        drop(openat(&at, "file", OFlag::O_CREAT | OFlag::O_WRONLY, mode).unwrap());
        at = openat(&at, "a-directory-with-a-name", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    }
}

#[test]
fn a_deep_tree_is_counted_and_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().join("top");
    deep(&top, 5000);
    assert_eq!(measure(&top).unwrap().files, 10_000);
    remove(&top).unwrap();
    assert!(!top.exists());
}

#[test]
fn names_of_any_bytes_and_links_go_and_what_a_link_names_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (top, other) = (directory.path().join("top"), directory.path().join("other"));
    fs::create_dir_all(top.join("a/b")).unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(other.join("kept"), "x").unwrap();
    symlink(&other, top.join("a/link")).unwrap();
    symlink("nowhere", top.join("dangling")).unwrap();
    for name in [&b"\xff\xfe\n"[..], b" ", b".hidden", b"-rf", &[b'x'; 255]] {
        fs::write(top.join(OsStr::from_bytes(name)), "x").unwrap();
        fs::create_dir(top.join("a/b").join(OsStr::from_bytes(name))).unwrap();
    }
    remove(&top).unwrap();
    assert!(fs::symlink_metadata(&top).is_err());
    assert_eq!(fs::read_to_string(other.join("kept")).unwrap(), "x");
    // A link, a file, and what is not there, as the top itself.
    symlink(&other, &top).unwrap();
    remove(&top).unwrap();
    assert!(other.join("kept").exists() && fs::symlink_metadata(&top).is_err());
    remove(&other.join("kept")).unwrap();
    assert!(!other.join("kept").exists());
    remove(&top).unwrap();
    remove(&top.join("neither/this")).unwrap();
}

#[test]
fn what_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().join("top");
    assert!(measure(&top).is_err());
    fs::create_dir_all(top.join("a")).unwrap();
    fs::write(top.join("a/file"), vec![1; 100_000]).unwrap();
    fs::hard_link(top.join("a/file"), top.join("again")).unwrap();
    symlink("a", top.join("link")).unwrap();
    let blocks = |name: &str| fs::symlink_metadata(top.join(name)).unwrap().blocks() * 512;
    let bytes = blocks("a") + blocks("a/file") + blocks("link");
    assert_eq!(measure(&top).unwrap(), Size { files: 4, bytes });
}

/// Many entries in one directory: they are deleted while the directory is being read.
#[test]
fn a_full_directory_is_emptied() {
    let directory = tempfile::tempdir().unwrap();
    let top = directory.path().join("top");
    fs::create_dir(&top).unwrap();
    for number in 0..3000 {
        fs::write(top.join(format!("file-{number}")), "").unwrap();
        fs::create_dir(top.join(format!("directory-{number}"))).unwrap();
    }
    assert_eq!(measure(&top).unwrap().files, 6000);
    remove(&top).unwrap();
    assert!(!top.exists());
}
