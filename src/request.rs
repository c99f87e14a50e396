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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Kind, State, Trigger};
    use std::fs;

    #[test]
    fn nothing_is_recorded_before_an_exchange_is_in_the_books() {
        let directory = tempfile::tempdir().unwrap();
        for part in ["overlay", "burnonce"] {
            fs::create_dir(directory.path().join(part)).unwrap();
        }
        let upper = Upper::at(directory.path());
        let request = Request { id: "r".to_owned(), kind: Kind::Reset, by: Trigger::Command, at: 1, keep: Vec::new() };
        // The directory, which has no number, is generation 1.
        let mut state = State { generation: 2, ..State::new("u", 1) };
        upper.write_state(&state).unwrap();
        let error = record(&upper, request.clone()).unwrap_err();
        assert!(error.to_string().contains("restart first"), "{error:#}");
        assert_eq!(upper.state().unwrap(), state);
        state.generation = 1;
        upper.write_state(&state).unwrap();
        record(&upper, request.clone()).unwrap();
        assert_eq!(upper.state().unwrap().request, Some(request));
    }
}
