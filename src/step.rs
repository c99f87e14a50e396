//! What is to be done, as data. The `Display` of a step is what the owner reads, in a dry run and on the console.

use crate::observation::Lacks;
use crate::table::{Change, NewPartition, Table};
use crate::units::{Bytes, Lba, Sectors};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One change to the machine. [`crate::apply`] carries it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Write into the configuration file that an attempt begins, before anything else is touched (but a seal that is in its way): a
    /// conversion that ends in a panic or a watchdog reset is begun three times and no more.
    RecordAttempt {
        /// Which attempt this is, from 1.
        attempt: u32,
    },
    /// The kernel knows a partition that is not in the table (an attempt that failed in this boot): make it forget.
    ForgetKernelPartition {
        /// Kernel name of the partition.
        device: String,
        /// Its number.
        number: u32,
    },
    /// Take a partition that nothing uses out of the table, and make the kernel forget it: the image builder's empty placeholder, an upper
    /// that is of no use any more, or what the owner gives up.
    RemovePartition {
        /// Kernel name of the partition.
        device: String,
        /// Its slot.
        number: u32,
        /// What it is or holds, in words.
        what: String,
        /// The table as it must still be on the card.
        before: Table,
    },
    /// Tell the kernel alone of the new partition: no byte of the card changes.
    AddKernelPartition {
        /// Kernel name that it gets.
        device: String,
        /// Where it is.
        partition: NewPartition,
        /// Its length.
        length: Bytes,
    },
    /// Tell the kernel alone that the upper's partition is longer now, while it is in use: no byte of the card changes.
    GrowKernelPartition {
        /// Its kernel name.
        device: String,
        /// Where it is, with its new length.
        partition: NewPartition,
        /// That length.
        length: Bytes,
    },
    /// Make the upper's file system as long as its partition, while it is in use.
    GrowFilesystem {
        /// Kernel name of the partition.
        device: String,
        /// Its length.
        length: Bytes,
    },
    /// Make the upper's ext4 with the overlay's directories and state.json in it.
    MakeFilesystem {
        /// Kernel name of the partition.
        device: String,
        /// Its length.
        length: Bytes,
        /// UUID of the lower, for state.json.
        made_for: String,
        /// Which attempt this is, for state.json.
        attempt: u32,
    },
    /// Write the new partition into the table, now that it is complete.
    PublishTable {
        /// Kernel name of the disk.
        disk: String,
        /// The table as it must still be on the card.
        before: Table,
        /// The one entry that changes.
        change: Change,
    },
    /// Keep the small files of the boot partition that a first boot consumes on the upper partition: a reset puts them back. A conversion
    /// does not fail on it.
    KeepBootFiles {
        /// Kernel name of the upper.
        device: String,
    },
    /// Write overlayroot's configuration: from the next boot on, root is an overlay.
    WriteConfiguration {
        /// Which attempt this is, for the comment in it.
        attempt: u32,
    },
    /// Mount a file system read-only that a boot has mounted writable though it is the image.
    MakeReadOnly {
        /// Where it is mounted: `/`, or the lower of an overlay.
        directory: String,
    },
    /// Set the `read-only` feature of the lower's ext4: the kernel then refuses every writable mount of it.
    Seal {
        /// Kernel name of the lower.
        device: String,
    },
    /// Clear that feature.
    Unseal {
        /// Kernel name of the lower.
        device: String,
    },
    /// Keep what was said on the console as a file on the upper partition.
    KeepLog {
        /// Kernel name of the upper.
        device: String,
    },
    /// Install the packages that came with the image as files, without a service that starts or an initramfs that is rebuilt.
    InstallPackages {
        /// Their file names in [`crate::packages::DIRECTORY`].
        packages: Vec<String>,
        /// How often the node was begun to be prepared, this time included.
        attempt: u32,
    },
    /// Rebuild the initramfs, so that it has overlayroot and the guard in it.
    RebuildInitramfs {
        /// What the one that booted does not have.
        lacks: Lacks,
        /// How often it was done, this time included.
        rebuild: u32,
    },
    /// Restart the machine.
    Reboot,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::RecordAttempt { attempt } => {
                write!(f, "note on the card that attempt {attempt} of {} begins", crate::plan::MAX_ATTEMPTS)
            }
            Step::ForgetKernelPartition { device, .. } => {
                write!(f, "make the kernel forget /dev/{device}, which is not in the partition table")
            }
            Step::RemovePartition { device, what, .. } => {
                write!(f, "take /dev/{device} out of the partition table: {what}")
            }
            Step::AddKernelPartition { device, length, .. } => {
                write!(f, "tell the kernel of a new partition /dev/{device} ({length}) in the free space")
            }
            Step::GrowKernelPartition { device, length, .. } => {
                write!(f, "tell the kernel that /dev/{device} has {length} now")
            }
            Step::GrowFilesystem { device, length } => {
                write!(f, "grow the file system on /dev/{device} to {length}, while it is in use")
            }
            Step::MakeFilesystem { device, length, .. } => {
                write!(f, "make an ext4 file system on /dev/{device} ({length})")
            }
            Step::PublishTable { disk, change: Change::Add(new), .. } => {
                write!(f, "write partition {} into the partition table of /dev/{disk}", new.number)
            }
            Step::PublishTable { disk, change: Change::Remove { number }, .. } => {
                write!(f, "take partition {number} out of the partition table of /dev/{disk}")
            }
            Step::PublishTable { disk, change: Change::Grow { number, .. }, .. } => {
                write!(f, "write the new length of partition {number} into the partition table of /dev/{disk}")
            }
            Step::KeepBootFiles { device } => {
                write!(f, "keep on /dev/{device} what a first boot consumes from the boot partition")
            }
            Step::WriteConfiguration { .. } => f.write_str("configure the overlay for the next boot"),
            Step::MakeReadOnly { directory } => write!(f, "mount the image on {directory} read-only"),
            Step::Seal { device } => write!(f, "seal the image on /dev/{device}: it is never written again"),
            Step::Unseal { device } => write!(f, "unseal the image on /dev/{device}: it can be written again"),
            Step::KeepLog { device } => write!(f, "keep the log of this conversion on /dev/{device}"),
            Step::RebuildInitramfs { lacks, rebuild } => {
                let what = match lacks {
                    Lacks::Overlayroot => "overlayroot",
                    Lacks::Guard => "the guard of burnonce",
                    Lacks::Packages => "what came with the image",
                };
                write!(f, "rebuild the initramfs with {what} in it (minutes on a Pi)")?;
                // Packages that are installed before have said it.
                let again = *rebuild > 1 && *lacks != Lacks::Packages;
                if again { write!(f, ", attempt {rebuild} of {}", crate::plan::MAX_ATTEMPTS) } else { Ok(()) }
            }
            Step::InstallPackages { packages, attempt } => {
                write!(f, "install {}, minutes on a Pi", crate::packages::summary(packages))?;
                if *attempt > 1 { write!(f, ", attempt {attempt} of {}", crate::plan::MAX_ATTEMPTS) } else { Ok(()) }
            }
            Step::Reboot => f.write_str("restart"),
        }
    }
}

