//! Asking the one at the terminal, and what is refused.

use crate::Exit;
use crate::output::{ask, tell};
use anyhow::{Context, Result};
use std::fmt;
use std::io::{BufRead, IsTerminal};

/// Why a request is refused: a sentence without its full stop.
#[derive(Debug)]
pub(crate) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

/// A refusal as an error.
pub(crate) fn refuse(why: impl fmt::Display) -> anyhow::Error {
    anyhow::Error::new(Refused(format!("{why:#}")))
}

impl Refused {
    /// Says why, where `result` is a refusal, and makes an exit code of it.
    pub(crate) fn to_exit(result: Result<Exit>) -> Result<Exit> {
        match result {
            Err(error) if error.is::<Refused>() => {
                tell(format_args!("{error:#}"));
                Ok(Exit::Refused)
            }
            other => other,
        }
    }
}

/// Asks the one at the terminal, after a text that says what about.
///
/// # Errors
/// [`Refused`]: the answer is not yes.
pub(crate) fn confirm(text: &str) -> Result<()> {
    ask(format_args!("{text}Go on? [y/N] "));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("reading the answer")?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(refuse("nothing was changed")),
    }
}

/// Makes sure that there is somebody to ask.
///
/// # Errors
/// [`Refused`]: standard input is no terminal.
pub(crate) fn need_terminal() -> Result<()> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(refuse("there is no terminal to ask on; use --yes where nobody is to be asked"))
}
