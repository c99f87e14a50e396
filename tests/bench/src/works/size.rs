//! What has to be on a card, and in its initramfs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burnonce_vm::Recipe;

use crate::cards::{Cards, libraries};
use crate::figures::{Case, Measure, Run, Sample, Work};
use crate::measured::installed;
use crate::target;

/// What is compared, for the page.
const PROGRAMS: &str = "burnonce's two programs, stripped as its package has them, beside what else has such a place. The memory that each command \
takes is with its work, as the peak.";
const INITRAMFS: &str =
    "How much longer the initramfs of a Debian image is with burnonce's package, beside what it was without.";

/// All sizes.
///
/// # Errors
/// A program is not installed, or an image could not be made.
pub fn works(cards: &Cards) -> Result<Vec<Work>> {
    eprintln!("bench: sizes (an image of Debian is made first, where there is none)");
    let programs = programs(cards)?;
    let targets = target::size(&programs, MOST).into_iter().collect();
    let programs = Work {
        name: "size".to_owned(),
        title: "Size of the programs".to_owned(),
        about: PROGRAMS.to_owned(),
        targets,
        cases: vec![programs],
        notes: vec![
            "burnonce's program has `bake` and `inspect` in it, with the code that unpacks and packs images; the guard is the part that an \
             initramfs gets."
                .to_owned(),
            "systemd-repart cannot run without the library, which the other programs of systemd need, too.".to_owned(),
        ],
    };
    let initramfs = Work {
        name: "initramfs".to_owned(),
        title: "Size in the initramfs".to_owned(),
        about: INITRAMFS.to_owned(),
        targets: Vec::new(),
        cases: vec![initramfs()?],
        notes: vec![
            "It is packed by zstd as update-initramfs does it; what it grows by is the guard, the scripts, and what the hook asks for besides \
             (the overlay driver, e2fsck) where it was not there."
                .to_owned(),
        ],
    };
    Ok(vec![programs, initramfs])
}

/// Bytes that the program is to have at most.
const MOST: u64 = 3 << 19;

/// A file's length.
fn sized(who: &str, bytes: u64) -> Run {
    Run { who: who.to_owned(), samples: vec![Sample::from([(Measure::Size, bytes)])] }
}

fn length(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?.len())
}

/// A program of this machine.
fn program(name: &str) -> Result<PathBuf> {
    installed(name).with_context(|| format!("{name} is not installed"))
}

/// The libraries that systemd has for its own programs, of those that `program` needs: bytes of them all.
fn library_of_systemd(program: &Path) -> Result<u64> {
    let all = libraries(program)?;
    let own: Vec<&PathBuf> = all.iter().filter(|library| library.to_string_lossy().contains("/systemd/")).collect();
    ensure!(!own.is_empty(), "{} needs no library of systemd's own", program.display());
    own.into_iter().map(|library| length(library)).sum()
}

/// The programs, stripped as they are installed.
fn programs(cards: &Cards) -> Result<Case> {
    let repart = program("systemd-repart")?;
    let runs = vec![
        sized("burnonce", length(&cards.packaged("usr/sbin/burnonce"))?),
        sized("burnonce's guard", length(&cards.packaged("usr/lib/burnonce/guard"))?),
        sized("busybox", length(&program("busybox")?)?),
        sized("systemd-repart", length(&repart)?),
        sized("the library that systemd's programs share", library_of_systemd(&repart)?),
    ];
    Ok(Case { label: "program".to_owned(), size: 1.0, runs })
}

/// What the initramfs of a Debian image grows by, where the package is installed: packed, as it is on the card.
fn initramfs() -> Result<Case> {
    let (before, after) = Recipe::stock().make()?.initramfs_sizes()?;
    ensure!(after > before, "the initramfs has {after} bytes with burnonce, and {before} without");
    let runs = vec![sized("burnonce", after - before), sized("the initramfs without it", before)];
    Ok(Case { label: "initramfs, packed".to_owned(), size: 1.0, runs })
}
