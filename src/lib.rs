//! burnonce: the burned image stays as it was; everything a node writes goes to a third partition.
pub mod command;
pub mod filesystem;
pub mod table;
pub mod units;
