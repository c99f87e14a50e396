//! The kinds of machine that a card is put into, and what differs between them.

use std::time::Duration;

/// What a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Board {
    /// An amd64 PC whose devices are made for emulation; its images are those of `image.sh`.
    #[default]
    Pc,
    /// A Raspberry Pi 3 Model B, QEMU's `raspi3b`; its images are those of `pi.sh`.
    Pi3,
}

impl Board {
    /// The program that emulates it.
    pub fn emulator(self) -> &'static str {
        match self {
            Board::Pc => "qemu-system-x86_64",
            Board::Pi3 => "qemu-system-aarch64",
        }
    }

    /// The file on the boot partition that is the kernel.
    pub fn kernel(self) -> &'static str {
        match self {
            Board::Pc => "vmlinuz",
            Board::Pi3 => "kernel8.img",
        }
    }

    /// The file on the boot partition that is the initramfs.
    pub fn initramfs(self) -> &'static str {
        match self {
            Board::Pc => "initrd.img",
            Board::Pi3 => "initramfs8",
        }
    }

    /// The file on the boot partition that describes the devices.
    pub fn device_tree(self) -> Option<&'static str> {
        match self {
            Board::Pc => None,
            Board::Pi3 => Some("bcm2710-rpi-3-b.dtb"),
        }
    }

    /// The card's partitions on the node: this, and a number behind it.
    pub fn partitions(self) -> &'static str {
        match self {
            Board::Pc => "/dev/vda",
            Board::Pi3 => "/dev/mmcblk0p",
        }
    }

    /// The user whom the image lets log in.
    pub fn user(self) -> &'static str {
        match self {
            Board::Pc => "node",
            Board::Pi3 => "pi",
        }
    }

    /// How long a boot may take. Under emulation a PC takes half a minute on an idle machine, and a Pi minutes: this is for a
    /// busy one.
    pub fn patience(self) -> Duration {
        match self {
            Board::Pc => Duration::from_secs(300),
            Board::Pi3 => Duration::from_secs(1800),
        }
    }
}
