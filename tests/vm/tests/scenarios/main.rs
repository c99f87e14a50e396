//! Scenarios on emulated nodes. Each is a test of its own that needs root, QEMU and burnonce's package (`make deb`):
//!
//! ```text
//! sudo cargo test -p burnonce-vm --test scenarios -- --test-threads=2
//! ```
//!
//! They run in the order of their names. Those that take longest are not among the last ones, where one of the two threads would wait for
//! them with nothing to do.

mod baked;
mod card_swaps;
mod conversion;
mod cuts;
mod faults;
mod lifecycle;
mod requests;
mod reset;
mod unconverted;
