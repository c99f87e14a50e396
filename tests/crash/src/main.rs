//! `crash`: records, tries every power cut, and writes docs/reliability.md; what `make crash` runs. With the directory of a recording
//! that was kept it tries the cuts of that one again; `BURNONCE_CUT` names a single one. With names of recordings it makes these alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burnonce_crash::cut::{Amount, Sort, cuts};
use burnonce_crash::figures;
use burnonce_crash::matrix::{self, Counts};
use burnonce_crash::proof::{self, Extent};
use burnonce_crash::recording::Recording;
use burnonce_crash::report::Report;
use burnonce_vm::writes::{self, Dice};
use burnonce_vm::{Bed, Recipe, host, image};

/// Threads for the cuts of a single recording.
const LEAST: usize = 2;
const EXTENT: Extent = Extent { amount: Amount { subsets: 3, torn: 1 }, boots: 25 };

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(Path::new) {
        Some(dir) if dir.is_dir() => again(dir),
        _ => prove(&arguments),
    }
}

/// One cut of a recording that was kept, or all of them.
fn again(dir: &Path) -> Result<()> {
    let recording = Recording::load(dir)?;
    let cuts = match std::env::var("BURNONCE_CUT") {
        Ok(cut) => vec![(Sort::Prefix, cut.parse()?)],
        Err(_) => cuts(&recording.log, EXTENT.amount, &mut Dice::thrown(&recording.name)?),
    };
    let Counts { took, .. } = matrix::run(&recording, &cuts, LEAST)?;
    println!("crash: {}: {} cuts held, {} s", recording.name, cuts.len(), took.as_secs());
    Ok(())
}

/// All recordings, and the page; or those with these names alone, each with one boot.
fn prove(names: &[String]) -> Result<()> {
    let start = Instant::now();
    host::require()?;
    let bed = Bed::new("crash")?;
    let (image, gpt) = (Recipe::stock().make()?, Recipe::stock().gpt().make()?);
    let seed = writes::seed("crash")?;
    let mut makers = proof::native(&image, &gpt);
    makers.extend(proof::emulated(&bed, &image));
    if !names.is_empty() {
        makers.retain(|(name, _)| names.iter().any(|wanted| wanted == name));
        ensure!(makers.len() == names.len(), "{names:?}: not all of these are recordings, or directories of such");
        let outcome = proof::run(&bed, &makers, Extent { boots: names.len(), ..EXTENT }, seed)?;
        println!("crash: no failure: {:#?}", outcome.rows);
        return bed.remove_cards();
    }
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
