//! Random work on random trees through a real overlay: `diff`, which reads the upper, must say what a comparison of the node with the image
//! says.

use super::{changes, overlay};
use burnonce::diff::change::{Attributes, Change, Details, FileType, Owner, Pair, What};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

/// Trees; each of them is another seed.
const ROUNDS: u64 = 100;
/// Few names, so that they are used again; some of them are meant ill.
const NAMES: [&[u8]; 6] = [b"a", b"b", b"c\nA /x", b"\xff\x1b", b".wh.a", b"-r"];

/// Numbers that look random (xorshift64, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }

    /// A path in a directory below `root`, at most four names deep.
    fn path(&mut self, root: &Path) -> PathBuf {
        let mut path = PathBuf::new();
        for _ in 0..4 {
            path.push(OsStr::from_bytes(NAMES[self.below(NAMES.len())]));
            if !fs::symlink_metadata(root.join(&path)).is_ok_and(|found| found.is_dir()) || self.below(3) == 0 {
                break;
            }
        }
        path
    }

    fn content(&mut self) -> Vec<u8> {
        vec![b'x' + u8::try_from(self.below(2)).unwrap(); [0, 1, 5, 70_000][self.below(4)]]
    }
}

/// One of what a shell can do. What is not possible is not done.
fn act(root: &Path, dice: &mut Dice, made: &mut BTreeSet<PathBuf>) {
    let (path, other) = (dice.path(root), dice.path(root));
    let at = root.join(&path);
    let _ = match dice.below(20) {
        0 | 1 | 14 | 15 => fs::write(&at, dice.content()),
        2 => OpenOptions::new().append(true).open(&at).and_then(|mut file| file.write_all(b"z")),
        3 if !at.is_symlink() => {
            fs::set_permissions(&at, Permissions::from_mode([0o600, 0o644, 0o4755][dice.below(3)]))
        }
        4 => lchown(&at, Some([0, 7][dice.below(2)]), Some([0, 8][dice.below(2)])),
        5 => fs::remove_file(&at),
        6 => fs::remove_dir_all(&at).map(|()| made.retain(|kept| !kept.starts_with(&path))),
        7 | 8 | 16..=19 => fs::create_dir(&at).map(|()| made.extend([path])),
        9 => symlink(&other, &at),
        10 => fs::hard_link(&at, root.join(&other)),
        11 => xattr::set(&at, ["user.a", "trusted.b"][dice.below(2)], [&b""[..], b"1"][dice.below(2)]),
        12 => fs::rename(&at, root.join(&other)).map(|()| {
            // A directory that replaced an empty one, and all that were made in it.
            made.retain(|kept| !kept.starts_with(&other) || path == other);
            let moved: Vec<PathBuf> = made.iter().filter(|made| made.starts_with(&path)).cloned().collect();
            for old in moved {
                made.remove(&old);
                let rest = old.strip_prefix(&path).unwrap();
                made.insert(if rest.as_os_str().is_empty() { other.clone() } else { other.join(rest) });
            }
        }),
        _ => OpenOptions::new().append(true).open(&at).and_then(|file| file.set_modified(std::time::UNIX_EPOCH)),
    };
}

/// The comparison of two whole trees. Which directories were `made` on the node cannot be seen in them.
struct Compared<'a> {
    image: &'a Path,
    node: &'a Path,
    made: &'a BTreeSet<PathBuf>,
    found: Vec<Change>,
}

