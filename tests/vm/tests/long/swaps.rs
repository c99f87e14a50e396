//! Cards that were copied onto other ones: what the scenarios of `make test` leave out.

use burnonce_vm::{Recipe, swaps};

#[test]
fn longer_card_gpt() {
    swaps::onto_a_longer_card("longer_card_gpt", Recipe::stock().gpt());
}
