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
//! docs/design.md has the reasons.

pub mod apply;
pub mod at_boot;
pub mod bake;
pub mod boot_files;
pub mod boot_partition;
pub mod cli;
pub mod command;
pub mod config;
pub mod console;
pub mod converge;
pub mod diff;
pub mod files;
pub mod filesystem;
mod fstab;
pub mod generations;
pub mod guard;
pub mod hold;
pub mod inspect;
pub mod keep;
pub mod kernel;
pub mod led;
pub mod logging;
pub mod maintain;
pub mod motd;
pub mod mounted;
pub mod mounts;
pub mod notice;
pub mod observation;
pub mod observe;
pub mod output;
pub mod overlay;
pub mod packages;
pub mod picture;
pub mod plan;
pub mod preview;
pub mod reclaim;
pub mod refusal;
pub mod repartition;
pub mod request;
pub mod reset;
mod sparse;
pub mod state;
pub mod status;
pub mod step;
pub mod sys;
pub mod table;
pub mod time;
pub mod tree;
pub mod undo;
pub mod units;
pub mod upper;
pub mod user_data;

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
