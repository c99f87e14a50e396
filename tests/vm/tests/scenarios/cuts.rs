//! The power goes while the guard is at work: two of the many cuts of the long tests.

use burnonce_vm::cuts;

#[test]
fn cut_resets() {
    cuts::of_guard("cut_resets", 2);
}
