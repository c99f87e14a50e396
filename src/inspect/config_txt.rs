//! What the firmware's `config.txt` sets, with the files that it includes
//! (<https://www.raspberrypi.com/documentation/computers/config_txt.html>). Pure: it looks at a [`Tree`].

use super::system::TEXT;
use super::tree::Tree;
use anyhow::Result;
use std::collections::BTreeSet;

/// So many files are read, and no more: the format allows for a circle.
const MOST_FILES: usize = 16;
/// Of a setting so many values are looked at.
const MOST_VALUES: usize = 16;

/// When a setting applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applies {
    Always,
    /// In a boot that tries a new kernel.
    Tried,
    /// Under the filter of a board, say, or in a file that is included.
    Sometimes,
}

impl Applies {
    pub const ANY: [Applies; 3] = [Applies::Always, Applies::Tried, Applies::Sometimes];
}

/// The settings, in the order of their lines.
#[derive(Debug, Default)]
pub struct Settings(Vec<(Applies, String, String)>);

/// Reads `config.txt` of a boot partition, and what it includes.
///
/// # Errors
/// One of the files cannot be read.
pub fn read(tree: &dyn Tree) -> Result<Settings> {
    let mut settings = Settings::default();
    let mut left = vec!["config.txt".to_owned()];
    for number in 0..MOST_FILES {
        let Some(path) = left.pop() else { break };
        if let Some(text) = tree.text(&path, TEXT)? {
            left.extend(settings.add(&text, number == 0));
        }
    }
    Ok(settings)
}

impl Settings {
    /// Adds those of a file, and says which files it includes.
    fn add(&mut self, text: &str, is_main: bool) -> Vec<String> {
        let mut applies = Some(if is_main { Applies::Always } else { Applies::Sometimes });
        let mut included = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                applies = match line.to_lowercase().as_str() {
                    "[none]" => None,
                    "[all]" if is_main => Some(Applies::Always),
                    "[tryboot]" if is_main => Some(Applies::Tried),
                    _ => Some(Applies::Sometimes),
                };
                continue;
            }
            let Some(applies) = applies else { continue };
            if let Some(path) = line.strip_prefix("include ") {
                included.push(path.trim().to_owned());
            } else if let Some(names) = line.strip_prefix("initramfs ") {
                // `initramfs initrd.img followkernel`: the one setting without `=`.
                let names = names.split_whitespace().next().unwrap_or_default();
                self.0.push((applies, "ramfsfile".to_owned(), names.to_owned()));
            } else if let Some((key, value)) = line.split_once('=') {
                self.0.push((applies, key.trim().to_owned(), value.trim().to_owned()));
            }
        }
        included
    }

    /// The value of `key` that counts; of several the last.
    pub fn last(&self, when: Applies, key: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(applies, name, _)| *applies == when && name == key)
            .map(|(_, _, value)| value.as_str())
    }

    /// Every value that `key` has there, each once.
    pub fn all(&self, when: &[Applies], key: &str) -> BTreeSet<&str> {
        let values = self.0.iter().filter(|(applies, name, _)| when.contains(applies) && name == key);
        values.map(|(_, _, value)| value.as_str()).take(MOST_VALUES).collect()
    }

    /// The files that are named as an initramfs, whenever.
    pub fn initramfs(&self) -> BTreeSet<&str> {
        let named = self.0.iter().filter(|(_, name, _)| name == "ramfsfile");
        named.flat_map(|(_, _, files)| files.split(',')).map(str::trim).take(MOST_VALUES).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::memory::Memory;
    use super::*;

    #[test]
    fn each_setting_is_known_with_when_it_applies() {
        let tree = Memory::default()
            .file(
                "config.txt",
                "cmdline=a.txt\n#cmdline=x\n[pi5]\ncmdline=five.txt\n[none]\ncmdline=none.txt\n[All]\ncmdline = b.txt\n\
                 include more.txt\n[tryboot]\nos_prefix=new/\ninitramfs one,two followkernel\n",
            )
            .file("more.txt", "cmdline=more.txt\nramfsfile=three\ninclude config.txt\ninclude more.txt\n");
        let settings = read(&tree).unwrap();
        assert_eq!(settings.last(Applies::Always, "cmdline"), Some("b.txt"));
        assert_eq!(settings.last(Applies::Tried, "os_prefix"), Some("new/"));
        assert_eq!(settings.last(Applies::Always, "os_prefix"), None);
        let sometimes = settings.all(&[Applies::Sometimes], "cmdline");
        assert!(sometimes.contains("five.txt") && sometimes.contains("more.txt") && !sometimes.contains("none.txt"));
        assert_eq!(settings.initramfs().into_iter().collect::<Vec<_>>(), ["one", "three", "two"]);
        assert!(read(&Memory::default()).unwrap().initramfs().is_empty());
    }
}
