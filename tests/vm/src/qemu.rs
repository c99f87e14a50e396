//! QEMU's command line.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::board::Board;
use crate::card::SECTOR;

/// The machine that the card is put into.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// What it is.
    pub board: Board,
    /// `-rtc base=…`: a Pi has no clock of its own, so 1970 is what it may wake up to.
    pub clock: Option<String>,
    /// Words for the kernel behind those of cmdline.txt.
    pub words: Vec<String>,
    /// Other drives, raw files. The kernel finds them before the card, which shifts the card's name: vda, vdb, ...
    pub other_drives: Vec<PathBuf>,
    /// The lock switch of the card.
    pub write_protected: bool,
    /// The initramfs has these files beside its own, or in their place: paths without a leading slash, and contents. None of them can be
    /// executed.
    pub instead: Vec<(&'static str, Vec<u8>)>,
    /// How fast the card is, where that is not left to this machine.
    pub speed: Option<Speed>,
    /// What the card answers with an I/O error.
    pub faults: Vec<Fault>,
    /// Where all writes to the card, and its flushes, are logged in order ([`crate::writes`]).
    pub write_log: Option<PathBuf>,
}

/// What a card can take, by QEMU's `throttle`. Reading is not held up, nor is a flush.
#[derive(Clone, Copy, Debug)]
pub struct Speed {
    /// Bytes written in a second.
    pub bytes: u64,
    /// Requests to write in a second.
    pub requests: u64,
}

/// Requests that fail, by QEMU's `blkdebug`.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Reads of these bytes of the card. Each block of 4 KiB is one rule, and each request is compared with all of them: for
    /// ranges of a few MiB.
    Reads(Range<u64>),
    /// Every write.
    Writes,
}

/// What the firmware found on the boot partition, in files that QEMU can read.
pub struct Firmware {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    /// Where the board has one.
    pub device_tree: Option<PathBuf>,
    pub command_line: String,
}

/// What the emulated machine adds to the command line, as a Pi's firmware does. `eth0` is what a Pi's interface is called; the
/// others spare the emulator work that no scenario looks at; on a busy host the check of the timer fails (and panics).
const MACHINE_WORDS: &str = "net.ifnames=0 no_timer_check tsc=reliable mitigations=off cryptomgr.notests nokaslr \
    audit=0 lsm=lockdown init_on_alloc=0 random.trust_cpu=on systemd.condition_needs_update=no systemd.ssh_auto=no";

/// Units of systemd's that have nothing to do with disks, and cost each boot a tenth of its time under emulation.
const MASKED: &[&str] = &[
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
];

/// The same for the Pi, where the console that is named last is the one that systemd writes to: the scenarios read it. It has one
/// CPU (see [`PI_ACCELERATOR`]), and is so slow that systemd's patience with devices and services would end. Its watchdog resets
/// the machine when it is started and not when its time is up (QEMU: `hw/misc/bcm2835_powermgt.c`); systemd starts one before it
/// unmounts the last file systems, and must not find this one. The kernel's own restart goes by the same circuit, and works.
const PI_WORDS: &str = "net.ifnames=0 mitigations=off cryptomgr.notests nokaslr audit=0 lsm=lockdown init_on_alloc=0 \
    maxcpus=1 systemd.default_device_timeout_sec=900 systemd.default_timeout_start_sec=900 \
    systemd.watchdog_device=/dev/none console=ttyS1,115200";

/// QEMU's Pi always has its four CPUs. With a thread for each, every invalidation of their TLBs waits until all of them have
/// stopped, and on a machine with two cores a boot takes more than twice as long. So there is one thread, and Linux uses one CPU.
const PI_ACCELERATOR: &str = "tcg,thread=single,tb-size=512";

/// The name of what holds the card up.
const THROTTLE: &str = "card-speed";

/// Without the controllers that nothing is attached to, udev has fewer modules to load.
const MACHINE: &str = "q35,sata=off,smbus=off,usb=off,hpet=off,i8042=off";

