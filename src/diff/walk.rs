//! The walk over the upper. The lower is asked only for the paths that the upper has, so its size does not matter.

use super::change::{Change, Details, Pair, What};
use super::compare::{Side, compare};
use super::layers::{Directory, Layers, Located, shown};
use super::stat::{self, Stat};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// So many entries of a directory are looked at before it is closed, and what is in its directories comes.
const BATCH: usize = 4096;
/// So many entries are looked at by one thread at a time.
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
        Located::Upper(directory) => {
            let found = Place::open(layers, at.parent().unwrap_or(at), &directory)
                .map_or_else(Found::from, |place| place.look(at, None));
            walk.say(at, found);
        }
        Located::Unchanged(_) => {}
        Located::Hidden(was) => walk.say(at, Found::only(at, What::Deleted, &was, Details::default())),
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
    fn only(path: &Path, what: What, is: &Stat, details: Details) -> Found {
        let change = Change { path: path.to_owned(), what, file_type: is.file_type(), details };
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
        let looked = Place::open(self.layers, root, directory).and_then(|place| {
            let (upper, lower) = (Stat::of(&self.layers.upper(root))?, Stat::of(&self.layers.lower(root))?);
            Ok(place.both(root, (&upper, None), (root, &lower)))
        });
        let found = looked.unwrap_or_else(Found::from);
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
            // Closed again before what is in it is gone into, or a deep tree would need more open files than there are.
            let mut later = Vec::new();
            match Place::open(self.layers, path, directory) {
                Ok(place) => place.look_at_all(path, batch, &mut |name, found| {
                    if later.is_empty() && found.inside.is_none() {
                        self.say(&path.join(name), found);
                    } else {
                        later.push((path.join(name), found));
                    }
                }),
                Err(error) => return self.unreadable(path, error),
            }
            for (path, found) in later {
                self.say(&path, found);
            }
        }
    }
}

/// A directory of the upper, open.
struct Place<'a> {
    layers: &'a Layers,
    directory: &'a Directory,
    upper: OwnedFd,
    /// The directory that it is merged with.
    lower: Option<OwnedFd>,
}

/// What the lower has in the place of an entry of the upper: where, and what it is.
type Below = (PathBuf, Stat);

