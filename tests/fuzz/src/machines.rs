//! Machines made of a fuzzer's bytes: such as can be, and any.

use crate::machine::{self, Drawn, ERASE_SIZES, LOWER_UUID, disk_length, ext, foreign, known};
use arbitrary::{Result, Unstructured};
use burnonce::config::{Align, Config, PartitionConfig, RepartitionConfig, Size, Truncated};
use burnonce::filesystem::{Content, Owner};
use burnonce::guard::report::Verdict;
use burnonce::observation::{Cmdline, Disk, Held, KernelPartition, Observation, Overlayroot, Place, Root};
use burnonce::overlay::{Configuration, Counts, Generator};
use burnonce::state::State;
use burnonce::table::{Defect, Partition, Scheme, Table};
use burnonce::units::{Bytes, Lba, MIB, Sectors};

type From<'a, 'b> = &'a mut Unstructured<'b>;

/// A node that is not converted, and has all that a conversion needs; `None` where the bytes make no partition.
///
/// # Errors
/// The bytes are used up.
pub fn unconverted(from: From) -> Result<Option<(Observation, Config)>> {
    let mut config = config(from)?;
    let (rw, sealed) = (from.arbitrary()?, from.ratio(1, 8)?);
    let drawn = drawn(from)?;
    config.partition.size = size(from)?;
    Ok(drawn.disk().map(|disk| (machine::unconverted(disk, rw, sealed), config)))
}

fn drawn(from: From) -> Result<Drawn> {
    let foreign = foreign();
    let drawn = Drawn {
        length: disk_length(from.int_in_range(26..=42)?, from.arbitrary()?),
        sector_size: *from.choose(&[512, 4096])?,
        gpt: from.arbitrary()?,
        placeholder: from.ratio(1, 4)?,
        left: from.ratio(1, 4)?,
        erase_size: some(from, |from| from.choose(&ERASE_SIZES).copied())?,
        root: if from.ratio(1, 4)? { Some(usize::from(from.arbitrary::<u8>()?)) } else { None },
        slots: slots(from)?,
        cuts: several(from, 2, 12, place)?,
        foreign: several(from, 0, 12, |from| from.choose(&foreign).cloned())?,
    };
    Ok(drawn)
}

/// 1 to 12 in any order.
fn slots(from: From) -> Result<Vec<u32>> {
    let mut slots: Vec<u32> = (1..=12).collect();
    for i in 0..3 {
        let other = from.int_in_range(i..=11)?;
        slots.swap(i, other);
    }
    Ok(slots)
}

/// Where a partition begins or ends: anywhere, or where images have it, near the start.
fn place(from: From) -> Result<u64> {
    let place: u64 = from.arbitrary()?;
    Ok(if from.arbitrary()? { place } else { place >> 8 })
}

fn config(from: From) -> Result<Config> {
    let min = *from.choose(&[Bytes(64 * MIB), Bytes(512 * MIB), Bytes(3 << 30)])?;
    let align = *from.choose(&[Align::Auto, Align::To(Bytes(MIB)), Align::To(Bytes(64 * MIB))])?;
    Ok(Config { partition: PartitionConfig { min, size: Size::Rest, align }, ..Config::default() })
}

fn size(from: From) -> Result<Size> {
    Ok(match from.int_in_range(0..=3)? {
        0 | 1 => Size::Rest,
        2 => Size::Bytes(Bytes((64 * MIB) << from.int_in_range(0..=12)?)),
        _ => Size::Percent(from.int_in_range(1..=100)?),
    })
}

fn some<T>(from: From, make: impl FnOnce(From) -> Result<T>) -> Result<Option<T>> {
    if from.arbitrary()? { make(from).map(Some) } else { Ok(None) }
}

fn several<T>(from: From, least: usize, most: usize, make: impl Fn(From) -> Result<T>) -> Result<Vec<T>> {
    let count = from.int_in_range(least..=most)?;
    (0..count).map(|_| make(from)).collect()
}

