//! Power cuts of a recording: which of its writes had arrived when the power went.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::str::FromStr;

use anyhow::{Context, Error, Result, ensure};
use burnonce_vm::card::SECTOR;
use burnonce_vm::writes::{Dice, Entry, Write};

/// What was written to a card, and where the flushes are.
#[derive(Debug)]
pub struct Log {
    pub writes: Vec<Write>,
    /// The writes between two flushes, and those behind the last one. A card may write these in any order.
    stretches: Vec<Range<usize>>,
    pub flushes: usize,
}

impl Log {
    pub fn new(entries: Vec<Entry>) -> Self {
        let mut log = Self { writes: Vec::new(), stretches: Vec::new(), flushes: 0 };
        let mut begin = 0;
        for entry in entries {
            match entry {
                Entry::Write(write) => log.writes.push(write),
                Entry::Flush => {
                    log.flushes += 1;
                    log.stretches.push(begin..log.writes.len());
                    begin = log.writes.len();
                }
            }
        }
        log.stretches.push(begin..log.writes.len());
        log
    }

    /// At most `most` places where write `number` is to be torn, all where there are no more.
    fn tears(&self, number: usize, most: usize, dice: &mut Dice) -> Vec<usize> {
        let write = &self.writes[number];
        let all = 1..write.data.len() / SECTOR as usize;
        let mut some: Vec<usize> =
            all.filter(|&sectors| !splits_superblock(write, sectors) && !splits_gpt(write, sectors)).collect();
        while some.len() > most {
            some.swap_remove(dice.below(some.len() as u64) as usize);
        }
        some.sort_unstable();
        some
    }
}

/// What had arrived: whole writes, and of one more its first sectors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cut {
    /// Numbers of writes, counted from 0, in order.
    pub writes: Vec<usize>,
    pub torn: Option<Torn>,
}

/// A write that the power cut went through. A sector is written or it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Torn {
    pub write: usize,
    /// So many of its sectors have arrived.
    pub sectors: usize,
}

/// How a cut was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// All writes up to one, whole.
    Prefix,
    /// Some of the writes since the last flush.
    Subset,
    /// All writes up to one, which is torn.
    Torn,
}

/// How many cuts to try beside the prefixes, which are all tried.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Random subsets for each stretch between two flushes.
    pub subsets: usize,
    /// Places where each write of more than one sector is torn.
    pub torn: usize,
}

/// The cuts to try, in an order in which neighbours are much alike.
pub fn cuts(log: &Log, amount: Amount, dice: &mut Dice) -> Vec<(Sort, Cut)> {
    let mut cuts = Vec::new();
    for end in 0..=log.writes.len() {
        let writes: Vec<usize> = (0..end).collect();
        cuts.push((Sort::Prefix, Cut { writes: writes.clone(), torn: None }));
        if end == log.writes.len() {
            break;
        }
        for sectors in log.tears(end, amount.torn, dice) {
            let torn = Some(Torn { write: end, sectors });
            cuts.push((Sort::Torn, Cut { writes: writes.clone(), torn }));
        }
        if let Some(stretch) = log.stretches.iter().find(|stretch| stretch.start == end && stretch.len() > 1) {
            for _ in 0..amount.subsets {
                cuts.push((Sort::Subset, subset(log, stretch, dice)));
            }
        }
    }
    cuts
}

/// Some writes of a stretch behind all before it; of every other one the last write is torn where it can be.
fn subset(log: &Log, stretch: &Range<usize>, dice: &mut Dice) -> Cut {
    let chosen = stretch.clone().filter(|_| dice.below(2) == 1);
    let mut writes: Vec<usize> = (0..stretch.start).chain(chosen).collect();
    let mut torn = None;
    if let Some(&last) = writes.last().filter(|&&last| last >= stretch.start && dice.below(2) == 1) {
        if let Some(&sectors) = log.tears(last, 1, dice).first() {
            writes.pop();
            torn = Some(Torn { write: last, sectors });
        }
    }
    Cut { writes, torn }
}

