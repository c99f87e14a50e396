//! What a node wrote to its card, in order: the log that QEMU's `blklogwrites` keeps, and the cards that a power cut could
//! have left.
//!
//! The format is that of the kernel's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst, the structures in
//! drivers/md/dm-log-writes.c): a superblock in the first sector, then entries of one sector each, each with its data behind it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// One thing that the node did to the card.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// All writes before it are on the card for good.
    Flush,
    Write(Write),
}

/// Bytes that the node wrote at `offset` of the card.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    pub offset: u64,
    pub data: Vec<u8>,
}

impl Write {
    /// Writes it to another card.
    pub fn apply(&self, card: &File) -> Result<()> {
        card.write_all_at(&self.data, self.offset).with_context(|| format!("replaying a write at {}", self.offset))
    }
}

/// Reads a log. QEMU counts the entries in the superblock at each flush; one that was killed may have written more, which is
/// read, too, as far as it is whole. A node that wrote nothing leaves nothing.
pub fn read(log: &Path) -> Result<Vec<Entry>> {
    let bytes = std::fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    parse(&bytes).with_context(|| format!("reading {} as a log of writes", log.display()))
}

fn parse(bytes: &[u8]) -> Result<Vec<Entry>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    ensure!(number(bytes, 0)? == MAGIC && number(bytes, 8)? == 1, "this is no log of writes of version 1");
    let counted = number(bytes, 16)?;
    let sector = usize::try_from(number(bytes, 24)? & 0xFFFF_FFFF)?;
    ensure!(sector >= 512 && sector.is_power_of_two(), "its sectors have {sector} bytes");
    let mut entries = Vec::new();
    let mut at = sector;
    for count in 0.. {
        let Some(header) = bytes.get(at..at + sector) else {
            ensure!(count >= counted, "it ends with entry {count} of {counted}");
            break;
        };
        let (first, sectors, flags) = (number(header, 0)?, number(header, 8)?, number(header, 16)?);
        let length = usize::try_from(sectors)? * sector;
        at += sector;
        match flags {
            // Zeroes where a write to the log itself was cut off.
            0 if sectors == 0 && count >= counted => break,
            0 | FUA => {
                let Some(data) = bytes.get(at..at + length) else {
                    ensure!(count >= counted, "the data of entry {count} of {counted} is not there");
                    break;
                };
                entries.push(Entry::Write(Write { offset: first * sector as u64, data: data.to_vec() }));
                if flags == FUA {
                    entries.push(Entry::Flush);
                }
                at += length;
            }
            FLUSH => entries.push(Entry::Flush),
            DISCARD => bail!("entry {count} discards {sectors} sectors, and what they hold after that is not defined"),
            MARK => at += usize::try_from(number(header, 24)?)?.next_multiple_of(sector),
            other => bail!("entry {count} has the flags {other:#x}"),
        }
    }
    Ok(entries)
}

/// The little-endian number at `at`.
fn number(bytes: &[u8], at: usize) -> Result<u64> {
    let bytes = bytes.get(at..at + 8).context("it is too short")?;
    Ok(u64::from_le_bytes(bytes.try_into()?))
}

/// Numbers that look random and are the same for the same seed: a cut that did harm can be tried again.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// With the [`seed`] of this run.
    pub fn thrown(what: &str) -> Result<Self> {
        Ok(Self::new(seed(what)?))
    }

    /// A number below `end`, by SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// The seed in the environment variable `BURNONCE_SEED`, else one from the clock; it is printed.
pub fn seed(what: &str) -> Result<u64> {
    let seed = match std::env::var("BURNONCE_SEED") {
        Ok(text) => text.parse().with_context(|| format!("BURNONCE_SEED is {text:?}, which is not a number"))?,
        Err(_) => std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs(),
    };
    println!("vm: {what}: BURNONCE_SEED={seed}");
    Ok(seed)
}

/// The cards that a power cut could have left, each as the numbers of the writes that arrived, in order: every prefix of
/// the writes; and for each stretch between two flushes, `subsets` times, some of its writes behind all of those before it (a card may
/// write what is not flushed yet in any order).
pub fn cuts(entries: &[Entry], subsets: usize, dice: &mut Dice) -> Vec<Vec<usize>> {
    let mut cuts = vec![Vec::new()];
    let mut flushed: Vec<usize> = Vec::new();
    let mut pending: Vec<usize> = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        match entry {
            Entry::Write(_) => {
                pending.push(number);
                cuts.push(flushed.iter().chain(&pending).copied().collect());
            }
            Entry::Flush => {
                // With a single write, or none, the prefixes are all there is.
                for _ in 0..if pending.len() > 1 { subsets } else { 0 } {
                    let some = pending.iter().copied().filter(|_| dice.below(2) == 1);
                    cuts.push(flushed.iter().copied().chain(some).collect());
                }
                flushed.append(&mut pending);
            }
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::{Dice, Entry, Write, cuts, parse};

    fn entry(sector: u64, sectors: u64, flags: u64, fill: u8) -> Vec<u8> {
        let mut bytes: Vec<u8> = [sector, sectors, flags, 0].iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.resize(512, 0);
        bytes.resize(512 + 512 * sectors as usize, fill);
        bytes
    }

    fn log(count: u64, entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes: Vec<u8> = [super::MAGIC, 1, count, 512].iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.resize(512, 0);
        bytes.extend(entries.concat());
        bytes
    }

    fn write(sector: u64, sectors: usize, fill: u8) -> Entry {
        Entry::Write(Write { offset: sector * 512, data: vec![fill; 512 * sectors] })
    }

    #[test]
    fn a_log_is_read() {
        let entries = [entry(8, 2, 0, 7), entry(0, 0, 1, 0), entry(3, 1, 2, 9)];
        let expected = vec![write(8, 2, 7), Entry::Flush, write(3, 1, 9), Entry::Flush];
        assert_eq!(parse(&log(3, &entries)).unwrap(), expected);
        // QEMU was killed before it counted the last one, or while it wrote that.
        assert_eq!(parse(&log(2, &entries)).unwrap(), expected);
        let mut torn = log(2, &entries);
        torn.truncate(torn.len() - 1);
        assert_eq!(parse(&torn).unwrap(), expected[..2]);
        assert!(parse(&log(4, &entries)).is_err());
        assert!(parse(&log(1, &[entry(8, 2, 4, 0)])).is_err());
        assert!(parse(&[0; 1024]).is_err());
        assert_eq!(parse(&[]).unwrap(), []);
    }

    #[test]
    fn cuts_keep_what_was_flushed() {
        let entries = [write(0, 1, 1), write(1, 1, 2), Entry::Flush, write(2, 1, 3), Entry::Flush, write(3, 1, 4)];
        let all = cuts(&entries, 50, &mut Dice::new(1));
        let prefixes: Vec<Vec<usize>> = vec![vec![], vec![0], vec![0, 1], vec![0, 1, 3], vec![0, 1, 3, 5]];
        for prefix in &prefixes {
            assert!(all.contains(prefix), "{prefix:?} is missing");
        }
        // The one thing that only another order can leave.
        assert!(all.contains(&vec![1]));
        assert!(all.iter().all(|cut| !cut.contains(&3) || (cut.contains(&0) && cut.contains(&1))));
        assert_eq!(all.len(), prefixes.len() + 50);
    }
}
