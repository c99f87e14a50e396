//! What holds for the plan of any machine (`machine/invariants.rs` says what): here machines are random.

mod machine;

use burnonce::config::{Align, Config, PartitionConfig, RepartitionConfig, Size, Truncated};
use burnonce::filesystem::{Content, Owner};
use burnonce::guard::report::Verdict;
use burnonce::observation::{Cmdline, Disk, Held, KernelPartition, Lacks, Observation, Overlayroot, Place, Root};
use burnonce::overlay::{Configuration, Counts, Generator};
use burnonce::state::State;
use burnonce::table::{Defect, Partition, Scheme, Table};
use burnonce::units::{Bytes, Lba, MIB, Sectors};
use machine::invariants::{self, Boot};
use machine::{Drawn, ERASE_SIZES, at_work, disk_length, ext, foreign, known, unconverted};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// No file of failures: the message has the smallest machine that fails, which is a golden directory to be.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

// ---------------------------------------------------------------------------------------------------------------- machines

/// A disk with at least one partition, the first of them for root: most often the last on the disk, as images have it.
fn disk() -> impl Strategy<Value = (Disk, u32)> {
    let length = (26u32..43, any::<u32>()).prop_map(|(power, more)| disk_length(power, more));
    let shape = (length, select(vec![512u32, 4096]), any::<bool>());
    let partitions = (vec(any::<u64>(), 2..12), Just((1u32..=12).collect::<Vec<_>>()).prop_shuffle());
    let root = option::weighted(0.3, any::<usize>());
    let beside = (vec(select(foreign()), 12), prop::bool::weighted(0.3), prop::bool::weighted(0.2));
    let erase = option::of(select(ERASE_SIZES.to_vec()));
    (shape, partitions, root, beside, erase).prop_filter_map(
        "a partition for root",
        |((length, sector_size, gpt), (cuts, slots), root, (foreign, placeholder, left), erase_size)| {
            Drawn { length, sector_size, gpt, cuts, slots, root, foreign, placeholder, left, erase_size }.disk()
        },
    )
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
    (disk(), any::<bool>(), prop::bool::weighted(0.1), config())
        .prop_map(|(disk, rw, sealed, config)| (unconverted(disk, rw, sealed), config))
}

/// A node at work on its upper, on a card that may be larger than the one it was made for.
fn working() -> impl Strategy<Value = (Observation, Config)> {
    (machine(), any::<usize>(), prop::bool::weighted(0.2))
        .prop_filter_map("an upper", |((seen, config), index, shorter)| Some((at_work(seen, index, shorter)?, config)))
}

fn boots() -> impl Strategy<Value = Vec<Boot>> {
    let weighted = prop::bool::weighted;
    let boot = (any::<usize>(), weighted(0.8), weighted(0.3), weighted(0.7), weighted(0.8))
        .prop_map(|(stop, cut, sound, overlayroot, guard)| Boot { stop, cut, sound, overlayroot, guard });
    vec(boot, 24)
}

// --------------------------------------------------------------------------------------------------------------- properties

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn the_new_partition_is_where_it_belongs((seen, config) in machine()) {
        invariants::the_new_partition_is_where_it_belongs(&seen, &config);
    }

    #[test]
    fn in_the_sector_of_an_mbr_only_the_slots_bytes_change((seen, config) in machine()) {
        invariants::in_the_sector_of_an_mbr_only_the_slots_bytes_change(&seen, &config);
    }

    #[test]
    fn the_steps_are_in_an_order_that_makes_a_power_cut_harmless(
        (seen, config) in machine(),
        lacks in select(vec![None, Some(Lacks::Overlayroot), Some(Lacks::Guard), Some(Lacks::Packages)]),
    ) {
        invariants::the_steps_are_in_an_order_that_makes_a_power_cut_harmless(seen, &config, lacks);
    }

    #[test]
    fn a_converted_machine_has_an_empty_plan((seen, config) in machine()) {
        invariants::a_converted_machine_has_an_empty_plan(&seen, &config);
    }

    #[test]
    fn a_published_upper_is_taken((seen, config) in machine()) {
        invariants::a_published_upper_is_taken(&seen, &config);
    }

    #[test]
    fn a_conversion_that_is_cut_off_ends_as_one_that_is_not((seen, config) in machine(), second in any::<Index>()) {
        invariants::a_conversion_that_is_cut_off_ends_as_one_that_is_not(&seen, &config, |n| second.index(n));
    }

    #[test]
    fn an_upper_grows_over_nothing((seen, config) in working(), first in any::<Index>()) {
        invariants::an_upper_grows_over_nothing(&seen, &config, |n| first.index(n));
    }

    #[test]
    fn an_upper_that_is_gone_is_made_again((seen, config) in machine(), cut in any::<Index>()) {
        invariants::an_upper_that_is_gone_is_made_again(&seen, &config, |n| cut.index(n));
    }

    #[test]
    fn a_repartition_takes_nothing_but_what_it_names(
        (seen, config) in machine(),
        named in option::of(1u32..13),
        converted in any::<bool>(),
    ) {
        invariants::a_repartition_takes_nothing_but_what_it_names(&seen, &config, named, converted);
    }

    #[test]
    fn an_attempt_that_stops_is_finished_without_a_restart((seen, config) in machine()) {
        invariants::an_attempt_that_stops_is_finished_without_a_restart(&seen, &config);
    }

    #[test]
    fn there_is_no_restart_loop((seen, config) in machine(), furthest in 0usize..13, boots in boots()) {
        invariants::there_is_no_restart_loop(&seen, &config, furthest, &boots);
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
    let more = (prop::bool::weighted(0.05), prop::bool::weighted(0.2), select(vec![0u32, 0, 1, 3, u32::MAX]));
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
    let words = (option::weighted(0.1, text()), option::weighted(0.1, text()));
    let cmdline = (prop::bool::weighted(0.1), any::<(bool, bool)>(), words)
        .prop_map(|(off, (rw, ro), (overlayroot, rd_overlay))| Cmdline { off, rw, ro, overlayroot, rd_overlay });
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
    let generator = select(vec![Generator::InitramfsTools, Generator::Dracut, Generator::None]);
    let words = (option::weighted(0.7, text()), option::of(text()));
    let overlayroot = (generator, words, option::weighted(0.7, verdict()), any::<(bool, bool)>()).prop_map(
        |(generator, (log, reason), guard, (installed, rebuildable))| Overlayroot {
            generator,
            log,
            guard,
            reason,
            installed,
            rebuildable,
        },
    );
    let disk = (option::weighted(0.95, any_disk()), prop::bool::weighted(0.9));
    let packages = vec(text(), 0..2);
    let usr = option::weighted(0.1, text());
    (cmdline, root, lower, disk, usr, configuration, overlayroot, packages).prop_map(
        |(cmdline, root, mut lower, (disk, on_it), usr, configuration, overlayroot, packages)| {
            let table = disk.as_ref().and_then(|d| d.table.as_ref().ok());
            if let (Place::Partition { number, .. }, true, Some(first)) =
                (&mut lower, on_it, table.and_then(|t| t.partitions.first()))
            {
                *number = first.number;
            }
            let twins = vec!["sda".to_owned()];
            Observation { cmdline, root, lower, disk, usr, configuration, overlayroot, twins, packages }
        },
    )
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn no_observation_makes_the_planner_panic(
        seen in any_observation(),
        config in config(),
        convert in any::<bool>(),
        number in option::of(small()),
    ) {
        let config = Config { convert, repartition: RepartitionConfig { truncated: Truncated::Remake }, ..config };
        invariants::any_observation_is_decided(&seen, &config, number);
    }
}
