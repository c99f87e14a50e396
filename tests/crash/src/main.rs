//! `crash`: records, tries every power cut, and writes docs/reliability.md; what `make crash` runs. With the directory of a recording and
//! `BURNONCE_CUT` it tries that one cut alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use burnonce_crash::cut::{Amount, Sort};
use burnonce_crash::proof::{self, Extent};
use burnonce_crash::recording::Recording;
use burnonce_crash::report::Report;
use burnonce_crash::{figures, matrix};
use burnonce_vm::writes::Dice;
use burnonce_vm::{Bed, Recipe, host, image};

const EXTENT: Extent = Extent { amount: Amount { subsets: 4, torn: 2 }, boots: 25 };

fn main() -> Result<()> {
    match std::env::args_os().nth(1) {
        Some(dir) => repeat(Path::new(&dir)),
        None => everything(),
    }
}

/// One cut of a recording that was kept.
fn repeat(dir: &Path) -> Result<()> {
    let cut =
        std::env::var("BURNONCE_CUT").context("BURNONCE_CUT names the writes that have arrived, e.g. 0-56,60+3")?;
    let recording = Recording::load(dir)?;
    matrix::run(&recording, &[(Sort::Prefix, cut.parse()?)])?;
    println!("crash: {} with {cut}: held", recording.name);
    Ok(())
}

fn everything() -> Result<()> {
    let start = Instant::now();
    host::require()?;
    let bed = Bed::new("crash")?;
    let (image, gpt) = (Recipe::stock().make()?, Recipe::stock().gpt().make()?);
    let (seed, mut dice) = Dice::thrown_with_seed("crash")?;
    let mut makers = proof::native(&image, &gpt);
    makers.extend(proof::emulated(&bed, &image));
    let outcome = proof::run(&bed, &makers, EXTENT, &mut dice)?;
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
