//! As root, on a file system with extended attributes: what is copied here are files of other users and devices.

use super::*;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt, lchown, symlink};
use std::process::Command;

fn patterns(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// An upper directory: directories end with `/`, whiteouts with `!`.
fn upper(entries: &[&str]) -> tempfile::TempDir {
    assert!(nix::unistd::geteuid().is_root(), "the tests of what is kept need root: run them with sudo");
    let directory = tempfile::tempdir().unwrap();
    for entry in entries {
        let path = directory.path().join(entry.trim_end_matches('!'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if entry.ends_with('!') {
            node(&path, &["c", "0", "0"]);
        } else if entry.ends_with('/') {
            fs::create_dir_all(&path).unwrap();
        } else {
            fs::write(&path, entry).unwrap();
        }
    }
    directory
}

fn node(path: &Path, kind: &[&str]) {
    assert!(Command::new("mknod").arg(path).args(kind).status().unwrap().success(), "mknod {}", path.display());
}

fn selected(upper: &Path, texts: &[&str]) -> (Vec<String>, Vec<String>) {
    let Selection { kept, unmatched } = select(upper, &patterns(texts)).unwrap();
    let shown = |kept: Kept| format!("{}{}", kept.path.display(), if kept.deleted { "!" } else { "" });
    (kept.into_iter().map(shown).collect(), unmatched)
}

#[test]
fn globs_select_the_topmost_paths() {
    let upper = upper(&[
        "etc/ssh/ssh_host_rsa_key",
        "etc/ssh/ssh_host_rsa_key.pub",
        "etc/ssh/sshd_config",
        "etc/motd!",
        "home/a/.ssh/id",
        "home/b/c/.ssh/id",
        "var/lib/x/",
    ]);
    symlink("etc", upper.path().join("link")).unwrap();
    for (texts, kept, unmatched) in [
        (vec!["/etc/ssh/ssh_host_*"], vec!["/etc/ssh/ssh_host_rsa_key", "/etc/ssh/ssh_host_rsa_key.pub"], vec![]),
        (vec!["/etc/ssh", "/etc/ssh/sshd_config"], vec!["/etc/ssh"], vec![]),
        (vec!["/etc/motd"], vec!["/etc/motd!"], vec![]),
        // A star stays within a name; a dot is a letter like any other.
        (vec!["/home/*/.ssh"], vec!["/home/a/.ssh"], vec![]),
        (vec!["/home/a/*"], vec!["/home/a/.ssh"], vec![]),
        (vec!["/home/**/.ssh"], vec!["/home/a/.ssh", "/home/b/c/.ssh"], vec![]),
        (vec!["/**/id"], vec!["/home/a/.ssh/id", "/home/b/c/.ssh/id"], vec![]),
        (vec!["/var/lib/x", "/nowhere", "/etc/s*/*.conf"], vec!["/var/lib/x"], vec!["/nowhere", "/etc/s*/*.conf"]),
        // No link is followed.
        (vec!["/link/motd"], vec![], vec!["/link/motd"]),
        (vec!["/etc/ssh/ssh_host_rsa_key/x"], vec![], vec!["/etc/ssh/ssh_host_rsa_key/x"]),
        (vec![], vec![], vec![]),
    ] {
        let expected = [kept, unmatched].map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>());
        let [kept, unmatched] = expected;
        assert_eq!(selected(upper.path(), &texts), (kept, unmatched), "{texts:?}");
    }
}

/// 500,000 files beside what is kept must not take time.
#[test]
fn only_what_may_hold_matches_is_looked_into() {
    let patterns = Patterns::new(&patterns(&["/etc/ssh/*", "/home/**/x", "/var/[a/b]/c"])).unwrap();
    for (directory, expected) in [
        ("/", true),
        ("/etc", true),
        ("/etc/ssh", true),
        ("/etc/ssh/deep", false),
        ("/etc/apt", false),
        ("/home/a/b/c", true),
        ("/usr", false),
        // Too much rather than too little.
        ("/var/a/b", true),
    ] {
        assert_eq!(patterns.may_match_below(Path::new(directory)), expected, "{directory}");
    }
}

#[test]
fn what_is_kept_and_what_is_dropped_is_counted() {
    let upper = upper(&["etc/ssh/key", "etc/motd", "home/a/x", "home/a/y", "root/z"]);
    fs::write(upper.path().join("home/a/x"), vec![1; 100_000]).unwrap();
    fs::hard_link(upper.path().join("home/a/x"), upper.path().join("home/a/x2")).unwrap();
    let seen = survey(upper.path(), &patterns(&["/etc/ssh", "/root/*"])).unwrap();
    let kept: Vec<_> = seen.kept.iter().map(|(kept, size)| (kept.path.to_str().unwrap(), size.files)).collect();
    assert_eq!(kept, [("/etc/ssh", 2), ("/root/z", 1)]);
    assert_eq!(seen.kept().files, 3);
    let below: Vec<_> = seen.dropped_below.iter().map(|(path, size)| (path.to_str().unwrap(), size.files)).collect();
    // motd, but not etc itself; home, a, x, x2, y.
    assert_eq!(below, [("/home", 5), ("/etc", 1)]);
    assert_eq!(seen.dropped.files, 6);
    // x once, and a few blocks of the others.
    assert!((100_000..170_000).contains(&seen.dropped.bytes), "{:?}", seen.dropped);
}

/// What `to` must have of `from`, as text.
fn described(root: &Path, path: &str) -> String {
    let at = root.join(path);
    let m = fs::symlink_metadata(&at).unwrap_or_else(|error| panic!("{}: {error}", at.display()));
    let mut attributes: Vec<_> = xattr::list(&at)
        .unwrap()
        .map(|name| (name.clone(), xattr::get(&at, &name).unwrap().unwrap_or_default()))
        .collect();
    attributes.sort();
    let content = match () {
        () if m.is_symlink() => fs::read_link(&at).unwrap().into_os_string().into_encoded_bytes(),
        () if m.is_file() => {
            // Without a change of the time of access, which is compared.
            let mut content = Vec::new();
            let flag = nix::fcntl::OFlag::O_NOATIME.bits();
            fs::OpenOptions::new().read(true).custom_flags(flag).open(&at).unwrap().read_to_end(&mut content).unwrap();
            content
        }
        () => Vec::new(),
    };
    format!(
        "{path} {:o} {}:{} {:?} {} {}.{} {}.{} {attributes:?} {content:?}",
        m.mode(),
        m.uid(),
        m.gid(),
        (m.rdev(), if m.is_dir() { 0 } else { m.nlink() }),
        if m.is_dir() { 0 } else { m.len() },
        m.mtime(),
        m.mtime_nsec(),
        // A directory is read before it is copied.
        if m.is_dir() { 0 } else { m.atime() },
        if m.is_dir() { 0 } else { m.atime_nsec() },
    )
}

fn age(path: &Path) {
    let mut touch = Command::new("touch");
    touch.args(["--no-dereference", "--date", "2021-03-04T05:06:07.123456789Z"]).arg(path);
    assert!(touch.status().unwrap().success());
}

#[test]
fn everything_that_belongs_to_a_file_goes_over() {
    let from = upper(&["srv/dir/plain", "srv/dir/suid", "srv/dir/sparse", "srv/dir/gone!", "srv/other", "srv/ignored"]);
    let path = |name: &str| from.path().join(name);
    symlink("/nowhere", path("srv/dir/link")).unwrap();
    node(&path("srv/dir/fifo"), &["p"]);
    node(&path("srv/dir/disk"), &["b", "7", "300"]);
    fs::hard_link(path("srv/dir/plain"), path("srv/twin")).unwrap();
    let sparse = fs::OpenOptions::new().write(true).open(path("srv/dir/sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 3 << 20).unwrap();
    sparse.set_len(9 << 20).unwrap();
    lchown(path("srv/dir/link"), Some(1001), Some(1002)).unwrap();
    lchown(path("srv/dir/suid"), Some(1001), Some(1002)).unwrap();
    lchown(path("srv"), Some(33), Some(34)).unwrap();
    for (name, mode) in [("srv", 0o1750), ("srv/dir", 0o2711), ("srv/dir/suid", 0o6755), ("srv/dir/plain", 0o400)] {
        fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    // cap_net_raw+ep; an ACL with a named user, 1234, and a mask; the same as a default one.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let acl = |tag: u16, rights: u16, id: u32| {
        [tag.to_le_bytes().to_vec(), rights.to_le_bytes().to_vec(), id.to_le_bytes().to_vec()].concat()
    };
    let none = u32::MAX;
    let acl =
        [vec![2, 0, 0, 0], acl(1, 7, none), acl(2, 5, 1234), acl(4, 1, none), acl(0x10, 5, none), acl(0x20, 1, none)]
            .concat();
    for (name, attribute, value) in [
        ("srv", "trusted.overlay.opaque", b"y".as_slice()),
        ("srv", "trusted.overlay.origin", b"\0\xfb\x1d"),
        ("srv", "system.posix_acl_default", &acl),
        ("srv/dir", "system.posix_acl_default", &acl),
        ("srv/dir", "system.posix_acl_access", &acl),
        ("srv/dir/plain", "user.note", b"mine"),
        ("srv/dir/suid", "security.capability", &capability),
        ("srv/dir/link", "trusted.link", b"x"),
    ] {
        xattr::set(path(name), attribute, value).unwrap_or_else(|error| panic!("{attribute} on {name}: {error}"));
    }
    let names = [
        "srv/dir/plain",
        "srv/dir/suid",
        "srv/dir/sparse",
        "srv/dir/gone",
        "srv/dir/link",
        "srv/dir/fifo",
        "srv/dir/disk",
        "srv/twin",
        "srv/dir",
        "srv",
    ];
    names.iter().for_each(|name| age(&path(name)));
    let before: Vec<String> = names.iter().map(|name| described(from.path(), name)).collect();
    // Reading a link is an access, too.
    age(&path("srv/dir/link"));

    let to = tempfile::tempdir().unwrap();
    xattr::set(to.path(), "trusted.burnonce.generation", b"2").unwrap();
    xattr::set(from.path(), "trusted.overlay.opaque", b"y").unwrap();
    let mode = fs::metadata(to.path()).unwrap().mode();
    let carried = carry(from.path(), to.path(), &patterns(&["/srv/dir", "/srv/twin"])).unwrap();
    // dir, its seven, and twin.
    assert_eq!(carried, 9);
    for (name, before) in names.iter().zip(before) {
        let mut expected = before;
        if *name == "srv" {
            let opaque = "(\"trusted.overlay.opaque\", [121])";
            assert!(expected.contains(opaque), "{expected}");
            expected = expected.replace(&format!(", {opaque}"), "");
        }
        if *name == "srv/dir" {
            // Nothing of the image was to be seen in it, since srv was opaque.
            assert_eq!(xattr::get(to.path().join(name), OPAQUE).unwrap().as_deref(), Some(b"y".as_slice()));
            xattr::remove(to.path().join(name), OPAQUE).unwrap();
        }
        assert_eq!(described(to.path(), name), expected);
    }
    assert_eq!(fs::read_dir(to.path().join("srv")).unwrap().count(), 2);
    assert!(fs::metadata(to.path().join("srv/dir/sparse")).unwrap().blocks() < 100, "the holes were filled");
    assert!(fs::metadata(to.path().join("srv/dir/disk")).unwrap().file_type().is_block_device());
    // The top stays the new one's own.
    assert_eq!(fs::metadata(to.path()).unwrap().mode(), mode);
    assert_eq!(xattr::list(to.path()).unwrap().collect::<Vec<_>>(), ["trusted.burnonce.generation"]);
}

#[test]
fn nothing_is_made_for_patterns_that_match_nothing() {
    let (from, to) = (upper(&["etc/x"]), tempfile::tempdir().unwrap());
    assert_eq!(carry(from.path(), to.path(), &patterns(&["/etc/y", "/var/**"])).unwrap(), 0);
    assert_eq!(carry(from.path(), to.path(), &[]).unwrap(), 0);
    assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_made_is_named() {
    let from = upper(&["etc/x"]);
    let error = carry(from.path(), Path::new("/proc"), &patterns(&["/etc/x"])).unwrap_err();
    assert!(format!("{error:#}").contains("making /proc/etc"), "{error:#}");
}
