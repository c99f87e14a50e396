//! `burnonce bake` on real images: made by sfdisk, mkfs.fat, mtools and mke2fs, packed by xz, zstd and gzip; with packages made by
//! dpkg-deb. No root, mounts or loop devices.

#[path = "../common/mod.rs"]
mod common;

mod again;
mod damaged;
mod debs;
mod golden;
mod large;
mod listing;
mod refused;
mod rows;
mod signals;
mod states;
mod trips;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// What is the time for whatever is written, in seconds since 1970: `SOURCE_DATE_EPOCH`.
const NOW: u64 = 1_764_000_000;

/// How a run ended.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: &Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().unwrap_or_else(|| 1000 + output.status.signal().unwrap_or(0));
        Ran { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// What it printed; it must have done what it was to do.
    #[track_caller]
    fn done(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        assert_eq!(self.err, "");
        self.out
    }

    /// Why it did not, on one line and without burnonce's name; the exit code must be this one, and nothing printed as if it had.
    #[track_caller]
    fn gave_up(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(!self.out.contains("is ready"), "{}", self.out);
        let text = self.err.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(!text.contains("/proc/") && !text.contains("panicked"), "{text}");
        text.strip_prefix("burnonce: ").map(str::to_owned).unwrap_or(text)
    }
}

/// `burnonce bake` with these arguments, in a directory of its own for temporary files.
fn command(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burnonce"));
    command
        .arg("bake")
        .args(arguments)
        .env("TMPDIR", temporary)
        .env("SOURCE_DATE_EPOCH", NOW.to_string())
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command
}

/// Runs it. Nothing may stay in its directory for temporary files.
#[track_caller]
fn bake(arguments: &[&str]) -> Ran {
    let temporary = TempDir::new().unwrap();
    let output = command(temporary.path(), arguments).output().unwrap();
    assert_eq!(names(temporary.path()), [""; 0], "{arguments:?}");
    Ran::of(&output)
}

/// All that is in a directory, hidden things too, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// A path as an argument.
fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
