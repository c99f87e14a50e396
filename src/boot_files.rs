//! What the first boot of Raspberry Pi OS consumes from the boot partition: user, SSH, Wi-Fi, and the words of the kernel command line
//! that start it. Conversion keeps it on the upper partition, for a reset makes another first boot, and by then it is gone.

#[cfg(target_os = "linux")]
mod kept;

#[cfg(target_os = "linux")]
pub use kept::{PutBack, keep, put_back};

/// The files, by their names in the root of the boot partition: those of raspberrypi-sys-mods (`imager_custom`, `sshswitch`), of
/// userconf-pi and of Raspberry Pi Imager (`firstrun.sh`, `custom.toml`).
pub const FILES: [&str; 7] =
    ["userconf.txt", "userconf", "ssh", "ssh.txt", "custom.toml", "firstrun.sh", "wpa_supplicant.conf"];
/// The words by their keys, with `_` for `-` (systemd takes both): systemd-run-generator(8).
const KEYS: [&str; 3] = ["systemd.run", "systemd.run_success_action", "systemd.run_failure_action"];
/// The target that such a boot goes to.
const TARGET: &str = "systemd.unit=kernel-command-line.target";

/// The words of a kernel command line that belong to a first boot.
pub fn first_boot_words(cmdline: &str) -> Vec<&str> {
    words(cmdline)
        .into_iter()
        .filter(|word| {
            let key = word.split_once('=').map(|(key, _)| key.replace('-', "_"));
            *word == TARGET || key.is_some_and(|key| KEYS.contains(&key.as_str()))
        })
        .collect()
}

/// The words of a kernel command line; quotation marks keep spaces together, and stay
/// (Documentation/admin-guide/kernel-parameters.rst).
pub fn words(cmdline: &str) -> Vec<&str> {
    let mut quoted = false;
    let split = cmdline.split(|c: char| {
        quoted ^= c == '"';
        c.is_whitespace() && !quoted
    });
    split.filter(|word| !word.is_empty()).collect()
}

/// The command line with these words at the end of its first line, which is the one that the firmware reads.
pub fn with_words(cmdline: &str, words: &[String]) -> String {
    let (first, rest) = cmdline.split_once('\n').unwrap_or((cmdline, ""));
    format!("{} {}\n{rest}", first.trim_end(), words.join(" "))
}
