//! A card, and what boots of it come to: the agent in a chroot, the guard on the test machine.

use super::fault::{self, Calls, Watch};
use crate::card::{Card, run, text};
use burnonce::guard::report;
use burnonce::upper::Upper;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A card, with the boot partition's files beside it: no kernel of a test machine need have vfat.
pub struct Bench<'a> {
    pub card: Card,
    tools: &'a Path,
    /// What the guard said in this boot.
    report: Option<String>,
}

/// What one run came to.
pub struct Ran {
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// All that it said: standard output and error, the kernel's log, what it left in `/run`.
    pub text: String,
    /// Of that, the warnings and errors, and whatever gives a reason.
    pub complaints: String,
    /// How the agent's run ended, by its own account.
    pub outcome: String,
    /// The kernel shows a third partition.
    pub third: bool,
    /// What strace wrote.
    logs: Vec<(String, String)>,
}

impl Ran {
    fn new(output: &Output, log: &str, left: &str, root: &Path, card: &Card) -> Ran {
        let said = text(output) + log;
        let complains = |line: &&str| {
            ["<3>", "<4>", "burnonce: "].iter().any(|mark| line.starts_with(mark)) || line.contains("os error")
        };
        // A log that is given is the guard's: all that it says there is said for a reason.
        let complaints = said.lines().filter(complains).chain(log.lines()).collect::<Vec<_>>().join("\n");
        let outcome: Option<serde_json::Value> = serde_json::from_str(left).ok();
        Ran {
            code: output.status.code(),
            signal: output.status.signal(),
            text: format!("{said}{left}"),
            complaints,
            outcome: outcome.map_or(String::new(), |o| o["outcome"].as_str().unwrap_or_default().to_owned()),
            third: Path::new(&card.partition(3)).exists(),
            logs: fault::logs(root),
        }
    }

    /// The calls that were counted.
    pub fn calls(&self) -> Calls {
        let mut calls = Calls::new();
        self.logs.iter().for_each(|(program, log)| fault::calls(program, log, &mut calls));
        calls
    }

