//! The half of burnonce that runs in the initramfs, after root is mounted read-only and before overlayroot: it finds the upper, has it
//! checked, carries out a reset or an undo, and says what this boot's overlay is made of.
//!
//! It fails closed: whatever goes wrong, the answer is one with which the lower is not written (or what `overlay.on_failure` says). In a
//! boot with nothing to do it writes nothing to the card. Before root is mounted it says whether that is left out of the check.

pub mod check;
pub mod find;
pub mod kernel_log;
pub mod report;
pub mod room;
pub mod swap;
mod unchecked;

use crate::apply::RUN;
use crate::command::Program;
use crate::config::{self, OnFailure};
use crate::mounted::Mounted;
use crate::overlay::Configuration;
use crate::state::State;
use crate::upper::{self, Upper};
use crate::{Exit, files, kernel, observe};
use anyhow::{Context, Result};
use kernel_log::KernelLog;
use report::{Problem, Report, Verdict};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

pub use unchecked::unchecked;

/// Looks after the upper of the root that is mounted on `lower`, on the machine at `root` (in an initramfs `/`). What it came to is in
/// memory, for overlayroot and for the agent.
///
/// # Errors
/// What it came to could not be written; overlayroot's configuration then looks by itself.
pub fn run(root: &Path, lower: &Path, started: Instant) -> Result<Exit> {
    let config = config::of(lower).1;
    let mut guard = Guard { root, lower, log: KernelLog::of(root), report: Report::begun(), lap: started };
    guard.report.verdict = match guard.is_wanted(&config.overlay.conf) {
        Ok(Some(verdict)) => verdict,
        wanted => match wanted.map_err(unforeseen).and_then(|_| guard.prepare()) {
            Ok(()) => Verdict::Upper,
            Err(problem) => guard.give_up(problem, config.overlay.on_failure),
        },
    };
    if matches!(guard.report.verdict, Verdict::Upper | Verdict::Memory) {
        guard.load_driver();
    }
    guard.report.total_ms = milliseconds(started.elapsed());
    guard.report.write(root)?;
    Ok(if guard.report.verdict == Verdict::Stop { Exit::Stop } else { Exit::Done })
}

fn unforeseen(error: anyhow::Error) -> Problem {
    Problem::new(format!("The upper could not be looked after: {error:#}."), "See burnonce status.")
}

/// One run.
struct Guard<'a> {
    root: &'a Path,
    lower: &'a Path,
    log: KernelLog,
    report: Report,
    /// When the present part began.
    lap: Instant,
}

