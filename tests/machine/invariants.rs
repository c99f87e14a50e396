//! What holds for the plan of any machine that can be: nothing of others is touched, the steps have an order that makes a power cut
//! harmless, and there is no restart loop. Each function panics where it does not hold. A machine that is refused holds to everything.

use super::known;
use super::simulated::{Simulated, boot, converge, outcome};
use burnonce::config::{Align, Config, Size};
use burnonce::filesystem::{Content, Superblock};
use burnonce::guard::report::Verdict;
use burnonce::observation::{Disk, Lacks, Observation, Place, Root};
use burnonce::overlay::{Configuration, Counts};
use burnonce::plan::{MAX_ATTEMPTS, plan, repartition};
use burnonce::preview;
use burnonce::step::{Plan, Purpose, Step};
use burnonce::table::{self, Change, Partition, Scheme, Table, mbr};
use burnonce::units::{Bytes, MIB};

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

/// Everything that is asked of the new partition, and of all that was there before.
pub fn the_new_partition_is_where_it_belongs(seen: &Observation, config: &Config) {
    let Ok(plan) = plan(seen, config) else { return };
    let disk = seen.disk.as_ref().unwrap();
    let before = disk.table.as_ref().unwrap();
    let after = plan.table_after(before).unwrap();
    let removed = plan.steps.iter().find_map(|step| match step {
        Step::RemovePartition { number, .. } => Some(*number),
        _ => None,
    });
    let kept: Vec<&Partition> = before.partitions.iter().filter(|p| Some(p.number) != removed).collect();
    let (number, start, sectors) = plan.new_partition().unwrap();
    assert_eq!(after.partitions.iter().filter(|p| p.number != number).collect::<Vec<_>>(), kept);
    let new = after.partitions.iter().find(|p| p.number == number).unwrap();
    assert_eq!((new.start, new.sectors), (start, sectors));
    assert!((1..number).all(|n| after.partitions.iter().any(|p| p.number == n)), "a lower slot is free");
    assert!(new.start >= after.first_usable && new.last() <= after.last_usable && new.last().0 < disk.sectors.0);
    for other in after.partitions.iter().filter(|p| p.number != number) {
        assert!(other.last() < new.start || new.last() < other.start, "it lies on partition {}", other.number);
    }
    let mut free = before.clone();
    free.partitions.retain(|p| Some(p.number) != removed);
    let regions = aligned_regions(&free, alignment(disk, config));
    let largest = regions.iter().map(|r| r.1).max().unwrap();
    assert!(regions.contains(&(start.0, largest)), "{start} is no aligned start of the largest free region");
    let size = u64::from(disk.sector_size);
    let wanted = match config.partition.size {
        Size::Rest => u64::MAX,
        Size::Bytes(bytes) => bytes.0,
        Size::Percent(percent) => u64::try_from(u128::from(largest * size) * u128::from(percent) / 100).unwrap(),
    };
    let wanted = wanted.max(config.partition.min.0).min(largest * size);
    let short = wanted - sectors.to_bytes(disk.sector_size).0;
    assert!(short < 2 * MIB && (short == 0 || config.partition.size != Size::Rest), "{sectors} of {wanted} bytes");
    assert!(sectors.to_bytes(disk.sector_size) >= config.partition.min);
    // The picture and the words can be made.
    let text = preview::to_text(seen, &Ok(plan)).unwrap();
    assert!(text.contains("after: "), "{}", text);
}

/// In the sector itself nothing changes but the 16 bytes of the new entry (and those of the placeholder).
pub fn in_the_sector_of_an_mbr_only_the_slots_bytes_change(seen: &Observation, config: &Config) {
    let table = seen.disk.as_ref().unwrap().table.as_ref().unwrap();
    let Scheme::Mbr { signature } = table.scheme else { return };
    let Ok(plan) = plan(seen, config) else { return };
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
        assert!(touched || sector[i] == before[i], "byte {i}");
    }
    let read = mbr::parse(&sector, table.sector_size, disk_sectors).unwrap();
    assert_eq!(read, plan.table_after(table).unwrap());
}

