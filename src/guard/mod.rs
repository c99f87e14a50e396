//! The half of burnonce that runs in the initramfs.

pub mod report;
