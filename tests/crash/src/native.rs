//! Recordings that this machine makes by itself: the agent in a chroot, its card behind a [`Recorder`].

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, anyhow, ensure};
use burnonce::state::{Kind, Request, State, Trigger};
use burnonce::upper::Upper;
use burnonce_vm::card::Card;
use burnonce_vm::{Image, host};

use crate::boot::{self, Boot};
use crate::reader::Reader;
use crate::recorder::Recorder;
use crate::recording::{self, Recording};
use crate::story::Story;

/// Room for the third partition: `partition.min` is half a gigabyte.
const ROOM: u64 = 604 << 20;
/// How much longer the other card is that a card is copied onto: more than is worth while, and as little as possible.
pub const LONGER: u64 = 256 << 20;

/// A card with `image` burned to it that is not much longer.
pub fn burn(image: &Image, file: &Path) -> Result<Card> {
    let card = Card::blank(file, fs::metadata(&image.path)?.len() + ROOM)?;
    card.burn(&image.path)?;
    Ok(card)
}

/// Where recordings are kept.
pub fn dir(name: &str) -> std::path::PathBuf {
    host::target().join("crash").join(name)
}

/// Records what `work` does to a card that is in a reader. The card is changed by it.
pub fn record(
    name: &str,
    story: Story,
    card: &Card,
    work: impl FnOnce(&Reader) -> Result<()> + Send,
) -> Result<Recording> {
    let dir = dir(name);
    recording::prepare(&dir, card, story)?;
    let recorder = Recorder::begin(card, &recording::log_in(&dir))?;
    in_reader(&recorder.file, work)?;
    recorder.end()?;
    Recording::load(&dir)
}

/// Does something to a card in a reader, in a thread with a mount namespace of its own.
pub fn in_reader(file: &Path, work: impl FnOnce(&Reader) -> Result<()> + Send) -> Result<()> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            boot::own_namespace()?;
            let reader = Reader::insert(file)?;
            reader.scan()?;
            work(&reader)
        });
        thread.join().unwrap_or_else(|_| Err(anyhow!("the thread panicked")))
    })
}

/// A boot up to the end of the agent's turn, or of what `then` does behind that.
pub fn boot(reader: &Reader, then: impl FnOnce(&Boot) -> Result<()>) -> Result<()> {
    boot_with(reader, &["converge", "--no-reboot"], then)
}

/// The same, where the agent is called in this way.
fn boot_with(reader: &Reader, agent: &[&str], then: impl FnOnce(&Boot) -> Result<()>) -> Result<()> {
    reader.scan()?;
    let mut boot = Boot::begin(reader)?;
    let report = boot.guard()?;
    boot.go_on(report["verdict"] == "upper")?;
    boot.succeeds(agent)?;
    then(&boot)?;
    boot.power_off()
}

/// The conversion of a card.
pub fn conversion(name: &str, image: &Image) -> Result<Recording> {
    with_card(name, |file| {
        let card = burn(image, file)?;
        record(name, Story::Conversion, &card, |reader| boot(reader, |_| Ok(())))
    })
}

/// The conversion of a card whose first one was cut off when the upper was in the table, and nothing pointed at it.
pub fn conversion_again(name: &str, image: &Image) -> Result<Recording> {
    /// To tell the kernel, to make the file system, and to write the table come behind the count of the attempt.
    const STEPS: &str = "4";
    with_card(name, |file| {
        let card = burn(image, file)?;
        in_reader(file, |reader| {
            boot_with(reader, &["converge", "--no-reboot", "--steps", STEPS], |_| Ok(()))?;
            ensure!(reader.scan()?.partitions.len() == 3, "after {STEPS} steps the table has no third partition");
            Ok(())
        })?;
        record(name, Story::Conversion, &card, |reader| boot(reader, |_| Ok(())))
    })
}

/// A boot of a card that became longer. Where the kernel does not let the file system grow, it is the table that grows.
pub fn grow(name: &str, image: &Image) -> Result<Recording> {
    with_card(name, |file| {
        let card = converted(image, file, mess)?;
        let longer = fs::OpenOptions::new().write(true).open(file)?;
        longer.set_len(longer.metadata()?.len() + LONGER)?;
        record(name, Story::Grow, &card, |reader| boot(reader, |_| Ok(())))
    })
}

