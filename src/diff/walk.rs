//! The walk over the upper. The lower is asked only for the paths that the upper has, so its size does not matter.

use super::change::{Change, Details, FileType, Pair, What};
use super::compare::{Side, compare};
use super::layers::{Directory, Layers, Located};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

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
        Located::Upper(directory) => walk.entry(at, &directory, None),
        Located::Unchanged(_) => {}
        Located::Hidden(metadata) => walk.tell(at, What::Deleted, &metadata, Details::default()),
        Located::Absent => bail!("{}: neither the image nor this node has it", at.display()),
    }
    Ok(walk.unreadable)
}

struct Walk<'a> {
    layers: &'a Layers,
    visit: &'a mut dyn FnMut(Change),
    unreadable: Vec<Unreadable>,
}

impl Walk<'_> {
    fn tell(&mut self, path: &Path, what: What, is: &Metadata, details: Details) {
        (self.visit)(Change { path: path.to_owned(), what, file_type: is.file_type().into(), details });
    }

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
        match looked {
            Ok((upper, lower)) => self.both(root, &upper, (root, &lower), Some(root)),
            Err(error) => self.unreadable(root, error),
        }
        self.inside(root, directory);
    }

    /// All that is in the upper's directory `path`.
    fn inside(&mut self, path: &Path, directory: &Directory) {
        let mut names: Vec<(OsString, fs::FileType)> = Vec::new();
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
        for (name, file_type) in names {
            self.entry(&path.join(name), directory, Some(file_type));
        }
    }

    /// One entry of the upper's directory `directory`.
    fn entry(&mut self, path: &Path, directory: &Directory, known: Option<fs::FileType>) {
        if let Err(error) = self.try_entry(path, directory, known) {
            self.unreadable(path, error);
        }
    }

    fn try_entry(&mut self, path: &Path, directory: &Directory, known: Option<fs::FileType>) -> io::Result<()> {
        let lower = match (&directory.lower, path.file_name()) {
            (Some(parent), Some(name)) => {
                let lower = parent.join(name);
                self.layers.lower_entry(&lower)?.map(|metadata| (lower, metadata))
            }
            _ => None,
        };
        // Of what is new and cannot be a whiteout, the type is all there is to know, and reading the directory told it already.
        if let (None, Some(file_type), false) = (&lower, known, directory.whiteout_files) {
            if !file_type.is_dir() && !file_type.is_char_device() {
                let (file_type, details) = (file_type.into(), Details::default());
                (self.visit)(Change { path: path.to_owned(), what: What::Added, file_type, details });
                return Ok(());
            }
        }
        let upper = fs::symlink_metadata(self.layers.upper(path))?;
        if self.layers.is_whiteout(path, &upper, directory.whiteout_files)? {
            if let Some((_, metadata)) = &lower {
                self.tell(path, What::Deleted, metadata, Details::default());
            }
            return Ok(());
        }
        if upper.is_dir() {
            return self.directory(path, &upper, lower.as_ref(), directory);
        }
        match &lower {
            None => self.tell(path, What::Added, &upper, Details::default()),
            Some((_, was)) if was.is_dir() => self.tell(path, What::Replaced, &upper, types(was, &upper)),
            Some((lower, was)) => self.both(path, &upper, (lower, was), directory.lower.as_deref()),
        }
        Ok(())
    }

    /// The upper's directory `path`, in `parent`; `lower` is what the lower has in its place.
    fn directory(
        &mut self,
        path: &Path,
        upper: &Metadata,
        lower: Option<&(PathBuf, Metadata)>,
        parent: &Directory,
    ) -> io::Result<()> {
        let marks = self.layers.marks(path)?;
        let merged = self.layers.merged_with(path, &marks, parent.lower.as_deref())?;
        let renamed_from = merged.as_ref().map(|(from, _)| from.clone()).filter(|_| marks.redirect.is_some());
        match (lower, &merged) {
            (Some((_, was)), _) if !was.is_dir() => {
                self.tell(path, What::Modified, upper, Details { renamed_from, ..types(was, upper) });
            }
            (Some((at, was)), Some(_)) if renamed_from.is_none() => self.both(path, upper, (at, was), None),
            (here, _) => {
                let what = if here.is_some() { What::Replaced } else { What::Added };
                self.tell(path, what, upper, Details { renamed_from, ..Details::default() });
            }
        }
        let lower = merged.map(|(path, _)| path);
        self.inside(path, &Directory { lower, whiteout_files: marks.whiteout_files });
        Ok(())
    }

    /// A path that both have, and that is a directory in both or in none. `parent` is where the lower has the directory it is in.
    fn both(&mut self, path: &Path, upper: &Metadata, (lower_path, lower): (&Path, &Metadata), parent: Option<&Path>) {
        let (in_upper, in_lower) = (self.layers.upper(path), self.layers.lower(lower_path));
        let content = if upper.is_file() { self.layers.content(path, parent) } else { Ok(in_upper.clone()) };
        let compared = content.and_then(|content| {
            let side = |path, metadata| Side { path, metadata };
            compare(self.layers, side(&in_lower, lower), side(&in_upper, upper), &content)
        });
        match compared {
            Ok(details) if details.is_empty() => {}
            Ok(details) => self.tell(path, What::Modified, upper, details),
            Err(error) => self.unreadable(path, error),
        }
    }
}

fn types(from: &Metadata, to: &Metadata) -> Details {
    let of = |metadata: &Metadata| FileType::from(metadata.file_type());
    Details { file_type: Some(Pair { from: of(from), to: of(to) }), ..Details::default() }
}