/// What a plan is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "purpose", rename_all = "kebab-case")]
pub enum Purpose {
    /// Converged: there is nothing to do.
    Nothing,
    /// Switched off, by the kernel command line or by the configuration.
    Off {
        /// Which of the two, as a sentence.
        why: String,
    },
    /// Make the upper and turn root into an overlay.
    Convert,
    /// Install what came with the image, and rebuild the initramfs, late in this boot; the next boot converts.
    Prepare {
        /// What the initramfs that booted does not have.
        lacks: Lacks,
    },
    /// The overlay is up, but the lower is not sealed: a power cut came before, or a boot with `burnonce=off`.
    Seal,
    /// The node is converted, and there is no upper on the card that it can use: make a new one.
    Remake {
        /// Why, each a sentence.
        reasons: Vec<String>,
    },
    /// A partition that keeps the node from its upper makes way, and that is all.
    MakeWay {
        /// What comes after that, as a sentence.
        then: String,
    },
    /// The overlay is up, on a card that is larger than the one that it was made for.
    Grow,
    /// The overlay was configured and is not what was configured. Nothing is restarted for it.
    Degraded {
        /// What is wrong, each a sentence.
        reasons: Vec<String>,
        /// What the owner can do.
        remedy: String,
    },
}

/// Steps in their order, and what they are for. An empty plan means: nothing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What it is for.
    #[serde(flatten)]
    pub purpose: Purpose,
    /// What to do, in this order: it makes a power cut after any of them harmless.
    pub steps: Vec<Step>,
    /// What the owner should know besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Plan {
    /// The table after all steps, where one of them changes it.
    ///
    /// # Errors
    /// A change that [`crate::table::change`] refuses.
    pub fn table_after(&self, table: &Table) -> anyhow::Result<Table> {
        self.steps.iter().try_fold(table.clone(), |table, step| match step {
            Step::RemovePartition { number, .. } => crate::table::change(&table, &Change::Remove { number: *number }),
            Step::PublishTable { change, .. } => crate::table::change(&table, change),
            _ => Ok(table),
        })
    }

    /// The new partition, where the plan makes one: slot, first sector, length.
    pub fn new_partition(&self) -> Option<(u32, Lba, Sectors)> {
        self.steps.iter().find_map(|step| match step {
            Step::AddKernelPartition { partition: p, .. } => Some((p.number, p.start, p.sectors)),
            _ => None,
        })
    }
}

