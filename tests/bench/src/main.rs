//! `bench`: measures, and writes docs/performance.md; what `make bench` runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burnonce_bench::cards::Cards;
use burnonce_bench::extent::Extent;
use burnonce_bench::figures::Report;
use burnonce_bench::measured::{How, require};
use burnonce_bench::works::{self, Name, bake, convert, diff, first_boot, grow, reset, size, steady};
use burnonce_bench::{machine, page};
use burnonce_crash::boot;
use burnonce_vm::host;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// burnonce and its peers on the same work
///
/// What was measured is written as JSON and as a page. With all works these are bench.json in cargo's target directory and
/// docs/performance.md; with some of the works performance.json and performance.md in bench-page of the target directory.
#[derive(Debug, Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    measuring: Measuring,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the page of what was measured before
    Page(Page),
}

#[derive(Debug, Args)]
struct Page {
    /// The figures, as JSON; several, each of other works, make one page
    #[arg(long, value_name = "FILE")]
    json: Vec<PathBuf>,
    #[command(flatten)]
    at: At,
}

/// Where the page is written.
#[derive(Debug, Args)]
struct At {
    /// The page; plots are beside it
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Measuring {
    /// How often each program does each case
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How often each node boots, where the work is one of whole nodes; 0 leaves these works out
    #[arg(long, value_name = "NUMBER", default_value_t = 7)]
    boots: usize,
    /// The cards to convert, in GiB
    #[arg(long, value_name = "GIB", value_delimiter = ',', default_values_t = [8, 64, 256, 1024])]
    cards: Vec<u64>,
    /// How many files there are at a reset
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_values_t = [10, 10_000, 500_000])]
    files: Vec<usize>,
    /// How many files are changed when they are listed
    #[arg(long, value_name = "NUMBER", default_value_t = 200_000)]
    changed: usize,
    /// Only these works
    #[arg(long, value_delimiter = ',')]
    only: Vec<Name>,
    /// Where the cards are: what a flush takes is what it takes there
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// The figures, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    at: At,
}

impl At {
    /// What does not have all works stays away from the page of the project.
    fn path(&self, whole: bool) -> PathBuf {
        let usual =
            || if whole { host::project().join("docs/performance.md") } else { partial().join("performance.md") };
        self.page.clone().unwrap_or_else(usual)
    }

    fn write(&self, reports: &[Report]) -> Result<()> {
        let page = self.path(is_whole(reports));
        page::write(reports, &page).with_context(|| format!("writing {}", page.display()))?;
        eprintln!("bench: the page is {}", page.display());
        Ok(())
    }
}

impl Page {
    fn json(&self) -> Vec<PathBuf> {
        if self.json.is_empty() { vec![figures()] } else { self.json.clone() }
    }
}

impl Measuring {
    fn extent(&self) -> Extent {
        let Self { rounds, boots, cards, files, changed, .. } = self;
        Extent { rounds: *rounds, boots: *boots, cards: cards.clone(), files: files.clone(), changed: *changed }
    }

    fn names(&self) -> Vec<Name> {
        let all = Name::value_variants().iter().copied();
        let wanted = all.filter(|name| self.only.is_empty() || self.only.contains(name));
        wanted.filter(|name| self.boots > 0 || !name.is_of_nodes()).collect()
    }

    fn json(&self) -> PathBuf {
        let whole = self.names() == Name::value_variants();
        let usual = || if whole { figures() } else { partial().join("performance.json") };
        self.json.clone().unwrap_or_else(usual)
    }
}

/// The figures of a run that measured all works.
fn figures() -> PathBuf {
    host::target().join("bench.json")
}

/// What comes of a run that did not measure all works.
fn partial() -> PathBuf {
    host::target().join("bench-page")
}

/// Whether these have all works.
fn is_whole(reports: &[Report]) -> bool {
    let measured: Vec<&str> = reports.iter().flat_map(|report| &report.works).map(|work| work.name.as_str()).collect();
    works::all().all(|name| measured.contains(&name))
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Page(page)) => {
            let reports = page.json().iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
            page.at.write(&reports)
        }
        None => measure(&cli.measuring),
    }
}

