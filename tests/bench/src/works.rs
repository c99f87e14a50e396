//! The works that are done.

use clap::ValueEnum;

pub mod bake;
pub mod convert;
pub mod diff;
pub mod first_boot;
pub mod grow;
pub mod nodes;
pub mod reset;
pub mod size;
pub mod steady;

/// A work, or works that are measured together; in the order of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    Convert,
    Reset,
    Steady,
    Diff,
    Bake,
    FirstBoot,
    Grow,
    Size,
}

impl Name {
    /// Whether it takes emulated machines, and many minutes of them.
    pub fn is_of_nodes(self) -> bool {
        matches!(self, Self::FirstBoot | Self::Grow)
    }

    /// The names that its works have in a report.
    pub fn works(self) -> &'static [&'static str] {
        match self {
            Self::Convert => &["convert"],
            Self::Reset => &["reset"],
            Self::Steady => &["steady"],
            Self::Diff => &["diff"],
            Self::Bake => &["bake", "bake-xz"],
            Self::FirstBoot => &["first-boot", "background"],
            Self::Grow => &["grow"],
            Self::Size => &["size", "initramfs"],
        }
    }

    /// Programs that it takes, with their packages.
    pub fn programs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Convert => &[
                ("mke2fs", "e2fsprogs"),
                ("sfdisk", "fdisk"),
                ("growpart", "cloud-guest-utils"),
                // Part of systemd on Debian 12.
                ("systemd-repart", "systemd-repart"),
            ],
            Self::Reset => &[("mke2fs", "e2fsprogs")],
            Self::Steady => &[("systemd-repart", "systemd-repart")],
            Self::Diff => &[("find", "findutils"), ("rsync", "rsync")],
            Self::Bake => &[("xz", "xz-utils"), ("debugfs", "e2fsprogs")],
            Self::Size => &[("busybox", "busybox-static"), ("systemd-repart", "systemd-repart")],
            Self::FirstBoot | Self::Grow => &[("qemu-system-x86_64", "qemu-system-x86")],
        }
    }
}

/// The names of all works, in the order of the page.
pub fn all() -> impl Iterator<Item = &'static str> {
    Name::value_variants().iter().flat_map(|name| name.works()).copied()
}

/// Where a work is on the page; what nobody has heard of comes last.
pub fn place(work: &str) -> usize {
    all().position(|name| name == work).unwrap_or(usize::MAX)
}
