//! Writes docs/performance.md and the plots beside it.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burnonce::units::grouped;

use crate::figures::{Case, Machine, Measure, Report, Work};
use crate::plot::{alternative, capital, svg};
use crate::quantity::{Unit, show_ratio};
use crate::statistics::{beside_burnonce, measures, programs, result};
use crate::table::{Align, table};
use crate::works;

/// The directory of the plots, beside the page.
const PLOTS: &str = "performance";

/// What was not measured.
const MISSING: &str = "—";

/// Writes the page of one run, or of several that measured different works, and its plots as `performance/NAME.svg` beside it; each is
/// whole or as it was before. Plots there that the page does not show are removed.
///
/// # Errors
///
/// When two works have one name, or a work one that is no file name; when a file cannot be written or removed.
pub fn write(reports: &[Report], page: &Path) -> Result<()> {
    let beside = page.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = beside.join(PLOTS);
    let plots = plots(reports)?;
    fs::create_dir_all(&directory).with_context(|| format!("making {}", directory.display()))?;
    for (name, text) in &plots {
        replace(&directory.join(name), text)?;
    }
    replace(page, &markdown(reports))?;
    let shown: BTreeSet<&str> = plots.iter().map(|(name, _)| name.as_str()).collect();
    remove_others(&directory, &shown)
}

/// File names and texts of the plots.
fn plots(reports: &[Report]) -> Result<Vec<(String, String)>> {
    let works = in_order(reports);
    let mut names = BTreeSet::new();
    for Work { name, .. } in &works {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
        ensure!(!name.is_empty() && name.chars().all(plain), "the work `{name}` has a name that is no word");
        ensure!(names.insert(name), "two works have the name `{name}`");
    }
    Ok(works.iter().filter_map(|work| Some((format!("{}.svg", work.name), svg(work)?))).collect())
}

/// The works of all runs as the page has them, one after the other.
fn in_order(reports: &[Report]) -> Vec<&Work> {
    let mut works: Vec<&Work> = reports.iter().flat_map(|report| &report.works).collect();
    works.sort_by_key(|work| works::place(&work.name));
    works
}

/// Writes a file under another name and renames it.
fn replace(path: &Path, text: &str) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // What is left of it after a kill ends as a plot does, and is removed as one. It is for others to read, too.
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .suffix(".svg")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(directory)
        .with_context(writing)?;
    file.write_all(text.as_bytes()).with_context(writing)?;
    file.persist(path).with_context(writing)?;
    Ok(())
}

