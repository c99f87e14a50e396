//! What a boot into the overlay does once the overlay is sound: it notes what the generation began with, puts back what a first boot
//! needs, and looks whether a file or changed user-data on the boot partition asks for a reset or an undo. The guard carries that out
//! after a restart: the initramfs may not be able to read the boot partition.
//!
//! There is no restart loop. One reason for a restart is a request that has been recorded in this boot, where the guard has run and its id
//! was neither pending nor dealt with; a file that asks for one must be removable. The other is that words were added to the
//! kernel command line and the mark of a fresh generation has been cleared.

use crate::boot_files;
use crate::boot_partition::{self, Boot};
use crate::config::{Config, ResetOn};
use crate::console::Console;
use crate::guard::check;
use crate::guard::report::{self, Report};
use crate::observation::{Observation, Place, Root};
use crate::state::{Done, Kind, Request, State, Trigger};
use crate::upper::Upper;
use crate::{apply, files, filesystem, kernel, notice, overlay, plan, reclaim, request, time};
use anyhow::{Context, Result, anyhow, bail, ensure};
use found::Found;
use std::path::{Path, PathBuf};

mod found;

/// How the boot goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// As it would.
    GoOn,
    /// It does what it was asked for, but for this: why a request is not carried out, a sentence without its full stop.
    Refused(String),
    /// It restarts at once. The console has said why.
    Restart,
    /// The node does not do as it was asked to: why, and what to do.
    Degraded(String, String),
}

/// What is asked for on the boot partition.
struct Wish {
    kind: Kind,
    by: Trigger,
    id: String,
    /// What asks for it, in words.
    what: String,
}

/// A node that runs on its overlay.
struct Node<'a> {
    root: &'a Path,
    upper: Upper,
    config: &'a Config,
    /// The guard has run in this boot.
    guarded: bool,
    /// Seconds since 1970.
    now: u64,
    /// Whether a reset would leave the next kernel with its modules, by what is on the boot partition at this path.
    check: &'a dyn Fn(&Path) -> Result<()>,
}

/// Does it on the node at `root`, whose overlay is sound. What fails here is said and holds up nothing.
pub fn run(root: &Path, seen: &Observation, config: &Config, console: &mut Console) -> Next {
    let report = report::read(root).ok().flatten();
    let check = |boot: &Path| check_kernel(root, boot);
    let node = Node {
        root,
        upper: Upper::at(files::below(root, overlay::UPPER)),
        config,
        guarded: seen.overlayroot.guard.is_some(),
        now: time::now(),
        check: &check,
    };
    let mut next = None;
    let looked = on_boot_partition(root, seen, |boot| next = Some(node.look(Some(boot), report.as_ref(), console)));
    if let Err(error) = looked {
        log::info!("looking at the boot partition: {error:#}");
    }
    next.unwrap_or_else(|| node.look(None, report.as_ref(), console)).unwrap_or_else(|error| {
        console.warn(format_args!("looking for requests: {error:#}."));
        Next::GoOn
    })
}

/// Deals with the files on the boot partition of a node that runs on memory. An upper that is only full, or that has something in the
/// place of its work directory, can take a request all the same, and a reset is what helps it. Otherwise the files wait.
pub fn on_memory(root: &Path, seen: &Observation, config: &Config, console: &mut Console) -> Next {
    let mut next = Next::GoOn;
    let looked = on_boot_partition(root, seen, |boot| match found::find(boot.directory()) {
        Ok(Found { reset, undo }) => {
            let Some(file) = reset.iter().chain(&undo).next() else { return };
            next = on_unused_upper(root, seen, config, boot, console).unwrap_or_else(|error| {
                console.warn(format_args!(
                    "{} on the boot partition is left there: the upper cannot be used in this boot ({error:#}).",
                    name(file)
                ));
                Next::GoOn
            });
        }
        Err(error) => log::warn!("{error:#}"),
    });
    if let Err(error) = looked {
        log::info!("looking at the boot partition: {error:#}");
    }
    next
}

