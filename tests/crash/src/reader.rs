//! A card in a reader of this machine: a loop device, with the partitions that are in the card's table.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use burnonce::sys;
use burnonce::table::{self, Table};
use burnonce_vm::host;
use nix::errno::Errno;

use crate::boot::patiently;

/// Bytes of a sector in every reader.
pub const SECTOR: u32 = 512;

/// A loop device over a file.
pub struct Reader {
    pub device: String,
}

impl Reader {
    /// Puts the card that is in `file` into a reader; the kernel knows none of its partitions yet.
    pub fn insert(file: &Path) -> Result<Self> {
        let device = host::run(Command::new("losetup").args(["--find", "--show"]).arg(file))?.trim().to_owned();
        let reader = Self { device };
        // Somebody who used this loop device before may have left partitions on it.
        reader.forget_all()?;
        Ok(reader)
    }

    /// What the kernel does at power-on: it forgets what it knew, and reads the table.
    pub fn scan(&self) -> Result<Table> {
        self.forget_all()?;
        let mut disk = self.open()?;
        let table = table_of(&mut disk)?;
        for partition in &table.partitions {
            sys::add_kernel_partition(&disk, partition.number, partition.start, partition.sectors, SECTOR)?;
        }
        Ok(table)
    }

    /// The device node of partition `number`.
    pub fn partition(&self, number: u32) -> PathBuf {
        format!("{}p{number}", self.device).into()
    }

    /// How many sectors of partition `number` have been written since [`Reader::scan`].
    pub fn written(&self, number: u32) -> Result<u64> {
        let name = self.name();
        let path = format!("/sys/block/{name}/{name}p{number}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let sectors = stat.split_whitespace().nth(6).with_context(|| format!("{path} holds {stat:?}"))?;
        Ok(sectors.parse()?)
    }

    /// The kernel's name of the device.
    pub fn name(&self) -> &str {
        self.device.trim_start_matches("/dev/")
    }

    fn open(&self) -> Result<File> {
        File::open(&self.device).with_context(|| format!("opening {}", self.device))
    }

    /// Makes the kernel forget all partitions of the card.
    pub fn forget_all(&self) -> Result<()> {
        let directory = format!("/sys/block/{}", self.name());
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&directory).with_context(|| format!("listing {directory}"))? {
            if let Ok(number) = fs::read_to_string(entry?.path().join("partition")) {
                numbers.push(number.trim().parse()?);
            }
        }
        let disk = self.open()?;
        numbers.into_iter().try_for_each(|number| forget(&disk, number))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let detach = || {
            self.forget_all()?;
            host::run(Command::new("losetup").args(["--detach", &self.device])).map(drop)
        };
        if let Err(error) = detach() {
            eprintln!("crash: taking the card out of {}: {error:#}", self.device);
        }
    }
}

/// As a busy unmount, see [`patiently`]; burnonce's function tells of the system's error among others.
fn forget(disk: &File, number: u32) -> Result<()> {
    let mut last = Ok(());
    let outcome = patiently(|| {
        last = sys::forget_kernel_partition(disk, number);
        match &last {
            Err(error) => Err(error.root_cause().downcast_ref().copied().unwrap_or(Errno::UnknownErrno)),
            Ok(()) => Ok(()),
        }
    });
    outcome.or(last)
}

/// The partition table of a card or of its file, as burnonce reads it.
pub fn table_of(disk: &mut File) -> Result<Table> {
    use std::io::{Seek, SeekFrom};
    let length = disk.seek(SeekFrom::End(0)).context("asking for the card's length")?;
    let read = table::read(disk, SECTOR, length / u64::from(SECTOR)).context("reading the partition table")?;
    read.map_err(|defect| anyhow::anyhow!("burnonce finds no sound partition table: {defect:?}"))
}
