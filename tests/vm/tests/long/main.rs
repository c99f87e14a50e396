//! Scenarios that take long: whole lists of faults, and power cuts by the dozen and by the hundred. `make test-long` runs them; `make
//! test` has one of each family.
//!
//! ```text
//! sudo cargo test -p burnonce-vm --test long -- --test-threads=2 --nocapture
//! ```

mod conversion;
mod cost;
mod cuts;
mod faults;
mod lifecycle;
mod matrix;
mod prefixes;
mod requests;
mod stock;
mod swaps;
