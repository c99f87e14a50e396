//! `burnonce repartition`: for a card that was swapped or copied. Shows what is to be done and what is lost, asks, does it, and restarts
//! where that is needed.

use crate::config;
use crate::console::Console;
use crate::converge::{self, Options};
use crate::observation::{Observation, Root};
use crate::output::{print, tell};
use crate::question::{Refused, confirm, need_terminal, refuse};
use crate::step::{Plan, Purpose, Step};
use crate::{Exit, command::Program, files, fstab, maintain, observe, overlay, plan, preview};
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Instant;

/// Runs it on the machine at `root`. `number` is a partition that makes way; without `yes` the owner is asked, and with `no_reboot` the
/// restart is left to them.
///
/// # Errors
/// Something failed. What speaks against it is [`Exit::Refused`], with the reason on standard error.
pub fn run(root: &Path, number: Option<u32>, no_reboot: bool, yes: bool) -> Result<Exit> {
    Refused::to_exit(repartition(root, number, no_reboot, yes))
}

fn repartition(root: &Path, number: Option<u32>, no_reboot: bool, yes: bool) -> Result<Exit> {
    if maintain::is_at_work(root) {
        return Err(refuse(maintain::AT_WORK));
    }
    let config = config::load(&files::below(root, config::PATH)).map_err(|error| {
        refuse(format!("{error:#}; how the upper is to be made cannot be known before that is corrected"))
    })?;
    let seen = observe::observe(root, &config)?;
    let plan = plan::repartition(&seen, &config, number).map_err(refuse)?;
    print(preview::to_text(&seen, &Ok(plan.clone()))?);
    if !matches!(plan.purpose, Purpose::Remake { .. } | Purpose::MakeWay { .. } | Purpose::Grow) {
        print("burnonce repartition has nothing to do.\n");
        return Ok(Exit::Done);
    }
    need_unnamed(root, &seen, &plan)?;
    if !yes {
        need_terminal()?;
        confirm(&question(&plan))?;
    }
    carry_out(root, &plan, &seen, &config, no_reboot)
}

/// Does it. The restart comes in good order, for this is a node at work.
fn carry_out(root: &Path, plan: &Plan, seen: &Observation, config: &config::Config, no_reboot: bool) -> Result<Exit> {
    let restarts = plan.steps.last() == Some(&Step::Reboot);
    let limit = plan.steps.len() - usize::from(restarts);
    let options = Options { root, started: Instant::now(), reboot: true, limit, late: false };
    converge::carry_out(plan, seen, config, &options, &mut Console::open(root))?;
    match (restarts, no_reboot) {
        (false, _) => tell("done"),
        (true, true) => tell("done; it counts from the next boot on"),
        (true, false) => {
            tell("done; restarting");
            let restart = Program::new("systemctl").arg("reboot");
            restart.run().context("restart this node yourself: the next boot goes on")?;
        }
    }
    Ok(Exit::Done)
}

/// Refuses to take a partition away that `/etc/fstab` or `/etc/crypttab` of the image names: a boot waits for it, and ends in emergency
/// mode where it does not come; and the new upper can have the name that the old partition had.
fn need_unnamed(root: &Path, seen: &Observation, plan: &Plan) -> Result<()> {
    let overlaid = matches!(seen.root, Root::Overlay { .. });
    let tree = if overlaid { files::below(root, overlay::LOWER) } else { root.to_owned() };
    let removed = plan.steps.iter().filter_map(|step| match step {
        Step::RemovePartition { device, .. } => Some(device),
        _ => None,
    });
    for device in removed {
        let Some(line) = fstab::naming(&tree, &root.join("dev").join(device))? else { continue };
        let file = line.split(' ').next().unwrap_or_default();
        let how = if overlaid {
            format!("take that line out with `burnonce maintain editor {file}`, restart, and run this again")
        } else {
            "take that line out, and run this again".to_owned()
        };
        return Err(refuse(format!(
            "the image names /dev/{device} in {line}. A boot waits for what is named there, and the new upper can have the same name. \
             What to do: {how}"
        )));
    }
    Ok(())
}

/// What the owner is asked.
fn question(plan: &Plan) -> String {
    let lost = plan.steps.iter().find_map(|step| match step {
        Step::RemovePartition { device, what, .. } => Some(format!("What is lost: /dev/{device} ({what}).\n")),
        _ => None,
    });
    let mut text = lost.unwrap_or_else(|| "Nothing is lost by it: it happens in free space.\n".to_owned());
    if matches!(plan.purpose, Purpose::Remake { .. }) {
        text += "The node begins as freshly burned. What an earlier first boot consumed from the boot partition is not put back.\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_names_what_is_lost() {
        let plan = Plan { purpose: Purpose::Grow, steps: Vec::new(), notes: Vec::new() };
        assert_eq!(question(&plan), "Nothing is lost by it: it happens in free space.\n");
        let table = crate::table::Table {
            scheme: crate::table::Scheme::Mbr { signature: 1 },
            sector_size: 512,
            first_usable: crate::units::Lba(1),
            last_usable: crate::units::Lba(1000),
            slots: 4,
            partitions: Vec::new(),
        };
        let what = "8 GiB, an ext4 file system labelled \"data\"".to_owned();
        let remove = Step::RemovePartition { device: "sda3".to_owned(), number: 3, what, before: table };
        let plan = Plan { purpose: Purpose::MakeWay { then: String::new() }, steps: vec![remove], ..plan };
        assert_eq!(question(&plan), "What is lost: /dev/sda3 (8 GiB, an ext4 file system labelled \"data\").\n");
    }
}
