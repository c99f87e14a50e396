//! What holds for the plan of any machine: nothing of others is touched, the steps have an order that makes a power cut harmless, and
//! there is no restart loop. Machines are random; a plan is carried out on the observation, in memory, step by step.

use burnonce::config::{Align, Config, PartitionConfig, RepartitionConfig, Size, Truncated};
use burnonce::filesystem::{Content, Owner, Superblock};
use burnonce::guard::report::Verdict;
use burnonce::observation::{Cmdline, Disk, Held, KernelPartition, Lacks, Observation, Overlayroot, Place, Root};
use burnonce::overlay::{Configuration, Counts};
use burnonce::plan::{MAX_ATTEMPTS, plan, repartition};
use burnonce::preview;
use burnonce::state::{self, State};
use burnonce::step::{Plan, Purpose, Step};
use burnonce::table::{self, Change, Defect, NewPartition, Partition, Scheme, Table, mbr};
use burnonce::units::{Bytes, Lba, MIB, Sectors};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// No file of failures: the message has the smallest machine that fails, which is a golden directory to be.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

const LOWER_UUID: &str = "c6b4e7a1-3f0d-4b52-9a77-2d9e1f5a80c3";

// ---------------------------------------------------------------------------------------------------------------- machines

fn foreign() -> impl Strategy<Value = Content> {
    let other = |name: &str| Content::Other { name: name.to_owned(), label: None };
    let unreadable = Content::Unreadable { reason: "Input/output error".to_owned() };
    select(vec![
        Content::Blank,
        Content::Unknown,
        unreadable,
        other("vfat"),
        other("swap"),
        ext("data", Owner::Empty, 1),
    ])
}

