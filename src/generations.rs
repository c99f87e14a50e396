//! `burnonce generations`: the one in use and those that are set aside. Changes nothing.

use crate::Exit;
use crate::output::print;
use crate::question::Refused;
use crate::reset::node::Node;
use crate::state::{Generation, Request, State};
use crate::time::minute_or_unknown;
use anyhow::Result;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// All of a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Generations {
    in_use: InUse,
    /// The one that ended last first.
    set_aside: Vec<Generation>,
    /// What the next boot is to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<Request>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct InUse {
    number: u32,
    /// Seconds since 1970; 0: not known.
    began: u64,
}

/// Lists the generations of the node whose root is at `root`.
///
/// # Errors
/// The upper could not be read; [`Exit::Refused`] where the node does not run on one.
pub fn run(root: &Path, json: bool) -> Result<Exit> {
    Refused::to_exit(list(root, json))
}

fn list(root: &Path, json: bool) -> Result<Exit> {
    let all = Generations::of(Node::to_look_at(root)?.state);
    if json {
        print(serde_json::to_string_pretty(&all)? + "\n");
    } else {
        print(&all);
    }
    Ok(Exit::Done)
}

impl Generations {
    fn of(state: State) -> Generations {
        Generations {
            in_use: InUse { number: state.generation, began: state.began },
            set_aside: state.set_aside.into_iter().rev().collect(),
            pending: state.request,
        }
    }
}

impl fmt::Display for Generations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InUse { number, began } = self.in_use;
        writeln!(f, "Times are UTC.")?;
        writeln!(f, "{number:>5}  in use     since {}", minute_or_unknown(began))?;
        for Generation { number, began, ended, kind, by, size } in &self.set_aside {
            let size = size.map_or("not counted yet".to_owned(), |size| size.to_string());
            let (began, ended) = (minute_or_unknown(*began), minute_or_unknown(*ended));
            writeln!(f, "{number:>5}  set aside  {began} to {ended}  {size}, ended by {kind} ({by})")?;
        }
        if let Some(Request { kind, by, at, .. }) = &self.pending {
            writeln!(f, "The next boot carries out: {kind} ({by}), asked for {}.", minute_or_unknown(*at))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Kind, Size, Trigger};

    fn state() -> State {
        let first = Generation {
            number: 1,
            began: 0,
            ended: 1_793_610_000,
            kind: Kind::Undo,
            by: Trigger::UserData,
            size: None,
        };
        let second = Generation {
            number: 2,
            began: 1_793_527_920,
            ended: 1_793_614_200,
            kind: Kind::Reset,
            by: Trigger::Command,
            size: Some(Size { files: 3417, bytes: 1_288_490_189 }),
        };
        let request =
            Request { id: "x".to_owned(), kind: Kind::Undo, by: Trigger::File, at: 1_793_614_320, keep: Vec::new() };
        State {
            generation: 3,
            began: 1_793_614_260,
            request: Some(request),
            set_aside: vec![first, second],
            ..State::new("u", 1)
        }
    }

    #[test]
    fn the_list_begins_with_the_one_in_use() {
        let expected = "\
Times are UTC.
    3  in use     since 2026-11-02 10:11
    2  set aside  2026-11-01 10:12 to 2026-11-02 10:10  1.2 GiB in 3,417 files, ended by reset (by command)
    1  set aside  unknown to 2026-11-02 09:00  not counted yet, ended by undo (by changed user-data)
The next boot carries out: undo (by a file on the boot partition), asked for 2026-11-02 10:12.
";
        assert_eq!(Generations::of(state()).to_string(), expected);
    }

    #[test]
    fn json_has_the_same() {
        let json = serde_json::to_value(Generations::of(state())).unwrap();
        assert_eq!(json["in_use"], serde_json::json!({ "number": 3, "began": 1_793_614_260 }));
        assert_eq!(json["set_aside"][0]["size"]["files"], 3417);
        assert_eq!((&json["set_aside"][1]["kind"], &json["pending"]["by"]), (&"undo".into(), &"file".into()));
    }
}
