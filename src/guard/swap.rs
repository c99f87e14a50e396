//! Carries out a pending reset or undo: two directories change places, and the books follow.
//!
//! Nothing may have the upper mounted but the one who calls. Interrupted after any step, another run comes to the same end; at every
//! moment `overlay` is the old generation, whole, or the new one, whole. docs/design.md, "A reset is a rename", has the order and the
//! reasons.

use crate::keep;
use crate::kernel;
use crate::mounted;
use crate::state::{Done, Generation, Kind, Request, State, Trigger};
use crate::sys;
use crate::tree;
use crate::upper::{self, Upper};
use anyhow::{Context, Result, ensure};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Is called before each step that changes the card.
pub type Pace<'a> = dyn FnMut() + 'a;

/// A reset or an undo that can be carried out.
#[derive(Debug)]
pub struct Swap<'a> {
    /// The upper, mounted writable.
    pub upper: &'a Upper,
    /// The tree of the lower.
    pub lower: &'a Path,
    /// Version of the kernel that runs.
    pub kernel: &'a str,
}

/// What a run came to.
#[derive(Debug)]
pub struct Ending {
    /// What state.json says now.
    pub state: State,
    /// The request that was dealt with.
    pub request: Option<Done>,
    /// What was done, for the owner: lines.
    pub said: Vec<String>,
}

/// Whether there is something for [`Swap::run`]: a request, or an exchange that is not in the books yet.
///
/// # Errors
/// The upper cannot be read.
pub fn is_due(upper: &Upper, state: &State) -> Result<bool> {
    Ok(state.request.is_some() || Upper::number(&upper.overlay())? != state.generation)
}