/// Removes the plots of an earlier page.
fn remove_others(directory: &Path, shown: &BTreeSet<&str>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))? {
        let path = entry.with_context(|| format!("reading {}", directory.display()))?.path();
        let is_shown = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| shown.contains(name));
        if path.extension().is_some_and(|extension| extension == "svg") && !is_shown {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// The page.
pub fn markdown(reports: &[Report]) -> String {
    let works = in_order(reports);
    let mut parts = vec![head(reports, &works), machines(reports), targets(&works)];
    parts.extend(works.into_iter().map(work));
    parts.join("\n")
}

fn head(reports: &[Report], works: &[&Work]) -> String {
    let rounds = rounds(reports.first().map_or(0, |report| report.machine.rounds));
    let seen: BTreeSet<Measure> = works.iter().copied().flat_map(measures).collect();
    let meanings: String =
        seen.iter().map(|measure| format!("* **{}**: {}\n", measure.title(), measure.meaning())).collect();
    let meanings = if meanings.is_empty() { meanings } else { format!("\nWhat is measured:\n\n{meanings}") };
    format!(
        "\
# Performance: burnonce and its peers

*This page is written by `make bench`, which does what it says here. Do not edit it; the text is in `tests/bench/src/page.rs`.*

`make bench` repeats all of it and writes this page anew. Programs that are beside each other did the same work in one run and took turns,
so that whatever else the machine did met all of them. A figure is the median of {rounds}, or of as many as its table says; where they
differ, the least and the greatest are in brackets behind it. **31×** behind a figure of another program says that its median is 31 times
that of burnonce; where burnonce's is 0 there is no such ratio. Look at the ratios: absolute times belong to the machine below, and yours
will have others. Less is better, everywhere. A dash says that something was not measured.

Figures have three significant digits. KiB, MiB and GiB are powers of 1024; k and M behind a count are thousands and millions. In the
plots a mark is a median, and the thin line through it goes from the least to the greatest; a hollow mark is 0. The marks of one size
stand a little aside of each other, so that none hides another.
{meanings}"
    )
}

/// `one round`, `5 rounds`.
fn rounds(count: usize) -> String {
    if count == 1 { "one round".to_owned() } else { format!("{count} rounds") }
}

/// The machine, by its facts: what differs between runs has a row for each of them, with the works that it holds for.
fn machines(reports: &[Report]) -> String {
    let all: Vec<_> = reports.iter().map(|report| facts(&report.machine)).collect();
    let mut rows = Vec::new();
    for (number, (name, value)) in all.first().into_iter().flatten().enumerate() {
        if all.iter().all(|facts| facts[number].1 == *value) {
            rows.push(vec![(*name).to_owned(), value.clone()]);
            continue;
        }
        for (facts, report) in all.iter().zip(reports) {
            let titles: Vec<&str> = report.works.iter().map(|work| work.title.as_str()).collect();
            rows.push(vec![(*name).to_owned(), format!("{} ({})", facts[number].1, titles.join(", "))]);
        }
    }
    let facts = table(&[("machine", Align::Left), ("", Align::Left)], &rows);
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (name, version) in reports.iter().flat_map(|report| &report.machine.versions) {
        let row = vec![name.clone(), version.clone()];
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    let versions = table(&[("program", Align::Left), ("version", Align::Left)], &rows);
    format!("## The machine and the programs\n\n{facts}\n{versions}")
}

/// What is known of a machine and a run, with the name of each fact; always the same names.
fn facts(machine: &Machine) -> Vec<(&'static str, String)> {
    let Machine { processor, cores, memory, kernel, system, date, commit, rounds: _, load, versions: _ } = machine;
    let cores = if *cores == 1 { "one core".to_owned() } else { format!("{cores} cores") };
    vec![
        ("processor", format!("{processor}, {cores}")),
        ("memory", Unit::Bytes.show(*memory as f64)),
        ("system", system.clone()),
        ("kernel", kernel.clone()),
        ("load before the first round", format!("{load:.2} (mean of one minute)")),
        ("day", date.clone()),
        ("commit", commit.clone()),
    ]
}

/// What was to be reached, of all works.
fn targets(works: &[&Work]) -> String {
    let all = || works.iter().flat_map(|work| &work.targets);
    let (count, met) = (all().count(), all().filter(|target| target.met).count());
    let heading = "## What was to be reached, and what was\n\n";
    if count == 0 {
        return format!("{heading}No targets were set.\n");
    }
    let rows: Vec<Vec<String>> = works
        .iter()
        .flat_map(|work| work.targets.iter().map(move |target| (work, target)))
        .map(|(work, target)| {
            let outcome = if target.met { "met" } else { "**missed**" };
            vec![
                work.title.clone(),
                target.what.clone(),
                target.wanted.clone(),
                target.reached.clone(),
                outcome.to_owned(),
            ]
        })
        .collect();
    let columns = ["work", "what", "wanted", "reached", "outcome"].map(|title| (title, Align::Left));
    format!("{heading}Met: {met} of {count} targets.\n\n{}", table(&columns, &rows))
}

fn work(work: &Work) -> String {
    let mut parts = vec![format!("## {}\n", work.title), format!("{}\n", work.about.trim())];
    if let Some(text) = alternative(work) {
        let text = text.replace(['[', ']'], "");
        parts.push(format!("![{text}]({PLOTS}/{}.svg)\n", work.name));
    }
    match work.cases.as_slice() {
        [] => parts.push("Nothing was measured.\n".to_owned()),
        [case] => parts.push(one_case(work, case)),
        cases => parts.extend(measures(work).into_iter().map(|measure| several_cases(work, cases, measure))),
    }
    if !work.notes.is_empty() {
        parts.push(work.notes.iter().map(|note| format!("* {}\n", note.trim())).collect());
    }
    parts.join("\n")
}

/// Rows are the cases, columns the programs.
fn several_cases(work: &Work, cases: &[Case], measure: Measure) -> String {
    let programs = programs(work);
    let mut columns = vec![("", Align::Left)];
    columns.extend(programs.iter().map(|who| (*who, Align::Right)));
    let row = |case: &Case| {
        let cells = programs.iter().map(|who| cell(case, who, measure));
        std::iter::once(case.label.clone()).chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = cases.iter().map(row).collect();
    format!("**{}**, {}:\n\n{}", capital(measure.title()), sampled(work, measure), table(&columns, &rows))
}

/// Rows are the programs, columns what was measured.
fn one_case(work: &Work, case: &Case) -> String {
    let measures = measures(work);
    let mut columns = vec![("", Align::Left)];
    columns.extend(measures.iter().map(|measure| (measure.title(), Align::Right)));
    let row = |who: &&str| {
        let cells = measures.iter().map(|measure| cell(case, who, *measure));
        std::iter::once((*who).to_owned()).chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = programs(work).iter().map(row).collect();
    let usual = measures.first().map(|measure| sampled(work, *measure)).unwrap_or_default();
    let others: String = measures
        .iter()
        .map(|measure| (measure, sampled(work, *measure)))
        .filter(|(_, rounds)| *rounds != usual)
        .map(|(measure, rounds)| format!("; {} of {rounds}", measure.title()))
        .collect();
    format!("**{}**, {usual}{others}:\n\n{}", capital(&case.label), table(&columns, &rows))
}

/// How many rounds a measure is of: `5 rounds`, or `1 to 5 rounds` where the programs or the cases differ.
fn sampled(work: &Work, measure: Measure) -> String {
    let results =
        work.cases.iter().flat_map(|case| case.runs.iter().filter_map(move |run| result(case, &run.who, measure)));
    let counts: BTreeSet<usize> = results.map(|summary| summary.samples).collect();
    match (counts.first(), counts.last()) {
        (Some(least), Some(most)) if least < most => format!("{} to {}", grouped(*least as u64), rounds(*most)),
        (_, most) => rounds(most.copied().unwrap_or(0)),
    }
}

/// What a program took in a case, and behind it how many times burnonce's that is.
fn cell(case: &Case, who: &str, measure: Measure) -> String {
    let Some(summary) = result(case, who, measure) else { return MISSING.to_owned() };
    let text = measure.unit().show_summary(&summary);
    match beside_burnonce(case, who, measure) {
        Some(ratio) => format!("{text} **{}**", show_ratio(ratio)),
        None => text,
    }
}

#[cfg(test)]
mod tests;
