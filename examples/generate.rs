//! Writes the shell completions into a directory: `cargo run --example generate -- DIRECTORY`. The package's build calls it.

use burnonce::cli::Cli;
use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: generate DIRECTORY");
        return ExitCode::from(2);
    };
    let mut command = Cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        if let Err(error) = generate_to(shell, &mut command, "burnonce", &directory) {
            eprintln!("writing the completions for {shell} into {}: {error}", directory.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