/// Whether an ext4 superblock would be torn, which begins 1 KiB into its block and has two sectors. A checksum is over both of them, and
/// the kernel writes them in place, for any mount of any ext4: a card that tears within a block needs `e2fsck -b`, whatever runs on it.
fn splits_superblock(write: &Write, sectors: usize) -> bool {
    const MAGIC: (usize, [u8; 2]) = (0x38, [0x53, 0xEF]);
    let first = (sectors - 1) * SECTOR as usize;
    let magic = &write.data[first + MAGIC.0..][..2];
    (write.offset + first as u64) % 4096 == 1024 && magic == MAGIC.1
}

/// Whether a GPT's primary header would arrive without the entries behind it, which its checksum is over: these are sectors of one write
/// within 4 KiB, and no order of them would be better. Linux then looks for no backup, whatever has written it.
fn splits_gpt(write: &Write, sectors: usize) -> bool {
    let Some(header) = SECTOR.checked_sub(write.offset) else { return false };
    let begins = usize::try_from(header).ok().and_then(|at| write.data.get(at..at + 8));
    begins == Some(b"EFI PART") && sectors as u64 * SECTOR > header
}

impl Cut {
    /// Everything has arrived: no cut at all.
    pub fn none(log: &Log) -> Self {
        Self { writes: (0..log.writes.len()).collect(), torn: None }
    }

    /// Writes to a card what had arrived.
    pub fn apply(&self, log: &Log, card: &File) -> Result<()> {
        let write = |number: usize| {
            log.writes.get(number).with_context(|| format!("write {number} of {} is asked for", log.writes.len()))
        };
        for &number in &self.writes {
            write(number)?.apply(card)?;
        }
        if let Some(Torn { write: number, sectors }) = self.torn {
            let Write { offset, data } = write(number)?;
            let length = sectors * SECTOR as usize;
            ensure!(length < data.len(), "write {number} has no more than {sectors} sectors");
            Write { offset: *offset, data: data[..length].to_vec() }.apply(card)?;
        }
        Ok(())
    }

    /// What of it has arrived at bytes in `range`, as far as that tells two cards apart.
    pub fn within(&self, log: &Log, range: &Range<u64>) -> Cut {
        let touches = |&number: &usize| {
            let Write { offset, data } = &log.writes[number];
            *offset < range.end && offset + data.len() as u64 > range.start
        };
        Cut {
            writes: self.writes.iter().copied().filter(touches).collect(),
            torn: self.torn.filter(|torn| touches(&torn.write)),
        }
    }
}

/// `0-56,58,60+3`: writes 0 to 56 and 58, and the first three sectors of 60. `none`: not one.
impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut rest = &self.writes[..];
        while let Some(&first) = rest.first() {
            let length = rest.iter().zip(first..).take_while(|(number, expected)| *number == expected).count();
            let last = first + length - 1;
            parts.push(if last > first { format!("{first}-{last}") } else { first.to_string() });
            rest = &rest[length..];
        }
        parts.extend(self.torn.map(|torn| format!("{}+{}", torn.write, torn.sectors)));
        f.write_str(&if parts.is_empty() { "none".to_owned() } else { parts.join(",") })
    }
}

