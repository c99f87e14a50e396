//! burnonce and its peers on the same work, alternating, in one run.

pub mod figures;
pub mod page;
pub mod plot;
pub mod quantity;
#[cfg(test)]
mod sample;
pub mod statistics;
pub mod table;
