//! overlayroot's configuration file, its log, and where it mounts things. With dracut it is burnonce's own script that reads the file and
//! mounts the same things in the same places, so all that differs is what a [`Generator`] knows.

use serde::{Deserialize, Serialize};

/// The label by which the upper is recognised.
pub const LABEL: &str = "burnonce";
/// Where overlayroot mounts the lower.
pub const LOWER: &str = "/media/root-ro";
/// Where overlayroot mounts the upper partition.
pub const UPPER: &str = "/media/root-rw";
/// Why the configuration chose memory, in plain words, written by the configuration itself in the initramfs.
pub const REASON: &str = "run/burnonce/overlay.reason";

/// The part of the configuration that does not change: what the initramfs's shell runs.
const BODY: &str = include_str!("../share/overlayroot.local.conf");
/// First words of the line in which the agent counts; also what makes a file ours.
const MARK: &str = "# burnonce: ";

/// What makes the initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// overlayroot's script makes the overlay, and burnonce's goes before and after it.
    #[default]
    InitramfsTools,
    /// burnonce's own module makes the overlay: dracut's reads no file, and overlayroot's for dracut only sets a word for that.
    Dracut,
    /// Neither is installed.
    None,
}

impl Generator {
    /// Which one an `update-initramfs` belongs to, by what its text runs: each of the two packages brings one of its own, and parts of
    /// either can stay when the other one comes.
    pub fn of_update_initramfs(text: &str) -> Generator {
        let dracut = text.contains("dracut") && !text.contains("mkinitramfs");
        if dracut { Generator::Dracut } else { Generator::InitramfsTools }
    }

    /// Whether it is [`Generator::InitramfsTools`].
    pub fn is_initramfs_tools(&self) -> bool {
        *self == Generator::InitramfsTools
    }

    /// The log of what made the overlay of a boot, below the root; it is there whenever that ran, even with nothing to do.
    pub fn log(self) -> &'static str {
        match self {
            Generator::Dracut => "run/burnonce/overlay.log",
            Generator::InitramfsTools | Generator::None => "run/initramfs/overlayroot.log",
        }
    }

    /// What makes the overlay, below the root: with it installed, the next initramfs has it.
    pub fn script(self) -> &'static str {
        match self {
            Generator::Dracut => "usr/lib/dracut/modules.d/70burnonce/module-setup.sh",
            Generator::InitramfsTools | Generator::None => "usr/share/initramfs-tools/scripts/init-bottom/overlayroot",
        }
    }

    /// Who makes the overlay, and says why there is none.
    pub fn maker(self) -> &'static str {
        match self {
            Generator::Dracut => "the initramfs",
            Generator::InitramfsTools | Generator::None => "overlayroot",
        }
    }
}

/// What `/etc/overlayroot.local.conf` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "found", rename_all = "kebab-case")]
pub enum Configuration {
    /// No such file, or one that configures no overlay.
    Absent,
    /// Ours, but no overlay is configured yet: it only counts.
    Begun(Counts),
    /// Ours, and complete.
    Complete(Counts),
    /// Somebody else's: this line configures an overlay.
    Foreign { line: String },
}

/// What the agent counts in the configuration's comment, as long as there is no upper to count in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Conversions begun, this one included.
    pub attempts: u32,
    /// Times that rebuilding the initramfs was begun.
    pub rebuilds: u32,
    /// The last of them came to its end.
    #[serde(default)]
    pub rebuilt: bool,
    /// What the last attempt failed on, where it could still be written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// The text of a configuration that only counts: overlayroot finds nothing to do in it.
pub fn begun(counts: &Counts) -> String {
    let Counts { attempts, rebuilds, rebuilt, failure } = counts;
    let rebuilt = u8::from(*rebuilt);
    let mut text = format!("{MARK}conversion begun; attempts={attempts} rebuilds={rebuilds} rebuilt={rebuilt}\n");
    if let Some(failure) = failure {
        // One line, whatever the message holds: a shell reads this file.
        let line: String = failure.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        text += &format!("# failed: {line}\n");
    }
    text + ":\n"
}

/// The text of the complete configuration.
pub fn complete(counts: &Counts) -> String {
    let rebuilt = u8::from(counts.rebuilt);
    format!("{MARK}converted; attempts={} rebuilds={} rebuilt={rebuilt}\n{BODY}", counts.attempts, counts.rebuilds)
}

