//! `bench`: measures, and writes docs/performance.md; what `make bench` runs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burnonce_bench::cards::Cards;
use burnonce_bench::extent::Extent;
use burnonce_bench::figures::Report;
use burnonce_bench::measured::{How, require};
use burnonce_bench::works::{bake, convert, diff, first_boot, grow, reset, size, steady};
use burnonce_bench::{machine, page};
use burnonce_crash::boot;
use burnonce_vm::host;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// burnonce and its peers on the same work
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
    Page(Files),
}

#[derive(Debug, Args)]
struct Files {
    /// The figures, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
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
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
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
    #[command(flatten)]
    files_written: Files,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    Convert,
    Reset,
    Steady,
    Diff,
    Bake,
    FirstBoot,
    Grow,
    Size,
}

impl Files {
    fn json(&self) -> PathBuf {
        self.json.clone().unwrap_or_else(|| host::target().join("bench.json"))
    }

    fn write_page(&self, report: &Report) -> Result<()> {
        let page = self.page.clone().unwrap_or_else(|| host::project().join("docs/performance.md"));
        page::write(report, &page).with_context(|| format!("writing {}", page.display()))
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
}

impl Name {
    /// Whether it takes emulated machines, and many minutes of them.
    fn is_of_nodes(self) -> bool {
        matches!(self, Self::FirstBoot | Self::Grow)
    }

    /// Programs that it takes, with their packages.
    fn programs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Convert => &[
                ("sfdisk", "fdisk"),
                ("growpart", "cloud-guest-utils"),
                // Part of systemd on Debian 12.
                ("systemd-repart", "systemd-repart"),
            ],
            Self::Steady => &[("systemd-repart", "systemd-repart")],
            Self::Diff => &[("rsync", "rsync")],
            Self::Bake => &[("xz", "xz-utils"), ("debugfs", "e2fsprogs")],
            Self::Size => &[("busybox", "busybox-static"), ("systemd-repart", "systemd-repart")],
            Self::FirstBoot | Self::Grow => &[("qemu-system-x86_64", "qemu-system-x86")],
            Self::Reset => &[],
        }
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Page(files)) => files.write_page(&read(&files.json())?),
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
    let machine = machine::describe(&cards, extent.rounds)?;
    let mut report = Report { machine, works: Vec::new() };
    for name in names {
        report.works.extend(match name {
            Name::Convert => vec![convert::work(&cards, &extent)?],
            Name::Reset => vec![reset::work(&cards, &extent)?],
            Name::Steady => vec![steady::work(&cards, &extent)?],
            Name::Diff => vec![diff::work(&cards, &extent)?],
            Name::Bake => bake::works(&cards, &extent)?,
            Name::FirstBoot => first_boot::works(&extent)?,
            Name::Grow => vec![grow::work(&extent)?],
            Name::Size => size::works(&cards)?,
        });
        // What was measured so far is not lost with what fails after it.
        fs::write(measuring.files_written.json(), serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("writing {}", measuring.files_written.json().display()))?;
    }
    for target in report.works.iter().flat_map(|work| &work.targets) {
        let met = if target.met { "reached" } else { "not reached" };
        eprintln!("bench: {met}: {}: {}, wanted {}", target.what, target.reached, target.wanted);
    }
    measuring.files_written.write_page(&report)
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
        let works = [Name::Convert, Name::Reset, Name::Steady, Name::Diff, Name::Bake, Name::Size];
        assert_eq!(cli.measuring.names(), works);
    }

    #[test]
    fn nodes_boot_where_they_are_asked_for() {
        let cli = Cli::parse_from(["bench", "--boots", "3"]);
        assert_eq!(cli.measuring.extent().boots, 3);
        assert_eq!(cli.measuring.names(), Name::value_variants());
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
        let Some(Command::Page(files)) = cli.command else { panic!("{cli:?}") };
        assert_eq!((files.json(), files.page), (PathBuf::from("a.json"), Some(PathBuf::from("b.md"))));
        assert!(Cli::try_parse_from(["bench", "--rounds", "2", "page"]).is_err());
    }
}
