//! burnonce and its peers on the same work, alternating, in one run.

pub mod cards;
pub mod contest;
pub mod device;
pub mod extent;
pub mod figures;
pub mod machine;
pub mod measured;
pub mod mounted;
pub mod page;
pub mod plot;
pub mod quantity;
#[cfg(test)]
mod sample;
pub mod statistics;
pub mod table;
pub mod target;
pub mod works;
