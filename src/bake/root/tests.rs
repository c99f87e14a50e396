//! On images of mke2fs, read back by debugfs and judged by e2fsck.

use super::*;
use crate::command::Program;
use crate::units::MIB;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::PathBuf;
use tempfile::TempDir;

/// Where the file system begins in its file.
const OFFSET: u64 = 3 * MIB;
const LENGTH: u64 = 16 * MIB;
/// 2026-11-02 10:11:00 UTC.
const NOW: u64 = 1_793_614_260;
/// 2024-02-29 00:00:00 UTC.
const MTIME: u64 = 1_709_164_800;
const PLAIN: Attributes = Attributes { mode: 0o644, uid: 0, gid: 0, mtime: MTIME };

/// Features for mke2fs, and the bytes of a block and an inode.
const KINDS: [(&str, &str, &str); 7] = [
    ("^orphan_file", "4096", "256"),
    ("metadata_csum,metadata_csum_seed,64bit,orphan_file", "4096", "256"),
    ("metadata_csum_seed,orphan_file", "1024", "256"),
    ("inline_data,metadata_csum", "1024", "256"),
    ("^extent,^64bit,^metadata_csum,^orphan_file,^has_journal", "1024", "128"),
    ("^metadata_csum,uninit_bg,^orphan_file", "1024", "512"),
    ("large_dir,meta_bg,^resize_inode", "2048", "1024"),
];

struct Image {
    directory: TempDir,
    path: PathBuf,
}

impl Image {
    fn make(features: &str, block: &str, inode: &str) -> Image {
        let directory = TempDir::new().unwrap();
        let (tree, path) = (directory.path().join("tree"), directory.path().join("image"));
        for name in ["etc/systemd/system", "usr/lib/systemd/system", "var/many", "boot"] {
            fs::create_dir_all(tree.join(name)).unwrap();
        }
        fs::write(tree.join("etc/hostname"), "old\n").unwrap();
        fs::write(tree.join("etc/long"), vec![b'x'; 700_000]).unwrap();
        fs::hard_link(tree.join("etc/long"), tree.join("etc/other-name")).unwrap();
        fs::set_permissions(tree.join("etc/hostname"), fs::Permissions::from_mode(0o640)).unwrap();
        for (target, name) in
            [("usr/lib", "lib"), ("hostname", "etc/link"), ("/outside", "etc/nowhere"), ("../../..", "up")]
        {
            symlink(target, tree.join(name)).unwrap();
        }
        symlink("y".repeat(200), tree.join("etc/long-link")).unwrap();
        (0..300).for_each(|n| fs::write(tree.join(format!("var/many/a-file-with-a-long-name-{n}")), "").unwrap());
        File::create(&path).unwrap().set_len(OFFSET + LENGTH + MIB).unwrap();
        Program::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", block, "-I", inode, "-N", "1024", "-O", features])
            .args(["-E", &format!("offset={OFFSET}"), "-d", tree.to_str().unwrap(), path.to_str().unwrap()])
            .arg(format!("{}k", LENGTH / 1024))
            .run()
            .unwrap();
        // Nothing beside the file system is written on.
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0xAA; 512], OFFSET - 512).unwrap();
        file.write_all_at(&[0xAA; 512], OFFSET + LENGTH).unwrap();
        Image { directory, path }
    }

    fn plain() -> Image {
        Image::make(KINDS[1].0, KINDS[1].1, KINDS[1].2)
    }

    fn open(&self) -> Root {
        Root::open(&self.path, OFFSET, NOW).unwrap()
    }

    fn edit(&self, edit: impl FnOnce(&mut Root)) {
        let mut root = self.open();
        edit(&mut root);
        root.close().unwrap();
    }

    /// The file system as a file of its own, for programs that know no offset. It must be clean.
    fn checked(&self) -> String {
        let file = File::open(&self.path).unwrap();
        let mut bytes = vec![0; LENGTH as usize];
        file.read_exact_at(&mut bytes, OFFSET).unwrap();
        let alone = self.directory.path().join("alone");
        fs::write(&alone, bytes).unwrap();
        let alone = alone.to_str().unwrap().to_owned();
        Program::new("e2fsck").args(["-fn", &alone]).run().unwrap();
        for at in [OFFSET - 512, OFFSET + LENGTH] {
            let mut guard = [0; 512];
            file.read_exact_at(&mut guard, at).unwrap();
            assert_eq!(guard, [0xAA; 512]);
        }
        alone
    }

    /// Puts what was done to that file back.
    fn put_back(&self) {
        let file = File::options().write(true).open(&self.path).unwrap();
        file.write_all_at(&fs::read(self.directory.path().join("alone")).unwrap(), OFFSET).unwrap();
    }

    /// What debugfs prints.
    fn debugfs(&self, request: &str) -> String {
        let alone = self.directory.path().join("alone");
        let output = Program::new("debugfs").args(["-R", request, alone.to_str().unwrap()]).run().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// One value in what `debugfs stat` prints.
    fn stat(&self, path: &str, key: &str) -> String {
        let text = self.debugfs(&format!("stat {path}"));
        let after = text.split(&format!("{key}:")).nth(1).unwrap_or_else(|| panic!("no {key} of {path}: {text}"));
        after.split_whitespace().next().unwrap().to_owned()
    }
}

