//! `diff` on trees that a real overlay made.

use crate::card::{Card, memory, need_privileges, run, text};
use burnonce::diff::change::{Change, Details, FileType, Pair, What};
use burnonce::diff::{layers::Layers, walk};
use std::ffi::OsStr;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

mod random;

/// The image's `/g`.
fn burn(g: &Path) {
    for directory in
        ["removed.d/sub", "replaced.d/sub", "to-link", "to-file", "moved.d", "deep/a/b", "deep/c", "untouched.d"]
    {
        fs::create_dir_all(g.join(directory)).unwrap();
    }
    for file in [
        "appended",
        "chmod",
        "chown",
        "touched",
        "copied-up",
        "same-length",
        "written-again",
        "removed",
        "removed.d/x",
        "removed.d/sub/y",
        "replaced.d/old",
        "replaced.d/kept",
        "replaced.d/sub/z",
        "to-directory",
        "to-link/x",
        "to-file/x",
        "moved",
        "moved.d/x",
        "hard-1",
        "linked",
        "with-xattr",
        "without-xattr",
        "with-acl",
        "deep/a/b/changed",
        "deep/c/changed",
        "deep-er",
        "untouched.d/x",
        "emptied",
        "recreated",
    ] {
        fs::write(g.join(file), format!("one\ntwo\n{file}\n")).unwrap();
        fs::set_permissions(g.join(file), Permissions::from_mode(0o644)).unwrap();
        set_time(&g.join(file), 1_000_000_000);
    }
    fs::write(g.join("binary"), b"a\0b").unwrap();
    fs::hard_link(g.join("hard-1"), g.join("hard-2")).unwrap();
    symlink("appended", g.join("link")).unwrap();
    symlink("appended", g.join("link-chown")).unwrap();
    symlink("deep", g.join("alias")).unwrap();
    xattr::set(g.join("without-xattr"), "user.gone", b"1").unwrap();
    xattr::set(g.join("with-xattr"), "user.changed", b"1").unwrap();
    run("mknod", &[g.join("device").to_str().unwrap(), "c", "1", "3"]);
}

fn set_time(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    OpenOptions::new().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// An ACL that gives user 1 what the mode 644 gives to all: linux/posix_acl_xattr.h, version 2, entries of tag, permissions, id.
fn acl() -> Vec<u8> {
    let nobody = u32::MAX;
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, nobody), (2, 4, 1), (4, 4, nobody), (0x10, 4, nobody), (0x20, 4, nobody)];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend(tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(id.to_le_bytes()));
    }
    bytes
}