impl Swap<'_> {
    /// Finishes what an earlier run began, and carries out the request in `state`, which is that of the upper. A request that
    /// cannot be carried out is refused: that is no error.
    ///
    /// # Errors
    /// The upper takes no writes. The generation that `overlay` then is can be used; another run goes on from there.
    pub fn run(&self, state: State, pace: &mut Pace) -> Result<Ending> {
        let mut ending = Ending { state, request: None, said: Vec::new() };
        let present = Upper::number(&self.upper.overlay())?;
        if present != ending.state.generation {
            self.finish(&mut ending, present, pace)?;
        }
        let Some(request) = ending.state.request.clone() else { return Ok(ending) };
        if ending.state.consumed.contains(&request.id) {
            ending.state.request = None;
            pace();
            self.upper.write_state(&ending.state)?;
            return Ok(ending);
        }
        match self.exchange(&ending.state, &request, &mut ending.said, pace) {
            Ok(number) => {
                self.sync(pace)?;
                self.finish(&mut ending, number, pace)?;
            }
            Err(error) => {
                if request.kind == Kind::Reset {
                    self.clear_next(pace)?;
                }
                self.refuse(&mut ending, request, &error, pace)?;
            }
        }
        Ok(ending)
    }

    /// Everything up to the exchange of the upper directories, which is the commit point. The number of the generation in use from there on.
    fn exchange(&self, state: &State, request: &Request, said: &mut Vec<String>, pace: &mut Pace) -> Result<u32> {
        let overlay = self.upper.overlay();
        let (pair, number) = match request.kind {
            Kind::Reset => {
                ensure!(kernel::has_modules(self.lower, self.kernel), self.no_modules("the image"));
                let last = state.set_aside.iter().map(|g| g.number).fold(state.generation, u32::max);
                let number = last.checked_add(1).context("there is no number left for another generation")?;
                let pair = self.new_pair(number, pace)?;
                pace();
                let kept = keep::carry(&overlay, &pair.join("overlay"), &request.keep)
                    .context("the files to be kept could not be copied")?;
                if kept > 0 {
                    said.push(format!("{kept} kept entries were taken over"));
                }
                (pair, number)
            }
            Kind::Undo => {
                let target = self.target(state)?;
                let pair = self.upper.generation(target);
                ensure!(self.runs_with_modules(&pair.join("overlay")), self.no_modules("that generation"));
                self.new_workdir(&pair, pace)?;
                (pair, target)
            }
        };
        make(&self.upper.workdir(), pace)?;
        self.sync(pace)?;
        pace();
        swap(&self.upper.workdir(), &pair.join("overlay-workdir"))?;
        self.sync(pace)?;
        for directory in [&overlay, &pair.join("overlay")] {
            pace();
            unprotect(directory)?;
        }
        pace();
        swap(&overlay, &pair.join("overlay"))?;
        Ok(number)
    }

    /// `burnonce/next` with a new, empty pair of directories in it. Before the exchange what is there may be thrown away.
    fn new_pair(&self, number: u32, pace: &mut Pace) -> Result<PathBuf> {
        let (next, spare) = (self.upper.own("next"), self.upper.own("spare"));
        if !is_pristine(&next) {
            pace();
            tree::remove(&next)?;
            if upper::is_spare(&spare)? {
                pace();
                fs::rename(&spare, &next).with_context(|| format!("renaming {}", spare.display()))?;
            }
        }
        for directory in ["", "overlay", "overlay-workdir", "overlay-workdir/_"] {
            make(&next.join(directory), pace)?;
        }
        pace();
        Upper::set_number(&next.join("overlay"), number)?;
        Ok(next)
    }

    /// Deletes what was copied for a reset that is refused: it would take the room that the node needs. The pair stays, for a full file
    /// system may not get another one.
    fn clear_next(&self, pace: &mut Pace) -> Result<()> {
        let overlay = self.upper.own("next").join("overlay");
        if !is_directory(&overlay) || is_empty(&overlay) {
            return Ok(());
        }
        pace();
        tree::remove(&overlay)?;
        make(&overlay, pace)?;
        self.sync(pace)
    }

    /// A new, empty work directory in the place of a generation's old one.
    fn new_workdir(&self, pair: &Path, pace: &mut Pace) -> Result<()> {
        let workdir = pair.join("overlay-workdir");
        if !is_empty(&workdir.join("_")) {
            pace();
            tree::remove(&workdir)?;
        }
        for directory in [workdir.clone(), workdir.join("_")] {
            make(&directory, pace)?;
        }
        Ok(())
    }

    /// The generation that an undo goes back to.
    fn target(&self, state: &State) -> Result<u32> {
        let there = |number: &u32| {
            let overlay = self.upper.generation(*number).join("overlay");
            is_directory(&overlay) && Upper::number(&overlay).is_ok_and(|found| found == *number)
        };
        let target = state.set_aside.iter().rev().map(|g| g.number).find(there);
        target.context("no generation is kept that it could go back to")
    }

    /// Whether the modules of this kernel are in an overlay of the upper directory `overlay` on the lower.
    fn runs_with_modules(&self, overlay: &Path) -> bool {
        // `lib` is a link in most images: what is below it is then in the upper's `usr`.
        let places = [overlay.to_owned(), overlay.join("usr")];
        let deleted = |place: &PathBuf| {
            let modules = fs::symlink_metadata(place.join("lib/modules").join(self.kernel));
            modules.is_ok_and(|metadata| upper::is_whiteout(&metadata))
        };
        places.iter().any(|place| kernel::has_modules(place, self.kernel))
            || (kernel::has_modules(self.lower, self.kernel) && !places.iter().any(deleted))
    }

    fn no_modules(&self, place: &str) -> String {
        format!(
            "{place} has no modules of the running kernel {} and would not boot with it; \
             burnonce maintain apt update, and then apt full-upgrade, brings image and boot partition together",
            self.kernel
        )
    }

    /// The books, once the exchange is done: `present` is in use, what was before is still where that was.
    fn finish(&self, ending: &mut Ending, present: u32, pace: &mut Pace) -> Result<()> {
        let state = &mut ending.state;
        let old = state.generation;
        let target = state.set_aside.iter().position(|g| g.number == present);
        let kind = if target.is_some() { Kind::Undo } else { Kind::Reset };
        let pair = if target.is_some() { self.upper.generation(present) } else { self.upper.own("next") };
        let aside = self.upper.generation(old);
        let holds_old = |pair: &Path| {
            let overlay = pair.join("overlay");
            is_directory(&overlay) && Upper::number(&overlay).is_ok_and(|number| number == old)
        };
        let moved = holds_old(&pair);
        if !moved && !holds_old(&aside) {
            // No exchange leads to this: the directory was put there by somebody, from a backup for example.
            pace();
            Upper::set_number(&self.upper.overlay(), old)?;
            ending.said.push(format!("gave the directory overlay the number of its generation, {old}"));
            return Ok(());
        }
        if moved {
            let generations = self.upper.own("generations");
            // Whatever has the place, it is none of the generations: their numbers are their own.
            for taken in [Some(&generations).filter(|path| !is_directory(path)), Some(&aside)].into_iter().flatten() {
                if fs::symlink_metadata(taken).is_ok() {
                    pace();
                    self.upper.discard(taken)?;
                }
            }
            make(&generations, pace)?;
            pace();
            fs::rename(&pair, &aside).with_context(|| format!("renaming {}", pair.display()))?;
            self.sync(pace)?;
        }
        // The request may be another one by now: a boot without a guard lies between.
        let request = state.request.take_if(|request| request.kind == kind);
        let began = target.map_or(0, |index| state.set_aside.remove(index).began);
        let (ended, by) = request.as_ref().map_or((0, Trigger::Command), |r| (r.at, r.by));
        state.set_aside.push(Generation { number: old, began: state.began, ended, kind, by, size: None });
        (state.generation, state.began, state.fresh, state.user_data) = (present, began, kind == Kind::Reset, None);
        let done = request.map(|request| state.close(request, None));
        self.write_books(state, &mut ending.said, pace)?;
        ending.said.push(match kind {
            Kind::Reset => {
                format!("reset: generation {present} begins; the one before is kept for `burnonce undo`")
            }
            Kind::Undo => format!("undo: generation {present} is back; generation {old} is kept for `burnonce undo`"),
        });
        ending.request = done.or(ending.request.take());
        Ok(())
    }

    /// Writes state.json after an exchange. Where nothing is free for it, not even the ballast, the room comes from what nobody needs, then
    /// from the generations that are kept for an undo, the oldest first: without the books this exchange would never come to its end.
    fn write_books(&self, state: &mut State, said: &mut Vec<String>, pace: &mut Pace) -> Result<()> {
        loop {
            pace();
            let full = match self.upper.write_state(state) {
                Err(error) if upper::is_full(&error) => error,
                written => return written,
            };
            let left = upper::names(&self.upper.own("reclaim"))?.into_iter().next();
            let path = match left.map(|name| self.upper.own("reclaim").join(name)) {
                Some(left) => left,
                None if state.set_aside.is_empty() => return Err(full),
                None => {
                    let number = state.set_aside.remove(0).number;
                    said.push(format!("deleted generation {number}, which was kept for an undo, for room"));
                    pace();
                    let Some(moved) = self.upper.discard(&self.upper.generation(number))? else { continue };
                    moved
                }
            };
            self.sync(pace)?;
            tree::remove(&path)?;
            self.sync(pace)?;
        }
    }

    fn refuse(&self, ending: &mut Ending, request: Request, error: &anyhow::Error, pace: &mut Pace) -> Result<()> {
        let mut why = format!("{error:#}");
        if upper::is_full(error) {
            why += "; the upper is full: delete something, and try again";
        }
        ending.said.push(format!("{} refused: {why}", request.kind));
        ending.request = Some(ending.state.close(request, Some(why)));
        pace();
        self.upper.write_state(&ending.state)
    }

    fn sync(&self, pace: &mut Pace) -> Result<()> {
        pace();
        mounted::flush(self.upper.root())
    }
}

/// Makes a directory, 0755 whatever the umask, where it is not there.
pub(super) fn make(path: &Path, pace: &mut Pace) -> Result<()> {
    if is_directory(path) {
        return Ok(());
    }
    pace();
    upper::make_directory(path)
}

/// Exchanges two directories in one step.
fn swap(one: &Path, other: &Path) -> Result<()> {
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)
        .with_context(|| format!("exchanging {} and {}", one.display(), other.display()))
}

/// `chattr +i /` on a node sets that flag on its upper directory, which then cannot be renamed.
fn unprotect(directory: &Path) -> Result<()> {
    let opened = File::open(directory).with_context(|| format!("opening {}", directory.display()))?;
    sys::unprotect(&opened).with_context(|| format!("taking the flags of chattr from {}", directory.display()))
}

/// Whether `pair` has an empty upper directory and an empty work directory.
fn is_pristine(pair: &Path) -> bool {
    is_directory(pair) && is_empty(&pair.join("overlay")) && is_empty(&pair.join("overlay-workdir/_"))
}

/// Whether a directory is there, and no link to one.
pub(super) fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

fn is_empty(path: &Path) -> bool {
    is_directory(path) && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}
