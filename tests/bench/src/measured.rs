//! Commands, and what they take.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use burnonce::command::DIRECTORIES;
use burnonce_crash::reader::Reader;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::device::Counters;
use crate::figures::{Measure, Sample};

/// Where what strace and time count goes, as the command sees it. Every node has a `/run` in memory.
const COUNTED: &str = "/run/bench-counted";

/// How a command is run: some things are measured in a run of their own, for counting them takes time or memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As it is.
    Plain,
    /// Under strace(1), for [`Measure::Syscalls`].
    Traced,
    /// Under GNU time(1), for [`Measure::Peak`]. It is small: `ru_maxrss` of a process is never less than what the one that started it
    /// had in memory.
    Weighed,
}

impl How {
    /// What is put before the command.
    fn prefix(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[],
            Self::Traced => {
                &["strace", "--follow-forks", "--summary-only", "--summary-columns=calls,name", "-o", COUNTED]
            }
            Self::Weighed => &["time", "--format=%M", "--quiet", "--output", COUNTED],
        }
    }

    /// Debian's package of the program that it takes.
    pub fn package(self) -> Option<&'static str> {
        self.prefix().first().copied()
    }

    /// What came of it.
    fn measure(self, text: &str) -> Result<Option<(Measure, u64)>> {
        Ok(match self {
            Self::Plain => None,
            Self::Traced => Some((Measure::Syscalls, system_calls(text)?)),
            Self::Weighed => Some((Measure::Peak, peak(text)?)),
        })
    }
}

/// The number of calls in a summary of strace that has the columns `calls,name`.
fn system_calls(summary: &str) -> Result<u64> {
    let total = summary.lines().find_map(|line| match *line.split_whitespace().collect::<Vec<_>>() {
        [calls, "total"] => Some(calls.to_owned()),
        _ => None,
    });
    let calls = total.with_context(|| format!("strace gave no total: {summary:?}"))?;
    calls.parse().with_context(|| format!("strace counted {calls:?} calls"))
}

/// Bytes, of what `time --format=%M` writes: KiB.
fn peak(text: &str) -> Result<u64> {
    let kib: u64 = text.trim().parse().with_context(|| format!("time gave {text:?} for the peak of memory"))?;
    Ok(kib << 10)
}

/// A command.
#[derive(Clone, Debug)]
pub struct Task {
    words: Vec<OsString>,
    /// Names and values, beside those that every command has.
    environment: Vec<(String, OsString)>,
    /// The tree that it runs in.
    root: PathBuf,
}

impl Task {
    /// A command of this machine, in its words.
    pub fn new<S: Into<OsString>>(words: impl IntoIterator<Item = S>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), environment: Vec::new(), root: "/".into() }
    }

    /// Lines of a shell, which ends at the first one that fails; `$1` and so on are the arguments.
    pub fn script(lines: &str, arguments: &[&str]) -> Self {
        Self::new(["sh", "-euc", lines, "sh"].iter().chain(arguments))
    }

    /// The same command in the tree at `root`.
    #[must_use]
    pub fn inside(self, root: &Path) -> Self {
        Self { root: root.to_owned(), ..self }
    }

    /// The same command with a variable in its environment: to start env(1) for that would be charged to it.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    fn command(&self, how: How) -> Command {
        let words: Vec<OsString> = how.prefix().iter().map(Into::into).chain(self.words.iter().cloned()).collect();
        let mut command = Command::new(&words[0]);
        // What cargo sets, as LD_LIBRARY_PATH, costs hundreds of system calls.
        command
            .args(&words[1..])
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", DIRECTORIES.join(":"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        if self.root != Path::new("/") {
            burnonce::sys::start_inside(&mut command, self.root.clone(), Vec::new());
        }
        command
    }

    /// Where [`COUNTED`] is for this machine.
    fn counted(&self) -> PathBuf {
        self.root.join(COUNTED.trim_start_matches('/'))
    }
}

/// What one or more commands took, that together do a work.
pub struct Meter<'a> {
    card: Option<&'a Reader>,
    how: How,
    /// Whether the time ends when everything is on the card, or already when the command does.
    settled: bool,
    sample: Sample,
}

