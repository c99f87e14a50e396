//! Carries plans out in memory, step by step.

use super::{ext, known};
use burnonce::config::Config;
use burnonce::filesystem::{Content, Owner, Superblock};
use burnonce::guard::report::Verdict;
use burnonce::observation::{Disk, Held, KernelPartition, Observation, Place, Root};
use burnonce::overlay::{Configuration, Counts};
use burnonce::plan::plan;
use burnonce::state::{self, State};
use burnonce::step::{Plan, Purpose, Step};
use burnonce::table::{self, Change, NewPartition, Table};

/// A machine on which steps are carried out in memory. Its `seen` is always what would be observed.
#[derive(Debug, Clone)]
pub struct Simulated {
    pub seen: Observation,
    /// The file system that was made on a partition which only the kernel knows.
    pub unpublished: Option<(NewPartition, Content)>,
}

impl Simulated {
    pub fn new(seen: &Observation) -> Simulated {
        Simulated { seen: seen.clone(), unpublished: None }
    }

    pub fn disk(&mut self) -> &mut Disk {
        self.seen.disk.as_mut().unwrap()
    }

    pub fn table(&self) -> &Table {
        self.seen.disk.as_ref().unwrap().table.as_ref().unwrap()
    }

    fn counts(&self) -> Counts {
        match &self.seen.configuration {
            Configuration::Begun(counts) | Configuration::Complete(counts) => counts.clone(),
            Configuration::Absent | Configuration::Foreign { .. } => Counts::default(),
        }
    }

    /// Everything but the restart. A step that asks for what is not possible panics.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::RecordAttempt { attempt } => {
                assert!(!self.sealed(), "a sealed lower takes no file");
                self.seen.configuration = Configuration::Begun(Counts { attempts: *attempt, ..self.counts() });
            }
            Step::InstallPackages { packages, .. } => {
                self.begin(step);
                assert_eq!(*packages, self.seen.packages);
                self.seen.packages.clear();
                (self.seen.overlayroot.installed, self.seen.overlayroot.rebuildable) = (true, true);
            }
            Step::RebuildInitramfs { .. } => {
                assert!(
                    self.seen.overlayroot.installed
                        && self.seen.overlayroot.rebuildable
                        && self.seen.packages.is_empty()
                );
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
        if let Step::RebuildInitramfs { rebuild: begun, .. } | Step::InstallPackages { attempt: begun, .. } = step {
            assert!(!self.sealed(), "a sealed lower takes no file");
            let counts = Counts { rebuilds: *begun, rebuilt: false, ..self.counts() };
            self.seen.configuration = Configuration::Begun(counts);
        }
    }

    fn change(&mut self, before: &Table, change: &Change) {
        assert_eq!(self.table(), before, "the table is not the one that was planned for");
        self.disk().table = Ok(table::change(before, change).unwrap());
    }

    fn forget(&mut self, number: u32) {
        self.disk().kernel.retain(|k| k.number != number);
    }

    pub fn sealed(&self) -> bool {
        matches!(self.seen.lower, Place::Partition { sealed: true, .. })
    }

    pub fn set_sealed(&mut self, to: bool) {
        if let Place::Partition { sealed, .. } = &mut self.seen.lower {
            *sealed = to;
        }
    }

    /// The finished upper in the table, as the initramfs finds it: by its label, on root's disk.
    pub fn upper(&self) -> Option<String> {
        let disk = self.seen.disk.as_ref().unwrap();
        let ours = |held: &&Held| match &held.content {
            Content::Ext(superblock) => superblock.label == "burnonce",
            _ => false,
        };
        disk.contents.iter().find(ours).map(|held| disk.partition_name(held.number))
    }

    /// The machine comes up again: the kernel reads the table, the initramfs the configuration. Without `sound` overlayroot fails.
    pub fn restart(&mut self, sound: bool) {
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
pub fn boot(machine: &mut Simulated, plan: &Plan, steps: usize) {
    plan.steps.iter().take(steps).for_each(|step| machine.apply(step));
    if let Some(step) = plan.steps.get(steps) {
        machine.begin(step);
    }
    machine.restart(true);
}

/// What must be the same however often the power was cut: all but the number of attempts.
pub fn outcome(machine: &Simulated) -> (Table, Vec<Held>, bool, Root) {
    let mut contents = machine.seen.disk.as_ref().unwrap().contents.clone();
    for held in &mut contents {
        if let Content::Ext(Superblock { owner: Owner::Ours { state, .. }, .. }) = &mut held.content {
            *state = State { attempts: 0, ..state::parse(state).unwrap() }.to_json().unwrap();
        }
    }
    contents.sort_by_key(|h| h.number);
    (machine.table().clone(), contents, machine.sealed(), machine.seen.root.clone())
}

/// Plans and carries out until there is nothing to do.
pub fn converge(machine: &mut Simulated, config: &Config) {
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
