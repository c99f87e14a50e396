//! The power goes while the agent is at work: one of the many cuts of the long tests.

use burnonce_vm::cuts;

/// The overlay is configured, and the image not sealed yet.
#[test]
fn power_cut() {
    cuts::of_conversion("power_cut", &["seal the image"]);
}
