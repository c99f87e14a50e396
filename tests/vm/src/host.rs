//! The machine that the test bed runs on: its programs, where things are kept, and whether it can do the work at all.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::board::Board;

/// Programs without which no scenario can run; `tests/setup.sh` installs them.
const TOOLS: &[&str] = &[
    "qemu-system-x86_64",
    "mmdebstrap",
    "mcopy",
    "mdir",
    "sfdisk",
    "sgdisk",
    "mke2fs",
    "dd",
    "ssh",
    "scp",
    "sha256sum",
    "mount",
    "umount",
];

/// Fails, with the reason and the remedy, where this machine cannot run scenarios.
pub fn require() -> Result<()> {
    let uid = run(Command::new("id").arg("-u"))?;
    ensure!(uid.trim() == "0", "the test bed needs root (chroot, loop mounts): run it with sudo");
    for tool in TOOLS {
        ensure!(find(tool).is_some(), "{tool} is not installed: run tests/setup.sh");
    }
    Ok(())
}

/// Fails where this machine cannot emulate the board.
pub fn require_emulator(board: Board) -> Result<()> {
    let emulator = board.emulator();
    ensure!(find(emulator).is_some(), "{emulator} is not installed: run tests/setup.sh");
    Ok(())
}

/// Where `program` is on the PATH or among the system's programs (a plain user's PATH lacks sbin).
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// The project's root.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Cargo's target directory, where everything made is kept.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| project().join("target"), PathBuf::from)
}

/// Images, the login key and converted cards.
pub fn cache() -> PathBuf {
    std::env::var_os("BURNONCE_CACHE").map_or_else(|| target().join("vm-cache"), PathBuf::from)
}

/// What the node `name` leaves behind. The directory is made anew.
pub fn fresh_log_dir(name: &str) -> Result<PathBuf> {
    let dir = target().join("vm-logs").join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("removing the old {}", dir.display()))?;
    }
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir.canonicalize()?)
}

/// Runs a command and returns what it printed; an error carries the command line and its stderr.
pub fn run(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?.stdout).into_owned())
}

/// Like [`run`], for output that is not text.
pub fn output(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}
