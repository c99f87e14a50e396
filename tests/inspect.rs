//! `burnonce inspect` on real images: made by sfdisk, mkfs.fat, mtools and mke2fs, packed by xz, zstd and gzip. No root, mounts or loop
//! devices.

mod common;

use burnonce::inspect::inspect;
use common::{BOOT, MIB, PLAIN, Shape, initramfs, link, put, said};
use proptest::prelude::*;
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Raspberry Pi OS trixie, as little of it as is looked at, in `boot` and `root` of a directory.
fn trixie(directory: &Path) -> (PathBuf, PathBuf) {
    let (boot, root) = (directory.join("boot"), directory.join("root"));
    put(&boot, "config.txt", "# For more options see\n[all]\nauto_initramfs=1\n");
    put(&boot, "cmdline.txt", "console=tty1 root=PARTUUID=5a6b7c8d-02 rootfstype=ext4 rootwait resize\n");
    // Of more than one cluster.
    let modules: Vec<String> =
        (1..300u32).map(|n| format!("lib/modules/{:x}.ko", n.wrapping_mul(2_654_435_761))).collect();
    let names = ["init", "scripts/local-premount/resize_early"].into_iter().chain(modules.iter().map(String::as_str));
    put(&boot, "initramfs8", initramfs(&names.collect::<Vec<_>>()));
    put(&boot, "User-Data", "#cloud-config\nhostname: blue\n");
    put(&boot, "overlays/a-rather-long-name-of-an-overlay.dtbo", vec![7; 5000]);
    put(
        &root,
        "usr/lib/os-release",
        "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\nVERSION_ID=\"13\"\nVERSION_CODENAME=trixie\n",
    );
    link(&root, "etc/os-release", "../usr/lib/os-release");
    put(&root, "etc/rpi-issue", "Raspberry Pi reference 2025-11-24\n");
    put(&root, "etc/machine-id", "uninitialized\n");
    put(
        &root,
        "etc/fstab",
        "PARTUUID=5a6b7c8d-01 /boot/firmware vfat defaults 0 2\nPARTUUID=5a6b7c8d-02 / ext4 defaults,noatime 0 1\n",
    );
    let packages = ["dpkg", "initramfs-tools", "cloud-init"].map(|name| {
        format!("Package: {name}\nStatus: install ok installed\nArchitecture: arm64\nVersion: 1.2-{name}\n\n")
    });
    put(&root, "var/lib/dpkg/status", packages.concat());
    put(&root, "etc/cloud/cloud.cfg", "cloud_init_modules:\n  - growpart\n  - resizefs\n");
    put(&root, "etc/cloud/cloud.cfg.d/99-rpi.cfg", "growpart:\n  mode: 'off'\nresize_rootfs: false\n");
    put(&root, "usr/lib/systemd/system/rpi-resize.service", "[Service]\n");
    link(
        &root,
        "etc/systemd/system/multi-user.target.wants/rpi-resize.service",
        "/usr/lib/systemd/system/rpi-resize.service",
    );
    // Longer than an inode has room for.
    let far = format!("{}usr", "./".repeat(60));
    link(&root, "far", &far);
    (boot, root)
}

/// A directory with the image of [`trixie`] in it.
fn made(shape: &Shape) -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let (boot, root) = trixie(directory.path());
    let image = shape.make(directory.path(), "a.img", &boot, &root);
    (directory, image)
}

/// The program, with a directory of its own for temporary files, in which nothing may stay.
fn run(arguments: &[&str]) -> Output {
    let temporary = TempDir::new().unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_burnonce")).args(arguments).env("TMPDIR", temporary.path()).output().unwrap();
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "{arguments:?}");
    output
}