fn text(root: &Root, path: &str) -> Option<String> {
    root.tree().text(path, 10 << 20).unwrap()
}

#[test]
fn files_links_and_directories_of_any_ext4_are_right_and_clean() {
    for (features, block, inode) in KINDS {
        let image = Image::make(features, block, inode);
        let long: String = (0..200_000).map(|n| format!("{n},")).collect();
        image.edit(|root| {
            let attributes = Attributes { mode: 0o4751, uid: 70_000, gid: 1000, mtime: MTIME };
            root.write("/etc/hostname", b"new\n", &attributes).unwrap();
            root.write("etc/big", long.as_bytes(), &PLAIN).unwrap();
            root.write("etc/empty", b"", &PLAIN).unwrap();
            // Through a link to a directory, and of a link.
            root.write("lib/systemd/system/x.service", b"[Unit]\n", &PLAIN).unwrap();
            root.write("up/at-the-top", b"top", &PLAIN).unwrap();
            root.write("etc/link", b"no link any more", &PLAIN).unwrap();
            root.make_directories("lib/a/b/c", &Attributes { mode: 0o700, uid: 5, gid: 70_001, mtime: MTIME }).unwrap();
            root.make_directories("etc/systemd/system", &Attributes { mode: 0, ..PLAIN }).unwrap();
            root.link("etc/systemd/system/y.service", "/dev/null", &PLAIN).unwrap();
            root.link("etc/long-link", &"z".repeat(900), &PLAIN).unwrap();
            root.link("etc/long", "replaced", &PLAIN).unwrap();
            assert_eq!(text(root, "etc/hostname").as_deref(), Some("new\n"));
        });
        image.checked();
        let kind = format!("{features} {block} {inode}");
        assert_eq!(image.debugfs("cat /etc/hostname"), "new\n", "{kind}");
        assert!(image.debugfs("cat /etc/big") == long, "{kind}");
        assert_eq!(image.debugfs("cat /usr/lib/systemd/system/x.service"), "[Unit]\n", "{kind}");
        assert_eq!(image.debugfs("cat /at-the-top"), "top", "{kind}");
        assert_eq!(image.debugfs("cat /etc/link"), "no link any more", "{kind}");
        for (path, key, value) in [
            ("/etc/hostname", "Mode", "04751"),
            ("/etc/hostname", "User", "70000"),
            ("/etc/hostname", "Group", "1000"),
            ("/etc/hostname", "Size", "4"),
            ("/etc/hostname", "Links", "1"),
            ("/etc/empty", "Size", "0"),
            ("/etc/empty", "Blockcount", "0"),
            ("/usr/lib/a/b/c", "Mode", "0700"),
            ("/usr/lib/a", "Group", "70001"),
            ("/usr/lib/a", "Links", "3"),
            ("/etc/systemd/system", "Mode", "0755"),
            ("/etc/other-name", "Links", "1"),
            ("/etc/other-name", "Size", "700000"),
            ("/etc/long", "Type", "symlink"),
            ("/etc/long-link", "Size", "900"),
        ] {
            assert_eq!(image.stat(path, key), value, "{path} {key}, {kind}");
        }
        assert!(image.debugfs("stat /etc/systemd/system/y.service").contains("\"/dev/null\""), "{kind}");
        for (path, key, time) in [
            ("/etc/hostname", "mtime", MTIME),
            ("/etc/hostname", "ctime", NOW),
            ("/usr/lib/a/b/c", "mtime", MTIME),
            ("/etc/systemd/system/y.service", "mtime", MTIME),
        ] {
            let found = image.stat(path, key);
            // A large inode has nanoseconds behind a colon.
            assert_eq!(found.split(':').next().unwrap(), format!("{time:#x}"), "{path} {key}, {kind}");
        }
        if inode != "128" {
            assert!(image.stat("/etc/hostname", "crtime").starts_with(&format!("{NOW:#x}:0000000")), "{kind}");
        }
        let header = image.debugfs("features");
        for feature in features.split(',').filter(|feature| !feature.starts_with('^')) {
            assert!(header.contains(feature), "{feature}: {header}");
        }
    }
}

