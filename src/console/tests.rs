use super::*;
use nix::pty::openpty;
use nix::sys::termios::{InputFlags, SetArg, cfmakeraw, tcsetattr};
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;

/// A root with this list of active consoles and these terminals, which are files here.
fn root(active: &str, terminals: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("sys/class/tty/console")).unwrap();
    fs::write(root.path().join("sys/class/tty/console/active"), active).unwrap();
    fs::create_dir(root.path().join("dev")).unwrap();
    for name in terminals {
        fs::write(root.path().join("dev").join(name), "").unwrap();
    }
    root
}

fn shown(root: &tempfile::TempDir, terminal: &str) -> String {
    without_durations(&fs::read_to_string(root.path().join("dev").join(terminal)).unwrap())
}

/// The text with `T` for `0.0 s` and whatever else a step took on a busy machine.
fn without_durations(text: &str) -> String {
    let mut parts = text.split("done in ");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        let (time, rest) = part.split_once(" s").unwrap();
        assert!(time.parse::<f64>().is_ok(), "{part}");
        plain += &format!("done in T{rest}");
    }
    plain
}

/// The transcript without its times, which are checked for their form.
fn timeless(console: &Console) -> String {
    let lines = without_durations(&console.transcript());
    lines
        .lines()
        .map(|line| {
            let (time, text) = line.strip_prefix('[').unwrap().split_once("] ").unwrap();
            assert!(time.len() == 9 && time.trim().parse::<f64>().is_ok(), "{line}");
            format!("{text}\n")
        })
        .collect()
}

#[test]
fn a_conversion_reads_well_on_every_console() {
    let root = root("tty0 ttyS0\n", &["tty1", "ttyS0", "ttyS1"]);
    let mut console = Console::open(root.path());
    console.say("converting this card: everything that is written from now on goes to a third partition, and the image stays as it was");
    console.step(1, 3, "making the file system on /dev/mmcblk0p3 (58 GiB)");
    console.done("");
    console.step(
        2,
        3,
        "writing partition 3 into the table of /dev/mmcblk0, whose other entries stay as they are, byte for byte",
    );
    console.done("one sector");
    console.warn("/dev/mmcblk0p3 holds xfs \u{201e}Fotos\u{201c}\u{1b}[2J: left alone");
    console.say("now:\n+---+------+\n| 1 |  2   |\n+---+------+");
    let expected = "\
burnonce: converting this card: everything that is written from now on goes to
          a third partition, and the image stays as it was
burnonce: [1/3] making the file system on /dev/mmcblk0p3 (58 GiB) ...
burnonce: [1/3] done in T
burnonce: [2/3] writing partition 3 into the table of /dev/mmcblk0, whose
                other entries stay as they are, byte for byte ...
burnonce: [2/3] done in T: one sector
burnonce: /dev/mmcblk0p3 holds xfs \"Fotos\"?[2J: left alone
burnonce: now:
          +---+------+
          | 1 |  2   |
          +---+------+
";
    assert_eq!(shown(&root, "tty1"), expected);
    assert_eq!(shown(&root, "ttyS0"), expected);
    assert_eq!(shown(&root, "ttyS1"), "", "not an active console");
    assert_eq!(
        timeless(&console),
        "\
converting this card: everything that is written from now on goes to a third partition, and the image stays as it was
[1/3] making the file system on /dev/mmcblk0p3 (58 GiB) ...
[1/3] done in T
[2/3] writing partition 3 into the table of /dev/mmcblk0, whose other entries stay as they are, byte for byte ...
[2/3] done in T: one sector
/dev/mmcblk0p3 holds xfs \"Fotos\"?[2J: left alone
now:
+---+------+
| 1 |  2   |
+---+------+
"
    );
}

#[test]
fn nothing_to_say_touches_no_terminal() {
    let root = root("ttyS0", &[]);
    let console = Console::open(root.path());
    assert!(console.terminals.iter().all(|terminal| terminal.file.is_none()));
    let begun = Instant::now();
    console.settle();
    drop(console);
    assert!(begun.elapsed() < Duration::from_millis(300));
}

#[test]
fn no_console_is_no_failure() {
    let empty = tempfile::tempdir().unwrap();
    let missing = root("ttyS0 ttyAMA0", &["ttyS0"]);
    for mut console in [Console::open(empty.path()), Console::open(missing.path()), Console::silent()] {
        console.say("one");
        console.done("two");
        console.say("");
        assert_eq!(timeless(&console), "one\ndone in T: two\n");
    }
    assert_eq!(shown(&missing, "ttyS0"), "burnonce: one\nburnonce: done in T: two\nburnonce:\n");
}

