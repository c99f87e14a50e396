//! Scenarios on emulated nodes. Each is a test of its own that needs root, QEMU and burnonce's package (`make deb`):
//!
//! ```text
//! sudo cargo test -p burnonce-vm --test scenarios -- --test-threads=2
//! ```

mod baked;
mod conversion;
mod cuts;
mod faults;
mod hands_off;
mod lifecycle;
mod requests;
mod reset;
mod stock;
mod swaps;