/// Records on the upper, which this boot does not use, what is asked for on the boot partition.
fn on_unused_upper(
    root: &Path,
    seen: &Observation,
    config: &Config,
    boot: &Boot,
    console: &mut Console,
) -> Result<Next> {
    let report = report::read(root)?.context("the guard has left no report")?;
    let device = report.upper.context("the guard has found none")?;
    let Place::Partition { uuid, .. } = &seen.lower else { bail!("root is not on a partition") };
    let device = files::below(root, &device);
    // What the guard could not repair is not written to: something may still be saved from it.
    let glance = filesystem::glance(&device)?.context("it has no superblock")?;
    ensure!(glance.check.is_none(), "it needs a check");
    let directory = root.join(apply::RUN).join("upper");
    let (mounted, state) = check::look(&device, &directory, uuid).map_err(|why| match why {
        check::Failure::Unreadable(error) => error,
        check::Failure::Unusable(problem) => anyhow!("{}", problem.why.trim_end_matches('.')),
    })?;
    mounted.make_writable()?;
    let check = |boot: &Path| check_kernel(root, boot);
    let upper = Upper::at(mounted.directory());
    let node = Node { root, upper, config, guarded: true, now: time::now(), check: &check };
    let next = node.requests(&state, None, boot, console)?;
    mounted.close()?;
    Ok(next)
}

/// Whether a reset would leave the next kernel with its modules, by what is on the boot partition at `boot`.
fn check_kernel(root: &Path, boot: &Path) -> Result<()> {
    kernel::check_next(boot, &files::below(root, overlay::LOWER), &kernel::running(root)?)
}

/// Says what the guard did in this boot beside a request.
pub fn say_what_the_guard_did(root: &Path, console: &mut Console) {
    for did in report::read(root).ok().flatten().iter().flat_map(|report| &report.did) {
        console.say(format_args!("the guard: {did}."));
    }
}

fn on_boot_partition(root: &Path, seen: &Observation, mut work: impl FnMut(&Boot)) -> Result<()> {
    let disk = seen.disk.as_ref().context("the disk is not known")?;
    boot_partition::with(root, disk, &seen.lower, |boot| {
        work(boot);
        Ok(())
    })
}

/// Whether the plan is for a node on which [`run`] has something to do.
pub fn is_for(seen: &Observation) -> bool {
    matches!(&seen.root, Root::Overlay { upper: Some(_), upper_writable: true, .. })
}

