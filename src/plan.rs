//! Every decision, from an [`Observation`] alone: no I/O, no log.

use crate::config::{Align, Config};
use crate::filesystem::{Content, Owner, Superblock};
use crate::observation::{Disk, Observation, Place, Root};
use crate::overlay::{self, Configuration, Counts};
use crate::refusal::{Refusal, describe};
use crate::state;
use crate::step::{Plan, Purpose, Step};
use crate::table::{Change, NewPartition, Partition, Scheme, Table};
use crate::units::{Bytes, Lba, MIB, Sectors};

/// Conversions that are begun before burnonce gives up: a panic or a watchdog must not make a reboot loop.
pub const MAX_ATTEMPTS: u32 = 3;
/// The label by which the upper is recognised.
pub const LABEL: &str = "burnonce";
/// Alignment of the upper where the card tells nothing better: the allocation unit of SD cards up to 32 GB (SD Physical Layer
/// Specification, AU_SIZE).
const ALIGNMENT: Bytes = Bytes(4 * MIB);
/// A preferred erase size beyond this is taken for nonsense.
const MAX_ALIGNMENT: Bytes = Bytes(64 * MIB);

/// What a boot has to do.
///
/// # Errors
/// A [`Refusal`]: the machine is to be left as it is.
pub fn plan(seen: &Observation, config: &Config) -> Result<Plan, Refusal> {
    if seen.cmdline.off {
        return Ok(switched_off(seen, "`burnonce=off` is on the kernel command line"));
    }
    match (&seen.root, &seen.configuration) {
        (Root::OtherOverlay, _) => Err(Refusal::OtherOverlay),
        (_, Configuration::Foreign { line }) => Err(Refusal::ForeignConfiguration { line: line.clone() }),
        (Root::Overlay { .. }, Configuration::Absent | Configuration::Begun(_)) => {
            let line = "an overlay that is not configured by burnonce".to_owned();
            Err(Refusal::ForeignConfiguration { line })
        }
        (Root::Overlay { .. }, Configuration::Complete(_)) => Ok(verify(seen)),
        (Root::Plain { .. }, Configuration::Complete(_)) => Ok(no_overlay(seen)),
        (Root::Plain { .. }, _) if !config.convert => {
            Ok(switched_off(seen, "`convert: false` is in /etc/burnonce.yaml"))
        }
        (Root::Plain { fs_type }, Configuration::Absent) => convert(seen, config, fs_type, &Counts::default()),
        (Root::Plain { fs_type }, Configuration::Begun(counts)) => convert(seen, config, fs_type, counts),
    }
}

fn empty(purpose: Purpose) -> Plan {
    Plan { purpose, steps: Vec::new(), notes: Vec::new() }
}

/// A sealed lower comes up read-only however it is mounted: without an overlay the boot needs it unsealed.
fn switched_off(seen: &Observation, why: &str) -> Plan {
    let mut plan = empty(Purpose::Off { why: why.to_owned() });
    if let (Root::Plain { .. }, Place::Partition { name, sealed: true, .. }) = (&seen.root, &seen.lower) {
        plan.steps.push(Step::Unseal { device: name.clone() });
        plan.notes.push(
            "in this boot the image itself is written; the next boot without it seals the image again".to_owned(),
        );
    }
    plan
}

/// An overlay boot: is it the overlay that was configured?
fn verify(seen: &Observation) -> Plan {
    let Root::Overlay { upper, lower_writable, upper_writable } = &seen.root else { return empty(Purpose::Nothing) };
    let Place::Partition { name: lower, sealed, .. } = &seen.lower else {
        let reasons = vec!["the image below the overlay is not on a partition".to_owned()];
        return degraded(reasons, "look at `findmnt` and restart");
    };
    let mut reasons = Vec::new();
    let mut remedy = "restart; if this stays, look at /run/initramfs/overlayroot.log and the kernel's messages";
    match upper {
        None => {
            let (why, what_to_do) = said_in_initramfs(seen);
            let why = why.or_else(|| log_failure(seen)).unwrap_or_else(|| "the reason is not known".to_owned());
            reasons.push(format!("the overlay is in memory, and what is written is lost at power-off: {why}"));
            remedy = what_to_do.unwrap_or(remedy);
        }
        Some(device) => {
            if !seen.disk.as_ref().is_some_and(|d| d.kernel.iter().any(|p| d.partition_name(p.number) == *device)) {
                reasons.push(format!("the upper /dev/{device} is not on the disk that the image is on"));
                remedy = "remove the other disk and restart";
            }
            if !upper_writable {
                reasons.push(format!(
                    "the upper /dev/{device} takes no writes: its file system has errors, or the card is worn out"
                ));
                remedy = "restart, so that the file system is checked; if this stays, use another card";
            }
        }
    }
    if *lower_writable {
        reasons.push(format!("the image on /dev/{lower} is mounted writable below the overlay"));
    }
    let mut plan = if reasons.is_empty() { empty(Purpose::Nothing) } else { degraded(reasons, remedy) };
    if !sealed {
        // A power cut between configuration and seal, or a boot with burnonce=off.
        plan.steps.push(Step::Seal { device: lower.clone() });
        if plan.purpose == Purpose::Nothing {
            plan.purpose = Purpose::Seal;
        }
    }
    plan
}

