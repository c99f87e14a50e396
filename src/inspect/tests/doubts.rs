//! What is not known of an image, or may stand in the way of it: each takes the good ending away.

use super::partition::Target;
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
    for source in [
        "PARTUUID=5a6b7c8d-03",
        "/dev/mmcblk0p3",
        "/dev/disk/by-partuuid/5A6B7C8D-03",
        "LABEL=burnonce",
        "PARTLABEL=burnonce",
    ] {
        for options in ["defaults", "nofail"] {
            let mounted = one(&with(&format!("{source} /srv ext4 {options} 0 2")));
            let expected =
                format!("`{source}` in /etc/fstab is what the upper will be called: it would be mounted on /srv");
            assert_eq!((mounted.found, mounted.remedy.as_str()), (expected, remedy));
        }
    }
    assert!(one(&with("/dev/mmcblk0p4 none swap sw 0 0")).found.ends_with("a boot waits for it"));
    for line in
        ["LABEL=data /srv ext4 noauto 0 2", "LABEL=data /srv ext4 ro,nofail 0 2", "/dev/mmcblk0p3 /srv ext4 noauto"]
    {
        assert_eq!(inspected(&with(line)).obstacles, [], "{line}");
    }
    for line in ["PARTUUID=5a6b7c8d-01 /usr ext4 ro 0 2", "LABEL=usr /usr/ ext4 noauto 0 2"] {
        let usr = one(&with(line)).found;
        assert!(usr.ends_with("of its own, into which an overlay over root does not reach"), "{line}: {usr}");
    }
    let of_root = one(&on_root("etc/fstab", "LABEL=other / ext4 defaults 0 1\n"));
    assert_eq!(of_root.found, "`LABEL=other` in /etc/fstab (/) names no partition of this image");
    assert_eq!(of_root.remedy, "let it name partition 2");
}

#[test]
fn a_placeholder_makes_way_and_any_other_partition_is_named() {
    let mut seen = inspected(&prepared());
    for number in 3..=4 {
        let start = Lba(5 * GIB / 512 + u64::from(number));
        seen.table.partitions.push(Partition { number, start, sectors: Sectors(1), kind: "83".to_owned(), name: None });
        seen.partitions.push(Held {
            number,
            label: None,
            uuid: None,
            placeholder: number == 3,
            ..seen.partitions[1].clone()
        });
    }
    seen.free_slot = obstacles::free_slot(&seen.table, &seen.partitions);
    assert_eq!(seen.free_slot, Some(3));
    let all = obstacles::of(&seen);
    let expected = "partition 4 lies behind root, where the upper goes, and burnonce leaves what it did not make alone";
    assert_eq!(found(&all), [expected]);
    assert!(all[0].remedy.ends_with("`burnonce repartition --use 4` gives this one up"), "{all:?}");
    let slot = "  slot         3, for the upper: partition 3 is a placeholder for it\n";
    assert!(seen.to_string().contains(slot), "{seen}");
    // Of two it is not known which one is meant.
    seen.partitions[3].placeholder = true;
    let all = obstacles::of(&seen);
    assert_eq!(all.len(), 3, "{all:#?}");
    assert!(all[0].found.starts_with("all 4 slots of the MBR partition table are taken"), "{all:#?}");
}

#[test]
fn a_sealed_root_stands_in_the_way_of_a_converted_one_alone() {
    let mut seen = inspected(&prepared());
    seen.root.sealed = true;
    assert_eq!(obstacles::of(&seen), []);
    let text = crate::overlay::complete(&crate::overlay::Counts::default());
    let mut seen = inspected(&on_root("etc/overlayroot.local.conf", text));
    seen.root.sealed = true;
    assert!(found(&obstacles::of(&seen))[0].starts_with("the root file system is sealed"));
}

