//! What is not known of an image, or may stand in the way of it: each takes the good ending away.

use super::*;

fn on_boot(path: &str, content: impl AsRef<[u8]>) -> Image {
    let image = prepared();
    Image { boot: image.boot.file(path, content), ..image }
}

fn on_root(path: &str, content: impl AsRef<[u8]>) -> Image {
    let image = prepared();
    Image { root: image.root.file(path, content), ..image }
}

/// The one obstacle of an image.
fn one(image: &Image) -> Obstacle {
    let seen = inspected(image);
    assert_eq!(seen.obstacles.len(), 1, "{:#?}", seen.obstacles);
    assert!(!seen.to_string().contains("Nothing was found that stands"));
    seen.obstacles[0].clone()
}

#[test]
fn a_good_ending_leaves_the_last_word_to_the_node() {
    let text = inspected(&prepared()).to_string();
    let expected = "\nNothing was found that stands in the way; `burnonce plan` on the node has the\nlast word.\n";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_configuration_that_converts_nothing_stands_in_the_way() {
    let off = one(&on_root("etc/burnonce.yaml", "# Not yet.\nconvert: false\n"));
    assert_eq!(off.found, "`convert: false` is in /etc/burnonce.yaml: no boot converts");
    let mistake = one(&on_root("etc/burnonce.yaml", "convrt: true\n"));
    assert!(mistake.found.contains("converts nothing: /etc/burnonce.yaml:1:1: "), "{mistake:?}");
    assert!(one(&on_root("etc/burnonce.yaml", b"\xff")).found.contains("not UTF-8"));
    assert_eq!(inspected(&on_root("etc/burnonce.yaml", "convert: true\n")).obstacles, []);
}

#[test]
fn an_initramfs_that_was_not_looked_into_stands_in_the_way() {
    let closed = one(&on_boot("initramfs_2712", "something"));
    assert!(closed.found.starts_with("what initramfs_2712 on the boot partition does is not known: "), "{closed:?}");
    let mut image = prepared();
    for number in 0..20 {
        image.boot = image.boot.file(&format!("initramfs_{number}"), initramfs::tests::made_of(&["init"]));
    }
    let more = "5 files more on partition 1 have the name of an initramfs, and were not looked into";
    assert_eq!(one(&image).found, more);
    // By another name, as config.txt has it, and with a grower in it.
    let grows = initramfs::tests::made_of(&["scripts/local-bottom/growroot"]);
    for line in ["[pi5]\ninitramfs early.img,mine.img followkernel\n", "ramfsfile=mine.img\n"] {
        let mut image = on_boot("mine.img", &grows);
        image.boot = image.boot.file("config.txt", line);
        assert!(one(&image).found.starts_with("cloud-initramfs-growroot (scripts/local-bottom/growroot in"), "{line}");
    }
}

#[test]
fn a_command_line_whose_root_is_not_known_stands_in_the_way() {
    let none = one(&on_boot("cmdline.txt", "console=tty1 rootwait\n"));
    assert_eq!(none.found, "no `root=` is in cmdline.txt: what is root there is not known");
    let untold = one(&on_boot("cmdline.txt", "root=PARTLABEL=root rootwait\n"));
    let expected = "whether `root=PARTLABEL=root` in cmdline.txt names the root partition cannot be told from an image";
    assert_eq!(untold.found, expected);
}

#[test]
fn a_command_line_of_some_boards_counts() {
    for (config, path) in [
        ("[pi5]\ncmdline=five.txt\n", "five.txt"),
        ("include more.txt\n", "more/cmdline.txt"),
        ("os_prefix=more/\n[cm4]\ncmdline=four.txt\n", "four.txt"),
    ] {
        let mut image = on_boot(path, "root=PARTUUID=5a6b7c8d-02 rw\n");
        image.boot = image.boot.file("config.txt", config).file("more.txt", "[all]\nos_prefix=more/\n");
        assert!(one(&image).found.starts_with(&format!("`rw` in {path} has root mounted writable")), "{config}");
        let expected = format!("{path} (on some boards): root=PARTUUID=5a6b7c8d-02 rw\n");
        assert!(inspected(&image).to_string().contains(&expected), "{config}");
    }
}

#[test]
fn a_line_of_fstab_that_names_nothing_stands_in_the_way() {
    let root = "PARTUUID=5a6b7c8d-02 / ext4 defaults 0 1\n";
    let with = |line: &str| on_root("etc/fstab", format!("{root}{line}\n"));
    let waits = one(&with("LABEL=data /srv ext4 defaults 0 2"));
    assert_eq!(waits.found, "`LABEL=data` in /etc/fstab (/srv) names no partition of this image: a boot waits for it");
    let remedy = "take that line out in the root partition, or write `noauto` into its fourth field";
    assert_eq!(waits.remedy, remedy);
    for source in ["PARTUUID=5a6b7c8d-03", "/dev/mmcblk0p3", "/dev/disk/by-partuuid/5A6B7C8D-03", "LABEL=burnonce", "PARTLABEL=burnonce"] {
        for options in ["defaults", "nofail"] {
            let mounted = one(&with(&format!("{source} /srv ext4 {options} 0 2")));
            let expected = format!("`{source}` in /etc/fstab is what the upper will be called: it would be mounted on /srv");
            assert_eq!((mounted.found, mounted.remedy.as_str()), (expected, remedy));
        }
    }
    assert!(one(&with("/dev/mmcblk0p4 none swap sw 0 0")).found.ends_with("a boot waits for it"));
    for line in ["LABEL=data /srv ext4 noauto 0 2", "LABEL=data /srv ext4 ro,nofail 0 2", "/dev/mmcblk0p3 /srv ext4 noauto"] {
        assert_eq!(inspected(&with(line)).obstacles, [], "{line}");
    }
    let of_root = one(&on_root("etc/fstab", "LABEL=other / ext4 defaults 0 1\n"));
    assert_eq!(of_root.found, "`LABEL=other` in /etc/fstab (/) names no partition of this image");
    assert_eq!(of_root.remedy, "let it name partition 2");
}
