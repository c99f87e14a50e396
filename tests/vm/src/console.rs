//! A node's serial console: kept in a log file, searched by the scenarios, streamed by the demo.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Lines after which a boot will not get any further.
const DEADLY: &[&str] = &["Kernel panic", "You are in emergency mode", "built-in shell (ash)"];

/// The console of one boot.
pub struct Console {
    log: PathBuf,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

/// What has been printed so far, without terminal control sequences.
#[derive(Default)]
struct Seen {
    text: String,
    closed: bool,
}

impl Console {
    /// Takes what QEMU prints. `echo` also sends it to this process's stdout.
    pub fn capture(source: impl Read + Send + 'static, log: &Path, echo: bool) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("making {}", log.display()))?;
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let reader = std::thread::spawn(move || pump(source, file, echo, &theirs));
        Ok(Self { log: log.to_path_buf(), shared, reader: Some(reader) })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.shared.seen.lock().expect("the reader does not panic")
    }

    /// All that has been printed.
    pub fn text(&self) -> String {
        self.seen().text.clone()
    }

    /// Whether `pattern` has been printed.
    pub fn has(&self, pattern: &str) -> bool {
        self.seen().text.contains(pattern)
    }

    /// The first line with `pattern`, waited for. It is an error when the time is up, QEMU ends, or the boot got stuck.
    pub fn wait_for(&self, pattern: &str, timeout: Duration) -> Result<String> {
        let deadline = Instant::now() + timeout;
        let mut seen = self.seen();
        loop {
            if let Some(line) = seen.text.lines().find(|line| line.contains(pattern)) {
                return Ok(line.to_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let reason = if let Some(deadly) = stuck(&seen.text) {
                format!("the boot got stuck ({deadly:?})")
            } else if seen.closed {
                "the node went off".to_owned()
            } else if left.is_zero() {
                format!("{} s are over", timeout.as_secs())
            } else {
                seen = self.shared.changed.wait_timeout(seen, left).expect("the reader does not panic").0;
                continue;
            };
            drop(seen);
            bail!("waited for {pattern:?} on the console, but {reason}\n{}", self.tail());
        }
    }

    /// An error where the boot got stuck.
    pub fn check(&self) -> Result<()> {
        let found = stuck(&self.seen().text);
        if let Some(deadly) = found {
            bail!("the boot got stuck ({deadly:?})\n{}", self.tail());
        }
        Ok(())
    }

    /// The last lines and where the others are, for an error's text.
    pub fn tail(&self) -> String {
        let seen = self.seen();
        let lines: Vec<_> = seen.text.lines().collect();
        let last = lines[lines.len().saturating_sub(40)..].join("\n  | ");
        format!("  | {last}\n  log: {}", self.log.display())
    }

    /// Waits until QEMU has closed the console and all of it is in the log.
    pub fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
    }
}

fn stuck(text: &str) -> Option<&'static str> {
    DEADLY.iter().copied().find(|pattern| text.contains(pattern))
}

/// Copies until the end of `source`. A log that cannot be written must not stop the node, so that is only said.
fn pump(mut source: impl Read, mut log: File, echo: bool, shared: &Shared) {
    let mut plain = Plain::default();
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = source.read(&mut chunk) {
        let text = plain.feed(&chunk[..count]);
        if let Err(error) = log.write_all(text.as_bytes()) {
            eprintln!("vm: writing the console's log: {error}");
        }
        if echo {
            print!("{text}");
            // Nobody may be listening any more; the node goes on.
            let _ = std::io::stdout().flush();
        }
        shared.seen.lock().expect("nobody panics with it").text.push_str(&text);
        shared.changed.notify_all();
    }
    shared.seen.lock().expect("nobody panics with it").closed = true;
    shared.changed.notify_all();
}

/// Takes carriage returns and escape sequences (colours, cursor movements) out of a stream.
#[derive(Default)]
struct Plain {
    escape: Escape,
    pending: Vec<u8>,
}

#[derive(Default, PartialEq)]
enum Escape {
    #[default]
    None,
    /// ESC was seen.
    Started,
    /// `ESC [`: up to a letter.
    Control,
    /// `ESC ]`: up to BEL or ESC \.
    Command,
}

impl Plain {
    fn feed(&mut self, bytes: &[u8]) -> String {
        for &byte in bytes {
            self.escape = match (&self.escape, byte) {
                (Escape::None, 0x1b) | (Escape::Command, 0x1b) => Escape::Started,
                (Escape::None, b'\r') => Escape::None,
                (Escape::None, _) => {
                    self.pending.push(byte);
                    Escape::None
                }
                (Escape::Started, b'[') => Escape::Control,
                (Escape::Started, b']') => Escape::Command,
                (Escape::Started, _) => Escape::None,
                (Escape::Control, 0x40..=0x7e) => Escape::None,
                (Escape::Control, _) => Escape::Control,
                (Escape::Command, 0x07) => Escape::None,
                (Escape::Command, _) => Escape::Command,
            };
        }
        // The start of a character that is not complete waits for the rest.
        let complete = match std::str::from_utf8(&self.pending) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.pending.len(),
        };
        let rest = self.pending.split_off(complete);
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending = rest;
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Plain;

    #[test]
    fn escape_sequences_are_taken_out() {
        let mut plain = Plain::default();
        assert_eq!(plain.feed(b"[\x1b[0;32m  OK  \x1b[0m] Mounted\r\n"), "[  OK  ] Mounted\n");
        assert_eq!(plain.feed(b"a\x1b]3008;start=x\x1b\\b\x1b]0;title\x07c"), "abc");
        assert_eq!(plain.feed(b"\xe2\x80"), "");
        assert_eq!(plain.feed(b"\xa6 done"), "… done");
    }
}
