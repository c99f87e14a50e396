//! libFuzzer on the target that `BURNONCE_FUZZ` names; the arguments are libFuzzer's.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// Asked for once: libFuzzer starts this program again where it needs more than one process.
static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("BURNONCE_FUZZ").unwrap_or_default();
    let names: Vec<&str> = burnonce_fuzz::TARGETS.iter().map(|(name, _)| *name).collect();
    let found = burnonce_fuzz::TARGETS.iter().find(|(target, _)| *target == name);
    found.unwrap_or_else(|| panic!("BURNONCE_FUZZ is `{name}`; it has to be one of: {}", names.join(", "))).1
});

fuzz_target!(|data: &[u8]| TARGET(data));
