//! What `burnonce bake` is made of: files are put into a stock image, without root, mounts or loop devices.
//!
//! [`root`] edits the ext4 that root is on, where it lies in a file.
//!
//! What is edited is a copy. An editing that fails leaves a damaged file system behind, and the copy is thrown away.

pub mod root;