/// Any observation, and a configuration.
///
/// # Errors
/// The bytes are used up.
pub fn anything(from: From) -> Result<(Observation, Config)> {
    let mut config = Config { convert: !from.ratio(1, 8)?, ..config(from)? };
    let cmdline = Cmdline {
        off: from.ratio(1, 8)?,
        rw: from.arbitrary()?,
        ro: from.arbitrary()?,
        overlayroot: if from.ratio(1, 8)? { Some(text(from)?) } else { None },
        rd_overlay: None,
    };
    let disk = if from.ratio(7, 8)? { Some(disk(from)?) } else { None };
    let first = disk.as_ref().and_then(|d| d.table.as_ref().ok()?.partitions.first()).map(|p| p.number);
    let lower = lower(from, first)?;
    let mut observation = Observation {
        cmdline,
        root: root(from)?,
        lower,
        disk,
        usr: None,
        configuration: configuration(from)?,
        overlayroot: Overlayroot {
            generator: Generator::InitramfsTools,
            log: some(from, text)?,
            guard: some(from, verdict)?,
            reason: some(from, text)?,
            installed: from.arbitrary()?,
            rebuildable: from.arbitrary()?,
        },
        twins: Vec::new(),
        packages: Vec::new(),
    };
    config.partition.size = size(from)?;
    if from.arbitrary()? {
        config.repartition = RepartitionConfig { truncated: Truncated::Remake };
    }
    observation.twins = several(from, 0, 2, text)?;
    observation.packages = several(from, 0, 2, text)?;
    if let Some(disk) = &mut observation.disk {
        disk.begun = small(from)?;
        // A copy that was cut short: the table is that of a longer disk.
        if from.ratio(1, 4)? {
            disk.cut_short = std::mem::replace(&mut disk.table, Err(Defect::Hybrid)).ok();
        }
    }
    // What came later is read last, so that the files of the corpus mean what they meant.
    observation.overlayroot.generator =
        *from.choose(&[Generator::InitramfsTools, Generator::Dracut, Generator::None])?;
    observation.cmdline.rd_overlay = if from.ratio(1, 8)? { Some(text(from)?) } else { None };
    observation.usr = if from.ratio(1, 8)? { Some(text(from)?) } else { None };
    Ok((observation, config))
}

fn text(from: From) -> Result<String> {
    let common = ["burnonce", "mmcblk0", "mmcblk0p3", "sda", "/dev/sda2", "[failure]: x", "ext4", LOWER_UUID];
    if from.ratio(7, 8)? { from.choose(&common).map(|s| (*s).to_owned()) } else { from.arbitrary() }
}

fn number(from: From) -> Result<u64> {
    Ok(match from.int_in_range(0..=5)? {
        0 => u64::from(from.arbitrary::<u8>()?),
        1 => u64::MAX - u64::from(from.arbitrary::<u8>()? & 3),
        2 => 1 << 32,
        3 => u64::from(from.arbitrary::<u32>()?),
        4 => u64::from(from.arbitrary::<u16>()?) << 11,
        _ => from.arbitrary()?,
    })
}

fn small(from: From) -> Result<u32> {
    Ok(match from.arbitrary::<u8>()? {
        255 => u32::MAX,
        254 => 4096,
        253 => 128,
        other => u32::from(other % 6),
    })
}

fn content(from: From) -> Result<Content> {
    Ok(match from.int_in_range(0..=5)? {
        0 => Content::Blank,
        1 => Content::Unknown,
        2 => Content::Unreadable { reason: text(from)? },
        3 => Content::Other { name: text(from)?, label: some(from, text)? },
        _ => ext(&text(from)?, owner(from)?, number(from)?),
    })
}

fn owner(from: From) -> Result<Owner> {
    Ok(match from.int_in_range(0..=5)? {
        0 => Owner::Empty,
        1 => Owner::Files { names: several(from, 0, 3, text)? },
        2 => Owner::Unreadable { reason: text(from)? },
        3 => Owner::Ours { state: text(from)?, used: from.arbitrary()? },
        _ => {
            let state = State::new(&text(from)?, from.arbitrary()?).to_json().expect("a state can be written");
            Owner::Ours { state, used: from.arbitrary()? }
        }
    })
}