/// What somebody does on the node.
fn work(g: &Path) {
    let at = |name: &str| g.join(name);
    let append = |name: &str| OpenOptions::new().append(true).open(at(name)).unwrap().write_all(b"three\n").unwrap();
    let mode = |name: &str, mode: u32| fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    append("appended");
    mode("chmod", 0o4700);
    chown(at("chown"), Some(1234), Some(1235)).unwrap();
    set_time(&at("touched"), 1_500_000_000);
    mode("copied-up", 0o644);
    fs::write(at("same-length"), "one\nTWO\nsame-length\n").unwrap();
    fs::write(at("written-again"), "one\ntwo\nwritten-again\n").unwrap();
    fs::write(at("emptied"), "").unwrap();
    fs::remove_file(at("recreated")).unwrap();
    fs::write(at("recreated"), "new\n").unwrap();
    mode("recreated", 0o600);
    fs::remove_file(at("removed")).unwrap();
    fs::remove_dir_all(at("removed.d")).unwrap();
    fs::remove_dir_all(at("replaced.d")).unwrap();
    fs::create_dir_all(at("replaced.d/sub")).unwrap();
    fs::write(at("replaced.d/kept"), "one\ntwo\nreplaced.d/kept\n").unwrap();
    fs::remove_file(at("to-directory")).unwrap();
    fs::create_dir(at("to-directory")).unwrap();
    fs::write(at("to-directory/x"), "").unwrap();
    fs::remove_dir_all(at("to-link")).unwrap();
    symlink("deep", at("to-link")).unwrap();
    fs::remove_dir_all(at("to-file")).unwrap();
    fs::write(at("to-file"), "").unwrap();
    fs::rename(at("moved"), at("moved-new")).unwrap();
    run("mv", &[at("moved.d").to_str().unwrap(), at("moved-new.d").to_str().unwrap()]);
    append("hard-1");
    fs::hard_link(at("linked"), at("linked-new")).unwrap();
    xattr::set(at("with-xattr"), "user.new", b"1").unwrap();
    xattr::set(at("with-xattr"), "user.changed", b"2").unwrap();
    xattr::remove(at("without-xattr"), "user.gone").unwrap();
    xattr::set(at("with-acl"), "system.posix_acl_access", &acl()).unwrap();
    append("deep/a/b/changed");
    mode("deep/c", 0o700);
    append("deep-er");
    fs::create_dir_all(at("new.d/sub")).unwrap();
    fs::write(at("new.d/sub/file"), "").unwrap();
    fs::write(at("new"), "one\n").unwrap();
    fs::write(at("new-removed"), "").unwrap();
    fs::remove_file(at("new-removed")).unwrap();
    fs::write(at("binary"), b"a\0c").unwrap();
    fs::remove_file(at("link")).unwrap();
    symlink("chmod", at("link")).unwrap();
    std::os::unix::fs::lchown(at("link-chown"), Some(7), None).unwrap();
    let path = |name: &str| at(name).to_str().unwrap().to_owned();
    fs::remove_file(at("device")).unwrap();
    run("mknod", &[&path("device"), "c", "1", "5"]);
    run("mknod", &[&path("new-device"), "b", "7", "200"]);
    run("mkfifo", &[&path("fifo")]);
    drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
    fs::write(g.join("line\nbreak"), "").unwrap();
    fs::write(g.join(OsStr::from_bytes(b"caf\xe9")), "").unwrap();
    fs::create_dir(at("noise")).unwrap();
    fs::write(at("noise/a"), "").unwrap();
    fs::write(at("noise/b"), "").unwrap();
}

const GOLDEN: &str = r"M /g/appended  (content 17 bytes -> 23 bytes)
M /g/binary  (content, still 3 bytes)
A /g/caf\xe9
M /g/chmod  (mode 644 -> 4700)
M /g/chown  (owner 0:0 -> 1234:1235)
M /g/deep/a/b/changed  (content 25 bytes -> 31 bytes)
M /g/deep/c/  (mode 755 -> 700)
M /g/deep-er  (content 16 bytes -> 22 bytes)
M /g/device  (device 1:3 -> 1:5, time)
M /g/emptied  (content 16 bytes -> 0 bytes)
A /g/fifo
M /g/hard-1  (content 15 bytes -> 21 bytes)
A /g/line\nbreak
M /g/link  (target appended -> chmod)
M /g/link-chown  (owner 0:0 -> 7:0)
A /g/linked-new
D /g/moved
A /g/moved-new
A /g/moved-new.d/
A /g/moved-new.d/x
D /g/moved.d/
A /g/new
A /g/new-device
A /g/new.d/
A /g/new.d/sub/
A /g/new.d/sub/file
M /g/recreated  (mode 644 -> 600, content 18 bytes -> 4 bytes)
D /g/removed
D /g/removed.d/
R /g/replaced.d/
A /g/replaced.d/kept
A /g/replaced.d/sub/
M /g/same-length  (content, still 20 bytes)
A /g/socket
M /g/to-directory/  (type file -> directory)
A /g/to-directory/x
R /g/to-file  (type directory -> file)
R /g/to-link  (type directory -> symlink)
M /g/touched  (time)
M /g/with-acl  (xattr system.posix_acl_access added)
M /g/with-xattr  (xattr user.new added, xattr user.changed changed)
M /g/without-xattr  (xattr user.gone removed)
M /g/written-again  (time)
# folded: /g/noise: 3 changes (--all lists them)
";

