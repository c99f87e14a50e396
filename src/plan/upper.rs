//! Where the upper is, or where it goes, and the steps up to it.

use crate::config::{Align, Config, Size};
use crate::filesystem::{Content, Owner, Superblock};
use crate::observation::{Disk, Observation};
use crate::overlay::LABEL;
use crate::refusal::{Refusal, describe};
use crate::state;
use crate::step::Step;
use crate::table::{self, Change, NewPartition, Partition, Scheme, Table, behind_root};
use crate::units::{Bytes, Lba, MIB, Sectors};

/// Alignment of the upper where the card tells nothing better: the allocation unit of SD cards up to 32 GB (SD Physical Layer
/// Specification, AU_SIZE).
const ALIGNMENT: Bytes = Bytes(4 * MIB);
/// A preferred erase size beyond this is taken for nonsense.
const MAX_ALIGNMENT: Bytes = Bytes(64 * MIB);

/// What of the upper is there already.
pub(super) enum Upper<'a> {
    /// Nothing: it goes into the largest free region.
    None,
    /// A finished one: a power cut came between publishing and configuration.
    Published(&'a Partition),
    /// An empty partition that the image builder made for it.
    Placeholder(&'a Partition),
}

/// Looks at every partition but root: ours, a placeholder, or somebody's. Ours can lie before root too, where the free space was there.
pub(super) fn find_upper<'a>(disk: &Disk, table: &'a Table, root: u32, lower_uuid: &str) -> Result<Upper<'a>, Refusal> {
    let mut found = Upper::None;
    let behind: Vec<u32> = behind_root(table, root).map(|p| p.number).collect();
    for partition in table.partitions.iter().filter(|p| p.number != root) {
        let device = disk.partition_name(partition.number);
        let this = match disk.content(partition.number) {
            Content::Ext(superblock @ Superblock { owner: Owner::Ours { state, used }, .. }) => {
                usable(&device, superblock, (state, *used), partition.sectors.to_bytes(table.sector_size), lower_uuid)
                    .map_err(|why| Refusal::UnusableUpper { device: device.clone(), number: partition.number, why })?;
                Upper::Published(partition)
            }
            Content::Ext(Superblock { label, owner: Owner::Unreadable { reason }, .. }) if label == LABEL => {
                let why = format!("it cannot be read ({reason}). Try `e2fsck -f /dev/{device}` and restart");
                return Err(Refusal::UnusableUpper { device, number: partition.number, why });
            }
            Content::Ext(Superblock { label, owner: Owner::Empty, .. }) if label == LABEL => {
                Upper::Placeholder(partition)
            }
            Content::Blank if partition.name.as_deref() == Some(LABEL) => Upper::Placeholder(partition),
            Content::Unreadable { reason } if behind.contains(&partition.number) => {
                return Err(Refusal::UnreadablePartition { device, why: reason.clone() });
            }
            other if behind.contains(&partition.number) => {
                return Err(Refusal::ForeignPartition { device, number: partition.number, what: describe(other) });
            }
            _ => continue,
        };
        if let Upper::Published(first) | Upper::Placeholder(first) = found {
            return Err(Refusal::TwoUppers { first: disk.partition_name(first.number), second: device });
        }
        found = this;
    }
    Ok(found)
}

/// The kernel name of an upper that cannot be read and was not unmounted. A power cut behind its publishing leaves it so: on a card that has
/// written a part of a block, that block is to be had from the journal, which only a check or a mount replays.
pub fn unclean_upper(seen: &Observation) -> Option<String> {
    let disk = seen.disk.as_ref()?;
    let unclean = |content: &Content| matches!(content, Content::Ext(Superblock { label, clean: false, owner: Owner::Unreadable { .. }, .. }) if label == LABEL);
    disk.contents.iter().find(|held| unclean(&held.content)).map(|held| disk.partition_name(held.number))
}

