//! The works that are done.

pub mod convert;
pub mod steady;