fn table(from: From) -> Result<Table> {
    let gpt = from.arbitrary()?;
    let scheme = if gpt {
        Scheme::Gpt {
            disk_guid: text(from)?,
            primary_sound: from.arbitrary()?,
            backup_sound: from.arbitrary()?,
            backup_at_end: from.arbitrary()?,
        }
    } else {
        Scheme::Mbr { signature: from.arbitrary()? }
    };
    let partition = |from: From| {
        let (number, start, sectors) = (small(from)?, Lba(number(from)?), Sectors(number(from)?));
        Ok(Partition { number, start, sectors, kind: text(from)?, name: some(from, text)? })
    };
    Ok(Table {
        scheme,
        sector_size: if from.ratio(7, 8)? { 512 } else { small(from)? },
        first_usable: Lba(number(from)?),
        last_usable: Lba(number(from)?),
        slots: if gpt { small(from)? } else { 4 },
        partitions: several(from, 0, 4, partition)?,
    })
}

fn disk(from: From) -> Result<Disk> {
    // One that can be, with anything around it, or a table of any numbers.
    if let (true, Some((disk, _))) = (from.arbitrary()?, drawn(from)?.disk()) {
        let contents = disk.table.as_ref().map_or(0, |table| table.partitions.len());
        let held = (0..contents).map(|_| Ok(Held { number: small(from)?, content: content(from)? }));
        let contents = held.collect::<Result<Vec<_>>>()?;
        return Ok(Disk { contents, file_system: some(from, number)?.map(Bytes), ..disk });
    }
    let table = if from.ratio(7, 8)? { Ok(table(from)?) } else { Err(Defect::Hybrid) };
    let kernel = match &table {
        Ok(table) if from.ratio(3, 4)? => table.partitions.iter().map(known).collect(),
        _ => several(from, 0, 4, |from| {
            let (number, start, sectors) = (small(from)?, Lba(number(from)?), Sectors(number(from)?));
            Ok(KernelPartition { number, start, sectors })
        })?,
    };
    Ok(Disk {
        name: text(from)?,
        sectors: Sectors(number(from)?),
        sector_size: if from.ratio(7, 8)? { 512 } else { small(from)? },
        read_only: from.ratio(1, 16)?,
        erase_size: some(from, number)?.map(Bytes),
        table,
        cut_short: None,
        begun: 0,
        file_system: some(from, number)?.map(Bytes),
        kernel,
        contents: several(from, 0, 4, |from| Ok(Held { number: small(from)?, content: content(from)? }))?,
    })
}

fn root(from: From) -> Result<Root> {
    Ok(match from.int_in_range(0..=7)? {
        0 => Root::OtherOverlay,
        1 | 2 => Root::Overlay {
            upper: some(from, text)?,
            lower_writable: from.arbitrary()?,
            upper_writable: from.arbitrary()?,
        },
        3 => Root::Plain { fs_type: text(from)?, writable: from.arbitrary()? },
        _ => Root::Plain { fs_type: "ext4".to_owned(), writable: false },
    })
}

/// `first`: the slot that root is most often in.
fn lower(from: From, first: Option<u32>) -> Result<Place> {
    Ok(match from.int_in_range(0..=15)? {
        0 => Place::WholeDisk { name: text(from)? },
        1 => Place::Mapped { name: text(from)? },
        2 => Place::NoDevice { source: text(from)? },
        other => {
            let number = if other < 6 { None } else { first };
            let number = number.map_or_else(|| small(from), Ok)?;
            Place::Partition { name: text(from)?, number, uuid: text(from)?, sealed: from.arbitrary()? }
        }
    })
}

fn configuration(from: From) -> Result<Configuration> {
    let counts = |from: From| {
        let (attempts, rebuilds) = (small(from)?, small(from)?);
        Ok(Counts { attempts, rebuilds, rebuilt: from.arbitrary()?, failure: some(from, text)? })
    };
    Ok(match from.int_in_range(0..=6)? {
        0 => Configuration::Foreign { line: text(from)? },
        1 | 2 => Configuration::Absent,
        3 | 4 => Configuration::Begun(counts(from)?),
        _ => Configuration::Complete(counts(from)?),
    })
}

fn verdict(from: From) -> Result<Verdict> {
    use Verdict::{Lower, Memory, NotConfigured, Off, Stop, Upper};
    from.choose(&[NotConfigured, Off, Upper, Memory, Lower, Stop]).copied()
}
