//! `crash`: records, tries every power cut, and writes docs/reliability.md; what `make crash` runs. With the directory of a recording
//! that was kept it tries the cuts of that one again; `BURNONCE_CUT` names a single one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use burnonce_crash::cut::{Amount, Sort, cuts};
use burnonce_crash::figures;
use burnonce_crash::matrix::{self, Counts};
use burnonce_crash::proof::{self, Extent};
use burnonce_crash::recording::Recording;
use burnonce_crash::report::Report;
use burnonce_vm::writes::{self, Dice};
use burnonce_vm::{Bed, Recipe, host, image};

const EXTENT: Extent = Extent { amount: Amount { subsets: 4, torn: 2 }, boots: 25 };

fn main() -> Result<()> {
    match std::env::args_os().nth(1) {
        Some(dir) => again(Path::new(&dir)),
        None => everything(),
    }
}

/// One cut of a recording that was kept, or all of them.
fn again(dir: &Path) -> Result<()> {
    let recording = Recording::load(dir)?;
    let cuts = match std::env::var("BURNONCE_CUT") {
        Ok(cut) => vec![(Sort::Prefix, cut.parse()?)],
        Err(_) => cuts(&recording.log, EXTENT.amount, &mut Dice::thrown(&recording.name)?),
    };
    let Counts { took, .. } = matrix::run(&recording, &cuts)?;
    println!("crash: {}: {} cuts held, {} s", recording.name, cuts.len(), took.as_secs());
    Ok(())
}

fn everything() -> Result<()> {
    let start = Instant::now();
    host::require()?;
    let bed = Bed::new("crash")?;
    let (image, gpt) = (Recipe::stock().make()?, Recipe::stock().gpt().make()?);
    let seed = writes::seed("crash")?;
    let mut makers = proof::native(&image, &gpt);
    makers.extend(proof::emulated(&bed, &image));
    let outcome = proof::run(&bed, &makers, EXTENT, seed)?;
    let given = std::env::var_os("BURNONCE_FIGURES").map(PathBuf::from);
    let date = host::run(Command::new("date").args(["--utc", "+%F"]))?;
    let version = host::run(Command::new("dpkg-deb").arg("--field").arg(image::package()?).arg("Version"))?;
    let report = Report {
        outcome: &outcome,
        seed,
        version: version.trim(),
        date: date.trim(),
        seconds: start.elapsed().as_secs(),
        figures: &given.map_or(Ok(Vec::new()), |file| figures::read(&file))?,
        fuzzing: &figures::read(&host::target().join("fuzz-figures.json"))?,
    };
    let page = host::project().join("docs/reliability.md");
    std::fs::write(&page, report.text()).with_context(|| format!("writing {}", page.display()))?;
    bed.remove_cards()?;
    println!("crash: no failure; docs/reliability.md is written, {} s", start.elapsed().as_secs());
    Ok(())
}
