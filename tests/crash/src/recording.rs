//! What a matrix is made of: a card as it was, and what was then written to it. It is kept in a directory, so that a cut which did harm
//! can be tried again.

use std::collections::HashSet;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burnonce::table::Table;
use burnonce_vm::card::{Card, SECTOR};
use burnonce_vm::writes;

use crate::cut::Log;
use crate::facts;
use crate::reader::table_of;
use crate::story::Story;

/// Files of a recording in its directory.
const BEFORE: &str = "before.img";
const WRITES: &str = "writes.img";
const STORY: &str = "story";

/// What names of recordings of emulated nodes begin with.
pub const BY_NODE: &str = "node-";

/// A card and what was written to it.
pub struct Recording {
    /// What it is called in the report.
    pub name: String,
    pub story: Story,
    pub dir: PathBuf,
    pub log: Log,
    pub before: Before,
}

/// The card before the first of the writes.
pub struct Before {
    pub card: Card,
    pub table: Table,
    pub first_sector: Vec<u8>,
    /// Where on the card the image's journal and superblock are: they change though no file does.
    pub no_content: HashSet<u64>,
}

/// Where the log of a recording in `dir` goes.
pub fn log_in(dir: &Path) -> PathBuf {
    dir.join(WRITES)
}

/// Makes the directory `dir` of a recording, with the card as it is now.
pub fn prepare(dir: &Path, card: &Card, story: Story) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("removing the old {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    fs::write(dir.join(STORY), story.name())?;
    card.duplicate(&dir.join(BEFORE)).map(drop)
}

impl Recording {
    /// Reads the recording in `dir`, which is named after it.
    pub fn load(dir: &Path) -> Result<Self> {
        let name = dir.file_name().context("a recording has a name")?.to_string_lossy().into_owned();
        let card = Card { path: dir.join(BEFORE) };
        let story = fs::read_to_string(dir.join(STORY)).with_context(|| format!("reading {}", dir.display()))?;
        let log = Log::new(writes::read(&dir.join(WRITES))?);
        let whole = |write: &writes::Write| write.offset % SECTOR == 0 && write.data.len() as u64 % SECTOR == 0;
        ensure!(
            !log.writes.is_empty() && log.writes.iter().all(whole),
            "{name}: nothing was written, or no whole sectors"
        );
        let no_content = facts::journal(&card, 2)?;
        let before = Before {
            table: table_of(&mut File::open(&card.path)?)?,
            first_sector: card.first_sector()?,
            no_content,
            card,
        };
        Ok(Self { name, story: story.trim().parse()?, dir: dir.to_path_buf(), log, before })
    }

    /// Whether an emulated node has written it, whose kernel mounts everything.
    pub fn by_node(&self) -> bool {
        self.name.starts_with(BY_NODE)
    }
}

impl Before {
    /// The bytes of the card that are partition `number`.
    pub fn range(&self, number: u32) -> Result<Range<u64>> {
        let partition = self.table.partitions.iter().find(|partition| partition.number == number);
        let partition = partition.with_context(|| format!("the card had no partition {number}"))?;
        Ok(partition.start.0 * SECTOR..(partition.last().0 + 1) * SECTOR)
    }
}