fn ext(label: &str, owner: Owner, size: u64) -> Content {
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

/// Length in bytes, from 64 MiB to 5 TiB, small ones as likely as large ones.
fn disk_length() -> impl Strategy<Value = u64> {
    (26u32..43, 0u64..1 << 20).prop_map(|(power, more)| ((1u64 << power) + (more << (power - 20))).min(5 << 40))
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

/// A disk with at least one partition, the first of them for root: most often the last on the disk, as images have it.
fn disk() -> impl Strategy<Value = (Disk, u32)> {
    let shape = (disk_length(), select(vec![512u32, 4096]), any::<bool>());
    let partitions = (vec(any::<u64>(), 2..12), Just((1u32..=12).collect::<Vec<_>>()).prop_shuffle());
    let root = (any::<Index>(), prop::bool::weighted(0.7));
    let beside = (vec(foreign(), 12), prop::bool::weighted(0.3), prop::bool::weighted(0.2));
    let erase = option::of(select(vec![4 * MIB, 16 * MIB, 12 * MIB, 512 * MIB, 5_000_192, 1]));
    (shape, partitions, root, beside, erase).prop_filter_map(
        "a partition for root",
        |((length, sector_size, gpt), (cuts, slots), (index, last), (foreign, placeholder, left), erase)| {
            let sectors = length / u64::from(sector_size);
            let mut table = empty_table(sectors, sector_size, gpt);
            let slots: Vec<u32> = slots.into_iter().filter(|n| *n <= table.slots).collect();
            fill(&mut table, &cuts, &slots);
            let by_place = table.partitions.iter().max_by_key(|p| p.start)?;
            let root = if last { by_place.number } else { index.get(&table.partitions).number };
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
            let erase_size = erase.map(Bytes);
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
        },
    )
}

fn known(partition: &Partition) -> KernelPartition {
    KernelPartition { number: partition.number, start: partition.start, sectors: partition.sectors }
}

fn config() -> impl Strategy<Value = Config> {
    let align = select(vec![Align::Auto, Align::To(Bytes(MIB)), Align::To(Bytes(64 * MIB))]);
    let min = select(vec![Bytes(64 * MIB), Bytes(512 * MIB), Bytes(3 << 30)]);
    let size = select(vec![Size::Rest, Size::Bytes(Bytes(2 << 30)), Size::Percent(1), Size::Percent(75)]);
    (min, size, align)
        .prop_map(|(min, size, align)| Config { partition: PartitionConfig { min, size, align }, ..Config::default() })
}

/// A node that is not converted, and has all that a conversion needs.
fn machine() -> impl Strategy<Value = (Observation, Config)> {
    (disk(), any::<bool>(), prop::bool::weighted(0.1), config()).prop_map(|((disk, number), rw, sealed, config)| {
        let cmdline = Cmdline { rw, ..Cmdline::default() };
        let lower = Place::Partition { name: disk.partition_name(number), number, uuid: LOWER_UUID.to_owned(), sealed };
        let overlayroot = Overlayroot {
            log: Some(String::new()),
            guard: Some(Verdict::NotConfigured),
            reason: None,
            installed: true,
            rebuildable: true,
        };
        let root = Root::Plain { fs_type: "ext4".to_owned(), writable: false };
        let configuration = Configuration::Absent;
        (Observation { cmdline, root, lower, disk: Some(disk), configuration, overlayroot, twins: Vec::new() }, config)
    })
}

// ------------------------------------------------------------------------------------------------------------- carrying out

/// A machine on which steps are carried out in memory. Its `seen` is always what would be observed.
#[derive(Debug, Clone)]
struct Simulated {
    seen: Observation,
    /// The file system that was made on a partition which only the kernel knows.
    unpublished: Option<(NewPartition, Content)>,
}

impl Simulated {
    fn new(seen: &Observation) -> Simulated {
        Simulated { seen: seen.clone(), unpublished: None }
    }

    fn disk(&mut self) -> &mut Disk {
        self.seen.disk.as_mut().unwrap()
    }

    fn table(&self) -> &Table {
        self.seen.disk.as_ref().unwrap().table.as_ref().unwrap()
    }

    fn counts(&self) -> Counts {
        match &self.seen.configuration {
            Configuration::Begun(counts) | Configuration::Complete(counts) => counts.clone(),
            Configuration::Absent | Configuration::Foreign { .. } => Counts::default(),
        }
    }

    /// Everything but the restart. A step that asks for what is not possible panics.
    fn apply(&mut self, step: &Step) {
        match step {
            Step::RecordAttempt { attempt } => {
                assert!(!self.sealed(), "a sealed lower takes no file");
                self.seen.configuration = Configuration::Begun(Counts { attempts: *attempt, ..self.counts() });
            }
            Step::RebuildInitramfs { .. } => {
                self.begin(step);
                self.seen.configuration = Configuration::Begun(Counts { rebuilt: true, ..self.counts() });
                self.seen.overlayroot.log = Some(String::new());
                self.seen.overlayroot.guard = Some(Verdict::NotConfigured);
            }
            Step::ForgetKernelPartition { number, .. } => self.forget(*number),
            Step::RemovePartition { number, before, .. } => {
                self.change(before, &Change::Remove { number: *number });
                self.forget(*number);
                self.disk().contents.retain(|h| h.number != *number);
            }
            Step::AddKernelPartition { partition, length, .. } => {
                let new =
                    KernelPartition { number: partition.number, start: partition.start, sectors: partition.sectors };
                let size = self.disk().sector_size;
                assert_eq!(partition.sectors.to_bytes(size), *length);
                let clash = self.disk().kernel.iter().find(|k| {
                    k.number == new.number
                        || k.start.0 < new.start.0 + new.sectors.0 && new.start.0 < k.start.0 + k.sectors.0
                });
                assert_eq!(clash, None, "the kernel refuses to add {new:?}");
                self.disk().kernel.push(new);
                self.unpublished = Some((partition.clone(), Content::Unknown));
            }
            Step::MakeFilesystem { device, length, made_for, attempt } => {
                let number = self.unpublished.as_ref().unwrap().0.number;
                let name = self.disk().partition_name(number);
                assert_eq!(*device, name, "only the new partition is written to");
                let state = State::new(made_for, *attempt).to_json().unwrap();
                self.unpublished.as_mut().unwrap().1 = ext("burnonce", Owner::Ours { state, used: false }, length.0);
            }
            Step::GrowKernelPartition { partition: NewPartition { number, start, sectors }, .. } => {
                let end = start.0 + sectors.0;
                let clash = self.disk().kernel.iter().find(|k| k.start > *start && k.start.0 < end);
                assert_eq!(clash, None, "the kernel refuses to grow partition {number}");
                let known = self.disk().kernel.iter_mut().find(|k| (k.number, k.start) == (*number, *start)).unwrap();
                assert!(known.sectors < *sectors);
                known.sectors = *sectors;
            }
            Step::PublishTable { before, change: change @ Change::Grow { .. }, .. } => self.change(before, change),
            Step::GrowFilesystem { device, length } => {
                let disk = self.disk();
                let partition =
                    disk.table.as_ref().unwrap().partitions.iter().find(|p| disk.partition_name(p.number) == *device);
                assert_eq!(
                    partition.unwrap().sectors.to_bytes(disk.sector_size),
                    *length,
                    "longer than what the table says"
                );
                disk.file_system = Some(*length);
            }
            Step::PublishTable { before, change, .. } => {
                let (partition, content) = self.unpublished.take().unwrap();
                assert!(matches!(&content, Content::Ext(s) if matches!(s.owner, Owner::Ours { .. })), "not finished");
                assert_eq!(*change, Change::Add(partition.clone()));
                self.change(before, change);
                self.disk().contents.push(Held { number: partition.number, content });
            }
            Step::KeepBootFiles { device } => assert_eq!(Some(device), self.upper().as_ref()),
            Step::WriteConfiguration { attempt } => {
                assert!(!self.sealed(), "a sealed lower takes no file");
                assert!(self.upper().is_some(), "an overlay without an upper");
                self.seen.configuration = Configuration::Complete(Counts { attempts: *attempt, ..self.counts() });
            }
            Step::MakeReadOnly { .. } => match &mut self.seen.root {
                Root::Plain { writable, .. } => *writable = false,
                Root::Overlay { lower_writable, .. } => *lower_writable = false,
                Root::OtherOverlay => panic!("that one is not ours"),
            },
            Step::Seal { .. } => self.set_sealed(true),
            Step::Unseal { .. } => self.set_sealed(false),
            Step::KeepLog { device } => assert_eq!(Some(device), self.upper().as_ref()),
            Step::Reboot => {}
        }
    }

    /// What is left of a step that is cut off in its midst.
    fn begin(&mut self, step: &Step) {
        if let Step::RebuildInitramfs { rebuild, .. } = step {
            assert!(!self.sealed(), "a sealed lower takes no file");
            self.seen.configuration = Configuration::Begun(Counts { rebuilds: *rebuild, ..self.counts() });
        }
    }

    fn change(&mut self, before: &Table, change: &Change) {
        assert_eq!(self.table(), before, "the table is not the one that was planned for");
        self.disk().table = Ok(table::change(before, change).unwrap());
    }

    fn forget(&mut self, number: u32) {
        self.disk().kernel.retain(|k| k.number != number);
    }

    fn sealed(&self) -> bool {
        matches!(self.seen.lower, Place::Partition { sealed: true, .. })
    }

    fn set_sealed(&mut self, to: bool) {
        if let Place::Partition { sealed, .. } = &mut self.seen.lower {
            *sealed = to;
        }
    }

    /// The finished upper in the table, as the initramfs finds it: by its label, on root's disk.
    fn upper(&self) -> Option<String> {
        let disk = self.seen.disk.as_ref().unwrap();
        let ours = |held: &&Held| match &held.content {
            Content::Ext(superblock) => superblock.label == "burnonce",
            _ => false,
        };
        disk.contents.iter().find(ours).map(|held| disk.partition_name(held.number))
    }

    /// The machine comes up again: the kernel reads the table, the initramfs the configuration. Without `sound` overlayroot fails.
    fn restart(&mut self, sound: bool) {
        self.unpublished = None;
        let kernel = self.table().partitions.iter().map(known).collect();
        self.disk().kernel = kernel;
        self.seen.root = match (&self.seen.configuration, sound) {
            (Configuration::Complete(_), true) => {
                let upper = self.upper();
                self.seen.overlayroot.guard = Some(if upper.is_some() { Verdict::Upper } else { Verdict::Memory });
                Root::Overlay { upper, lower_writable: false, upper_writable: true }
            }
            _ => Root::Plain { fs_type: "ext4".to_owned(), writable: false },
        };
    }
}

/// Carries out the first steps of a plan, and restarts: by the plan's last step or by a power cut.
fn boot(machine: &mut Simulated, plan: &Plan, steps: usize) {
    plan.steps.iter().take(steps).for_each(|step| machine.apply(step));
    if let Some(step) = plan.steps.get(steps) {
        machine.begin(step);
    }
    machine.restart(true);
}

/// What must be the same however often the power was cut: all but the number of attempts.
fn outcome(machine: &Simulated) -> (Table, Vec<Held>, bool, Root) {
    let mut contents = machine.seen.disk.as_ref().unwrap().contents.clone();
    for held in &mut contents {
        if let Content::Ext(Superblock { owner: Owner::Ours { state, .. }, .. }) = &mut held.content {
            *state = State { attempts: 0, ..state::parse(state).unwrap() }.to_json().unwrap();
        }
    }
    contents.sort_by_key(|h| h.number);
    (machine.table().clone(), contents, machine.sealed(), machine.seen.root.clone())
}

/// A node at work on its upper, on a card that may be larger than the one it was made for.
fn at_work() -> impl Strategy<Value = (Observation, Config)> {
    (machine(), any::<Index>(), prop::bool::weighted(0.2)).prop_filter_map(
        "an upper",
        |((mut seen, config), index, shorter)| {
            let Place::Partition { number: root, sealed, .. } = &mut seen.lower else { return None };
            *sealed = true;
            let root = *root;
            let disk = seen.disk.as_mut()?;
            let table = disk.table.as_ref().ok()?;
            disk.kernel = table.partitions.iter().map(known).collect();
            let others: Vec<&Partition> = table.partitions.iter().filter(|p| p.number != root).collect();
            let upper = others.get(index.index(others.len().max(1)))?;
            let length = upper.sectors.to_bytes(disk.sector_size).0;
            disk.file_system = Some(Bytes(if shorter { length / 2 } else { length }));
            disk.contents.clear();
            let upper = Some(disk.partition_name(upper.number));
            seen.root = Root::Overlay { upper, lower_writable: false, upper_writable: true };
            seen.configuration = Configuration::Complete(Counts::default());
            seen.overlayroot.guard = Some(Verdict::Upper);
            Some((seen, config))
        },
    )
}

/// Plans and carries out until there is nothing to do.
fn converge(machine: &mut Simulated, config: &Config) {
    for _ in 0..4 {
        let plan = plan(&machine.seen, config).unwrap();
        if plan.steps.is_empty() {
            assert_eq!(plan.purpose, Purpose::Nothing);
            return;
        }
        boot(machine, &plan, plan.steps.len());
    }
    panic!("four boots, and there is still something to do: {:?}", machine.seen);
}

// --------------------------------------------------------------------------------------------------------------- properties

/// The free regions that are left when their starts are aligned, computed by walking from partition to partition.
fn aligned_regions(table: &Table, alignment: u64) -> Vec<(u64, u64)> {
    let mut regions = Vec::new();
    let mut at = table.first_usable.0;
    loop {
        let next = table.partitions.iter().filter(|p| p.last().0 >= at).min_by_key(|p| p.start);
        let end = next.map_or(table.last_usable.0 + 1, |p| p.start.0);
        let start = at.div_ceil(alignment) * alignment;
        if start < end {
            regions.push((start, end - start));
        }
        match next {
            Some(partition) => at = partition.last().0 + 1,
            None => return regions,
        }
    }
}

fn alignment(disk: &Disk, config: &Config) -> u64 {
    let bytes = match (config.partition.align, disk.erase_size) {
        (Align::To(bytes), _) => bytes.0,
        (Align::Auto, Some(Bytes(erase))) if [12 * MIB, 16 * MIB].contains(&erase) => erase,
        (Align::Auto, _) => 4 * MIB,
    };
    bytes / u64::from(disk.sector_size)
}

/// The first sector of an MBR disk with these entries, and with something in every byte that is not an entry.
fn sector_of(table: &Table, signature: u32) -> Vec<u8> {
    let mut sector: Vec<u8> = (0..table.sector_size).map(|i| (i % 251 + 1).to_le_bytes()[0]).collect();
    sector[440..444].copy_from_slice(&signature.to_le_bytes());
    sector[446..510].fill(0);
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    for partition in &table.partitions {
        let entry = &mut sector[mbr::slot(partition.number)];
        entry[..8].copy_from_slice(&[0x80, 1, 2, 3, 0x83, 4, 5, 6]);
        entry[8..12].copy_from_slice(&u32::try_from(partition.start.0).unwrap().to_le_bytes());
        entry[12..16].copy_from_slice(&u32::try_from(partition.sectors.0).unwrap().to_le_bytes());
    }
    sector
}

proptest! {
    #![proptest_config(cases(192))]

    /// Everything that is asked of the new partition, and of all that was there before.
    #[test]
    fn the_new_partition_is_where_it_belongs((seen, config) in machine()) {
        let Ok(plan) = plan(&seen, &config) else { return Ok(()) };
        let disk = seen.disk.as_ref().unwrap();
        let before = disk.table.as_ref().unwrap();
        let after = plan.table_after(before).unwrap();
        let removed = plan.steps.iter().find_map(|step| match step {
            Step::RemovePartition { number, .. } => Some(*number),
            _ => None,
        });
        let kept: Vec<&Partition> = before.partitions.iter().filter(|p| Some(p.number) != removed).collect();
        let (number, start, sectors) = plan.new_partition().unwrap();
        prop_assert_eq!(after.partitions.iter().filter(|p| p.number != number).collect::<Vec<_>>(), kept);
        let new = after.partitions.iter().find(|p| p.number == number).unwrap();
        prop_assert_eq!((new.start, new.sectors), (start, sectors));
        prop_assert!((1..number).all(|n| after.partitions.iter().any(|p| p.number == n)), "a lower slot is free");
        prop_assert!(new.start >= after.first_usable && new.last() <= after.last_usable && new.last().0 < disk.sectors.0);
        for other in after.partitions.iter().filter(|p| p.number != number) {
            prop_assert!(other.last() < new.start || new.last() < other.start, "it lies on partition {}", other.number);
        }
        let mut free = before.clone();
        free.partitions.retain(|p| Some(p.number) != removed);
        let regions = aligned_regions(&free, alignment(disk, &config));
        let largest = regions.iter().map(|r| r.1).max().unwrap();
        prop_assert!(regions.contains(&(start.0, largest)), "{start} is no aligned start of the largest free region");
        let size = u64::from(disk.sector_size);
        let wanted = match config.partition.size {
            Size::Rest => u64::MAX,
            Size::Bytes(bytes) => bytes.0,
            Size::Percent(percent) => u64::try_from(u128::from(largest * size) * u128::from(percent) / 100).unwrap(),
        };
        let wanted = wanted.max(config.partition.min.0).min(largest * size);
        let short = wanted - sectors.to_bytes(disk.sector_size).0;
        prop_assert!(short < 2 * MIB && (short == 0 || config.partition.size != Size::Rest), "{sectors} of {wanted} bytes");
        prop_assert!(sectors.to_bytes(disk.sector_size) >= config.partition.min);
        // The picture and the words can be made.
        let text = preview::to_text(&seen, &Ok(plan)).unwrap();
        prop_assert!(text.contains("after: "), "{}", text);
    }

    /// In the sector itself nothing changes but the 16 bytes of the new entry (and those of the placeholder).
    #[test]
    fn in_the_sector_of_an_mbr_only_the_slots_bytes_change((seen, config) in machine()) {
        let table = seen.disk.as_ref().unwrap().table.as_ref().unwrap();
        let Scheme::Mbr { signature } = table.scheme else { return Ok(()) };
        let Ok(plan) = plan(&seen, &config) else { return Ok(()) };
        let disk_sectors = seen.disk.as_ref().unwrap().sectors.0;
        let before = sector_of(table, signature);
        let mut sector = before.clone();
        let mut touched = vec![false; sector.len()];
        for step in &plan.steps {
            let change = match step {
                Step::RemovePartition { number, .. } => Change::Remove { number: *number },
                Step::PublishTable { change, .. } => change.clone(),
                _ => continue,
            };
            touched[mbr::slot(change.number())].fill(true);
            sector = mbr::changed(&sector, &change).unwrap();
        }
        for (i, touched) in touched.into_iter().enumerate() {
            prop_assert!(touched || sector[i] == before[i], "byte {i}");
        }
        let read = mbr::parse(&sector, table.sector_size, disk_sectors).unwrap();
        prop_assert_eq!(read, plan.table_after(table).unwrap());
    }

    #[test]
    fn the_steps_are_in_an_order_that_makes_a_power_cut_harmless((seen, config) in machine(), lacks in select(vec![None, Some(Lacks::Overlayroot), Some(Lacks::Guard)])) {
        let mut seen = seen;
        match lacks {
            Some(Lacks::Overlayroot) => seen.overlayroot.log = None,
            Some(Lacks::Guard) => seen.overlayroot.guard = None,
            None => {}
        }
        let Ok(plan) = plan(&seen, &config) else { return Ok(()) };
        let at = |wanted: fn(&Step) -> bool| plan.steps.iter().position(wanted);
        let count = |wanted: fn(&Step) -> bool| plan.steps.iter().filter(|step| wanted(step)).count();
        prop_assert_eq!(count(|s| matches!(s, Step::Reboot)), 1);
        prop_assert_eq!(plan.steps.last(), Some(&Step::Reboot));
        prop_assert_eq!(plan.purpose == Purpose::Convert, lacks.is_none());
        // First of all the attempt is counted; only a sealed lower, which takes no count, is unsealed before.
        let sealed = matches!(seen.lower, Place::Partition { sealed: true, .. });
        prop_assert_eq!(at(|s| matches!(s, Step::Unseal { .. })), sealed.then_some(0));
        if let Some(lacks) = lacks {
            prop_assert_eq!(&plan.purpose, &Purpose::Prepare { lacks });
            let steps = [Step::RebuildInitramfs { lacks, rebuild: 1 }, Step::Reboot];
            prop_assert_eq!(&plan.steps[usize::from(sealed)..], steps);
            return Ok(());
        }
        let record = at(|s| matches!(s, Step::RecordAttempt { .. })).unwrap();
        prop_assert_eq!(record, usize::from(sealed));
        let order = [
            at(|s| matches!(s, Step::AddKernelPartition { .. })).unwrap(),
            at(|s| matches!(s, Step::MakeFilesystem { .. })).unwrap(),
            at(|s| matches!(s, Step::PublishTable { .. })).unwrap(),
            at(|s| matches!(s, Step::KeepBootFiles { .. })).unwrap(),
            at(|s| matches!(s, Step::WriteConfiguration { .. })).unwrap(),
            at(|s| matches!(s, Step::Seal { .. })).unwrap(),
            at(|s| matches!(s, Step::KeepLog { .. })).unwrap(),
        ];
        prop_assert!(order.is_sorted() && record < order[0], "{:?}", plan.steps);
        // The kernel's and the table's old entries are out of the way before the new one comes.
        for old in [at(|s| matches!(s, Step::RemovePartition { .. })), at(|s| matches!(s, Step::ForgetKernelPartition { .. }))] {
            prop_assert!(old.is_none_or(|old| record < old && old < order[0]), "{:?}", plan.steps);
        }
        for once in [
            count(|s| matches!(s, Step::RecordAttempt { .. })),
            count(|s| matches!(s, Step::PublishTable { .. })),
            count(|s| matches!(s, Step::WriteConfiguration { .. })),
            count(|s| matches!(s, Step::Seal { .. })),
        ] {
            prop_assert_eq!(once, 1);
        }
    }

    /// The restart after a whole conversion finds nothing to do, and so does every one after that.
    #[test]
    fn a_converted_machine_has_an_empty_plan((seen, config) in machine()) {
        let Ok(first) = plan(&seen, &config) else { return Ok(()) };
        let mut machine = Simulated::new(&seen);
        boot(&mut machine, &first, first.steps.len());
        let again = plan(&machine.seen, &config).unwrap();
        prop_assert_eq!(again, Plan { purpose: Purpose::Nothing, steps: vec![], notes: vec![] });
        // Not even a configuration that would convert differently changes that.
        let other = Config { convert: false, ..Config::default() };
        prop_assert_eq!(plan(&machine.seen, &other).unwrap().steps, vec![]);
    }

    /// A power cut between the table and the configuration: the upper that is there is taken.
    #[test]
    fn a_published_upper_is_taken((seen, config) in machine()) {
        let Ok(first) = plan(&seen, &config) else { return Ok(()) };
        let published = first.steps.iter().position(|s| matches!(s, Step::PublishTable { .. })).unwrap() + 1;
        let mut machine = Simulated::new(&seen);
        boot(&mut machine, &first, published);
        let table = machine.table().clone();
        let second = plan(&machine.seen, &config).unwrap();
        prop_assert_eq!(second.new_partition(), None);
        prop_assert_eq!(second.table_after(&table).unwrap(), table);
        let Place::Partition { name, .. } = &seen.lower else { unreachable!() };
        prop_assert_eq!(&second.steps, &vec![
            Step::RecordAttempt { attempt: 2 },
            Step::KeepBootFiles { device: machine.upper().unwrap() },
            Step::WriteConfiguration { attempt: 2 },
            Step::Seal { device: name.clone() },
            Step::KeepLog { device: machine.upper().unwrap() },
            Step::Reboot,
        ]);
    }

    /// Two power cuts, each after any number of steps, lead to the same card as none.
    #[test]
    fn a_conversion_that_is_cut_off_ends_as_one_that_is_not((seen, config) in machine(), second in any::<Index>()) {
        let Ok(whole) = plan(&seen, &config) else { return Ok(()) };
        let mut uninterrupted = Simulated::new(&seen);
        converge(&mut uninterrupted, &config);
        for cut in 0..=whole.steps.len() {
            let mut machine = Simulated::new(&seen);
            boot(&mut machine, &whole, cut);
            let resumed = plan(&machine.seen, &config).unwrap();
            boot(&mut machine, &resumed, second.index(resumed.steps.len() + 1));
            converge(&mut machine, &config);
            prop_assert_eq!(outcome(&machine), outcome(&uninterrupted), "cut after {} steps", cut);
        }
    }

    /// An upper grows into free space and nowhere else, and a power cut anywhere leads to the same card.
    #[test]
    fn an_upper_grows_over_nothing((seen, config) in at_work(), first in any::<Index>()) {
        let whole = plan(&seen, &config).unwrap();
        let disk = seen.disk.as_ref().unwrap();
        let before = disk.table.as_ref().unwrap();
        let Root::Overlay { upper: Some(upper), .. } = &seen.root else { unreachable!() };
        let after = whole.table_after(before).unwrap();
        prop_assert_eq!(after.partitions.len(), before.partitions.len());
        for (old, new) in before.partitions.iter().zip(&after.partitions) {
            let is_upper = disk.partition_name(old.number) == *upper;
            prop_assert!(old == new || is_upper && old.start == new.start && old.sectors < new.sectors, "{old:?} {new:?}");
            prop_assert!(old == new || new.last() <= after.last_usable);
            let apart = |other: &Partition| other.number == new.number || other.last() < new.start || new.last() < other.start;
            prop_assert!(after.partitions.iter().all(apart), "{new:?} lies on another one");
        }
        let grown = |steps: usize| {
            let mut machine = Simulated::new(&seen);
            whole.steps.iter().take(steps).for_each(|step| machine.apply(step));
            // A restart, of which the kernel learns from the table.
            machine.disk().kernel = machine.table().partitions.iter().map(known).collect();
            for step in plan(&machine.seen, &config).unwrap().steps {
                machine.apply(&step);
            }
            assert_eq!(plan(&machine.seen, &config).unwrap().steps, []);
            machine.seen
        };
        prop_assert_eq!(grown(first.index(whole.steps.len() + 1)), grown(whole.steps.len()));
    }

    /// The upper of a converted node is gone, entry and all: a new one is made, in the boots that it takes, and nothing else changes. A power
    /// cut anywhere leads to the same card.
    #[test]
    fn an_upper_that_is_gone_is_made_again((seen, config) in machine(), cut in any::<Index>()) {
        if plan(&seen, &config).is_err() {
            return Ok(());
        }
        let mut machine = Simulated::new(&seen);
        converge(&mut machine, &config);
        let whole = outcome(&machine);
        let number = machine.disk().contents.iter().find(|h| matches!(&h.content, Content::Ext(s) if s.label == "burnonce")).unwrap().number;
        let table = machine.table().clone();
        machine.disk().table = Ok(table::change(&table, &Change::Remove { number }).unwrap());
        machine.disk().contents.retain(|held| held.number != number);
        machine.restart(true);
        let again = plan(&machine.seen, &config).unwrap();
        prop_assert!(matches!(again.purpose, Purpose::Remake { .. }), "{:?}", again);
        let takes = |s: &Step| matches!(s, Step::RemovePartition { .. } | Step::WriteConfiguration { .. } | Step::Unseal { .. });
        prop_assert_eq!(again.steps.iter().filter(|s| takes(s)).count(), 0);
        boot(&mut machine, &again, cut.index(again.steps.len() + 1));
        converge(&mut machine, &config);
        prop_assert_eq!(outcome(&machine), whole);
        // Whoever counts three beginnings without an end begins no fourth.
        machine.disk().table = Ok(table::change(&table, &Change::Remove { number }).unwrap());
        machine.disk().contents.retain(|held| held.number != number);
        machine.disk().begun = MAX_ATTEMPTS;
        machine.restart(true);
        prop_assert_eq!(plan(&machine.seen, &config).unwrap().steps, vec![]);
    }

    /// `burnonce repartition` takes away what the owner has named, or what is burnonce's, and changes no other entry.
    #[test]
    fn a_repartition_takes_nothing_but_what_it_names((seen, config) in machine(), number in 1u32..13, converted in any::<bool>(), named in any::<bool>()) {
        let mut machine = Simulated::new(&seen);
        if converted {
            machine.seen.configuration = Configuration::Complete(Counts::default());
            machine.set_sealed(true);
            machine.seen.root = Root::Overlay { upper: None, lower_writable: false, upper_writable: true };
            machine.seen.overlayroot.guard = Some(Verdict::Memory);
        }
        let before = machine.table().clone();
        let number = named.then_some(number);
        let Ok(plan) = repartition(&machine.seen, &config, number) else { return Ok(()) };
        let disk = machine.seen.disk.clone().unwrap();
        let removed: Vec<u32> = plan.steps.iter().filter_map(|s| if let Step::RemovePartition { number, .. } = s { Some(*number) } else { None }).collect();
        if let Some(number) = number.filter(|_| !plan.steps.is_empty() && !matches!(plan.purpose, Purpose::Convert | Purpose::Prepare { .. })) {
            prop_assert_eq!(&removed, &vec![number]);
        } else {
            let ours = |number: &u32| disk.contents.iter().any(|h| h.number == *number && matches!(&h.content, Content::Ext(s) if s.label == "burnonce"));
            prop_assert!(removed.iter().all(ours), "{:?}", plan);
        }
        let Place::Partition { number: root, .. } = &seen.lower else { unreachable!() };
        prop_assert!(!removed.contains(root));
        let after = plan.table_after(&before).unwrap();
        for old in before.partitions.iter().filter(|p| !removed.contains(&p.number)) {
            prop_assert!(after.partitions.contains(old), "{:?} is gone", old);
        }
        for new in after.partitions.iter().filter(|p| !before.partitions.contains(p)) {
            let apart = |other: &&Partition| other.last() < new.start || new.last() < other.start;
            prop_assert!(after.partitions.iter().filter(|p| p.number != new.number).all(|p| apart(&p)));
        }
        plan.steps.iter().for_each(|step| machine.apply(step));
    }

    /// An attempt that ends without a restart (the agent was killed) is finished in the same boot, on the kernel's leftovers.
    #[test]
    fn an_attempt_that_stops_is_finished_without_a_restart((seen, config) in machine()) {
        let Ok(whole) = plan(&seen, &config) else { return Ok(()) };
        let mut uninterrupted = Simulated::new(&seen);
        converge(&mut uninterrupted, &config);
        let configured = whole.steps.iter().position(|s| matches!(s, Step::WriteConfiguration { .. })).unwrap();
        for stop in 0..=configured {
            let mut machine = Simulated::new(&seen);
            whole.steps.iter().take(stop).for_each(|step| machine.apply(step));
            machine.unpublished = None;
            converge(&mut machine, &config);
            prop_assert_eq!(outcome(&machine), outcome(&uninterrupted), "stopped after {} steps", stop);
        }
    }

    /// Whatever is cut off (by the power, or by a panic and a watchdog that restart the node), and whether or not the initramfs and the
    /// overlay work: the agent begins a few times and then never again. Once the overlay is configured it restarts nothing.
    #[test]
    fn there_is_no_restart_loop(
        (seen, config) in machine(),
        furthest in 0usize..13,
        boots in vec((any::<Index>(), prop::bool::weighted(0.8), prop::bool::weighted(0.3), prop::bool::weighted(0.7), prop::bool::weighted(0.8)), 24),
    ) {
        let mut machine = Simulated::new(&seen);
        let mut begun = 0;
        for (stop, cut, sound, overlayroot, guard) in boots {
            machine.seen.overlayroot.log = overlayroot.then(String::new);
            machine.seen.overlayroot.guard = guard.then_some(Verdict::NotConfigured);
            let Ok(plan) = plan(&machine.seen, &config) else { continue };
            let restarts = plan.steps.contains(&Step::Reboot);
            prop_assert_eq!(restarts, matches!(plan.purpose, Purpose::Convert | Purpose::Prepare { .. }));
            prop_assert!(!restarts || !matches!(machine.seen.configuration, Configuration::Complete(_)));
            let steps = if cut { stop.index(plan.steps.len() + 1).min(furthest) } else { plan.steps.len() };
            begun += u32::from(restarts && steps > 0);
            boot(&mut machine, &plan, steps);
            if !sound {
                machine.restart(false);
            }
        }
        // A sealed lower is unsealed before the first attempt is counted.
        let sealed = matches!(seen.lower, Place::Partition { sealed: true, .. });
        prop_assert!(begun <= 2 * MAX_ATTEMPTS + u32::from(sealed), "begun {begun} times");
    }
}

// ------------------------------------------------------------------------------------------------------------ anything at all

fn text() -> impl Strategy<Value = String> {
    select(vec!["", "burnonce", "mmcblk0", "mmcblk0p3", "sda", "/dev/sda2", "tmpfs", "[failure]: x", "é\n.", "ext4"])
        .prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1u64..100, Just(1 << 32), Just(u64::MAX), Just(u64::MAX - 1), any::<u64>()]
}

fn small() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..6, Just(u32::MAX), Just(512), Just(4096)]
}

