//! burnonce: the burned image stays as it was; everything a node writes goes to a third partition.
pub mod command;
pub mod config;
pub mod console;
pub mod filesystem;
pub mod led;
pub mod logging;
pub mod picture;
pub mod table;
pub mod units;
