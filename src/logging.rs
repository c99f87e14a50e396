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

/// Sends one message to syslog; whether it arrived.
fn send(syslog: &mut Syslog, level: Level, message: &str) -> bool {
    match level {
        Level::Error => syslog.err(message),
        Level::Warn => syslog.warning(message),
        Level::Info => syslog.info(message),
        Level::Debug | Level::Trace => syslog.debug(message),
    }
    .is_ok()
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