fn any_content() -> impl Strategy<Value = Content> {
    let owner = prop_oneof![
        (text(), any::<bool>()).prop_map(|(state, used)| Owner::Ours { state, used }),
        (text(), any::<u32>(), any::<bool>())
            .prop_map(|(uuid, n, used)| Owner::Ours { state: State::new(&uuid, n).to_json().unwrap(), used }),
        Just(Owner::Empty),
        vec(text(), 0..5).prop_map(|names| Owner::Files { names }),
        text().prop_map(|reason| Owner::Unreadable { reason }),
    ];
    prop_oneof![
        Just(Content::Blank),
        Just(Content::Unknown),
        text().prop_map(|reason| Content::Unreadable { reason }),
        (text(), option::of(text())).prop_map(|(name, label)| Content::Other { name, label }),
        (text(), owner, number()).prop_map(|(label, owner, size)| ext(&label, owner, size)),
    ]
}

fn any_table() -> impl Strategy<Value = Table> {
    let scheme = prop_oneof![
        any::<u32>().prop_map(|signature| Scheme::Mbr { signature }),
        (text(), any::<(bool, bool, bool)>()).prop_map(|(disk_guid, (primary_sound, backup_sound, backup_at_end))| {
            Scheme::Gpt { disk_guid, primary_sound, backup_sound, backup_at_end }
        }),
    ];
    let partition =
        (small(), number(), number(), text(), option::of(text())).prop_map(|(number, start, sectors, kind, name)| {
            Partition { number, start: Lba(start), sectors: Sectors(sectors), kind, name }
        });
    (scheme, small(), number(), number(), small(), vec(partition, 0..5)).prop_map(
        |(scheme, sector_size, first, last, slots, partitions)| Table {
            scheme,
            sector_size,
            first_usable: Lba(first),
            last_usable: Lba(last),
            slots,
            partitions,
        },
    )
}