/// The overlay is configured, and root is not one. No restart: it would not help, and it could be a loop.
fn no_overlay(seen: &Observation) -> Plan {
    let why = match (&seen.overlayroot.log, log_failure(seen)) {
        (None, _) => "the initramfs that booted has no overlayroot".to_owned(),
        (Some(_), Some(failure)) => format!("overlayroot says: {failure}"),
        (Some(_), None) => "overlayroot's log names no reason".to_owned(),
    };
    let (said, what_to_do) = said_in_initramfs(seen);
    let why = said.unwrap_or(why);
    let reasons = vec![format!("the overlay is configured, but root is not an overlay: {why}")];
    let remedy = if seen.overlayroot.log.is_none() {
        "rebuild the initramfs (add `burnonce=off` to cmdline.txt, restart, `update-initramfs -u -k all`, take it out, restart)"
    } else {
        "look at /run/initramfs/overlayroot.log; `burnonce=off` in cmdline.txt boots the image without burnonce"
    };
    degraded(reasons, what_to_do.unwrap_or(remedy))
}

/// What the configuration, or the script under it, left in the initramfs: why there is no upper, and what to do; without their full stops.
fn said_in_initramfs(seen: &Observation) -> (Option<String>, Option<&str>) {
    let mut lines =
        seen.overlayroot.reason.iter().flat_map(|text| text.lines()).map(|l| l.trim().trim_end_matches('.'));
    (lines.next().map(str::to_owned), lines.next())
}

fn degraded(reasons: Vec<String>, remedy: &str) -> Plan {
    empty(Purpose::Degraded { reasons, remedy: remedy.to_owned() })
}

fn log_failure(seen: &Observation) -> Option<String> {
    seen.overlayroot.log.as_deref().and_then(overlay::failure_in_log)
}

/// A node that is not converted: what makes it an overlay node, or why not.
fn convert(seen: &Observation, config: &Config, fs_type: &str, counts: &Counts) -> Result<Plan, Refusal> {
    if let Some(value) = &seen.cmdline.overlayroot {
        return Err(Refusal::KernelWord { value: value.clone() });
    }
    let (lower, number, uuid) = match &seen.lower {
        Place::Partition { name, number, uuid, .. } => (name, *number, uuid),
        Place::WholeDisk { name } => return Err(Refusal::WholeDisk { device: name.clone() }),
        Place::Mapped { name } => return Err(Refusal::Mapped { name: name.clone() }),
        Place::NoDevice { source } => return Err(Refusal::NoDevice { source: source.clone() }),
    };
    if fs_type != "ext4" {
        return Err(Refusal::RootFilesystem { device: lower.clone(), fs_type: fs_type.to_owned() });
    }
    let Some(disk) = &seen.disk else { return Err(Refusal::NoDevice { source: lower.clone() }) };
    if disk.read_only {
        return Err(Refusal::ReadOnlyDisk { disk: disk.name.clone() });
    }
    let table = disk.table.as_ref().map_err(|d| Refusal::Table { disk: disk.name.clone(), defect: d.clone() })?;
    kernel_agrees(disk, table, number)?;
    let upper = find_upper(disk, table, number, uuid)?;
    let attempt = counts.attempts + 1;
    let made = make_upper(disk, table, config, uuid, attempt, upper)?;
    if seen.overlayroot.log.is_none() {
        return prepare(seen, counts);
    }
    if counts.attempts >= MAX_ATTEMPTS {
        return Err(Refusal::Attempts { attempts: counts.attempts, failure: counts.failure.clone() });
    }
    let mut steps = vec![Step::RecordAttempt { attempt }];
    steps.extend(made.steps);
    steps.extend([
        Step::WriteConfiguration { attempt },
        Step::Seal { device: lower.clone() },
        Step::KeepLog { device: made.device },
        Step::Reboot,
    ]);
    Ok(Plan { purpose: Purpose::Convert, steps, notes: notes(seen, disk, table) })
}

