//! burnonce and its peers on the same work, alternating, in one run.

pub mod cards;
pub mod contest;
pub mod device;
pub mod extent;
pub mod figures;
pub mod machine;
pub mod measured;
pub mod mounted;
pub mod quantity;
#[cfg(test)]
mod sample;
pub mod statistics;
pub mod target;
pub mod works;
