//! What the owner of a node reads on the screen or the serial line while the card is converted.
//!
//! Every line goes to all active consoles, to the log, and into a transcript that can be saved. Times are counted from power-on
//! (`CLOCK_BOOTTIME`): a Raspberry Pi does not know the time of day that early. A console that does not take text, for nobody
//! reads the serial line or its flow control stands still, never holds up a boot.

use crate::text::{ascii, wrap};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{ControlFlags, FlushArg, OutputFlags, Termios, tcflush, tcgetattr};
use nix::time::{ClockId, clock_gettime};
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Begins every line.
const PREFIX: &str = "burnonce: ";
/// The longest line, in columns: a terminal of 80 does not wrap it.
const WIDTH: usize = 78;
/// How long a line may wait for a terminal that does not take it.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long a serial line of 115,200 baud needs for all that the kernel buffers for it (4 KiB), rounded up.
const DRAIN: Duration = Duration::from_millis(400);

/// The consoles of the node, and what they were told.
#[derive(Debug)]
pub struct Console {
    terminals: Vec<Terminal>,
    transcript: Vec<(Duration, String)>,
    step: Option<Step>,
}

/// A step that has begun.
#[derive(Debug)]
struct Step {
    /// `[2/6] `
    mark: String,
    since: Duration,
}

impl Console {
    /// The active consoles of the kernel and the first virtual terminal. They are opened when there is something to say: a boot with
    /// nothing to do touches no terminal.
    pub fn open(root: &Path) -> Console {
        let active = root.join("sys/class/tty/console/active");
        let active = std::fs::read_to_string(&active)
            .inspect_err(|error| log::debug!("reading {}: {error}", active.display()))
            .unwrap_or_default();
        let terminals = terminal_names(&active).into_iter().map(|name| Terminal::new(root.join("dev").join(name)));
        Console { terminals: terminals.collect(), ..Console::silent() }
    }

    /// A console that only logs and keeps the transcript.
    pub fn silent() -> Console {
        Console { terminals: Vec::new(), transcript: Vec::new(), step: None }
    }

    /// Says something: a sentence, or several lines (a picture keeps its shape).
    pub fn say(&mut self, text: impl Display) {
        self.print(log::Level::Info, "", &text.to_string());
    }

    /// Says what is wrong; in the log it is a warning.
    pub fn warn(&mut self, text: impl Display) {
        self.print(log::Level::Warn, "", &text.to_string());
    }

    /// Says that a step begins: `[2/6] making the file system on /dev/mmcblk0p3 (58 GiB) ...`.
    pub fn step(&mut self, number: usize, total: usize, text: impl Display) {
        let mark = format!("[{number}/{total}] ");
        self.print(log::Level::Info, &mark, &format!("{text} ..."));
        self.step = Some(Step { mark, since: since_power_on() });
    }

    /// Says that the step is done and how long it took: `[2/6] done in 3.4 s: 4.7 MiB written`; the detail may be empty.
    pub fn done(&mut self, detail: impl Display) {
        let step = self.step.take().unwrap_or_else(|| Step { mark: String::new(), since: since_power_on() });
        let took = duration(since_power_on().saturating_sub(step.since));
        let detail = detail.to_string();
        let colon = if detail.is_empty() { "" } else { ": " };
        self.print(log::Level::Info, &step.mark, &format!("done in {took}{colon}{detail}"));
    }

    /// What was said so far, one line each, with the seconds since power-on: `[    5.123] ...`.
    pub fn transcript(&self) -> String {
        self.transcript.iter().map(|(at, line)| format!("[{:9.3}] {line}\n", at.as_secs_f64())).collect()
    }

    /// Waits until serial lines have sent what was said, at most 0.4 s: for use before `reboot(2)`, which does not.
    pub fn settle(&self) {
        if let Some(last) = self.terminals.iter().filter(|terminal| terminal.serial()).filter_map(|t| t.last).max() {
            sleep(DRAIN.saturating_sub(last.elapsed()));
        }
    }

    fn print(&mut self, level: log::Level, mark: &str, text: &str) {
        let now = since_power_on();
        let text = text.lines().map(ascii).collect::<Vec<_>>().join("\n");
        for (index, line) in text.lines().enumerate() {
            let mark = if index == 0 { mark } else { "" };
            log::log!(level, "{mark}{line}");
            self.transcript.push((now, format!("{mark}{line}")));
        }
        let printed = layout(mark, &text);
        for terminal in &mut self.terminals {
            terminal.print(&printed);
        }
    }
}

/// One terminal device.
#[derive(Debug)]
struct Terminal {
    path: PathBuf,
    file: Option<File>,
    /// It could not be opened or written to; it is left alone.
    dead: bool,
    /// It did not take a whole line in time; until it does, no line waits for it.
    stalled: bool,
    /// When it last took text.
    last: Option<Instant>,
}

