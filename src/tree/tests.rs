use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

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

fn tools(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("starting {program}: {e}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
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

/// On ext4, which keeps such flags: a loop device, so root only.
#[test]
fn protected_files_devices_and_mounts() {
    assert!(nix::unistd::geteuid().is_root(), "this test mounts a loop device: run it as root");
    let directory = tempfile::tempdir().unwrap();
    let script = r#"
set -eu
cd "$1"
truncate -s 16M card
mke2fs -qF -t ext4 card
mkdir mounted
mount -o loop card mounted
cd mounted
mkdir -p top/frozen/below top/log
touch top/frozen/file top/frozen/below/file top/log/messages
ln -s file top/frozen/link
mknod top/frozen/whiteout c 0 0
mkfifo top/frozen/fifo
setfattr -n trusted.overlay.opaque -v y top/frozen 2>/dev/null || :
chattr +i top/frozen/file top/frozen/below top/frozen
chattr +a top/log/messages top/log
chattr +i top
mkdir -p held/a/mount held/same other
touch held/a/file other/kept
mount -t tmpfs mount held/a/mount
touch held/a/mount/kept
mount --bind other held/same
cd ..
status=0
REMOVE_IN="$1/mounted" "$2" --exact tree::tests::removes_where_it_is_told || status=$?
ls -R mounted
umount mounted/held/a/mount mounted/held/same
umount mounted
exit $status
"#;
    let program = std::env::current_exe().unwrap();
    let (at, program) = (directory.path().to_str().unwrap(), program.to_str().unwrap());
    tools("unshare", &["--mount", "sh", "-c", script, "sh", at, program]);
}

/// The part of the test above that runs in its mount namespace; by itself, in an empty directory.
#[test]
fn removes_where_it_is_told() {
    let empty = tempfile::tempdir().unwrap();
    let told = std::env::var_os("REMOVE_IN").map(PathBuf::from);
    let at = told.as_deref().unwrap_or(empty.path());
    remove(&at.join("top")).unwrap();
    assert!(fs::symlink_metadata(at.join("top")).is_err());
    if told.is_none() {
        return;
    }
    for (name, kept) in [("held/a", "held/a/mount/kept"), ("held/same", "other/kept"), ("held", "other/kept")] {
        let error = format!("{:#}", remove(&at.join(name)).unwrap_err());
        assert!(error.contains(&at.join(name).display().to_string()) && error.contains("ount"), "{error}");
        assert!(at.join(kept).exists(), "{kept}");
    }
}
