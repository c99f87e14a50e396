//! The upper of a card that was copied onto a larger one.

use super::upper::sized;
use crate::config::Config;
use crate::observation::Disk;
use crate::step::Step;
use crate::table::{Change, NewPartition, Partition, Table};
use crate::units::{Bytes, MIB, Sectors};

/// With less behind it, the upper stays as it is: what alignment and the end of a table leave is not worth a change of the table, and
/// ext4 grows by whole groups.
const WORTHWHILE: Bytes = Bytes(64 * MIB);

/// The steps that make the upper of a node that runs on it take all of the card that `partition.size` gives it; none where it does. Its file system grows too where only the
/// partition did, which a power cut between the two leaves. Where there is a partition behind the upper, somebody has divided the
/// card up, and the space between the two is left to them.
pub(super) fn grow(disk: &Disk, upper: &str, config: &Config) -> Vec<Step> {
    let (Ok(table), Some(file_system), false) = (&disk.table, disk.file_system, disk.read_only) else {
        return Vec::new();
    };
    let Some(partition) = table.partitions.iter().find(|p| disk.partition_name(p.number) == upper) else {
        return Vec::new();
    };
    if !is_known(disk, table) {
        return Vec::new();
    }
    let bytes = |sectors: Sectors| sectors.to_bytes(table.sector_size);
    let &Partition { number, start, sectors: old, .. } = partition;
    let is_last = table.partitions.iter().all(|p| p.start <= start);
    let behind = table.last_usable.0.saturating_sub(partition.last().0);
    let wanted = sized(config, Sectors(old.0.saturating_add(behind)), table.sector_size);
    let more = Sectors(wanted.0.saturating_sub(old.0));
    let sectors = if is_last && bytes(more) >= WORTHWHILE { wanted } else { old };
    let length = bytes(sectors);
    let device = upper.to_owned();
    let mut steps = Vec::new();
    if sectors > old {
        let partition = NewPartition { number, start, sectors };
        steps.extend([
            Step::GrowKernelPartition { device: device.clone(), partition, length },
            Step::PublishTable {
                disk: disk.name.clone(),
                before: table.clone(),
                change: Change::Grow { number, sectors },
            },
        ]);
    }
    if length.0.saturating_sub(file_system.0) >= WORTHWHILE.0 {
        steps.push(Step::GrowFilesystem { device, length });
    }
    steps
}

/// Whether the kernel has every partition as the table has it: another one could have been changed while the node was at work.
fn is_known(disk: &Disk, table: &Table) -> bool {
    let known =
        |p: &Partition| disk.kernel.iter().any(|k| (k.number, k.start, k.sectors) == (p.number, p.start, p.sectors));
    disk.kernel.len() == table.partitions.len() && table.partitions.iter().all(known)
}
