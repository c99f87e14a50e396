//! A picture of a card: a bar in proportion, and a line for each partition. Pure text, ASCII.

use crate::table::Table;
use crate::text::ascii;
use crate::units::{Bytes, Lba, MIB, Sectors};
use serde::Serialize;

/// Less than this between two partitions is alignment, and not shown.
const SMALLEST_GAP: Bytes = Bytes(4 * MIB);

/// As much before the first partition is not called free: images begin there, at 1 to 8 MiB.
const LARGEST_LEAD: Bytes = Bytes(16 * MIB);

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
    /// The card with this table, and what is on the card of partitions that reach past its end. `describe` gives, for a partition's number,
    /// its device node, what it holds, and its kind.
    pub fn from_table(
        disk: &str,
        disk_sectors: u64,
        table: &Table,
        describe: impl Fn(u32) -> (String, String, SegmentKind),
    ) -> Card {
        let mut partitions: Vec<_> = table.partitions.iter().filter(|p| p.start.0 < disk_sectors).collect();
        partitions.sort_by_key(|partition| partition.start);
        let reach = disk_sectors.min(table.last_usable.0.saturating_add(1));
        let lead = table_place(partitions.first().map_or(reach, |first| first.start.0), table.sector_size);
        let mut next = lead.sectors.0;
        let mut segments = vec![lead];
        for partition in partitions {
            segments.extend(gap(next, partition.start.0, table.sector_size));
            let (node, mut label, kind) = describe(partition.number);
            let start = partition.start;
            let sectors = Sectors(partition.sectors.0.min(disk_sectors - start.0));
            if sectors < partition.sectors {
                label = format!("cut short: {label}");
            }
            segments.push(Segment { number: Some(partition.number), node, label, start, sectors, kind });
            next = next.max(partition.last().0.saturating_add(1));
        }
        segments.extend(gap(next, reach, table.sector_size));
        segments.extend(gap(next.max(reach), disk_sectors, table.sector_size).map(|rest| Segment {
            label: "beyond the table's reach".to_owned(),
            kind: SegmentKind::Table,
            ..rest
        }));
        Card { name: disk.to_owned(), length: Sectors(disk_sectors), sector_size: table.sector_size, segments }
    }
}

/// The table's place: all that is before the first partition, or its first MiB where that is much more.
fn table_place(first: u64, sector_size: u32) -> Segment {
    let before = Sectors(first).to_bytes(sector_size);
    let place = if before <= LARGEST_LEAD { before } else { Bytes(MIB) };
    bare("partition table", SegmentKind::Table, 0, place.to_sectors(sector_size))
}

/// The free space from `start` to before `end`; `None` where it is so little that it is alignment.
fn gap(start: u64, end: u64, sector_size: u32) -> Option<Segment> {
    let sectors = Sectors(end.saturating_sub(start));
    let free = bare("free", SegmentKind::Free, start, sectors);
    (sectors.to_bytes(sector_size) >= SMALLEST_GAP).then_some(free)
}

/// A stretch that is no partition.
fn bare(label: &str, kind: SegmentKind, start: u64, sectors: Sectors) -> Segment {
    Segment { number: None, node: String::new(), label: label.to_owned(), start: Lba(start), sectors, kind }
}

/// The card in `width` columns: a heading with its name and size, the bar, the legend. Ends with a line feed.
pub fn draw(card: &Card, width: usize) -> String {
    draw_headed("", card, width)
}

fn draw_headed(heading: &str, card: &Card, width: usize) -> String {
    let heading = format!("{heading}{}, {}", ascii(&card.name), card.length.to_bytes(card.sector_size));
    format!("{}\n{}{}", clip(&heading, width), bar(card, width), legend(card, width))
}

/// Two cards, one above the other, headed `now` and `after`; or one, where nothing changes.
pub fn before_after(before: &Card, after: &Card, width: usize) -> String {
    if before == after {
        return draw_headed("now and after: ", before, width);
    }
    format!("{}\n{}", draw_headed("now: ", before, width), draw_headed("after: ", after, width))
}

/// Whether the bar has a cell for it: every partition does, the rest where it is wide enough to mean something.
fn in_bar(card: &Card, segment: &Segment, width: usize) -> bool {
    let columns_twice = share(segment.sectors.0, u128::from(card.length.0), 2 * width);
    match segment.kind {
        SegmentKind::Boot | SegmentKind::Root | SegmentKind::Upper | SegmentKind::Foreign => true,
        SegmentKind::Free => columns_twice >= 1,
        SegmentKind::Table => columns_twice >= 4,
    }
}

/// Three lines: cells as wide as what they stand for is large, but none too narrow for its number.
fn bar(card: &Card, width: usize) -> String {
    let cells: Vec<&Segment> = card.segments.iter().filter(|segment| in_bar(card, segment, width)).collect();
    let inside = width.saturating_sub(cells.len() + 1);
    let narrowest = |padding: usize| cells.iter().map(|cell| mark(cell).len() + padding).collect::<Vec<_>>();
    let Some(least) = [2, 0].into_iter().map(narrowest).find(|least| least.iter().sum::<usize>() <= inside) else {
        let partitions = cells.iter().filter(|cell| cell.number.is_some()).count();
        return clip(&format!("({partitions} partitions: too many for a bar)"), width) + "\n";
    };
    if cells.is_empty() {
        return String::new();
    }
    let sizes: Vec<u64> = cells.iter().map(|cell| cell.sectors.0).collect();
    let widths = proportion(&sizes, &least, inside);
    let (mut border, mut line) = ("+".to_owned(), "|".to_owned());
    for (cell, columns) in cells.iter().zip(widths) {
        border += &"-".repeat(columns);
        border.push('+');
        line += &fill(cell, columns);
        line.push('|');
    }
    format!("{border}\n{line}\n{border}\n")
}

