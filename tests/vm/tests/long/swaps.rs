//! Cards that were copied onto other ones: what the scenarios of `make test` leave out.

use burnonce_vm::{Recipe, swaps};

#[test]
fn longer_card() {
    swaps::onto_a_longer_card("longer_card", Recipe::stock(), swaps::LONGER);
}

#[test]
fn longer_card_gpt() {
    swaps::onto_a_longer_card("longer_card_gpt", Recipe::stock().gpt(), swaps::LONGER);
}

/// Beyond the room that the upper is made with, where the kernel has to find another place for the group descriptors.
#[test]
fn much_longer_card() {
    swaps::onto_a_longer_card("much_longer_card", Recipe::stock().gpt(), 5 << 39);
}