/// A converted card whose image has `/g`, booted on its overlay.
fn node() -> (Card, PathBuf) {
    let mut card = Card::burned(2048);
    let node = card.boot(false);
    run("mount", &["-o", "remount,rw", node.to_str().unwrap()]);
    fs::create_dir(node.join("g")).unwrap();
    burn(&node.join("g"));
    fs::write(node.join("etc/burnonce.yaml"), "diff: {fold: [/g/noise, /nothing]}\n").unwrap();
    run("mount", &["-o", "remount,ro", node.to_str().unwrap()]);
    let plain = card.burnonce(&["diff"]);
    assert_eq!(plain.status.code(), Some(1));
    assert!(text(&plain).contains("root is no overlay in this boot"), "{}", text(&plain));
    let output = card.burnonce(&["converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    card.eject();
    let node = card.boot(true);
    (card, node)
}

fn output(of: &Output) -> String {
    assert_eq!(of.status.code(), Some(0), "{}", text(of));
    String::from_utf8(of.stdout.clone()).unwrap()
}

#[test]
fn each_kind_of_change_has_its_line() {
    let (mut card, node) = node();
    assert_eq!(output(&card.burnonce(&["diff"])), "", "a node that nobody has used");
    work(&node.join("g"));
    assert_eq!(output(&card.burnonce(&["diff"])), GOLDEN);
    parts(&card);
    json(&card);
    packages(&card, &node);
    contents(&card, &node);
    card.eject();
}

/// `diff PATH`.
fn parts(card: &Card) {
    for (path, expected) in [
        ("/g/noise", "A /g/noise/\nA /g/noise/a\nA /g/noise/b\n"),
        ("/g/deep/", "M /g/deep/a/b/changed  (content 25 bytes -> 31 bytes)\nM /g/deep/c/  (mode 755 -> 700)\n"),
        ("g/alias/c", "M /g/deep/c/  (mode 755 -> 700)\n"),
        ("/g/alias", ""),
        ("/g/copied-up", ""),
        ("/g/untouched.d/x", ""),
        ("/g/to-link", "R /g/to-link  (type directory -> symlink)\n"),
        ("/g/moved.d", "D /g/moved.d/\n"),
        ("/g/removed.d/sub/y", "D /g/removed.d/sub/y\n"),
        ("/g/replaced.d/old", "D /g/replaced.d/old\n"),
        ("/g/replaced.d/kept", "A /g/replaced.d/kept\n"),
        ("/g/replaced.d", "R /g/replaced.d/\nA /g/replaced.d/kept\nA /g/replaced.d/sub/\n"),
        ("/g/to-file/x", "D /g/to-file/x\n"),
        ("/usr", ""),
    ] {
        assert_eq!(output(&card.burnonce(&["diff", path])), expected, "{path}");
    }
    for (path, expected) in [
        ("/g/nothing", "burnonce: /g/nothing: neither the image nor this node has it\n"),
        ("/g/new-removed", "burnonce: /g/new-removed: neither the image nor this node has it\n"),
        ("/g/removed/x", "burnonce: /g/removed/x: neither the image nor this node has it\n"),
        (
            "/run/initramfs",
            "burnonce: /run/initramfs is not on the overlay: /run is a mount of its own (tmpfs from run), and the image has \
             nothing to compare it with\n",
        ),
    ] {
        let output = card.burnonce(&["diff", path]);
        assert_eq!((output.status.code(), text(&output)), (Some(1), expected.to_owned()));
    }
    let all = output(&card.burnonce(&["diff", "--all"]));
    assert!(all.contains("A /g/new.d/sub/file\nA /g/noise/\nA /g/noise/a\nA /g/noise/b\nM /g/recreated"), "{all}");
    assert!(!all.contains('#'), "{all}");
}

/// The same in JSON.
fn json(card: &Card) {
    let printed: serde_json::Value = serde_json::from_str(&output(&card.burnonce(&["diff", "--json"]))).unwrap();
    let changes = printed["changes"].as_array().unwrap();
    assert_eq!(changes.len(), GOLDEN.lines().count() - 1);
    for (change, line) in changes.iter().zip(GOLDEN.lines()) {
        let letter = match change["change"].as_str().unwrap() {
            "added" => 'A',
            "modified" => 'M',
            "deleted" => 'D',
            "replaced" => 'R',
            other => panic!("{other}"),
        };
        assert!(line.starts_with(letter), "{change}: {line}");
        assert_eq!(change.get("details").is_some(), line.contains('('), "{change}");
    }
    let found = |path: &str| changes.iter().find(|c| c["path"] == path).unwrap_or_else(|| panic!("{path}: {printed}"));
    for (path, expected) in [
        ("/g/line\nbreak", r#"{"path":"/g/line\nbreak","change":"added","type":"file"}"#),
        ("/g/caf\u{fffd}", r#"{"path":"/g/caf\ufffd","path_bytes":"2f672f636166e9","change":"added","type":"file"}"#),
        (
            "/g/recreated",
            r#"{"path":"/g/recreated","change":"modified","type":"file",
                "details":{"mode":{"from":"0644","to":"0600"},"content":{"from":18,"to":4}}}"#,
        ),
        (
            "/g/chown",
            r#"{"path":"/g/chown","change":"modified","type":"file",
                "details":{"owner":{"from":{"uid":0,"gid":0},"to":{"uid":1234,"gid":1235}}}}"#,
        ),
        ("/g/moved.d", r#"{"path":"/g/moved.d","change":"deleted","type":"directory"}"#),
        (
            "/g/to-link",
            r#"{"path":"/g/to-link","change":"replaced","type":"symlink",
                "details":{"type":{"from":"directory","to":"symlink"}}}"#,
        ),
        (
            "/g/with-xattr",
            r#"{"path":"/g/with-xattr","change":"modified","type":"file",
                "details":{"xattrs":{"added":["user.new"],"changed":["user.changed"]}}}"#,
        ),
        (
            "/g/link",
            r#"{"path":"/g/link","change":"modified","type":"symlink","details":{"target":{"from":"appended","to":"chmod"}}}"#,
        ),
        ("/g/touched", r#"{"path":"/g/touched","change":"modified","type":"file","details":{"touched":true}}"#),
        ("/g/new-device", r#"{"path":"/g/new-device","change":"added","type":"block-device"}"#),
    ] {
        assert_eq!(*found(path), serde_json::from_str::<serde_json::Value>(expected).unwrap());
    }
    assert_eq!(printed["folded"], serde_json::json!([{ "pattern": "/g/noise", "changes": 3 }]));
    let none = output(&card.burnonce(&["diff", "--json", "/usr"]));
    assert_eq!(none, "{\"changes\":[],\"folded\":[]}\n");
}

fn packages(card: &Card, node: &Path) {
    let missing = card.burnonce(&["diff", "--package"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing).contains("reading /var/lib/dpkg/info, where dpkg has its lists"), "{}", text(&missing));
    let lists = node.join("var/lib/dpkg/info");
    fs::create_dir_all(&lists).unwrap();
    fs::write(lists.join("demo.list"), "/.\n/g\n/g/deep\n/g/deep/c\n/g/deep/c/changed\n").unwrap();
    let lines =
        "M /g/deep/a/b/changed  [local]  (content 25 bytes -> 31 bytes)\nM /g/deep/c/  [demo]  (mode 755 -> 700)\n";
    assert_eq!(output(&card.burnonce(&["diff", "--package", "/g/deep"])), lines);
    let printed: serde_json::Value =
        serde_json::from_str(&output(&card.burnonce(&["diff", "--package", "--json", "/g/deep"]))).unwrap();
    assert_eq!((&printed["changes"][0]["package"], &printed["changes"][1]["package"]), (&().into(), &"demo".into()));
}

/// `diff --content`.
fn contents(card: &Card, node: &Path) {
    for (file, expected) in [
        ("/g/appended", "--- image/g/appended\n+++ node/g/appended\n@@ -1,3 +1,4 @@\n one\n two\n appended\n+three\n"),
        ("/g/new", "--- /dev/null\n+++ node/g/new\n@@ -0,0 +1 @@\n+one\n"),
        ("/g/removed", "--- image/g/removed\n+++ /dev/null\n@@ -1,3 +0,0 @@\n-one\n-two\n-removed\n"),
        ("/g/removed.d/x", "--- image/g/removed.d/x\n+++ /dev/null\n@@ -1,3 +0,0 @@\n-one\n-two\n-removed.d/x\n"),
        ("/g/binary", "Binary files image/g/binary and node/g/binary differ\n"),
        ("/g/new.d/sub/file", "--- /dev/null\n+++ node/g/new.d/sub/file\n"),
    ] {
        assert_eq!(output(&card.burnonce(&["diff", "--content", file])), expected, "{file}");
    }
    for file in ["/g/touched", "/g/untouched.d/x", "/g/copied-up", "/g/replaced.d/kept"] {
        let output = card.burnonce(&["diff", "--content", file]);
        let expected = format!("burnonce: the content of {file} is as it was burned\n");
        assert_eq!((output.status.code(), text(&output)), (Some(0), expected));
    }
    fs::File::create(node.join("g/long")).unwrap().set_len((8 << 20) + 1).unwrap();
    for (file, expected) in [
        ("/g/nothing", "/g/nothing: neither the image nor this node has it"),
        ("/g/deep", "/g/deep is a directory; --content compares regular files"),
        ("/g/untouched.d", "/g/untouched.d is a directory; --content compares regular files"),
        ("/g/to-file", "/g/to-file was a directory; --content compares regular files"),
        ("/g/fifo", "/g/fifo is a fifo; --content compares regular files"),
        (
            "/g/long",
            "/media/root-rw/overlay/g/long is longer than 8 MiB, too long to be compared line by line; \
             `cmp /media/root-ro/g/long /g/long` says where the two differ first",
        ),
    ] {
        let output = card.burnonce(&["diff", "--content", file]);
        assert_eq!((output.status.code(), text(&output)), (Some(1), format!("burnonce: {expected}\n")));
    }
}

/// An overlay in a mount namespace of the test's own: lower, upper and the place where both are mounted together.
fn overlay(options: &str, burn: impl FnOnce(&Path)) -> (tempfile::TempDir, Layers, PathBuf) {
    need_privileges();
    let directory = memory();
    let at = |name: &str| directory.path().join(name);
    run("mount", &["-t", "tmpfs", "layers", directory.path().to_str().unwrap()]);
    ["lower", "upper", "work", "merged"].iter().for_each(|name| fs::create_dir(at(name)).unwrap());
    burn(&at("lower"));
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| at(name).to_str().unwrap().to_owned());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}{options}");
    run("mount", &["-t", "overlay", "overlay", "-o", &options, at("merged").to_str().unwrap()]);
    let merged = at("merged");
    (directory, Layers::new(Path::new(&upper), Path::new(&lower), false), merged)
}

fn changes(layers: &Layers, at: &str) -> Vec<Change> {
    let mut found = Vec::new();
    let unreadable = walk::changes(layers, Path::new(at), &mut |change| found.push(change)).unwrap();
    assert!(unreadable.is_empty(), "{unreadable:?}");
    found
}

fn change(path: &str, what: What, file_type: FileType, details: Details) -> Change {
    Change { path: path.into(), what, file_type, details }
}

/// `redirect_dir` and `metacopy`, which some kernels have on by default.
#[test]
fn renamed_directories_and_metadata_copies_are_followed() {
    let (_directory, layers, merged) = overlay(",redirect_dir=on,metacopy=on", |lower| {
        for name in ["old/sub", "swapped", "gone"] {
            fs::create_dir_all(lower.join(name)).unwrap();
        }
        for name in ["old/a", "old/sub/b", "old/sub/c", "swapped/d", "gone/e", "file", "other"] {
            fs::write(lower.join(name), name).unwrap();
            fs::set_permissions(lower.join(name), Permissions::from_mode(0o644)).unwrap();
        }
    });
    let mode = |name: &str| fs::set_permissions(merged.join(name), Permissions::from_mode(0o600)).unwrap();
    fs::rename(merged.join("old"), merged.join("new")).unwrap();
    fs::write(merged.join("new/sub/b"), "longer than before").unwrap();
    mode("new/sub/c");
    fs::rename(merged.join("new/sub"), merged.join("sub")).unwrap();
    fs::remove_dir_all(merged.join("gone")).unwrap();
    fs::rename(merged.join("swapped"), merged.join("gone")).unwrap();
    mode("file");
    mode("other");
    fs::rename(merged.join("other"), merged.join("moved")).unwrap();
    // What a reset notes on the root of the upper is no change of the node's.
    xattr::set(layers.upper(Path::new("/")), "trusted.burnonce.generation", b"2").unwrap();
    let from = |path: &str| Details { renamed_from: Some(path.into()), ..Details::default() };
    let less = Details { mode: Pair::unequal(0o644, 0o600), ..Details::default() };
    let none = Details::default();
    let expected = [
        change("/file", What::Modified, FileType::File, less.clone()),
        change("/gone", What::Replaced, FileType::Directory, from("/swapped")),
        change("/moved", What::Added, FileType::File, none.clone()),
        change("/new", What::Added, FileType::Directory, from("/old")),
        // Of what is below a renamed directory, it is told what became of it there.
        change("/new/sub", What::Deleted, FileType::Directory, none.clone()),
        change("/old", What::Deleted, FileType::Directory, none.clone()),
        change("/other", What::Deleted, FileType::File, none.clone()),
        change("/sub", What::Added, FileType::Directory, from("/old/sub")),
        change(
            "/sub/b",
            What::Modified,
            FileType::File,
            Details { content: Some(Pair { from: 9, to: 18 }), ..none.clone() },
        ),
        change("/sub/c", What::Modified, FileType::File, less),
        change("/swapped", What::Deleted, FileType::Directory, none),
    ];
    assert_eq!(changes(&layers, "/"), expected);
    assert_eq!(changes(&layers, "/sub/c").len(), 1);
    assert_eq!(changes(&layers, "/new/a"), []);
    let content = |path: &str| burnonce::diff::content::content(&layers, Path::new(path)).unwrap();
    assert_eq!(content("/file"), None, "only its metadata was copied up");
    let expected = "--- /dev/null\n+++ node/moved\n@@ -0,0 +1 @@\n+other\n\\ No newline at end of file\n";
    assert_eq!(content("/moved").as_deref(), Some(expected));
}

/// Whiteouts as extended attributes, which an overlay on an overlay has to use.
#[test]
fn whiteouts_that_are_files_are_deletions() {
    let (_directory, layers, _) = overlay("", |lower| {
        fs::create_dir(lower.join("d")).unwrap();
        for name in ["d/gone", "d/empty", "d/changed"] {
            fs::write(lower.join(name), "x").unwrap();
        }
    });
    let upper = |name: &str| layers.upper(Path::new(name));
    fs::create_dir(upper("/d")).unwrap();
    for name in ["/d/gone", "/d/empty", "/d/new-gone"] {
        fs::write(upper(name), "").unwrap();
    }
    for name in ["/d/gone", "/d/new-gone"] {
        xattr::set(upper(name), "trusted.overlay.whiteout", b"y").unwrap();
    }
    let expected = |what: &[What]| what.to_vec();
    let found = |layers: &Layers| changes(layers, "/d").iter().map(|c| c.what).collect::<Vec<_>>();
    // Without the mark of their directory they are ordinary files.
    assert_eq!(found(&layers), expected(&[What::Modified, What::Modified, What::Added]));
    xattr::set(upper("/d"), "trusted.overlay.opaque", b"x").unwrap();
    assert_eq!(found(&layers), expected(&[What::Modified, What::Deleted]));
}

/// A path that is longer than what the kernel takes cannot be read; the rest is.
#[test]
fn the_walk_goes_on_past_what_cannot_be_read() {
    use nix::fcntl::{OFlag, open, openat};
    use nix::sys::stat::{Mode, mkdirat};
    let (_directory, layers, _) = overlay("", |_| {});
    fs::write(layers.upper(Path::new("/z")), "").unwrap();
    let mut at = open(&layers.upper(Path::new("/")), OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    let name = "d".repeat(255);
    for _ in 0..20 {
        mkdirat(&at, name.as_str(), Mode::from_bits_truncate(0o755)).unwrap();
        at = openat(&at, name.as_str(), OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    }
    let mut found = Vec::new();
    let unreadable = walk::changes(&layers, Path::new("/"), &mut |change| found.push(change)).unwrap();
    assert_eq!(found.last().map(|change| change.path.as_path()), Some(Path::new("/z")));
    let errors: Vec<Option<i32>> = unreadable.iter().map(|u| u.error.raw_os_error()).collect();
    assert_eq!(errors, [Some(nix::errno::Errno::ENAMETOOLONG as i32)]);
    assert!(unreadable[0].path.ends_with(&name), "{unreadable:?}");
}

/// A node whose overlay is in memory, with many files in it.
#[test]
fn two_hundred_thousand_files_take_seconds() {
    const FILES: usize = 200_000;
    let (mut card, _) = node();
    card.eject();
    card.insert(false);
    let node = card.file().with_file_name("node");
    run("mount", &["-t", "tmpfs", "media", "/media"]);
    let (lower, upper) = ("/media/root-ro", "/media/root-rw");
    [lower, upper].iter().for_each(|directory| fs::create_dir(directory).unwrap());
    run("mount", &["-o", "ro", &card.partition(2), lower]);
    run("mount", &["-t", "tmpfs", "-o", "nr_inodes=0", "overlay", upper]);
    fs::create_dir_all(format!("{upper}/overlay-workdir/_")).unwrap();
    for directory in 0..FILES / 1000 {
        // Half of them where the image has a directory of that name.
        let parent =
            PathBuf::from(format!("{upper}/overlay/{}/{directory}", if directory % 2 == 0 { "etc" } else { "srv" }));
        fs::create_dir_all(&parent).unwrap();
        (0..1000).for_each(|file| drop(fs::File::create(parent.join(format!("a-file-{file}"))).unwrap()));
    }
    let options = format!("lowerdir={lower},upperdir={upper}/overlay,workdir={upper}/overlay-workdir/_");
    run("mount", &["-t", "overlay", "overlayroot", "-o", &options, node.to_str().unwrap()]);
    run("mount", &["--rbind", "/proc", node.join("proc").to_str().unwrap()]);
    run("mount", &["--move", lower, node.join("media/root-ro").to_str().unwrap()]);
    run("mount", &["--move", upper, node.join("media/root-rw").to_str().unwrap()]);
    run("umount", &["/media"]);
    for arguments in [["diff", "--all"], ["diff", "--json"]] {
        let begun = Instant::now();
        let printed = output(&card.burnonce(&arguments));
        let took = begun.elapsed();
        // The directories of them, and /srv.
        let expected = FILES + FILES / 1000 + 1;
        assert_eq!(printed.matches("/a-file-").count(), FILES);
        assert_eq!(printed.lines().filter(|line| line.contains('/')).count(), expected, "{:?}", arguments);
        println!("{}: {FILES} added files in {:.2} s", arguments.join(" "), took.as_secs_f64());
        // An unoptimised build, beside other tests on the same processors: only what grows faster than the upper fails here.
        assert!(took.as_secs() < 120, "{took:?}");
    }
    card.eject();
}
