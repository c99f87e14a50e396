//! Parses the command line, starts the log, runs the command, and gives its exit code.

use burnonce::cli::{Cli, Command};
use burnonce::output::tell;
use burnonce::{Exit, bake, config, inspect, logging};
use clap::Parser;
use std::path::Path;

fn main() -> Exit {
    #[cfg(target_os = "linux")]
    let started = std::time::Instant::now();
    let cli = Cli::parse();
    let root = Path::new("/");
    // A file that cannot be read is reported by the command itself.
    let level = config::of(root).1.log.level;
    logging::start(cli.verbose, level);
    let result = match cli.command {
        Command::Bake(given) => bake::run(&given.into()),
        Command::Inspect { json, image } => inspect::run(&image, json),
        #[cfg(target_os = "linux")]
        Command::Node(command) => node::run(command, root, started),
    };
    result.unwrap_or_else(|error| {
        tell(format_args!("{error:#}"));
        Exit::Failed
    })
}

/// The commands for this node.
#[cfg(target_os = "linux")]
mod node {
    use anyhow::Result;
    use burnonce::cli::Node;
    use burnonce::converge::{self, Options};
    use burnonce::output::tell;
    use burnonce::{Exit, diff, generations, guard, maintain, preview, reclaim, repartition, reset, status, undo};
    use std::path::Path;
    use std::time::Instant;

    pub fn run(command: Node, root: &Path, started: Instant) -> Result<Exit> {
        let reads_a_file = matches!(command, Node::Plan { from: Some(_), .. });
        if !reads_a_file && !nix::unistd::geteuid().is_root() {
            tell("the disk can be read by root only; run it with sudo");
            return Ok(Exit::Failed);
        }
        let converge = Options { root, started, reboot: true, limit: usize::MAX, late: false };
        match command {
            Node::Converge { no_reboot, steps } => {
                Ok(converge::run(Options { reboot: !no_reboot, limit: steps.unwrap_or(usize::MAX), ..converge }))
            }
            Node::Prepare { no_reboot } => Ok(converge::run(Options { reboot: !no_reboot, late: true, ..converge })),
            Node::Plan { json, from } => preview::run(root, json, from.as_deref()),
            Node::Status { json } => status::run(root, json),
            Node::Reset { keep, user_data, preview, no_reboot, yes } => {
                reset::run(root, &reset::Options { keep, user_data, preview, no_reboot, yes })
            }
            Node::Undo { no_reboot, yes } => undo::run(root, no_reboot, yes),
            Node::Repartition { number, no_reboot, yes } => repartition::run(root, number, no_reboot, yes),
            Node::Generations { json } => generations::run(root, json),
            Node::Diff { path, json, package, content, all } => {
                diff::run(&diff::Options { path, json, package, content, all })
            }
            Node::Guard { root: lower } => guard::run(root, &lower, started),
            Node::Reclaim => reclaim::run(root),
            Node::Maintain { command } => maintain::run(&command),
        }
    }
}