#[test]
fn what_is_replaced_or_removed_becomes_free() {
    for (features, block, inode) in KINDS {
        let image = Image::make(features, block, inode);
        // A directory that was in its inode does not go back there.
        image.edit(|root| {
            root.write("etc/new", b"", &PLAIN).unwrap();
            root.remove("etc/new").unwrap();
        });
        let before = image.open().tree.room();
        let long = vec![b'L'; 900_000];
        image.edit(|root| {
            for content in [&long[..], b"short", &long, b""] {
                root.write("etc/new", content, &PLAIN).unwrap();
            }
            root.link("etc/new", &"t".repeat(300), &PLAIN).unwrap();
            root.link("etc/new", "t", &PLAIN).unwrap();
            assert!(root.remove("etc/new").unwrap());
            assert!(!root.remove("etc/new").unwrap());
            assert!(!root.remove("not/there").unwrap());
        });
        image.checked();
        assert_eq!(image.open().tree.room(), before, "{features} {block} {inode}");
        // Of two names one goes, and then the other.
        image.edit(|root| assert!(root.remove("etc/long").unwrap()));
        image.checked();
        let one = image.open().tree.room();
        assert_eq!((one.blocks, one.inodes), (before.blocks, before.inodes));
        image.edit(|root| assert!(root.remove("etc/other-name").unwrap()));
        image.checked();
        let none = image.open().tree.room();
        assert!(none.blocks * none.block - one.blocks * one.block >= 700_000);
        assert_eq!(none.inodes, one.inodes + 1);
    }
}

#[test]
fn a_directory_grows_with_its_names_and_its_index() {
    for (features, block, inode) in KINDS {
        let image = Image::make(features, block, inode);
        let alone = image.checked();
        // As the kernel keeps a long directory: mke2fs makes no index. 1: something was changed.
        Program::new("e2fsck").args(["-fyD", &alone]).accept(1).run().unwrap();
        image.put_back();
        let flags = if features.contains("^extent") { "0x1000" } else { "0x81000" };
        assert_eq!(image.stat("/var/many", "Flags"), flags, "{features} {block} {inode}");
        image.edit(|root| {
            root.make_directories("etc/linear", &PLAIN).unwrap();
            for n in 0..250 {
                for directory in ["var/many", "etc/linear"] {
                    let path = format!("{directory}/{}-{n}", "one-more-name-that-is-long".repeat(4));
                    root.write(&path, format!("{n}").as_bytes(), &PLAIN).unwrap();
                }
            }
        });
        image.checked();
        let root = image.open();
        assert_eq!(root.tree().list("var/many").unwrap().len(), 550, "{features} {block} {inode}");
        assert_eq!(root.tree().list("etc/linear").unwrap().len(), 250);
        let last = format!("etc/linear/{}-249", "one-more-name-that-is-long".repeat(4));
        assert_eq!(text(&root, &last).as_deref(), Some("249"));
    }
}

#[test]
fn extended_attributes_go_with_their_file() {
    let image = Image::plain();
    let alone = image.checked();
    let before = image.open().tree.room();
    // An attribute that has no room in the inode has a block.
    let value = image.directory.path().join("value");
    fs::write(&value, vec![b'v'; 2000]).unwrap();
    Program::new("debugfs")
        .args(["-w", "-R", &format!("ea_set -f {} /etc/hostname user.long", value.display()), &alone])
        .run()
        .unwrap();
    image.put_back();
    assert_eq!(image.open().tree.room().blocks, before.blocks - 1);
    image.edit(|root| root.write("etc/hostname", b"new", &PLAIN).unwrap());
    image.checked();
    assert!(!image.debugfs("ea_list /etc/hostname").contains("user.long"));
    assert_eq!(image.open().tree.room().blocks, before.blocks);
}

#[test]
fn no_room_is_told_before_anything_is_written() {
    let image = Image::plain();
    let bytes = fs::read(&image.path).unwrap();
    let mut root = image.open();
    let free = root.free();
    let error = format!("{:#}", root.write("etc/big", &vec![1; free.0 as usize + 1], &PLAIN).unwrap_err());
    let said = "writing /etc/big: there is no room in the root file system: ";
    assert!(error.starts_with(said) && error.ends_with("are free; let the image be grown (--grow)"), "{error}");
    assert_eq!(root.free(), free);
    root.close().unwrap();
    image.checked();
    let now = fs::read(&image.path).unwrap();
    // The superblock's time of writing, and what depends on it.
    let differ = bytes.iter().zip(&now).filter(|(a, b)| a != b).count();
    assert!(differ < 64, "{differ} bytes");

    // What is replaced makes room for what comes.
    let fits = (free.0 / 4096 - 100) * 4096;
    image.edit(|root| {
        root.write("etc/big", &vec![1; fits as usize], &PLAIN).unwrap();
        assert!(root.write("etc/another", &vec![1; 1 << 20], &PLAIN).is_err());
        root.write("etc/big", &vec![2; fits as usize], &PLAIN).unwrap();
    });
    image.checked();
    let last = fits as usize - 1;
    assert_eq!(image.open().tree().read("etc/big", u64::MAX).unwrap().unwrap()[last], 2);

    // Inodes.
    let mut root = image.open();
    root.write("etc/big", b"", &PLAIN).unwrap();
    let free = root.tree.room().inodes;
    (0..free).for_each(|n| root.write(&format!("boot/{n}"), b"", &PLAIN).unwrap());
    let error = format!("{:#}", root.write("boot/more", b"", &PLAIN).unwrap_err());
    assert!(error.starts_with("writing /boot/more: the root file system has no free inode"), "{error}");
    root.close().unwrap();
    image.checked();
}

