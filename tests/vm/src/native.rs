//! The guard of a card, run by this machine's kernel instead of an emulated one: a second instead of a minute.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::card::Card;
use crate::host;

/// In a mount namespace of its own: a /run that is not this machine's, no kernel log, the image read-only as the initramfs has it, and
/// modules of the kernel that runs here, for the guard looks whether the image has them. Prints the guard's report.
const SCRIPT: &str = r#"
set -e
disk=$1 root=$2
mount -t tmpfs run /run
mount --bind /dev/null /dev/kmsg
mount -t ext4 -o ro,noload "${disk}p2" "$root"
mount -t tmpfs modules "$root/usr/lib/modules"
mkdir "$root/usr/lib/modules/$(uname -r)"
mkdir /run/burnonce
cp "$root/usr/lib/burnonce/guard" /run/guard
/run/guard guard --root "$root" >&2
cat /run/burnonce/guard.json
"#;

/// A card in a reader of this machine: a loop device with its partitions.
struct Reader {
    device: String,
}

impl Reader {
    fn insert(card: &Card) -> Result<Self> {
        let device = host::run(Command::new("losetup").args(["--find", "--show"]).arg(&card.path))?.trim().to_owned();
        let reader = Self { device };
        // The kernel here may not read tables; partx does, and tells it.
        host::run(Command::new("partx").args(["--add", &reader.device]))?;
        Ok(reader)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        for command in [["partx", "--delete"], ["losetup", "--detach"]] {
            if let Err(error) = host::run(Command::new(command[0]).args([command[1], &self.device])) {
                eprintln!("vm: {error:#}");
            }
        }
    }
}

/// Runs the guard that is in the card's image on the card, and returns its report.
pub fn guard(card: &Card) -> Result<Value> {
    let reader = Reader::insert(card)?;
    let root = PathBuf::from(format!("{}.root", card.path.display()));
    std::fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "guard", &reader.device]).arg(&root);
    let report = host::run(&mut unshare).context("running the guard on this machine")?;
    serde_json::from_str(&report).with_context(|| format!("the guard's report is {report:?}"))
}

/// The upper has no damage, and no journal to replay.
pub fn check_upper(card: &Card) -> Result<()> {
    let device = format!("{}?offset={}", card.path.display(), card.partition(3)?.offset());
    let output = Command::new("e2fsck").args(["-f", "-n", &device]).output().context("starting e2fsck")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(0), "e2fsck -fn found damage: {text}");
    Ok(())
}

/// A directory in memory where there is one: hundreds of copies of a partition are made there, one after the other.
pub fn memory(name: &str) -> Result<PathBuf> {
    let shm = Path::new("/dev/shm");
    let parent = if shm.is_dir() { shm.to_path_buf() } else { std::env::temp_dir() };
    let dir = parent.join(format!("burnonce-vm-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir)
}
