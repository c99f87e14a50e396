//! Parses the command line, starts the log, runs the command, and gives its exit code.

use burnonce::cli::{Cli, Command};
use burnonce::converge::{self, Options};
use burnonce::output::tell;
use burnonce::{
    Exit, bake, config, diff, generations, guard, inspect, logging, maintain, preview, reclaim, repartition, reset,
    status, undo,
};
use clap::Parser;
use std::path::Path;
use std::time::Instant;

fn main() -> Exit {
    let started = Instant::now();
    let cli = Cli::parse();
    let root = Path::new("/");
    // A file that cannot be read is reported by the command itself.
    let level = config::of(root).1.log.level;
    logging::start(cli.verbose, level);
    let reads_a_file =
        matches!(&cli.command, Command::Plan { from: Some(_), .. } | Command::Bake(_) | Command::Inspect { .. });
    if !reads_a_file && !nix::unistd::geteuid().is_root() {
        tell("the disk can be read by root only; run it with sudo");
        return Exit::Failed;
    }
    let converge = Options { root, started, reboot: true, limit: usize::MAX, late: false };
    let result = match cli.command {
        Command::Converge { no_reboot, steps } => {
            Ok(converge::run(Options { reboot: !no_reboot, limit: steps.unwrap_or(usize::MAX), ..converge }))
        }
        Command::Prepare { no_reboot } => Ok(converge::run(Options { reboot: !no_reboot, late: true, ..converge })),
        Command::Plan { json, from } => preview::run(root, json, from.as_deref()),
        Command::Bake(given) => bake::run(&given.into()),
        Command::Inspect { json, image } => inspect::run(&image, json),
        Command::Status { json } => status::run(root, json),
        Command::Reset { keep, user_data, preview, no_reboot, yes } => {
            reset::run(root, &reset::Options { keep, user_data, preview, no_reboot, yes })
        }
        Command::Undo { no_reboot, yes } => undo::run(root, no_reboot, yes),
        Command::Repartition { number, no_reboot, yes } => repartition::run(root, number, no_reboot, yes),
        Command::Generations { json } => generations::run(root, json),
        Command::Diff { path, json, package, content, all } => {
            diff::run(&diff::Options { path, json, package, content, all })
        }
        Command::Guard { root: lower } => guard::run(root, &lower, started),
        Command::Reclaim => reclaim::run(root),
        Command::Maintain { command } => maintain::run(&command),
    };
    result.unwrap_or_else(|error| {
        tell(format_args!("{error:#}"));
        Exit::Failed
    })
}
