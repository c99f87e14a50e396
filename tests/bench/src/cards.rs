//! Cards to measure on: each run gets one that is freshly made, as a copy of a template.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use burnonce_crash::boot::Boot;
use burnonce_crash::reader::Reader;
use burnonce_vm::card::{Card, GIB};
use burnonce_vm::{host, image};
use serde_json::Value;

use crate::measured::installed;

/// First sector and sectors of the boot partition. It has no file system: the kernel that measures may have no vfat, and what is counted
/// must not depend on that.
const BOOT: (u64, u64) = (2048, 32768);
/// The same of root: 2 GiB, about as long as that of a stock image.
const ROOT: (u64, u64) = (34816, 4 << 20);
/// Where burnonce has the upper begin, in sectors: the first 4 MiB behind root.
pub const UPPER: u64 = 4_235_264;

/// What the agent runs in its node; and what counts there.
const PROGRAMS: &[&str] =
    &["findmnt", "debugfs", "mke2fs", "e2fsck", "tune2fs", "blkid", "wipefs", "dumpe2fs", "strace", "time"];

/// Bytes of the image that is burned.
pub const IMAGE: u64 = (ROOT.0 + ROOT.1) * 512;

/// What a partition table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    Mbr,
    Gpt,
}

/// A directory for cards; it goes with the value.
pub struct Cards {
    directory: tempfile::TempDir,
    /// Burnonce's package, unpacked.
    package: PathBuf,
    /// The files of root.
    tree: PathBuf,
}

impl Cards {
    /// A directory below `parent`, with burnonce from its package in what will be root.
    ///
    /// # Errors
    /// There is no package, or a program is missing that the agent needs.
    pub fn begin(parent: &Path) -> Result<Self> {
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        let directory = tempfile::Builder::new().prefix("burnonce-bench-").tempdir_in(parent);
        let directory = directory.with_context(|| format!("making a directory in {}", parent.display()))?;
        let (package, tree) = (directory.path().join("package"), directory.path().join("tree"));
        for to in [&package, &tree] {
            host::run(Command::new("dpkg-deb").arg("-x").arg(image::package()?).arg(to))?;
        }
        furnish(&tree).context("making the files of a root file system")?;
        Ok(Self { directory, package, tree })
    }

    /// The files of an image's root.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// A file of burnonce's package.
    pub fn packaged(&self, path: &str) -> PathBuf {
        self.package.join(path)
    }

    /// The file system that the cards are on.
    ///
    /// # Errors
    /// findmnt failed.
    pub fn kind(&self) -> Result<String> {
        let mut findmnt = Command::new("findmnt");
        findmnt.args(["--noheadings", "--output", "FSTYPE", "--target"]).arg(self.directory.path());
        Ok(host::run(&mut findmnt)?.trim().to_owned())
    }