/// The boot of a converted card of which the first two partitions alone were backed up: it is given a new upper.
pub fn remake(name: &str, image: &Image) -> Result<Recording> {
    with_card(name, |file| {
        let card = converted(image, file, mess)?;
        host::run(Command::new("sfdisk").args(["--quiet", "--delete"]).arg(file).arg("3"))?;
        record(name, Story::Remake, &card, |reader| {
            reader.scan()?;
            let mut boot = Boot::begin(reader)?;
            let report = boot.guard()?;
            ensure!(report["verdict"] == "memory", "the guard says {report:#}");
            boot.go_on_in_memory()?;
            boot.succeeds(&["converge", "--no-reboot"])?;
            boot.power_off()
        })
    })
}

/// A card whose node runs on its overlay; `then` is done in the first boot there.
pub fn converted(image: &Image, file: &Path, then: impl FnOnce(&Boot) -> Result<()> + Send) -> Result<Card> {
    let card = burn(image, file)?;
    in_reader(file, |reader| {
        boot(reader, |_| Ok(()))?;
        boot(reader, then)
    })?;
    Ok(card)
}

/// The guard's turn in a boot that finds a reset asked for, with a file to be kept.
pub fn reset(name: &str, image: &Image) -> Result<Recording> {
    with_card(name, |file| {
        let card = converted(image, file, |boot| {
            mess(boot)?;
            ask(&boot.upper(), Kind::Reset, &["/etc/kept"])
        })?;
        record(name, Story::Swap, &card, guard)
    })
}

/// The guard's turn in a boot that finds an undo asked for.
pub fn undo(name: &str, image: &Image) -> Result<Recording> {
    with_card(name, |file| {
        let card = converted(image, file, |boot| {
            mess(boot)?;
            ask(&boot.upper(), Kind::Reset, &[])
        })?;
        in_reader(file, |reader| {
            boot(reader, |boot| {
                fs::write(boot.root().join("root/marker"), "new")?;
                ask(&boot.upper(), Kind::Undo, &[])
            })
        })?;
        record(name, Story::Swap, &card, guard)
    })
}

/// A boot in which one of two generations that were set aside is deleted.
pub fn reclaim(name: &str, image: &Image) -> Result<Recording> {
    with_card(name, |file| {
        let card = converted(image, file, |boot| {
            fill(boot)?;
            ask(&boot.upper(), Kind::Reset, &[])
        })?;
        in_reader(file, |reader| {
            boot(reader, |boot| {
                mess(boot)?;
                ask(&boot.upper(), Kind::Reset, &[])
            })?;
            boot(reader, mess)
        })?;
        record(name, Story::Reclaim, &card, |reader| boot(reader, |boot| boot.succeeds(&["reclaim"]).map(drop)))
    })
}

/// Root is mounted, and the guard does its work.
fn guard(reader: &Reader) -> Result<()> {
    let mut boot = Boot::begin(reader)?;
    let report = boot.guard()?;
    ensure!(report["verdict"] == "upper" && report["request"]["refused"].is_null(), "the guard says {report:#}");
    boot.power_off()
}

/// Does to a node what can be done to files: new ones, one with two names, one that the image has, one that is deleted.
fn mess(boot: &Boot) -> Result<()> {
    let root = boot.root();
    for (path, text) in [("etc/kept", "kept"), ("root/marker", "old"), ("etc/issue.net", "changed")] {
        fs::write(root.join(path), text)?;
    }
    fs::create_dir_all(root.join("srv/new"))?;
    fs::hard_link(root.join("root/marker"), root.join("srv/new/link"))?;
    fs::remove_file(root.join("etc/issue"))?;
    Ok(())
}

/// Files for a generation that is to be deleted, in some directories.
fn fill(boot: &Boot) -> Result<()> {
    const FILES: u32 = 400;
    const IN_A_DIRECTORY: u32 = 50;
    for number in 0..FILES {
        let directory = boot.root().join(format!("srv/many/{}", number / IN_A_DIRECTORY));
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(number.to_string()), "x".repeat(5000))?;
    }
    Ok(())
}

/// Records a request as the agent does. (The agent itself would first look at the kernel on the boot partition, for which this machine
/// may have no vfat.)
fn ask(upper: &Path, kind: Kind, keep: &[&str]) -> Result<()> {
    let upper = Upper::at(upper);
    let keep = keep.iter().map(|path| (*path).to_owned()).collect();
    let request = Request { id: format!("{kind}-1"), kind, by: Trigger::Command, at: 1, keep };
    upper.write_state(&State { request: Some(request), ..upper.state()? })
}

/// Works on a card in memory, which goes afterwards.
fn with_card<T>(name: &str, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let dir = burnonce_vm::native::memory(&format!("recording-{name}"))?;
    let outcome = work(&dir.join("card.img"));
    fs::remove_dir_all(&dir)?;
    outcome
}
