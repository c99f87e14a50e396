//! Runs a program; an error carries the whole command line and what the program said.

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, pipe2};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

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
/// How often a program that is watched is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long one may take to be gone after `SIGKILL`: a process that waits for a card that does not answer cannot be killed.
const LAST: Duration = Duration::from_secs(10);

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

    /// Runs it and hands on each line that it or one of its children writes, to standard output or error, as it comes. What of it still
    /// runs after `limit` is killed, and its children with it: all that did not leave its process group. How it ended is for the
    /// caller to judge.
    ///
    /// # Errors
    /// It could not be started, or not end in time; the message does not have its arguments.
    pub fn watch(&self, limit: Duration, heard: &mut dyn FnMut(&str)) -> Result<ExitStatus> {
        log::debug!("running {}", self.line());
        let end = Instant::now() + limit;
        let name = self.path.display();
        let (output, input) = pipe2(OFlag::O_CLOEXEC).context("making a pipe")?;
        let mut command = self.command();
        command.stdout(input.try_clone().context("sharing a pipe")?).stderr(input).process_group(0);
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        // It has the writing end of the pipe, which then would never come to its end.
        drop(command);
        let (sender, lines) = channel();
        // Not waited for: something that the program left running may hold the pipe open as long as it likes.
        spawn(move || {
            let lines = BufReader::new(File::from(output)).split(b'\n').map_while(Result::ok);
            let _ = lines.map(|line| sender.send(String::from_utf8_lossy(&line).into_owned())).find(Result::is_err);
        });
        while Instant::now() < end {
            hear(&lines, heard);
            if let Some(status) = child.try_wait().with_context(|| format!("waiting for {name}"))? {
                hear(&lines, heard);
                return Ok(status);
            }
        }
        kill(&mut child);
        hear(&lines, heard);
        bail!("{name} did not end within {}, and was killed", minutes(limit))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.args).env("LC_ALL", "C").env("PATH", DIRECTORIES.join(":")).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Hands on the lines that are there, and those that come within a moment.
fn hear(lines: &Receiver<String>, heard: &mut dyn FnMut(&str)) {
    let end = Instant::now() + TICK;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => heard(line.trim_end()),
            Err(RecvTimeoutError::Timeout) => return,
            // Both outputs are closed; that is no reason to look all the time whether it has ended.
            Err(RecvTimeoutError::Disconnected) => return sleep(left),
        }
    }
}

/// Kills a program that leads its own process group, and all that is in that.
fn kill(child: &mut Child) {
    let group = i32::try_from(child.id()).map(Pid::from_raw);
    let killed = group.is_ok_and(|group| killpg(group, Signal::SIGKILL).is_ok());
    if !killed {
        log::warn!("a program that took too long could not be killed");
    }
    let end = Instant::now() + LAST;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
        sleep(TICK);
    }
}

fn minutes(limit: Duration) -> String {
    match (limit + Duration::from_millis(500)).as_secs() {
        seconds if seconds >= 120 => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} s"),
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
    use std::path::Path;

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
    fn what_a_watched_program_writes_is_heard_in_its_order() {
        let mut lines = Vec::new();
        let script = "echo one; echo two >&2; echo $WORD; exit 7";
        let program = Program::new("sh").args(["-c", script]).env("WORD", "three");
        let status = program.watch(Duration::from_secs(60), &mut |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(status.code(), Some(7));
        assert_eq!(lines, ["one", "two", "three"]);
    }

    #[test]
    fn a_program_that_leaves_something_running_is_not_waited_for() {
        let begun = Instant::now();
        let mut lines = Vec::new();
        let program = Program::new("sh").args(["-c", "sleep 5 & echo $!"]);
        program.watch(Duration::from_secs(60), &mut |line| lines.push(line.to_owned())).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        let left = Pid::from_raw(lines[0].parse().unwrap());
        nix::sys::signal::kill(left, Signal::SIGKILL).unwrap();
    }

    #[test]
    fn a_program_that_takes_too_long_is_killed_with_its_children() {
        let mut lines = Vec::new();
        let program = Program::new("sh").args(["-c", "sleep 1000 & echo $!; wait"]);
        let limit = Duration::from_millis(500);
        let error = program.watch(limit, &mut |line| lines.push(line.to_owned())).unwrap_err().to_string();
        assert!(error.ends_with("sh did not end within 1 s, and was killed"), "{error}");
        let child = Path::new("/proc").join(&lines[0]).join("stat");
        let end = Instant::now() + LAST;
        // Nobody may be there to collect it: then it is a zombie.
        while std::fs::read_to_string(&child).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < end, "its child still runs");
            sleep(TICK);
        }
        assert_eq!(minutes(Duration::from_millis(1_199_970)), "20 minutes");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = format!("{:#}", Program::new("burnonce-no-such-program").run().unwrap_err());
        assert!(error.contains("burnonce-no-such-program"), "{error}");
    }
}
