//! Temporary files that a signal takes with it when it ends the program.

use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, pthread_sigmask, sigaction};
use std::ffi::CString;
use std::os::raw::{c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Names of files that go when a signal ends the program. Null: none.
static DOOMED: [AtomicPtr<c_char>; 4] = [const { AtomicPtr::new(null_mut()) }; 4];
/// What ends a program that somebody does not want any more.
const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// As long as it lives, the file of that name is removed when SIGINT, SIGTERM or SIGHUP ends the program. A signal that is ignored, as under
/// nohup(1), stays so.
#[derive(Debug)]
pub struct Doomed(usize);

impl Doomed {
    /// For the file at `path`, which need not be there yet.
    ///
    /// # Errors
    /// There are four already; the name has a NUL.
    pub fn new(path: &Path) -> Result<Doomed> {
        static HANDLERS: Once = Once::new();
        HANDLERS.call_once(|| ENDING.iter().for_each(|signal| remove_at(*signal)));
        let absolute = std::path::absolute(path).with_context(|| format!("finding {}", path.display()))?;
        // Never freed: the handler may be reading it.
        let name = CString::new(absolute.as_os_str().as_bytes()).context("a name with a NUL")?.into_raw();
        let taken = |slot: &AtomicPtr<c_char>| {
            slot.compare_exchange(null_mut(), name, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        };
        DOOMED.iter().position(taken).map(Doomed).context("more than four temporary files at a time")
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        DOOMED[self.0].store(null_mut(), Ordering::SeqCst);
    }
}

/// Does what is not to be ended in its midst: a signal of those that comes meanwhile ends the program afterwards. It is to be short, and the
/// program has no other threads.
pub fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    let ending: SigSet = ENDING.into_iter().collect();
    let mut before = SigSet::empty();
    // It can fail for what is no set of signals.
    let blocked = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&ending), Some(&mut before)).is_ok();
    let done = work();
    if blocked {
        let _ = before.thread_set_mask();
    }
    done
}

fn remove_at(which: Signal) {
    let action = SigAction::new(SigHandler::Handler(remove_and_end), SaFlags::empty(), SigSet::empty());
    // SAFETY: `remove_and_end` calls what is async-signal-safe alone. The calls cannot fail for these signals.
    unsafe {
        if let Ok(before) = sigaction(which, &action) {
            if before.handler() != SigHandler::SigDfl {
                let _ = sigaction(which, &before);
            }
        }
    }
}

/// The handler: removes the files, and lets the signal end the program as it would have.
extern "C" fn remove_and_end(signal: c_int) {
    for slot in &DOOMED {
        let name = slot.swap(null_mut(), Ordering::SeqCst);
        if !name.is_null() {
            // SAFETY: a string that ends with a NUL and is never freed; unlink(2) is async-signal-safe.
            unsafe { nix::libc::unlink(name) };
        }
    }
    // SAFETY: both are async-signal-safe (signal-safety(7)). The signal is blocked until this returns, and then ends the program.
    unsafe {
        nix::libc::signal(signal, nix::libc::SIG_DFL);
        nix::libc::raise(signal);
    }
}