impl<'a> Meter<'a> {
    /// For commands that write to a card: the time ends when everything is on it.
    pub fn of(card: &'a Reader, how: How) -> Self {
        Self { card: Some(card), how, settled: true, sample: Sample::new() }
    }

    /// For commands that are waited for, and have nothing to write.
    pub fn waiting(card: &'a Reader, how: How) -> Self {
        Self { settled: false, ..Self::of(card, how) }
    }

    /// For commands that have nothing to do with a card.
    pub fn without_card(how: How) -> Self {
        Self { card: None, how, settled: false, sample: Sample::new() }
    }

    /// Runs a command that has to succeed, and adds what it took.
    ///
    /// # Errors
    /// It failed; the error has what it said.
    pub fn run(&mut self, task: &Task) -> Result<()> {
        let output = self.output(task)?;
        ensure!(output.status.success(), "{:?} failed ({}): {}", task.words, output.status, said(&output));
        Ok(())
    }

    /// Runs a command, and adds what it took. What it writes to standard output and error is both in the first of the output.
    ///
    /// # Errors
    /// It could not be started, or measured.
    pub fn output(&mut self, task: &Task) -> Result<Output> {
        let mut command = task.command(self.how);
        // To memory, as a service's goes to a daemon's: nobody is waited for who reads it.
        let mut heard = tempfile::tempfile_in("/run").context("making a file for what a command says")?;
        command.stdout(heard.try_clone()?).stderr(heard.try_clone()?);
        self.settle()?;
        let before = self.counters()?;
        let processor = processor()?;
        let begun = Instant::now();
        let status = command.status().with_context(|| format!("starting {command:?}"))?;
        let ended = begun.elapsed();
        let flushes = self.counters()?;
        self.settle()?;
        let settled = begun.elapsed();
        let after = self.counters()?;
        self.add(Measure::Wall, nanoseconds(if self.settled { settled } else { ended }));
        self.add(Measure::Processor, nanoseconds(self::processor()? - processor));
        if let (Some(before), Some(flushes), Some(after)) = (before, flushes, after) {
            let all = after - before;
            self.add(Measure::Read, all.read);
            self.add(Measure::Written, all.written);
            self.add(Measure::Discarded, all.discarded);
            // Without the one by which it was made to settle.
            self.add(Measure::Flushes, (flushes - before).flushes);
        }
        if self.how != How::Plain && status.success() {
            let counted = task.counted();
            let text = fs::read_to_string(&counted).with_context(|| format!("reading {}", counted.display()))?;
            if let Some((measure, value)) = self.how.measure(&text)? {
                self.add(measure, value);
            }
        }
        let mut stdout = Vec::new();
        std::io::Seek::rewind(&mut heard)?;
        heard.read_to_end(&mut stdout).context("reading what a command said")?;
        Ok(Output { status, stdout, stderr: Vec::new() })
    }

    fn add(&mut self, measure: Measure, value: u64) {
        let sum = self.sample.entry(measure).or_default();
        *sum = if measure == Measure::Peak { value.max(*sum) } else { *sum + value };
    }

    fn counters(&self) -> Result<Option<Counters>> {
        self.card.map(Counters::of).transpose()
    }

    /// Waits until everything that was written is on the card: what its mounted file systems hold, and the device's own pages.
    fn settle(&self) -> Result<()> {
        let Some(card) = self.card else { return Ok(()) };
        let mounts = fs::read_to_string("/proc/thread-self/mounts").context("reading the mount table")?;
        for place in mounted(&mounts, &card.device) {
            let open = File::open(place).with_context(|| format!("opening {place}"))?;
            nix::unistd::syncfs(open.as_fd()).with_context(|| format!("flushing {place}"))?;
        }
        let device = File::open(&card.device).with_context(|| format!("opening {}", card.device))?;
        device.sync_all().with_context(|| format!("flushing {}", card.device))
    }

    /// What was measured.
    pub fn sample(self) -> Sample {
        // A run that was traced or weighed has that alone to say.
        match self.how {
            How::Plain => self.sample,
            How::Traced => only(self.sample, Measure::Syscalls),
            How::Weighed => only(self.sample, Measure::Peak),
        }
    }
}

fn only(mut sample: Sample, measure: Measure) -> Sample {
    sample.retain(|&which, _| which == measure);
    sample
}