#[test]
fn the_terminals_are_the_active_ones_and_the_screen() {
    for (active, names) in [
        ("", &["tty1"][..]),
        ("tty0\n", &["tty1"]),
        ("tty0 ttyS0\n", &["tty1", "ttyS0"]),
        ("ttyAMA0 tty1 ttyAMA0 tty0", &["tty1", "ttyAMA0"]),
        ("../sda hvc0", &["tty1", "hvc0"]),
    ] {
        assert_eq!(terminal_names(active), names, "{active}");
    }
}

/// A terminal with its other end, under a root as `/dev/ttyS0`.
fn terminal() -> (tempfile::TempDir, File, OwnedFd) {
    let pair = openpty(None, None).unwrap();
    let root = root("ttyS0", &[]);
    symlink(nix::unistd::ttyname(&pair.slave).unwrap(), root.path().join("dev/ttyS0")).unwrap();
    (root, File::from(pair.master), pair.slave)
}

fn read(other_end: &mut File) -> String {
    let mut buffer = [0; 4096];
    let length = other_end.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn every_terminal_gets_its_carriage_return_once() {
    let (root, mut other_end, slave) = terminal();
    let mut console = Console::open(root.path());
    console.say("cooked\nsecond");
    assert_eq!(read(&mut other_end), "burnonce: cooked\r\n          second\r\n");
    let mut settings = tcgetattr(&slave).unwrap();
    cfmakeraw(&mut settings);
    tcsetattr(&slave, SetArg::TCSANOW, &settings).unwrap();
    console.say("raw");
    assert_eq!(read(&mut other_end), "burnonce: raw\r\n");
}

/// Nobody reads: the terminal's buffer fills up. Then somebody does.
#[test]
fn a_terminal_that_takes_no_text_holds_nothing_up() {
    let (root, mut other_end, _slave) = terminal();
    let mut console = Console::open(root.path());
    let begun = Instant::now();
    for number in 0..3000 {
        console.say(format_args!("{number} {}", "x".repeat(60)));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(console.terminals.iter().any(|terminal| terminal.stalled && !terminal.dead));
    let begun = Instant::now();
    drop(console);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    let mut console = Console::open(root.path());
    while read(&mut other_end).len() == 4096 {}
    console.say("again");
    assert!(console.terminals.iter().all(|terminal| !terminal.stalled));
}

/// Control-S on the serial line.
#[test]
fn a_stopped_terminal_holds_nothing_up() {
    let (root, mut other_end, slave) = terminal();
    assert!(tcgetattr(&slave).unwrap().input_flags.contains(InputFlags::IXON));
    other_end.write_all(b"\x13").unwrap();
    let mut console = Console::open(root.path());
    let begun = Instant::now();
    for _ in 0..100 {
        console.say("hello");
    }
    drop(console);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

/// The other end is gone, and so is the device when it is opened again.
#[test]
fn a_terminal_that_was_hung_up_is_given_up() {
    let (root, mut other_end, slave) = terminal();
    let mut console = Console::open(root.path());
    console.say("one");
    assert_eq!(read(&mut other_end), "burnonce: one\r\n");
    drop((other_end, slave));
    console.say("two");
    console.say("three");
    assert!(console.terminals.iter().all(|terminal| terminal.dead));
    assert_eq!(timeless(&console), "one\ntwo\nthree\n");
}

#[test]
fn no_line_is_longer_than_a_terminal_has_columns() {
    let long = "word ".repeat(200);
    for line in layout("[10/12] ", &long).lines() {
        assert!(line.len() <= WIDTH, "{line}");
    }
}

#[test]
fn durations_as_people_say_them() {
    for (milliseconds, text) in [
        (0, "0.0 s"),
        (49, "0.0 s"),
        (50, "0.1 s"),
        (3_449, "3.4 s"),
        (9_949, "9.9 s"),
        (9_950, "10 s"),
        (42_400, "42 s"),
        (59_499, "59 s"),
        (59_500, "1 min 0 s"),
        (125_000, "2 min 5 s"),
        (3_599_499, "59 min 59 s"),
        (3_780_000, "1 h 3 min"),
    ] {
        assert_eq!(duration(Duration::from_millis(milliseconds)), text, "{milliseconds}");
    }
}

#[test]
fn power_on_was_some_time_ago_and_time_goes_on() {
    let (first, second) = (since_power_on(), since_power_on());
    assert!(first > Duration::ZERO && second >= first);
}
