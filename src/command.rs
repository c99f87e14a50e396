//! Runs a program; an error carries the whole command line and what the program said.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

#[cfg(target_os = "linux")]
mod watch;

/// A program and its arguments, run to its end with no standard input.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    accepted: Vec<i32>,
}

/// Where system programs are looked for; `PATH` is not trusted, and in an early unit it may be empty.
pub const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
impl Program {
    /// `name` in the system's program directories, by absolute path.
    pub fn new(name: &str) -> Program {
        let path = DIRECTORIES.iter().map(|d| PathBuf::from(d).join(name)).find(|p| p.exists());
        Program::at(path.unwrap_or_else(|| PathBuf::from(name)))
    }

    /// The program at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Program {
        Program { path: path.into(), args: Vec::new(), environment: Vec::new(), accepted: vec![0] }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Program {
        self.args.push(argument.into());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<String>>(mut self, arguments: I) -> Program {
        self.args.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A variable of its environment, also one that is set otherwise (`PATH`, `LC_ALL`).
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Program {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// An exit code, besides 0, that is no failure.
    #[must_use]
    pub fn accept(mut self, code: i32) -> Program {
        self.accepted.push(code);
        self
    }

    /// The command line, as one would type it.
    pub fn line(&self) -> String {
        std::iter::once(self.path.display().to_string()).chain(self.args.iter().cloned()).collect::<Vec<_>>().join(" ")
    }

    /// Runs it and gives its output.
    ///
    /// # Errors
    /// It could not be started, was killed, or ended with a code that is not accepted; the message has the command line, the code
    /// and the last lines it wrote.
    pub fn run(&self) -> Result<Output> {
        log::debug!("running {}", self.line());
        let output = self.command().output().with_context(|| format!("starting `{}`", self.line()))?;
        if output.status.code().is_some_and(|code| self.accepted.contains(&code)) {
            return Ok(output);
        }
        bail!("`{}` failed ({}): {}", self.line(), output.status, last_words(&output))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.args).env("LC_ALL", "C").env("PATH", DIRECTORIES.join(":")).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The last lines that a program wrote, standard error first, on one line.
fn last_words(output: &Output) -> String {
    let text = if output.stderr.iter().all(u8::is_ascii_whitespace) { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    match lines.len() {
        0 => "it said nothing".to_owned(),
        n => lines[n.saturating_sub(5)..].join(" / "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_carries_the_command_line_and_its_stderr() {
        let error = Program::new("sh").args(["-c", "echo no room >&2; exit 3"]).run().unwrap_err().to_string();
        assert!(error.contains("sh -c echo no room >&2; exit 3") && error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("no room"), "{error}");
    }

    #[test]
    fn an_accepted_code_is_no_failure() {
        let output = Program::new("sh").args(["-c", "exit 1"]).accept(1).run().unwrap();
        assert_eq!(output.status.code(), Some(1));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = format!("{:#}", Program::new("burnonce-no-such-program").run().unwrap_err());
        assert!(error.contains("burnonce-no-such-program"), "{error}");
    }
}