impl FromStr for Cut {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut cut = Cut { writes: Vec::new(), torn: None };
        let number = |text: &str| text.parse::<usize>().with_context(|| format!("{text:?} is no number"));
        for part in text.split(',').filter(|_| text != "none") {
            if let Some((write, sectors)) = part.split_once('+') {
                cut.torn = Some(Torn { write: number(write)?, sectors: number(sectors)? });
            } else if let Some((first, last)) = part.split_once('-') {
                cut.writes.extend(number(first)?..=number(last)?);
            } else {
                cut.writes.push(number(part)?);
            }
        }
        Ok(cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(sectors: usize) -> Entry {
        Entry::Write(Write { offset: 0, data: vec![1; sectors * 512] })
    }

    #[test]
    fn a_cut_is_read_as_it_is_written() {
        for text in ["none", "0", "0-56", "0-56,58,60+3", "0+1", "1,3"] {
            assert_eq!(text.parse::<Cut>().unwrap().to_string(), text);
        }
        for text in ["", "x", "1-", "1+", "-2"] {
            assert!(text.parse::<Cut>().is_err(), "{text}");
        }
    }

    #[test]
    fn all_prefixes_and_no_write_before_a_flush_is_missing() {
        let log = Log::new(vec![write(1), Entry::Flush, write(8), write(1), write(2), Entry::Flush, write(1)]);
        assert_eq!((log.writes.len(), log.flushes), (5, 2));
        let all = cuts(&log, Amount { subsets: 40, torn: 3 }, &mut Dice::new(1));
        let of = |sort: Sort| all.iter().filter(|(this, _)| *this == sort).map(|(_, cut)| cut).collect::<Vec<_>>();
        assert_eq!(of(Sort::Prefix).iter().map(|cut| cut.writes.len()).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(of(Sort::Subset).len(), 40);
        assert!(of(Sort::Subset).iter().all(|cut| cut.writes.starts_with(&[0]) && !cut.writes.contains(&4)));
        assert!(of(Sort::Subset).iter().any(|cut| cut.writes == [0, 2]));
        // Write 3 can be torn in one place, the one-sector writes in none.
        let torn = of(Sort::Torn);
        assert!(torn.iter().any(|cut| cut.to_string() == "0-2,3+1"));
        assert!(torn.iter().all(|cut| [1, 3].contains(&cut.torn.unwrap().write)));
    }

    #[test]
    fn a_superblock_is_not_torn() {
        let mut data = vec![1; 4096];
        data[1024 + 0x38..1024 + 0x3A].copy_from_slice(&[0x53, 0xEF]);
        for (offset, expected) in [(8192, vec![1, 2, 4, 5, 6, 7]), (8704, vec![1, 2, 3, 4, 5, 6, 7])] {
            let log = Log::new(vec![Entry::Write(Write { offset, data: data.clone() })]);
            assert_eq!(log.tears(0, 9, &mut Dice::new(1)), expected);
        }
    }

    #[test]
    fn a_header_of_a_gpt_does_not_come_without_its_entries() {
        let mut data = vec![1; 2048];
        data[512..520].copy_from_slice(b"EFI PART");
        for (offset, expected) in [(0, vec![1]), (512, vec![1, 2, 3]), (4096, vec![1, 2, 3])] {
            let log = Log::new(vec![Entry::Write(Write { offset, data: data.clone() })]);
            assert_eq!(log.tears(0, 9, &mut Dice::new(1)), expected);
        }
        let log = Log::new(vec![Entry::Write(Write { offset: 512, data: data[512..].to_vec() })]);
        assert_eq!(log.tears(0, 9, &mut Dice::new(1)), [0; 0]);
    }

    #[test]
    fn what_arrived_elsewhere_does_not_tell_a_range_apart() {
        let at = |offset| Entry::Write(Write { offset, data: vec![1; 1024] });
        let log = Log::new(vec![at(0), at(4096), at(1024)]);
        let cut = Cut { writes: vec![0, 1], torn: Some(Torn { write: 2, sectors: 1 }) };
        assert_eq!(cut.within(&log, &(0..1024)).to_string(), "0");
        assert_eq!(cut.within(&log, &(1500..5000)).to_string(), "1,2+1");
    }

    #[test]
    fn a_torn_write_leaves_what_was_behind_it() {
        let file = std::env::temp_dir().join(format!("burnonce-crash-cut-{}", std::process::id()));
        std::fs::write(&file, [0; 1536]).unwrap();
        let log = Log::new(vec![write(3)]);
        let card = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
        "0+1".parse::<Cut>().unwrap().apply(&log, &card).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(bytes[..512].iter().all(|&b| b == 1) && bytes[512..].iter().all(|&b| b == 0));
        assert!("1".parse::<Cut>().unwrap().apply(&log, &card).is_err());
    }
}