/// What is found, as JSON.
fn found(image: &Path) -> Value {
    let output = run(&["inspect", "--json", image.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the program says of an image that it refuses.
fn refused(image: &Path) -> String {
    let output = run(&["inspect", image.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{}: {text}{}", image.display(), String::from_utf8_lossy(&output.stdout));
    assert!(output.stdout.is_empty() && text.starts_with("burnonce: "), "{text}");
    assert!(!text.contains("/proc/self"), "{text}");
    text
}

/// The image packed in the three ways; the name says nothing.
fn packed(image: &Path) -> Vec<(&'static str, PathBuf)> {
    let path = image.to_str().unwrap();
    let out = |kind: &str| image.with_file_name(format!("{}-{kind}", image.file_name().unwrap().to_str().unwrap()));
    for (kind, program, options) in [
        ("xz", "xz", &["-T2", "-1", "--block-size=1MiB"][..]),
        ("zstd", "zstd", &["-q", "--check"]),
        ("gzip", "gzip", &["-1"]),
    ] {
        let to = format!("{program} {} --stdout '{path}' >'{}'", options.join(" "), out(kind).display());
        said("sh", &["-c", &to], b"");
    }
    ["xz", "zstd", "gzip"].into_iter().map(|kind| (kind, out(kind))).collect()
}

#[test]
fn an_image_is_the_same_however_it_is_packed() {
    let (_directory, image) = made(&PLAIN);
    let seen = found(&image);
    assert_eq!(seen["packing"], "none");
    assert_eq!(seen["length"], image.metadata().unwrap().len());
    assert_eq!(seen["system"]["distribution"], "raspberry-pi-os");
    assert_eq!(seen["system"]["release"], "2025-11-24");
    assert_eq!(seen["system"]["architecture"], "arm64");
    assert_eq!(seen["system"]["cloud_init"]["version"], "1.2-cloud-init");
    assert_eq!(seen["partitions"][0]["label"], "bootfs");
    assert_eq!(seen["partitions"][0]["uuid"], "1234-ABCD");
    assert_eq!(seen["partitions"][1]["label"], "rootfs");
    assert_eq!(seen["free_slot"], 3);
    assert_eq!(seen["root"]["clean"], true);
    let line = &seen["boot"]["command_lines"][0];
    assert_eq!((&line["path"], &line["target"]["partition"]), (&"cmdline.txt".into(), &2.into()));
    assert_eq!(seen["boot"]["first_boot"], serde_json::json!(["user-data"]));
    assert_eq!(seen["boot"]["initramfs"][0]["growers"], serde_json::json!(["local-premount/resize_early"]));
    let growers: Vec<_> = seen["growers"].as_array().unwrap().iter().map(|g| (&g["name"], &g["state"])).collect();
    let expected = [
        ("Raspberry Pi OS' resize_early", "armed"),
        ("Raspberry Pi OS' rpi-resize", "harmless"),
        ("cloud-init growpart", "disarmed"),
        ("cloud-init resizefs", "disarmed"),
    ];
    assert_eq!(
        growers,
        expected.map(|(name, state)| (Value::from(name), Value::from(state))).each_ref().map(|(n, s)| (n, s))
    );
    for (packing, path) in packed(&image) {
        let mut packed = found(&path);
        assert_eq!(packed["packing"], packing);
        (packed["packing"], packed["image"]) = (seen["packing"].clone(), seen["image"].clone());
        assert_eq!(packed, seen, "{packing}");
    }
    let text = run(&["inspect", image.to_str().unwrap()]);
    let text = String::from_utf8(text.stdout).unwrap();
    for expected in ["Raspberry Pi OS 13 trixie", "2 root", "vfat \"bootfs\"", "is partition 2\n", "ARMED"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn file_systems_of_all_kinds_are_read() {
    let shapes = [
        Shape { fat: 12, boot_length: MIB, ..PLAIN },
        Shape { fat: 32, boot_length: 40 * MIB, ..PLAIN },
        Shape { table: "gpt", ..PLAIN },
        Shape { ext4: &["-b", "4096", "-O", "inline_data,metadata_csum,64bit"], ..PLAIN },
        Shape { ext4: &["-b", "1024", "-O", "^64bit,^extent,^metadata_csum,^has_journal"], ..PLAIN },
        Shape { ext4: &["-O", "metadata_csum_seed"], ..PLAIN },
    ];
    let (_directory, plain) = made(&PLAIN);
    let plain = found(&plain);
    for shape in shapes {
        let (_directory, image) = made(&shape);
        let what = format!("{} FAT{} {:?}", shape.table, shape.fat, shape.ext4);
        let seen = found(&image);
        assert_eq!(seen["system"], plain["system"], "{what}");
        assert_eq!(seen["growers"], plain["growers"], "{what}");
        assert_eq!(seen["boot"]["initramfs"], plain["boot"]["initramfs"], "{what}");
        let target = if shape.table == "gpt" { Value::from("not-told") } else { serde_json::json!({ "partition": 2 }) };
        assert_eq!(seen["boot"]["command_lines"][0]["target"], target, "{what}");
    }
}

#[test]
fn a_feature_that_is_not_known_is_no_damage() {
    let (_directory, image) = made(&Shape { ext4: &["-O", "^metadata_csum"], ..PLAIN });
    // The highest of the features that a reader has to know (`s_feature_incompat`).
    let file = OpenOptions::new().write(true).open(&image).unwrap();
    file.write_all_at(&[0x40], PLAIN.root() + 1024 + 0x63).unwrap();
    let text = refused(&image);
    assert!(
        text.contains("the file system on partition 2 of")
            && text.contains("has a feature that burnonce does not know"),
        "{text}"
    );
    assert!(!text.contains("damaged"), "{text}");
}

#[test]
fn an_empty_ext4_of_the_upper_s_label_is_a_placeholder() {
    let (directory, image) = made(&PLAIN);
    let (start, length) = (PLAIN.root() + PLAIN.root_length, 4 * MIB);
    OpenOptions::new().write(true).open(&image).unwrap().set_len(start + length).unwrap();
    let path = image.to_str().unwrap();
    let line = format!("start={}, size={}, type=83\n", start / 512, length / 512);
    said("sfdisk", &["--quiet", "--append", "--no-reread", path], line.as_bytes());
    let offset = format!("offset={start}");
    let make = |more: &[&str]| {
        said(
            "mke2fs",
            &[&["-q", "-F", "-t", "ext4", "-L", "burnonce", "-E", &offset], more, &[path, "4096k"]].concat(),
            b"",
        )
    };
    make(&[]);
    let seen = found(&image);
    assert_eq!((&seen["partitions"][2]["placeholder"], &seen["free_slot"]), (&Value::from(true), &Value::from(3)));
    let behind = |seen: &Value| seen["obstacles"].to_string().contains("partition 3 lies behind root");
    assert!(!behind(&seen), "{seen}");
    put(directory.path(), "other/file", "x");
    make(&["-d", directory.path().join("other").to_str().unwrap()]);
    let seen = found(&image);
    assert!(seen["partitions"][2]["placeholder"] == false && seen["free_slot"] == 4 && behind(&seen), "{seen}");
}

#[test]
fn links_in_an_image_do_not_reach_the_host() {
    let directory = TempDir::new().unwrap();
    let (boot, root) = trixie(directory.path());
    let host = directory.path().join("host");
    fs::write(&host, "Raspberry Pi reference 1999-01-01\n").unwrap();
    // One that leads to itself is not there, and no damage.
    link(&root, "etc/armbian-release", "armbian-release");
    for target in [host.to_str().unwrap().to_owned(), format!("../../../../../../../../..{}", host.display())] {
        fs::remove_file(root.join("etc/rpi-issue")).unwrap();
        symlink(target, root.join("etc/rpi-issue")).unwrap();
        let image = PLAIN.make(directory.path(), "a.img", &boot, &root);
        let seen = found(&image);
        assert_eq!(seen["system"]["distribution"], "debian");
        assert_eq!(seen["system"]["release"], Value::Null);
    }
}

#[test]
fn what_is_no_image_is_refused_with_a_remedy() {
    let directory = TempDir::new().unwrap();
    let (boot, root) = trixie(directory.path());
    let at = |name: &str| directory.path().join(name);
    let write = |name: &str, content: &[u8]| {
        fs::write(at(name), content).unwrap();
        at(name)
    };
    let random: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    assert!(refused(&at("missing.img")).contains("missing.img is not there; check the name"));
    assert!(refused(directory.path()).contains("is a directory; name the image file itself"));
    assert!(refused(Path::new("/dev/null")).contains("/dev/null is no file; name an image file"));
    assert!(refused(&write("empty.img", b"")).contains("empty.img is empty; download the image again"));
    assert!(refused(&write("short", b"x")).contains("is no disk image: its first sector has no partition table"));
    assert!(refused(&write("random", &random)).contains("random is no disk image"));
    assert!(refused(&write("a.zip", b"PK\x03\x04....")).contains("a.zip is a zip archive; unpack it with `unzip`"));
    for (kind, path) in packed(&write("text", "Not an image.\n".repeat(500).as_bytes())) {
        let text = refused(&path);
        assert!(text.contains(&format!("what is packed in {} is no disk image", path.display())), "{kind}: {text}");
        let twice = packed(&path).into_iter().find(|(twice, _)| *twice == kind).unwrap().1;
        assert!(refused(&twice).contains("is packed once more; unpack it by hand"), "{kind}");
    }

    let image = PLAIN.make(directory.path(), "whole.img", &boot, &root);
    let with = |offset: u64, bytes: &[u8]| {
        let copy = at("copy.img");
        fs::copy(&image, &copy).unwrap();
        OpenOptions::new().write(true).open(&copy).unwrap().write_all_at(bytes, offset).unwrap();
        copy
    };
    let zeros = vec![0; 4096];
    // What was there before hides nothing: both superblocks of ext4 go.
    let other = |magic: &[u8]| with(PLAIN.root(), &[magic, &zeros].concat());
    assert!(
        refused(&other(b"LUKS\xba\xbe")).contains("partition 2 of")
            && refused(&at("copy.img")).contains("encrypted by LUKS")
    );
    assert!(
        refused(&other(b"hsqs"))
            .contains("holds SquashFS, and no partition holds an ext4, which burnonce needs for root")
    );
    // A superblock whose checksum is wrong.
    assert!(refused(&with(PLAIN.root() + 1024 + 4, &[9; 4])).contains("the file system on partition 2 of"));
    assert!(
        refused(&with(446 + 16 + 4, &[5])).contains("partition 2 of")
            && refused(&at("copy.img")).contains("is an extended one")
    );
    assert!(refused(&with(446 + 16 + 8, &[0, 0x21, 0, 0])).contains("share sectors"));
    assert!(refused(&with(510, &[0, 0])).contains("copy.img is no disk image"));
    // A table of FAT in which each cluster is followed by itself.
    let circles: Vec<u8> = (2..10_000u16).flat_map(u16::to_le_bytes).collect();
    let seen = found(&with(BOOT + 512 + 4, &circles));
    let unreadable = seen["boot"]["initramfs"][0]["unreadable"].as_str();
    assert!(unreadable.is_some_and(|why| !why.is_empty()), "{seen}");
}

#[test]
fn an_image_that_was_cut_short_is_told_so() {
    let (_directory, image) = made(&PLAIN);
    let length = image.metadata().unwrap().len();
    let cut = |path: &Path, length: u64| {
        let copy = path.with_file_name("cut");
        fs::copy(path, &copy).unwrap();
        OpenOptions::new().write(true).open(&copy).unwrap().set_len(length).unwrap();
        copy
    };
    for part in [MIB, BOOT + 5, PLAIN.root(), PLAIN.root() + 5 * MIB, length - 512, length - 1] {
        let text = refused(&cut(&image, part));
        assert!(text.contains("cut is cut short: partition") && text.contains("download it again"), "{part}: {text}");
    }
    for (kind, path) in packed(&image) {
        let length = path.metadata().unwrap().len();
        for part in [20, length / 3, length * 2 / 3, length - 1] {
            let text = refused(&cut(&path, part));
            let expected = format!("cut is cut short: its {kind} data end before they are complete; download it again");
            assert!(text.contains(&expected), "{kind}, {part} bytes of {length}: {text}");
        }
        let damaged = cut(&path, length);
        let file = OpenOptions::new().write(true).open(&damaged).unwrap();
        file.write_all_at(&[0x5A; 64], length / 2).unwrap();
        let text = refused(&damaged);
        assert!(text.contains("cannot be unpacked: its") || text.contains("is cut short"), "{kind}: {text}");
        assert!(text.contains("compare it with the checksum"), "{kind}: {text}");
    }
}

#[test]
fn a_journal_that_was_not_replayed_is_said() {
    let (_directory, image) = made(&PLAIN);
    let place = format!("{}?offset={}", image.display(), PLAIN.root());
    said("debugfs", &["-w", "-R", "feature needs_recovery", &place], b"");
    let before = fs::read(&image).unwrap();
    let seen = found(&image);
    assert_eq!(seen["root"]["clean"], false);
    let obstacles = seen["obstacles"].as_array().unwrap();
    let found =
        obstacles.iter().find(|o| o["found"].as_str().unwrap().starts_with("the root file system was not unmounted"));
    assert!(found.is_some(), "{obstacles:?}");
    assert_eq!(fs::read(&image).unwrap(), before, "the image was written");
}

#[test]
fn where_it_cannot_be_unpacked_the_remedy_is_named() {
    let (directory, image) = made(&PLAIN);
    let (_, path) = packed(&image).remove(0);
    let nowhere = directory.path().join("nowhere");
    let output =
        Command::new(env!("CARGO_BIN_EXE_burnonce")).arg("inspect").arg(path).env("TMPDIR", &nowhere).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("set TMPDIR to a directory that you can write to: making a file in"), "{text}");
}

#[test]
fn nothing_stays_of_an_inspection_that_is_ended() {
    let (_directory, image) = made(&PLAIN);
    let (_, path) = packed(&image).remove(0);
    let temporary = TempDir::new().unwrap();
    for wait in [1, 5, 10, 20, 40, 80] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_burnonce"))
            .arg("inspect")
            .arg(&path)
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "after {wait} ms");
    }
}

#[test]
fn an_image_that_is_damaged_anywhere_gives_findings_or_an_error() {
    // Small, and without checksums, so that more of the damage is believed.
    let small = Shape { fat: 12, boot_length: MIB, root_length: 2 * MIB, ext4: &["-O", "^metadata_csum"], ..PLAIN };
    let (_directory, image) = made(&small);
    let whole = fs::read(&image).unwrap();
    let file = OpenOptions::new().write(true).open(&image).unwrap();
    let length = whole.len() as u64;
    // One place at a time, so that the others are read: the table; FAT's boot sector, tables and directories; the superblock, descriptors,
    // inodes and directories of ext4; anything.
    let places = [440..512, BOOT..BOOT + 64, BOOT..BOOT + (16 << 10), small.root() + 1024..small.root() + 2048]
        .into_iter()
        .chain([small.root() + 2048..small.root() + (64 << 10), small.root()..small.root() + (512 << 10), 0..length]);
    let damage = proptest::sample::select(places.collect::<Vec<_>>())
        .prop_flat_map(|place| proptest::collection::vec((place, any::<u8>()), 1..40));
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(damage in damage)| {
        for (at, byte) in &damage {
            file.write_all_at(&[*byte], *at).unwrap();
        }
        match inspect(&image) {
            Ok(seen) => prop_assert!(!seen.to_string().is_empty() && serde_json::to_string(&seen).is_ok()),
            Err(error) => prop_assert!(format!("{error:#}").contains("a.img"), "{error:#}"),
        }
        for (at, _) in &damage {
            file.write_all_at(&whole[*at as usize..=*at as usize], *at).unwrap();
        }
    });
}