impl Machine {
    /// The command that starts a node from `card`, with its console on stdout and its SSH port at `port` of this machine.
    ///
    /// # Errors
    /// The board has no place for something that was asked for.
    pub fn command(&self, card: &Path, firmware: &Firmware, port: u16) -> Result<Command> {
        let mut qemu = Command::new(self.board.emulator());
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        // A reboot ends QEMU: the harness reads the boot partition again, as the firmware does.
        qemu.arg("-no-reboot");
        qemu.arg("-kernel").arg(&firmware.kernel).arg("-initrd").arg(&firmware.initramfs);
        qemu.args(["-append", &self.command_line(firmware)]);
        qemu.args(["-netdev", &format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22")]);
        match self.board {
            Board::Pc => self.pc(&mut qemu, card, firmware),
            Board::Pi3 => self.pi(&mut qemu, card, firmware)?,
        }
        qemu.stdin(Stdio::null());
        Ok(qemu)
    }

    fn pc(&self, qemu: &mut Command, card: &Path, firmware: &Firmware) {
        qemu.args(["-serial", "stdio", "-machine", MACHINE, "-m", "768", "-smp", "1"]);
        qemu.args(accelerator(&firmware.kernel));
        self.other_drives.iter().for_each(|drive| attach(qemu, file(drive, false), false));
        if let Some(Speed { bytes, requests }) = self.speed {
            let limits = json!({ "bps-write": bytes, "iops-write": requests });
            let group = json!({ "qom-type": "throttle-group", "id": THROTTLE, "limits": limits });
            qemu.args(["-object", &group.to_string()]);
        }
        attach(qemu, self.wrap(file(card, self.write_protected)), self.write_protected);
        qemu.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        if let Some(clock) = &self.clock {
            qemu.args(["-rtc", &format!("base={clock}")]);
        }
    }

    /// The console is the mini UART, QEMU's second: as on a Pi 3, whose first is wired to Bluetooth. The network is an adapter on
    /// USB, as a Pi 3's is.
    fn pi(&self, qemu: &mut Command, card: &Path, firmware: &Firmware) -> Result<()> {
        let plain =
            self.other_drives.is_empty() && self.faults.is_empty() && self.write_log.is_none() && self.speed.is_none();
        ensure!(
            plain && !self.write_protected && self.clock.is_none(),
            "the emulated Pi has one sound card that can be written, and no clock that could be set: leave the rest out"
        );
        let device_tree = firmware.device_tree.as_ref().context("a Pi does not boot without a device tree")?;
        qemu.args(["-serial", "null", "-serial", "stdio", "-machine", "raspi3b", "-accel", PI_ACCELERATOR]);
        qemu.arg("-dtb").arg(device_tree);
        // Of each byte that is read the emulated card asks all layers whether there is a card in it, so there is no more than one.
        let card = file(card, false).to_string().replace(',', ",,");
        qemu.args(["-drive", &format!("if=sd,file=json:{card}")]);
        qemu.args(["-device", "usb-net,netdev=net"]);
        Ok(())
    }

    /// The card's file below what fails, what logs and what is slow.
    fn wrap(&self, mut file: Value) -> Value {
        let rules: Vec<_> = self.faults.iter().flat_map(Fault::rules).collect();
        if !rules.is_empty() {
            file = json!({ "driver": "blkdebug", "read-only": self.write_protected, "image": file, "inject-error": rules });
        }
        if let Some(log) = &self.write_log {
            let log = json!({ "driver": "file", "filename": log, "cache": { "direct": false, "no-flush": true } });
            file = json!({ "driver": "blklogwrites", "file": file, "log": log, "log-sector-size": SECTOR });
        }
        if self.speed.is_some() {
            file = json!({ "driver": "throttle", "throttle-group": THROTTLE, "read-only": self.write_protected, "file": file });
        }
        file
    }

    /// cmdline.txt, with what firmware and emulated machine make of it.
    fn command_line(&self, firmware: &Firmware) -> String {
        let line = firmware.command_line.trim();
        let (line, machine) = match self.board {
            Board::Pc => {
                let masked = MASKED.iter().map(|unit| format!(" systemd.mask={unit}"));
                (line.to_owned(), MACHINE_WORDS.to_owned() + &masked.collect::<String>())
            }
            // The Pi's firmware knows which UART is the first.
            Board::Pi3 => (line.replace("console=serial0,", "console=ttyS1,"), PI_WORDS.to_owned()),
        };
        let words = std::iter::once(machine.as_str()).chain(self.words.iter().map(String::as_str));
        words.fold(line, |line, word| format!("{line} {word}"))
    }
}

impl Fault {
    /// Rules of blkdebug, in force from the start.
    fn rules(&self) -> Vec<Value> {
        const BLOCK: usize = 4096;
        let rule = |kind: &str| json!({ "event": "none", "iotype": kind, "errno": 5 });
        match self {
            Fault::Writes => vec![rule("write"), rule("write-zeroes"), rule("discard")],
            Fault::Reads(bytes) => bytes
                .clone()
                .step_by(BLOCK)
                .map(|at| {
                    let mut rule = rule("read");
                    rule["sector"] = json!(at / SECTOR);
                    rule
                })
                .collect(),
        }
    }
}

/// A file of this machine. A cut of the power is not one of this machine, so its page cache may keep what the node has
/// flushed.
fn file(path: &Path, read_only: bool) -> Value {
    json!({ "driver": "file", "filename": path, "read-only": read_only, "cache": { "direct": false, "no-flush": true } })
}

/// Adds a disk.
fn attach(qemu: &mut Command, file: Value, read_only: bool) {
    let id = format!("drive{}", qemu.get_args().count());
    let disk = json!({ "driver": "raw", "node-name": id, "read-only": read_only, "file": file });
    qemu.args(["-blockdev", &disk.to_string(), "-device", &format!("virtio-blk-pci,drive={id}")]);
}

/// KVM where it works, else TCG. Under TCG a plain CPU model boots in half the time that `max` takes: guests pick vector
/// instructions which the emulator is slow at.
fn accelerator(kernel: &Path) -> &'static [&'static str] {
    static KVM_WORKS: OnceLock<bool> = OnceLock::new();
    if *KVM_WORKS.get_or_init(|| kvm_works(kernel)) {
        &["-accel", "kvm", "-cpu", "host"]
    } else {
        &["-accel", "tcg,tb-size=512", "-cpu", "qemu64,-svm"]
    }
}

/// A trial: /dev/kvm may be there and fail, or hang, at the first instruction. The kernel has no root here, so it panics
/// and, told to reboot then, ends QEMU.
fn kvm_works(kernel: &Path) -> bool {
    if !Path::new("/dev/kvm").exists() {
        return false;
    }
    let trial = Command::new("qemu-system-x86_64")
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", MACHINE, "-m", "256"])
        .args(["-accel", "kvm", "-cpu", "host", "-append", "panic=-1", "-kernel"])
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut trial) = trial else { return false };
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        match trial.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(50)),
            Err(_) => break,
        }
    }
    // It hangs; whether the kill or the wait fails makes no difference to the answer.
    let _ = trial.kill();
    let _ = trial.wait();
    false
}
