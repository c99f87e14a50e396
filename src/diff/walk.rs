//! The walk over the upper. The lower is asked only for the paths that the upper has, so its size does not matter.

use super::change::{Change, Details, FileType, Pair, What};
use super::compare::{Side, compare};
use super::layers::{Directory, Layers, Located};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::thread;

/// So many entries of a directory are looked at before what was found is told.
const BATCH: usize = 4096;
/// Fewer entries are not worth another thread.
const PART: usize = 128;
/// The most threads; a Raspberry Pi has four cores.
const THREADS: usize = 4;

/// A path that could not be looked at; the walk went on without it.
#[derive(Debug)]
pub struct Unreadable {
    pub path: PathBuf,
    pub error: io::Error,
}

/// Gives `visit` each change at and below `at`, an absolute path without `.`, `..` and symlinks to follow: a directory before what is in
/// it, and the names in it in the order of their bytes. Says what could not be read; what vanishes meanwhile is no error.
///
/// Not listed are directories that were copied up for what is in them, and files that were copied up and differ in nothing.
///
/// # Errors
/// Neither the image nor the node has `at`, or it cannot be looked at.
pub fn changes(layers: &Layers, at: &Path, visit: &mut dyn FnMut(Change)) -> anyhow::Result<Vec<Unreadable>> {
    use anyhow::{Context, bail};
    let mut walk = Walk { layers, visit, unreadable: Vec::new() };
    match layers.locate(at).with_context(|| format!("looking for {}", at.display()))? {
        Located::Upper(directory) if at.file_name().is_none() => walk.top(&directory),
        Located::Upper(directory) => walk.say(at, look(layers, at, &directory, None)),
        Located::Unchanged(_) => {}
        Located::Hidden(metadata) => walk.say(at, Found::only(at, What::Deleted, &metadata, Details::default())),
        Located::Absent => bail!("{}: neither the image nor this node has it", at.display()),
    }
    Ok(walk.unreadable)
}

/// What is to be told of one entry of the upper.
#[derive(Default)]
struct Found {
    change: Option<Box<Change>>,
    /// A directory: there is more in it.
    inside: Option<Directory>,
    error: Option<io::Error>,
}

impl Found {
    fn only(path: &Path, what: What, is: &Metadata, details: Details) -> Found {
        let change = Change { path: path.to_owned(), what, file_type: is.file_type().into(), details };
        Found { change: Some(Box::new(change)), ..Found::default() }
    }
}

impl From<io::Error> for Found {
    fn from(error: io::Error) -> Found {
        Found { error: Some(error), ..Found::default() }
    }
}

/// A name in a directory of the upper, and the type that reading the directory told.
type Name = (OsString, fs::FileType);

struct Walk<'a> {
    layers: &'a Layers,
    visit: &'a mut dyn FnMut(Change),
    unreadable: Vec<Unreadable>,
}

impl Walk<'_> {
    fn unreadable(&mut self, path: &Path, error: io::Error) {
        if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
            self.unreadable.push(Unreadable { path: path.to_owned(), error });
        }
    }

    /// The root of the overlay: only its attributes can differ.
    fn top(&mut self, directory: &Directory) {
        let root = Path::new("/");
        let looked = fs::symlink_metadata(self.layers.upper(root))
            .and_then(|upper| Ok((upper, fs::symlink_metadata(self.layers.lower(root))?)));
        let found = match looked {
            Ok((upper, lower)) => both(self.layers, root, &upper, (root, &lower), Some(root)),
            Err(error) => error.into(),
        };
        self.say(root, Found { inside: Some(directory.clone()), ..found });
    }

    fn say(&mut self, path: &Path, found: Found) {
        if let Some(error) = found.error {
            self.unreadable(path, error);
        }
        if let Some(change) = found.change {
            (self.visit)(*change);
        }
        if let Some(directory) = found.inside {
            self.inside(path, &directory);
        }
    }

    /// All that is in the upper's directory `path`.
    fn inside(&mut self, path: &Path, directory: &Directory) {
        let mut names: Vec<Name> = Vec::new();
        let entries = match fs::read_dir(self.layers.upper(path)) {
            Ok(entries) => entries,
            Err(error) => return self.unreadable(path, error),
        };
        for entry in entries {
            match entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))) {
                Ok(found) => names.push(found),
                Err(error) => self.unreadable(path, error),
            }
        }
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for batch in names.chunks(BATCH) {
            for ((name, _), found) in batch.iter().zip(look_at_all(self.layers, path, directory, batch)) {
                self.say(&path.join(name), found);
            }
        }
    }
}

