//! The table of all keys: the reader, the man page and the README go by it.

/// One key of the file, as the man page and the README show it.
#[derive(Debug)]
pub struct Key {
    /// Dotted: `partition.min` is `min` under `partition:`.
    pub name: &'static str,
    /// As it is written in the file. One that begins with `[` belongs to a key whose value is a list.
    pub default: &'static str,
    /// The values that are allowed: words separated by `, `, or a description.
    pub allowed: &'static str,
    pub meaning: &'static str,
}

/// Every key there is, in the order of the man page.
pub const KEYS: &[Key] = &[
    Key {
        name: "convert",
        default: "true",
        allowed: "true, false",
        meaning: "whether a boot may convert the card; false leaves an unconverted card as it is",
    },
    Key {
        name: "partition.min",
        default: "512 MiB",
        allowed: "a size of at least 64 MiB, for example `2 GiB`",
        meaning: "the least free space that is worth an upper partition; with less, the card is left as it is",
    },
    Key {
        name: "partition.size",
        default: "rest",
        allowed: "rest, a size of at least 64 MiB, or a share such as `50 %`",
        meaning: "how much of the free space the upper partition takes, `partition.min` at least; on a larger card it grows up to that",
    },
    Key {
        name: "partition.align",
        default: "auto",
        allowed: "auto, or a power of two from `1 MiB` to `64 MiB`",
        meaning: "what the start of the upper partition is a multiple of; auto is 4 MiB, or the card's preferred erase size where \
                  that is larger",
    },
    Key {
        name: "repartition.truncated",
        default: "keep",
        allowed: "keep, remake",
        meaning: "what a boot does with an upper that reaches past the end of the card, as a copy onto a smaller one leaves it: nothing \
                  (`burnonce repartition` does), or make a new one that fits, without asking; what was written is lost",
    },
    Key {
        name: "overlay.conf",
        default: "/etc/overlayroot.local.conf",
        allowed: "/etc/overlayroot.local.conf, /etc/overlayroot.conf",
        meaning: "the file of overlayroot that is written into the lower",
    },
    Key {
        name: "overlay.on_failure",
        default: "tmpfs",
        allowed: "tmpfs, lower, stop",
        meaning: "what a boot does whose upper cannot be used: run on memory, run on the image itself and write to it, or not go on",
    },
    Key {
        name: "overlay.hold",
        default: "true",
        allowed: "true, false",
        meaning: "whether apt leaves kernel, firmware and initramfs packages alone on a node that runs on its overlay",
    },
    Key {
        name: "reset.keep",
        default: "[]",
        allowed: "a list of absolute paths and globs, for example `[/etc/ssh/ssh_host_*]`",
        meaning: "what a reset takes over into the new generation",
    },
    Key {
        name: "reset.on",
        default: "[]",
        allowed: "[], [user-data]",
        meaning: "what resets the node at boot; user-data: one that differs from what the present generation booted with",
    },
    Key {
        name: "reset.generations",
        default: "1",
        allowed: "0 to 9",
        meaning: "how many generations are kept for an undo",
    },
    Key {
        name: "diff.fold",
        default: "[/etc/*-, /etc/.pwd.lock, /etc/.updated, /etc/apt/preferences.d/burnonce, \
                  /etc/fake-hwclock.data, /etc/ld.so.cache, /home/*/.cache, /root/.cache, /tmp, \
                  /usr/**/__pycache__, /var/.updated, /var/backups, /var/cache, /var/lib/NetworkManager, \
                  /var/lib/apt/lists, /var/lib/apt/periodic, /var/lib/cloud, /var/lib/dpkg/*-old, \
                  /var/lib/dpkg/info, /var/lib/dpkg/triggers, /var/lib/snapd, /var/lib/systemd, /var/log, \
                  /var/tmp]",
        allowed: "a list of absolute paths and globs",
        meaning: "what `burnonce diff` counts, but does not list",
    },
    Key {
        name: "console.led",
        default: "auto",
        allowed: "auto, off",
        meaning: "whether the activity LED, where there is one, blinks during a conversion",
    },
    Key {
        name: "log.level",
        default: "info",
        allowed: "error, warn, info, debug",
        meaning: "the least important messages that the journal gets; -v on the command line overrides it",
    },
];
