//! A node: a card in an emulated machine, switched on and off, talked to by SSH.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::board::Board;
use crate::card::Card;
use crate::console::Console;
use crate::qemu::{Firmware, Machine};
use crate::{cpio, host, image};

const STEP: Duration = Duration::from_millis(300);

/// A card and the machine that it is in.
pub struct Node {
    pub card: Card,
    pub machine: Machine,
    /// Consoles also go to stdout, each power-on with a line that says so.
    pub echo: bool,
    logs: PathBuf,
    boots: u32,
    power: Option<Power>,
}

/// A node that is on.
struct Power {
    qemu: Child,
    console: Console,
    port: u16,
    since: Instant,
}

/// Why a node went off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Reboot,
    PowerOff,
}

/// What a command on the node printed.
#[derive(Debug)]
pub struct Answer {
    pub stdout: String,
    pub stderr: String,
    /// None: killed by a signal, or the connection broke.
    pub code: Option<i32>,
}

impl Node {
    /// Puts the card into a machine, which is off.
    pub fn new(card: Card, logs: &Path) -> Self {
        Self { card, machine: Machine::default(), echo: false, logs: logs.to_path_buf(), boots: 0, power: None }
    }

    /// How often it has been switched on.
    pub fn boots(&self) -> u32 {
        self.boots
    }

    /// Switches it on.
    pub fn power_on(&mut self) -> Result<()> {
        ensure!(self.power.is_none(), "the node is on already");
        self.boots += 1;
        let firmware = self.read_firmware()?;
        let port = free_port()?;
        if let Some(log) = &self.machine.write_log {
            fs::File::create(log).with_context(|| format!("making {}", log.display()))?;
        }
        let mut command = self.machine.command(&self.card.path, &firmware, port)?;
        fs::write(self.boot_file("qemu"), format!("{command:?}\n"))?;
        if self.echo {
            println!("\n=== power-on {} ===", self.boots);
        }
        let errors = fs::File::create(self.boot_file("qemu-errors"))?;
        let mut qemu =
            command.stdout(Stdio::piped()).stderr(errors).spawn().with_context(|| format!("starting {command:?}"))?;
        let output = qemu.stdout.take().expect("it is piped");
        let console = Console::capture(output, &self.boot_file("console"), self.echo)?;
        self.power = Some(Power { qemu, console, port, since: Instant::now() });
        Ok(())
    }

    /// Switches it on, and cuts the power `after` QEMU was started.
    pub fn cut(&mut self, after: Duration) -> Result<()> {
        self.power_on()?;
        std::thread::sleep(after);
        self.kill()
    }

