//! A program that is heard while it runs, and does not run for ever.

use super::Program;
use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, pipe2};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// How often a program that is watched is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long one may take to be gone after `SIGKILL`: a process that waits for a card that does not answer cannot be killed.
const LAST: Duration = Duration::from_secs(10);

impl Program {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

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
}
