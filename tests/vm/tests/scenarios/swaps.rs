//! Cards that were copied onto other ones.

use burnonce_vm::{Recipe, swaps};

#[test]
fn longer_card() {
    swaps::onto_a_longer_card("longer_card", Recipe::stock(), swaps::LONGER);
}

#[test]
fn shorter_card() {
    swaps::onto_a_shorter_card("shorter_card", Recipe::stock());
}