    /// What a Pi's firmware does: reads kernel, initramfs and command line from the card's boot partition.
    fn read_firmware(&self) -> Result<Firmware> {
        let copy = |name: &str, more: &[(&'static str, Vec<u8>)]| -> Result<PathBuf> {
            let file = self.logs.join(name);
            let content = cpio::behind(self.card.read_boot(name)?, more);
            fs::write(&file, content).with_context(|| format!("writing {}", file.display()))?;
            Ok(file)
        };
        let command_line = String::from_utf8(self.card.read_boot("cmdline.txt")?).context("reading cmdline.txt")?;
        let board = self.machine.board;
        let (kernel, initramfs) = (copy(board.kernel(), &[])?, copy(board.initramfs(), &self.machine.instead)?);
        let device_tree = board.device_tree().map(|name| copy(name, &[])).transpose()?;
        Ok(Firmware { kernel, initramfs, device_tree, command_line })
    }

    fn boot_file(&self, kind: &str) -> PathBuf {
        self.logs.join(format!("boot-{}.{kind}.log", self.boots))
    }

    /// Adds to `times.log` how long ago the node was switched on.
    fn note(&self, what: &str) -> Result<()> {
        let line = format!("boot {}: {} s {what}\n", self.boots, self.power()?.since.elapsed().as_secs());
        if self.machine.board == Board::Pi3 {
            print!("vm: {line}");
        }
        let path = self.logs.join("times.log");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        file.write_all(line.as_bytes()).with_context(|| format!("writing {}", path.display()))
    }

    fn power(&self) -> Result<&Power> {
        self.power.as_ref().context("the node is off")
    }

    /// The console of the present boot.
    pub fn console(&self) -> Result<&Console> {
        Ok(&self.power()?.console)
    }

    /// The console of boot `number` (the first is 1), also of one that is over.
    pub fn console_log(&self, number: u32) -> Result<String> {
        let log = self.logs.join(format!("boot-{number}.console.log"));
        fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))
    }

    /// The console's first line with `pattern` in the present boot.
    pub fn wait_for(&self, pattern: &str) -> Result<String> {
        self.console()?.wait_for(pattern, self.machine.board.patience())
    }

    /// Waits until the node goes off by itself, and says why.
    pub fn wait_off(&mut self) -> Result<End> {
        let deadline = Instant::now() + self.machine.board.patience();
        loop {
            if let Some(end) = self.gone()? {
                return Ok(end);
            }
            self.console()?.check()?;
            if Instant::now() > deadline {
                bail!("the node does not go off\n{}", self.console()?.tail());
            }
            std::thread::sleep(STEP);
        }
    }

    /// Notices that the node has gone off.
    fn gone(&mut self) -> Result<Option<End>> {
        let power = self.power.as_mut().context("the node is off")?;
        let Some(status) = power.qemu.try_wait().context("waiting for QEMU")? else { return Ok(None) };
        power.console.finish();
        let (rebooted, off) = (power.console.has("reboot: Restarting"), power.console.has("reboot: Power down"));
        let tail = power.console.tail();
        self.note("until it went off")?;
        self.power = None;
        match (status.success(), rebooted, off) {
            (true, true, _) => Ok(Some(End::Reboot)),
            (true, _, true) => Ok(Some(End::PowerOff)),
            _ => {
                let errors = fs::read_to_string(self.boot_file("qemu-errors")).unwrap_or_default();
                bail!("QEMU ended ({status}) without a reboot or power-off of the guest: {errors}\n{tail}")
            }
        }
    }

    /// Switches it on, and on again after each of its own reboots, until a boot gets to the end: SSH answers and
    /// cloud-init, where the image has it, is done. Returns how many power-ons that took, which may be `most`.
    pub fn settle(&mut self, most: u32) -> Result<u32> {
        let before = self.boots;
        self.power_on()?;
        let mut deadline = Instant::now() + self.machine.board.patience();
        // Trying before sshd runs would only leave connections hanging.
        while !self.console()?.has("OpenBSD Secure Shell server") || !self.answers() {
            match self.gone()? {
                Some(End::Reboot) if self.boots - before < most => {
                    self.power_on()?;
                    deadline = Instant::now() + self.machine.board.patience();
                }
                Some(End::Reboot) => {
                    bail!("the node wants to boot more than {most} times; logs: {}", self.logs.display())
                }
                Some(End::PowerOff) => bail!("the node switched itself off; logs: {}", self.logs.display()),
                None => self.console()?.check()?,
            }
            if Instant::now() > deadline {
                bail!("no SSH after {} s\n{}", self.machine.board.patience().as_secs(), self.console()?.tail());
            }
            std::thread::sleep(STEP);
        }
        if self.machine.board == Board::Pc {
            self.wait_cloud_init()?;
        }
        self.note("until it could be worked with")?;
        Ok(self.boots - before)
    }

    fn answers(&self) -> bool {
        self.ssh("true").is_ok_and(|answer| answer.code == Some(0))
    }

    /// Waits until cloud-init has done all of its stages in this boot.
    pub fn wait_cloud_init(&self) -> Result<()> {
        self.sh("for i in $(seq 300); do [ ! -e /run/cloud-init/result.json ] || exit 0; sleep 1; done; exit 1")
            .map(drop)
            .context("waiting for cloud-init")
    }

    /// Runs a shell command on the node.
    pub fn ssh(&self, command: &str) -> Result<Answer> {
        let port = self.power()?.port.to_string();
        let output = self
            .ssh_program("ssh")
            .args(["-p", &port, &self.address(), command])
            .stdin(Stdio::null())
            .output()
            .context("starting ssh")?;
        Ok(Answer::from(output))
    }

    /// Runs a shell command on the node as root.
    pub fn sudo(&self, command: &str) -> Result<Answer> {
        self.ssh(&format!("sudo -n sh -c '{}'", command.replace('\'', r"'\''")))
    }

    /// Runs a shell command as root which has to succeed; returns its stdout without the last newline.
    pub fn sh(&self, command: &str) -> Result<String> {
        let answer = self.sudo(command)?;
        ensure!(answer.code == Some(0), "on the node, {command:?} failed: {answer:?}");
        Ok(answer.stdout.trim_end().to_owned())
    }

    /// What a login shows before the prompt. It has a connection of its own: sshd shows this once for each.
    pub fn login(&self) -> Result<String> {
        let port = self.power()?.port.to_string();
        let mut ssh = self.ssh_program("ssh");
        ssh.args(["-tt", "-S", "none", "-p", &port, &self.address()]);
        let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting ssh")?;
        child.stdin.take().expect("it is piped").write_all(b"exit\n").context("typing at the prompt")?;
        let output = child.wait_with_output().context("waiting for the end of the login")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Copies a file of this machine to the node.
    pub fn send(&self, file: &Path, remote: &str) -> Result<()> {
        let port = self.power()?.port.to_string();
        let mut scp = self.ssh_program("scp");
        scp.args(["-q", "-P", &port]).arg(file).arg(format!("{}:{remote}", self.address()));
        host::run(&mut scp).map(drop)
    }

    fn address(&self) -> String {
        format!("{}@127.0.0.1", self.machine.board.user())
    }

    /// Host keys are made anew by each first boot, so they are not compared. One connection serves a whole boot: a key
    /// exchange costs the emulated CPU seconds.
    fn ssh_program(&self, program: &str) -> Command {
        let mut ssh = Command::new(program);
        ssh.arg("-i").arg(image::login_key());
        let control = format!("ControlPath=/tmp/burnonce-vm-{}-%C", std::process::id());
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=15",
            "ControlMaster=auto",
            "ControlPersist=30",
            &control,
        ] {
            ssh.args(["-o", option]);
        }
        ssh
    }

    /// Shuts it down in good order.
    pub fn shutdown(&mut self) -> Result<()> {
        self.leave("poweroff", End::PowerOff)
    }

    /// Runs a command, as root, which ends with a restart of the node; it is off then.
    pub fn restarts_by(&mut self, command: &str) -> Result<()> {
        // The connection may break before the command has returned.
        let answer = self.sudo(command)?;
        let end = self.wait_off().with_context(|| format!("after {command:?}, which printed {answer:?}"))?;
        ensure!(end == End::Reboot, "after {command:?}, which printed {answer:?}, the node went off by {end:?}");
        Ok(())
    }

    /// Asks for a reboot and waits for it; the node is off then.
    pub fn reboot(&mut self) -> Result<()> {
        self.leave("reboot", End::Reboot)
    }

    fn leave(&mut self, command: &str, expected: End) -> Result<()> {
        // The connection may break before the command has returned.
        self.sudo(&format!("systemctl --no-block {command}"))?;
        let end = self.wait_off()?;
        ensure!(end == expected, "after '{command}' the node went off by {end:?}");
        Ok(())
    }

    /// A power cut.
    pub fn kill(&mut self) -> Result<()> {
        let mut power = self.power.take().context("the node is off")?;
        power.qemu.kill().context("killing QEMU")?;
        power.qemu.wait().context("waiting for QEMU")?;
        power.console.finish();
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.power.is_some() {
            if let Err(error) = self.kill() {
                eprintln!("vm: {error:#}");
            }
        }
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }
}

/// A port that was free a moment ago, which is as good as it gets: QEMU cannot be handed a socket that listens.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}
