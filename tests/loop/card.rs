//! A virtual card on a loop device, and a node that runs on it in a chroot: the agent sees its own `/proc`, `/sys` and `/dev`, and
//! as `/` the second partition of the card.

use burnonce::guard::report::{self, Problem, Report, Verdict};
use burnonce::units::{Lba, Sectors};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// First sector and length of the boot partition: as in an Ubuntu image, but smaller.
pub const BOOT: (u64, u64) = (2048, 32768);
/// The same of root.
pub const ROOT: (u64, u64) = (34816, 524_288);

/// Programs that the agent runs, and that the chroot therefore has.
const PROGRAMS: [&str; 8] = ["findmnt", "debugfs", "mke2fs", "e2fsck", "tune2fs", "blkid", "wipefs", "dumpe2fs"];

/// A card and where its parts are. Everything goes with it: the loop device on drop, the mounts with the test's own namespace.
pub struct Card {
    directory: tempfile::TempDir,
    device: Option<String>,
    /// Bytes in a logical sector of the reader that the card is put into.
    sector_size: u32,
}

/// Runs a program that must succeed, and gives its output.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("starting {program}: {e}"));
    assert!(output.status.success(), "{program} {}: {}", arguments.join(" "), text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// All that a program wrote.
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Root, loop devices and a mount namespace are needed; without them a test fails here, with the reason.
pub fn need_privileges() {
    assert!(nix::unistd::geteuid().is_root(), "the loop tests need root: run them with sudo");
    assert!(
        Path::new("/dev/loop-control").exists(),
        "the loop tests need loop devices: /dev/loop-control is not there"
    );
    unshare(CloneFlags::CLONE_NEWNS).expect("the loop tests need a mount namespace (CAP_SYS_ADMIN)");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .expect("private mounts");
}

impl Card {
    /// A card of `mib` MiB with an image of two partitions on it.
    pub fn burned(mib: u64) -> Card {
        Card::burned_with(mib, 512)
    }

    /// The same on a disk whose logical sectors have `sector_size` bytes; its table counts in these.
    pub fn burned_with(mib: u64, sector_size: u32) -> Card {
        need_privileges();
        let directory = memory();
        let card = Card { directory, device: None, sector_size };
        let [boot, boot_length, start, length] =
            [BOOT.0, BOOT.1, ROOT.0, ROOT.1].map(|n| n * 512 / u64::from(sector_size));
        let file = card.file();
        fs::File::create(&file).unwrap().set_len(mib << 20).unwrap();
        // Each card has a disk id of its own, as each image has; the tests run beside each other.
        static CARDS: AtomicU32 = AtomicU32::new(1);
        let id = (std::process::id() << 10) + CARDS.fetch_add(1, Ordering::Relaxed);
        let script = format!(
            "label: dos\nlabel-id: {id:#x}\nstart={boot}, size={boot_length}, type=c\nstart={start}, size={length}, type=83\n"
        );
        let mut sfdisk =
            Command::new("sfdisk").arg("--quiet").arg(&file).stdin(std::process::Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(sfdisk.stdin.as_mut().unwrap(), script.as_bytes()).unwrap();
        assert!(sfdisk.wait().unwrap().success(), "sfdisk: {script}");
        write_at(&file, 0, &[0xB0; 440]);
        let tree = root_tree(card.directory.path());
        let offset = format!("offset={}", ROOT.0 * 512);
        // ext4's block is not smaller than the disk's.
        let block = sector_size.max(1024);
        let (block, blocks) = (block.to_string(), (ROOT.1 * 512 / u64::from(block)).to_string());
        let (tree, file) = (tree.to_str().unwrap(), file.to_str().unwrap());
        run("mke2fs", &["-q", "-t", "ext4", "-b", &block, "-L", "writable", "-E", &offset, "-d", tree, file, &blocks]);
        card
    }

    /// A card with the content of the file `card`: what takes long to make is made once.
    pub fn copy_of(card: &Path) -> Card {
        need_privileges();
        let copy = Card { directory: memory(), device: None, sector_size: 512 };
        copy.overwrite(card);
        copy
    }

    /// Gives the card, which is not inserted, the content of the file `card`.
    pub fn overwrite(&self, card: &Path) {
        run("cp", &["--sparse=always", card.to_str().unwrap(), self.file().to_str().unwrap()]);
    }

    /// The card's file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("card.img")
    }

    /// The card put into a reader: its loop device, with the kernel told of the partitions in its table.
    pub fn insert(&mut self, read_only: bool) -> String {
        let file = self.file();
        let device = self.read_file(&file, read_only);
        self.device = Some(device.clone());
        device
    }

    /// The same of a copy of the card's file: a second card, which nothing but its device tells from this one.
    pub fn read_file(&self, file: &Path, read_only: bool) -> String {
        let sector_size = self.sector_size.to_string();
        let mut arguments = vec!["--find", "--show", "--sector-size", &sector_size];
        arguments.extend(read_only.then_some("--read-only"));
        arguments.push(file.to_str().unwrap());
        let device = run("losetup", &arguments).trim().to_owned();
        // A failed test may have left partitions on this loop device.
        forget_partitions(&device);
        let length: u64 = run("blockdev", &["--getsize64", &device]).trim().parse().unwrap();
        let sectors = length / u64::from(self.sector_size);
        for (number, start, size) in self.table() {
            let disk = fs::File::open(&device).unwrap();
            // The kernel shortens what reaches past the end, and leaves out what begins there.
            let size = size.min(sectors.saturating_sub(start));
            if size == 0 {
                continue;
            }
            burnonce::sys::add_kernel_partition(&disk, number, Lba(start), Sectors(size), self.sector_size).unwrap();
        }
        device
    }

    /// Power off: nothing of the machine's memory stays.
    pub fn eject(&mut self) {
        if self.device.is_none() {
            return;
        }
        for mounted in ["node", "check"] {
            unmount_all(&self.directory.path().join(mounted));
        }
        self.flush();
        let device = self.device.take().unwrap_or_default();
        forget_partitions(&device);
        run("losetup", &["--detach", &device]);
    }

    /// Makes what was written through the loop device arrive in the card's file.
    pub fn flush(&self) {
        fs::File::open(self.device()).and_then(|d| d.sync_all()).unwrap();
    }

    /// Sectors that have reached the card, with all that its mounted upper still had in memory: what waits for the journal's commit,
    /// which comes every five seconds, is no write of whoever is being watched when it comes.
    pub fn written(&self) -> u64 {
        let upper = self.root().join("media/root-rw");
        if upper.exists() {
            burnonce::mounted::flush(&upper).unwrap();
        }
        self.flush();
        let stat = fs::read_to_string(self.device().replace("/dev", "/sys/block") + "/stat").unwrap();
        stat.split_whitespace().nth(6).unwrap().parse().unwrap()
    }

    /// The entries of the table that is on the card: number, first sector, sectors.
    pub fn table(&self) -> Vec<(u32, u64, u64)> {
        let json: serde_json::Value =
            serde_json::from_str(&run("sfdisk", &["--json", self.file().to_str().unwrap()])).unwrap();
        let partitions = json["partitiontable"]["partitions"].as_array().unwrap();
        let node = |p: &serde_json::Value| {
            p["node"].as_str().unwrap().trim_start_matches(self.file().to_str().unwrap()).to_owned()
        };
        let number = |p| node(p).trim_start_matches('p').parse().unwrap();
        partitions.iter().map(|p| (number(p), p["start"].as_u64().unwrap(), p["size"].as_u64().unwrap())).collect()
    }

    /// The card's first sector.
    pub fn first_sector(&self) -> Vec<u8> {
        let mut sector = vec![0; 512];
        fs::File::open(self.file()).and_then(|mut card| card.read_exact(&mut sector)).unwrap();
        sector
    }

    /// Device node of the inserted card.
    pub fn device(&self) -> &str {
        self.device.as_deref().expect("the card is not inserted")
    }

    /// Device node of partition `number` of the inserted card.
    pub fn partition(&self, number: u32) -> String {
        format!("{}p{number}", self.device())
    }

    /// The node's root, as far as the initramfs brings it: the second partition read-only, or an overlay of the third over it.
    pub fn boot(&mut self, overlay: bool) -> PathBuf {
        self.insert(false);
        let upper = overlay.then(|| self.partition(3));
        let node = self.start(upper.as_deref());
        self.guard_says(if overlay { Verdict::Upper } else { Verdict::NotConfigured });
        node
    }

    /// The node's root where the guard could not use the upper: an overlay of memory over the second partition.
    pub fn boot_on_memory(&mut self) -> PathBuf {
        self.insert(false);
        let node = self.start(Some("tmpfs"));
        self.guard_says(Verdict::Memory);
        node
    }

    /// Mounts what a boot has mounted, with the upper of this device, or of memory.
    fn start(&self, upper_device: Option<&str>) -> PathBuf {
        let node = self.directory.path().join("node");
        fs::create_dir_all(&node).unwrap();
        let at = node.to_str().unwrap();
        if let Some(device) = upper_device {
            // In the places where overlayroot has them: the mount table keeps these names.
            run("mount", &["-t", "tmpfs", "media", "/media"]);
            let (lower, upper) = ("/media/root-ro", "/media/root-rw");
            fs::create_dir(lower).unwrap();
            fs::create_dir(upper).unwrap();
            run("mount", &["-o", "ro", &self.partition(2), lower]);
            if device == "tmpfs" {
                run("mount", &["-t", "tmpfs", "root-rw", upper]);
                fs::create_dir_all(Path::new(upper).join("overlay")).unwrap();
                fs::create_dir_all(Path::new(upper).join("overlay-workdir/_")).unwrap();
            } else {
                // Without the kernel's initialisation of inode tables in the background: a test counts what is written.
                run("mount", &["-o", "noinit_itable", device, upper]);
            }
            let options = format!("lowerdir={lower},upperdir={upper}/overlay,workdir={upper}/overlay-workdir/_");
            run("mount", &["-t", "overlay", "overlayroot", "-o", &options, at]);
            run("mount", &["--move", lower, node.join("media/root-ro").to_str().unwrap()]);
            run("mount", &["--move", upper, node.join("media/root-rw").to_str().unwrap()]);
            run("umount", &["/media"]);
        } else {
            run("mount", &["-o", "ro", &self.partition(2), at]);
        }
        for directory in ["proc", "sys", "dev"] {
            run("mount", &["--rbind", &format!("/{directory}"), node.join(directory).to_str().unwrap()]);
        }
        // The disks of this machine, and the cards of other tests, are not the node's.
        run("mount", &["-t", "tmpfs", "block", node.join("sys/block").to_str().unwrap()]);
        self.show(self.device());
        run("mount", &["-t", "tmpfs", "run", node.join("run").to_str().unwrap()]);
        fs::create_dir(node.join("run/initramfs")).unwrap();
        fs::write(node.join("run/initramfs/overlayroot.log"), "overlayroot disabled\n").unwrap();
        node
    }

    /// Root of the booted node, as it sees it.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("node")
    }

    /// Lets the booted node see another disk.
    pub fn show(&self, device: &str) {
        let name = device.trim_start_matches("/dev/");
        let link = fs::read_link(Path::new("/sys/block").join(name)).unwrap();
        std::os::unix::fs::symlink(link, self.root().join("sys/block").join(name)).unwrap();
    }

    /// Leaves in the booted node the report of a guard that came to `verdict`.
    pub fn guard_says(&self, verdict: Verdict) {
        let problem = matches!(verdict, Verdict::Memory | Verdict::Lower).then(|| Problem {
            why: "The upper cannot be mounted.".to_owned(),
            remedy: "Run e2fsck -f on it.".to_owned(),
        });
        let report = Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            verdict,
            upper: None,
            problem,
            did: Vec::new(),
            request: None,
            took_ms: vec![("find".to_owned(), 2)],
            total_ms: 3,
        };
        let path = self.directory.path().join("node").join(report::PATH);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, serde_json::to_string(&report).unwrap()).unwrap();
    }

    /// Runs the agent on the booted node.
    pub fn burnonce(&self, arguments: &[&str]) -> Output {
        let node = self.directory.path().join("node");
        let mut chroot = Command::new("chroot");
        chroot.arg(node).arg("/usr/sbin/burnonce").args(arguments).stdin(std::process::Stdio::null());
        chroot.output().unwrap()
    }

    /// Runs `look` on a read-only mount of partition `number` of the inserted card, which nobody else has mounted.
    pub fn look<T>(&self, number: u32, look: impl FnOnce(&Path) -> T) -> T {
        let at = self.directory.path().join("check");
        fs::create_dir_all(&at).unwrap();
        run("mount", &["-o", "ro", &self.partition(number), at.to_str().unwrap()]);
        let seen = look(&at);
        unmount(&at);
        seen
    }

    /// The same with a writable mount.
    pub fn write<T>(&self, number: u32, write: impl FnOnce(&Path) -> T) -> T {
        let at = self.directory.path().join("check");
        fs::create_dir_all(&at).unwrap();
        run("mount", &["-o", "noinit_itable", &self.partition(number), at.to_str().unwrap()]);
        let written = write(&at);
        unmount(&at);
        written
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The reason of the failure is what counts: leave nothing mounted, and do not panic again.
            if let Some(device) = self.device.take() {
                let node = self.directory.path().join("node");
                let _ = Command::new("umount").args(["--recursive", "--lazy", "--quiet"]).arg(node).status();
                let _ = Command::new("losetup").args(["--detach", &device]).status();
            }
        } else {
            self.eject();
        }
    }
}

