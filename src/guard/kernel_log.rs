//! What the guard says: to the kernel's log, which the consoles show and the journal takes over. An initramfs has no syslog.

use crate::output::{print, tell};
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Priorities of syslog(2).
const ERROR: u8 = 3;
const NOTICE: u8 = 5;
/// The kernel takes so many bytes in one message (`LOG_LINE_MAX` of kernel/printk/printk.c is 1024, the prefix counted).
const LONGEST: usize = 900;

/// The kernel's log.
#[derive(Debug)]
pub struct KernelLog {
    path: PathBuf,
    /// The consoles show nothing but errors (`quiet`).
    quiet: bool,
}

impl KernelLog {
    /// That of the machine at `root`.
    pub fn of(root: &Path) -> KernelLog {
        // The first number: less important messages do not reach a console (proc_sys_kernel(5), `printk`).
        let levels = std::fs::read_to_string(root.join("proc/sys/kernel/printk")).unwrap_or_default();
        let shown = levels.split_whitespace().next().and_then(|n| n.parse().ok());
        KernelLog { path: root.join("dev/kmsg"), quiet: shown.is_some_and(|shown: u8| shown <= NOTICE) }
    }

    /// Something that the owner must know.
    pub fn error(&self, text: impl Display) {
        self.say(ERROR, &text.to_string());
    }

    /// Something that takes a while, or was done. In an initramfs standard output is the console, also where the kernel is quiet.
    pub fn note(&self, text: impl Display) {
        let text = text.to_string();
        self.say(NOTICE, &text);
        if self.quiet {
            print(format_args!("burnonce: {text}\n"));
        }
    }

    fn say(&self, level: u8, text: &str) {
        let line = message(level, text);
        let written =
            OpenOptions::new().append(true).open(&self.path).and_then(|mut log| log.write_all(line.as_bytes()));
        if written.is_err() {
            tell(text);
        }
    }
}

/// A message as the kernel takes it: one line with its priority.
fn message(level: u8, text: &str) -> String {
    let end = (0..=LONGEST.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("<{level}>burnonce: {}\n", text[..end].replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_that_the_kernel_takes() {
        assert_eq!(message(3, "/dev/vda3 is full."), "<3>burnonce: /dev/vda3 is full.\n");
        assert_eq!(message(5, "one\ntwo"), "<5>burnonce: one two\n");
        let long = message(3, &"ü".repeat(2000));
        assert!(long.len() < 1000 && long.ends_with("ü\n"), "{}", long.len());
    }
}