impl Place<'_> {
    /// The upper's directory `path`.
    fn open<'a>(layers: &'a Layers, path: &Path, directory: &'a Directory) -> io::Result<Place<'a>> {
        let upper = stat::directory(&layers.upper(path))?;
        let lower = directory.lower.as_deref().map(|path| stat::directory(&layers.lower(path))).transpose()?;
        Ok(Place { layers, directory, upper, lower })
    }

    /// Looks at these entries of it, by several threads where there are many, for most of the time it is the kernel that works; and
    /// tells in their order what was found, as soon as that is known.
    fn look_at_all(&self, path: &Path, names: &[Name], tell: &mut dyn FnMut(&OsStr, Found)) {
        let look_at = |(name, file_type): &Name| self.look(&path.join(name), Some(*file_type));
        let threads = (names.len() / PART).min(thread::available_parallelism().map_or(1, usize::from)).min(THREADS);
        if threads < 2 {
            return names.iter().for_each(|name| tell(&name.0, look_at(name)));
        }
        let parts: Vec<&[Name]> = names.chunks(PART).collect();
        let (parts, next) = (&parts, &AtomicUsize::new(0));
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::channel();
            for _ in 0..threads {
                let sender = sender.clone();
                scope.spawn(move || {
                    while let Some((number, part)) = take(parts, next) {
                        let found: Vec<Found> = part.iter().map(look_at).collect();
                        if sender.send((number, found)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            let (mut early, mut due) = (BTreeMap::new(), 0);
            for (number, found) in receiver {
                early.insert(number, found);
                while let Some(found) = early.remove(&due) {
                    parts[due].iter().zip(found).for_each(|((name, _), found)| tell(name, found));
                    due += 1;
                }
            }
        });
    }

    /// Looks at the entry `path` of it.
    fn look(&self, path: &Path, known: Option<fs::FileType>) -> Found {
        self.try_look(path, known).unwrap_or_else(Found::from)
    }

    fn below(&self, name: &OsStr) -> io::Result<Option<Below>> {
        let (Some(parent), Some(open)) = (&self.directory.lower, &self.lower) else { return Ok(None) };
        Ok(shown(Stat::at(open, name))?.map(|stat| (parent.join(name), stat)))
    }

    fn try_look(&self, path: &Path, known: Option<fs::FileType>) -> io::Result<Found> {
        let name = path.file_name().unwrap_or_default();
        let lower = self.below(name)?;
        let whiteout_files = self.directory.whiteout_files;
        // Of what is new and cannot be a whiteout, the type is all there is to know, and reading the directory told it already.
        if let (None, Some(file_type), false) = (&lower, known, whiteout_files) {
            if !file_type.is_dir() && !file_type.is_char_device() {
                let (file_type, details) = (file_type.into(), Details::default());
                let change = Change { path: path.to_owned(), what: What::Added, file_type, details };
                return Ok(Found { change: Some(Box::new(change)), ..Found::default() });
            }
        }
        // Two files are compared by their content, as a rule: to ask an open one is to look its name up once instead of twice.
        let both_files = known.is_some_and(|t| t.is_file()) && lower.as_ref().is_some_and(|(_, was)| was.is_file());
        let open = if both_files { stat::open_at(&self.upper, name).ok() } else { None };
        let upper = open.as_ref().map_or_else(|| Stat::at(&self.upper, name), Stat::of_file)?;
        if self.layers.is_whiteout(path, &upper, whiteout_files)? {
            return Ok(match &lower {
                Some((_, was)) => Found::only(path, What::Deleted, was, Details::default()),
                None => Found::default(),
            });
        }
        if upper.is_dir() {
            return self.look_at_directory(path, &upper, lower.as_ref());
        }
        Ok(match &lower {
            None => Found::only(path, What::Added, &upper, Details::default()),
            Some((_, was)) if was.is_dir() => Found::only(path, What::Replaced, &upper, types(was, &upper)),
            Some((lower, was)) => self.both(path, (&upper, open), (lower, was)),
        })
    }

    /// The upper's directory `path`; `lower` is what the lower has in its place.
    fn look_at_directory(&self, path: &Path, upper: &Stat, lower: Option<&Below>) -> io::Result<Found> {
        let marks = self.layers.marks(path)?;
        let merged = self.layers.merged_with(path, &marks, self.directory.lower.as_deref())?;
        let renamed_from = merged.as_ref().map(|(from, _)| from.clone()).filter(|_| marks.redirect.is_some());
        let found = match (lower, &merged) {
            (Some((_, was)), _) if !was.is_dir() => {
                Found::only(path, What::Modified, upper, Details { renamed_from, ..types(was, upper) })
            }
            (Some((at, was)), Some(_)) if renamed_from.is_none() => self.both(path, (upper, None), (at, was)),
            (here, _) => {
                let what = if here.is_some() { What::Replaced } else { What::Added };
                Found::only(path, what, upper, Details { renamed_from, ..Details::default() })
            }
        };
        let lower = merged.map(|(path, _)| path);
        Ok(Found { inside: Some(Directory { lower, whiteout_files: marks.whiteout_files }), ..found })
    }

    /// A path that both have, and that is a directory in both or in none. The upper's may be open.
    fn both(&self, path: &Path, (upper, open): (&Stat, Option<File>), (lower_path, lower): (&Path, &Stat)) -> Found {
        let (in_upper, in_lower) = (self.layers.upper(path), self.layers.lower(lower_path));
        let (name, lower_name) = (path.file_name(), lower_path.file_name());
        let upper = Side { path: &in_upper, stat: upper, name: name.map(|name| (&self.upper, name)), open };
        let lower = Side { path: &in_lower, stat: lower, name: self.lower.as_ref().zip(lower_name), open: None };
        let content = || self.layers.content(path, self.directory.lower.as_deref());
        let is = upper.stat;
        match compare(self.layers, lower, upper, content) {
            Ok(details) if details.is_empty() => Found::default(),
            Ok(details) => Found::only(path, What::Modified, is, details),
            Err(error) => error.into(),
        }
    }
}

/// The next part that no thread has taken, and its number.
fn take<'a>(parts: &[&'a [Name]], next: &AtomicUsize) -> Option<(usize, &'a [Name])> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    Some((number, *parts.get(number)?))
}

fn types(from: &Stat, to: &Stat) -> Details {
    Details { file_type: Some(Pair { from: from.file_type(), to: to.file_type() }), ..Details::default() }
}
