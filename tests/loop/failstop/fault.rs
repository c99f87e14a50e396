//! One system call that fails once: strace(1) counts the calls of an undisturbed run, and then makes one of them fail.
//!
//! strace counts for each process. The agent itself is followed without its children (no `-f`); a program that it runs is followed by a
//! strace of its own, which a script in that program's place starts. So a fault hits one call of one process.

use crate::card::run;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// System calls that change something. Those with a question mark not every architecture has.
const CALLS: &[&str] = &[
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "sendto",
    "sendmsg",
    "sendfile",
    "copy_file_range",
    "splice",
    "fsync",
    "fdatasync",
    "syncfs",
    "sync_file_range",
    "ftruncate",
    "truncate",
    "fallocate",
    "?open",
    "?creat",
    "openat",
    "?rename",
    "renameat",
    "renameat2",
    "?mkdir",
    "mkdirat",
    "?mknod",
    "mknodat",
    "?unlink",
    "unlinkat",
    "?rmdir",
    "?link",
    "linkat",
    "?symlink",
    "symlinkat",
    "?chmod",
    "fchmod",
    "fchmodat",
    "?chown",
    "?lchown",
    "fchown",
    "fchownat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "utimensat",
    "mount",
    "umount2",
    "ioctl",
];

/// The requests of ioctl(2) that change something; the others ask.
const REQUESTS: [&str; 7] =
    ["BLKPG", "FS_IOC_SETFLAGS", "BLKDISCARD", "BLKZEROOUT", "BLKFLSBUF", "FITRIM", "FS_IOC_FSSETXATTR"];

pub const ERRORS: [&str; 2] = ["EIO", "ENOSPC"];
pub const AGENT: &str = "burnonce";
/// Those that the agent runs.
const CHILDREN: [&str; 7] = ["mke2fs", "tune2fs", "e2fsck", "debugfs", "blkid", "dumpe2fs", "wipefs"];

/// Where the machinery of a watched run is, below the root of the machine; memory.
const PLACE: &str = "run/failstop";

/// A call that fails: the `number`th `call` of a process of `program`, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub program: String,
    pub call: String,
    pub number: usize,
    pub error: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {} {} {}", self.program, self.call, self.number, self.error)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let [program, call, number, error] = text.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(format!("`{text}` is not PROGRAM CALL NUMBER ERROR"));
        };
        let number = number.parse().map_err(|error| format!("`{number}`: {error}"))?;
        Ok(Fault { program: program.to_owned(), call: call.to_owned(), number, error: error.to_owned() })
    }
}

/// What is done to a run.
#[derive(Clone, Copy, Debug)]
pub enum Watch<'a> {
    Nothing,
    Count,
    Fail(&'a Fault),
}

/// A call that was counted: the program, the call, which of its kind in its process; and how strace shows it.
pub type Calls = BTreeMap<(String, String, usize), String>;