/// The initramfs that booted lacks overlayroot: rebuild it once, where it can be.
fn prepare(seen: &Observation, counts: &Counts) -> Result<Plan, Refusal> {
    if !seen.overlayroot.installed {
        return Err(if seen.overlayroot.rebuildable { Refusal::NoOverlayroot } else { Refusal::NotRebuildable });
    }
    if !seen.overlayroot.rebuildable {
        return Err(Refusal::NotRebuildable);
    }
    if counts.rebuilds > 0 {
        return Err(Refusal::RebuiltInVain);
    }
    let steps = vec![Step::RebuildInitramfs { rebuild: counts.rebuilds + 1 }, Step::Reboot];
    Ok(Plan { purpose: Purpose::Prepare, steps, notes: Vec::new() })
}

/// The partitions that lie behind root, by slot. Those before root are the image's own (firmware, boot).
pub fn beside_root(table: &Table, root_number: u32) -> impl Iterator<Item = &Partition> {
    let root = table.partitions.iter().find(|p| p.number == root_number).map_or(Lba(0), |p| p.start);
    table.partitions.iter().filter(move |p| p.number != root_number && p.start > root)
}

/// Writing into a table that is not the one the kernel runs on could put two partitions over each other.
fn kernel_agrees(disk: &Disk, table: &Table, root: u32) -> Result<(), Refusal> {
    let agrees = |entry: &Partition| {
        let known = disk.kernel.iter().find(|k| k.number == entry.number);
        // An entry that the kernel does not have is one that came into the table without it; only root must be known.
        known.map_or(entry.number != root, |k| (k.start, k.sectors) == (entry.start, entry.sectors))
    };
    let stale = table.partitions.iter().find(|entry| !agrees(entry)).map(|entry| entry.number);
    let missing = table.partitions.iter().all(|entry| entry.number != root).then_some(root);
    match stale.or(missing) {
        Some(number) => Err(Refusal::TableChanged { disk: disk.name.clone(), number }),
        None => Ok(()),
    }
}

/// What of the upper is there already.
enum Upper<'a> {
    /// Nothing: it goes into the largest free region.
    None,
    /// A finished one: a power cut came between publishing and configuration.
    Published(&'a Partition),
    /// An empty partition that the image builder made for it.
    Placeholder(&'a Partition),
}

/// Looks at every partition beside root: ours, a placeholder, or none of our business.
fn find_upper<'a>(disk: &Disk, table: &'a Table, root: u32, lower_uuid: &str) -> Result<Upper<'a>, Refusal> {
    let mut found = Upper::None;
    for partition in beside_root(table, root) {
        let device = disk.partition_name(partition.number);
        let content =
            disk.contents.iter().find(|h| h.number == partition.number).map_or(&Content::Unknown, |h| &h.content);
        let this = match content {
            Content::Ext(Superblock { label, size, owner: Owner::Ours { state }, .. }) if label == LABEL => {
                usable(state, *size, partition.sectors.to_bytes(table.sector_size), lower_uuid)
                    .map_err(|why| Refusal::UnusableUpper { device: device.clone(), why })?;
                Upper::Published(partition)
            }
            Content::Ext(Superblock { label, owner: Owner::Empty, .. }) if label == LABEL => {
                Upper::Placeholder(partition)
            }
            Content::Blank if partition.name.as_deref() == Some(LABEL) => Upper::Placeholder(partition),
            other => return Err(Refusal::ForeignPartition { device, what: describe(other) }),
        };
        if let Upper::Published(first) | Upper::Placeholder(first) = found {
            return Err(Refusal::TwoUppers { first: disk.partition_name(first.number), second: device });
        }
        found = this;
    }
    Ok(found)
}