#[test]
fn what_cannot_be_done_is_told_with_the_path() {
    let image = Image::plain();
    let mut root = image.open();
    let told = |error: anyhow::Error, expected: &str| assert_eq!(format!("{error:#}"), expected);
    let missing = "writing /none/x: there is no directory /none; it has to be made first";
    told(root.write("/none/x", b"", &PLAIN).unwrap_err(), missing);
    let file = "writing /etc/hostname/x: /etc/hostname is no directory";
    told(root.write("etc/hostname/x", b"", &PLAIN).unwrap_err(), file);
    told(
        root.write("etc/nowhere/x", b"", &PLAIN).unwrap_err(),
        "writing /etc/nowhere/x: there is no directory /etc/nowhere; it has to be made first",
    );
    told(root.write("/etc", b"", &PLAIN).unwrap_err(), "writing /etc: there is a directory");
    told(root.write("/", b"", &PLAIN).unwrap_err(), "writing /: that is the root directory itself");
    told(root.write("a/../b", b"", &PLAIN).unwrap_err(), "writing /a/../b: a/../b: a path in an image has no `..`");
    told(root.link("lib/systemd", "x", &PLAIN).unwrap_err(), "making the link /lib/systemd: there is a directory");
    let long = "making the link /etc/x: its target has 4096 bytes, and 1 to 4095 are possible";
    told(root.link("/etc/x", &"x".repeat(4096), &PLAIN).unwrap_err(), long);
    told(root.remove("/etc").unwrap_err(), "removing /etc: there is a directory");
    let file = "making the directory /etc/hostname: there is something that is no directory";
    told(root.make_directories("etc/hostname/x", &PLAIN).unwrap_err(), file);
    let nowhere = "making the directory /etc/nowhere: there is a link that leads nowhere";
    told(root.make_directories("etc/nowhere/x", &PLAIN).unwrap_err(), nowhere);
    root.close().unwrap();
    image.checked();
}

#[test]
fn a_file_system_that_is_not_fit_is_refused() {
    for (request, said) in [
        (
            "feature needs_recovery",
            "it was not unmounted, and its journal is still to be replayed; let `e2fsck -p` do that",
        ),
        ("ssv state 0", "it was not unmounted; let `e2fsck -p` look at it"),
        ("ssv state 3", "errors are recorded in its superblock; have it repaired by `e2fsck -f`"),
        ("feature read-only", "it is sealed"),
    ] {
        let image = Image::plain();
        let alone = image.checked();
        Program::new("debugfs").args(["-w", "-R", request, &alone]).run().unwrap();
        image.put_back();
        let before = fs::read(&image.path).unwrap();
        let Err(error) = Root::open(&image.path, OFFSET, NOW) else { panic!("{request}: opened") };
        assert!(format!("{error:#}").contains(said), "{request}: {error:#}");
        assert!(fs::read(&image.path).unwrap() == before, "{request}");
    }
    let image = Image::plain();
    let Err(error) = Root::open(&image.path, 0, NOW) else { panic!("opened") };
    let expected = "opening the root file system at byte 0: ";
    assert!(format!("{error:#}").starts_with(expected), "{error:#}");
}

/// A directory that was changed later than the image is made keeps its time.
#[test]
fn a_directory_s_time_goes_forward_alone() {
    let image = Image::plain();
    let mut root = Root::open(&image.path, OFFSET, 1000).unwrap();
    root.write("etc/x", b"", &PLAIN).unwrap();
    root.close().unwrap();
    image.checked();
    assert_ne!(image.stat("/etc", "mtime").split(':').next().unwrap(), format!("{:#x}", 1000));
    let later = 0x1_0000_0010;
    let mut root = Root::open(&image.path, OFFSET, later).unwrap();
    root.remove("etc/x").unwrap();
    root.close().unwrap();
    image.checked();
    // The low half, and the bit above it in what is behind the colon.
    assert_eq!(image.stat("/etc", "mtime"), "0x00000010:00000001");
}