fn read(json: &Path) -> Result<Report> {
    let text = fs::read_to_string(json).with_context(|| format!("reading {}", json.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not what bench has written", json.display()))
}

fn measure(measuring: &Measuring) -> Result<()> {
    let (extent, names) = (measuring.extent(), measuring.names());
    ensure!(
        !names.is_empty(),
        "there is nothing to measure: --boots says how often a node boots where the work is one of whole nodes"
    );
    for how in [How::Traced, How::Weighed] {
        let program = how.package().into_iter().map(|package| (package, package)).collect::<Vec<_>>();
        require(&program)?;
    }
    names.iter().try_for_each(|name| require(name.programs()))?;
    let directory = measuring.directory.clone().unwrap_or_else(|| host::target().join("bench"));
    boot::own_namespace()?;
    let cards = Cards::begin(&directory)?;
    let machine = machine::describe(&cards, extent.rounds, &names)?;
    let mut report = Report { machine, works: Vec::new() };
    let json = measuring.json();
    let beside = json.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(beside).with_context(|| format!("making {}", beside.display()))?;
    for name in names {
        let works = match name {
            Name::Convert => vec![convert::work(&cards, &extent)?],
            Name::Reset => vec![reset::work(&cards, &extent)?],
            Name::Steady => vec![steady::work(&cards, &extent)?],
            Name::Diff => vec![diff::work(&cards, &extent)?],
            Name::Bake => bake::works(&cards, &extent)?,
            Name::FirstBoot => first_boot::works(&extent)?,
            Name::Grow => vec![grow::work(&extent)?],
            Name::Size => size::works(&cards)?,
        };
        // By their names they are known to be all of them, and have their place on the page.
        ensure!(
            works.iter().map(|work| work.name.as_str()).eq(name.works().iter().copied()),
            "{name:?} has other works"
        );
        report.works.extend(works);
        // What was measured so far is not lost with what fails after it.
        fs::write(&json, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("writing {}", json.display()))?;
    }
    for target in report.works.iter().flat_map(|work| &work.targets) {
        let met = if target.met { "reached" } else { "not reached" };
        eprintln!("bench: {met}: {}: {}, wanted {}", target.what, target.reached, target.wanted);
    }
    eprintln!("bench: the figures are {}", json.display());
    measuring.at.write(&[report])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_measured_seven_times_unless_something_else_is_said() {
        let cli = Cli::parse_from(["bench"]);
        let extent = cli.measuring.extent();
        assert_eq!((extent.rounds, extent.changed), (7, 200_000));
        assert_eq!(
            (extent.cards.as_slice(), extent.files.as_slice()),
            (&[8, 64, 256, 1024][..], &[10, 10_000, 500_000][..])
        );
        assert_eq!((extent.boots, cli.measuring.names().as_slice()), (7, Name::value_variants()));
    }

    #[test]
    fn no_node_boots_where_none_is_asked_for() {
        let cli = Cli::parse_from(["bench", "--boots", "0"]);
        let works = [Name::Convert, Name::Reset, Name::Steady, Name::Diff, Name::Bake, Name::Size];
        assert_eq!(cli.measuring.names(), works);
    }

    #[test]
    fn a_run_of_some_works_leaves_page_and_figures_of_all_alone() {
        let json = |arguments: &[&str]| Cli::parse_from([&["bench"], arguments].concat()).measuring.json();
        assert_eq!(json(&[]), figures());
        assert_eq!(json(&["--rounds", "3"]), figures());
        for some in [&["--boots", "0"][..], &["--only", "convert"]] {
            assert_eq!(json(some), partial().join("performance.json"));
        }
        assert_eq!(json(&["--only", "convert", "--json", "a.json"]), Path::new("a.json"));
        let at = At { page: None };
        assert_eq!(at.path(true), host::project().join("docs/performance.md"));
        assert_eq!(at.path(false), partial().join("performance.md"));
        assert_eq!(At { page: Some("b.md".into()) }.path(false), Path::new("b.md"));
    }

    #[test]
    fn lists_have_commas_and_keep_the_order_of_the_page() {
        let cli = Cli::parse_from(["bench", "--cards", "8,64", "--only", "size,convert", "--rounds=1"]);
        assert_eq!(cli.measuring.extent().cards, [8, 64]);
        assert_eq!(cli.measuring.names(), [Name::Convert, Name::Size]);
    }

    #[test]
    fn a_page_is_written_of_what_was_measured_before() {
        let cli = Cli::parse_from(["bench", "page", "--json", "a.json", "--page", "b.md"]);
        let Some(Command::Page(page)) = cli.command else { panic!("{cli:?}") };
        assert_eq!((page.json(), page.at.page), (vec![PathBuf::from("a.json")], Some(PathBuf::from("b.md"))));
        let cli = Cli::parse_from(["bench", "page", "--json", "a.json", "--json", "b.json"]);
        let Some(Command::Page(page)) = cli.command else { panic!("{cli:?}") };
        assert_eq!(page.json(), [PathBuf::from("a.json"), PathBuf::from("b.json")]);
        assert!(Cli::try_parse_from(["bench", "--rounds", "2", "page"]).is_err());
    }
}
