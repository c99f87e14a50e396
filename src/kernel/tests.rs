use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

/// An arm64 Image: bytes without form, and somewhere in them the banner. `at` is its offset.
fn raw(version: &str, at: usize) -> Vec<u8> {
    let mut image = vec![0x5a; at];
    image.extend_from_slice(b"Linux version %s (%s)\0");
    image.extend_from_slice(format!("Linux version {version} (serge@pi) (gcc 14) #1 SMP\n\0").as_bytes());
    image.extend_from_slice(&[0xa5; 1000]);
    image
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn bzimage(version: &str) -> Vec<u8> {
    let mut image = vec![0; 0x4000];
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x3000_u16.to_le_bytes());
    let text = format!("{version} (debian-kernel@lists.debian.org) #1 SMP\0");
    image[0x3200..0x3200 + text.len()].copy_from_slice(text.as_bytes());
    image
}

fn zboot(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    image[..2].copy_from_slice(b"MZ");
    image[4..8].copy_from_slice(b"zimg");
    image[8..12].copy_from_slice(&0x1000_u32.to_le_bytes());
    image[12..16].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    image[24..24 + kind.len()].copy_from_slice(kind.as_bytes());
    image.extend_from_slice(payload);
    image
}

fn zimage(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 0x2345];
    image[0x24..0x28].copy_from_slice(&0x016f_2818_u32.to_le_bytes());
    image.extend_from_slice(payload);
    image.extend_from_slice(b"device tree");
    image
}

#[test]
fn the_version_is_read_out_of_every_kind_of_image() {
    let version = "6.12.47+rpt-rpi-2712";
    let raw = |at| raw(version, at);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kernel");
    for (what, image, expected) in [
        ("raw", raw(100), Some(version)),
        // The banner lies across the end of what is read at once.
        ("raw, across 256 KiB", raw((256 << 10) - 30), Some(version)),
        ("raw, far in", raw((1 << 20) - 5), Some(version)),
        ("gzip", gzip(&raw(700_000)), Some(version)),
        ("bzImage", bzimage("6.12.48+deb13-cloud-amd64"), Some("6.12.48+deb13-cloud-amd64")),
        ("zboot", zboot("gzip", &gzip(&raw(5000))), Some(version)),
        ("zImage", zimage(&gzip(&raw(5000))), Some(version)),
        ("zboot with zstd", zboot("zstd22", b"(\xb5/\xfd"), None),
        ("a torn gzip", gzip(&raw(700_000))[..300].to_vec(), None),
        ("no kernel", vec![7; 4096], None),
        ("a banner that the file ends in", b"..Linux version 6.1".to_vec(), None),
        ("empty", Vec::new(), None),
    ] {
        fs::write(&path, image).unwrap();
        assert_eq!(image::version(&path).as_deref(), expected, "{what}");
    }
}

#[test]
fn config_txt_is_read_for_all_boards() {
    for (text, os_prefix, kernel) in [
        ("", "", None),
        ("[pi4]\nkernel=a\n[all]\nkernel=vmlinuz\r\ncmdline=x\n", "", Some("vmlinuz")),
        (
            "# kernel=no\nos_prefix=old/\n[all]\nos_prefix=current/\n[tryboot]\nos_prefix=new/\nkernel=b",
            "current/",
            None,
        ),
    ] {
        let found = (setting(text, "os_prefix").unwrap_or_default(), setting(text, "kernel"));
        assert_eq!(found, (os_prefix, kernel), "{text}");
    }
}

/// A boot partition with these files, and a tree with the modules of these kernels.
fn node(boot: &[(&str, Vec<u8>)], modules: &[&str]) -> (tempfile::TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (at, lower) = (directory.path().join("boot"), directory.path().join("lower"));
    fs::create_dir(&at).unwrap();
    for (name, content) in boot {
        fs::create_dir_all(at.join(name).parent().unwrap()).unwrap();
        fs::write(at.join(name), content).unwrap();
    }
    for version in modules {
        fs::create_dir_all(lower.join("lib/modules").join(version)).unwrap();
    }
    (directory, at, lower)
}