/// `lacks`: what the initramfs that booted does not have.
pub fn the_steps_are_in_an_order_that_makes_a_power_cut_harmless(
    mut seen: Observation,
    config: &Config,
    lacks: Option<Lacks>,
) {
    match lacks {
        Some(Lacks::Overlayroot) => seen.overlayroot.log = None,
        Some(Lacks::Guard) => seen.overlayroot.guard = None,
        Some(Lacks::Packages) => wait(&mut seen),
        None => {}
    }
    let Ok(plan) = plan(&seen, config) else { return };
    let at = |wanted: fn(&Step) -> bool| plan.steps.iter().position(wanted);
    let count = |wanted: fn(&Step) -> bool| plan.steps.iter().filter(|step| wanted(step)).count();
    assert_eq!(count(|s| matches!(s, Step::Reboot)), 1);
    assert_eq!(plan.steps.last(), Some(&Step::Reboot));
    assert_eq!(plan.purpose == Purpose::Convert, lacks.is_none());
    // First of all the attempt is counted; only a sealed lower, which takes no count, is unsealed before.
    let sealed = matches!(seen.lower, Place::Partition { sealed: true, .. });
    assert_eq!(at(|s| matches!(s, Step::Unseal { .. })), sealed.then_some(0));
    if let Some(lacks) = lacks {
        assert_eq!(&plan.purpose, &Purpose::Prepare { lacks });
        let install = Step::InstallPackages { packages: seen.packages.clone(), attempt: 1 };
        let install = (lacks == Lacks::Packages).then_some(install);
        let steps: Vec<Step> =
            install.into_iter().chain([Step::RebuildInitramfs { lacks, rebuild: 1 }, Step::Reboot]).collect();
        assert_eq!(plan.steps[usize::from(sealed)..], steps);
        return;
    }
    let record = at(|s| matches!(s, Step::RecordAttempt { .. })).unwrap();
    assert_eq!(record, usize::from(sealed));
    let order = [
        at(|s| matches!(s, Step::AddKernelPartition { .. })).unwrap(),
        at(|s| matches!(s, Step::MakeFilesystem { .. })).unwrap(),
        at(|s| matches!(s, Step::PublishTable { .. })).unwrap(),
        at(|s| matches!(s, Step::KeepBootFiles { .. })).unwrap(),
        at(|s| matches!(s, Step::WriteConfiguration { .. })).unwrap(),
        at(|s| matches!(s, Step::Seal { .. })).unwrap(),
        at(|s| matches!(s, Step::KeepLog { .. })).unwrap(),
    ];
    assert!(order.is_sorted() && record < order[0], "{:?}", plan.steps);
    // The kernel's and the table's old entries are out of the way before the new one comes.
    for old in
        [at(|s| matches!(s, Step::RemovePartition { .. })), at(|s| matches!(s, Step::ForgetKernelPartition { .. }))]
    {
        assert!(old.is_none_or(|old| record < old && old < order[0]), "{:?}", plan.steps);
    }
    for once in [
        count(|s| matches!(s, Step::RecordAttempt { .. })),
        count(|s| matches!(s, Step::PublishTable { .. })),
        count(|s| matches!(s, Step::WriteConfiguration { .. })),
        count(|s| matches!(s, Step::Seal { .. })),
    ] {
        assert_eq!(once, 1);
    }
}

/// The restart after a whole conversion finds nothing to do, and so does every one after that.
pub fn a_converted_machine_has_an_empty_plan(seen: &Observation, config: &Config) {
    let Ok(first) = plan(seen, config) else { return };
    let mut machine = Simulated::new(seen);
    boot(&mut machine, &first, first.steps.len());
    let again = plan(&machine.seen, config).unwrap();
    assert_eq!(again, Plan { purpose: Purpose::Nothing, steps: vec![], notes: vec![] });
    // Not even a configuration that would convert differently changes that.
    let other = Config { convert: false, ..Config::default() };
    assert_eq!(plan(&machine.seen, &other).unwrap().steps, vec![]);
}

/// A power cut between the table and the configuration: the upper that is there is taken.
pub fn a_published_upper_is_taken(seen: &Observation, config: &Config) {
    let Ok(first) = plan(seen, config) else { return };
    let published = first.steps.iter().position(|s| matches!(s, Step::PublishTable { .. })).unwrap() + 1;
    let mut machine = Simulated::new(seen);
    boot(&mut machine, &first, published);
    let table = machine.table().clone();
    let second = plan(&machine.seen, config).unwrap();
    assert_eq!(second.new_partition(), None);
    assert_eq!(second.table_after(&table).unwrap(), table);
    let Place::Partition { name, .. } = &seen.lower else { unreachable!() };
    assert_eq!(
        &second.steps,
        &vec![
            Step::RecordAttempt { attempt: 2 },
            Step::KeepBootFiles { device: machine.upper().unwrap() },
            Step::WriteConfiguration { attempt: 2 },
            Step::Seal { device: name.clone() },
            Step::KeepLog { device: machine.upper().unwrap() },
            Step::Reboot,
        ]
    );
}