impl Guard<'_> {
    /// Why there is nothing to do, where that is so.
    fn is_wanted(&self, conf: &Path) -> Result<Option<Verdict>> {
        let path = self.root.join("proc/cmdline");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        if observe::cmdline(&text).off {
            return Ok(Some(Verdict::Off));
        }
        let complete = matches!(observe::configuration(self.lower, conf)?, Configuration::Complete(_));
        Ok((!complete).then_some(Verdict::NotConfigured))
    }

    /// Makes the upper ready for overlayroot.
    fn prepare(&mut self) -> Result<(), Problem> {
        let lower = find::lower(self.root, self.lower)?;
        let found = find::upper(self.root, &lower)?;
        let device = self.root.join("dev").join(&found.name);
        self.report.upper = Some(format!("/dev/{}", found.name));
        find::whole(&lower, &found)?;
        find::writable(&lower, &found.name)?;
        self.part("find");
        if let Some(why) = found.glance.check {
            self.check(&device, why, found.glance.errors)?;
        }
        self.part("check");
        let (mounted, state) = self.look(&device, &lower.uuid)?;
        self.part("look");
        let upper = Upper::at(mounted.directory());
        let state = self.carry_out(&upper, &mounted, state, &device)?;
        self.part("request");
        self.make_room(&upper, &mounted, state, &device)?;
        self.part("room");
        let directory = mounted.directory().to_owned();
        mounted.close().map_err(|error| {
            Problem::new(format!("{} cannot be unmounted after a look at it: {error:#}.", device.display()), "Restart.")
        })?;
        // Nobody minds an empty directory in memory.
        let _ = fs::remove_dir(directory);
        self.part("unmount");
        Ok(())
    }

    fn check(&mut self, device: &Path, why: &str, force: bool) -> Result<(), Problem> {
        self.log.note(format_args!("checking {}: {why}. This may take a while", device.display()));
        let done = check::repair(device, force)?;
        self.did(done);
        Ok(())
    }

    /// A look, and after a check of the whole file system another one.
    fn look(&mut self, device: &Path, lower_uuid: &str) -> Result<(Mounted, State), Problem> {
        let at = self.root.join(RUN).join("check");
        let unreadable = match check::look(device, &at, lower_uuid) {
            Ok(seen) => return Ok(seen),
            Err(check::Failure::Unusable(problem)) => return Err(problem),
            Err(check::Failure::Unreadable(error)) => error,
        };
        self.check(device, &format!("it cannot be read ({unreadable:#})"), true)?;
        check::look(device, &at, lower_uuid).map_err(|failure| match failure {
            check::Failure::Unusable(problem) => problem,
            check::Failure::Unreadable(error) => Problem::new(
                format!("{} cannot be used, and a check did not help: {error:#}.", device.display()),
                "Make a copy of the card, and burn it anew; or replace a card that has worn out.",
            ),
        })
    }

    /// Deals with a request. What goes wrong with it does not keep the node from booting: the next boot goes on.
    fn carry_out(&mut self, upper: &Upper, mounted: &Mounted, state: State, device: &Path) -> Result<State, Problem> {
        if !swap::is_due(upper, &state).map_err(unforeseen)? {
            return Ok(state);
        }
        make_writable(mounted, device)?;
        let running = kernel::running(self.root).unwrap_or_default();
        let swap = swap::Swap { upper, lower: self.lower, kernel: &running };
        match swap.run(state.clone(), &mut || {}) {
            Ok(ending) => {
                self.keep_log(upper, &ending);
                for line in ending.said {
                    // What became of a request the agent says in its own words.
                    self.log.note(&line);
                    if ending.request.is_none() {
                        self.report.did.push(line);
                    }
                }
                self.report.request = ending.request;
                Ok(ending.state)
            }
            Err(error) => {
                self.log.error(format_args!(
                    "a reset or an undo did not come to its end: {error:#}. The next boot goes on with it"
                ));
                self.report.did.push(format!("a reset or an undo did not come to its end: {error:#}"));
                Ok(upper.state().unwrap_or(state))
            }
        }
    }

    fn make_room(&mut self, upper: &Upper, mounted: &Mounted, state: State, device: &Path) -> Result<(), Problem> {
        let reserve = room::reserve(self.root, &observe::base_name(device));
        if !room::is_short(upper, reserve, &state).map_err(unforeseen)? {
            return Ok(());
        }
        make_writable(mounted, device)?;
        let mut did = Vec::new();
        let made = room::make(upper, reserve, state, &self.log, &mut did);
        did.into_iter().for_each(|line| self.did(line));
        let name = device.display();
        made.map_err(|error| match upper::is_full(&error) {
            true => Problem::new(
                format!("{name} is full: {error:#}."),
                format!("Make room: mount {name} /mnt, delete files in /mnt/overlay, and restart."),
            ),
            false => Problem::new(
                format!("The directory overlay-workdir/_ cannot be made on {name}: {error:#}."),
                "Mount it, move what has this name away, and restart.",
            ),
        })
    }

    /// Keeps on the card what was done for a request. Best effort: it is a full card, as like as not.
    fn keep_log(&self, upper: &Upper, ending: &swap::Ending) {
        let kind = ending.request.as_ref().map_or("request".to_owned(), |done| done.request.kind.to_string());
        let directory = upper.own("log");
        let text: String = ending.said.iter().map(|line| format!("{line}\n")).collect();
        let kept = fs::read_dir(&directory)
            .with_context(|| format!("reading {}", directory.display()))
            .and_then(|log| files::replace(&directory.join(format!("{:04}-{kind}.log", log.count() + 1)), &text));
        if let Err(error) = kept {
            self.log.note(format_args!("keeping a log of it: {error:#}"));
        }
    }

    /// Says why the upper is not used, and decides what is.
    fn give_up(&mut self, problem: Problem, on_failure: OnFailure) -> Verdict {
        let (verdict, instead) = match on_failure {
            OnFailure::Tmpfs => (Verdict::Memory, "This boot runs on memory: the image is safe, but changes are lost."),
            OnFailure::Lower => {
                (Verdict::Lower, "This boot runs on the image itself, which is written (overlay.on_failure: lower).")
            }
            OnFailure::Stop => (
                Verdict::Stop,
                "The boot ends here (overlay.on_failure: stop). For what follows, boot the image itself: add burnonce=off to \
                 cmdline.txt on the boot partition.",
            ),
        };
        self.log.error(&problem.why);
        self.log.error(format_args!("{instead} {}", problem.remedy));
        self.report.problem = Some(problem);
        verdict
    }

    /// overlayroot needs the overlay file system. Where the initramfs has no module of it, root has.
    fn load_driver(&mut self) {
        let is_there = || {
            let known = fs::read_to_string(self.root.join("proc/filesystems")).unwrap_or_default();
            known.lines().any(|line| line.split_whitespace().next_back() == Some("overlay"))
        };
        let lower = self.lower.to_string_lossy();
        for place in [&[][..], &["-d", &lower]] {
            if is_there() {
                break;
            }
            if let Err(error) = Program::new("modprobe").arg("-q").args(place.iter().copied()).arg("overlay").run() {
                log::debug!("{error:#}");
            }
        }
        if !is_there() {
            self.log.error("The kernel has no overlay file system, in the initramfs or on the image.");
        }
        self.part("driver");
    }

    fn did(&mut self, what: String) {
        self.log.note(&what);
        self.report.did.push(what);
    }

    /// Ends a part of the work.
    fn part(&mut self, name: &str) {
        let now = Instant::now();
        self.report.took_ms.push((name.to_owned(), milliseconds(now - self.lap)));
        self.lap = now;
    }
}

fn make_writable(mounted: &Mounted, device: &Path) -> Result<(), Problem> {
    mounted.make_writable().map_err(|error| {
        let name = device.display();
        Problem::new(
            format!("{name} can only be read: {error:#}."),
            format!("Run e2fsck -f {name}, and restart; or replace a card that has worn out."),
        )
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
