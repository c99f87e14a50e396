//! The readers of text: the owner's file, the upper's, overlayroot's, the kernel's.

use crate::bytes::Bytes;
use burnonce::config::{self, Align, SMALLEST_UPPER};
use burnonce::overlay::{self, Configuration, Counts};
use burnonce::units::{Bytes as Length, MIB};
use burnonce::{boot_files, mounts, observe, state};

/// `/etc/burnonce.yaml`. What is accepted is in the ranges that the man page names; a mistake has a place in the text.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let config = match config::parse(text) {
        Ok(config) => config,
        Err(error) => {
            // YAML has more line breaks than a line feed. Its parser gives most of the positions, not all.
            let yaml = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
            // Where a mistake is that the text ends too early, that is the line behind the last.
            let text = text.replace("\r\n", "\n") + "\n";
            let lines = |breaks: &[char]| text.split(breaks).map(width).collect::<Vec<_>>();
            let within = |widths: Vec<usize>| {
                error.line > 0
                    && widths.get(error.line - 1).is_some_and(|width| (1..=width + 1).contains(&error.column))
            };
            assert!(within(lines(&yaml)) || within(lines(&['\n'])), "{error}");
            assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error}");
            return;
        }
    };
    assert!(config.partition.min >= SMALLEST_UPPER);
    if let Align::To(Length(align)) = config.partition.align {
        assert!(align.is_power_of_two() && (MIB..=64 * MIB).contains(&align));
    }
    let conf = config.overlay.conf.to_str();
    assert!(matches!(conf, Some("/etc/overlayroot.local.conf" | "/etc/overlayroot.conf")));
    assert!(config.reset.generations <= 9);
    assert!((log::LevelFilter::Error..=log::LevelFilter::Debug).contains(&config.log.level));
    for pattern in config.reset.keep.iter().chain(&config.diff.fold) {
        assert!(pattern.starts_with('/') && pattern.len() > 1, "{pattern}");
        assert!(pattern.split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")), "{pattern}");
        assert_eq!(config::pattern(pattern).as_ref(), Ok(pattern));
    }
}

fn width(line: &str) -> usize {
    line.chars().count()
}

/// `state.json`. What is read and written is read again as the same, but for the version, which becomes this agent's.
pub fn state(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match state::parse(text) {
        Ok(state) => {
            let written = state.to_json().expect("writing it");
            let again = state::parse(&written).unwrap_or_else(|error| panic!("{written}: {error:#}"));
            let version = again.version.clone();
            assert_eq!(again, state::State { version, ..state });
            assert_eq!(again.to_json().expect("writing it again"), written);
        }
        Err(error) => assert!(!format!("{error:#}").is_empty()),
    }
}

/// `/etc/overlayroot.local.conf`, of whomever. Counts that were read are written as what reads the same.
pub fn overlayroot(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match overlay::parse(&text) {
        Configuration::Absent => {}
        Configuration::Begun(counts) | Configuration::Complete(counts) => written(&counts),
        Configuration::Foreign { line } => {
            assert!(!line.is_empty() && !line.starts_with('#') && !line.contains('\n'), "{line}");
        }
    }
    if let Some(failure) = overlay::failure_in_log(&text) {
        assert!(!failure.contains('\n') && text.contains(&failure), "{failure}");
    }
}

/// The same files, made by burnonce of any counts, with a failure of any words.
pub fn counts(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (attempts, rebuilds, flags) = (bytes.word(), bytes.word(), bytes.byte());
    let failure = (flags & 2 != 0).then(|| String::from_utf8_lossy(bytes.0).into_owned());
    written(&Counts { attempts, rebuilds, rebuilt: flags & 1 != 0, failure });
}

fn written(counts: &Counts) {
    let begun = overlay::begun(counts);
    // A shell reads this in every boot.
    assert!(begun.lines().all(|line| line.starts_with('#') || line == ":"), "{begun}");
    assert!(!begun.contains('\r') && begun.ends_with('\n'), "{begun:?}");
    let one_line = |text: &String| text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    let failure = counts.failure.as_ref().map(one_line);
    assert_eq!(overlay::parse(&begun), Configuration::Begun(Counts { failure, ..counts.clone() }));
    let complete = overlay::complete(counts);
    assert_eq!(overlay::parse(&complete), Configuration::Complete(Counts { failure: None, ..counts.clone() }));
}

/// The kernel command line, of this boot and in `cmdline.txt`.
pub fn cmdline(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let seen = observe::cmdline(&text);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(!(seen.rw && seen.ro));
    assert_eq!(seen.rw || seen.ro, words.iter().any(|word| matches!(*word, "rw" | "ro")));
    assert_eq!(seen.off, words.contains(&"burnonce=off"));
    let last = words.iter().rev().find_map(|word| word.strip_prefix("overlayroot="));
    assert_eq!(seen.overlayroot.as_deref(), last);
    // A first boot's words, taken from one line and put back into another, are found there, behind all that was there.
    let (from, to) = text.split_once('\0').unwrap_or((&text, "console=tty1 root=LABEL=writable quiet\n"));
    let kept: Vec<String> = boot_files::first_boot_words(from).into_iter().map(str::to_owned).collect();
    let with = boot_files::with_words(to, &kept);
    let (first, rest) = to.split_once('\n').unwrap_or((to, ""));
    assert!(with.starts_with(first.trim_end()) && with.ends_with(rest), "{with:?}");
    let closed = |line: &str| line.matches('"').count() % 2 == 0;
    if closed(from) && closed(first) && boot_files::first_boot_words(to).is_empty() {
        assert_eq!(boot_files::first_boot_words(&with), kept, "{with:?}");
    }
}

/// `/proc/self/mountinfo`; and a mount point of any bytes, written as the kernel writes it, is read as it is.
pub fn mounts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for mount in mounts::parse(&text) {
        assert!(!mount.writable() || mount.file_system_writable());
        assert!(!mount.device.contains([' ', '\n']) && !mount.fs_type.contains([' ', '\n']));
        if let Some(value) = mount.super_option("upperdir") {
            assert!(mount.super_options.contains(value));
        }
    }
    let escaped: Vec<u8> = data
        .iter()
        .flat_map(|byte| match byte {
            b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
            // Lines are not split there, but a mount point with one is not what this is about.
            b'\r' => vec![b'_'],
            _ => vec![*byte],
        })
        .collect();
    let line = format!("26 25 179:2 / /{} ro - ext4 /dev/sda2 ro", String::from_utf8_lossy(&escaped));
    let mounts = mounts::parse(&line);
    let plain = format!("/{}", String::from_utf8_lossy(data).replace('\r', "_"));
    // No more than the one: the escapes leave no line feed.
    assert_eq!(mounts.iter().map(|m| m.mount_point.as_str()).collect::<Vec<_>>(), [plain.as_str()], "{line}");
}