/// Unmounts what nobody uses any more. A program that another test is starting has our open files, too, until it is on its way.
pub fn unmount(at: &Path) {
    let umount = || Command::new("umount").arg(at).output().unwrap();
    let begun = Instant::now();
    let mut output = umount();
    while !output.status.success() && text(&output).contains("busy") && begun.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(5));
        output = umount();
    }
    assert!(output.status.success(), "{}", text(&output));
}

/// Unmounts what is mounted there, if anything is, and below it.
fn unmount_all(at: &Path) {
    let umount = || Command::new("umount").args(["--recursive", "--quiet"]).arg(at).stderr(Stdio::null()).status();
    let begun = Instant::now();
    // Each thread has mounts of its own.
    while fs::read_to_string("/proc/thread-self/mounts").unwrap().contains(at.to_str().unwrap()) {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} is in use", at.display());
        if !umount().unwrap().success() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Makes the kernel forget every partition of a loop device.
pub fn forget_partitions(device: &str) {
    let name = device.trim_start_matches("/dev/");
    for number in 1..=4 {
        if Path::new(&format!("/sys/block/{name}/{name}p{number}")).exists() {
            burnonce::sys::forget_kernel_partition(&fs::File::open(device).unwrap(), number).unwrap();
        }
    }
}

/// A directory in memory, where there is one: a sparse card takes 300 MiB, and disks are slow.
pub fn memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Overwrites bytes of a file.
pub fn write_at(file: &Path, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    fs::OpenOptions::new().write(true).open(file).unwrap().write_all_at(bytes, offset).unwrap();
}

/// The tree of a root file system in which the agent can run: itself, its programs and their libraries.
fn root_tree(beside: &Path) -> PathBuf {
    let tree = beside.join("tree");
    for directory in
        ["boot/firmware", "dev", "etc", "media/root-ro", "media/root-rw", "proc", "run", "sys", "tmp", "usr/sbin"]
    {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    copy_program(Path::new(env!("CARGO_BIN_EXE_burnonce")), &tree);
    // What is for a debugger is most of a test's program, and every card would carry it.
    run("strip", &["--strip-debug", tree.join("usr/sbin/burnonce").to_str().unwrap()]);
    copy_programs(&PROGRAMS, &tree);
    let script = tree.join("usr/share/initramfs-tools/scripts/init-bottom");
    fs::create_dir_all(&script).unwrap();
    fs::write(script.join("overlayroot"), "").unwrap();
    fs::write(tree.join("etc/machine-id"), "").unwrap();
    // The image has the modules of the kernel that runs: without them it refuses a reset.
    let running = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    fs::create_dir_all(tree.join("lib/modules").join(running.trim())).unwrap();
    tree
}

/// Copies programs of this machine, with their libraries, into a tree.
pub fn copy_programs(names: &[&str], tree: &Path) {
    for name in names {
        let places = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(|directory| Path::new(directory).join(name));
        let from = places.into_iter().find(|path| path.exists());
        copy_program(&from.unwrap_or_else(|| panic!("the loop tests need {name}")), tree);
    }
}

fn copy_program(from: &Path, tree: &Path) {
    let name = from.file_name().unwrap();
    fs::copy(from, tree.join("usr/sbin").join(name)).unwrap();
    let ldd = Command::new("ldd").arg(from).output().unwrap();
    // One that is linked statically has none.
    for library in text(&ldd).split_whitespace().filter(|word| word.starts_with('/') && Path::new(word).exists()) {
        let to = tree.join(library.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(library, to).unwrap();
    }
}
