//! Trees in memory, one for each row of images that people burn.

mod doubts;

use super::boot::Used;
use super::growers::State;
use super::obstacles::Obstacle;
use super::system::Distribution;
use super::tree::memory::Memory;
use super::*;
use crate::overlay::Generator;
use crate::table::Scheme;
use crate::units::{GIB, MIB, Sectors};

/// What a row has.
pub(crate) struct Image {
    pub boot: Memory,
    pub root: Memory,
    pub labels: [&'static str; 2],
}

const CLOUD_CFG: &str =
    "cloud_init_modules:\n - seed_random\n - growpart\n - [resizefs, always]\ncloud_config_modules:\n - locale\n";

pub(crate) fn status(packages: &[(&str, &str)], architecture: &str) -> String {
    let list = packages.iter().map(|(name, version)| {
        format!("Package: {name}\nStatus: install ok installed\nArchitecture: {architecture}\nVersion: {version}\nDescription: x\n lines: of it\n\n")
    });
    let gone = "Package: overlayroot\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 0.1\n\n";
    list.collect::<String>() + gone
}

pub(crate) fn os_release(pretty: &str, id: &str, version: &str, codename: &str) -> String {
    format!("PRETTY_NAME=\"{pretty}\"\n# a comment\nID={id}\nVERSION_ID=\"{version}\"\nVERSION_CODENAME={codename}\n")
}

/// Ubuntu Server for the Raspberry Pi.
pub(crate) fn ubuntu(version: &str, codename: &str) -> Image {
    let packages = [("dpkg", "1.22"), ("initramfs-tools", "0.142"), ("cloud-init", "25.2"), ("overlayroot", "0.48")];
    let line = "console=serial0,115200 multipath=off dwc_otg.lpm_enable=0 console=tty1 root=LABEL=writable rootfstype=ext4 rootwait fixrtc";
    Image {
        boot: Memory::default()
            .file("config.txt", "[all]\nkernel=vmlinuz\ncmdline=cmdline.txt\ninitramfs initrd.img followkernel\n")
            .file("cmdline.txt", line)
            .file("initrd.img", initramfs::tests::made_of(&["init", "scripts/init-bottom/overlayroot"]))
            .file("user-data", "#cloud-config\nchpasswd:\n  expire: true\n")
            .file("network-config", "version: 2\n"),
        root: Memory::default()
            .file("usr/lib/os-release", os_release(&format!("Ubuntu {version} LTS"), "ubuntu", version, codename))
            .symlink("etc/os-release", "../usr/lib/os-release")
            .file("var/lib/dpkg/status", status(&packages, "arm64"))
            .file(Generator::InitramfsTools.script(), "")
            .file("etc/cloud/cloud.cfg", CLOUD_CFG)
            .file("etc/machine-id", "")
            .file(
                "etc/fstab",
                "LABEL=writable\t/\text4\tdefaults\t0 1\nLABEL=system-boot /boot/firmware vfat defaults 0 1\n",
            ),
        labels: ["system-boot", "writable"],
    }
}

/// Ubuntu with two boots on the boot partition, and dracut.
pub(crate) fn ubuntu_ab() -> Image {
    let packages = [("dpkg", "1.23"), ("dracut", "108"), ("cloud-init", "26.1"), ("overlayroot", "0.49")];
    let base = ubuntu("26.04", "resolute");
    Image {
        boot: Memory::default()
            .file("config.txt", "[all]\nos_prefix=current/\n[tryboot]\nos_prefix=new/\n[none]\nos_prefix=other/\n")
            .file("current/cmdline.txt", "console=tty1 root=LABEL=writable rootwait\n")
            .file("new/cmdline.txt", "console=tty1 root=LABEL=writable rootwait rw\n")
            .file("cmdline.txt", "left over"),
        root: base.root.file("var/lib/dpkg/status", status(&packages, "arm64")),
        ..base
    }
}

fn raspios(codename: &str, version: &str, line: &str) -> Image {
    let packages = [("dpkg", "1.21"), ("initramfs-tools", "0.142+rpt1")];
    let pretty = format!("Debian GNU/Linux {version} ({codename})");
    Image {
        boot: Memory::default()
            .file("config.txt", "auto_initramfs=1\n[cm4]\notg_mode=1\n")
            .file("cmdline.txt", line)
            .file("userconf.txt", "me:x\n"),
        root: Memory::default()
            .file("etc/os-release", os_release(&pretty, "debian", version, codename))
            .file("etc/rpi-issue", "Raspberry Pi reference 2025-05-13\nGenerated using pi-gen\n")
            .file("var/lib/dpkg/status", status(&packages, "arm64"))
            .file("etc/fstab", "proc /proc proc defaults 0 0\nPARTUUID=5a6b7c8d-01  /boot/firmware  vfat  defaults  0  2\n#a comment\nPARTUUID=5a6b7c8d-02  /  ext4  defaults,noatime  0  1\n"),
        labels: ["bootfs", "rootfs"],
    }
}

pub(crate) fn bookworm() -> Image {
    let line = "console=tty1 root=PARTUUID=5a6b7c8d-02 rootfstype=ext4 fsck.repair=yes rootwait quiet init=/usr/lib/raspberrypi-sys-mods/firstboot\n";
    let image = raspios("bookworm", "12", line);
    let root = image
        .root
        .file("usr/lib/raspberrypi-sys-mods/firstboot", "#!/bin/sh\n")
        .file("etc/init.d/resize2fs_once", "#!/bin/sh\n")
        .symlink("etc/rc3.d/S01resize2fs_once", "../init.d/resize2fs_once")
        .file("etc/machine-id", "\n");
    Image { root, ..image }
}

pub(crate) fn trixie() -> Image {
    let image = raspios("trixie", "13", "console=tty1 root=PARTUUID=5a6b7c8d-02 rootwait resize\n");
    let boot = image.boot.file("initramfs8", initramfs::tests::made_of(&["scripts/local-premount/resize_early"]));
    let root = image
        .root
        .file("usr/share/initramfs-tools/scripts/local-premount/resize_early", "")
        .file("usr/lib/systemd/system/rpi-resize.service", "[Unit]\n")
        .symlink(
            "etc/systemd/system/multi-user.target.wants/rpi-resize.service",
            "/usr/lib/systemd/system/rpi-resize.service",
        )
        .file("etc/machine-id", "uninitialized\n");
    Image { boot, root, ..image }
}

pub(crate) fn debian() -> Image {
    let packages = [("dpkg", "1.22"), ("initramfs-tools", "0.148")];
    Image {
        boot: Memory::default()
            .file("config.txt", "kernel=vmlinuz-6.12\ninitramfs initrd.img-6.12 followkernel\n")
            .file("cmdline.txt", "console=tty0 root=LABEL=RASPIROOT rw fsck.repair=yes rootwait")
            .file("initrd.img-6.12", initramfs::tests::made_of(&["scripts/local-bottom/rpi-resizerootfs"])),
        root: Memory::default()
            .file("etc/os-release", os_release("Debian GNU/Linux 13 (trixie)", "debian", "13", "trixie"))
            .file("var/lib/dpkg/status", status(&packages, "arm64"))
            .file("etc/fstab", "LABEL=RASPIROOT / ext4 rw 0 1\nLABEL=RASPIFIRM /boot/firmware vfat rw 0 2\n"),
        labels: ["RASPIFIRM", "RASPIROOT"],
    }
}

pub(crate) fn armbian() -> Image {
    let packages = [("dpkg", "1.22"), ("initramfs-tools", "0.142")];
    Image {
        boot: Memory::default()
            .file("config.txt", "initramfs initrd.img followkernel\n")
            .file("cmdline.txt", "root=LABEL=armbi_root rootfstype=ext4 rootwait")
            .file("initrd.img", "\x02\x21\x4c\x18lz4"),
        root: Memory::default()
            .file("etc/os-release", os_release("Armbian 25.8.1 noble", "ubuntu", "24.04", "noble"))
            .file("etc/armbian-release", "BOARD=rpi4b\nVERSION=25.8.1\n")
            .file("var/lib/dpkg/status", status(&packages, "arm64"))
            .file("usr/lib/systemd/system/armbian-resize-filesystem.service", "[Unit]\n")
            .symlink(
                "etc/systemd/system/basic.target.wants/armbian-resize-filesystem.service",
                "/usr/lib/systemd/system/armbian-resize-filesystem.service",
            )
            .file("etc/fstab", "UUID=00000000-0000-0000-0000-000000000002 / ext4 defaults 0 1\n"),
        labels: ["RPICFG", "armbi_root"],
    }
}

/// An inspection of an MBR with these two partitions, as that of a file would be.
pub(crate) fn inspected(image: &Image) -> Inspection {
    let partition = |number: u32, start: u64, sectors: u64| Partition {
        number,
        start: Lba(start),
        sectors: Sectors(sectors),
        kind: "83".to_owned(),
        name: None,
    };
    let table = Table {
        scheme: Scheme::Mbr { signature: 0x5a6b_7c8d },
        sector_size: SECTOR,
        first_usable: Lba(1),
        last_usable: Lba(6 * (GIB / 512) - 1),
        slots: 4,
        partitions: vec![partition(1, 8192, GIB / 1024), partition(2, 8192 + GIB / 1024, 4 * GIB / 512)],
    };
    let held = |number: u32, content: Content| Held {
        number,
        content,
        ext: None,
        label: Some(image.labels[number as usize - 1].to_owned()),
        uuid: Some(format!("00000000-0000-0000-0000-{number:012}")),
        partuuid: Some(format!("5a6b7c8d-{number:02}")),
        placeholder: false,
    };
    let partitions = vec![held(1, Content::Fat), held(2, Content::Ext)];
    let findings = look((2, &image.root), Some((1, &image.boot)), &partitions).unwrap();
    let room = Bytes(4 * GIB);
    let mut inspection = Inspection {
        image: "a.img".to_owned(),
        packing: Packing::None,
        length: Bytes(6 * GIB),
        free_slot: obstacles::free_slot(&table, &partitions),
        table,
        partitions,
        root: Root {
            partition: 2,
            size: Bytes(room.0 - MIB),
            room,
            clean: true,
            errors: false,
            sealed: false,
            journal: true,
        },
        findings,
        obstacles: Vec::new(),
    };
    inspection.obstacles = obstacles::of(&inspection);
    inspection
}

/// The growers, each with its state.
fn growers_of(inspection: &Inspection) -> Vec<(&str, State)> {
    inspection.findings.growers.iter().map(|grower| (grower.name.as_str(), grower.state)).collect()
}

fn found(obstacles: &[Obstacle]) -> Vec<&str> {
    obstacles.iter().map(|obstacle| obstacle.found.as_str()).collect()
}

const NOT_INSTALLED: &str = "burnonce is not in the image";

#[test]
fn each_distribution_is_recognised() {
    let known = [
        (ubuntu("22.04", "jammy"), Distribution::Ubuntu, "22.04", "jammy", None),
        (ubuntu("24.04", "noble"), Distribution::Ubuntu, "24.04", "noble", None),
        (ubuntu_ab(), Distribution::Ubuntu, "26.04", "resolute", None),
        (bookworm(), Distribution::RaspberryPiOs, "12", "bookworm", Some("2025-05-13")),
        (trixie(), Distribution::RaspberryPiOs, "13", "trixie", Some("2025-05-13")),
        (debian(), Distribution::Debian, "13", "trixie", None),
        (armbian(), Distribution::Armbian, "24.04", "noble", Some("25.8.1 rpi4b")),
    ];
    for (image, distribution, version, codename, release) in known {
        let seen = inspected(&image);
        let system = &seen.findings.system;
        let what = &system.name;
        assert_eq!(system.distribution, distribution, "{what}");
        assert_eq!(system.version.as_deref(), Some(version), "{what}");
        assert_eq!(system.codename.as_deref(), Some(codename), "{what}");
        assert_eq!(system.release.as_deref(), release, "{what}");
        assert_eq!(system.architecture.as_deref(), Some("arm64"), "{what}");
        assert!(!system.burnonce.installed && !system.burnonce.armed && !system.has_machine_id, "{what}");
        assert_eq!(seen.free_slot, Some(3), "{what}");
        let lines = &seen.findings.boot.as_ref().unwrap().command_lines;
        assert!(
            lines.iter().filter(|l| l.used != Used::Never).all(|l| l.target == Target::Partition(2)),
            "{what}: {lines:?}"
        );
        let root = seen.findings.fstab.iter().find(|mount| mount.directory == "/").unwrap();
        assert_eq!(root.target, Target::Partition(2), "{what}");
    }
}

#[test]
fn the_growers_of_each_distribution_are_found() {
    let (armed, off, harmless) = (State::Armed, State::Disarmed, State::Harmless);
    let cloud = [("cloud-init growpart", armed), ("cloud-init resizefs", armed)];
    let (first, resize) = ("Raspberry Pi OS' first boot", "Raspberry Pi OS' resize_early");
    let (rpi, once) = ("Raspberry Pi OS' rpi-resize", "Raspberry Pi OS' resize2fs_once");
    assert_eq!(growers_of(&inspected(&ubuntu("24.04", "noble"))), cloud);
    assert_eq!(growers_of(&inspected(&ubuntu_ab())), cloud);
    assert_eq!(growers_of(&inspected(&bookworm())), [(first, armed), (once, harmless)]);
    assert_eq!(growers_of(&inspected(&trixie())), [(resize, armed), (rpi, harmless)]);
    assert_eq!(growers_of(&inspected(&debian())), [("Debian's rpi-resizerootfs", armed)]);
    assert_eq!(growers_of(&inspected(&armbian())), [("Armbian's resizing", armed)]);

    // The same, each switched off in its own way.
    let quiet = |image: Image, line: &str| Image { boot: image.boot.file("cmdline.txt", line), ..image };
    let bookworm = quiet(bookworm(), "root=PARTUUID=5a6b7c8d-02 rootwait");
    assert_eq!(growers_of(&inspected(&bookworm)), [(first, off), (once, harmless)]);
    let mut trixie = quiet(trixie(), "root=PARTUUID=5a6b7c8d-02 rootwait noresize");
    trixie.root = trixie.root.symlink("etc/systemd/system/rpi-resize.service", "/dev/null");
    assert_eq!(growers_of(&inspected(&trixie)), [(resize, off), (rpi, off)]);
    let mut debian = debian();
    debian.boot = debian.boot.file("initrd.img-6.12", initramfs::tests::made_of(&["init"]));
    assert_eq!(growers_of(&inspected(&debian)), []);
    let mut armbian = armbian();
    armbian.root = armbian.root.file("root/.no_rootfs_resize", "");
    assert_eq!(growers_of(&inspected(&armbian)), [("Armbian's resizing", off)]);
    let initramfs = &inspected(&armbian).findings.boot.unwrap().initramfs[0];
    assert!(
        initramfs.unreadable.as_ref().unwrap().contains("packed by lz4, and only xz, zstd and gzip"),
        "{initramfs:?}"
    );
}

#[test]
fn a_script_that_looks_for_letters_is_armed_by_any_word_that_has_them() {
    let with = |image: Image, script: &str, line: &str| {
        let boot = image.boot.file("initramfs8", initramfs::tests::made_of(&[script])).file("cmdline.txt", line);
        Image { boot, ..image }
    };
    let armed = |image: &Image, word: &str, why: &str| {
        let seen = inspected(image);
        let grower = &seen.findings.growers[0];
        assert_eq!((grower.state, grower.why.as_str()), (State::Armed, why));
        let remedy = format!("take the word `{word}` out of cmdline.txt on the boot partition");
        assert_eq!((&grower.remedy, &seen.obstacles[0].remedy), (&remedy, &remedy));
    };
    let script = "scripts/local-premount/firstboot";
    let any = "a script of the initramfs acts on any command line that has `firstboot` in it";
    armed(&with(bookworm(), script, "systemd.firstboot=off root=PARTUUID=5a6b7c8d-02"), "systemd.firstboot=off", any);
    let init = "init=/usr/lib/raspberrypi-sys-mods/firstboot";
    armed(&with(bookworm(), script, &format!("root=PARTUUID=5a6b7c8d-02 {init}")), init, "the word is there");
    let both = inspected(&with(bookworm(), script, &format!("root=PARTUUID=5a6b7c8d-02 x=firstboot {init} {init}")));
    assert_eq!(
        both.obstacles[0].remedy,
        format!(
            "take the word `x=firstboot` out of cmdline.txt, and the word `{init}` out of cmdline.txt on the boot partition"
        )
    );
    let without = inspected(&with(bookworm(), "init", "root=PARTUUID=5a6b7c8d-02 systemd.firstboot=off"));
    assert_eq!(without.findings.growers[0].state, State::Disarmed);

    let script = "scripts/local-premount/resize_early";
    let any = "a script of the initramfs acts on any word that begins with `resize`";
    armed(&with(trixie(), script, "root=PARTUUID=5a6b7c8d-02 resize2fs.x=1"), "resize2fs.x=1", any);
    assert_eq!(
        inspected(&trixie()).findings.growers[1].remedy,
        "run `systemctl mask rpi-resize` in a chroot of the image"
    );
}

#[test]
fn what_switches_cloud_init_s_growers_off_is_seen() {
    let (armed, off, harmless) = (State::Armed, State::Disarmed, State::Harmless);
    let packaged = include_str!("../../share/95-burnonce.cfg");
    let at = |path: &str, text: &str| {
        let image = ubuntu("24.04", "noble");
        Image { root: image.root.file(path, text), ..image }
    };
    let boot = |path: &str, text: &str| {
        let image = ubuntu("24.04", "noble");
        Image { boot: image.boot.file(path, text), ..image }
    };
    let mut overridden = at("etc/cloud/cloud.cfg.d/95-burnonce.cfg", packaged);
    overridden.root = overridden.root.file("etc/cloud/cloud.cfg.d/99-x.cfg", "growpart: {mode: auto}\n");
    for (image, states, why) in [
        (
            at("etc/cloud/cloud.cfg.d/95-burnonce.cfg", packaged),
            [off, off],
            "growpart.mode is off in /etc/cloud/cloud.cfg.d/95-burnonce.cfg",
        ),
        (at("etc/cloud/cloud.cfg.d/90-x.cfg", "growpart:\n  mode: off\n"), [off, harmless], "growpart.mode is off"),
        (at("etc/cloud/cloud.cfg.d/90-x.txt", packaged), [armed, armed], "nothing switches it off"),
        (at("etc/cloud/cloud.cfg.d/90-x.cfg", "resize_rootfs: noblock\n"), [armed, armed], "nothing switches it off"),
        (
            at("etc/cloud/cloud.cfg.d/90-x.cfg", "{% if x %}"),
            [armed, armed],
            "/etc/cloud/cloud.cfg.d/90-x.cfg is not YAML",
        ),
        (overridden, [armed, off], "nothing switches it off"),
        (at("etc/growroot-disabled", ""), [off, harmless], "/etc/growroot-disabled is there"),
        (at("etc/cloud/cloud-init.disabled", ""), [off, off], "/etc/cloud/cloud-init.disabled is there"),
        (boot("cmdline.txt", "root=LABEL=writable cloud-init=disabled"), [off, off], "`cloud-init=disabled`"),
        (
            boot("user-data", "#cloud-config\ngrowpart: {mode: 'off'}\nresize_rootfs: false\n"),
            [off, off],
            "user-data on the boot partition",
        ),
        (boot("user-data", "growpart: {mode: 'off'}\n"), [armed, armed], "nothing switches it off"),
    ] {
        let seen = inspected(&image);
        assert_eq!(growers_of(&seen).iter().map(|(_, state)| *state).collect::<Vec<_>>(), states, "{why}");
        assert!(seen.findings.growers[0].why.contains(why), "{}", seen.findings.growers[0].why);
    }
    for path in ["etc/cloud/cloud.cfg", "etc/cloud/cloud.cfg.d/50-modules.cfg"] {
        let without = at(path, "cloud_init_modules: [seed_random]\n");
        assert_eq!(growers_of(&inspected(&without)), [], "{path}");
    }
}

#[test]
fn growers_that_no_stock_image_has_are_seen_too() {
    let with = |path: &str, text: &str| {
        let image = debian();
        let boot = image.boot.file("initrd.img-6.12", initramfs::tests::made_of(&["init"]));
        Image { boot, root: image.root.file(path, text), ..image }
    };
    let growroot = with("usr/share/initramfs-tools/scripts/local-bottom/growroot", "");
    assert_eq!(growers_of(&inspected(&growroot)), [("cloud-initramfs-growroot", State::Armed)]);
    let disabled = Image { root: growroot.root.file("etc/growroot-disabled", ""), ..growroot };
    assert_eq!(growers_of(&inspected(&disabled)), [("cloud-initramfs-growroot", State::Disarmed)]);
    let repart = with("usr/lib/systemd/system/systemd-repart.service", "[Unit]\n");
    assert_eq!(growers_of(&inspected(&repart)), []);
    let defined = Image { root: repart.root.file("etc/repart.d/50-root.conf", "[Partition]\nType=root\n"), ..repart };
    assert_eq!(growers_of(&inspected(&defined)), [("systemd-repart", State::Armed)]);
}

#[test]
fn what_stands_in_the_way_is_named_with_a_remedy() {
    assert_eq!(found(&inspected(&ubuntu("24.04", "noble")).obstacles), [NOT_INSTALLED]);
    assert_eq!(
        found(&inspected(&ubuntu_ab()).obstacles),
        [
            "`rw` in new/cmdline.txt has root mounted writable from the start: something may write to the image before burnonce runs",
            NOT_INSTALLED
        ]
    );
    let bookworm = inspected(&bookworm());
    assert_eq!(
        found(&bookworm.obstacles),
        [
            "Raspberry Pi OS' first boot (`init=/usr/lib/raspberrypi-sys-mods/firstboot` in cmdline.txt) grows root over the card before \
             anything of burnonce can run",
            NOT_INSTALLED
        ]
    );
    let remedy =
        "take the word `init=/usr/lib/raspberrypi-sys-mods/firstboot` out of cmdline.txt on the boot partition";
    assert_eq!(bookworm.obstacles[0].remedy, remedy);

    let mut image = debian();
    image.boot = image.boot.file("cmdline.txt", "root=LABEL=elsewhere overlayroot=tmpfs burnonce=off");
    image.root = image
        .root
        .file("etc/overlayroot.conf", "overlayroot=\"tmpfs\"\n")
        .file("etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    let mut seen = inspected(&image);
    (seen.root.clean, seen.root.sealed, seen.root.size) = (false, true, Bytes(5 * GIB));
    for number in 3..=4 {
        let start = Lba(5 * GIB / 512 + u64::from(number));
        let other = Partition { number, start, sectors: Sectors(1), kind: "83".to_owned(), name: None };
        seen.table.partitions.push(other);
    }
    let all = obstacles::of(&seen);
    let expected = [
        "all 4 slots of the MBR partition table are taken",
        "partition 3 lies behind root",
        "partition 4 lies behind root",
        "the root file system has 5 GiB, and its partition only 4 GiB",
        "the root file system was not unmounted",
        "an overlay that is not burnonce's is configured",
        "Debian's rpi-resizerootfs",
        "`root=LABEL=elsewhere` in cmdline.txt names no partition of this image",
        "`overlayroot=tmpfs` in cmdline.txt",
        "`burnonce=off` in cmdline.txt",
        NOT_INSTALLED,
        "/etc/machine-id holds an id",
    ];
    assert_eq!(all.len(), expected.len(), "{all:#?}");
    for (obstacle, expected) in all.iter().zip(expected) {
        assert!(obstacle.found.starts_with(expected), "{expected}: {obstacle:?}");
        assert!(!obstacle.remedy.is_empty(), "{obstacle:?}");
    }
}

/// An image into which burnonce was put as the README says.
pub(crate) fn prepared() -> Image {
    let packages = [("dpkg", "1.22"), ("initramfs-tools", "0.142"), ("overlayroot", "0.18"), ("burnonce", "0.1.0")];
    let image = raspios("trixie", "13", "console=tty1 root=PARTUUID=5a6b7c8d-02 rootwait\n");
    let names = ["scripts/init-bottom/overlayroot", "sbin/burnonce"];
    let root = image
        .root
        .file("var/lib/dpkg/status", status(&packages, "armhf"))
        .file("usr/lib/systemd/system/burnonce.service", "[Unit]\n")
        .symlink(
            "etc/systemd/system/sysinit.target.wants/burnonce.service",
            "/usr/lib/systemd/system/burnonce.service",
        );
    Image { boot: image.boot.file("initramfs8", initramfs::tests::made_of(&names)), root, ..image }
}

#[test]
fn an_image_that_is_ready_has_nothing_in_the_way() {
    let seen = inspected(&prepared());
    assert_eq!(seen.obstacles, []);
    let burnonce = &seen.findings.system.burnonce;
    assert_eq!((burnonce.version.as_deref(), burnonce.armed), (Some("0.1.0"), true));
    let initramfs = &seen.findings.boot.as_ref().unwrap().initramfs[0];
    assert!(initramfs.overlayroot && initramfs.guard && initramfs.unreadable.is_none(), "{initramfs:?}");
    assert_eq!(seen.findings.system.architecture.as_deref(), Some("armhf"));

    let masked = prepared();
    let masked = Image { root: masked.root.symlink("etc/systemd/system/burnonce.service", "/dev/null"), ..masked };
    let expected = "burnonce is in the image, but burnonce.service is not enabled: the first boot converts nothing";
    assert_eq!(found(&inspected(&masked).obstacles), [expected]);
    let bare = prepared();
    let packages = status(&[("dpkg", "1.22"), ("initramfs-tools", "0.142"), ("burnonce", "0.1.0")], "armhf");
    let bare = Image { root: bare.root.file("var/lib/dpkg/status", packages), ..bare };
    let expected = "burnonce is in the image, and overlayroot is not: it would be refused";
    assert_eq!(found(&inspected(&bare).obstacles), [expected]);
    let converted = prepared();
    let text = crate::overlay::complete(&crate::overlay::Counts::default());
    let converted = Image { root: converted.root.file("etc/overlayroot.local.conf", text), ..converted };
    let seen = inspected(&converted);
    let expected = "this is the root of a converted card: /etc/overlayroot.local.conf configures burnonce's overlay";
    assert_eq!(found(&seen.obstacles), [expected]);
}

#[test]
fn of_two_boots_the_one_in_use_is_known() {
    let seen = inspected(&ubuntu_ab());
    let lines = seen.findings.boot.as_ref().unwrap().command_lines.iter();
    let lines: Vec<(&str, Used)> = lines.map(|line| (line.path.as_str(), line.used)).collect();
    assert_eq!(
        lines,
        [("current/cmdline.txt", Used::Always), ("new/cmdline.txt", Used::Tried), ("cmdline.txt", Used::Never)]
    );
    assert_eq!(seen.findings.system.generator, Generator::Dracut);
    let plain = inspected(&ubuntu("24.04", "noble"));
    let boot = plain.findings.boot.unwrap();
    assert_eq!(boot.command_lines.len(), 1);
    assert_eq!(boot.first_boot, ["user-data", "network-config"]);
}

#[test]
fn without_a_list_of_packages_the_files_tell() {
    let mut elf = vec![0; 64];
    elf[..4].copy_from_slice(b"\x7fELF");
    for (machine, flag, architecture) in
        [(0xB7, 0, "arm64"), (0x28, 4, "armhf"), (0x28, 0, "armel"), (0x3E, 0, "amd64"), (0xF3, 0, "riscv64")]
    {
        (elf[18], elf[37]) = (machine, flag);
        let root = Memory::default().file("usr/bin/dpkg", &elf).file("usr/sbin/mkinitramfs", "");
        let seen = system::look(&root).unwrap();
        assert_eq!(seen.architecture.as_deref(), Some(architecture));
        assert_eq!((seen.generator, seen.distribution), (Generator::InitramfsTools, Distribution::Other));
    }
    let empty = system::look(&Memory::default()).unwrap();
    assert_eq!((empty.architecture, empty.generator), (None, Generator::None));
}

#[test]
fn the_text_of_an_image_reads_well() {
    let seen = inspected(&trixie());
    let expected = include_str!("../../tests/inspect/trixie.txt");
    assert_eq!(seen.to_string(), expected);
    // Whatever an image calls itself, a terminal is not written on.
    let mut hostile = bookworm();
    hostile.root = hostile.root.file("etc/os-release", "PRETTY_NAME=\"\x1b[31mred\"\nVERSION_ID=\x1b]0;x\x07\n");
    hostile.boot = hostile.boot.file("cmdline.txt", "root=\x1b[2J rw");
    assert!(!inspected(&hostile).to_string().contains('\x1b'));
    let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&seen).unwrap()).unwrap();
    assert_eq!(json["system"]["distribution"], "raspberry-pi-os");
    assert_eq!(json["growers"][0]["state"], "armed");
    assert_eq!(json["root"]["partition"], 2);
    assert_eq!(json["boot"]["command_lines"][0]["target"]["partition"], 2);
}