impl Terminal {
    fn new(path: PathBuf) -> Terminal {
        Terminal { path, file: None, dead: false, stalled: false, last: None }
    }

    /// Not a virtual terminal (`tty1`).
    fn serial(&self) -> bool {
        let name = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        !name.strip_prefix("tty").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// Prints these lines, or as much of them as the terminal takes. A terminal that was hung up meanwhile (a getty does that) is
    /// opened again, once.
    fn print(&mut self, lines: &str) {
        if self.dead {
            return;
        }
        let written = match self.write(lines) {
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) && self.file.is_some() => {
                self.file = None;
                self.write(lines)
            }
            first => first,
        };
        match written {
            Ok(complete) => {
                if !complete && !self.stalled {
                    log::warn!("{} takes no text", self.path.display());
                }
                self.stalled = !complete;
                self.last = Some(Instant::now());
            }
            Err(error) => {
                log::debug!("writing to {}: {error}", self.path.display());
                self.dead = true;
            }
        }
    }

    /// Opens the terminal if need be and writes; whether everything was taken.
    fn write(&mut self, lines: &str) -> io::Result<bool> {
        let file = match self.file.take() {
            Some(file) => self.file.insert(file),
            None => self.file.insert(open(&self.path)?),
        };
        let lines = match tcgetattr(&file) {
            Ok(settings) if !translates(&settings) => lines.replace('\n', "\r\n"),
            _ => lines.to_owned(),
        };
        let patience = if self.stalled { Duration::ZERO } else { PATIENCE };
        write_patiently(file, lines.as_bytes(), patience)
    }
}

/// Closing a serial line waits up to 30 s until its last text is sent. Where that may never be, the rest is thrown away.
impl Drop for Terminal {
    fn drop(&mut self) {
        let (Some(file), Some(last)) = (&self.file, self.last) else { return };
        let hardware_flow_control =
            tcgetattr(file).is_ok_and(|settings| settings.control_flags.contains(ControlFlags::CRTSCTS));
        if hardware_flow_control && !self.stalled {
            sleep(DRAIN.saturating_sub(last.elapsed()));
        }
        if hardware_flow_control || self.stalled {
            // What fails here is not a terminal; closing it does not wait.
            let _ = tcflush(file, FlushArg::TCOFLUSH);
        }
    }
}

/// Opens a terminal for writing. It does not become ours (`O_NOCTTY`), and neither this nor a write waits for a carrier or for flow
/// control (`O_NONBLOCK`).
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags((OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits()).open(path)
}

/// Whether the terminal makes a carriage return of its own for each line feed.
fn translates(settings: &Termios) -> bool {
    settings.output_flags.contains(OutputFlags::OPOST | OutputFlags::ONLCR)
}

/// Writes until everything is taken or `patience` is over; whether everything was taken.
fn write_patiently(mut file: &File, mut bytes: &[u8], patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Ok(false),
            Ok(taken) => bytes = &bytes[taken..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(false);
                }
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
                match poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLOUT)], timeout) {
                    Ok(0) => return Ok(false),
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// The terminals to write to, from the kernel's list of active consoles (`tty0 ttyS0`). `tty0` is whichever virtual terminal is
/// shown, and at boot that is `tty1`; it is written to even where the kernel has no console on it.
fn terminal_names(active: &str) -> Vec<String> {
    let mut names = vec!["tty1".to_owned()];
    for name in active.split_whitespace().filter(|name| *name != "tty0" && !name.contains('/')) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The text as a terminal gets it: prefixed, long lines wrapped between words and indented under the text's begin.
fn layout(mark: &str, text: &str) -> String {
    let indent = PREFIX.len() + mark.len();
    let mut printed = format!("{PREFIX}{mark}");
    for (index, line) in text.lines().flat_map(|line| wrap(line, WIDTH - indent)).enumerate() {
        if index > 0 {
            printed.push_str(&" ".repeat(indent));
        }
        printed.push_str(&line);
        printed.truncate(printed.trim_end_matches(' ').len());
        printed.push('\n');
    }
    if !printed.ends_with('\n') {
        printed.truncate(printed.trim_end().len());
        printed.push('\n');
    }
    printed
}

/// As people say it: `3.4 s`, `42 s`, `2 min 5 s`, `1 h 3 min`.
pub fn duration(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    let seconds = (time.as_millis() + 500) / 1000;
    match seconds {
        _ if tenths < 100 => format!("{}.{} s", tenths / 10, tenths % 10),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// How long ago the kernel started, time asleep included.
pub fn since_power_on() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests;
