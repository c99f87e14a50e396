//! The programs of e2fsprogs and dosfstools, on any workstation, and how they are told of a file system inside of a file.

use crate::command::{DIRECTORIES, Program};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Output;

/// Where Homebrew has programs. Its e2fsprogs is "keg-only": no link leads to it from the usual directories.
const HOMEBREW: [&str; 4] =
    ["/opt/homebrew/opt/e2fsprogs/sbin", "/usr/local/opt/e2fsprogs/sbin", "/opt/homebrew/sbin", "/usr/local/sbin"];
/// What lines begin with that tell nothing: versions, names of passes, and that nothing was changed.
const NOISE: [&str; 4] = ["e2fsck 1.", "fsck.fat ", "Pass ", "Leaving filesystem unchanged"];
/// How much of what a program says is handed on, in lines.
const LINES: usize = 5;

/// Tells libext2fs and its programs, started from here, what time goes into superblocks instead of the clock's, in seconds since 1970 (e2fsprogs,
/// `lib/ext2fs/openfs.c`: `E2FSPROGS_FAKE_TIME`; `e2fsck/unix.c`: `E2FSCK_TIME`). To be called while there is one thread.
pub(super) fn set_time_of_e2fsprogs(seconds: u64) {
    for name in ["E2FSPROGS_FAKE_TIME", "E2FSCK_TIME"] {
        // SAFETY: no other thread reads the environment meanwhile, for there is none.
        unsafe { std::env::set_var(name, seconds.to_string()) };
    }
}

/// Finds a program: where the system has it, where Homebrew has it, in `PATH`.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = DIRECTORIES.into_iter().chain(HOMEBREW).map(PathBuf::from);
    found(name, known.chain(std::env::split_paths(&path)))
}

fn found(name: &str, directories: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    // A relative directory in PATH means another one wherever the program is started.
    directories.filter(|directory| directory.is_absolute()).map(|directory| directory.join(name)).find(|p| p.is_file())
}

/// Finds a program of e2fsprogs that nothing can be done without.
///
/// # Errors
/// It is not there: what to install.
pub(super) fn need(name: &str) -> Result<PathBuf> {
    find(name).with_context(|| missing(name))
}

fn missing(name: &str) -> String {
    format!(
        "the program {name} is needed for this, and is not there; install e2fsprogs (Linux: the package e2fsprogs of the \
         distribution; macOS: `brew install e2fsprogs`), and run this again"
    )
}

/// The name by which libext2fs, and so each program of e2fsprogs, opens a file system that begins at the byte `offset` of a file
/// (`lib/ext2fs/unix_io.c`, `unix_set_option`). Pure.
///
/// # Errors
/// The path is no UTF-8, or has a question mark.
pub(super) fn place(file: &Path, offset: u64) -> Result<String> {
    let shown = file.display();
    let name = file.to_str().filter(|name| !name.contains('?'));
    let name =
        name.with_context(|| format!("{shown} has a name that e2fsprogs does not take; rename it (no question mark)"))?;
    ensure!(file.is_absolute(), "{shown}: a program is told of an image by its whole path");
    Ok(format!("{name}?offset={offset}"))
}

/// Runs a checker, whose exit code is a sum of bits, and gives the code and what it said on one line.
///
/// # Errors
/// It cannot be started, or was killed.
pub(super) fn judged(program: &Program) -> Result<(i32, String)> {
    let output = (1..=255).fold(program.clone(), Program::accept).run()?;
    Ok((output.status.code().context("it was killed")?, said(&output)))
}

/// The first lines of what a checker found: the first is what the others come from. Its version and the names of its passes tell nothing.
fn said(output: &Output) -> String {
    let text = [&output.stdout[..], b"\n", &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    let begins = |line: &str| NOISE.iter().any(|noise| line.starts_with(noise));
    // fsck.fat ends with its file's name, how many files there are, and clusters in use.
    let is_sum = |line: &str| line.contains(" files, ") && line.ends_with(" clusters");
    let is_noise = |line: &str| line.is_empty() || begins(line) || is_sum(line);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !is_noise(line)).take(LINES).collect();
    if lines.is_empty() { "it said nothing".to_owned() } else { lines.join(" / ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_program_is_looked_for_in_absolute_directories_in_their_order() {
        let directory = tempfile::TempDir::new().unwrap();
        let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
        fs::create_dir_all(first.join("both")).unwrap();
        fs::create_dir(&second).unwrap();
        ["both", "one"].iter().for_each(|name| fs::write(second.join(name), "").unwrap());
        let look = |name| found(name, [PathBuf::from("."), PathBuf::new(), first.clone(), second.clone()].into_iter());
        assert_eq!(look("both"), Some(second.join("both")));
        assert_eq!(look("one"), Some(second.join("one")));
        assert_eq!(look("Cargo.toml"), None);
        let error = need("burnonce-no-such-program").unwrap_err().to_string();
        assert!(error.starts_with("the program burnonce-no-such-program is needed"), "{error}");
        assert!(error.contains("`brew install e2fsprogs`"), "{error}");
        assert!(need("e2fsck").unwrap().is_absolute());
    }

    #[test]
    fn a_place_is_a_path_with_an_offset() {
        assert_eq!(place(Path::new("/a/b.img"), 512).unwrap(), "/a/b.img?offset=512");
        assert!(place(Path::new("/a/b?.img"), 512).unwrap_err().to_string().contains("rename it"));
        assert!(place(Path::new("b.img"), 512).unwrap_err().to_string().contains("its whole path"));
    }

    #[test]
    fn a_checker_s_code_is_no_failure_and_its_noise_is_left_out() {
        let say = |script: &str| judged(&Program::at("/bin/sh").args(["-c", script])).unwrap();
        let script = "echo 'Pass 1: x'; echo; echo ' wrong'; echo more; echo '/proc/1/fd/6: 8 files, 152/32481 clusters'; \
                      echo 'e2fsck 1.47.0' >&2; exit 12";
        assert_eq!(say(script), (12, "wrong / more".to_owned()));
        assert_eq!(say("exit 0"), (0, "it said nothing".to_owned()));
        assert!(judged(&Program::at("/bin/sh").args(["-c", "kill -9 $$"])).is_err());
    }
}