impl Compared<'_> {
    /// `hidden`: nothing of the image shows here.
    fn directory(&mut self, path: &Path, hidden: bool) {
        let image = if hidden { BTreeSet::new() } else { names(&self.image.join(path)) };
        for name in image.union(&names(&self.node.join(path))) {
            let path = path.join(name);
            let was = fs::symlink_metadata(self.image.join(&path)).ok().filter(|_| !hidden);
            let is = fs::symlink_metadata(self.node.join(&path)).ok();
            self.entry(&path, was.as_ref(), is.as_ref());
        }
    }

    fn entry(&mut self, path: &Path, was: Option<&Metadata>, is: Option<&Metadata>) {
        let Some(is) = is else {
            return self.add(path, What::Deleted, was.unwrap(), Details::default());
        };
        let new = is.is_dir() && self.made.contains(path);
        match was {
            None => self.add(path, What::Added, is, Details::default()),
            Some(was) if was.is_dir() && new => self.add(path, What::Replaced, is, Details::default()),
            Some(was) if was.file_type() != is.file_type() => {
                let what = if was.is_dir() { What::Replaced } else { What::Modified };
                let file_type = Pair::unequal(FileType::from(was.file_type()), FileType::from(is.file_type()));
                self.add(path, what, is, Details { file_type, ..Details::default() });
            }
            Some(was) => {
                let details = self.details(path, was, is);
                if details != Details::default() {
                    self.add(path, What::Modified, is, details);
                }
            }
        }
        if is.is_dir() {
            self.directory(path, new || !was.is_some_and(Metadata::is_dir));
        }
    }

    fn add(&mut self, path: &Path, what: What, of: &Metadata, details: Details) {
        self.found.push(Change { path: Path::new("/").join(path), what, file_type: of.file_type().into(), details });
    }

    fn details(&self, path: &Path, was: &Metadata, is: &Metadata) -> Details {
        let (image, node) = (self.image.join(path), self.node.join(path));
        let owner = |of: &Metadata| Owner { uid: of.uid(), gid: of.gid() };
        let same = !is.is_file() || fs::read(&image).unwrap() == fs::read(&node).unwrap();
        let (old, new) = (attributes(&image), attributes(&node));
        let only = |a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>| -> Vec<String> {
            a.keys().filter(|name| !b.contains_key(*name)).cloned().collect()
        };
        let changed = old.iter().filter(|(name, value)| new.get(*name).is_some_and(|new| new != *value));
        let xattrs = Attributes {
            added: only(&new, &old),
            removed: only(&old, &new),
            changed: changed.map(|(name, _)| name.clone()).collect(),
        };
        Details {
            owner: Pair::unequal(owner(was), owner(is)),
            mode: Pair::unequal(was.mode() & 0o7777, is.mode() & 0o7777),
            content: (!same).then_some(Pair { from: was.len(), to: is.len() }),
            target: fs::read_link(&image).ok().and_then(|target| Pair::unequal(target, fs::read_link(&node).unwrap())),
            xattrs: Some(xattrs).filter(|found| *found != Attributes::default()),
            touched: is.is_file() && same && was.modified().unwrap() != is.modified().unwrap(),
            ..Details::default()
        }
    }
}

fn names(directory: &Path) -> BTreeSet<OsString> {
    fs::read_dir(directory).map_or(BTreeSet::new(), |all| all.map(|entry| entry.unwrap().file_name()).collect())
}

fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let value = |name: OsString| (name.to_str().unwrap().to_owned(), xattr::get(path, &name).unwrap().unwrap());
    xattr::list(path).unwrap().map(value).collect()
}

#[test]
fn random_work_is_told_as_a_comparison_of_both_trees_tells_it() {
    let (mut told, mut kinds) = (0, BTreeSet::new());
    for seed in 1..=ROUNDS {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut burned = BTreeSet::new();
        let (directory, layers, merged) =
            overlay("", |lower| (0..150).for_each(|_| act(lower, &mut dice, &mut burned)));
        let mut made = BTreeSet::new();
        for _ in 0..80 {
            act(&merged, &mut dice, &mut made);
        }
        let image = directory.path().join("lower");
        let mut compared = Compared { image: &image, node: &merged, made: &made, found: Vec::new() };
        compared.directory(Path::new(""), false);
        let found = changes(&layers, "/");
        assert_eq!(found, compared.found, "seed {seed}");
        // Each of them alone, too.
        for change in &found {
            let alone = changes(&layers, change.path.to_str().map_or("/", |path| path));
            assert!(alone.contains(change), "seed {seed}: {change:?} alone gives {alone:?}");
        }
        told += found.len();
        kinds.extend(found.iter().map(|change| change.what.letter()));
        for at in [&merged, directory.path()] {
            // Another test that starts a program just now has what is open here open as well, for a moment.
            nix::mount::umount2(at, nix::mount::MntFlags::MNT_DETACH).unwrap();
        }
    }
    assert!(told > 1000 && kinds.len() == 4, "{told} changes of the kinds {kinds:?}");
}
