//! Golden directories: what `burnonce plan` prints for each machine in `tests/plan/`.
//!
//! A directory has `observation.json` (as `burnonce plan --json` prints it, or its `observation` alone), `config.yaml` where the
//! machine has an `/etc/burnonce.yaml`, `repartition` where what is expected is the plan of `burnonce repartition` and not that of a boot
//! (it holds the number behind `--use`, or nothing), and `plan.expected`: the text, to the byte. `UPDATE_EXPECTED=1 cargo test --test plan` writes
//! `plan.expected` anew; read the difference before it is committed.

use burnonce::config::{self, Config};
use burnonce::filesystem::{Content, Owner};
use burnonce::observation::{Observation, Root};
use burnonce::plan::{decide, repartition, without_a_new_upper};
use burnonce::preview;
use burnonce::refusal::Refusal;
use burnonce::step::{Plan, Purpose, Step};
use burnonce::table::{Defect, Table};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One directory.
struct Case {
    name: String,
    directory: PathBuf,
    seen: Observation,
    loaded: anyhow::Result<Config>,
    /// The partition behind `--use`, where the plan is that of `burnonce repartition`.
    repartition: Option<Option<u32>>,
}

impl Case {
    fn decided(&self) -> Result<Plan, Refusal> {
        match self.repartition {
            None => decide(&self.seen, &self.loaded),
            Some(number) => repartition(&self.seen, self.loaded.as_ref().unwrap(), number),
        }
    }
}

fn cases() -> Vec<Case> {
    let mut directories: Vec<PathBuf> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    directories.sort();
    assert!(directories.len() >= 45, "{} machines only", directories.len());
    directories.into_iter().map(case).collect()
}

fn case(directory: PathBuf) -> Case {
    let name = directory.file_name().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(directory.join("observation.json")).unwrap_or_else(|e| panic!("{name}: {e}"));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    let value = value.get("observation").unwrap_or(&value);
    let seen: Observation = serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(serde_json::to_value(&seen).unwrap(), *value, "{name}: observation.json has something that is not read");
    assert_possible(&name, &seen);
    let loaded = match fs::read_to_string(directory.join("config.yaml")) {
        Ok(text) => config::parse(&text).map_err(anyhow::Error::from),
        Err(_) => Ok(Config::default()),
    };
    let repartition = fs::read_to_string(directory.join("repartition")).ok();
    let repartition = repartition.map(|text| match text.trim() {
        "" => None,
        number => Some(number.parse().unwrap_or_else(|e| panic!("{name}: repartition: {e}"))),
    });
    Case { name, directory, seen, loaded, repartition }
}

/// An observation that no machine gives proves nothing.
fn assert_possible(name: &str, seen: &Observation) {
    let Some(disk) = &seen.disk else { return };
    let Ok(table) = &disk.table else { return };
    assert_eq!(table.sector_size, disk.sector_size, "{name}: sector size");
    assert!(table.last_usable.0 < disk.sectors.0, "{name}: the table reaches past the disk");
    let mut by_start: Vec<_> = table.partitions.iter().collect();
    assert!(by_start.is_sorted_by_key(|p| p.number), "{name}: partitions are listed by slot");
    by_start.sort_by_key(|p| p.start);
    for pair in by_start.windows(2) {
        assert!(pair[0].last() < pair[1].start, "{name}: partitions {} and {}", pair[0].number, pair[1].number);
    }
    assert!(by_start.iter().all(|p| p.start >= table.first_usable && p.last() <= table.last_usable), "{name}");
    for held in &disk.contents {
        assert!(table.partitions.iter().any(|p| p.number == held.number), "{name}: contents of {}", held.number);
        if let Content::Ext(superblock) = &held.content {
            let state = matches!(superblock.owner, Owner::Ours { .. });
            assert!(!state || !superblock.uuid.is_empty(), "{name}");
        }
    }
}

#[test]
fn every_machine_gets_the_plan_that_is_expected() {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut failed = Vec::new();
    for case in cases() {
        let text = match preview::to_text(&case.seen, &case.decided()) {
            Ok(text) => text,
            Err(error) => {
                failed.push(format!("{}: {error:#}", case.name));
                continue;
            }
        };
        let path = case.directory.join("plan.expected");
        if update {
            fs::write(&path, &text).unwrap();
            continue;
        }
        match fs::read_to_string(&path) {
            Ok(expected) if expected == text => {}
            Ok(expected) => failed.push(format!("{}:\n{}", case.name, difference(&expected, &text))),
            Err(error) => failed.push(format!("{}: plan.expected: {error}; the plan is\n{text}", case.name)),
        }
    }
    assert!(failed.is_empty(), "{} of the machines in tests/plan/:\n{}", failed.len(), failed.join("\n"));
}

/// Both texts, line by line: `-` was expected, `+` came.
fn difference(expected: &str, text: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), text.lines().collect());
    let same_start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - same_start;
    let same_end = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let marked = |mark: &'static str, lines: &[&str]| -> Vec<String> {
        lines[same_start..lines.len() - same_end].iter().map(|line| format!("{mark} {line}")).collect()
    };
    let mut lines: Vec<String> = old[..same_start].iter().map(|line| format!("  {line}")).collect();
    lines.extend(marked("-", &old));
    lines.extend(marked("+", &new));
    lines.extend(old[old.len() - same_end..].iter().map(|line| format!("  {line}")));
    lines.join("\n")
}

