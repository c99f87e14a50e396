//! A virtual card: a sparse raw file, and what can be seen of it from outside while no node runs on it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::host;

pub const GIB: u64 = 1 << 30;
pub const SECTOR: u64 = 512;

/// A card in its file.
#[derive(Clone, Debug)]
pub struct Card {
    pub path: PathBuf,
}

/// A partition table as `sfdisk --json` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub label: String,
    /// The disk signature, or the GPT's disk GUID.
    pub id: String,
    pub partitions: Vec<Partition>,
}

/// A table's entry, in sectors.
#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    pub number: u32,
    pub start: u64,
    pub size: u64,
    pub kind: String,
}

/// A file system of the card, mounted on this machine; dropping it unmounts.
pub struct Mounted {
    dir: PathBuf,
}

impl Card {
    /// A blank card of `size` bytes.
    pub fn blank(path: &Path, size: u64) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
        file.set_len(size).with_context(|| format!("sizing {}", path.display()))?;
        Ok(Self { path: path.to_path_buf() })
    }

    /// Burns an image to the card. `dd` is all that the project promises to need, so `dd` it is; holes stay holes.
    pub fn burn(&self, image: &Path) -> Result<()> {
        let mut dd = Command::new("dd");
        dd.arg(format!("if={}", image.display())).arg(format!("of={}", self.path.display()));
        dd.args(["bs=4M", "conv=sparse,notrunc", "status=none"]);
        host::run(&mut dd).map(drop)
    }

    /// Another card with the same content.
    pub fn duplicate(&self, path: &Path) -> Result<Self> {
        host::run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(&self.path).arg(path))?;
        Ok(Self { path: path.to_path_buf() })
    }

    /// The partition table; entries in the order of their numbers.
    pub fn table(&self) -> Result<Table> {
        let text = host::run(Command::new("sfdisk").arg("--json").arg(&self.path))?;
        let json: Value = serde_json::from_str(&text).context("reading what sfdisk printed")?;
        let table = &json["partitiontable"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut partitions = Vec::new();
        for entry in table["partitions"].as_array().into_iter().flatten() {
            let node = text(&entry["node"]);
            let digits = node.strip_prefix(&text(&table["device"])).unwrap_or_default().trim_start_matches('p');
            partitions.push(Partition {
                number: digits.parse().with_context(|| format!("no partition number in {node}"))?,
                start: entry["start"].as_u64().unwrap_or_default(),
                size: entry["size"].as_u64().unwrap_or_default(),
                kind: text(&entry["type"]),
            });
        }
        Ok(Table { label: text(&table["label"]), id: text(&table["id"]), partitions })
    }

    /// Partition `number` of the table.
    pub fn partition(&self, number: u32) -> Result<Partition> {
        let found = self.table()?.partitions.into_iter().find(|partition| partition.number == number);
        found.ok_or_else(|| anyhow!("{}: the table has no partition {number}", self.path.display()))
    }

    /// The bytes in `range`.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mut file = File::open(&self.path).with_context(|| format!("opening {}", self.path.display()))?;
        let mut bytes = vec![0; usize::try_from(range.end - range.start)?];
        file.seek(SeekFrom::Start(range.start))?;
        file.read_exact(&mut bytes).with_context(|| format!("reading {range:?} of {}", self.path.display()))?;
        Ok(bytes)
    }

    /// Overwrites the bytes at `offset`.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes).with_context(|| format!("writing at {offset} of {}", self.path.display()))
    }

    /// Adds a partition by a line of sfdisk's language, e.g. `start=2048, size=64MiB, type=83`.
    pub fn add_partition(&self, line: &str) -> Result<()> {
        let mut child = Command::new("sfdisk")
            .args(["--quiet", "--no-tell-kernel", "--no-reread", "--append"])
            .arg(&self.path)
            .stdin(Stdio::piped())
            .spawn()
            .context("starting sfdisk")?;
        child.stdin.take().expect("it is piped").write_all(line.as_bytes())?;
        ensure!(child.wait()?.success(), "sfdisk refused {line:?} for {}", self.path.display());
        Ok(())
    }

    /// Takes partitions out of the table; what they hold stays.
    pub fn delete_partitions(&self, numbers: &[&str]) -> Result<()> {
        let mut sfdisk = Command::new("sfdisk");
        sfdisk.args(["--quiet", "--no-tell-kernel", "--delete"]).arg(&self.path).args(numbers);
        host::run(&mut sfdisk).map(drop)
    }

    /// Makes an ext4 in partition `number`, with the content of `files`.
    pub fn make_ext4(&self, number: u32, label: &str, files: Option<&Path>) -> Result<()> {
        let partition = self.partition(number)?;
        let mut mke2fs = Command::new("mke2fs");
        mke2fs.args(["-q", "-F", "-t", "ext4", "-L", label, "-E", &format!("offset={}", partition.offset())]);
        if let Some(files) = files {
            mke2fs.arg("-d").arg(files);
        }
        mke2fs.arg(&self.path).arg(format!("{}k", partition.size * SECTOR / 1024));
        host::run(&mut mke2fs).map(drop)
    }

    /// Mounts the ext4 in partition `number`, without replaying its journal: nothing on the card changes.
    pub fn mount(&self, number: u32) -> Result<Mounted> {
        self.mount_with(number, "ro,noload")
    }

    /// Mounts the ext4 in partition `number` to change something in it.
    pub fn mount_writable(&self, number: u32) -> Result<Mounted> {
        self.mount_with(number, "rw")
    }

    /// Changes something in the sealed image of a converted card, and seals it again.
    pub fn edit_lower(&self, edit: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let device = format!("{}?offset={}", self.path.display(), self.partition(2)?.offset());
        let feature = |word: &str| host::run(Command::new("tune2fs").args(["-O", word, &device]));
        feature("^read-only")?;
        let root = self.mount_writable(2)?;
        edit(root.path())?;
        drop(root);
        feature("read-only").map(drop)
    }

    fn mount_with(&self, number: u32, options: &str) -> Result<Mounted> {
        let partition = self.partition(number)?;
        // Two scenarios may look at the same image.
        static MOUNTS: AtomicU32 = AtomicU32::new(0);
        let unique = MOUNTS.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("burnonce-vm-{}-{unique}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let (offset, size) = (partition.offset(), partition.size * SECTOR);
        let options = format!("loop,offset={offset},sizelimit={size},{options}");
        host::run(Command::new("mount").args(["-t", "ext4", "-o", &options]).arg(&self.path).arg(&dir))?;
        Ok(Mounted { dir })
    }

    /// The SHA-256 of partition `number`, with the bytes in `blanks` (relative to its start) taken as zero.
    pub fn digest(&self, number: u32, blanks: &[Range<u64>]) -> Result<String> {
        let partition = self.partition(number)?;
        let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut sink = child.stdin.take().expect("it is piped");
        let end = partition.size * SECTOR;
        let mut at = 0;
        while at < end {
            let chunk = at..end.min(at + (4 << 20));
            let mut bytes = self.read(partition.offset() + chunk.start..partition.offset() + chunk.end)?;
            for blank in blanks {
                let (from, to) = (blank.start.max(chunk.start), blank.end.min(chunk.end));
                if from < to {
                    bytes[(from - chunk.start) as usize..(to - chunk.start) as usize].fill(0);
                }
            }
            sink.write_all(&bytes).context("feeding sha256sum")?;
            at = chunk.end;
        }
        drop(sink);
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "sha256sum failed: {}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().next().unwrap_or_default().to_owned())
    }

    /// The SHA-256 of the root partition: of a sealed one no byte changes, from boot to boot.
    pub fn root_digest(&self) -> Result<String> {
        self.digest(2, &[])
    }

    /// The SHA-256 of the boot partition, the reserved sectors aside: a mount notes there that it is mounted.
    pub fn boot_digest(&self) -> Result<String> {
        let blank = 0..32 * SECTOR;
        self.digest(1, std::slice::from_ref(&blank))
    }

    /// The version of the UUID of the ext4 on partition `number`: byte 6 of the 16 at 0x68 of its superblock (RFC 9562, section 4.2).
    pub fn uuid_version(&self, number: u32) -> Result<u8> {
        let at = self.partition(number)?.offset() + 1024 + 0x68 + 6;
        Ok(self.read(at..at + 1)?[0] >> 4)
    }

    /// The sector with the MBR.
    pub fn first_sector(&self) -> Result<Vec<u8>> {
        self.read(0..SECTOR)
    }
}

