//! Machines that are made up, the steps of a plan carried out on them in memory, and what must hold of it. `tests/properties.rs` draws
//! machines at random, `tests/fuzz` makes them of a fuzzer's bytes; here is what both share.

pub mod invariants;
pub mod simulated;

use burnonce::filesystem::{Content, Owner, Superblock};
use burnonce::guard::report::Verdict;
use burnonce::observation::{Cmdline, Disk, Held, KernelPartition, Observation, Overlayroot, Place, Root};
use burnonce::overlay::{Configuration, Counts, Generator};
use burnonce::table::{Partition, Scheme, Table};
use burnonce::units::{Bytes, Lba, MIB, Sectors};

pub const LOWER_UUID: &str = "c6b4e7a1-3f0d-4b52-9a77-2d9e1f5a80c3";

/// Erase sizes that cards name, sensible ones and others.
pub const ERASE_SIZES: [u64; 6] = [4 * MIB, 16 * MIB, 12 * MIB, 512 * MIB, 5_000_192, 1];

/// What a partition of the image's own, or of somebody else's, holds.
pub fn foreign() -> Vec<Content> {
    let other = |name: &str| Content::Other { name: name.to_owned(), label: None };
    let unreadable = Content::Unreadable { reason: "Input/output error".to_owned() };
    vec![Content::Blank, Content::Unknown, unreadable, other("vfat"), other("swap"), ext("data", Owner::Empty, 1)]
}

pub fn ext(label: &str, owner: Owner, size: u64) -> Content {
    let uuid = "7d1c5c0e-6a52-4d0e-b3f4-0c9be2a4d111".to_owned();
    Content::Ext(Superblock {
        label: label.to_owned(),
        uuid,
        size: Bytes(size),
        clean: true,
        errors: false,
        sealed: false,
        owner,
    })
}

pub fn known(partition: &Partition) -> KernelPartition {
    KernelPartition { number: partition.number, start: partition.start, sectors: partition.sectors }
}

fn empty_table(sectors: u64, sector_size: u32, gpt: bool) -> Table {
    let (scheme, first, last, slots) = if gpt {
        let array = 16384 / u64::from(sector_size);
        let disk_guid = "5d3a1b7e-90c4-4f16-8a2b-7e6d5c4b3a29".to_owned();
        let scheme = Scheme::Gpt { disk_guid, primary_sound: true, backup_sound: true, backup_at_end: false };
        (scheme, array + 2, sectors - array - 2, 128)
    } else {
        (Scheme::Mbr { signature: 0x1a2b_3c4d }, 1, sectors.min(1 << 32) - 1, 4)
    };
    Table { scheme, sector_size, first_usable: Lba(first), last_usable: Lba(last), slots, partitions: Vec::new() }
}

/// Partitions between the cuts of the usable area, in slots that are drawn, by slot.
fn fill(table: &mut Table, cuts: &[u64], slots: &[u32]) {
    let width = table.last_usable.0 - table.first_usable.0;
    let place = |cut: u64| {
        let offset = u128::from(cut) * u128::from(width) / u128::from(u64::MAX);
        table.first_usable.0 + u64::try_from(offset).unwrap()
    };
    let mut places: Vec<u64> = cuts.iter().map(|&cut| place(cut)).collect();
    places.sort_unstable();
    places.dedup();
    let kind = if table.slots == 4 { "83" } else { "0fc63daf-8483-4772-8e79-3d69d8477de4" };
    let partitions = places.chunks_exact(2).zip(slots).map(|(ends, &number)| {
        let (start, sectors) = (Lba(ends[0]), Sectors(ends[1] - ends[0]));
        Partition { number, start, sectors, kind: kind.to_owned(), name: None }
    });
    table.partitions = partitions.collect();
    table.partitions.sort_by_key(|p| p.number);
}

/// Length in bytes, from 64 MiB to 5 TiB: `2^power` (26 to 42) and a part of that again, small ones as likely as large ones.
pub fn disk_length(power: u32, more: u32) -> u64 {
    ((1u64 << power) + (u64::from(more % (1 << 20)) << (power - 20))).min(5 << 40)
}

