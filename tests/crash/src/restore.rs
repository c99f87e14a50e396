//! Makes a card what it was, for the next of thousands of cuts: only what differs is written.

use std::collections::{BTreeSet, HashSet};
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Whence, lseek64};

const CHUNK: u64 = 1 << 20;
const PAGE: usize = 4096;

/// A card as it was, in memory; `None`: zeroes.
pub struct Original {
    chunks: Vec<Option<Vec<u8>>>,
    length: u64,
}

impl Original {
    pub fn read(file: &Path) -> Result<Self> {
        let card = File::open(file).with_context(|| format!("opening {}", file.display()))?;
        let length = card.metadata()?.len();
        let mut chunks: Vec<Option<Vec<u8>>> = (0..length.div_ceil(CHUNK)).map(|_| None).collect();
        let zeroes = vec![0; CHUNK as usize];
        for number in chunks_with_data(&card, length)? {
            let mut bytes = vec![0; usize::try_from(CHUNK.min(length - number * CHUNK))?];
            card.read_exact_at(&mut bytes, number * CHUNK)?;
            if bytes != zeroes[..bytes.len()] {
                chunks[number as usize] = Some(bytes);
            }
        }
        Ok(Self { chunks, length })
    }

    /// A copy of it.
    pub fn copy(&self, file: &Path) -> Result<()> {
        let copy = File::create(file).with_context(|| format!("making {}", file.display()))?;
        copy.set_len(self.length)?;
        let all = self.chunks.iter().zip(0..).filter_map(|(chunk, number)| Some((chunk.as_ref()?, number)));
        all.into_iter().try_for_each(|(chunk, number): (_, u64)| Ok(copy.write_all_at(chunk, number * CHUNK)?))
    }

    /// Makes the card in `file` the original again, where nothing but the `hot` chunks and what was zeroes can differ: to compare all
    /// would be most of the work.
    pub fn restore(&self, file: &Path, hot: &BTreeSet<u64>) -> Result<()> {
        let card = OpenOptions::new().read(true).write(true).open(file)?;
        ensure!(card.metadata()?.len() == self.length, "{} has another length", file.display());
        for number in chunks_with_data(&card, self.length)? {
            if self.chunks[number as usize].is_none() {
                let (at, length) = (number * CHUNK, CHUNK.min(self.length - number * CHUNK));
                let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                fallocate(&card, hole, i64::try_from(at)?, i64::try_from(length)?).context("making a hole")?;
            }
        }
        let mut buffer = vec![0; CHUNK as usize];
        for &number in hot {
            let Some(Some(original)) = self.chunks.get(number as usize) else { continue };
            let now = &mut buffer[..original.len()];
            card.read_exact_at(now, number * CHUNK)?;
            if now != original {
                write_differences(&card, number * CHUNK, original, now)?;
            }
        }
        Ok(())
    }

    /// The chunks beside the `hot` ones which [`Original::restore`] would have to look at, too.
    pub fn strays(&self, file: &Path, hot: &BTreeSet<u64>) -> Result<Vec<u64>> {
        let card = File::open(file)?;
        let mut buffer = vec![0; CHUNK as usize];
        let mut strays = Vec::new();
        for (original, number) in self.chunks.iter().zip(0..).filter(|(_, number)| !hot.contains(number)) {
            let Some(original) = original else { continue };
            let now = &mut buffer[..original.len()];
            card.read_exact_at(now, number * CHUNK)?;
            if now != original {
                strays.push(number);
            }
        }
        Ok(strays)
    }

    /// What tells the content of one file system at `range` from another: its blocks that are not as they were, but for those at the
    /// offsets in `without`.
    pub fn fingerprint(&self, file: &Path, range: Range<u64>, without: &HashSet<u64>) -> Result<u64> {
        let card = File::open(file)?;
        let mut hasher = DefaultHasher::new();
        let mut buffer = vec![0; CHUNK as usize];
        let zeroes = vec![0; CHUNK as usize];
        for number in chunks_with_data(&card, self.length)? {
            let at = number * CHUNK;
            let original = self.chunks[number as usize].as_deref().unwrap_or(&zeroes);
            let now = &mut buffer[..usize::try_from(CHUNK.min(self.length - at))?];
            if !(range.contains(&at) || range.contains(&(at + CHUNK - 1))) {
                continue;
            }
            card.read_exact_at(now, at)?;
            if now == original {
                continue;
            }
            for ((page, old), offset) in now.chunks(PAGE).zip(original.chunks(PAGE)).zip((at..).step_by(PAGE)) {
                if page != old && range.contains(&offset) && !without.contains(&offset) {
                    (offset, page).hash(&mut hasher);
                }
            }
        }
        Ok(hasher.finish())
    }
}

/// The numbers of the chunks that `range` of a card is in.
pub fn chunks(range: Range<u64>) -> impl Iterator<Item = u64> {
    range.start / CHUNK..range.end.div_ceil(CHUNK)
}

fn write_differences(card: &File, at: u64, original: &[u8], now: &[u8]) -> Result<()> {
    for ((page, old), number) in original.chunks(PAGE).zip(now.chunks(PAGE)).zip(0..) {
        if page != old {
            card.write_all_at(page, at + number * PAGE as u64)?;
        }
    }
    Ok(())
}

/// The numbers of the chunks that are not wholly a hole.
fn chunks_with_data(card: &File, length: u64) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < length {
        let data = match lseek64(card, i64::try_from(at)?, Whence::SeekData) {
            Ok(data) => u64::try_from(data)?,
            Err(nix::errno::Errno::ENXIO) => break,
            Err(error) => return Err(error).context("looking for data in the card's file"),
        };
        found.push(data / CHUNK);
        at = (data / CHUNK + 1) * CHUNK;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_becomes_what_it_was() {
        let dir = std::env::temp_dir().join(format!("burnonce-crash-restore-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (from, to) = (dir.join("from"), dir.join("to"));
        let length = 5 * CHUNK + 512;
        let file = File::create(&from).unwrap();
        file.set_len(length).unwrap();
        file.write_all_at(&[7; 9000], CHUNK - 10).unwrap();
        file.write_all_at(&[9; 512], 5 * CHUNK).unwrap();
        let original = Original::read(&from).unwrap();
        original.copy(&to).unwrap();
        let card = OpenOptions::new().write(true).open(&to).unwrap();
        for (at, length) in [(CHUNK, 100), (3 * CHUNK + 5, 100), (5 * CHUNK, 1), (0, 8192)] {
            card.write_all_at(&vec![1; length], at).unwrap();
        }
        let hot = BTreeSet::from([0, 1, 4]);
        assert_eq!(original.strays(&to, &hot).unwrap(), [5]);
        original.restore(&to, &hot).unwrap();
        assert!(std::fs::read(&from).unwrap() != std::fs::read(&to).unwrap());
        original.restore(&to, &BTreeSet::from([5])).unwrap();
        assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
        let print = |without: &[u64]| original.fingerprint(&to, 0..length, &without.iter().copied().collect()).unwrap();
        let same = print(&[]);
        card.write_all_at(&[1], 2 * CHUNK).unwrap();
        assert_ne!(print(&[]), same);
        assert_eq!(print(&[2 * CHUNK]), same);
        card.set_len(length - 1).unwrap();
        assert!(original.restore(&to, &hot).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
