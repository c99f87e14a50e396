//! The power goes while the agent or the guard is at work: some of the many cuts of the long tests.

use burnonce_vm::cuts;

/// Before the table has the upper, and when everything is there but the seal.
#[test]
fn power_cuts() {
    cuts::of_conversion("power_cuts", &["write partition 3", "seal the image"]);
}

#[test]
fn cut_resets() {
    cuts::of_guard("cut_resets", 2);
}
