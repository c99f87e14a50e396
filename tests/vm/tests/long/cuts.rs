//! Power cuts at random moments; a seed in `BURNONCE_SEED` repeats them.

use burnonce_vm::cuts;

#[test]
fn many_cuts_of_resets() {
    cuts::of_guard("many_cuts_of_resets", 20);
}

#[test]
fn many_cuts_of_reclaim() {
    cuts::of_reclaim("many_cuts_of_reclaim", 12);
}