/// How `inside` columns are shared: in proportion to `sizes`, none getting less than its `least`. The sum of `least` is at most
/// `inside`.
fn proportion(sizes: &[u64], least: &[usize], inside: usize) -> Vec<usize> {
    // Who would get too little gets the least; the others share what is left, until all have enough.
    let mut small = vec![false; sizes.len()];
    let (columns, total) = loop {
        let taken: usize = (0..sizes.len()).filter(|&i| small[i]).map(|i| least[i]).sum();
        // Of partitions that overlap, in an observation from a file, 64 bits may not hold the sum.
        let total: u128 = (0..sizes.len()).filter(|&i| !small[i]).map(|i| u128::from(sizes[i])).sum();
        let columns = inside - taken;
        match (0..sizes.len()).find(|&i| !small[i] && share(sizes[i], total, columns) < least[i]) {
            Some(i) => small[i] = true,
            None => break (columns, total),
        }
    };
    let mut widths: Vec<usize> =
        (0..sizes.len()).map(|i| if small[i] { least[i] } else { share(sizes[i], total, columns) }).collect();
    // Rounding down left some columns over; the largest gets them, where they show least.
    let over = inside - widths.iter().sum::<usize>();
    if let Some(largest) = (0..sizes.len()).max_by_key(|&i| widths[i]) {
        widths[largest] += over;
    }
    widths
}

/// `columns * part / whole`, rounded down.
fn share(part: u64, whole: u128, columns: usize) -> usize {
    let columns = u128::from(part) * columns as u128 / whole.max(1);
    usize::try_from(columns).unwrap_or(usize::MAX)
}

/// What a cell and its line in the legend are recognised by.
fn mark(segment: &Segment) -> String {
    match (segment.number, segment.kind) {
        (Some(number), _) => number.to_string(),
        (None, SegmentKind::Free) => ".".to_owned(),
        (None, _) => "#".to_owned(),
    }
}

/// A cell's text, in the middle: as much as there is room for.
fn fill(segment: &Segment, columns: usize) -> String {
    let mark = mark(segment);
    let word = match segment.kind {
        SegmentKind::Table if segment.start == Lba(0) => "table",
        SegmentKind::Table => "unused",
        SegmentKind::Boot => "boot",
        SegmentKind::Root => "root",
        SegmentKind::Upper => "upper",
        SegmentKind::Foreign => "other",
        SegmentKind::Free => "free",
    };
    match (segment.number.is_some(), columns) {
        (true, _) if columns >= mark.len() + word.len() + 3 => format!("{:^columns$}", format!("{mark} {word}")),
        (true, _) => format!("{mark:^columns$}"),
        (false, _) => {
            let text = if columns >= word.len() + 4 { format!(" {word} ") } else { String::new() };
            let left = (columns - text.len()) / 2;
            format!("{}{text}{}", mark.repeat(left), mark.repeat(columns - text.len() - left))
        }
    }
}

/// A line for each stretch: device, what it holds, start, size; two lines where one is too narrow.
fn legend(card: &Card, width: usize) -> String {
    let rows: Vec<[String; 5]> = card
        .segments
        .iter()
        .filter(|segment| listed(card, segment, width))
        .map(|segment| {
            let (node, label) = (ascii(&segment.node), ascii(&segment.label));
            let (node, label) = if node.is_empty() { (label, String::new()) } else { (node, label) };
            let start = format!("at {} MiB", mebibytes(segment.start.to_offset(card.sector_size)));
            [mark(segment), node, label, start, segment.sectors.to_bytes(card.sector_size).to_string()]
        })
        .collect();
    let widest = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let [marks, nodes, labels, starts, sizes] = [0, 1, 2, 3, 4].map(widest);
    let without_label = 1 + marks + 2 + nodes + 2 + 2 + starts + 2 + sizes;
    let room = width.checked_sub(without_label).filter(|room| *room >= labels.min(SHORTEST_LABEL));
    let mut text = String::new();
    for [mark, node, label, start, size] in &rows {
        if let Some(room) = room {
            let labels = labels.min(room);
            let label = clip(label, labels);
            text += &format!(" {mark:>marks$}  {node:<nodes$}  {label:<labels$}  {start:>starts$}  {size:>sizes$}\n");
        } else {
            let comma = if label.is_empty() { "" } else { ", " };
            text += &clip(&format!(" {mark:>marks$}  {node}{comma}{label}"), width);
            text.push('\n');
            text += &clip(&format!(" {:>marks$}  {start}, {size}", ""), width);
            text.push('\n');
        }
    }
    text
}

/// The least that is left of a label in a legend of one line each.
const SHORTEST_LABEL: usize = 16;

/// Whether the legend has a line for it: all but a place for the table that is too small to be seen.
fn listed(card: &Card, segment: &Segment, width: usize) -> bool {
    segment.kind != SegmentKind::Table || in_bar(card, segment, width)
}

/// A number of bytes in MiB; below 10 with as many decimals as it needs, at most two.
fn mebibytes(bytes: u64) -> String {
    if bytes >= 10 * MIB {
        return (bytes / MIB + u64::from(bytes % MIB >= MIB / 2)).to_string();
    }
    let hundredths = (bytes * 100 + MIB / 2) / MIB;
    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// At most `width` columns of an ASCII text.
fn clip(text: &str, width: usize) -> String {
    if text.len() <= width {
        return text.to_owned();
    }
    let dots = "...".get(..width.min(3)).unwrap_or_default();
    format!("{}{dots}", text.get(..width - dots.len()).unwrap_or_default())
}

#[cfg(test)]
mod tests;