// Boxed: all that is drawn for a machine in one value would be more than the stack of a test's thread holds.
fn any_disk() -> BoxedStrategy<Disk> {
    let table = prop_oneof![
        4 => any_table().prop_map(Ok),
        1 => Just(Err(Defect::Hybrid)),
    ];
    let kernel = (small(), number(), number()).prop_map(|(number, start, sectors)| KernelPartition {
        number,
        start: Lba(start),
        sectors: Sectors(sectors),
    });
    let held = (small(), any_content()).prop_map(|(number, content)| Held { number, content });
    let rest = (table, prop::bool::weighted(0.8), vec(kernel, 0..5), vec(held, 0..5));
    let lengths = (number(), option::of(number()), option::of(number()));
    let more =
        (prop::bool::weighted(0.05), prop::bool::weighted(0.2), prop::sample::select(vec![0u32, 0, 1, 3, u32::MAX]));
    (text(), small(), more, lengths, rest)
        .prop_map(|(name, sector_size, more, (sectors, erase, file_system), (table, agree, kernel, contents))| {
            let (read_only, cut, begun) = more;
            let kernel = match &table {
                Ok(table) if agree => table.partitions.iter().map(known).collect(),
                _ => kernel,
            };
            let (sectors, erase_size, file_system) = (Sectors(sectors), erase.map(Bytes), file_system.map(Bytes));
            let (table, cut_short) = if cut { (Err(Defect::NoTable), table.ok()) } else { (table, None) };
            Disk {
                name,
                sectors,
                sector_size,
                read_only,
                erase_size,
                table,
                cut_short,
                begun,
                file_system,
                kernel,
                contents,
            }
        })
        .boxed()
}

