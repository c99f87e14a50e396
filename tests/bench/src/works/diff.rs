//! What changed on a node since its image was burned is listed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use burnonce::units::grouped;
use burnonce_crash::boot::Boot;
use burnonce_crash::reader::Reader;
use burnonce_vm::card::Card;
use burnonce_vm::host;

use crate::cards::{self, Cards, Label, insert};
use crate::contest::{self, Contender};
use crate::extent::Extent;
use crate::figures::{Case, Sample, Work};
use crate::measured::{How, Meter, Task};
use crate::mounted::Mounted;
use crate::works::convert::agent;
use crate::works::reset::write_files;

/// The card on which the node has run, in GiB.
const CARD: u64 = 32;
/// Where its upper is mounted while the changes are written to it.
const UPPER: &str = "/run/bench-upper";
/// A file that is older than every change.
const STAMP: &str = "/run/bench-stamp";

/// What is done, for the page.
const ABOUT: &str = "What differs from the image is listed, on a node where half of the changed files are in the image with another content, and half \
are new; into a file in memory. `find -newer` lists what the upper has; `rsync --dry-run` compares the merged root with the image.";

/// All who do it.
///
/// # Errors
/// One of them failed.
pub fn work(cards: &Cards, extent: &Extent) -> Result<Work> {
    let files = extent.changed;
    eprintln!("bench: diff of {files} files");
    let card = changed(cards, files)?;
    let reader = insert(&card.path)?;
    let mut runs = Vec::new();
    cards::boot(&reader, true, |boot| {
        boot.succeeds(&["converge"])?;
        let contenders = contenders(boot, &reader, files)?;
        // For the caches, and for the access times that the kernel notes when a file is read for the first time since it changed.
        contest::hold(&contenders, 2, &[])?;
        runs = contest::hold(&contenders, extent.rounds, &[How::Weighed])?;
        Ok(())
    })?;
    cards.forget(&name(files))?;
    Ok(Work {
        name: "diff".to_owned(),
        title: "What a node has changed".to_owned(),
        about: ABOUT.to_owned(),
        cases: vec![Case { label: format!("{} files", grouped(files as u64)), size: files as f64, runs }],
        targets: Vec::new(),
        notes: vec![
            "Each has run twice before it is measured, so what it looks at is in the kernel's caches, and the access times are noted.".to_owned(),
            "`find -newer` does not see what was deleted, and does not tell new from changed; rsync, called so, goes by length and time of \
             a file, and does not see extended attributes."
                .to_owned(),
        ],
    })
}

fn name(files: usize) -> String {
    format!("changed-{files}")
}

/// A node on which so many files are not what they were in the image: half of them are changed, half are new.
fn changed(cards: &Cards, files: usize) -> Result<Card> {
    let half = files / 2;
    cards.fresh(&name(files), |file| {
        let tree = cards.path("tree-of-many");
        host::run(Command::new("cp").arg("--archive").arg(cards.tree()).arg(&tree))?;
        write_files(&tree.join("srv/old"), half)?;
        cards.burn(file, CARD, Label::Mbr, &tree)?;
        fs::remove_dir_all(&tree).context("removing the tree of an image")?;
        cards::convert(file)?;
        let reader = insert(file)?;
        let upper = Mounted::at(&reader.partition(3), Path::new(UPPER))?;
        let overlay = Path::new(UPPER).join("overlay/srv");
        write_files(&overlay.join("new"), files - half)?;
        write_files(&overlay.join("old"), half)?;
        // As many bytes as before, and other ones.
        let lines = r#"find "$1/old" -type f -exec sed -i s/x/y/ {} +"#;
        Meter::of(&reader, How::Plain).run(&Task::script(lines, &[&overlay.to_string_lossy()]))?;
        upper.end()
    })
}

/// Those who list it, on a node that has booted.
fn contenders<'a>(boot: &'a Boot, reader: &'a Reader, files: usize) -> Result<Vec<Contender<'a>>> {
    fs::write(STAMP, "").context("making a file with an old time")?;
    host::run(Command::new("touch").args(["--date=2001-01-01", STAMP]))?;
    let (root, upper) = (boot.root().display().to_string(), boot.upper().display().to_string());
    let find = Task::new(["find", &format!("{upper}/overlay"), "-newer", STAMP]);
    let rsync = ["rsync", "--dry-run", "--archive", "--one-file-system", "--itemize-changes", "--delete"];
    let rsync = Task::new(rsync.into_iter().chain([format!("{root}/").as_str(), &format!("{root}/media/root-ro/")]));
    let list = move |task: Task| move |how: How| lists(reader, &task, files, how);
    Ok(vec![
        Contender::new("burnonce", list(agent(boot, &["diff"]))),
        Contender::new("find -newer", list(find)),
        Contender::new("rsync --dry-run", list(rsync)),
    ])
}

/// Runs one of them; it has to list them all.
fn lists(reader: &Reader, task: &Task, files: usize, how: How) -> Result<Sample> {
    let mut meter = Meter::waiting(reader, how);
    let output = meter.output(task)?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    let lines = output.stdout.iter().filter(|&&byte| byte == b'\n').count();
    ensure!(lines >= files, "it lists {lines} paths where {files} files are changed");
    Ok(meter.sample())
}
