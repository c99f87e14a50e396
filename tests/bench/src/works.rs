//! The works that are done.

pub mod bake;
pub mod convert;
pub mod diff;
pub mod first_boot;
pub mod grow;
pub mod nodes;
pub mod reset;
pub mod size;
pub mod steady;
