//! What is on a card, as far as two cards that went through the same must be alike.

use super::bench::Bench;
use crate::card::{self, run};
use burnonce::overlay::{self, Configuration};
use burnonce::state;
use burnonce::upper::Upper;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What a file holds. Hundreds of pictures show the same: there is one copy of it.
type Content = Arc<Vec<u8>>;

/// Of every path: kind, mode and owner, and the content.
type Tree = BTreeMap<String, (String, Content)>;

/// The content of each path that was seen first.
static SEEN: Mutex<BTreeMap<String, Content>> = Mutex::new(BTreeMap::new());

/// The one copy of `content`, where `path` was seen with it before.
fn shared(path: &str, content: Vec<u8>) -> Content {
    let known = SEEN.lock().unwrap().entry(path.to_owned()).or_default().clone();
    if *known == content {
        return known;
    }
    let content = Arc::new(content);
    SEEN.lock().unwrap().insert(path.to_owned(), content.clone());
    content
}

/// The directory whose files take room and hold nothing.
pub const FILLER: &str = "overlay/filler";
const CONF: &str = "etc/overlayroot.local.conf";

pub struct Picture {
    first_sector: Vec<u8>,
    /// The boot partition, bytes.
    boot: Content,
    /// The image.
    root: Tree,
    sealed: bool,
    /// Where there is one.
    pub upper: Option<Tree>,
    /// What the boot partition shows to the agent.
    files: Tree,
}

impl Picture {
    /// Looks at a card that is not inserted. `sound`: the upper must be.
    pub fn take(bench: &mut Bench, sound: bool) -> Picture {
        let files = tree(&bench.boot_files(), &|_| false);
        let card = &mut bench.card;
        card.insert(false);
        let root = card.look(2, |at| tree(at, &|_| false));
        run("e2fsck", &["-fn", &card.partition(2)]);
        let sealed = run("dumpe2fs", &["-h", &card.partition(2)]).contains("read-only");
        let upper = card.table().get(2).map(|_| {
            if sound {
                run("e2fsck", &["-fn", &card.partition(3)]);
                return card.look(3, upper);
            }
            // A repair that failed may have left something that does not come up, until the next one.
            catch_unwind(AssertUnwindSafe(|| card.look(3, upper))).unwrap_or_default()
        });
        card.eject();
        let mut boot = vec![0; usize::try_from(card::BOOT.1 * 512).unwrap()];
        fs::File::open(card.file()).unwrap().read_exact_at(&mut boot, card::BOOT.0 * 512).unwrap();
        Picture {
            first_sector: card.first_sector(),
            boot: shared("the boot partition", boot),
            root,
            sealed,
            upper,
            files,
        }
    }

    /// Whether overlayroot's configuration says that the card was converted.
    pub fn is_configured(&self) -> bool {
        let text = self.root.get(CONF).map(|(_, content)| String::from_utf8_lossy(content).into_owned());
        matches!(text.map(|text| overlay::parse(&text)), Some(Configuration::Complete(_)))
    }

    /// Where `later` differs in what a run that failed must leave alone: the boot partition, the image but for the configuration, the
    /// partition table but for the third entry.
    pub fn damage(&self, later: &Picture) -> Option<String> {
        const SLOT: std::ops::Range<usize> = 446 + 32..446 + 48;
        let beside = |p: &Picture| [&p.first_sector[..SLOT.start], &p.first_sector[SLOT.end..]].concat();
        if beside(self) != beside(later) {
            return Some("the partition table or the boot code".to_owned());
        }
        if self.boot != later.boot {
            return Some("the boot partition".to_owned());
        }
        // What bears its name is burnonce's own.
        let changed =
            |(path, file): &(&String, &_)| !path.contains("burnonce") && later.files.get(*path) != Some(*file);
        if let Some((path, _)) = self.files.iter().find(changed) {
            return Some(format!("{path} on the boot partition"));
        }
        difference(&self.root, &later.root, &[CONF]).map(|what| format!("the image: {what}"))
    }

