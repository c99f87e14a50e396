//! Records what this machine's kernel writes to a card: the card's file behind QEMU's `blklogwrites`, as a file again by FUSE, in a
//! loop device. No machine is emulated for it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use burnonce_vm::card::{Card, SECTOR};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(20);

/// A file that is the card, and logs what is written to it.
pub struct Recorder {
    daemon: Child,
    /// The card, as it is to be put into a reader.
    pub file: PathBuf,
}

impl Recorder {
    /// Begins to record; the log is made anew.
    pub fn begin(card: &Card, log: &Path) -> Result<Self> {
        let file = PathBuf::from(format!("{}.recorded", card.path.display()));
        for path in [log, &file] {
            File::create(path).with_context(|| format!("making {}", path.display()))?;
        }
        let length = std::fs::metadata(&card.path)?.len();
        // The power that is cut is not this machine's.
        let node = |name: &str, path: &Path| json!({ "driver": "file", "node-name": name, "filename": path, "cache": { "direct": false, "no-flush": true } });
        let logging = json!({ "driver": "blklogwrites", "node-name": "logging", "file": "card", "log": "log", "log-sector-size": SECTOR });
        let export =
            json!({ "type": "fuse", "id": "export", "node-name": "logging", "mountpoint": file, "writable": true });
        let mut daemon = Command::new("qemu-storage-daemon");
        for device in [node("card", &card.path), node("log", log), logging] {
            daemon.arg("--blockdev").arg(device.to_string());
        }
        daemon.arg("--export").arg(export.to_string()).stdin(Stdio::null());
        let daemon = daemon.spawn().context("starting qemu-storage-daemon (of Debian's qemu-utils)")?;
        let mut recorder = Self { daemon, file };
        recorder.wait_for(length)?;
        Ok(recorder)
    }

    /// The empty file becomes one of the card's length as soon as the daemon has mounted itself on it.
    fn wait_for(&mut self, length: u64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while std::fs::metadata(&self.file)?.len() != length {
            if let Some(status) = self.daemon.try_wait()? {
                bail!("qemu-storage-daemon ended ({status}): it needs /dev/fuse, and QEMU with FUSE exports");
            }
            if Instant::now() > deadline {
                bail!("qemu-storage-daemon does not export the card at {}", self.file.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it; the log is complete then.
    pub fn end(mut self) -> Result<()> {
        self.stop()
    }

    fn stop(&mut self) -> Result<()> {
        if self.daemon.try_wait()?.is_some() {
            return Ok(());
        }
        // SIGTERM, at which it unmounts its export and counts the last entries of the log.
        let pid = self.daemon.id().to_string();
        burnonce_vm::host::run(Command::new("kill").arg(pid))?;
        let status = self.daemon.wait().context("waiting for qemu-storage-daemon")?;
        std::fs::remove_file(&self.file).with_context(|| format!("removing {}", self.file.display()))?;
        if !status.success() {
            bail!("qemu-storage-daemon ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("crash: {error:#}");
        }
    }
}
