use super::*;
use crate::figures::Measure::{Wall, Written};
use crate::sample::{case, convert, report, reset, run, steady, target, work};

fn sample() -> [Report; 1] {
    [report(vec![convert(), steady()])]
}

#[test]
fn the_page_is_as_expected() {
    assert_eq!(markdown(&sample()), include_str!("../../tests/expected/page.md"));
}

#[test]
fn page_and_plots_are_written_and_earlier_plots_go() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("page.md");
    let plots = directory.path().join(PLOTS);
    fs::create_dir(&plots).unwrap();
    for name in ["old.svg", ".new-abc.svg", "kept.txt"] {
        fs::write(plots.join(name), "old").unwrap();
    }
    fs::write(plots.join("convert.svg"), "old").unwrap();
    write(&sample(), &page).unwrap();
    assert_eq!(fs::read_to_string(&page).unwrap(), markdown(&sample()));
    assert_eq!(fs::read_to_string(plots.join("convert.svg")).unwrap(), svg(&convert()).unwrap());
    assert_eq!(names(&plots), ["convert.svg", "kept.txt", "steady.svg"]);
    assert_eq!(names(directory.path()), ["page.md", PLOTS]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&page), mode(&plots.join("kept.txt")), "as readable as any other file");
    write(&[report(vec![reset()])], &page).unwrap();
    assert_eq!(names(&plots), ["kept.txt", "reset.svg"]);
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn names_that_are_no_file_names_are_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    for (names, expected) in [
        (&["../escape"][..], "the work `../escape` has a name that is no word"),
        (&[""], "the work `` has a name that is no word"),
        (&["twice", "twice"], "two works have the name `twice`"),
    ] {
        let works = names.iter().map(|name| work(name, vec![])).collect();
        let error = write(&[report(works)], &directory.path().join("page.md")).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    assert!(names(directory.path()).is_empty());
}

#[test]
fn every_plot_of_the_page_is_one_that_is_written() {
    let reports = [report(vec![convert(), reset(), steady(), work("empty", vec![])])];
    let text = markdown(&reports);
    let shown = text.match_indices("](performance/").count();
    let plots = plots(&reports).unwrap();
    assert_eq!(shown, plots.len());
    for (name, _) in plots {
        assert!(text.contains(&format!("](performance/{name})")), "{name}");
    }
    assert!(text.contains("## The work empty\n\nWhat `empty` does.\n\nNothing was measured.\n"), "{text}");
}

#[test]
fn cells_have_a_ratio_where_there_is_one() {
    let only = case(
        "only",
        1.0,
        vec![
            run("burnonce", &[(Wall, &[10, 10]), (Written, &[0])]),
            run("peer", &[(Wall, &[310, 310]), (Written, &[4096])]),
        ],
    );
    for (who, measure, text) in [
        ("burnonce", Wall, "10 ns"),
        ("peer", Wall, "310 ns **31×**"),
        ("burnonce", Written, "0 bytes"),
        ("peer", Written, "4 KiB"),
        ("peer", Measure::Peak, MISSING),
        ("nobody", Wall, MISSING),
    ] {
        assert_eq!(cell(&only, who, measure), text, "{who} {measure:?}");
    }
}

#[test]
fn rounds_are_told_as_they_were() {
    let works = |counts: &[&[u64]]| {
        let runs =
            counts.iter().enumerate().map(|(index, values)| run(&index.to_string(), &[(Wall, values)])).collect();
        work("rounds", vec![case("only", 1.0, runs)])
    };
    for (counts, text) in [
        (&[&[1_u64, 2, 3][..], &[1, 2, 3]][..], "3 rounds"),
        (&[&[1]], "one round"),
        (&[&[1, 2, 3], &[1]], "1 to 3 rounds"),
    ] {
        assert_eq!(sampled(&works(counts), Wall), text);
    }
}

#[test]
fn the_targets_that_are_met_are_counted() {
    for (outcomes, text) in [
        (&[][..], "No targets were set."),
        (&[true], "Met: 1 of 1 targets."),
        (&[true, false, false], "Met: 1 of 3 targets."),
    ] {
        let targets = outcomes.iter().map(|met| target("this", "that", "it", *met)).collect();
        let text_of_all = super::targets(&[&Work { targets, ..work("w", vec![]) }]);
        assert!(text_of_all.contains(text), "{text_of_all}");
        assert_eq!(text_of_all.matches("**missed**").count(), outcomes.iter().filter(|met| !**met).count());
    }
}

#[test]
fn runs_that_are_put_together_have_a_row_for_each_where_they_differ() {
    let one = report(vec![convert(), steady()]);
    let mut other = report(vec![reset()]);
    other.machine.commit = "4567def".to_owned();
    other.machine.versions.push(("rsync".to_owned(), "3.2.7".to_owned()));
    let text = markdown(&[one, other]);
    let commits: Vec<&str> = text.lines().filter(|line| line.starts_with("| commit")).collect();
    let [first, second] = commits[..] else { panic!("{text}") };
    assert!(first.contains("| 0123abc (Converting a card, A boot with nothing to do) "), "{first}");
    assert!(second.contains("| 4567def (A reset) "), "{second}");
    assert_eq!(text.matches("| kernel ").count(), 1, "{text}");
    let (_, versions) = text.split_once("| program ").unwrap();
    let (versions, _) = versions.split_once("\n\n").unwrap();
    let programs: Vec<&str> = versions.lines().skip(2).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(programs, ["burnonce", "systemd-repart", "rsync"]);
    // The order is that of the works, not of the runs.
    let at = |title: &str| text.find(&format!("\n## {title}\n")).unwrap();
    assert!(at("Converting a card") < at("A reset") && at("A reset") < at("A boot with nothing to do"));
}

#[test]
fn a_work_that_two_runs_measured_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let reports = [report(vec![convert()]), report(vec![steady(), convert()])];
    let error = write(&reports, &directory.path().join("page.md")).unwrap_err();
    assert_eq!(error.to_string(), "two works have the name `convert`");
    assert!(names(directory.path()).is_empty());
}
