//! What reads bytes of others (a card, a file of the owner, a bug report), as functions of bytes that panic where something is wrong.
//! `make fuzz` runs each of them under libFuzzer; `tests/corpus.rs` runs them on what is in `corpus/`.

pub mod bytes;
pub mod disk;
pub mod image;
pub mod machines;
pub mod package;
pub mod plan;
pub mod superblock;
pub mod table;
pub mod text;

#[path = "../../machine/mod.rs"]
mod machine;

/// A target: its name, which is also its directory below `corpus/`, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("table", table::table),
    ("gpt", table::gpt),
    ("publish", table::publish),
    ("superblock", superblock::superblock),
    ("owner", superblock::owner),
    ("fat", image::fat),
    ("initramfs", image::initramfs),
    ("package", package::package),
    ("config", text::config),
    ("state", text::state),
    ("overlayroot", text::overlayroot),
    ("counts", text::counts),
    ("cmdline", text::cmdline),
    ("mounts", text::mounts),
    ("conversion", plan::conversion),
    ("growth", plan::growth),
    ("observation", plan::observation),
    ("saved", plan::saved),
];