    /// Where something else can be kept beside the cards.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A copy of the template `name`, which is made when it is first asked for.
    ///
    /// # Errors
    /// It could not be made or copied.
    pub fn fresh(&self, name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<Card> {
        let template = Card { path: self.path(&format!("{name}.img")) };
        if !template.path.exists() {
            let unfinished = self.path("unfinished.img");
            make(&unfinished).with_context(|| format!("making the card {name}"))?;
            fs::rename(&unfinished, &template.path)?;
        }
        let path = self.path("card.img");
        if path.exists() {
            fs::remove_file(&path)?;
        }
        let card = template.duplicate(&path)?;
        // What is still to be written of the copy is not to meet what is measured.
        fs::File::open(&path).and_then(|file| file.sync_all()).context("flushing a card")?;
        Ok(card)
    }

    /// Removes a template that is not needed any more.
    pub fn forget(&self, name: &str) -> Result<()> {
        let template = self.path(&format!("{name}.img"));
        if template.exists() {
            fs::remove_file(&template).with_context(|| format!("removing {}", template.display()))?;
        }
        Ok(())
    }

    /// A card of so many GiB with the image burned to it.
    pub fn burned(&self, gib: u64, label: Label) -> Result<Card> {
        let name = format!("burned-{gib}-{}", format!("{label:?}").to_lowercase());
        self.fresh(&name, |file| self.burn(file, gib, label, &self.tree))
    }

    /// Burns an image, whose root has the files of `tree`, to a new card in `file`.
    ///
    /// # Errors
    /// sfdisk or mke2fs failed.
    pub fn burn(&self, file: &Path, gib: u64, label: Label, tree: &Path) -> Result<()> {
        let card = Card::blank(file, gib * GIB)?;
        let script = self.path("table");
        fs::write(&script, table(label)).context("writing a script for sfdisk")?;
        let mut sfdisk = Command::new("sh");
        sfdisk.args(["-c", r#"exec sfdisk --quiet "$1" <"$2""#, "sh"]).arg(file).arg(script);
        host::run(&mut sfdisk)?;
        card.make_ext4(2, "writable", Some(tree))
    }

    /// A converted card of so many GiB, as its first boot on the overlay leaves it.
    ///
    /// # Errors
    /// The conversion, or that boot, failed.
    pub fn converted(&self, gib: u64) -> Result<Card> {
        self.fresh(&format!("converted-{gib}"), |file| {
            self.burn(file, gib, Label::Mbr, &self.tree)?;
            convert(file)
        })
    }
}

/// Converts the card in `file`, and boots it once on its overlay.
///
/// # Errors
/// One of the boots failed.
pub fn convert(file: &Path) -> Result<()> {
    let reader = insert(file)?;
    for overlay in [false, true] {
        boot(&reader, overlay, |boot| boot.succeeds(&["converge", "--no-reboot"]).map(drop))?;
    }
    Ok(())
}

/// Puts a card into a reader; the kernel knows the partitions in its table.
///
/// # Errors
/// There is no loop device, or no sound table.
pub fn insert(file: &Path) -> Result<Reader> {
    let reader = Reader::insert(file)?;
    reader.scan()?;
    Ok(reader)
}

/// A boot of the card up to where the agent is started by its unit; then `then`, and power off. The guard has to come to an `overlay`
/// where one is expected.
///
/// # Errors
/// Anything failed, or the guard came to something else.
pub fn boot(reader: &Reader, overlay: bool, then: impl FnOnce(&Boot) -> Result<()>) -> Result<()> {
    reader.scan()?;
    let mut boot = Boot::begin_counted(reader)?;
    warm(boot.root())?;
    let report = boot.guard()?;
    expect(&report, overlay)?;
    boot.go_on(overlay)?;
    then(&boot)?;
    boot.power_off()
}

/// Reads the programs and the libraries of a card's root, which is mounted, once: those of the peers are in this machine's caches, too.
///
/// # Errors
/// One of them cannot be read.
pub fn warm(root: &Path) -> Result<()> {
    let directories = ["usr/bin", "usr/sbin", "usr/lib/burnonce"].map(|directory| root.join(directory));
    let mut cat = Command::new("sh");
    cat.args(["-euc", r#"find "$@" -type f -exec cat {} + >/dev/null; find "$1/../lib" -name "*.so*" -type f -exec cat {} + >/dev/null"#]);
    host::run(cat.arg("sh").args(directories)).context("reading the programs of a card").map(drop)
}

/// Fails where the guard's report is not of a boot on the overlay, or on the image itself.
pub fn expect(report: &Value, overlay: bool) -> Result<()> {
    let wanted = if overlay { "upper" } else { "not-configured" };
    ensure!(report["verdict"] == wanted, "the guard did not come to {wanted}: {report:#}");
    Ok(())
}

/// The language of sfdisk(8).
fn table(label: Label) -> String {
    let (kind, boot, root) = match label {
        // Each card has a disk id of its own, as each image has.
        Label::Mbr => (format!("dos\nlabel-id: {:#x}", std::process::id()), "c", "83"),
        Label::Gpt => ("gpt".to_owned(), "U", "L"),
    };
    let line = |(start, size): (u64, u64), kind| format!("start={start}, size={size}, type={kind}\n");
    format!("label: {kind}\n{}{}", line(BOOT, boot), line(ROOT, root))
}

/// Lays into `tree`, in which burnonce's package is unpacked, what else the agent looks for in a root file system.
fn furnish(tree: &Path) -> Result<()> {
    for directory in ["boot/firmware", "dev", "etc", "media/root-ro", "media/root-rw", "proc", "run", "sys", "tmp"] {
        fs::create_dir_all(tree.join(directory)).with_context(|| format!("making {directory}"))?;
    }
    for directory in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(tree.join("usr").join(directory))?;
        symlink(format!("usr/{directory}"), tree.join(directory)).with_context(|| format!("linking {directory}"))?;
    }
    fs::write(tree.join("usr/share/initramfs-tools/scripts/init-bottom/overlayroot"), "")?;
    fs::write(tree.join("etc/machine-id"), "")?;
    // The image has the modules of the kernel that runs: without them it refuses a reset.
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("asking for the kernel's version")?;
    fs::create_dir_all(tree.join("lib/modules").join(kernel.trim()))?;
    copy_libraries(&tree.join("usr/sbin/burnonce"), tree)?;
    PROGRAMS.iter().try_for_each(|name| copy_program(name, tree).with_context(|| format!("copying {name}")))?;
    // As a system has it: without a list the loader looks for each library in many places.
    host::run(Command::new("ldconfig").arg("-r").arg(tree)).map(drop)
}

/// Copies a program of this machine, with its libraries.
fn copy_program(name: &str, tree: &Path) -> Result<()> {
    let program = installed(name).context("it is not installed: run tests/setup.sh")?;
    fs::copy(&program, tree.join("usr/bin").join(name))?;
    copy_libraries(&program, tree)
}

/// Copies the libraries of this machine that `program` needs.
fn copy_libraries(program: &Path, tree: &Path) -> Result<()> {
    for library in libraries(program)? {
        let to = tree.join(library.strip_prefix("/")?);
        fs::create_dir_all(to.parent().unwrap_or(tree))?;
        fs::copy(&library, &to).with_context(|| format!("copying {}", library.display()))?;
    }
    Ok(())
}

/// The libraries of this machine that `program` needs, by ldd(1); none where it is linked statically.
///
/// # Errors
/// ldd could not be started.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("starting ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(paths.filter(|path| path.is_file()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_begins_where_4_mib_are_full() {
        let end = ROOT.0 + ROOT.1;
        assert_eq!(BOOT.0 + BOOT.1, ROOT.0);
        assert_eq!(UPPER, end.next_multiple_of(8192));
    }

    #[test]
    fn a_table_has_two_partitions_of_either_kind() {
        assert!(table(Label::Mbr).ends_with("start=2048, size=32768, type=c\nstart=34816, size=4194304, type=83\n"));
        assert!(table(Label::Gpt).starts_with("label: gpt\nstart=2048, size=32768, type=U\n"));
    }
}
