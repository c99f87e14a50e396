//! `burnonce undo`: asks, records that the generation set aside last is to come back, and restarts.

use crate::question::{Refused, refuse};
use crate::reset::node::Node;
use crate::state::{Generation, Kind, State};
use crate::time::minute_or_unknown;
use crate::{Exit, files, overlay};
use anyhow::Result;
use std::path::Path;

/// Undoes the last reset, or the last undo, of the node whose root is at `root`.
///
/// # Errors
/// As [`crate::reset::run`].
pub fn run(root: &Path, no_reboot: bool, yes: bool) -> Result<Exit> {
    Refused::to_exit(undo(root, no_reboot, yes))
}

fn undo(root: &Path, no_reboot: bool, yes: bool) -> Result<Exit> {
    let node = Node::of(root)?;
    let Some(target) = node.state.set_aside.last() else {
        return Err(refuse(
            "there is nothing to undo: no generation is set aside. A reset sets one aside; it is deleted where `reset.generations` is 0 or \
             the upper is nearly full",
        ));
    };
    let directory = node.upper.generation(target.number).join("overlay");
    if !directory.is_dir() {
        return Err(refuse(format!("there is nothing to undo: {} is not there any more", directory.display())));
    }
    node.check_kernel(&[&files::below(root, overlay::LOWER), &directory])?;
    if !yes {
        node.ask(&question(target, &node.state))?;
    }
    node.request(Kind::Undo, Vec::new())?;
    node.restart(no_reboot)
}

fn question(target: &Generation, state: &State) -> String {
    let Generation { number, began, ended, kind, by, .. } = target;
    let (began, ended) = (minute_or_unknown(*began), minute_or_unknown(*ended));
    format!(
        "This node goes back to generation {number}, which was in use from {began} to {ended} (UTC) and ended by {kind} ({by}).\n\
         The present one, {}, is set aside in its place: `burnonce undo` once more brings it back.\n",
        state.generation
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Trigger;

    #[test]
    fn the_question_names_both_generations() {
        let target =
            Generation { number: 2, began: 0, ended: 1_793_614_260, kind: Kind::Reset, by: Trigger::File, size: None };
        let state = State { generation: 3, ..State::new("u", 1) };
        assert_eq!(
            question(&target, &state),
            "This node goes back to generation 2, which was in use from unknown to 2026-11-02 10:11 (UTC) and ended by reset (by a file on \
             the boot partition).\n\
             The present one, 3, is set aside in its place: `burnonce undo` once more brings it back.\n"
        );
    }
}
