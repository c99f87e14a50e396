//! Requests for the guard: recorded on the upper, carried out at the next boot.

use crate::state::Request;
use crate::upper::Upper;
use anyhow::Result;

/// Records `request` in state.json, in place of one that is pending, and flushes it.
///
/// # Errors
/// The upper takes no writes.
pub fn record(upper: &Upper, request: Request) -> Result<()> {
    let _lock = upper.lock()?;
    let mut state = upper.state()?;
    state.request = Some(request);
    upper.write_state(&state)
}
