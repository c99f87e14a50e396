//! cloud-init's user-data on the boot partition: checked before it is put there, for a mistake in it shows only on a node that has
//! been reset already.

use crate::files;
use anyhow::{Result, bail};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Its name on the boot partition (cloud-init's data source NoCloud).
pub const NAME: &str = "user-data";
/// Where the one that was replaced is kept, beside it.
const KEPT: &str = "user-data.bak";
/// The first line of the only kind that is understood here.
const HEADER: &str = "#cloud-config";
/// The most that is read, bytes; more would be a mistake.
const LONGEST: usize = 1 << 20;
/// So many brackets may be open at once; nothing that is meant has ten.
const DEEPEST: usize = 100;

/// Reads the user-data in the file at `path` and checks it.
///
/// # Errors
/// It cannot be read, or is wrong; the message has the file's name, line and column where there is one.
pub fn read(path: &Path) -> Result<String> {
    let bytes = files::content(path, LONGEST as u64 + 1)?;
    check(&bytes).map(str::to_owned).map_err(|wrong| anyhow::anyhow!("{}{wrong}", path.display()))
}

/// Checks that this is a cloud-config: its first line, and a mapping in YAML (or nothing but comments). What the keys mean is for
/// cloud-init to judge: `cloud-init schema --config-file FILE`.
///
/// # Errors
/// What is wrong, to be put after the file's name: `:3:5: not YAML: ...`, or `: longer than ...`.
fn check(bytes: &[u8]) -> Result<&str, String> {
    if bytes.len() > LONGEST {
        return Err(": longer than 1 MiB; that is no user-data".to_owned());
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!(":{line}: not UTF-8 text; compressed user-data is not taken either")
    })?;
    let first = text.lines().next().unwrap_or_default().trim_end();
    if first.trim_start_matches('\u{feff}') == HEADER && first != HEADER {
        return Err(":1:1: begins with a byte order mark; save the file without it".to_owned());
    }
    if first != HEADER {
        let first: String = first.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
        return Err(format!(
            ":1:1: the first line is `{first}` and not `{HEADER}`; user-data of another kind cannot be checked: put it on the boot partition by hand"
        ));
    }
    if let Some(line) = too_deep(text) {
        return Err(format!(":{line}: {TOO_DEEP}"));
    }
    match serde_yaml::from_str::<serde_yaml::Value>(text) {
        Ok(serde_yaml::Value::Mapping(_) | serde_yaml::Value::Null) => Ok(text),
        Ok(_) => Err(": no mapping: a cloud-config consists of keys with values, `key: value`".to_owned()),
        Err(error) => Err(match error.location() {
            Some(at) => {
                let said = error.to_string();
                let place = format!(" at line {} column {}", at.line(), at.column());
                format!(":{}:{}: not YAML: {}", at.line(), at.column(), said.replacen(&place, "", 1))
            }
            None => format!(": not YAML: {error}"),
        }),
    }
}

/// What is said of a text that [`too_deep`] stops at.
pub(crate) const TOO_DEEP: &str =
    "more than 100 brackets are open at once; that cannot be right: close them, or quote what is text";