/// What a disk is made of.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// In bytes, see [`disk_length`].
    pub length: u64,
    pub sector_size: u32,
    pub gpt: bool,
    /// Where partitions begin and end, as a part of [`u64::MAX`].
    pub cuts: Vec<u64>,
    /// Their slots; those that the table does not have are passed over.
    pub slots: Vec<u32>,
    /// Which of them is root's, if not the last on the disk, as images most often have it.
    pub root: Option<usize>,
    /// What the others hold.
    pub foreign: Vec<Content>,
    /// The first of them is an empty partition for the upper.
    pub placeholder: bool,
    /// The kernel has one that is not in the table.
    pub left: bool,
    pub erase_size: Option<u64>,
}

impl Drawn {
    /// A disk and root's slot; `None` where no partition came of it.
    pub fn disk(self) -> Option<(Disk, u32)> {
        let Drawn { length, sector_size, gpt, cuts, slots, root, foreign, placeholder, left, erase_size } = self;
        let sectors = length / u64::from(sector_size);
        let mut table = empty_table(sectors, sector_size, gpt);
        let slots: Vec<u32> = slots.into_iter().filter(|n| *n <= table.slots).collect();
        fill(&mut table, &cuts, &slots);
        let last = table.partitions.iter().max_by_key(|p| p.start)?.number;
        let root = root.map_or(last, |index| table.partitions[index % table.partitions.len()].number);
        let mut contents: Vec<Held> = table
            .partitions
            .iter()
            .filter(|p| p.number != root)
            .zip(foreign)
            .map(|(p, content)| Held { number: p.number, content })
            .collect();
        if let (true, Some(held)) = (placeholder, contents.first_mut()) {
            held.content = ext("burnonce", Owner::Empty, MIB);
        }
        let mut kernel: Vec<KernelPartition> = table.partitions.iter().map(known).collect();
        let free = (1..=table.slots).find(|n| kernel.iter().all(|k| k.number != *n));
        if let (true, Some(number)) = (left, free) {
            // Where it lies does not matter: it is forgotten.
            kernel.push(KernelPartition { number, start: Lba(u64::MAX / 2), sectors: Sectors(8) });
        }
        let name = "mmcblk0".to_owned();
        let erase_size = erase_size.map(Bytes);
        let sectors = Sectors(sectors);
        let table = Ok(table);
        let disk = Disk {
            name,
            sectors,
            sector_size,
            read_only: false,
            erase_size,
            table,
            cut_short: None,
            begun: 0,
            file_system: None,
            kernel,
            contents,
        };
        Some((disk, root))
    }
}

/// A node that is not converted, and has all that a conversion needs. Root is partition `number` of `disk`.
pub fn unconverted((disk, number): (Disk, u32), rw: bool, sealed: bool) -> Observation {
    let cmdline = Cmdline { rw, ..Cmdline::default() };
    let lower = Place::Partition { name: disk.partition_name(number), number, uuid: LOWER_UUID.to_owned(), sealed };
    let overlayroot = Overlayroot {
        generator: Generator::InitramfsTools,
        log: Some(String::new()),
        guard: Some(Verdict::NotConfigured),
        reason: None,
        installed: true,
        rebuildable: true,
    };
    let root = Root::Plain { fs_type: "ext4".to_owned(), writable: false };
    let (configuration, twins) = (Configuration::Absent, Vec::new());
    let (disk, packages) = (Some(disk), Vec::new());
    Observation { cmdline, root, lower, disk, usr: None, configuration, overlayroot, twins, packages }
}

/// The same node at work on its upper, which is one of the partitions beside root, on a card that may be larger than the one it was made
/// for; `None` where it has no other partition. Its file system may be `shorter` than the partition.
pub fn at_work(mut seen: Observation, upper: usize, shorter: bool) -> Option<Observation> {
    let Place::Partition { number: root, sealed, .. } = &mut seen.lower else { return None };
    *sealed = true;
    let root = *root;
    let disk = seen.disk.as_mut()?;
    let table = disk.table.as_ref().ok()?;
    disk.kernel = table.partitions.iter().map(known).collect();
    let others: Vec<&Partition> = table.partitions.iter().filter(|p| p.number != root).collect();
    let upper = others.get(upper % others.len().max(1))?;
    let length = upper.sectors.to_bytes(disk.sector_size).0;
    disk.file_system = Some(Bytes(if shorter { length / 2 } else { length }));
    disk.contents.clear();
    let upper = Some(disk.partition_name(upper.number));
    seen.root = Root::Overlay { upper, lower_writable: false, upper_writable: true };
    seen.configuration = Configuration::Complete(Counts::default());
    seen.overlayroot.guard = Some(Verdict::Upper);
    Some(seen)
}