fn counts() -> impl Strategy<Value = Counts> {
    (small(), small(), any::<bool>(), option::of(text())).prop_map(|(attempts, rebuilds, rebuilt, failure)| Counts {
        attempts,
        rebuilds,
        rebuilt,
        failure,
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    use Verdict::{Lower, Memory, NotConfigured, Off, Stop, Upper};
    select(vec![NotConfigured, Off, Upper, Memory, Lower, Stop])
}

fn any_observation() -> impl Strategy<Value = Observation> {
    let cmdline = (prop::bool::weighted(0.1), any::<(bool, bool)>(), option::weighted(0.1, text()))
        .prop_map(|(off, (rw, ro), overlayroot)| Cmdline { off, rw, ro, overlayroot });
    let root = prop_oneof![
        8 => Just(Root::Plain { fs_type: "ext4".to_owned(), writable: false }),
        1 => (text(), any::<bool>()).prop_map(|(fs_type, writable)| Root::Plain { fs_type, writable }),
        2 => (option::of(text()), any::<(bool, bool)>()).prop_map(|(upper, (lower_writable, upper_writable))| {
            Root::Overlay { upper, lower_writable, upper_writable }
        }),
        1 => Just(Root::OtherOverlay),
    ];
    let lower = prop_oneof![
        20 => (text(), small(), text(), any::<bool>())
            .prop_map(|(name, number, uuid, sealed)| Place::Partition { name, number, uuid, sealed }),
        1 => text().prop_map(|name| Place::WholeDisk { name }),
        1 => text().prop_map(|name| Place::Mapped { name }),
        1 => text().prop_map(|source| Place::NoDevice { source }),
    ];
    let configuration = prop_oneof![
        4 => Just(Configuration::Absent),
        4 => counts().prop_map(Configuration::Begun),
        4 => counts().prop_map(Configuration::Complete),
        1 => text().prop_map(|line| Configuration::Foreign { line }),
    ];
    let overlayroot =
        (option::weighted(0.7, text()), option::weighted(0.7, verdict()), option::of(text()), any::<(bool, bool)>())
            .prop_map(|(log, guard, reason, (installed, rebuildable))| Overlayroot {
                log,
                guard,
                reason,
                installed,
                rebuildable,
            });
    let disk = (option::weighted(0.95, any_disk()), prop::bool::weighted(0.9));
    (cmdline, root, lower, disk, configuration, overlayroot).prop_map(
        |(cmdline, root, mut lower, (disk, on_it), configuration, overlayroot)| {
            let table = disk.as_ref().and_then(|d| d.table.as_ref().ok());
            if let (Place::Partition { number, .. }, true, Some(first)) =
                (&mut lower, on_it, table.and_then(|t| t.partitions.first()))
            {
                *number = first.number;
            }
            Observation { cmdline, root, lower, disk, configuration, overlayroot, twins: vec!["sda".to_owned()] }
        },
    )
}

proptest! {
    #![proptest_config(cases(1500))]

    /// An observation can come from a file: nothing in it is trusted.
    #[test]
    fn no_observation_makes_the_planner_panic(seen in any_observation(), config in config(), convert in any::<bool>(), number in option::of(small())) {
        let config = Config { convert, repartition: RepartitionConfig { truncated: Truncated::Remake }, ..config };
        if let Ok(plan) = repartition(&seen, &config, number) {
            prop_assert!(!plan.to_string().is_empty());
        }
        let decided = plan(&seen, &config);
        prop_assert_eq!(&decided, &plan(&seen, &config));
        match &decided {
            Ok(plan) => {
                prop_assert!(!plan.to_string().is_empty());
                let restarts = plan.steps.iter().filter(|s| **s == Step::Reboot).count();
                let may = matches!(plan.purpose, Purpose::Convert | Purpose::Prepare { .. } | Purpose::Remake { .. });
                prop_assert_eq!(restarts, usize::from(may));
                prop_assert!(plan.purpose != Purpose::Nothing || plan.steps.is_empty());
            }
            Err(refusal) => prop_assert!(!refusal.to_string().is_empty()),
        }
        let json = serde_json::to_string(&seen).unwrap();
        prop_assert_eq!(serde_json::from_str::<Observation>(&json).unwrap(), seen);
    }
}