/// Two power cuts, each after any number of steps, lead to the same card as none. `second` chooses one of so many numbers.
pub fn a_conversion_that_is_cut_off_ends_as_one_that_is_not(
    seen: &Observation,
    config: &Config,
    second: impl Fn(usize) -> usize,
) {
    let Ok(whole) = plan(seen, config) else { return };
    let mut uninterrupted = Simulated::new(seen);
    converge(&mut uninterrupted, config);
    for cut in 0..=whole.steps.len() {
        let mut machine = Simulated::new(seen);
        boot(&mut machine, &whole, cut);
        let resumed = plan(&machine.seen, config).unwrap();
        boot(&mut machine, &resumed, second(resumed.steps.len() + 1));
        converge(&mut machine, config);
        assert_eq!(outcome(&machine), outcome(&uninterrupted), "cut after {} steps", cut);
    }
}

/// An upper grows into free space and nowhere else, and a power cut anywhere (`first` chooses) leads to the same card.
pub fn an_upper_grows_over_nothing(seen: &Observation, config: &Config, first: impl Fn(usize) -> usize) {
    let whole = plan(seen, config).unwrap();
    let disk = seen.disk.as_ref().unwrap();
    let before = disk.table.as_ref().unwrap();
    let Root::Overlay { upper: Some(upper), .. } = &seen.root else { unreachable!() };
    let after = whole.table_after(before).unwrap();
    assert_eq!(after.partitions.len(), before.partitions.len());
    for (old, new) in before.partitions.iter().zip(&after.partitions) {
        let is_upper = disk.partition_name(old.number) == *upper;
        assert!(old == new || is_upper && old.start == new.start && old.sectors < new.sectors, "{old:?} {new:?}");
        assert!(old == new || new.last() <= after.last_usable);
        let apart =
            |other: &Partition| other.number == new.number || other.last() < new.start || new.last() < other.start;
        assert!(after.partitions.iter().all(apart), "{new:?} lies on another one");
    }
    let grown = |steps: usize| {
        let mut machine = Simulated::new(seen);
        whole.steps.iter().take(steps).for_each(|step| machine.apply(step));
        // A restart, of which the kernel learns from the table.
        machine.disk().kernel = machine.table().partitions.iter().map(known).collect();
        for step in plan(&machine.seen, config).unwrap().steps {
            machine.apply(&step);
        }
        assert_eq!(plan(&machine.seen, config).unwrap().steps, []);
        machine.seen
    };
    assert_eq!(grown(first(whole.steps.len() + 1)), grown(whole.steps.len()));
}

/// Whether burnonce made what a partition of `disk` holds.
fn is_ours(disk: &Disk, number: u32) -> bool {
    let ours = |content: &Content| matches!(content, Content::Ext(Superblock { label, .. }) if label == "burnonce");
    disk.contents.iter().any(|held| held.number == number && ours(&held.content))
}

/// The upper of a converted node is gone, entry and all: a new one is made, in the boots that it takes, and nothing else changes. A power
/// cut anywhere (`cut` chooses) leads to the same card. Whoever counts three beginnings without an end begins no fourth.
pub fn an_upper_that_is_gone_is_made_again(seen: &Observation, config: &Config, cut: impl Fn(usize) -> usize) {
    if plan(seen, config).is_err() {
        return;
    }
    let mut machine = Simulated::new(seen);
    converge(&mut machine, config);
    let whole = outcome(&machine);
    let table = machine.table().clone();
    let disk = machine.disk().clone();
    let number = table.partitions.iter().map(|p| p.number).find(|&number| is_ours(&disk, number)).unwrap();
    let lose = |machine: &mut Simulated| {
        machine.disk().table = Ok(table::change(&table, &Change::Remove { number }).unwrap());
        machine.disk().contents.retain(|held| held.number != number);
        machine.restart(true);
    };
    lose(&mut machine);
    let again = plan(&machine.seen, config).unwrap();
    assert!(matches!(again.purpose, Purpose::Remake { .. }), "{again:?}");
    let takes =
        |s: &&Step| matches!(s, Step::RemovePartition { .. } | Step::WriteConfiguration { .. } | Step::Unseal { .. });
    assert_eq!(again.steps.iter().find(takes), None);
    boot(&mut machine, &again, cut(again.steps.len() + 1));
    converge(&mut machine, config);
    assert_eq!(outcome(&machine), whole);
    lose(&mut machine);
    machine.disk().begun = MAX_ATTEMPTS;
    assert_eq!(plan(&machine.seen, config).unwrap().steps, []);
}

