//! Power cuts, at each step of a conversion and at random moments; a seed in `BURNONCE_SEED` repeats those.

use burnonce_vm::cuts;

#[test]
fn cuts_of_conversion() {
    let steps = ["make an ext4", "write partition 3", "configure the overlay", "seal the image"];
    cuts::of_conversion("cuts_of_conversion", &steps);
}

#[test]
fn many_cuts_of_resets() {
    cuts::of_guard("many_cuts_of_resets", 20);
}

#[test]
fn many_cuts_of_reclaim() {
    cuts::of_reclaim("many_cuts_of_reclaim", 12);
}
