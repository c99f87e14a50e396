//! How far something is: a bar with rate and time left on a terminal, nothing in a pipe.

use crate::units::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar. It is gone when this is.
pub struct Progress(ProgressBar);

impl Progress {
    /// Begins one for so many bytes. `what` says what is being done: `unpacking x.img.xz`.
    pub fn new(what: &str, length: Bytes) -> Progress {
        // indicatif draws nothing where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(Some(length.0), ProgressDrawTarget::stderr());
        let template = "{msg} [{bar:24}] {percent:>3} %, {binary_bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        Progress(bar)
    }

    /// So many bytes more are done.
    pub fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