impl Watch<'_> {
    /// strace's options for a process of this program; `None`: it is left alone.
    fn options(self, program: &str) -> Option<Vec<String>> {
        let trace = |calls: &str| vec!["-e".to_owned(), format!("trace={calls}")];
        match self {
            Watch::Nothing => None,
            Watch::Count => Some(trace(&CALLS.join(","))),
            Watch::Fail(fault) if fault.program == program => {
                let Fault { call, number, error, .. } = fault;
                let inject = format!("inject={call}:error={error}:when={number}");
                Some([trace(call), vec!["-e".to_owned(), inject]].concat())
            }
            Watch::Fail(_) => None,
        }
    }

    /// Prepares the machine whose root is at `root`: programs of its `usr/sbin` are replaced by scripts that start them under strace.
    /// `tools` is what [`tools`] made. What is to stand before the agent's command line.
    pub fn prepare(self, root: &Path, tools: &Path) -> Vec<String> {
        let place = root.join(PLACE);
        fs::create_dir_all(place.join("log")).unwrap();
        fs::create_dir_all(place.join("tools")).unwrap();
        run("mount", &["--bind", tools.to_str().unwrap(), place.join("tools").to_str().unwrap()]);
        for child in CHILDREN {
            let Some(options) = self.options(child) else { continue };
            // Where the program runs more than once, the fault hits the first run that comes to that call.
            let script = format!(
                "#!/{PLACE}/tools/sh\n\
                 for log in /{PLACE}/log/{child}.*; do while read -r line; do \
                 case $line in *'(INJECTED)') hit=yes ;; esac; done <\"$log\"; done 2>/dev/null\n\
                 [ -z \"$hit\" ] || exec /{PLACE}/tools/{child} \"$@\"\n\
                 LD_LIBRARY_PATH=/{PLACE}/tools exec /{PLACE}/tools/strace -E LD_LIBRARY_PATH -qq -y \
                 -e signal=none -o /{PLACE}/log/{child}.$$ {} /{PLACE}/tools/{child} \"$@\"\n",
                options.join(" ")
            );
            // By another process: one that this program starts meanwhile would hold it open for writing, and then it cannot be run.
            let wrapper = place.join(child);
            let write = "printf %s \"$1\" >\"$2\" && chmod 755 \"$2\"";
            run("sh", &["-c", write, "sh", &script, wrapper.to_str().unwrap()]);
            let program = root.join("usr/sbin").join(child);
            run("mount", &["--bind", wrapper.to_str().unwrap(), program.to_str().unwrap()]);
        }
        let log = place.join("log").join(format!("{AGENT}.0")).display().to_string();
        let strace = ["strace", "-qq", "-y", "-e", "signal=none", "-o", &log].map(str::to_owned).to_vec();
        self.options(AGENT).map(|options| [strace, options].concat()).unwrap_or_default()
    }

    /// Undoes it, where the root does not go anyway.
    pub fn clear(self, root: &Path) {
        for child in CHILDREN.into_iter().filter(|child| self.options(child).is_some()) {
            run("umount", &[root.join("usr/sbin").join(child).to_str().unwrap()]);
        }
        run("umount", &[root.join(PLACE).join("tools").to_str().unwrap()]);
    }
}

/// The logs of the watched processes: each with its program's name.
pub fn logs(root: &Path) -> Vec<(String, String)> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(root.join(PLACE).join("log")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let program = name.split('.').next().unwrap().to_owned();
        logs.push((program, String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned()));
    }
    logs
}

/// The calls in the log of one process that change something.
pub fn calls(program: &str, log: &str, found: &mut Calls) {
    let mut numbers = BTreeMap::new();
    for line in log.lines() {
        let Some((call, rest)) = line.split_once('(') else { continue };
        if !call.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            continue;
        }
        let number = numbers.entry(call).or_insert(0);
        *number += 1;
        if changes(call, rest) {
            found.insert((program.to_owned(), call.to_owned(), *number), line.to_owned());
        }
    }
}

fn changes(call: &str, arguments: &str) -> bool {
    match call {
        "open" | "openat" => ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| arguments.contains(flag)),
        "ioctl" => REQUESTS.iter().any(|request| arguments.contains(&format!(", {request},"))),
        _ => true,
    }
}

/// A shell, strace and the programs that it is to follow, with the libraries that strace needs: in the node there are none of these.
pub fn tools(directory: &Path) {
    let find = |name: &str| -> PathBuf {
        let places = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(|d| Path::new(d).join(name));
        places.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("the loop tests need {name}"))
    };
    let strace = find("strace");
    let mut copies: Vec<String> =
        ["sh", "strace"].into_iter().chain(CHILDREN).map(|name| find(name).display().to_string()).collect();
    let libraries = run("ldd", &[strace.to_str().unwrap()]);
    copies.extend(libraries.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned));
    for copy in copies {
        run("cp", &["--dereference", &copy, directory.to_str().unwrap()]);
    }
}

#[test]
fn calls_are_counted_by_their_kind() {
    let log = "openat(AT_FDCWD</>, \"/etc/x\", O_RDONLY) = 3</etc/x>\n\
               openat(AT_FDCWD</>, \"/run/x\", O_WRONLY|O_CREAT, 0644) = 3</run/x>\n\
               ioctl(3</x>, TCGETS, 0x1) = -1 ENOTTY (Inappropriate ioctl for device)\n\
               write(3</x>, \"(a\", 2) = 2\n\
               ioctl(3</x>, BLKPG, {op=1}) = 0\n";
    let mut found = Calls::new();
    calls("p", log, &mut found);
    let found: Vec<_> = found.into_keys().map(|(program, call, number)| format!("{program} {call} {number}")).collect();
    assert_eq!(found, ["p ioctl 2", "p openat 2", "p write 1"]);
    let fault: Fault = "burnonce write 17 EIO".parse().unwrap();
    assert_eq!((fault.number, fault.to_string().as_str()), (17, "burnonce write 17 EIO"));
    assert!("write 17 EIO".parse::<Fault>().is_err());
}
