//! burnonce: the burned image stays as it was; everything a node writes goes to a third partition.
//!
//! One run is: [`observe::observe`] looks at the machine and gives an [`observation::Observation`], plain data.
//! [`plan::plan`] decides, from that and the [`config::Config`] alone, and gives a [`step::Plan`], or a
//! [`refusal::Refusal`]: hands off. [`apply::run`] carries the steps out, in an order that makes a power cut after any of
//! them harmless, and ends with a restart. [`converge`] ties the three together for the units; `burnonce plan` stops after the second.
//! After the restart, and in every boot from then on, [`guard`] looks after the upper in the initramfs: it has it checked, carries out a
//! reset or an undo, and says whether it can be used. Then overlayroot reads `share/overlayroot.local.conf`, which goes by that: it
//! takes the upper where that is sound, memory otherwise.
//!
//! Nothing is remembered between boots but what is on the card: the partition table, the label and the `state.json` of the upper,
//! the configuration file, the lower's `read-only` feature. Whatever a power cut leaves, the next boot plans from what it sees.
//!
//! [`bake`] and [`inspect`] work on images, and are there on any workstation (Linux, macOS); all that is for a node, on Linux alone.
//!
//! docs/design.md has the reasons.

// What reads and bakes images, on any workstation.
pub mod bake;
pub mod boot_files;
pub mod cli;
pub mod command;
pub mod config;
mod doomed;
pub mod files;
pub mod filesystem;
pub mod inspect;
pub mod logging;
pub mod output;
pub mod overlay;
pub mod picture;
mod question;
mod sparse;
pub mod table;
pub mod text;
pub mod time;
pub mod units;
pub mod user_data;

// What runs on a node, and needs Linux.
#[cfg(target_os = "linux")]
pub mod apply;
#[cfg(target_os = "linux")]
pub mod at_boot;
#[cfg(target_os = "linux")]
pub mod boot_partition;
#[cfg(target_os = "linux")]
pub mod console;
#[cfg(target_os = "linux")]
pub mod converge;
#[cfg(target_os = "linux")]
pub mod diff;
#[cfg(target_os = "linux")]
mod fstab;
#[cfg(target_os = "linux")]
pub mod generations;
#[cfg(target_os = "linux")]
pub mod guard;
#[cfg(target_os = "linux")]
pub mod hold;
#[cfg(target_os = "linux")]
pub mod keep;
#[cfg(target_os = "linux")]
pub mod kernel;
#[cfg(target_os = "linux")]
pub mod led;
#[cfg(target_os = "linux")]
pub mod maintain;
#[cfg(target_os = "linux")]
pub mod motd;
#[cfg(target_os = "linux")]
pub mod mounted;
#[cfg(target_os = "linux")]
pub mod mounts;
#[cfg(target_os = "linux")]
pub mod notice;
#[cfg(target_os = "linux")]
pub mod observation;
#[cfg(target_os = "linux")]
pub mod observe;
#[cfg(target_os = "linux")]
pub mod packages;
#[cfg(target_os = "linux")]
pub mod plan;
#[cfg(target_os = "linux")]
pub mod preview;
#[cfg(target_os = "linux")]
pub mod reclaim;
#[cfg(target_os = "linux")]
pub mod refusal;
#[cfg(target_os = "linux")]
pub mod repartition;
#[cfg(target_os = "linux")]
pub mod request;
#[cfg(target_os = "linux")]
pub mod reset;
#[cfg(target_os = "linux")]
pub mod state;
#[cfg(target_os = "linux")]
pub mod status;
#[cfg(target_os = "linux")]
pub mod step;
#[cfg(target_os = "linux")]
pub mod sys;
#[cfg(target_os = "linux")]
pub mod tree;
#[cfg(target_os = "linux")]
pub mod undo;
#[cfg(target_os = "linux")]
pub mod upper;

use std::process::{ExitCode, Termination};

/// How the program ends; the man page lists the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, or nothing to do.
    Done,
    /// 1: something failed.
    Failed,
    /// 3: hands off: the machine was left as it is. (2, a wrong command line, is clap's.)
    Refused,
    /// 4: the node does not run as it was configured.
    Degraded,
    /// 5: the guard wants the boot to end here.
    Stop,
    /// The exit code of the command that `maintain` ran.
    Of(u8),
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Refused => 3,
            Exit::Degraded => 4,
            Exit::Stop => 5,
            Exit::Of(code) => code,
        })
    }
}