/// Where the partitions of `device` are mounted, by a mount table as proc(5) has it.
fn mounted<'a>(mounts: &'a str, device: &str) -> Vec<&'a str> {
    let partition = format!("{device}p");
    let fields = mounts.lines().map(|line| line.split(' '));
    let places = fields.filter_map(|mut fields| Some((fields.next()?, fields.next()?)));
    places.filter(|(source, _)| source.starts_with(&partition)).map(|(_, place)| place).collect()
}

/// The processor time of all commands that were waited for.
fn processor() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("asking for the processor time of commands")?;
    Ok([usage.user_time(), usage.system_time()].into_iter().map(duration).sum())
}

fn duration(time: TimeVal) -> Duration {
    // Neither is negative in what the kernel gives.
    Duration::from_secs(time.tv_sec().unsigned_abs()) + Duration::from_micros(time.tv_usec().unsigned_abs())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The last lines that a command wrote.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join(" / ")
}

/// Where a program of this machine is; `None`: it is not installed.
pub fn installed(name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
}

/// Fails where one of these programs is not here; each with Debian's package that has it.
pub fn require(programs: &[(&str, &str)]) -> Result<()> {
    for (program, package) in programs {
        if installed(program).is_none() {
            bail!("{program} is not installed: run `tests/setup.sh {package}`");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_strace_is_read() {
        let summary = "    calls syscall\n--------- ----------------\n       12 read\n        3 openat\n--------- ----------------\n       15 total\n";
        assert_eq!(system_calls(summary).unwrap(), 15);
        assert!(system_calls("strace: cannot find it\n").is_err());
    }

    #[test]
    fn the_peak_is_read_in_kib() {
        assert_eq!(peak("1234\n").unwrap(), 1234 << 10);
        assert!(peak("").is_err());
    }

    #[test]
    fn partitions_of_the_card_are_told_from_those_of_others() {
        let mounts = "/dev/loop1p2 /run/node ext4 ro 0 0\n/dev/loop11p2 /run/other ext4 ro 0 0\ntmpfs /run tmpfs rw 0 0\n\
                      /dev/loop1p3 /run/node/media/root-rw ext4 rw 0 0\n";
        assert_eq!(mounted(mounts, "/dev/loop1"), ["/run/node", "/run/node/media/root-rw"]);
    }

    #[test]
    fn what_two_commands_take_is_added_but_for_the_peak() {
        let mut meter = Meter::without_card(How::Plain);
        for (wall, peak) in [(5, 100), (7, 80)] {
            meter.add(Measure::Wall, wall);
            meter.add(Measure::Peak, peak);
        }
        assert_eq!(meter.sample(), Sample::from([(Measure::Wall, 12), (Measure::Peak, 100)]));
    }

    #[test]
    fn a_run_that_was_traced_says_nothing_of_time() {
        let mut meter = Meter::without_card(How::Traced);
        meter.add(Measure::Wall, 5);
        meter.add(Measure::Syscalls, 3);
        assert_eq!(meter.sample(), Sample::from([(Measure::Syscalls, 3)]));
    }

    #[test]
    fn a_program_that_is_not_installed_is_named_with_its_package() {
        let error = require(&[("sh", "dash"), ("no-such-program", "no-such-package")]).unwrap_err().to_string();
        assert_eq!(error, "no-such-program is not installed: run `tests/setup.sh no-such-package`");
    }

    #[test]
    fn the_words_that_count_come_before_the_command() {
        let task = Task::new(["mke2fs", "-q"]);
        assert_eq!(task.command(How::Plain).get_program(), "mke2fs");
        let traced = task.command(How::Traced);
        assert_eq!(traced.get_program(), "strace");
        assert_eq!(traced.get_args().skip(5).collect::<Vec<_>>(), ["mke2fs", "-q"]);
        let set = task.clone().with_env("MKE2FS_CONFIG", "some").command(How::Plain);
        assert_eq!(set.get_program(), "mke2fs");
        assert!(set.get_envs().any(|(name, value)| name == "MKE2FS_CONFIG" && value == Some("some".as_ref())));
        assert_eq!(task.inside(Path::new("/run/node")).counted(), Path::new("/run/node/run/bench-counted"));
    }
}
