//! burnonce and its peers on the same work, alternating, in one run.

pub mod figures;
