//! burnonce is put into an image.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use burnonce::units::Bytes;
use burnonce_vm::card::Card;
use burnonce_vm::{Image, Recipe, host, image};

use crate::cards::Cards;
use crate::contest::{self, Contender};
use crate::extent::Extent;
use crate::figures::{Case, Sample, Work};
use crate::measured::{How, Meter, Task};

/// The image that gets it, of real Debian, with overlayroot in it; and packed.
pub struct Stock {
    image: Image,
    packed: PathBuf,
    /// Where root begins, in bytes.
    root: u64,
}

/// The result's name.
const OUTPUT: &str = "baked.img";

/// How an image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    None,
    Xz,
}

impl Stock {
    /// Makes it, or finds it where the virtual machines' images are kept.
    ///
    /// # Errors
    /// The mirror cannot be reached, or a program failed.
    pub fn make(cards: &Cards) -> Result<Self> {
        let image = Recipe::stock().without_package().make()?;
        let packed = cards.path("stock.img.xz");
        let mut xz = Command::new("sh");
        xz.args(["-c", r#"exec xz -T0 -2 --stdout "$1" >"$2""#, "sh"]).arg(&image.path).arg(&packed);
        host::run(&mut xz).context("packing an image")?;
        let root = Card { path: image.path.clone() }.partition(2)?.offset();
        Ok(Self { image, packed, root })
    }

    /// Bytes of it, unpacked.
    fn length(&self) -> Result<u64> {
        Ok(fs::metadata(&self.image.path).context("looking at an image")?.len())
    }

    fn file(&self, packing: Packing) -> &Path {
        match packing {
            Packing::None => &self.image.path,
            Packing::Xz => &self.packed,
        }
    }
}

/// What is done, for the page.
const ABOUT: &str = "An image of Debian gets burnonce. `burnonce` is `burnonce bake`: it copies or unpacks, edits, checks both file systems, looks at \
the result once more, and writes its checksum. The others do part of that: a copy alone (`cp --sparse=always`, `xz -dT0`), the copy and the \
package's files by `debugfs -w`, or by a mount and `cp`, which needs root. Everything ends with a flush of the result.";

/// All who do it: to the image as it is, and to the packed one.
///
/// # Errors
/// The image could not be made, or one of them failed.
pub fn works(cards: &Cards, extent: &Extent) -> Result<Vec<Work>> {
    eprintln!("bench: bake (an image of Debian is made first, where there is none)");
    let stock = Stock::make(cards)?;
    let image = work(cards, &stock, Packing::None, extent)?;
    let packed = work(cards, &stock, Packing::Xz, extent)?;
    output(cards)?;
    Ok(vec![image, packed])
}

fn work(cards: &Cards, stock: &Stock, packing: Packing, extent: &Extent) -> Result<Work> {
    let length = Bytes(stock.length()?);
    let (name, title, label, about, made) = match packing {
        Packing::None => ("bake", "Bake", ".img", ABOUT, format!("The image has {length}.")),
        Packing::Xz => (
            "bake-xz",
            "Bake of a packed image",
            ".img.xz",
            "The same of the image as it is published: packed. It is unpacked first, by all of them.",
            format!(
                "The image has {length} unpacked, and was packed by `xz -T0 -2`, in blocks, so that threads can unpack it."
            ),
        ),
    };
    eprintln!("bench: bake of {label}");
    let contenders = [
        Contender::new("burnonce", |how| burnonce(cards, stock, packing, how)),
        Contender::new("a copy alone", |how| copy(cards, stock, packing, how)),
        Contender::new("debugfs -w", |how| debugfs(cards, stock, packing, how)),
        Contender::new("mount and cp, as root", |how| mount(cards, stock, packing, how)),
    ];
    let runs = contest::hold(&contenders, extent.rounds, &[How::Weighed])?;
    let partial =
        "Neither `debugfs -w` nor `cp` enables units, switches off what grows root, or checks anything.".to_owned();
    Ok(Work {
        name: name.to_owned(),
        title: title.to_owned(),
        about: about.to_owned(),
        cases: vec![Case { label: label.to_owned(), size: length.0 as f64, runs }],
        targets: Vec::new(),
        notes: vec![made, partial],
    })
}

/// `burnonce bake`: all of it, as it is to be.
pub fn burnonce(cards: &Cards, stock: &Stock, packing: Packing, how: How) -> Result<Sample> {
    let (out, package) = (output(cards)?, image::package()?);
    let program = cards.packaged("usr/sbin/burnonce");
    let words = [program.as_os_str(), "bake".as_ref(), stock.file(packing).as_ref(), "-o".as_ref(), out.as_ref()];
    let words = words.into_iter().chain(["--deb".as_ref(), package.as_os_str()]);
    let sample = run(&Task::new(words), how)?;
    // What is ready is also checked, and has its checksum.
    ensure!(out.with_extension("img.sha256").exists(), "{} has no checksum", out.display());
    Ok(sample)
}

/// The copy alone.
pub fn copy(cards: &Cards, stock: &Stock, packing: Packing, how: How) -> Result<Sample> {
    run(&script(cards, stock, packing, "", &[])?, how)
}

/// The package's files, by `debugfs -w`.
pub fn debugfs(cards: &Cards, stock: &Stock, packing: Packing, how: How) -> Result<Sample> {
    let commands = cards.path("debugfs.commands");
    fs::write(&commands, debugfs_commands(&cards.packaged(""), "")?).context("writing a script for debugfs")?;
    let lines = r#"debugfs -w -f "$3" "$2?offset=$4" >/run/bench-debugfs 2>&1"#;
    let task = script(cards, stock, packing, lines, &[&commands.to_string_lossy(), &stock.root.to_string()])?;
    let sample = run(&task, how)?;
    holds_the_program(cards, stock)?;
    Ok(sample)
}

/// The package's files, by a mount as root.
pub fn mount(cards: &Cards, stock: &Stock, packing: Packing, how: How) -> Result<Sample> {
    let lines = r#"
mkdir -p /run/bench-image
mount -o "loop,noinit_itable,offset=$4" "$2" /run/bench-image
cp -a "$3/." /run/bench-image/
umount /run/bench-image
"#;
    let package = cards.packaged("");
    let task = script(cards, stock, packing, lines, &[&package.to_string_lossy(), &stock.root.to_string()])?;
    let sample = run(&task, how)?;
    holds_the_program(cards, stock)?;
    Ok(sample)
}

/// Fails where burnonce is not in the result, whole: debugfs ends well where it failed.
fn holds_the_program(cards: &Cards, stock: &Stock) -> Result<()> {
    let (out, copy) = (format!("{}?offset={}", cards.path(OUTPUT).display(), stock.root), cards.path("program"));
    let dump = format!("dump /usr/sbin/burnonce {}", copy.display());
    host::run(Command::new("debugfs").args(["-R", &dump, &out]))?;
    let [found, wanted] = [copy, cards.packaged("usr/sbin/burnonce")].map(fs::read);
    ensure!(found.is_ok_and(|found| wanted.is_ok_and(|wanted| found == wanted)), "burnonce is not in the image");
    Ok(())
}

/// Where the result goes; the last one is removed.
fn output(cards: &Cards) -> Result<PathBuf> {
    let out = cards.path(OUTPUT);
    for file in [out.clone(), out.with_extension("img.sha256")] {
        if file.exists() {
            fs::remove_file(&file).with_context(|| format!("removing {}", file.display()))?;
        }
    }
    Ok(out)
}

/// The image (`$1`) is copied, or unpacked, to `$2`; then `lines`, with `arguments` from `$3` on; and all is flushed.
fn script(cards: &Cards, stock: &Stock, packing: Packing, lines: &str, arguments: &[&str]) -> Result<Task> {
    let copy = match packing {
        Packing::None => r#"cp --sparse=always "$1" "$2""#,
        Packing::Xz => r#"xz -dT0 --stdout "$1" >"$2""#,
    };
    let out = output(cards)?;
    let [from, to] = [stock.file(packing), &out].map(|path| path.to_string_lossy().into_owned());
    Ok(Task::script(&format!("{copy}\n{lines}\nsync \"$2\""), &[&[from.as_str(), &to], arguments].concat()))
}

fn run(task: &Task, how: How) -> Result<Sample> {
    let mut meter = Meter::without_card(how);
    meter.run(task)?;
    Ok(meter.sample())
}

/// The commands by which debugfs(8) writes the tree at `top` into the directory `at`. It says of a directory that is there that it is.
fn debugfs_commands(top: &Path, at: &str) -> Result<String> {
    let mut commands = String::new();
    let mut entries = fs::read_dir(top).and_then(Iterator::collect::<Result<Vec<_>, _>>)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = path.file_name().and_then(OsStr::to_str).context("a file's name is not UTF-8")?;
        let to = format!("{at}/{name}");
        if kind.is_dir() {
            commands += &format!("mkdir {to}\n{}", debugfs_commands(&path, &to)?);
        } else if kind.is_symlink() {
            commands += &format!("symlink {to} {}\n", fs::read_link(&path)?.display());
        } else {
            use std::os::unix::fs::MetadataExt;
            let mode = entry.metadata()?.mode();
            commands += &format!("write {} {to}\nsif {to} mode 0{mode:o}\n", path.display());
        }
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_tree_becomes_commands_of_debugfs() {
        let tree = tempfile::tempdir().unwrap();
        let at = |name: &str| tree.path().join(name);
        fs::create_dir_all(at("usr/sbin")).unwrap();
        fs::write(at("usr/sbin/burnonce"), "x").unwrap();
        fs::set_permissions(at("usr/sbin/burnonce"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("../x", at("link")).unwrap();
        let file = at("usr/sbin/burnonce").display().to_string();
        let expected = format!(
            "symlink /link ../x\nmkdir /usr\nmkdir /usr/sbin\nwrite {file} /usr/sbin/burnonce\nsif /usr/sbin/burnonce mode 0100755\n"
        );
        assert_eq!(debugfs_commands(tree.path(), "").unwrap(), expected);
    }
}
