//! Requests for the guard: recorded on the upper, carried out at the next boot.

use crate::state::Request;
use crate::upper::Upper;
use anyhow::{Result, ensure};

/// Records `request` in state.json, in place of one that is pending, and flushes it.
///
/// # Errors
/// The upper takes no writes; an earlier request was carried out, and that is not written down yet.
pub fn record(upper: &Upper, request: Request) -> Result<()> {
    let _lock = upper.lock()?;
    let mut state = upper.state()?;
    // The guard would take this one for the one that it has still to write down.
    ensure!(
        Upper::number(&upper.overlay())? == state.generation,
        "an earlier reset or undo has not come to its end, which the next boot brings: restart first"
    );
    state.request = Some(request);
    upper.write_state(&state)
}