/// `burnonce repartition` takes away what the owner has named, or what is burnonce's, and changes no other entry.
pub fn a_repartition_takes_nothing_but_what_it_names(
    seen: &Observation,
    config: &Config,
    named: Option<u32>,
    converted: bool,
) {
    let mut machine = Simulated::new(seen);
    if converted {
        machine.seen.configuration = Configuration::Complete(Counts::default());
        machine.set_sealed(true);
        machine.seen.root = Root::Overlay { upper: None, lower_writable: false, upper_writable: true };
        machine.seen.overlayroot.guard = Some(Verdict::Memory);
    }
    let before = machine.table().clone();
    let Ok(plan) = repartition(&machine.seen, config, named) else { return };
    let disk = machine.disk().clone();
    let removed: Vec<u32> = plan
        .steps
        .iter()
        .filter_map(|step| if let Step::RemovePartition { number, .. } = step { Some(*number) } else { None })
        .collect();
    let by_name = matches!(plan.purpose, Purpose::Remake { .. } | Purpose::MakeWay { .. });
    match named.filter(|_| by_name) {
        Some(number) => assert_eq!(removed, [number]),
        None => assert!(removed.iter().all(|&number| is_ours(&disk, number)), "{plan:?}"),
    }
    let Place::Partition { number: root, .. } = &seen.lower else { unreachable!() };
    assert!(!removed.contains(root));
    let after = plan.table_after(&before).unwrap();
    for old in before.partitions.iter().filter(|p| !removed.contains(&p.number)) {
        assert!(after.partitions.contains(old), "{old:?} is gone");
    }
    for new in after.partitions.iter().filter(|p| !before.partitions.contains(p)) {
        let apart =
            |other: &Partition| other.number == new.number || other.last() < new.start || new.last() < other.start;
        assert!(after.partitions.iter().all(apart), "{new:?} lies on another one");
    }
    plan.steps.iter().for_each(|step| machine.apply(step));
}

/// An attempt that ends without a restart (the agent was killed) is finished in the same boot, on the kernel's leftovers.
pub fn an_attempt_that_stops_is_finished_without_a_restart(seen: &Observation, config: &Config) {
    let Ok(whole) = plan(seen, config) else { return };
    let mut uninterrupted = Simulated::new(seen);
    converge(&mut uninterrupted, config);
    let configured = whole.steps.iter().position(|s| matches!(s, Step::WriteConfiguration { .. })).unwrap();
    for stop in 0..=configured {
        let mut machine = Simulated::new(seen);
        whole.steps.iter().take(stop).for_each(|step| machine.apply(step));
        machine.unpublished = None;
        converge(&mut machine, config);
        assert_eq!(outcome(&machine), outcome(&uninterrupted), "stopped after {} steps", stop);
    }
}

/// Whatever is cut off (by the power, or by a panic and a watchdog that restart the node), and whether or not the initramfs and the
/// overlay work: the agent begins a few times and then never again. Once the overlay is configured it restarts nothing.
/// No boot gets further than `furthest` steps where it is cut off.
pub fn there_is_no_restart_loop(seen: &Observation, config: &Config, furthest: usize, boots: &[Boot]) {
    restarts_end(seen, config, furthest, boots);
    let mut baked = seen.clone();
    wait(&mut baked);
    restarts_end(&baked, config, furthest, boots);
}

/// Packages wait that the node needs.
fn wait(seen: &mut Observation) {
    seen.packages = vec!["burnonce_0.2.0_arm64.deb".to_owned(), "overlayroot_0.47_all.deb".to_owned()];
    (seen.overlayroot.installed, seen.overlayroot.rebuildable) = (false, false);
    (seen.overlayroot.log, seen.overlayroot.guard) = (None, None);
}

