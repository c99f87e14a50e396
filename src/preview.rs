//! `burnonce plan`: what the next boot would do, in words and as a picture. Changes nothing.

use crate::config;
use crate::filesystem::{Content, Owner, Superblock};
use crate::observation::{Disk, Observation, Place, Root};
use crate::output::print;
use crate::picture::{Card, SegmentKind, before_after, draw};
use crate::plan::decide;
use crate::refusal::{Refusal, aftermath, caption};
use crate::step::{Plan, Step};
use crate::table::{Table, behind_root};
use crate::{Exit, observe};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;

/// Prints the plan of the machine at `root`, or of the saved observation in the file `from`.
///
/// # Errors
/// The machine or the file could not be read.
pub fn run(root: &Path, json: bool, from: Option<&Path>) -> Result<Exit> {
    let (loaded, config) = config::of(root);
    let seen = match from {
        Some(file) => load(file)?,
        None => observe::observe(root, &config)?,
    };
    let decided = decide(&seen, &loaded);
    if json {
        print(serde_json::to_string_pretty(&to_json(&seen, &decided))? + "\n");
    } else {
        print(to_text(&seen, &decided)?);
    }
    Ok(if decided.is_ok() { Exit::Done } else { Exit::Refused })
}

/// An observation as `plan --json` prints it, alone or in its `observation` field.
fn load(file: &Path) -> Result<Observation> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut value: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    if let Some(inner) = value.get_mut("observation") {
        value = inner.take();
    }
    serde_json::from_value(value).with_context(|| format!("{} holds no observation", file.display()))
}

fn to_json(seen: &Observation, decided: &Result<Plan, Refusal>) -> serde_json::Value {
    match decided {
        Ok(plan) => json!({ "plan": plan, "observation": seen }),
        Err(refusal) => {
            let message = refusal.to_string();
            json!({ "refusal": { "reason": refusal, "message": message }, "observation": seen })
        }
    }
}

/// What `burnonce plan` prints.
///
/// # Errors
/// The plan changes the table in a way that its check refuses.
pub fn to_text(seen: &Observation, decided: &Result<Plan, Refusal>) -> Result<String> {
    let mut text = match decided {
        Ok(plan) => plan.to_string(),
        Err(refusal) => format!("Refused: {refusal}.\n{}\n", aftermath(seen)),
    };
    let (Some(disk), Place::Partition { number, .. }) = (&seen.disk, &seen.lower) else { return Ok(text) };
    let Some(table) = disk.table.as_ref().ok().or(disk.cut_short.as_ref()) else { return Ok(text) };
    let mut upper = match &seen.root {
        Root::Overlay { upper, .. } => upper.clone(),
        Root::Plain { .. } | Root::OtherOverlay => None,
    };
    let before = card(disk, table, *number, upper.as_deref());
    let width = 78;
    text.push('\n');
    match decided {
        Ok(plan) if !plan.steps.is_empty() => {
            upper = plan
                .steps
                .iter()
                .find_map(|step| match step {
                    Step::KeepLog { device } => Some(device.clone()),
                    _ => None,
                })
                .or(upper);
            let after = card(disk, &plan.table_after(table)?, *number, upper.as_deref());
            text.push_str(&before_after(&before, &after, width));
        }
        _ => text.push_str(&draw(&before, width)),
    }
    Ok(text)
}

/// The picture's data. `upper` is the kernel name of the partition that is the upper.
fn card(disk: &Disk, table: &Table, root: u32, upper: Option<&str>) -> Card {
    let behind: Vec<u32> = behind_root(table, root).map(|p| p.number).collect();
    Card::from_table(&format!("/dev/{}", disk.name), disk.sectors.0, table, |number| {
        let name = disk.partition_name(number);
        let content = disk.contents.iter().find(|h| h.number == number).map(|h| &h.content);
        let unknown = if behind.contains(&number) { "not looked at" } else { "the image's own" };
        let held = content.map_or_else(|| unknown.to_owned(), caption);
        let ours = matches!(content, Some(Content::Ext(Superblock { owner: Owner::Ours { .. }, .. })));
        let (what, kind) = if number == root {
            ("the image's root".to_owned(), SegmentKind::Root)
        } else if upper == Some(name.as_str()) {
            ("the upper: all that is written".to_owned(), SegmentKind::Upper)
        } else if ours {
            (format!("{held}, not in use"), SegmentKind::Upper)
        } else if behind.contains(&number) {
            (held, SegmentKind::Foreign)
        } else {
            (held, SegmentKind::Boot)
        };
        (format!("/dev/{name}"), what, kind)
    })
}