#[test]
fn without_a_boot_partition_root_s_own_is_looked_at() {
    let with = |files: &[(&str, &str)]| {
        let root = files.iter().fold(prepared().root, |root, (path, content)| root.file(path, content));
        let mut seen = inspected(&prepared());
        let partitions = &seen.partitions;
        seen.findings = look((2, &root), None, partitions).unwrap();
        seen.obstacles = obstacles::of(&seen);
        seen
    };
    let seen = with(&[]);
    let expected = "no partition holds a FAT file system, and /boot of the root has neither armbianEnv.txt nor extlinux/extlinux.conf";
    assert!(seen.obstacles[0].found.starts_with(expected), "{:?}", seen.obstacles);
    assert!(!seen.obstacles[0].remedy.contains("Raspberry"));

    let environment = "verbosity=1\nrootdev=UUID=00000000-0000-0000-0000-000000000002\nextraargs=rw cma=256M\n";
    let seen = with(&[("boot/armbianEnv.txt", environment), ("boot/initrd.img-6", "\x02\x21\x4c\x18lz4")]);
    let boot = seen.findings.boot.as_ref().unwrap();
    assert_eq!((boot.partition, boot.command_lines[0].target), (2, Target::Partition(2)));
    assert_eq!(boot.command_lines[0].text, "root=UUID=00000000-0000-0000-0000-000000000002 rw cma=256M");
    let obstacles = &seen.obstacles;
    assert_eq!(obstacles.len(), 2, "{obstacles:#?}");
    assert_eq!(obstacles[0].remedy, "take the word `rw` out of /boot/armbianEnv.txt on the root partition");
    assert!(
        obstacles[1]
            .found
            .starts_with("what /boot/initrd.img-6 on the root partition does is not known: it is packed by lz4")
    );
    assert!(seen.to_string().contains("  kernel       /boot/armbianEnv.txt: root=UUID="), "{seen}");

    let extlinux = "default one\nlabel one\n  linux /vmlinuz\n  append root=LABEL=rootfs rootwait\nlabel two\n\tAPPEND root=LABEL=x\n";
    let seen = with(&[("boot/extlinux/extlinux.conf", extlinux)]);
    assert_eq!(
        found(&seen.obstacles),
        ["`root=LABEL=x` in /boot/extlinux/extlinux.conf names no partition of this image"]
    );
}

#[test]
fn what_counts_before_cloud_init_s_switches_is_seen() {
    let (armed, off, harmless) = (State::Armed, State::Disarmed, State::Harmless);
    let with = |files: &[(&str, &str)], line: &str| {
        let image = ubuntu("24.04", "noble");
        let root = files.iter().fold(image.root, |root, (path, content)| root.file(path, content));
        let seen = inspected(&Image { root, boot: image.boot.file("cmdline.txt", line), ..image });
        let disabled = seen.findings.system.cloud_init.as_ref().unwrap().disabled;
        (seen.findings.growers.iter().map(|grower| grower.state).collect::<Vec<_>>(), disabled, seen)
    };
    let line = "root=LABEL=writable";
    let switch = ("etc/growroot-disabled", "");
    let ignores = ("etc/cloud/cloud.cfg.d/90-x.cfg", "growpart: {ignore_growroot_disabled: true}\n");
    assert_eq!(with(&[switch], line).0, [off, harmless]);
    assert_eq!(with(&[switch, ignores], line).0, [armed, armed]);
    let file = ("etc/cloud/cloud-init.disabled", "");
    let (states, disabled, _) = with(&[file], &format!("{line} cloud-init=enabled"));
    assert_eq!((states, disabled), (vec![armed, armed], false));
    let (states, disabled, _) = with(&[], &format!("{line} cloud-init=disabled"));
    assert_eq!((states, disabled), (vec![off, off], true));
    let last = ("etc/cloud/cloud.cfg", "cloud_init_modules: [seed_random]\ncloud_final_modules:\n - growpart\n");
    assert_eq!(with(&[last], line).0, [armed]);
    // The parser would take minutes for some that is long, so that it is not asked.
    let long = "[".repeat(20 << 10);
    for path in ["etc/cloud/cloud.cfg", "etc/cloud/cloud.cfg.d/90-x.cfg"] {
        let (states, _, seen) = with(&[(path, long.as_str())], line);
        let why = &seen.findings.growers[0].why;
        assert_eq!(states, [armed, armed], "{path}");
        assert!(why.contains(&format!("(/{path} was not looked into: it is longer than 16 KiB)")), "{why}");
    }
}

#[test]
fn what_masks_a_unit_or_a_definition_is_seen() {
    let unit =
        |path: &str, content: &str| system::unit(&prepared().root.file(path, content), "burnonce.service").unwrap();
    assert_eq!(unit("etc/systemd/system/burnonce.service", ""), system::Unit::Masked);
    assert_eq!(unit("etc/systemd/system/burnonce.service", "[Unit]\n"), system::Unit::Enabled);
    let repart = on_root("usr/lib/systemd/system/systemd-repart.service", "[Unit]\n").root;
    let defined = repart.file("usr/local/lib/repart.d/50-root.conf", "[Partition]\nType=root\n");
    let of = |root: &Memory| growers_of(&inspected(&Image { root: root.clone(), ..prepared() })).len();
    assert_eq!(of(&defined), 1);
    assert_eq!(of(&defined.clone().symlink("etc/repart.d/50-root.conf", "/dev/null")), 0);
    assert_eq!(of(&defined.clone().file("etc/repart.d/50-root.conf", "")), 0);
    assert_eq!(of(&defined.symlink("etc/repart.d/60-root.conf", "/dev/null")), 1);
}