    /// The calls that strace made fail.
    pub fn failed(&self) -> Vec<&str> {
        self.logs.iter().flat_map(|(_, log)| log.lines()).filter(|line| line.contains("(INJECTED)")).collect()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

impl<'a> Bench<'a> {
    /// A copy of the card in the file `card`.
    pub fn new(card: &Path, tools: &'a Path) -> Bench<'a> {
        let card = Card::copy_of(card);
        let bench = Bench { card, tools, report: None };
        for directory in [bench.beside("root"), bench.boot_files()] {
            fs::create_dir_all(directory).unwrap();
        }
        bench
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.card.file().with_file_name(name)
    }

    /// The directory that is shown to the agent as the boot partition, where there is anything in it.
    pub fn boot_files(&self) -> PathBuf {
        self.beside("boot")
    }

    /// Makes card, boot files and what the guard said what they are in `directory`, where [`Bench::save`] put them.
    pub fn restore(&mut self, directory: &Path) {
        self.card.eject();
        self.report = fs::read_to_string(directory.join("guard.json")).ok();
        self.card.overwrite(&directory.join("card.img"));
        copy_tree(&directory.join("boot"), &self.boot_files());
    }

    pub fn save(&self, directory: &Path) {
        let to = directory.join("card.img");
        run("cp", &["--sparse=always", self.card.file().to_str().unwrap(), to.to_str().unwrap()]);
        copy_tree(&self.boot_files(), &directory.join("boot"));
        if let Some(report) = &self.report {
            fs::write(directory.join("guard.json"), report).unwrap();
        }
    }

    /// Writes on the upper of the card, which is not inserted.
    pub fn write(&mut self, write: impl FnOnce(&Upper)) {
        self.card.insert(false);
        self.card.write(3, |at| write(&Upper::at(at)));
        self.card.eject();
    }

    /// Boots, runs the agent, and powers off.
    pub fn agent(&mut self, overlay: bool, arguments: &[&str], watch: Watch) -> Ran {
        let node = self.card.boot(overlay);
        if let Some(report) = self.report.take().filter(|_| overlay) {
            fs::write(node.join(report::PATH), report).unwrap();
        }
        self.agent_in(&node, arguments, watch)
    }

    /// The same where the guard could not use the upper.
    pub fn agent_on_memory(&mut self, arguments: &[&str], watch: Watch) -> Ran {
        self.report = None;
        let node = self.card.boot_on_memory();
        self.agent_in(&node, arguments, watch)
    }

    fn agent_in(&mut self, node: &Path, arguments: &[&str], watch: Watch) -> Ran {
        self.with_consoles(node);
        let mut line = watch.prepare(node, self.tools);
        if fs::read_dir(self.boot_files()).unwrap().next().is_some() {
            line.extend(self.with_boot_files(node));
        }
        line.extend(["chroot", node.to_str().unwrap(), "/usr/sbin/burnonce"].map(str::to_owned));
        line.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let output = Command::new(&line[0]).args(&line[1..]).stdin(Stdio::null()).output().unwrap();
        let left = read(&node.join("run/burnonce/converge.json"));
        let ran = Ran::new(&output, "", &left, node, &self.card);
        self.card.eject();
        ran
    }

    /// Gives the node consoles that always take text: how many calls that takes is to be the same in every run.
    fn with_consoles(&self, node: &Path) {
        let active = read(Path::new("/sys/class/tty/console/active"));
        for name in active.split_whitespace().chain(["tty1"]) {
            let (file, console) = (self.beside(name), node.join("dev").join(name));
            if console.exists() {
                fs::write(&file, "").unwrap();
                run("mount", &["--bind", file.to_str().unwrap(), console.to_str().unwrap()]);
            }
        }
    }

    /// Shows the agent a boot partition that the boot has mounted. What stands before its command line gives its process another mount
    /// table: that of the chroot, with a vfat in it.
    fn with_boot_files(&self, node: &Path) -> Vec<String> {
        let at = node.join("boot/firmware");
        run("mount", &["--bind", self.boot_files().to_str().unwrap(), at.to_str().unwrap()]);
        let show = "while read -r line; do echo \"$line\"; done </proc/self/mountinfo";
        let mut mounts = run("chroot", &[node.to_str().unwrap(), "/run/failstop/tools/sh", "-c", show]);
        mounts += &format!("999 1 259:999 / /boot/firmware rw,relatime - vfat {} rw\n", self.card.partition(1));
        let table = self.beside("mountinfo");
        fs::write(&table, mounts).unwrap();
        let script = format!("mount --bind {} {}/proc/$$/mountinfo && exec \"$@\"", table.display(), node.display());
        ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }

    /// Runs the guard as the initramfs does, and powers off; its report is for the agent's next run.
    pub fn guard(&mut self, watch: Watch) -> Ran {
        let machine = Path::new("/");
        // Memory of a boot that is over. The first one finds that of the machine.
        let _ = Command::new("umount").args(["--quiet", "--lazy", "/run"]).status();
        run("mount", &["-t", "tmpfs", "run", "/run"]);
        self.card.insert(false);
        let (root, log) = (self.beside("root"), self.beside("kmsg"));
        run("mount", &["-o", "ro", &self.card.partition(2), root.to_str().unwrap()]);
        fs::write(&log, "").unwrap();
        let mut line = watch.prepare(machine, self.tools);
        line.extend([env!("CARGO_BIN_EXE_burnonce"), "guard", "--root", root.to_str().unwrap()].map(str::to_owned));
        run("mount", &["--bind", log.to_str().unwrap(), "/dev/kmsg"]);
        let output = Command::new(&line[0]).args(&line[1..]).stdin(Stdio::null()).output();
        run("umount", &["/dev/kmsg"]);
        let left = read(&machine.join(report::PATH));
        let ran = Ran::new(&output.unwrap(), &read(&log), &left, machine, &self.card);
        watch.clear(machine);
        run("umount", &[root.to_str().unwrap()]);
        let held = read(Path::new("/proc/mounts")).contains("/run/burnonce/check");
        self.card.eject();
        assert!(!held, "the guard has left the upper mounted: {}", ran.text);
        self.report = Some(left).filter(|report| !report.is_empty());
        ran
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        // Where a run was given up in its midst.
        for at in [PathBuf::from("/dev/kmsg"), self.beside("root")] {
            let _ = Command::new("umount").args(["--quiet", "--lazy"]).arg(at).stderr(Stdio::null()).status();
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    run("cp", &["--archive", from.to_str().unwrap(), to.to_str().unwrap()]);
}