/// Looks at these entries of the upper's directory `path`, by several threads where there are many: most of the time the kernel is
/// asked.
fn look_at_all(layers: &Layers, path: &Path, directory: &Directory, names: &[Name]) -> Vec<Found> {
    let look_at = |(name, file_type): &Name| look(layers, &path.join(name), directory, Some(*file_type));
    let threads = (names.len() / PART).min(thread::available_parallelism().map_or(1, usize::from)).min(THREADS);
    if threads < 2 {
        return names.iter().map(look_at).collect();
    }
    thread::scope(|scope| {
        let parts: Vec<_> = names
            .chunks(names.len().div_ceil(threads))
            .map(|part| scope.spawn(move || part.iter().map(look_at).collect::<Vec<Found>>()))
            .collect();
        let join = |part: thread::ScopedJoinHandle<'_, Vec<Found>>| {
            part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        parts.into_iter().flat_map(join).collect()
    })
}

/// Looks at one entry of the upper's directory `directory`.
fn look(layers: &Layers, path: &Path, directory: &Directory, known: Option<fs::FileType>) -> Found {
    try_look(layers, path, directory, known).unwrap_or_else(Found::from)
}

fn try_look(layers: &Layers, path: &Path, directory: &Directory, known: Option<fs::FileType>) -> io::Result<Found> {
    let lower = match (&directory.lower, path.file_name()) {
        (Some(parent), Some(name)) => {
            let lower = parent.join(name);
            layers.lower_entry(&lower)?.map(|metadata| (lower, metadata))
        }
        _ => None,
    };
    // Of what is new and cannot be a whiteout, the type is all there is to know, and reading the directory told it already.
    if let (None, Some(file_type), false) = (&lower, known, directory.whiteout_files) {
        if !file_type.is_dir() && !file_type.is_char_device() {
            let (file_type, details) = (file_type.into(), Details::default());
            let change = Change { path: path.to_owned(), what: What::Added, file_type, details };
            return Ok(Found { change: Some(Box::new(change)), ..Found::default() });
        }
    }
    let upper = fs::symlink_metadata(layers.upper(path))?;
    if layers.is_whiteout(path, &upper, directory.whiteout_files)? {
        return Ok(match &lower {
            Some((_, metadata)) => Found::only(path, What::Deleted, metadata, Details::default()),
            None => Found::default(),
        });
    }
    if upper.is_dir() {
        return look_at_directory(layers, path, &upper, lower.as_ref(), directory);
    }
    Ok(match &lower {
        None => Found::only(path, What::Added, &upper, Details::default()),
        Some((_, was)) if was.is_dir() => Found::only(path, What::Replaced, &upper, types(was, &upper)),
        Some((lower, was)) => both(layers, path, &upper, (lower, was), directory.lower.as_deref()),
    })
}

/// The upper's directory `path`, in `parent`; `lower` is what the lower has in its place.
fn look_at_directory(
    layers: &Layers,
    path: &Path,
    upper: &Metadata,
    lower: Option<&(PathBuf, Metadata)>,
    parent: &Directory,
) -> io::Result<Found> {
    let marks = layers.marks(path)?;
    let merged = layers.merged_with(path, &marks, parent.lower.as_deref())?;
    let renamed_from = merged.as_ref().map(|(from, _)| from.clone()).filter(|_| marks.redirect.is_some());
    let found = match (lower, &merged) {
        (Some((_, was)), _) if !was.is_dir() => {
            Found::only(path, What::Modified, upper, Details { renamed_from, ..types(was, upper) })
        }
        (Some((at, was)), Some(_)) if renamed_from.is_none() => both(layers, path, upper, (at, was), None),
        (here, _) => {
            let what = if here.is_some() { What::Replaced } else { What::Added };
            Found::only(path, what, upper, Details { renamed_from, ..Details::default() })
        }
    };
    let lower = merged.map(|(path, _)| path);
    Ok(Found { inside: Some(Directory { lower, whiteout_files: marks.whiteout_files }), ..found })
}

/// A path that both have, and that is a directory in both or in none. `parent` is where the lower has the directory it is in.
fn both(
    layers: &Layers,
    path: &Path,
    upper: &Metadata,
    (lower_path, lower): (&Path, &Metadata),
    parent: Option<&Path>,
) -> Found {
    let (in_upper, in_lower) = (layers.upper(path), layers.lower(lower_path));
    let side = |path, metadata| Side { path, metadata };
    let content = || layers.content(path, parent);
    match compare(layers, side(&in_lower, lower), side(&in_upper, upper), content) {
        Ok(details) if details.is_empty() => Found::default(),
        Ok(details) => Found::only(path, What::Modified, upper, details),
        Err(error) => error.into(),
    }
}

fn types(from: &Metadata, to: &Metadata) -> Details {
    let of = |metadata: &Metadata| FileType::from(metadata.file_type());
    Details { file_type: Some(Pair { from: of(from), to: of(to) }), ..Details::default() }
}