impl Partition {
    /// Where it starts, in bytes.
    pub fn offset(&self) -> u64 {
        self.start * SECTOR
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.size * SECTOR
    }

    /// The first sector behind it.
    pub fn end(&self) -> u64 {
        self.start + self.size
    }
}

impl Mounted {
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Reads a text file of it.
    pub fn text(&self, path: &str) -> Result<String> {
        let file = self.dir.join(path);
        std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
    }

    /// Whether it holds such a file, also where that is a symlink to nowhere.
    pub fn has(&self, path: &str) -> bool {
        self.dir.join(path).symlink_metadata().is_ok()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = host::run(Command::new("umount").arg(&self.dir)) {
            eprintln!("vm: {error:#}");
        }
        // It stays where the umount failed, which has been said.
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// Bytes of a block group in a file system with 4 KiB blocks, which every root and every upper of the scenarios has.
pub const GROUP: u64 = 128 << 20;

/// The groups of an ext4 of `bytes` that hold a backup of the superblock. sparse_super: group 1 and the powers of 3, 5 and 7.
pub fn backups(bytes: u64) -> impl Iterator<Item = u64> {
    let power = |group, base: u64| (0..).map(|n| base.pow(n)).take_while(|&p| p <= group).any(|p| p == group);
    (1..bytes.div_ceil(GROUP)).filter(move |&group| [3, 5, 7].iter().any(|&base| power(group, base)))
}