    /// Where `other` differs, but for what may: how many attempts it took, and what is `left_out` of the upper.
    pub fn difference(&self, other: &Picture, left_out: &[&str]) -> Option<String> {
        let state = |p: &Picture| (p.first_sector.clone(), p.sealed, p.is_configured());
        if state(self) != state(other) {
            return Some(format!("sealed {}, configured {}, or the table", other.sealed, other.is_configured()));
        }
        let files = || difference(&self.files, &other.files, &[]).map(|what| format!("the boot partition: {what}"));
        self.damage(other).or_else(files).or_else(|| match (&self.upper, &other.upper) {
            (Some(one), Some(other)) => difference(one, other, left_out).map(|what| format!("the upper: {what}")),
            (None, None) => None,
            _ => Some("there is an upper, or there is none".to_owned()),
        })
    }
}

/// The first path that has not the same in both; `left_out`: what nobody looks at, and what is below it.
fn difference(one: &Tree, other: &Tree, left_out: &[&str]) -> Option<String> {
    let show = |entry: Option<&(String, Content)>| {
        entry.map_or("nothing".to_owned(), |(kind, content)| {
            format!("{kind} {:?}", String::from_utf8_lossy(&content[..content.len().min(200)]))
        })
    };
    let counts = |path: &&String| !left_out.iter().any(|out| path.starts_with(out));
    let mut different = one.keys().chain(other.keys()).filter(counts).filter(|path| one.get(*path) != other.get(*path));
    different.next().map(|path| format!("{path}: {} became {}", show(one.get(path)), show(other.get(path))))
}

/// The upper, without what differs from run to run: times, attempts, logs, and what a kernel keeps in a work directory.
fn upper(at: &Path) -> Tree {
    let mut tree = tree(at, &|path| path.starts_with("burnonce/log/") || path.contains("overlay-workdir/_/"));
    if let Some((_, content)) = tree.get_mut(state::PATH) {
        *content = Arc::new(timeless(content));
    }
    tree
}

/// state.json with 1 for every time and for the number of attempts.
fn timeless(text: &[u8]) -> Vec<u8> {
    let one = |time: &mut u64| *time = (*time).min(1);
    let mut state = state::parse(&String::from_utf8_lossy(text)).unwrap();
    state.attempts = 1;
    // The first boot into the overlay notes these.
    state.began = 1;
    state.user_data.get_or_insert_default();
    state.request.iter_mut().for_each(|request| one(&mut request.at));
    state.last.iter_mut().for_each(|done| one(&mut done.request.at));
    for generation in &mut state.set_aside {
        one(&mut generation.began);
        one(&mut generation.ended);
    }
    state.to_json().unwrap().into_bytes()
}

fn tree(at: &Path, left_out: &dyn Fn(&str) -> bool) -> Tree {
    let mut tree = Tree::new();
    collect(at, at, left_out, &mut tree);
    tree
}

fn collect(top: &Path, path: &Path, left_out: &dyn Fn(&str) -> bool, tree: &mut Tree) {
    let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
    if left_out(&name) {
        return;
    }
    let metadata = fs::symlink_metadata(path).unwrap();
    let mut kind = format!("{:o} {}:{} {}", metadata.mode(), metadata.uid(), metadata.gid(), metadata.rdev());
    let mut content = Vec::new();
    if metadata.is_dir() {
        kind += &format!(" generation {}", Upper::number(path).unwrap());
        for entry in fs::read_dir(path).unwrap() {
            collect(top, &entry.unwrap().path(), left_out, tree);
        }
    } else if metadata.is_symlink() {
        content = fs::read_link(path).unwrap().to_str().unwrap().as_bytes().to_vec();
    } else if path.parent().is_some_and(|parent| parent.ends_with(FILLER)) {
        // Hundreds of megabytes of nothing.
        content = metadata.len().to_string().into_bytes();
    } else if metadata.is_file() {
        content = fs::read(path).unwrap();
    }
    let content = shared(&name, content);
    tree.insert(name, (kind, content));
}