/// The dry run: a headline, the numbered steps, the notes.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.purpose {
            Purpose::Nothing => writeln!(f, "Nothing to do: this node runs on its overlay.")?,
            Purpose::Off { why } => writeln!(f, "Switched off: {why}.")?,
            Purpose::Convert => writeln!(f, "This node is not converted yet. The next boot will:")?,
            Purpose::Prepare { lacks: Lacks::Packages } => {
                writeln!(f, "Packages that came with this image are not installed yet. The next boot will:")?;
            }
            Purpose::Prepare { lacks } => {
                writeln!(f, "The initramfs that booted has no {lacks}. The next boot will:")?;
            }
            Purpose::Seal => {
                writeln!(f, "The overlay is up, but the image below it is not sealed. The next boot will:")?
            }
            Purpose::Grow => {
                writeln!(f, "There is free space behind the upper. The next boot, or `burnonce converge`, will:")?;
            }
            Purpose::Remake { reasons } => {
                writeln!(f, "This node has no upper that it can use:")?;
                reasons.iter().try_for_each(|r| writeln!(f, "  - {r}"))?;
                writeln!(f, "A new one is made, and what was written so far is not in it:")?;
            }
            Purpose::MakeWay { .. } => writeln!(f, "A partition makes way for the upper:")?,
            Purpose::Degraded { reasons, remedy } => {
                writeln!(f, "Degraded:")?;
                reasons.iter().try_for_each(|r| writeln!(f, "  - {r}"))?;
                writeln!(f, "What to do: {remedy}.")?;
            }
        }
        match &self.purpose {
            Purpose::Off { .. } | Purpose::Degraded { .. } if !self.steps.is_empty() => {
                writeln!(f, "What burnonce does:")?;
            }
            _ => {}
        }
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(f, "  {number}. {step}")?;
        }
        if let Purpose::MakeWay { then } = &self.purpose {
            writeln!(f, "and {then}.")?;
        }
        if matches!(self.purpose, Purpose::Prepare { .. }) {
            writeln!(f, "and the boot after that converts the node.")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "Note: {note}."))
    }
}
