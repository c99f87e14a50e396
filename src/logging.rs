//! Where log messages go: to syslog, which journald serves, and to standard error where there is none.

use log::{Level, LevelFilter, Log, Metadata, Record};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use syslog::{Facility, Formatter3164, LoggerBackend};

/// The socket of syslog.
const SOCKET: &str = "/dev/log";

/// How long a message may wait for a log daemon that does not read: early in a boot the socket is there before its daemon, and a
/// full queue must not hold up the boot.
const PATIENCE: Duration = Duration::from_millis(200);

/// Begins to log; called once. `verbosity` is the number of `-v`: none logs from the configured level on to syslog, one adds debug
/// messages and standard error, two add everything. Never fails: what cannot be sent goes to standard error.
pub fn start(verbosity: u8, level_from_config: LevelFilter) {
    let level = level(verbosity, level_from_config);
    let syslog = connect(Path::new(SOCKET)).map(Mutex::new);
    let stderr = verbosity > 0 || syslog.is_none();
    let sink = Sink { syslog, stderr, prefixed: !std::io::stderr().is_terminal() };
    if log::set_boxed_logger(Box::new(sink)).is_ok() {
        log::set_max_level(level);
    }
}

/// The least important level that is logged.
fn level(verbosity: u8, level_from_config: LevelFilter) -> LevelFilter {
    match verbosity {
        0 => level_from_config,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

type Syslog = syslog::Logger<LoggerBackend, Formatter3164>;

/// A connection to syslog; `None` where there is none.
fn connect(socket: &Path) -> Option<Syslog> {
    let process = "burnonce".to_owned();
    let formatter = Formatter3164 { facility: Facility::LOG_DAEMON, hostname: None, process, pid: std::process::id() };
    let logger = syslog::unix_custom(formatter, socket).ok()?;
    match &logger.backend {
        LoggerBackend::Unix(socket) => socket.set_write_timeout(Some(PATIENCE)).ok()?,
        LoggerBackend::UnixStream(stream) => stream.get_ref().set_write_timeout(Some(PATIENCE)).ok()?,
        LoggerBackend::Udp(..) | LoggerBackend::Tcp(..) => {}
    }
    Some(logger)
}

/// The program's logger.
struct Sink {
    syslog: Option<Mutex<Syslog>>,
    /// Whether standard error gets every message, too.
    stderr: bool,
    /// Whether lines on standard error begin with systemd's `<N>`: it is no terminal.
    prefixed: bool,
}

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = record.args().to_string();
        let sent = self.syslog.as_ref().is_some_and(|syslog| {
            send(&mut syslog.lock().unwrap_or_else(PoisonError::into_inner), record.level(), &message)
        });
        if self.stderr || !sent {
            // Standard error is the last resort: where it fails, too, there is nobody to tell.
            let _ = std::io::stderr().write_all(line(record.level(), &message, self.prefixed).as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Sends one message to syslog; whether it arrived. After one that did not, no other waits.
fn send(syslog: &mut Syslog, level: Level, message: &str) -> bool {
    let sent = match level {
        Level::Error => syslog.err(message),
        Level::Warn => syslog.warning(message),
        Level::Info => syslog.info(message),
        Level::Debug | Level::Trace => syslog.debug(message),
    };
    if sent.is_err() {
        // Where this fails, too, each message waits.
        let _ = match &syslog.backend {
            LoggerBackend::Unix(socket) => socket.set_nonblocking(true),
            LoggerBackend::UnixStream(stream) => stream.get_ref().set_nonblocking(true),
            LoggerBackend::Udp(..) | LoggerBackend::Tcp(..) => Ok(()),
        };
    }
    sent.is_ok()
}

/// A message as standard error gets it. With `prefixed`, every line begins with its priority as sd-daemon(3) defines it, so that the
/// journal files it rightly.
fn line(level: Level, message: &str, prefixed: bool) -> String {
    if !prefixed {
        return format!("burnonce: {}: {message}\n", level.as_str().to_lowercase());
    }
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    message.lines().map(|line| format!("<{priority}>{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::time::Instant;

    fn record(sink: &Sink, level: Level, message: &str) {
        sink.log(&Record::builder().level(level).args(format_args!("{message}")).build());
    }

    /// What syslog received, without the time of day.
    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let (priority, rest) = text.split_once('>').unwrap();
        format!("{priority}>{}", rest.split_once(" burnonce").unwrap().1)
    }

    #[test]
    fn syslog_gets_priority_name_and_process() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        let sink = Sink { syslog: connect(&path).map(Mutex::new), stderr: false, prefixed: true };
        // The facility is daemon (3 * 8).
        for (level, priority) in [(Level::Error, 27), (Level::Warn, 28), (Level::Info, 30), (Level::Debug, 31)] {
            assert!(send(&mut sink.syslog.as_ref().unwrap().lock().unwrap(), level, "p3 is 58 GiB"));
            let expected = format!("<{priority}>[{}]: p3 is 58 GiB", std::process::id());
            assert_eq!(received(&socket), expected);
        }
        log::set_max_level(LevelFilter::Info);
        record(&sink, Level::Debug, "too much");
        record(&sink, Level::Info, "enough");
        assert!(received(&socket).ends_with("enough"));
    }

    #[test]
    fn where_there_is_no_syslog_there_is_none() {
        let directory = tempfile::tempdir().unwrap();
        assert!(connect(&directory.path().join("log")).is_none());
        std::fs::write(directory.path().join("file"), "").unwrap();
        assert!(connect(&directory.path().join("file")).is_none());
        let gone = directory.path().join("gone");
        drop(UnixDatagram::bind(&gone).unwrap());
        assert!(connect(&gone).is_none());
    }

    /// journald's socket is there before journald: its queue fills, and nobody reads.
    #[test]
    fn a_daemon_that_does_not_read_holds_nothing_up() {
        let directory = tempfile::tempdir().unwrap();
        let (datagrams, streams) = (directory.path().join("datagrams"), directory.path().join("streams"));
        let _unread = (UnixDatagram::bind(&datagrams).unwrap(), UnixListener::bind(&streams).unwrap());
        for path in [datagrams, streams] {
            let mut syslog = connect(&path).unwrap();
            let begun = Instant::now();
            let mut unsent = 0;
            while unsent < 100 {
                unsent += u32::from(!send(&mut syslog, Level::Info, &"x".repeat(1000)));
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        }
    }

    #[test]
    fn lines_on_standard_error() {
        assert_eq!(line(Level::Info, "made p3", false), "burnonce: info: made p3\n");
        assert_eq!(line(Level::Error, "one\ntwo", true), "<3>one\n<3>two\n");
        assert_eq!(line(Level::Warn, "w", true), "<4>w\n");
        assert_eq!(line(Level::Info, "i", true), "<6>i\n");
        assert_eq!(line(Level::Trace, "t", true), "<7>t\n");
    }

    #[test]
    fn each_v_says_more() {
        assert_eq!(level(0, LevelFilter::Warn), LevelFilter::Warn);
        assert_eq!(level(1, LevelFilter::Warn), LevelFilter::Debug);
        assert_eq!(level(2, LevelFilter::Warn), LevelFilter::Trace);
        assert_eq!(level(9, LevelFilter::Warn), LevelFilter::Trace);
    }
}