#[test]
fn the_image_needs_the_modules_of_what_boots_next() {
    let config = |text: &str| ("config.txt", text.as_bytes().to_vec());
    let image = |version: &str| gzip(&raw(version, 64));
    let ubuntu = "[all]\nos_prefix=current/\n[tryboot]\nos_prefix=new/\n";
    let rpi = [("kernel8.img", image("6.12.50+rpt-rpi-v8")), ("kernel_2712.img", image("6.12.47+rpt-rpi-2712"))];
    for (what, boot, modules, running, expected) in [
        ("upgraded", vec![("vmlinuz", image("6.12.50"))], vec!["6.12.48"], "6.12.48", Some("is 6.12.50 (vmlinuz on")),
        ("agrees", vec![("vmlinuz", image("6.12.48"))], vec!["6.12.48"], "6.12.47", None),
        ("another flavour does not count", rpi.to_vec(), vec!["6.12.47+rpt-rpi-2712"], "6.12.40+rpt-rpi-2712", None),
        (
            "this one does",
            rpi.to_vec(),
            vec!["6.12.47+rpt-rpi-2712"],
            "6.12.40+rpt-rpi-v8",
            Some("rpi-v8 (kernel8.img"),
        ),
        ("all count", rpi.to_vec(), vec!["6.12.47+rpt-rpi-2712"], "6.12.40+rpt-rpi-v7", Some("rpi-v8 (kernel8.img")),
        (
            "a prefix",
            vec![config(ubuntu), ("current/vmlinuz", image("6.14.0")), ("new/vmlinuz", image("6.17.0"))],
            vec!["6.14.0"],
            "6.14.0",
            None,
        ),
        (
            "a prefix, upgraded",
            vec![config(ubuntu), ("current/vmlinuz", image("6.17.0")), ("vmlinuz", image("6.14.0"))],
            vec!["6.14.0"],
            "6.14.0",
            Some("(current/vmlinuz on"),
        ),
        (
            "a prefix with nothing there",
            vec![config(ubuntu), ("vmlinuz", image("6.14.0"))],
            vec!["6.14.0"],
            "6.1",
            None,
        ),
        (
            "the named one of several",
            vec![config("kernel=vmlinuz-b"), ("vmlinuz-a", image("6.1")), ("vmlinuz-b", image("6.2"))],
            vec!["6.2"],
            "6.2",
            None,
        ),
        ("a spare one", vec![("vmlinuz", image("6.2")), ("vmlinuz.bak", image("6.1"))], vec!["6.2"], "6.2", None),
        ("by its name", vec![("vmlinuz-6.3", vec![1, 2, 3])], vec!["6.2"], "6.2", Some("is 6.3 (vmlinuz-6.3 on")),
        ("no kernel there", vec![], vec!["6.2"], "6.2", None),
        ("no kernel there, none running", vec![], vec!["6.2"], "6.3", Some("the kernel that runs is 6.3, and")),
    ] {
        let (_directory, boot, lower) = node(&boot, &modules);
        let error = check_next(&boot, &lower, running).err().map(|error| error.to_string());
        match (&error, expected) {
            (None, None) => {}
            (Some(error), Some(expected)) => {
                assert!(error.contains(expected), "{what}: {error}");
                let has = format!(
                    "(it has {}): run `burnonce maintain apt update` and `burnonce maintain apt full-upgrade`",
                    modules.join(", ")
                );
                assert!(error.contains(&has), "{what}: {error}");
            }
            _ => panic!("{what}: {error:?}"),
        }
    }
}

#[test]
fn an_undo_may_have_the_modules_in_its_upper() {
    let (directory, boot, lower) = node(&[("vmlinuz", gzip(&raw("6.3", 64)))], &["6.2"]);
    let upper = directory.path().join("upper");
    assert!(check(Some(&boot), &[&lower, &upper], "6.2").is_err());
    fs::create_dir_all(upper.join("usr/lib/modules/6.3")).unwrap();
    check(Some(&boot), &[&lower, &upper], "6.2").unwrap();
    assert!(check(None, &[&lower], "6.3").is_err());
}
