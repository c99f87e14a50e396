//! What the consoles hear at the beginning and the end of a run.

use crate::console::Console;
use crate::observation::{Lacks, Observation, Place, Root};
use crate::packages;
use crate::step::Plan;

/// The first lines of a preparation, which is for later in this boot.
pub(super) fn say_what_is_prepared(lacks: Lacks, waiting: &[String], console: &mut Console) {
    if lacks != Lacks::Packages {
        console.say(format_args!(
            "the initramfs of this image has no {lacks}. It is rebuilt later in this boot; the next boot converts."
        ));
        return;
    }
    console.say(format_args!(
        "this image came with {} to be installed on the node. That is done later in this boot, and the initramfs rebuilt.",
        packages::summary(waiting)
    ));
    let most = packages::LIMIT.as_secs() / 60;
    console.say(format_args!(
        "that takes a few minutes on a Raspberry Pi (of which the packages may take {most}), and ends with a restart; the next boot converts. \
         Cutting the power does no harm: the next boot goes on."
    ));
}

/// The first lines of a conversion: what is about to happen, and how long one waits.
pub(super) fn announce(plan: &Plan, seen: &Observation, console: &mut Console) {
    let Some(disk) = &seen.disk else { return };
    let length = disk.sectors.to_bytes(disk.sector_size);
    console.say(format_args!(
        "converting this node (burnonce {}): a card of {length}, /dev/{}.",
        env!("CARGO_PKG_VERSION"),
        disk.name
    ));
    if let Some((_, _, sectors)) = plan.new_partition() {
        let size = sectors.to_bytes(disk.sector_size);
        console.say(format_args!(
            "the image stays as it was burned; all that is written goes to a new partition of {size}."
        ));
    }
    console.say("this takes seconds, and ends with a restart. Cutting the power does no harm: the next boot goes on.");
}

/// What a boot on its overlay is.
pub(super) fn overlay_line(seen: &Observation) -> String {
    let Root::Overlay { upper: Some(upper), .. } = &seen.root else { return "nothing to do.".to_owned() };
    let lower = match &seen.lower {
        Place::Partition { name, .. } => format!("/dev/{name}"),
        _ => "the image".to_owned(),
    };
    format!("this node runs on its overlay: what is written goes to /dev/{upper}; {lower} stays as it was burned.")
}
