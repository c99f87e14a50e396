//! The command line: types only, shared with the man page's test and the completion generator.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// The burned image stays as it was; everything written goes to a third partition.
#[derive(Debug, Parser)]
#[command(name = "burnonce", version, max_term_width = 100)]
pub struct Cli {
    /// Say more in the log, and say it on standard error, too; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring this node to its overlay; what burnonce.service runs early in every boot
    Converge {
        /// Do everything but the restart at the end
        #[arg(long)]
        no_reboot: bool,
        /// Carry out only the first N steps of the plan (for tests of interrupted conversions)
        #[arg(long, value_name = "N", hide = true)]
        steps: Option<usize>,
    },
    /// Rebuild the initramfs where it lacks overlayroot; what burnonce-prepare.service runs late in such a boot
    Prepare {
        /// Do everything but the restart at the end
        #[arg(long)]
        no_reboot: bool,
    },
    /// Show what the next boot would do, and the card before and after; change nothing
    Plan {
        /// Print JSON: the plan or the refusal, and all that was seen
        #[arg(long)]
        json: bool,
        /// Plan for what `plan --json` saw on another node, kept in FILE, not for this one
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
    },
    /// Show how this node runs; exit code 4 where it does not run as configured
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run COMMAND, or a shell, in the image below the overlay, writable as long as it runs
    Maintain {
        /// The command and its arguments; without it a shell
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}