impl Node<'_> {
    /// All of it; without a boot partition what does not need one.
    fn look(&self, boot: Option<&Boot>, report: Option<&Report>, console: &mut Console) -> Result<Next> {
        let state = self.upper.state()?;
        if let Some(done) = report.and_then(|report| report.request.as_ref()) {
            self.tell(done, &state, boot, console);
        }
        let begun = self.begin(&state, boot, console)?;
        let Some(boot) = boot else { return Ok(begun) };
        let told = report.and_then(|report| report.request.as_ref()).map(|done| done.request.id.as_str());
        let asked = self.requests(&state, told, boot, console)?;
        // What else there is comes up again in the next boot.
        Ok(if begun == Next::Restart { begun } else { asked })
    }

    /// Says what became of a request, and on the boot partition, too, where the owner may not see a console.
    fn tell(&self, done: &Done, state: &State, boot: Option<&Boot>, console: &mut Console) {
        let Request { kind, by, .. } = &done.request;
        let (number, text) = (state.generation, outcome(done, state.generation));
        let noted = match &done.refused {
            Some(why) => {
                console.warn(format_args!("{text}."));
                let text =
                    format!("The {kind} ({by}) was refused: {why}.\nThis node goes on with generation {number}.");
                boot.filter(|_| *by != Trigger::Command).map_or(Ok(()), |boot| leave(boot, &text))
            }
            None => {
                console.say(format_args!("{text}."));
                boot.map_or(Ok(()), notice::clear_on)
            }
        };
        noted.unwrap_or_else(|error| log::warn!("{} on the boot partition: {error:#}", notice::NAME));
    }

    /// Notes what the generation begins with, once.
    fn begin(&self, state: &State, boot: Option<&Boot>, console: &mut Console) -> Result<Next> {
        let mut now = state.clone();
        let mut next = Next::GoOn;
        if let (0, false, Some(boot)) = (state.began, state.fresh, boot) {
            // What conversion could not keep, for the card failed, is still there: nothing has consumed it yet.
            boot_files::keep(boot.directory(), &self.upper).unwrap_or_else(|error| {
                console.warn(format_args!("keeping what a first boot needs: {error:#}."));
            });
            // Nor is it true any more what an earlier boot left there about this node.
            notice::clear_on(boot).unwrap_or_else(|error| log::warn!("{error:#}"));
        }
        if let (true, Some(boot)) = (state.fresh, boot) {
            match boot_files::put_back(boot, &self.upper) {
                Ok(back) => {
                    now.fresh = false;
                    if !back.files.is_empty() {
                        console.say(format_args!("put back on the boot partition: {}.", back.files.join(", ")));
                    }
                    if !back.words.is_empty() {
                        console
                            .say("put back into the kernel command line what a first boot needs: restarting for it.");
                        next = Next::Restart;
                    }
                }
                Err(error) => {
                    console
                        .warn(format_args!("putting back what a first boot needs on the boot partition: {error:#}."));
                }
            }
        }
        if let (None, Some(boot)) = (&state.user_data, boot) {
            now.user_data = Some(found::user_data(boot.directory())?);
        }
        if now.began == 0 {
            now.began = self.now;
        }
        if now != *state {
            // Nothing is restarted for a mark that is still there: the next boot would do it again.
            let _lock = self.upper.lock()?;
            self.upper.write_state(&now)?;
        }
        if state.began == 0 {
            reclaim::note_beginning(self.root)?;
        }
        Ok(next)
    }

    /// Files that ask for something, then user-data. `told` is the id of the request whose outcome the console has heard in this boot.
    fn requests(&self, state: &State, told: Option<&str>, boot: &Boot, console: &mut Console) -> Result<Next> {
        let found = found::find(boot.directory())?;
        let mut asked = Vec::new();
        for kind in [Kind::Reset, Kind::Undo] {
            let Some(file) = found.of(kind).first() else { continue };
            let id = found::id(kind, file)?;
            if !state.consumed.contains(&id) {
                asked.push((kind, file, id));
                continue;
            }
            // The one that has the id goes last: a power cut must not leave another one that would be taken for a new request.
            remove(boot, found.of(kind).iter().rev())?;
            let removed = format!("removed {} from the boot partition", name(file));
            match state.last.as_ref().filter(|done| done.request.id == id) {
                _ if told == Some(&id) => log::info!("{removed}"),
                Some(done) => console.say(format_args!("{removed}: {}.", outcome(done, state.generation))),
                None => console.say(format_args!("{removed}: it was dealt with before.")),
            }
        }
        if !state.consumed.is_empty() {
            // Their files are gone now. One that is made again asks again, be its time and content the same.
            let _lock = self.upper.lock()?;
            self.upper.write_state(&State { consumed: Vec::new(), ..self.upper.state()? })?;
        }
        if let [(Kind::Reset, reset, _), (Kind::Undo, undo, _)] = asked.as_slice() {
            // An undo can still be asked for afterwards, and loses nothing then.
            remove(boot, &found.undo)?;
            console.warn(format_args!("{} counts, and {} does not: it was removed.", name(reset), name(undo)));
        }
        match asked.into_iter().next() {
            Some((Kind::Undo, file, _)) if state.set_aside.is_empty() => {
                remove(boot, found.undo.iter())?;
                let text =
                    format!("{} was removed from the boot partition: there is no generation to go back to", name(file));
                console.warn(format_args!("{text}."));
                leave(
                    boot,
                    &format!(
                        "The undo was refused: there is no generation to go back to.\nThe file {} was removed.",
                        name(file)
                    ),
                )?;
                Ok(Next::Refused(text))
            }
            Some((kind, file, id)) => {
                let what = format!("{} on the boot partition", name(file));
                self.ask(Wish { kind, by: Trigger::File, id, what }, state, boot, console)
            }
            None => self.user_data(state, boot, console),
        }
    }

    /// `reset.on: [user-data]`.
    fn user_data(&self, state: &State, boot: &Boot, console: &mut Console) -> Result<Next> {
        let Some(before) = state.user_data.as_ref().filter(|_| self.config.reset.on.contains(&ResetOn::UserData))
        else {
            return Ok(Next::GoOn);
        };
        let present = found::user_data(boot.directory())?;
        let id = format!("user-data:{present}");
        // One that is gone asks for nothing. For the same content the guard's answer is final: else a node would restart at every boot.
        if present.is_empty() || present == *before || state.last.as_ref().is_some_and(|done| done.request.id == id) {
            return Ok(Next::GoOn);
        }
        let what = "changed user-data".to_owned();
        self.ask(Wish { kind: Kind::Reset, by: Trigger::UserData, id, what }, state, boot, console)
    }

    /// Records a request, unless that would be in vain.
    fn ask(&self, wish: Wish, state: &State, boot: &Boot, console: &mut Console) -> Result<Next> {
        let Wish { kind, by, id, what } = wish;
        if !self.guarded {
            let why = format!(
                "the {kind} that {what} asks for cannot be carried out: the initramfs that booted has no guard of burnonce"
            );
            return Ok(Next::Degraded(why, plan::REBUILD.to_owned()));
        }
        if state.request.as_ref().is_some_and(|pending| pending.id == id) {
            let why = format!("the guard did not carry out the {kind} that {what} asks for");
            return Ok(Next::Degraded(why, "look at /run/burnonce/guard.json, and restart".to_owned()));
        }
        if let (Kind::Reset, Err(error)) = (kind, (self.check)(boot.directory())) {
            let why = format!("the {kind} that {what} asks for is refused: {error:#}");
            console.warn(format_args!("{why}."));
            leave(boot, &format!("The {kind} was refused: {error:#}.\nburnonce looks again at every boot."))?;
            return Ok(Next::Refused(why));
        }
        if by == Trigger::File {
            // A file that could not be removed afterwards would ask again.
            boot.make_writable().context("the boot partition takes no writes, so what is on it is not carried out")?;
        }
        let keep = if kind == Kind::Reset { self.config.reset.keep.clone() } else { Vec::new() };
        request::record(&self.upper, Request { id, kind, by, at: self.now, keep })?;
        console.say(format_args!("{kind} asked for by {what}: restarting for it."));
        Ok(Next::Restart)
    }
}

/// What became of a request, as a sentence.
fn outcome(done: &Done, generation: u32) -> String {
    let Request { kind, by, .. } = &done.request;
    match (kind, &done.refused) {
        (_, Some(why)) => format!("the {kind} ({by}) was refused: {why}"),
        (Kind::Reset, None) => format!("this is generation {generation}, freshly begun by a reset ({by})"),
        (Kind::Undo, None) => format!("this is generation {generation} again, brought back by an undo ({by})"),
    }
}

/// Removes files from the boot partition, in this order.
fn remove<'a>(boot: &Boot, files: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
    boot.make_writable()?;
    files.into_iter().try_for_each(|file| files::remove(file).map(drop))
}

fn leave(boot: &Boot, text: &str) -> Result<()> {
    notice::leave_on(boot, &format!("burnonce {}\n\n{text}\n", env!("CARGO_PKG_VERSION")))
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
