//! A thread with a card, a reader and a mount namespace of its own, which tries one cut after the other.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use burnonce_vm::card::Card;

use crate::boot::{self, Boot};
use crate::cut::Cut;
use crate::facts;
use crate::reader::Reader;
use crate::recording::Recording;
use crate::restore::{Original, chunks};
use crate::story::Ending;

/// What a thread works with.
pub struct Worker {
    pub card: Card,
    pub reader: Reader,
    /// Chunks of the card that cases change, as far as that is known.
    hot: BTreeSet<u64>,
}

/// What all threads share: the card as it was before, and what was looked at already. To compare an image file by file takes seconds.
pub struct Seen {
    original: Original,
    images: Mutex<Images>,
    /// Chunks of the card that cases of any thread have changed.
    hot: Mutex<BTreeSet<u64>>,
}

#[derive(Default)]
struct Images {
    /// For each cut, as far as the image's partition can tell it apart, the fingerprint of the image once root was mounted.
    begun: HashMap<Cut, u64>,
    /// Fingerprints of images that are whole.
    whole: HashSet<u64>,
    /// Fingerprints of images that were whole behind the last boot, too.
    ended: HashSet<u64>,
}

impl Seen {
    /// Nothing yet.
    pub fn of(recording: &Recording) -> Result<Self> {
        Ok(Self {
            original: Original::read(&recording.before.card.path)?,
            images: Mutex::default(),
            hot: Mutex::default(),
        })
    }

    /// Something was looked at on a card that was not right.
    pub fn forget(&self) {
        *self.lock() = Images::default();
    }

    /// Learns from a thread which chunks are hot, and tells it what the others know.
    fn share(&self, hot: &mut BTreeSet<u64>) {
        let mut known = self.hot.lock().unwrap_or_else(PoisonError::into_inner);
        known.append(hot);
        hot.clone_from(&known);
    }

    fn lock(&self) -> MutexGuard<'_, Images> {
        // What it guards is whole whenever it is not locked.
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One cut on one worker's card.
pub struct Case<'a> {
    pub recording: &'a Recording,
    pub worker: &'a Worker,
    cut: &'a Cut,
    seen: &'a Seen,
}

impl Worker {
    /// Begins in this thread, which gets its own mount namespace: once in a thread.
    pub fn begin(recording: &Recording, seen: &Seen, file: &Path) -> Result<Self> {
        boot::own_namespace()?;
        seen.original.copy(file)?;
        let before = &recording.before;
        boot::mount_before(&before.card, before.range(2)?, boot::BEFORE)?;
        if let Ok(upper) = before.range(3) {
            boot::mount_before(&before.card, upper, boot::UPPER_BEFORE)?;
        }
        let written = recording.log.writes.iter().map(|write| write.offset..write.offset + write.data.len() as u64);
        let mut hot = written.flat_map(chunks).collect();
        seen.share(&mut hot);
        Ok(Self { card: Card { path: file.to_path_buf() }, reader: Reader::insert(file)?, hot })
    }

    /// Whether every case since the last call has begun with the card that it was to begin with. Each boot changes much the same
    /// blocks of the image; one that has changed others leaves a wrong card to the next case, once: from here on they are known.
    pub fn was_right(&mut self, seen: &Seen) -> Result<bool> {
        let strays = seen.original.strays(&self.card.path, &self.hot)?;
        let right = strays.is_empty();
        self.hot.extend(strays);
        // What is new to this thread is looked at before its next case, not before: its own card was compared without it.
        seen.share(&mut self.hot);
        Ok(right)
    }

    /// Makes the card what the cut left of it, looks at it, and boots it to the end of the story.
    pub fn run(&self, recording: &Recording, cut: &Cut, seen: &Seen) -> Result<Ending> {
        self.rebuild(recording, cut, seen).context("making the card")?;
        let case = Case { recording, worker: self, cut, seen };
        case.check_card()?;
        recording.story.finish(&case)
    }

    /// The reader knows no partition and has nothing in memory: the card is changed behind its back.
    fn rebuild(&self, recording: &Recording, cut: &Cut, seen: &Seen) -> Result<()> {
        self.reader.forget_all()?;
        seen.original.restore(&self.card.path, &self.hot)?;
        let card = OpenOptions::new().write(true).open(&self.card.path)?;
        cut.apply(&recording.log, &card)
    }
}

impl Case<'_> {
    /// What can be seen of the card before anything boots from it.
    fn check_card(&self) -> Result<()> {
        let before = &self.recording.before;
        facts::check_table(&self.worker.card, before)?;
        let boot_partition = self.cut.within(&self.recording.log, &before.range(1)?);
        if !is_untouched(&boot_partition) {
            self.worker.reader.scan()?;
            facts::check_vfat(&self.worker.reader.partition(1))?;
        }
        Ok(())
    }

    /// Mounts root, and makes sure that it is the image that was burned.
    pub fn begin(&self) -> Result<Boot<'_>> {
        let boot = Boot::begin(&self.worker.reader)?;
        let lower = self.lower()?;
        if !self.seen.lock().begun.contains_key(&lower) {
            facts::check_ext4(&self.worker.reader.partition(2))?;
            let before = &self.recording.before;
            let print = self.seen.original.fingerprint(&self.worker.card.path, before.range(2)?, &before.no_content)?;
            if !self.seen.lock().whole.contains(&print) {
                self.check_image(boot.root())?;
                self.seen.lock().whole.insert(print);
            }
            self.seen.lock().begun.insert(lower, print);
        }
        Ok(boot)
    }

    /// The same at the end: it depends on the image at the beginning alone. What that was may have been forgotten meanwhile.
    pub fn check_image_at_end(&self) -> Result<()> {
        let begun = self.seen.lock().begun.get(&self.lower()?).copied();
        if begun.is_none_or(|print| !self.seen.lock().ended.contains(&print)) {
            boot::look(&self.worker.reader.partition(2), |root| self.check_image(root))?;
            self.seen.lock().ended.extend(begun);
        }
        Ok(())
    }

    fn check_image(&self, root: &Path) -> Result<()> {
        facts::check_image(Path::new(boot::BEFORE), root)
    }

    fn lower(&self) -> Result<Cut> {
        Ok(self.cut.within(&self.recording.log, &self.recording.before.range(2)?))
    }
}

fn is_untouched(cut: &Cut) -> bool {
    cut.writes.is_empty() && cut.torn.is_none()
}
