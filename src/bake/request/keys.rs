//! Public SSH keys, as `authorized_keys` has them: each is decoded, for sshd(8) is silent about a line that is none, and the owner of a node
//! without a screen is locked out.

use anyhow::{Context, Result, bail, ensure};

/// Types of public keys, and how many fields each has: its type, and what the key consists of (RFC 8709, section 4; RFC 4253, section 6.6;
/// RFC 5656, section 3.1; OpenSSH, `PROTOCOL.u2f`). `ssh-dss` is none of them: OpenSSH 10.0 has no code for it any more, and none before
/// took it unasked since 7.0.
const TYPES: [(&str, usize); 7] = [
    ("ssh-ed25519", 2),
    ("ssh-rsa", 3),
    ("ecdsa-sha2-nistp256", 3),
    ("ecdsa-sha2-nistp384", 3),
    ("ecdsa-sha2-nistp521", 3),
    ("sk-ssh-ed25519@openssh.com", 3),
    ("sk-ecdsa-sha2-nistp256@openssh.com", 4),
];
/// How much of a line that is no key is shown, in characters.
const SHOWN: usize = 60;

/// The public keys in the `content` of a file called `shown`, one on each line. Empty lines and comments are left out. Pure.
///
/// # Errors
/// There is none, or a line that is none: what is wrong with it, and what to do.
pub fn keys(content: &[u8], shown: &str) -> Result<Vec<String>> {
    let text = std::str::from_utf8(content).with_context(|| format!("{shown} is no public key"))?;
    ensure!(
        !text.contains("PRIVATE KEY"),
        "{shown} is a private key, which no image may hold; name the public one, {shown}.pub"
    );
    ensure!(!text.starts_with('\u{feff}'), "{shown} begins with a byte order mark; save the file without it");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let found: Vec<String> = lines.map(str::to_owned).collect();
    ensure!(!found.is_empty(), "{shown} holds no key");
    for line in &found {
        check(line).with_context(|| format!("{shown}: `{}`", beginning(line))).map_err(flat)?;
    }
    Ok(found)
}

/// An error as one sentence.
fn flat(error: anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

fn beginning(line: &str) -> String {
    let mut shown: String = line.chars().take(SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect();
    if line.chars().count() > SHOWN {
        shown.push('…');
    }
    shown
}

fn check(line: &str) -> Result<()> {
    ensure!(!line.chars().any(char::is_control), "it is no public SSH key: it has a control character in it");
    let words: Vec<&str> = line.split_whitespace().collect();
    let kind = words.first().copied().unwrap_or_default();
    ensure!(kind != "ssh-dss", "it is a DSA key, which no newer OpenSSH takes; make one by `ssh-keygen -t ed25519`");
    let Some((_, fields)) = TYPES.iter().find(|(name, _)| *name == kind) else {
        let is_key = |pair: &[&str]| TYPES.iter().any(|(name, _)| *name == pair[0]) && pair[1].starts_with("AAAA");
        ensure!(
            !words.windows(2).any(is_key),
            "options before a key are not taken, for one with a mistake locks you out, or lets in more than you mean; give the key alone, \
             and write such a line into authorized_keys on the node"
        );
        bail!("it is no public SSH key; one begins with its type, as `ssh-ed25519 AAAA…`");
    };
    const AGAIN: &str = "copy it once more, all of it and on one line, from the .pub file beside the private key";
    let found = words.get(1).and_then(|data| decoded(data)).and_then(|blob| strings(&blob));
    let found =
        found.with_context(|| format!("it is no public SSH key: what stands behind `{kind}` is damaged; {AGAIN}"))?;
    let inner = found.first().map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
    ensure!(inner == kind, "it is no public SSH key: it says `{kind}`, and holds `{}`; {AGAIN}", beginning(&inner));
    let is_whole = found.len() == *fields
        && found.iter().all(|field| !field.is_empty())
        && (!kind.contains("ed25519") || found[1].len() == 32);
    ensure!(is_whole, "it is no public SSH key: its parts are not those of a key of the type `{kind}`; {AGAIN}");
    Ok(())
}

/// What is behind base64 (RFC 4648, section 4), with all that pads it out; `None` where it is none. Pure.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let data = text.trim_end_matches('=');
    if text.len() % 4 != 0 || text.len() - data.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in data.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        (bits, count) = ((bits << 6 | u32::from(value)) & 0xFFFF, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xFF) as u8);
        }
    }
    Some(bytes)
}

