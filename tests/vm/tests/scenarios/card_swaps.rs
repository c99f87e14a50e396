//! Cards that were copied onto other ones. The longer ones are in the long tests.

use burnonce_vm::{Recipe, swaps};

#[test]
fn shorter_card() {
    swaps::onto_a_shorter_card("shorter_card", Recipe::stock());
}