#[test]
fn each_defect_of_a_table_is_told_of_the_image() {
    let path = Path::new("a.img");
    let cut = Defect::OutOfDisk { number: 2, start: Lba(2048), last: 2047 + GIB / 512, disk_sectors: GIB / 1024 };
    let text = about(path, Bytes(GIB / 2), &cut);
    assert!(
        text.starts_with(
            "a.img is cut short: partition 2 ends at 1 GiB, and the image at 512 MiB (513 MiB are missing)"
        ),
        "{text}"
    );
    for defect in [
        Defect::NoTable,
        Defect::OutOfDisk { number: 1, start: Lba(0), last: 9, disk_sectors: 5 },
        Defect::ProtectiveWithoutGpt,
        Defect::TornGpt { primary: "x".to_owned(), backup: "y".to_owned() },
        Defect::Hybrid,
        Defect::Extended { number: 3 },
        Defect::Overlap { first: 1, second: 2 },
        Defect::Unreadable { error: "EIO".to_owned() },
        Defect::Unsupported { what: "x".to_owned() },
    ] {
        let text = about(path, Bytes(GIB), &defect);
        assert!(text.contains("a.img") && text.contains("; ") && !text.contains("card is"), "{text}");
    }
}

#[test]
fn an_image_without_ext4_is_told_what_it_has() {
    let held = |number: u32, content| Held {
        number,
        content,
        ext: None,
        label: None,
        uuid: None,
        partuuid: None,
        placeholder: false,
    };
    for (content, text) in [
        (Content::Encrypted, "partition 2 of a.img is encrypted by LUKS"),
        (Content::Other("Btrfs"), "partition 2 of a.img holds Btrfs, and no partition holds an ext4"),
        (Content::Blank, "partition 2 of a.img holds nothing but zeros"),
    ] {
        let found = without_ext4(Path::new("a.img"), &[held(1, Content::Fat), held(2, content)]);
        assert!(found.starts_with(text), "{found}");
    }
    assert!(without_ext4(Path::new("a.img"), &[held(1, Content::Fat)]).contains("has no partition for root"));
}