/// The line in which more than [`DEEPEST`] brackets of YAML are open at once, where there is one. The parser (`serde_yaml`, 0.9) takes no
/// more than 128, but says so when it is through with all of the text, and with each bracket the next word takes longer: 400 KB of `[` take
/// minutes. A bracket within a word is text. Pure.
pub(crate) fn too_deep(text: &str) -> Option<usize> {
    let (mut open, mut line, mut before) = (0usize, 1, b'\n');
    for byte in text.bytes() {
        match byte {
            b'\n' => line += 1,
            // YAML 1.1, 5.3: only behind these does a collection begin.
            b'[' | b'{' if before.is_ascii_whitespace() || b"[{,:-?".contains(&before) => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > DEEPEST {
            return Some(line);
        }
        before = byte;
    }
    None
}

/// Puts `text` on the boot partition mounted at `boot`, flushed; the one there before is kept as `user-data.bak`. Whether that was
/// needed: it may be there already.
///
/// # Errors
/// The boot partition takes no writes or is full; the old user-data is then in place.
pub fn put(boot: &Path, text: &str) -> Result<bool> {
    let path = boot.join(NAME);
    match fs::read(&path) {
        Ok(old) if old == text.as_bytes() => return Ok(false),
        // A copy, not a rename: there is no moment without user-data.
        Ok(old) => files::replace_with(&boot.join(KEPT), &old, 0o644)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => bail!("reading {}: {error}", path.display()),
    }
    files::replace(&path, text)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_config_is_told_from_what_is_none() {
        for text in [
            "#cloud-config\nusers:\n  - name: pi\n",
            "#cloud-config \r\na: 1\r\n",
            "#cloud-config",
            "#cloud-config\n# b\n",
        ] {
            assert_eq!(check(text.as_bytes()), Ok(text));
        }
        let long = format!("#cloud-config\n# {}", "x".repeat(LONGEST));
        let deep = format!("#cloud-config\na: 1\nb: {}", "[".repeat(400_000));
        for (text, expected) in [
            (b"".as_slice(), ":1:1: the first line is `` and not `#cloud-config`"),
            (b"#!/bin/sh\necho", ":1:1: the first line is `#!/bin/sh` and not"),
            (b"## template: jinja\n#cloud-config\n", "of another kind cannot be checked"),
            (b" #cloud-config\n", "the first line is ` #cloud-config`"),
            (b"#cloud-configs\n", "the first line is `#cloud-configs`"),
            (b"\xef\xbb\xbf#cloud-config\na: 1\n", ":1:1: begins with a byte order mark"),
            (b"#cloud-config\n- a\n", ": no mapping"),
            (b"#cloud-config\nword\n", ": no mapping"),
            (b"#cloud-config\na: b\n  c: d\n", ":3:4: not YAML: mapping values are not allowed in this context"),
            (b"#cloud-config\n\ta: b\n", ":2:1: not YAML: "),
            (b"#cloud-config\na: \"b\n", "not YAML: "),
            (b"#cloud-config\na: 1\n---\nb: 2\n", "not YAML: "),
            (b"\x1f\x8b\x08\x00", ":1: not UTF-8 text; compressed"),
            (b"#cloud-config\na: \xff\n", ":2: not UTF-8"),
            (long.as_bytes(), ": longer than 1 MiB"),
            (deep.as_bytes(), ":3: more than 100 brackets are open at once"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(expected), "{:?}: {error}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn brackets_in_a_text_are_not_counted() {
        let text = "#cloud-config\na: |\n".to_owned() + &"  printf '\\033[1m\\e[0m'; [[ -n $a ]]\n".repeat(300);
        assert_eq!(check(text.as_bytes()), Ok(text.as_str()));
        for (text, expected) in [
            ("[".repeat(100), None),
            ("a\n".to_owned() + &"[{".repeat(51), Some(2)),
            ("[ ".repeat(50) + &"] ".repeat(50) + &"[ ".repeat(60), None),
            ("a: [ b, ".repeat(101), Some(1)),
        ] {
            assert_eq!(too_deep(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_the_file_that_it_is_in() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mine.yaml");
        fs::write(&path, "#cloud-config\na: b\n  c: d\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("/mine.yaml:3:4: not YAML"), "{error}");
        assert!(format!("{:#}", read(&directory.path().join("none")).unwrap_err()).contains("/none: No such file"));
    }

    #[test]
    fn the_old_one_is_kept_and_the_same_one_is_left_alone() {
        let boot = tempfile::tempdir().unwrap();
        let content = |name: &str| fs::read(boot.path().join(name)).ok();
        assert!(put(boot.path(), "#cloud-config\na: 1\n").unwrap());
        assert_eq!(content(KEPT), None);
        // The old one may be of any kind.
        fs::write(boot.path().join(NAME), b"\x1f\x8b").unwrap();
        assert!(put(boot.path(), "#cloud-config\na: 2\n").unwrap());
        assert!(!put(boot.path(), "#cloud-config\na: 2\n").unwrap());
        assert_eq!(content(NAME).as_deref(), Some(b"#cloud-config\na: 2\n".as_slice()));
        assert_eq!(content(KEPT).as_deref(), Some(b"\x1f\x8b".as_slice()));
        assert_eq!(fs::read_dir(boot.path()).unwrap().count(), 2);
    }
}
