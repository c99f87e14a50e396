//! The crash-consistency proof of burnonce: what it writes to a card is recorded, write by write and flush by flush ([`recorder`],
//! [`recording`]); each card that a power cut could have left is made ([`cut`], [`restore`]), looked at ([`facts`]) and given to the
//! next boot ([`boot`]), which has to bring it to where it would be without the cut ([`story`]).

pub mod boot;
pub mod boots;
pub mod conversion;
pub mod cut;
pub mod facts;
pub mod figures;
pub mod grow;
pub mod matrix;
pub mod native;
pub mod pair;
pub mod plan;
pub mod proof;
pub mod reader;
pub mod reclaim;
pub mod recorder;
pub mod recording;
pub mod remake;
pub mod report;
pub mod restore;
pub mod story;
pub mod swap;
pub mod vm;
pub mod worker;
