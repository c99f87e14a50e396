//! The works that are done.

pub mod convert;
pub mod reset;
pub mod steady;