fn restarts_end(seen: &Observation, config: &Config, furthest: usize, boots: &[Boot]) {
    let mut machine = Simulated::new(seen);
    let mut begun = 0;
    for &Boot { stop, cut, sound, overlayroot, guard } in boots {
        machine.seen.overlayroot.log = overlayroot.then(String::new);
        machine.seen.overlayroot.guard = guard.then_some(Verdict::NotConfigured);
        let Ok(plan) = plan(&machine.seen, config) else { continue };
        let restarts = plan.steps.contains(&Step::Reboot);
        assert_eq!(restarts, matches!(plan.purpose, Purpose::Convert | Purpose::Prepare { .. }));
        assert!(!restarts || !matches!(machine.seen.configuration, Configuration::Complete(_)));
        let steps = if cut { (stop % (plan.steps.len() + 1)).min(furthest) } else { plan.steps.len() };
        begun += u32::from(restarts && steps > 0);
        boot(&mut machine, &plan, steps);
        if !sound {
            machine.restart(false);
        }
    }
    // A sealed lower is unsealed before the first attempt is counted.
    let sealed = matches!(seen.lower, Place::Partition { sealed: true, .. });
    assert!(begun <= 2 * MAX_ATTEMPTS + u32::from(sealed), "begun {begun} times");
}

/// What happens in one of the boots of [`there_is_no_restart_loop`].
#[derive(Debug, Clone)]
pub struct Boot {
    /// After how many steps it ends (modulo the number there can be), where it is `cut`.
    pub stop: usize,
    pub cut: bool,
    /// overlayroot does what is configured.
    pub sound: bool,
    /// The initramfs that boots has overlayroot, and the guard.
    pub overlayroot: bool,
    pub guard: bool,
}

/// Nothing in an observation is trusted: it can come from a file of a stranger. What is decided holds to the least of all rules, can be
/// told in words, and where the table is one that a disk can have, be drawn.
pub fn any_observation_is_decided(seen: &Observation, config: &Config, number: Option<u32>) {
    if let Ok(plan) = repartition(seen, config, number) {
        assert!(!plan.to_string().is_empty());
    }
    let decided = plan(seen, config);
    assert_eq!(decided, plan(seen, config));
    match &decided {
        Ok(plan) => {
            assert!(!plan.to_string().is_empty());
            let restarts = plan.steps.iter().filter(|s| **s == Step::Reboot).count();
            let may = matches!(plan.purpose, Purpose::Convert | Purpose::Prepare { .. } | Purpose::Remake { .. });
            assert_eq!(restarts, usize::from(may));
            assert!(plan.purpose != Purpose::Nothing || plan.steps.is_empty());
        }
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
    let text = preview::to_text(seen, &decided);
    // A plan for a disk that is none need not be one that the table can follow: then that is what is said.
    let is_one = |disk: &Disk| {
        let fits = disk.sectors.0.checked_mul(u64::from(disk.sector_size)).is_some();
        let of = |t: &Table| possible(t) && t.sector_size == disk.sector_size && t.last_usable.0 < disk.sectors.0;
        fits && disk.table.as_ref().is_ok_and(of)
    };
    assert!(text.is_ok() || seen.disk.as_ref().is_some_and(|disk| !is_one(disk)), "{text:?}");
    let json = serde_json::to_string(seen).unwrap();
    assert_eq!(serde_json::from_str::<Observation>(&json).unwrap(), *seen);
}

/// Whether a table is one that [`burnonce::table::read`] can give, as far as its numbers go.
pub fn possible(table: &Table) -> bool {
    let mut numbers = (0, true);
    for partition in &table.partitions {
        numbers = (partition.number, numbers.1 && numbers.0 < partition.number && partition.number <= table.slots);
    }
    let inside =
        |p: &Partition| p.sectors.0 > 0 && p.start.0 > 0 && p.start <= p.last() && p.last() <= table.last_usable;
    let apart = |p: &Partition, q: &Partition| p.number == q.number || p.last() < q.start || q.last() < p.start;
    let all_apart = |p: &Partition| table.partitions.iter().all(|q| apart(p, q));
    let sizes = matches!(table.sector_size, 512 | 1024 | 2048 | 4096) && table.first_usable.0 > 0;
    sizes && numbers.1 && table.partitions.iter().all(|p| inside(p) && all_apart(p))
}
