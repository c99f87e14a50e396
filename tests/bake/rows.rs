//! Look-alikes: of each image that people burn, as little as is looked at.

use crate::common::{BOOT, MIB, PLAIN, Shape, initramfs, link, put, said};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Where root begins in an image of these, in bytes, and how long it is: what the first boot needs is free in it.
pub const ROOT: u64 = BOOT + BOOT_LENGTH;
pub const BOOT_LENGTH: u64 = 16 * MIB;
pub const ROOT_LENGTH: u64 = 240 * MIB;

/// An image with as much room in it as those that are published.
pub const ROOMY: Shape =
    Shape { boot_length: BOOT_LENGTH, root_length: ROOT_LENGTH, ext4: &["-b", "4096", "-O", "metadata_csum"], ..PLAIN };

/// When all that is in them was made, in seconds since 1970.
const STOCK: u64 = 1_750_000_000;

/// What an image is made of.
pub struct Row {
    /// What its expected files are called.
    pub name: &'static str,
    pub labels: [&'static str; 2],
    /// The trees of its boot partition and its root.
    directory: TempDir,
}

impl Row {
    fn new(name: &'static str, labels: [&'static str; 2]) -> Row {
        Row { name, labels, directory: TempDir::new().unwrap() }
    }

    pub fn boot(&self) -> PathBuf {
        self.directory.path().join("boot")
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Puts a file on its boot partition.
    pub fn on_boot(self, path: &str, content: impl AsRef<[u8]>) -> Row {
        put(&self.boot(), path, content);
        self
    }

    /// Puts a file in its root.
    pub fn on_root(self, path: &str, content: impl AsRef<[u8]>) -> Row {
        put(&self.root(), path, content);
        self
    }

    fn linked(self, path: &str, target: &str) -> Row {
        link(&self.root(), path, target);
        self
    }

    /// dpkg's list of what is installed.
    fn packages(self, packages: &[(&str, &str)]) -> Row {
        let one = |(name, version): &(&str, &str)| {
            format!(
                "Package: {name}\nStatus: install ok installed\nArchitecture: arm64\nVersion: {version}\nDescription: {name}\n of Debian\n\n"
            )
        };
        self.on_root("var/lib/dpkg/status", packages.iter().map(one).collect::<String>())
    }

    fn release(self, pretty: &str, id: &str, version: &str, codename: &str) -> Row {
        let text = format!(
            "PRETTY_NAME=\"{pretty}\"\nNAME=\"{id}\"\nID={id}\nVERSION_ID=\"{version}\"\nVERSION_CODENAME={codename}\n"
        );
        self.on_root("usr/lib/os-release", text).linked("etc/os-release", "../usr/lib/os-release")
    }

    /// What all of them have: directories that burnonce's files go to, merged ones too, and files that nobody has to touch.
    fn filled(self) -> Row {
        let many =
            (0..40).fold(self, |row, n| row.on_root(&format!("usr/share/many/file-{n}"), vec![n as u8; 700 * n]));
        many.on_root("usr/sbin/e2fsck", "#!/bin/sh\n")
            .linked("sbin", "usr/sbin")
            .linked("lib", "usr/lib")
            .on_root("usr/lib/systemd/system/ssh.service", "[Unit]\nDescription=SSH\n")
            .linked("etc/systemd/system/multi-user.target.wants/ssh.service", "/usr/lib/systemd/system/ssh.service")
            .linked("etc/systemd/system/sysinit.target.wants/other.service", "/usr/lib/systemd/system/other.service")
            .on_root("home/pi/.profile", "# mine\n")
            .on_boot("overlays/a-rather-long-name-of-an-overlay.dtbo", vec![7; 5000])
            .on_boot("start4.elf", vec![9; 70_000])
    }

    /// An image file of it.
    pub fn make(&self, directory: &Path, name: &str) -> PathBuf {
        self.make_as(directory, name, ROOMY)
    }

    /// One with file systems of this kind.
    pub fn make_as(&self, directory: &Path, name: &str, shape: Shape) -> PathBuf {
        // The umask of who runs this is no matter of the image.
        said("chmod", &["-R", "u=rwX,go=rX", self.directory.path().to_str().unwrap()], b"");
        // Older than what is written to it: times do not go back.
        let old = ["-exec", "touch", "--no-dereference", &format!("--date=@{STOCK}"), "{}", "+"];
        said("find", &[&[self.directory.path().to_str().unwrap()], &old[..]].concat(), b"");
        Shape { labels: self.labels, ..shape }.make(directory, name, &self.boot(), &self.root())
    }
}

/// What each image needs of burnonce's packages, and more.
const TOOLS: [(&str, &str); 2] = [("dpkg", "1.22.6"), ("e2fsprogs", "1.47.0-2")];

/// Ubuntu Server.
pub fn ubuntu(name: &'static str, version: &str, codename: &str, generator: &[(&str, &str)]) -> Row {
    let more = [("cloud-init", "25.2"), ("overlayroot", "0.47ubuntu1")];
    Row::new(name, ["system-boot", "writable"])
        .filled()
        .release(&format!("Ubuntu {version} LTS"), "ubuntu", version, codename)
        .packages(&[&TOOLS[..], generator, &more].concat())
        .on_root("usr/share/initramfs-tools/scripts/init-bottom/overlayroot", "#!/bin/sh\n")
        .on_root(
            "etc/cloud/cloud.cfg",
            "cloud_init_modules:\n - seed_random\n - growpart\n - [resizefs, always]\ncloud_config_modules:\n - locale\n",
        )
        .on_root("etc/cloud/cloud.cfg.d/99-fake_cloud.cfg", "datasource_list: [NoCloud, None]\n")
        .on_root("etc/machine-id", "")
        .on_root(
            "etc/fstab",
            "LABEL=writable\t/\text4\tdefaults\t0 1\nLABEL=system-boot /boot/firmware vfat defaults 0 1\n",
        )
        .on_boot("config.txt", "[all]\nkernel=vmlinuz\ncmdline=cmdline.txt\ninitramfs initrd.img followkernel\n")
        .on_boot(
            "cmdline.txt",
            "console=serial0,115200 multipath=off dwc_otg.lpm_enable=0 console=tty1 root=LABEL=writable rootfstype=ext4 rootwait fixrtc\n",
        )
        .on_boot("initrd.img", initramfs(&["init", "scripts/init-bottom/overlayroot"]))
        .on_boot("user-data", "#cloud-config\nchpasswd:\n  expire: true\n")
        .on_boot("network-config", "version: 2\n")
}

pub const INITRAMFS_TOOLS: &[(&str, &str)] = &[("initramfs-tools", "0.142ubuntu25")];
pub const DRACUT: &[(&str, &str)] = &[("dracut", "108-3ubuntu1")];

pub fn noble() -> Row {
    ubuntu("ubuntu-24.04", "24.04", "noble", INITRAMFS_TOOLS)
}

/// Ubuntu 26.04, with two boots on its boot partition, and with what its initramfs is made by.
pub fn resolute(name: &'static str, generator: &[(&str, &str)]) -> Row {
    let line = "console=tty1 root=LABEL=writable rootfstype=ext4 rootwait";
    ubuntu(name, "26.04", "resolute", generator)
        .on_boot("config.txt", "[all]\nos_prefix=current/\n[tryboot]\nos_prefix=new/\n")
        .on_boot("current/cmdline.txt", format!("{line} rw\n"))
        .on_boot("new/cmdline.txt", format!("{line} rw quiet\n"))
        .on_boot("current/initrd.img", initramfs(&["init"]))
        .on_boot("new/initrd.img", initramfs(&["init"]))
}

/// Raspberry Pi OS.
fn raspios(name: &'static str, codename: &str, version: &str, line: &str) -> Row {
    Row::new(name, ["bootfs", "rootfs"])
        .filled()
        .release(&format!("Debian GNU/Linux {version} ({codename})"), "debian", version, codename)
        .packages(&[&TOOLS[..], &[("initramfs-tools", "0.142+rpt3")]].concat())
        .on_root("etc/rpi-issue", "Raspberry Pi reference 2025-05-13\nGenerated using pi-gen\n")
        .on_root(
            "etc/fstab",
            "proc /proc proc defaults 0 0\nPARTUUID=5a6b7c8d-01  /boot/firmware  vfat  defaults  0  2\n\
             PARTUUID=5a6b7c8d-02  /  ext4  defaults,noatime  0  1\n",
        )
        .on_root("etc/passwd", "root:x:0:0:root:/root:/bin/bash\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n")
        .on_boot("config.txt", "[all]\nauto_initramfs=1\n[cm4]\notg_mode=1\n")
        .on_boot("cmdline.txt", line)
}

pub fn bookworm() -> Row {
    let line = "console=serial0,115200 console=tty1 root=PARTUUID=5a6b7c8d-02 rootfstype=ext4 fsck.repair=yes rootwait quiet \
                init=/usr/lib/raspberrypi-sys-mods/firstboot\n";
    raspios("raspios-bookworm", "bookworm", "12", line)
        .on_root("usr/lib/raspberrypi-sys-mods/firstboot", "#!/bin/sh\n")
        .on_root("etc/init.d/resize2fs_once", "#!/bin/sh\n")
        .linked("etc/rc3.d/S01resize2fs_once", "../init.d/resize2fs_once")
        .on_root(
            "usr/lib/systemd/system/regenerate_ssh_host_keys.service",
            "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
        )
        .on_root("etc/machine-id", "\n")
        .on_boot("initramfs8", initramfs(&["init"]))
}

pub fn trixie() -> Row {
    let line = "console=serial0,115200 console=tty1 root=PARTUUID=5a6b7c8d-02 rootfstype=ext4 rootwait resize\n";
    raspios("raspios-trixie", "trixie", "13", line)
        .on_root("usr/share/initramfs-tools/scripts/local-premount/resize_early", "#!/bin/sh\n")
        .on_root("usr/lib/systemd/system/rpi-resize.service", "[Service]\nExecStart=/bin/true\n")
        .linked(
            "etc/systemd/system/multi-user.target.wants/rpi-resize.service",
            "/usr/lib/systemd/system/rpi-resize.service",
        )
        .on_root("etc/machine-id", "uninitialized\n")
        .on_boot("initramfs8", initramfs(&["init", "scripts/local-premount/resize_early"]))
        .on_boot("initramfs_2712", initramfs(&["init", "scripts/local-premount/resize_early"]))
}

pub fn debian() -> Row {
    let script = "local-bottom/rpi-resizerootfs";
    Row::new("debian", ["RASPIFIRM", "RASPIROOT"])
        .filled()
        .release("Debian GNU/Linux 13 (trixie)", "debian", "13", "trixie")
        .packages(&[&TOOLS[..], &[("initramfs-tools", "0.148")]].concat())
        .on_root(&format!("etc/initramfs-tools/scripts/{script}"), "#!/bin/sh\nresize2fs /dev/mmcblk0p2\n")
        .on_root("etc/fstab", "LABEL=RASPIROOT / ext4 rw 0 1\nLABEL=RASPIFIRM /boot/firmware vfat rw 0 2\n")
        .on_boot("config.txt", "kernel=vmlinuz-6.12\ninitramfs initrd.img-6.12 followkernel\n")
        .on_boot("cmdline.txt", "console=tty0 console=ttyS1,115200 root=LABEL=RASPIROOT rw fsck.repair=yes rootwait")
        .on_boot("initrd.img-6.12", initramfs(&["init", &format!("scripts/{script}")]))
}

pub fn armbian() -> Row {
    Row::new("armbian", ["RPICFG", "armbi_root"])
        .filled()
        .release("Armbian 25.8.1 noble", "ubuntu", "24.04", "noble")
        .packages(&[&TOOLS[..], INITRAMFS_TOOLS].concat())
        .on_root("etc/armbian-release", "BOARD=rpi4b\nVERSION=25.8.1\n")
        .on_root("usr/lib/systemd/system/armbian-resize-filesystem.service", "[Unit]\n")
        .linked(
            "etc/systemd/system/basic.target.wants/armbian-resize-filesystem.service",
            "/usr/lib/systemd/system/armbian-resize-filesystem.service",
        )
        .on_root("root/.not_logged_in_yet", "")
        .on_root("etc/fstab", "LABEL=armbi_root / ext4 defaults,noatime,commit=120 0 1\n")
        .on_boot("config.txt", "initramfs initrd.img followkernel\n")
        .on_boot("cmdline.txt", "root=LABEL=armbi_root rootfstype=ext4 rootwait console=tty1\n")
        .on_boot("initrd.img", initramfs(&["init"]))
}
