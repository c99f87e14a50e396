//! What `burnonce bake` is made of: files are put into a stock image, without root, mounts or loop devices.
//!
//! [`root`] edits the ext4 that root is on, [`boot`] the FAT of the boot partition, both where they lie in a file. [`output`] makes the file
//! that is written, which is at its place when it is whole and not before; [`packing`] packs it. [`room`] makes the root larger, and
//! [`check`] gets one into order that was not unmounted, and judges what came of it all. [`package`] reads the Debian packages that are put
//! in, and sees to it that they are all that is needed.
//!
//! What is edited is a copy. An editing that fails leaves a damaged file system behind, and the copy is thrown away.

pub mod boot;
pub mod check;
pub mod output;
pub mod package;
pub mod packing;
mod programs;
pub mod room;
pub mod root;

#[cfg(test)]
mod made;