/// Reads the text of a configuration file.
pub fn parse(text: &str) -> Configuration {
    let Some(mark) = text.lines().find_map(|l| l.strip_prefix(MARK)) else {
        return match text.lines().map(str::trim).find(|l| configures(l)) {
            Some(line) => Configuration::Foreign { line: line.to_owned() },
            None => Configuration::Absent,
        };
    };
    let number = |key: &str| {
        mark.split_whitespace().find_map(|w| w.strip_prefix(key)?.strip_prefix('=')?.parse().ok()).unwrap_or(0)
    };
    let counts = Counts {
        attempts: number("attempts"),
        rebuilds: number("rebuilds"),
        rebuilt: number("rebuilt") > 0,
        failure: text.lines().find_map(|l| l.strip_prefix("# failed: ")).map(str::to_owned),
    };
    if text.lines().any(|l| configures(l.trim())) {
        Configuration::Complete(counts)
    } else {
        Configuration::Begun(counts)
    }
}

/// Whether a word of the kernel command line has dracut's own module make an overlay (dracut.cmdline(7); `0`, `no` and `off` are false).
pub fn is_dracut_overlay(word: &str) -> bool {
    match word.split_once('=') {
        None => matches!(word, "rd.overlay" | "rd.live.overlay.overlayfs"),
        Some(("rd.overlay" | "rd.live.overlay" | "rd.live.overlay.overlayfs", value)) => {
            !matches!(value, "0" | "no" | "off" | "")
        }
        Some(_) => false,
    }
}

/// Whether a line of shell sets `overlayroot` to something that is not off. An include counts: what it sets is not known.
fn configures(line: &str) -> bool {
    if line.starts_with(". ") || line.starts_with("source ") {
        return true;
    }
    let line = line.trim_start_matches("export ");
    // overlayroot_cfgdisk names a disk with a configuration that would override this one.
    let value = line.strip_prefix("overlayroot=").or_else(|| line.strip_prefix("overlayroot_cfgdisk="));
    let Some(value) = value else { return false };
    let value = value.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
    !matches!(value, "" | "disabled")
}

/// The last failure in the log of what makes the overlay.
pub fn failure_in_log(log: &str) -> Option<String> {
    log.lines().rev().find_map(|l| l.strip_prefix("[failure]:")).map(|l| l.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let counts = Counts { attempts: 2, rebuilds: 1, rebuilt: true, failure: None };
        assert_eq!(parse(&begun(&counts)), Configuration::Begun(counts.clone()));
        assert_eq!(parse(&complete(&counts)), Configuration::Complete(counts));
        let failed = Counts { attempts: 1, failure: Some("making ext4:\nno `room'".to_owned()), ..Counts::default() };
        let text = begun(&failed);
        assert!(text.lines().all(|l| l.starts_with('#') || l == ":"), "{text}");
        let Configuration::Begun(read) = parse(&text) else { panic!("{text}") };
        assert_eq!(read.failure.as_deref(), Some("making ext4: no `room'"));
    }

    #[test]
    fn a_foreign_configuration_is_told_from_an_empty_one() {
        for text in [
            "",
            "# overlayroot=tmpfs\n",
            "overlayroot=\"\"\noverlayroot_cfgdisk=\"disabled\"\n",
            "overlayroot=disabled # off\n",
        ] {
            assert_eq!(parse(text), Configuration::Absent, "{text}");
        }
        for text in [
            "overlayroot=tmpfs\n",
            "# x\n  overlayroot=\"device:dev=/dev/sdb\"\n",
            ". /run/mine\n",
            "overlayroot_cfgdisk=\"LABEL=OROOTCFG\"\n",
            "export overlayroot=tmpfs",
        ] {
            assert!(matches!(parse(text), Configuration::Foreign { .. }), "{text}");
        }
    }

    #[test]
    fn a_word_for_dracut_is_one_that_makes_an_overlay() {
        for word in ["rd.overlay", "rd.overlay=1", "rd.overlay=LABEL=changes", "rd.live.overlay.overlayfs=yes"] {
            assert!(is_dracut_overlay(word), "{word}");
        }
        for word in ["rd.overlay=0", "rd.overlay.reset", "rd.overlay.readonly=1", "rd.overlays=1", "rd.live.image"] {
            assert!(!is_dracut_overlay(word), "{word}");
        }
    }

    #[test]
    fn the_log_gives_the_last_failure() {
        let log =
            "[warning]: configuring overlayroot\n[failure]: a\n[failure]: failed mount backing device /dev/vda3\nend";
        assert_eq!(failure_in_log(log).as_deref(), Some("failed mount backing device /dev/vda3"));
        assert_eq!(failure_in_log("overlayroot disabled"), None);
    }
}