/// Why an upper of ours cannot be taken as it is.
fn usable(
    device: &str,
    superblock: &Superblock,
    (state, used): (&str, bool),
    partition: Bytes,
    lower_uuid: &str,
) -> Result<(), String> {
    let state = state::parse(state).map_err(|e| format!("{e:#}"))?;
    if superblock.label != LABEL {
        let label = &superblock.label;
        return Err(format!(
            "its label is `{label}`, and a boot finds it by the label `{LABEL}`. \
             To use it, run `e2label /dev/{device} {LABEL}` and restart"
        ));
    }
    if state.made_for != lower_uuid {
        return Err("it was made for another image than the one on this card".to_owned());
    }
    // A power cut before the overlay was configured leaves it empty. Anything in it is of a time when this image ran on it.
    if used {
        return Err("it holds what a node wrote earlier, which would hide what root has got since then".to_owned());
    }
    if superblock.size > partition {
        return Err(format!(
            "its file system ({}) is larger than the partition ({partition}), so this is a copy that was cut short",
            superblock.size
        ));
    }
    Ok(())
}

/// The steps up to a published upper.
pub(super) struct Made {
    pub(super) steps: Vec<Step>,
    /// The upper's kernel name.
    pub(super) device: String,
    /// It is there already: these steps do not write the table.
    pub(super) published: bool,
}

pub(super) fn make_upper(
    disk: &Disk,
    table: &Table,
    config: &Config,
    uuid: &str,
    attempt: u32,
    upper: Upper,
) -> Result<Made, Refusal> {
    let mut steps: Vec<Step> = disk
        .kernel
        .iter()
        .filter(|k| table.partitions.iter().all(|p| p.number != k.number))
        .map(|k| Step::ForgetKernelPartition { device: disk.partition_name(k.number), number: k.number })
        .collect();
    let mut table = table.clone();
    match upper {
        Upper::Published(partition) => {
            return Ok(Made { steps, device: disk.partition_name(partition.number), published: true });
        }
        // Once it is out of the table, it was never there: a power cut then must not lead to another card than no cut.
        Upper::Placeholder(old) => {
            let (device, number) = (disk.partition_name(old.number), old.number);
            let what = "an empty placeholder, in whose place a larger one is made".to_owned();
            steps.push(Step::RemovePartition { device, number, what, before: table.clone() });
            table = table::change(&table, &Change::Remove { number }).map_err(|error| Refusal::UnusableUpper {
                device: disk.partition_name(number),
                number,
                why: format!("{error:#}"),
            })?;
        }
        Upper::None => {}
    }
    let number = (1..=table.slots).find(|n| table.partitions.iter().all(|p| p.number != *n));
    let number = number.ok_or(Refusal::SlotsTaken { disk: disk.name.clone(), slots: table.slots })?;
    let (start, free) = largest(free_regions(&table), alignment(disk, config));
    let largest = free.to_bytes(table.sector_size);
    if largest < config.partition.min {
        return Err(Refusal::NoFreeSpace { disk: disk.name.clone(), largest, minimum: config.partition.min });
    }
    let sectors = sized(config, free, table.sector_size);
    let length = sectors.to_bytes(table.sector_size);
    let device = disk.partition_name(number);
    let partition = NewPartition { number, start, sectors };
    steps.extend([
        Step::AddKernelPartition { device: device.clone(), partition: partition.clone(), length },
        Step::MakeFilesystem { device: device.clone(), length, made_for: uuid.to_owned(), attempt },
        Step::PublishTable { disk: disk.name.clone(), before: table, change: Change::Add(partition) },
    ]);
    Ok(Made { steps, device, published: false })
}

/// Where the next upper would go, as its first sector and its length; no sectors where nothing is free.
pub fn place(disk: &Disk, table: &Table, config: &Config) -> (Lba, Sectors) {
    let (start, free) = largest(free_regions(table), alignment(disk, config));
    (start, sized(config, free, table.sector_size))
}

/// How much of `free` sectors the upper takes, in whole MiB where that is not all: at least `partition.min`, as far as that is there.
pub(super) fn sized(config: &Config, free: Sectors, sector_size: u32) -> Sectors {
    let all = free.to_bytes(sector_size);
    let wanted = match config.partition.size {
        Size::Rest => return free,
        Size::Bytes(bytes) => bytes,
        Size::Percent(percent) => {
            Bytes(u64::try_from(u128::from(all.0) * u128::from(percent) / 100).unwrap_or(u64::MAX))
        }
    };
    let wanted = Bytes(wanted.max(config.partition.min).0 / MIB * MIB);
    if wanted >= all { free } else { wanted.to_sectors(sector_size) }
}

