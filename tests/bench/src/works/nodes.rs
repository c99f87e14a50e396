//! Emulated nodes: burnonce's, and one that does what guides say in a unit of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burnonce_vm::{Bed, Card, Node, Recipe, host};

use crate::works::convert::GUIDE;

/// Who makes the node's overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Burnonce,
    Guide,
}

/// What burnonce's unit runs, and what keeps it from a node that it was installed on while that ran.
const START: &str = "ExecStart=/usr/sbin/burnonce converge\n";
const CONDITION: &str = "ConditionPathExists=!/run/burnonce/next-boot\n";
/// The guide's script.
const SCRIPT: &str = "usr/local/sbin/guide";

/// A card of `bytes` with an image of Debian burned to it. Without burnonce nothing in the image grows root: cloud-init is told not to.
///
/// # Errors
/// The image could not be made, or not be burned.
pub fn burned(bed: &Bed, who: Who, bytes: u64) -> Result<Card> {
    let recipe = Recipe::stock();
    let image = if who == Who::Burnonce { recipe } else { recipe.without_package() }.make()?;
    let card = bed.card_of(&image, bytes)?;
    if who == Who::Guide {
        let seed = card.boot_text("user-data")?.context("the image has no user-data")?;
        card.write_boot("user-data", format!("{seed}growpart: {{mode: 'off'}}\nresize_rootfs: false\n"))?;
    }
    Ok(card)
}

/// Puts the guide's script into the image on a card, in a unit that is burnonce's but for what it runs.
///
/// # Errors
/// The image cannot be written, or burnonce's unit is not what it was.
pub fn add_guide(card: &Card) -> Result<()> {
    let ours = host::project().join("systemd/burnonce.service");
    let ours = fs::read_to_string(&ours).with_context(|| format!("reading {}", ours.display()))?;
    let unit = guides_unit(&ours)?;
    let root = card.mount_writable(2)?;
    write_guide(root.path(), &unit)
}

/// The guide's unit, made of burnonce's.
fn guides_unit(ours: &str) -> Result<String> {
    for line in [START, CONDITION] {
        ensure!(ours.matches(line).count() == 1, "burnonce's unit has no {line:?}, or more than one");
    }
    let start = format!("ExecStart=/{SCRIPT}\n");
    Ok(ours.replace(START, &start).replace(CONDITION, "ConditionPathExists=!/etc/overlayroot.local.conf\n"))
}

fn write_guide(root: &Path, unit: &str) -> Result<()> {
    let script = format!(
        "#!/bin/sh\nset -e\nset -- /dev/vda '' /dev/vda3\nmount -o remount,rw /\n{GUIDE}mount -o remount,ro /\nreboot -f\n"
    );
    let (program, units) = (root.join(SCRIPT), root.join("etc/systemd/system"));
    let wants = units.join("sysinit.target.wants");
    fs::write(&program, script).with_context(|| format!("writing {}", program.display()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).context("making the guide's script a program")?;
    fs::write(units.join("guide.service"), unit).context("writing the guide's unit")?;
    fs::create_dir_all(&wants).with_context(|| format!("making {}", wants.display()))?;
    symlink("/etc/systemd/system/guide.service", wants.join("guide.service")).context("enabling the guide's unit")
}

/// The node runs on an overlay.
///
/// # Errors
/// It does not.
pub fn has_overlay(node: &Node) -> Result<()> {
    let kind = node.sh("findmnt -no FSTYPE /")?;
    ensure!(kind == "overlay", "the node's root is {kind}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_s_unit_is_burnonce_s_but_for_what_it_runs() {
        let ours = fs::read_to_string(host::project().join("systemd/burnonce.service")).unwrap();
        let unit = guides_unit(&ours).unwrap();
        let differing: Vec<_> = unit.lines().filter(|line| !ours.lines().any(|our| our == *line)).collect();
        assert_eq!(differing, ["ConditionPathExists=!/etc/overlayroot.local.conf", "ExecStart=/usr/local/sbin/guide"]);
        assert_eq!(unit.lines().count(), ours.lines().count());
        assert!(guides_unit(&unit).is_err());
    }
}
