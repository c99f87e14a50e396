//! The test bed: Pi-like images of real Debian ([`image`]), virtual cards that they are burned to ([`card`]), and
//! emulated nodes that boot from them ([`node`]) as a Pi does: at each power-on the kernel, the initramfs and the command
//! line are read from the card's boot partition, and a reboot of the guest is a new power-on.
//!
//! What a node leaves behind (every boot's console and QEMU's command line, the card of a failed scenario) is under
//! `target/vm-logs/NAME/`; images are cached in `target/vm-cache`, or where `BURNONCE_CACHE` says.

pub mod bake;
pub mod bed;
pub mod board;
pub mod card;
pub mod checks;
pub mod console;
pub mod conversion;
pub mod cpio;
pub mod cuts;
pub mod damage;
pub mod fat;
pub mod host;
pub mod image;
pub mod native;
pub mod node;
pub mod qemu;
pub mod running;
pub mod swapped;
pub mod swaps;
pub mod tree;
pub mod writes;

pub use bake::bake;
pub use bed::{Bed, scenario};
pub use board::Board;
pub use card::Card;
pub use image::{Image, Recipe, Switch};
pub use node::Node;