/// Alignment of the upper's start, in sectors.
fn alignment(disk: &Disk, config: &Config) -> Sectors {
    let bytes = match config.partition.align {
        Align::To(bytes) => bytes,
        Align::Auto => disk.erase_size.filter(|&e| sensible(e)).unwrap_or(ALIGNMENT),
    };
    bytes.to_sectors(disk.sector_size)
}

/// Whether a preferred erase size is one to align to. Allocation units are not always powers of two (12 and 24 MiB exist).
fn sensible(erase_size: Bytes) -> bool {
    erase_size > ALIGNMENT && erase_size <= MAX_ALIGNMENT && erase_size.0 % MIB == 0
}

/// The regions that no partition uses, as first and last sector.
pub fn free_regions(table: &Table) -> Vec<(Lba, Lba)> {
    let mut used: Vec<(Lba, Lba)> = table.partitions.iter().map(|p| (p.start, p.last())).collect();
    used.sort();
    let mut free = Vec::new();
    let mut next = table.first_usable;
    for (first, last) in used {
        if first > next {
            free.push((next, Lba(first.0 - 1)));
        }
        next = next.max(Lba(last.0.saturating_add(1)));
    }
    if next <= table.last_usable {
        free.push((next, table.last_usable));
    }
    free
}

/// The region that is largest once its start is aligned, as start and length; of equals the first.
fn largest(regions: impl IntoIterator<Item = (Lba, Lba)>, alignment: Sectors) -> (Lba, Sectors) {
    let aligned = regions.into_iter().filter_map(|(first, last)| {
        let start = first.align_up(alignment).filter(|s| *s <= last)?;
        Some((start, Sectors((last.0 - start.0).saturating_add(1))))
    });
    aligned.fold((Lba(0), Sectors(0)), |best, region| if region.1 > best.1 { region } else { best })
}

/// What the owner should know of the table.
pub(super) fn table_notes(disk: &Disk, table: &Table, made: &Made, config: &Config) -> Vec<String> {
    if made.published {
        let mut notes =
            vec![format!("/dev/{} was finished by an attempt before this one, and is used as it is", made.device)];
        if matches!(table.scheme, Scheme::Gpt { primary_sound: false, .. } | Scheme::Gpt { backup_sound: false, .. }) {
            let disk = &disk.name;
            notes.push(format!(
                "one of the two copies of the GPT is damaged; `gdisk /dev/{disk}` and its `w` repair it"
            ));
        }
        return notes;
    }
    let note = match table.scheme {
        Scheme::Mbr { .. } if disk.sectors.0 > table.last_usable.0.saturating_add(1) => {
            let end = Sectors(table.last_usable.0 + 1).to_bytes(disk.sector_size);
            Some(format!("an MBR partition table ends at {end}; what lies beyond stays unused"))
        }
        _ => gpt_note(table),
    };
    note.into_iter().chain(size_note(made, config)).collect()
}

/// Where the card is too small for the `partition.size` that is set.
fn size_note(made: &Made, config: &Config) -> Option<String> {
    let Size::Bytes(wanted) = config.partition.size else { return None };
    let length = made.steps.iter().find_map(|step| match step {
        Step::AddKernelPartition { length, .. } => Some(*length),
        _ => None,
    })?;
    // A difference that is not worth a word is that of the alignment.
    (Bytes(length.0.saturating_add(MIB)) < wanted)
        .then(|| format!("`partition.size` is {wanted}, and the card has room for {length}; the upper takes that"))
}

/// What a change of the table does to a GPT besides.
pub(super) fn gpt_note(table: &Table) -> Option<String> {
    let note = match table.scheme {
        Scheme::Gpt { primary_sound: false, .. } => {
            "the primary GPT is damaged; its backup was used, and both are written anew"
        }
        Scheme::Gpt { backup_sound: false, .. } => {
            "the backup GPT is missing or damaged; the primary was used, and both are written anew"
        }
        Scheme::Gpt { backup_at_end: false, .. } => {
            "the backup GPT is moved to the end of the card; it lies where a smaller one ended"
        }
        _ => return None,
    };
    Some(note.to_owned())
}
