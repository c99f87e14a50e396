//! The frame around a scenario: a directory of its own, cards in it, and an end that tells.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::card::{Card, GIB};
use crate::host;
use crate::image::Image;
use crate::node::Node;

/// What boots, where its name does not end as an image's.
const BOOTED: [&str; 3] = ["vmlinuz", "initramfs8", "bcm2710-rpi-3-b.dtb"];

/// What a scenario works with.
pub struct Bed {
    dir: PathBuf,
}

/// Runs a scenario: a test that fails, with the whole chain of reasons, where this machine cannot run it or it does not
/// hold. The cards of a failed one are kept beside its logs.
///
/// # Panics
/// That is how a test fails.
pub fn scenario(name: &str, body: impl FnOnce(&Bed) -> Result<()>) {
    let start = Instant::now();
    let outcome = host::require().and_then(|()| {
        let bed = Bed::new(name)?;
        body(&bed).with_context(|| format!("logs and cards are kept in {}", bed.dir.display()))?;
        bed.remove_cards()
    });
    match outcome {
        Ok(()) => println!("vm: {name}: held, {} s", start.elapsed().as_secs()),
        Err(error) => panic!("{name}, after {} s: {error:#}", start.elapsed().as_secs()),
    }
}

impl Bed {
    /// A bed outside of a scenario. Its directory is made anew.
    pub fn new(name: &str) -> Result<Bed> {
        Ok(Bed { dir: host::fresh_log_dir(name)? })
    }

    /// A card of 8 GiB with `image` burned to it.
    pub fn card(&self, image: &Image) -> Result<Card> {
        self.card_of(image, 8 * GIB)
    }

    /// A card of `size` bytes with `image` burned to it.
    pub fn card_of(&self, image: &Image, size: u64) -> Result<Card> {
        let card = Card::blank(&self.dir.join("card.img"), size)?;
        card.burn(&image.path)?;
        Ok(card)
    }

    /// A card of 8 GiB that `image` was burned to and that has been converted and shut down. Converting is done once.
    pub fn converted(&self, image: &Image) -> Result<Card> {
        static CONVERTING: Mutex<()> = Mutex::new(());
        let image_name = image.path.file_stem().context("an image has a name")?.to_string_lossy();
        let finished = host::cache().join(format!("converted-{image_name}.img"));
        // A scenario that failed to convert must not fail all the others with a poisoned lock.
        let guard = CONVERTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !finished.exists() {
            let mut node = self.node(self.card(image)?);
            node.settle(2).context("converting a card")?;
            node.shutdown()?;
            let copy = node.card.duplicate(&finished.with_extension("new"))?;
            std::fs::rename(copy.path, &finished)?;
            drop_older(&finished)?;
        }
        drop(guard);
        Card { path: finished }.duplicate(&self.dir.join("card.img"))
    }

    /// A bed within this one, for a second node and its card.
    pub fn within(&self, name: &str) -> Result<Bed> {
        let dir = self.dir.join(name);
        std::fs::create_dir(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(Bed { dir })
    }

    /// A node with `card` in it, off.
    pub fn node(&self, card: Card) -> Node {
        Node::new(card, &self.dir)
    }

    /// The scenario's own directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is large goes, the logs stay.
    pub fn remove_cards(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.is_dir() {
                Bed { dir: path }.remove_cards()?;
            } else if path.extension().is_some_and(|extension| extension == "img")
                || BOOTED.iter().any(|name| path.ends_with(name))
            {
                std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        Ok(())
    }
}

/// Converted cards of other images are of no use once the package has changed.
fn drop_older(newest: &Path) -> Result<()> {
    for entry in std::fs::read_dir(host::cache())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("converted-") && path.file_name() != newest.file_name() {
            std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}
