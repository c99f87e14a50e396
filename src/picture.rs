//! A picture of a card: a bar in proportion, and a line for each partition. Pure text, ASCII.

use crate::console::ascii;
use crate::table::Table;
use crate::units::{Bytes, Lba, MIB, Sectors};
use serde::Serialize;

/// Free space that is smaller is alignment, and not shown.
const SMALLEST_GAP: Bytes = Bytes(MIB);

/// What there is to draw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Card {
    /// The disk: `/dev/mmcblk0`.
    pub name: String,
    /// All of it.
    pub length: Sectors,
    /// Bytes in a logical sector.
    pub sector_size: u32,
    /// In the order of the disk, none overlapping another.
    pub segments: Vec<Segment>,
}

/// One stretch of the card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// The partition's number; `None` where there is no partition.
    pub number: Option<u32>,
    /// The partition's device: `/dev/mmcblk0p2`; empty where there is none.
    pub node: String,
    /// What it holds: `ext4 writable`.
    pub label: String,
    pub start: Lba,
    pub sectors: Sectors,
    pub kind: SegmentKind,
}

/// What a stretch of a card is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SegmentKind {
    /// The partition table, and what lies before the first partition.
    Table,
    /// The firmware's FAT partition.
    Boot,
    /// The lower: root as it was burned.
    Root,
    /// The upper: ours.
    Upper,
    /// Somebody else's.
    Foreign,
    /// No partition.
    Free,
}

impl Card {
    /// The card with this table. `describe` gives, for a partition's number, its device node, what it holds, and its kind.
    pub fn from_table(
        disk: &str,
        disk_sectors: u64,
        table: &Table,
        describe: impl Fn(u32) -> (String, String, SegmentKind),
    ) -> Card {
        let mut partitions: Vec<_> = table.partitions.iter().collect();
        partitions.sort_by_key(|partition| partition.start);
        let mut segments = Vec::new();
        let mut next = 0;
        for partition in partitions {
            segments.extend(gap(next, partition.start.0, table.sector_size));
            let (node, label, kind) = describe(partition.number);
            let (start, sectors) = (partition.start, partition.sectors);
            segments.push(Segment { number: Some(partition.number), node, label, start, sectors, kind });
            next = next.max(partition.last().0.saturating_add(1));
        }
        segments.extend(gap(next, disk_sectors.min(table.last_usable.0.saturating_add(1)), table.sector_size));
        Card { name: disk.to_owned(), length: Sectors(disk_sectors), sector_size: table.sector_size, segments }
    }
}

/// What lies between two partitions, from `start` to before `end`: nothing, free space, or at the disk's begin the table's place.
fn gap(start: u64, end: u64, sector_size: u32) -> Option<Segment> {
    let sectors = Sectors(end.saturating_sub(start));
    let bytes = sectors.to_bytes(sector_size);
    let (label, kind) = match bytes {
        Bytes(0..MIB) if start > 0 => return None,
        _ if start == 0 && bytes <= Bytes(16 * MIB) => ("partition table", SegmentKind::Table),
        _ => ("free", SegmentKind::Free),
    };
    Some(Segment { number: None, node: String::new(), label: label.to_owned(), start: Lba(start), sectors, kind })
}

/// The card in `width` columns: its name and size, the bar, the legend. Ends with a line feed.
pub fn draw(card: &Card, width: usize) -> String {
    let _ = (card, width, SMALLEST_GAP, ascii(""));
    String::new()
}

/// Two cards, one above the other, headed `now` and `after`; or one, where nothing changes.
pub fn before_after(before: &Card, after: &Card, width: usize) -> String {
    format!("now\n{}after\n{}", draw(before, width), draw(after, width))
}