/// What consists of strings alone: each has its length before it, in four bytes (RFC 4251, section 5). `None` where one reaches past the
/// end. Pure.
fn strings(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        found.push(rest.get(..length)?.to_vec());
        bytes = &rest[length..];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ssh-keygen makes them; the last two by their description, for it needs a device for them.
    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK/izcq1+FasvrvZRRWn2QYjiaQw6ky2pMQI0/CE0ejE me@laptop";
    const OTHERS: [&str; 6] = [
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEAiQGhHS+ojnaN+xknWae/Pnxw5bQrgfjVyBEgw2WUSTrbFMlw+GM8l9YrQZcAVnYd+WLfs5QC6lx+gFRRZ1Zg=",
        "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBKQFmZjHfdqUnbi1sVKMOvF1gTf5IQW53oBzrOAslArOY82//qv9y76NLIqifozZ19/02bPQrzlsAuv9oFzqWdWt/u8pzZyWuCi5JYLPZWo88VG2MlC7KoqhvYD06CCJ0A==",
        "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAA1VvwP/pWgpK3EgtlxFkbtyxiV9Dhm4IDi2MQbmi2mr1tiMYVddgmiZ7J3xzWQeD/nNciS+6/0gknC5mOGEoiRFwANxxxi3Q/Wk5ahOBHMyZB6j3k3DUub9yjrHkpCtqpw9Ko8k/h05uxmIfsTMKeNzbWj8cBkrMrijjIim7eVWWLoRA==",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC/jZHXBaVc0h+hl2eV7O/WaimEhByQHRHMKIuwUCuW//Doa1jJRxDWPJG1jujw+9RcEEircLnNvbKEI3UopyO5YVusGXeYb6YFNKE2rL/4UWfjpRJqau6BKrsXNhl60U4a5v0yjbPWQyN7eXf3ABX/zKrEAnEah5+3+nqlESvsaQ==",
        "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIGRlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn+AgYKDAAAABHNzaDo=",
        "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBGRlZmdoaWprbG1ub3BxcnN0dXZ3eHl6e3x9fn+AgYKDZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoMAAAAEc3NoOg==",
    ];

    fn error(line: &str) -> String {
        keys(line.as_bytes(), "given").unwrap_err().to_string()
    }

    #[test]
    fn a_public_key_is_told_from_what_is_none() {
        assert_eq!(keys(format!("# mine\n\n{ED25519}\r\n").as_bytes(), "given").unwrap(), [ED25519]);
        assert_eq!(keys(OTHERS.join("\n").as_bytes(), "given").unwrap(), OTHERS);
        let data = ED25519.split(' ').nth(1).unwrap();
        for (line, wanted) in [
            ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "given.pub"),
            ("\n", "holds no key"),
            ("hello\n", "it is no public SSH key; one begins with its type"),
            ("ssh-ed25519\n", "what stands behind `ssh-ed25519` is damaged"),
            ("ssh-ed25519 short\n", "what stands behind `ssh-ed25519` is damaged"),
            (&format!("ssh-ed25519 AAAA{}", "B".repeat(64)), "what stands behind `ssh-ed25519` is damaged"),
            (&format!("ssh-ed25519 {}", &data[..64]), "what stands behind `ssh-ed25519` is damaged"),
            (&format!("ssh-ed25519 {data}AAAA"), "what stands behind `ssh-ed25519` is damaged"),
            (&format!("ssh-ed25519 {data}AAAAAAAA"), "is damaged"),
            (&format!("ssh-ed25519 {data}AAAAAQAA"), "is damaged"),
            (&format!("ssh-ed25519 {}_{}", &data[..30], &data[31..]), "is damaged"),
            (&format!("ssh-rsa {data}"), "it says `ssh-rsa`, and holds `ssh-ed25519`"),
            (
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAABEFBQUE=",
                "its parts are not those of a key of the type `ssh-ed25519`",
            ),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "its parts are not those"),
            (&format!("ssh-dss {data}"), "it is a DSA key"),
            (&format!("from=\"10.0.0.0/8, *.lan\" {ED25519}"), "options before a key are not taken"),
            (&format!("no-pty {ED25519}"), "give the key alone"),
            (&format!("\u{feff}{ED25519}"), "given begins with a byte order mark"),
            (&format!("{ED25519}\u{1b}[2J"), "control character"),
        ] {
            let said = error(line);
            assert!(said.contains(wanted), "{line}: {said}");
        }
        assert!(!error(&format!("{ED25519}\u{1b}[2J")).contains('\u{1b}'));
    }

    #[test]
    fn base64_is_decoded() {
        // RFC 4648, section 10.
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(decoded(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(decoded("+/+/"), Some(vec![0xFB, 0xFF, 0xBF]));
        for text in ["Zg", "Zg=", "Z===", "====", "Zm9v\n", "Zm=v", "Zm9-"] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }
}
