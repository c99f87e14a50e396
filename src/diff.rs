//! `burnonce diff`: what changed since the image was burned. Changes nothing.
//!
//! The upper directory is read, and of the lower what has the same paths; never the tree that both make together. So the time it takes
//! grows with what was written, not with the image.
//!
//! `--json` prints one object. `changes` has one element for each line of the text, in the same order: `path`, `path_bytes` (where the
//! path is no UTF-8), `change` ([`change::What`]), `type` ([`change::FileType`]), `package` (with `--package`), and `details`
//! ([`change::Details`]), where something differs. `folded` has a `pattern` and the number of its `changes` for each pattern of
//! `diff.fold` that matched some.
//!
//! The exit code is 0 whether anything changed or not, with `--content`, too; 1 where something could not be read.

use crate::output::{escaped, print, tell};
use crate::upper::Upper;
use crate::{Exit, config, mounts, observation, observe, overlay};
use anyhow::{Context, Result, bail};
use change::{Change, What};
use fold::Fold;
use layers::Layers;
use package::Packages;
use std::cell::OnceCell;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use text::Style;
use walk::Unreadable;

pub mod change;
mod compare;
pub mod content;
pub mod fold;
pub mod layers;
pub mod package;
mod place;
pub mod stat;
mod text;
pub mod walk;

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Only at and below this path; relative to the current directory.
    pub path: Option<PathBuf>,
    pub json: bool,
    /// With the package that owns each path.
    pub package: bool,
    /// The change of this file's content, and nothing else.
    pub content: Option<PathBuf>,
    /// Nothing is folded.
    pub all: bool,
}

/// How much is gathered before it is printed.
const CHUNK: usize = 64 << 10;
/// The most unreadable paths that are named.
const NAMED: usize = 10;

/// Prints what changed on this node.
///
/// # Errors
/// The node does not run on an overlay that overlayroot made; the path is not on it, or nowhere. Something that cannot be read is no
/// error: it is told, and the exit code is 1.
pub fn run(options: &Options) -> Result<Exit> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("reading /proc/self/mountinfo")?;
    let mounts = mounts::parse(&table);
    let layers = layers(&mounts)?;
    let place = |path: &Path| -> Result<PathBuf> {
        let path = place::resolve(path)?;
        place::check(&path, &mounts)?;
        Ok(path)
    };
    if let Some(file) = &options.content {
        let file = place(file)?;
        match content::content(&layers, &file)? {
            Some(text) => print(text),
            None => tell(format_args!("the content of {} is as it was burned", escaped(&file))),
        }
        return Ok(Exit::Done);
    }
    let at = options.path.as_deref().map_or_else(|| Ok(PathBuf::from("/")), place)?;
    let root = Path::new("/");
    let fold = if options.all { Vec::new() } else { folded(root) };
    let packages = if options.package { Some(Owners::read(root, &layers)?) } else { None };
    let mut report = Report {
        fold: Fold::new(&fold, &at),
        packages,
        json: options.json,
        style: Style { colour: colour(), ..Style::default() },
        pending: String::new(),
        listed: 0,
        failed: None,
    };
    let unreadable = walk::changes(&layers, &at, &mut |change| report.add(&change))?;
    report.end()?;
    Ok(warn(&unreadable))
}

/// The layers of root.
fn layers(mounts: &[mounts::Mount]) -> Result<Layers> {
    let on_root = mounts::at(mounts, "/").context("/proc/self/mountinfo names no root file system")?;
    match observe::root_mode(mounts, on_root) {
        observation::Root::Overlay { .. } => {}
        observation::Root::Plain { .. } => {
            bail!(
                "root is no overlay in this boot: what was written is not kept apart from the image, so nothing tells it from that"
            )
        }
        observation::Root::OtherOverlay => {
            bail!("root is an overlay that burnonce did not configure; where it keeps what was written is not known")
        }
    }
    let user_marks = on_root.super_options.split(',').any(|option| option == "userxattr");
    Ok(Layers::new(&Upper::at(overlay::UPPER).overlay(), Path::new(overlay::LOWER), user_marks))
}

fn folded(root: &Path) -> Vec<String> {
    let (loaded, config) = config::of(root);
    if let Err(error) = loaded {
        tell(format_args!("{error:#}; folded is what the default says"));
    }
    config.diff.fold
}

/// Only where somebody looks, and does not mind (https://no-color.org).
fn colour() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    std::io::stdout().is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// The packages of the node, and those of the image for what the node has not any more.
struct Owners {
    node: Packages,
    lower: PathBuf,
    image: OnceCell<Option<Packages>>,
}

impl Owners {
    fn read(root: &Path, layers: &Layers) -> Result<Owners> {
        Ok(Owners { node: Packages::read(root)?, lower: layers.lower(Path::new("/")), image: OnceCell::new() })
    }

    fn of(&self, change: &Change) -> Option<&str> {
        let owner = self.node.owner(&change.path);
        if owner.is_some() || !matches!(change.what, What::Deleted | What::Replaced) {
            return owner;
        }
        // An image without dpkg has no packages.
        self.image.get_or_init(|| Packages::read(&self.lower).ok()).as_ref()?.owner(&change.path)
    }
}

/// Prints changes as they come.
struct Report {
    fold: Fold,
    packages: Option<Owners>,
    json: bool,
    style: Style,
    pending: String,
    listed: u64,
    failed: Option<serde_json::Error>,
}

impl Report {
    fn add(&mut self, change: &Change) {
        if self.fold.takes(&change.path) {
            return;
        }
        let package = self.packages.as_ref().map(|packages| packages.of(change));
        if self.json {
            self.pending += if self.listed == 0 { "{\"changes\":[\n" } else { ",\n" };
            match change::to_json(change, package) {
                Ok(element) => self.pending += &element,
                Err(error) => self.failed = Some(error),
            }
        } else {
            self.pending += &self.style.line(change, package);
        }
        self.listed += 1;
        if self.pending.len() >= CHUNK {
            print(std::mem::take(&mut self.pending));
        }
    }

    fn end(mut self) -> Result<()> {
        if let Some(error) = self.failed {
            return Err(error).context("writing JSON");
        }
        if self.json {
            let folded: Vec<_> =
                self.fold.counts().map(|(p, n)| serde_json::json!({ "pattern": p, "changes": n })).collect();
            self.pending += if self.listed == 0 { "{\"changes\":[" } else { "\n" };
            self.pending += &format!("],\"folded\":{}}}\n", serde_json::to_string(&folded)?);
        } else {
            for (pattern, count) in self.fold.counts() {
                let changes = if count == 1 { "change" } else { "changes" };
                self.pending += &format!("# folded: {}: {count} {changes} (--all lists them)\n", escaped(pattern));
            }
        }
        print(self.pending);
        Ok(())
    }
}

/// Says what could not be read.
fn warn(unreadable: &[Unreadable]) -> Exit {
    for Unreadable { path, error } in unreadable.iter().take(NAMED) {
        tell(format_args!("{} could not be read: {error}", escaped(path)));
    }
    match unreadable.len() {
        0 => return Exit::Done,
        n if n > NAMED => tell(format_args!("and {} more; what is above is not all", n - NAMED)),
        _ => {}
    }
    Exit::Failed
}