/// A function that gives the tag which a variant has in JSON, and the list of all tags. The function's match is exhaustive, so a new
/// variant does not compile without its line here, and then needs a machine.
macro_rules! tags {
    ($function:ident, $list:ident of $type:ident: $($variant:ident $tag:literal,)*) => {
        fn $function(value: &$type) -> &'static str {
            match value {
                $($type::$variant { .. } => $tag,)*
            }
        }
        const $list: &[&str] = &[$($tag),*];
    };
}

tags! { kind, KINDS of Refusal:
    ConfigurationFile "configuration-file",
    WholeDisk "whole-disk",
    Mapped "mapped",
    NoDevice "no-device",
    OtherOverlay "other-overlay",
    RootFilesystem "root-filesystem",
    RootUnreadable "root-unreadable",
    SeparateUsr "separate-usr",
    ForeignConfiguration "foreign-configuration",
    KernelWord "kernel-word",
    ReadOnlyDisk "read-only-disk",
    Table "table",
    TableChanged "table-changed",
    ForeignPartition "foreign-partition",
    UnreadablePartition "unreadable-partition",
    TwoUppers "two-uppers",
    UnusableUpper "unusable-upper",
    SoundUpper "sound-upper",
    UpperInUse "upper-in-use",
    NotToUse "not-to-use",
    SlotsTaken "slots-taken",
    NoFreeSpace "no-free-space",
    NoOverlayroot "no-overlayroot",
    NotRebuildable "not-rebuildable",
    RebuiltInVain "rebuilt-in-vain",
    RebuildAttempts "rebuild-attempts",
    PackageAttempts "package-attempts",
    Attempts "attempts",
}

tags! { tag, TAGS of Defect:
    NoTable "no-table",
    ProtectiveWithoutGpt "protective-without-gpt",
    Hybrid "hybrid",
    TornGpt "torn-gpt",
    Extended "extended",
    Overlap "overlap",
    OutOfDisk "out-of-disk",
    Unreadable "unreadable",
    Unsupported "unsupported",
}

#[test]
fn every_refusal_and_every_defect_is_among_the_machines() {
    let refusals: Vec<Refusal> = cases().iter().filter_map(|case| case.decided().err()).collect();
    for refusal in &refusals {
        assert_eq!(serde_json::to_value(refusal).unwrap()["kind"], kind(refusal));
    }
    let kinds: BTreeSet<&str> = refusals.iter().map(kind).collect();
    assert_eq!(kinds, KINDS.iter().copied().collect());
    let defects: Vec<&Defect> = refusals
        .iter()
        .filter_map(|refusal| match refusal {
            Refusal::Table { defect, .. } => Some(defect),
            _ => None,
        })
        .collect();
    for defect in &defects {
        assert_eq!(serde_json::to_value(defect).unwrap()["defect"], tag(defect));
    }
    let tags: BTreeSet<&str> = defects.into_iter().map(tag).collect();
    assert_eq!(tags, TAGS.iter().copied().collect());
}

/// What a reader of a plan relies on, whatever the machine.
#[test]
fn every_text_is_fit_to_be_read() {
    for case in cases() {
        let text = preview::to_text(&case.seen, &case.decided()).unwrap();
        assert!(text.is_ascii(), "{}: a serial console shows ASCII:\n{text}", case.name);
        assert!(!text.contains("..\n") && !text.contains("  \n") && !text.contains(". ."), "{}:\n{text}", case.name);
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{}:\n{text}", case.name);
    }
}

/// A new upper that cannot be made leaves the boot what it would be without: one that runs on the image can write to it.
#[test]
fn a_boot_whose_new_upper_could_not_be_made_goes_on() {
    let error = anyhow::anyhow!("no such luck");
    let mut unsealed = 0;
    for case in cases().iter().filter(|case| case.repartition.is_none()) {
        let (Ok(Plan { purpose: Purpose::Remake { .. }, .. }), Ok(config)) = (case.decided(), &case.loaded) else {
            continue;
        };
        let plan = without_a_new_upper(&case.seen, config, &error);
        let Purpose::Degraded { reasons, .. } = &plan.purpose else { panic!("{}: {plan}", case.name) };
        assert_eq!(reasons.len(), 2, "{}: {plan}", case.name);
        assert!(reasons[1].contains("no such luck"), "{}: {plan}", case.name);
        let plain = matches!(case.seen.root, Root::Plain { .. });
        assert_eq!(plan.steps.iter().any(|step| matches!(step, Step::Unseal { .. })), plain, "{}: {plan}", case.name);
        unsealed += usize::from(plain);
    }
    assert!(unsealed > 0, "no machine with `overlay.on_failure: lower` is among them");
}

/// Only what changes the table may make one that its check accepts.
#[test]
fn no_plan_makes_a_table_that_is_refused() {
    for case in cases() {
        let table: Option<&Table> = case.seen.disk.as_ref().and_then(|d| d.table.as_ref().ok());
        let (Ok(plan), Some(table)) = (case.decided(), table) else { continue };
        let after = plan.table_after(table).unwrap_or_else(|e| panic!("{}: {e:#}", case.name));
        let changes = plan.steps.iter().any(|s| matches!(s, Step::RemovePartition { .. } | Step::PublishTable { .. }));
        // An upper that is made anew may come to lie where the old one did.
        let replaced = matches!(plan.purpose, Purpose::Remake { .. });
        assert!((after != *table) == changes || (changes && replaced), "{}", case.name);
    }
}
