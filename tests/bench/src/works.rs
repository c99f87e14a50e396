//! The works that are done.

pub mod bake;
pub mod convert;
pub mod diff;
pub mod reset;
pub mod size;
pub mod steady;