/// Why an upper of ours cannot be taken as it is.
fn usable(state: &str, file_system: Bytes, partition: Bytes, lower_uuid: &str) -> Result<(), String> {
    let state = state::parse(state).map_err(|e| format!("{e:#}"))?;
    if state.made_for != lower_uuid {
        return Err("it was made for another image than the one on this card".to_owned());
    }
    if file_system > partition {
        return Err(format!("its file system ({file_system}) is larger than the partition ({partition})"));
    }
    Ok(())
}

/// The steps up to a published upper, and the upper's kernel name.
struct Made {
    steps: Vec<Step>,
    device: String,
}

fn make_upper(
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
    let alignment = alignment(disk, config);
    let mut table = table.clone();
    let (number, (start, sectors)) = match upper {
        Upper::Published(partition) => return Ok(Made { steps, device: disk.partition_name(partition.number) }),
        Upper::None => {
            let slot = (1..=table.slots).find(|n| table.partitions.iter().all(|p| p.number != *n));
            let slot = slot.ok_or(Refusal::SlotsTaken { disk: disk.name.clone(), slots: table.slots })?;
            (slot, largest(free_regions(&table), alignment))
        }
        Upper::Placeholder(old) => {
            let device = disk.partition_name(old.number);
            steps.push(Step::RemovePlaceholder { device, number: old.number, before: table.clone() });
            let (number, start) = (old.number, old.start);
            table.partitions.retain(|p| p.number != number);
            let around = free_regions(&table).into_iter().filter(|(first, last)| *first <= start && start <= *last);
            (number, largest(around.map(|(_, last)| (start, last)), alignment))
        }
    };
    let length = sectors.to_bytes(table.sector_size);
    if length < config.partition.min {
        return Err(Refusal::NoFreeSpace { disk: disk.name.clone(), largest: length, minimum: config.partition.min });
    }
    let device = disk.partition_name(number);
    let partition = NewPartition { number, start, sectors };
    steps.extend([
        Step::AddKernelPartition { device: device.clone(), partition: partition.clone(), length },
        Step::MakeFilesystem { device: device.clone(), length, made_for: uuid.to_owned(), attempt },
        Step::PublishTable { disk: disk.name.clone(), before: table, change: Change::Add(partition) },
    ]);
    Ok(Made { steps, device })
}

/// Alignment of the upper's start, in sectors.
fn alignment(disk: &Disk, config: &Config) -> Sectors {
    let bytes = match config.partition.align {
        Align::To(bytes) => bytes,
        Align::Auto => disk.erase_size.filter(|&e| e > ALIGNMENT && e <= MAX_ALIGNMENT).unwrap_or(ALIGNMENT),
    };
    bytes.to_sectors(disk.sector_size)
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
        Some((start, Sectors(last.0 - start.0 + 1)))
    });
    aligned.fold((Lba(0), Sectors(0)), |best, region| if region.1 > best.1 { region } else { best })
}

/// What the owner should know of this conversion besides its steps.
fn notes(seen: &Observation, disk: &Disk, table: &Table) -> Vec<String> {
    let mut notes = Vec::new();
    if seen.cmdline.rw {
        let note = "the kernel command line has `rw`, so systemd could write to the image before burnonce began; \
                    take it out of cmdline.txt when you make the image";
        notes.push(note.to_owned());
    }
    if seen.cmdline.ro {
        notes.push(
            "the kernel command line has `ro`; with some versions of systemd the overlay then stays read-only"
                .to_owned(),
        );
    }
    match &table.scheme {
        Scheme::Mbr { .. } if disk.sectors.0 > table.last_usable.0.saturating_add(1) => {
            let end = Sectors(table.last_usable.0 + 1).to_bytes(disk.sector_size);
            notes.push(format!("a DOS partition table ends at {end}; what lies beyond stays unused"));
        }
        Scheme::Gpt { primary_sound: false, .. } => {
            notes.push("the primary GPT header is damaged; the backup was used, and both are written anew".to_owned());
        }
        Scheme::Gpt { backup_sound: false, .. } => {
            notes.push(
                "the backup GPT header is missing or damaged; the primary was used, and both are written anew"
                    .to_owned(),
            );
        }
        _ => {}
    }
    notes
}
