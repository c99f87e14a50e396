//! The command line: types only, shared with the man page's test and the completion generator.

use crate::units::Bytes;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
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
    /// Show what an image has in it, and what stands in the way of burnonce there; needs no root and changes nothing
    Inspect {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The image: raw, or packed by xz, zstd or gzip
        image: PathBuf,
    },
    /// Put burnonce into a stock image, so that a card burned with it by `dd` converts on its first boot; needs no root
    Bake(Bake),
    #[cfg(target_os = "linux")]
    #[command(flatten)]
    Node(Node),
}

/// What to do with this node.
#[cfg(target_os = "linux")]
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Bring this node to its overlay; what burnonce.service runs early in every boot
    Converge {
        /// Do everything but the restart at the end
        #[arg(long)]
        no_reboot: bool,
        /// Carry out only the first N steps of the plan (for tests of interrupted conversions)
        #[arg(long, value_name = "N", hide = true)]
        steps: Option<usize>,
    },
    /// Install what came with the image, and rebuild the initramfs where it lacks overlayroot; what burnonce-prepare.service runs late
    /// in such a boot
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
    /// Give this node back as freshly burned: ask, set aside all that was written, and restart
    Reset {
        /// Take over what is at each PATH (absolute; globs) into the new generation; besides `reset.keep` in the configuration
        #[arg(long, value_name = "PATH", num_args = 1..)]
        keep: Vec<String>,
        /// Put FILE on the boot partition as cloud-init's user-data
        #[arg(long, value_name = "FILE")]
        user_data: Option<PathBuf>,
        /// Show what would be kept and what would be lost; change nothing
        #[arg(long, conflicts_with_all = ["no_reboot", "yes"])]
        preview: bool,
        /// Do not restart: the next boot carries it out
        #[arg(long)]
        no_reboot: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Go back to the generation that was set aside last, and restart; the present one is set aside in its place
    Undo {
        /// Do not restart: the next boot carries it out
        #[arg(long)]
        no_reboot: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// After the card was swapped or copied: make the upper fit it, anew where it has to be; ask first, naming what is lost
    Repartition {
        /// Give up partition N, whatever it holds, for the upper
        #[arg(long = "use", value_name = "N")]
        number: Option<u32>,
        /// Do not restart: the next boot goes on
        #[arg(long)]
        no_reboot: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// List the generations on this card: when, how much, why it ended
    Generations {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what changed since the image was burned: A added, M modified, D deleted, R a directory replaced
    Diff {
        /// Only at and below PATH
        path: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Name the Debian package that owns each path, or `local`
        #[arg(long)]
        package: bool,
        /// Show the change of FILE's content as a unified diff
        #[arg(long, value_name = "FILE", conflicts_with_all = ["path", "json", "package", "all"])]
        content: Option<PathBuf>,
        /// List what is folded, too (`diff.fold` in the configuration)
        #[arg(long)]
        all: bool,
    },
    /// Look after the upper before anything has it mounted; what the initramfs runs in every boot
    Guard {
        /// Where the initramfs has mounted root
        #[arg(long, value_name = "DIRECTORY")]
        root: PathBuf,
    },
    /// Delete generations that are not kept any more; what burnonce-reclaim.service runs late in a boot
    Reclaim,
    /// Run COMMAND, or a shell, in the image below the overlay, writable as long as it runs
    Maintain {
        /// The command and its arguments; without it a shell
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// What to bake, and how.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("result").required(true).args(["output", "in_place", "plan"])))]
pub struct Bake {
    /// The stock image: raw, or packed by xz, zstd or gzip; or a card that nothing has mounted
    pub image: PathBuf,
    /// Write the result to FILE: .img, .img.xz or .img.zst; its checksum goes to FILE.sha256
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace IMAGE itself
    #[arg(long)]
    pub in_place: bool,
    /// Show what would be done; write nothing
    #[arg(long)]
    pub plan: bool,
    /// A Debian package for the first boot to install, or a directory in which those that are needed are looked for: burnonce's own, and
    /// what it needs that the image lacks. Once for each
    #[arg(long = "deb", value_name = "PATH")]
    pub debs: Vec<PathBuf>,
    /// Put FILE in as /etc/burnonce.yaml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Put FILE on the boot partition as cloud-init's user-data
    #[arg(long, value_name = "FILE")]
    pub user_data: Option<PathBuf>,
    /// Put FILE on the boot partition as cloud-init's network-config
    #[arg(long, value_name = "FILE")]
    pub network_config: Option<PathBuf>,
    /// Put FILE on the boot partition as cloud-init's meta-data
    #[arg(long, value_name = "FILE")]
    pub meta_data: Option<PathBuf>,
    /// Let the owners of the public keys in FILE log in. Once for each
    #[arg(long = "ssh-key", value_name = "FILE")]
    pub ssh_keys: Vec<PathBuf>,
    /// Name each node after the serial number of its board: pi-12345678
    #[arg(long, value_name = "SOURCE")]
    pub hostname_from: Option<HostnameFrom>,
    /// Make the root longer by SIZE (`512 MiB`), however much it needs; without this, by what it needs
    #[arg(long, value_name = "SIZE")]
    pub grow: Option<Bytes>,
    /// What the image is made like, where it is none of these
    #[arg(long, value_name = "NAME")]
    pub distribution: Option<Distribution>,
    /// Do not ask before a file is replaced
    #[arg(long)]
    pub yes: bool,
}

/// What a node is named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HostnameFrom {
    /// The serial number of its board
    Serial,
}

/// Distributions whose images are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Distribution {
    Ubuntu,
    RaspberryPiOs,
    Debian,
    Armbian,
}
