//! Every decision, from an [`Observation`] alone: no I/O, no log.

use crate::config::Config;
use crate::guard::report::Verdict;
use crate::observation::{Disk, Observation, Place, Root};
use crate::overlay::{self, Configuration, Counts, Generator};
use crate::refusal::Refusal;
use crate::step::{Plan, Purpose, Step};
use crate::table::{Partition, Table};

mod grow;
mod prepare;
mod remake;
mod upper;

pub use remake::repartition;
use upper::{find_upper, gpt_note, make_upper, table_notes};
pub use upper::{free_regions, place, unclean_upper};

/// Conversions that are begun before burnonce gives up: a panic or a watchdog must not make a reboot loop.
pub const MAX_ATTEMPTS: u32 = 3;
/// What the owner of a converted node should know whose initramfs lost the guard.
const NO_GUARD: &str = "the initramfs that booted has no guard of burnonce: reset and undo are not carried out; \
                        run `burnonce maintain update-initramfs -u -k all` and restart";
/// What that owner can do.
pub const REBUILD: &str = "run `burnonce maintain update-initramfs -u -k all` and restart";

/// What a boot has to do.
///
/// # Errors
/// A [`Refusal`]: the machine is to be left as it is.
pub fn plan(seen: &Observation, config: &Config) -> Result<Plan, Refusal> {
    if seen.cmdline.off {
        return Ok(switched_off(seen, "`burnonce=off` is on the kernel command line"));
    }
    match (&seen.root, &seen.configuration) {
        (Root::Overlay { .. }, Configuration::Complete(_)) => Ok(verify(seen, config)),
        (Root::Plain { .. }, Configuration::Complete(_)) if on_the_image(seen) => Ok(lower(seen, config)),
        (_, Configuration::Complete(_)) => Ok(no_overlay(seen)),
        _ if !config.convert => Ok(switched_off(seen, "`convert: false` is in /etc/burnonce.yaml")),
        (_, Configuration::Foreign { line }) => Err(Refusal::ForeignConfiguration { line: line.clone() }),
        (Root::Overlay { .. } | Root::OtherOverlay, _) => {
            Err(seen.overlay_word().map_or(Refusal::OtherOverlay, |word| Refusal::KernelWord { word }))
        }
        (Root::Plain { fs_type, .. }, Configuration::Absent) => convert(seen, config, fs_type, &Counts::default()),
        (Root::Plain { fs_type, .. }, Configuration::Begun(counts)) => convert(seen, config, fs_type, counts),
    }
}

/// As [`plan`], with the configuration file as it was read. One that cannot be used stops what would need it; it must not keep a boot
/// from making sure of the overlay that it has.
///
/// # Errors
/// As [`plan`]; and the mistake in the file, where the node would be converted.
pub fn decide(seen: &Observation, loaded: &anyhow::Result<Config>) -> Result<Plan, Refusal> {
    let error = match loaded {
        Ok(config) => return plan(seen, config),
        Err(error) => format!("{error:#}"),
    };
    // Nor is a new upper made without knowing how it is to be.
    let default = Config::default();
    let planned = match plan(seen, &default) {
        Ok(Plan { purpose: Purpose::Remake { .. }, .. }) => plan(seen, &Config { convert: false, ..default }),
        other => other,
    };
    match planned {
        Ok(mut plan) if !matches!(plan.purpose, Purpose::Convert | Purpose::Prepare { .. }) => {
            // How far the upper is to grow is not known either.
            if plan.purpose == Purpose::Grow {
                plan = Plan { steps: Vec::new(), ..plan };
                plan.purpose = Purpose::Nothing;
            }
            plan.notes.push(format!("a mistake in the configuration, which changes nothing in this boot: {error}"));
            Ok(plan)
        }
        _ => Err(Refusal::ConfigurationFile { error }),
    }
}

/// What a boot does whose new upper could not be made because of `error`: what it would do if it made none.
pub fn without_a_new_upper(seen: &Observation, config: &Config, error: &anyhow::Error) -> Plan {
    let none = Config { convert: false, ..config.clone() };
    let (mut reasons, steps) = match plan(seen, &none) {
        Ok(Plan { purpose: Purpose::Degraded { reasons, .. }, steps, .. }) => (reasons, steps),
        _ => (Vec::new(), Vec::new()),
    };
    reasons.push(format!("making a new upper failed: {error:#}"));
    let remedy = if seen.disk.as_ref().is_some_and(|disk| disk.begun >= MAX_ATTEMPTS) {
        "use another card; burnonce does not try again by itself, `burnonce repartition` does"
    } else {
        "restart: the next boot tries again; or use another card"
    };
    Plan { steps, ..degraded(reasons, remedy) }
}

fn empty(purpose: Purpose) -> Plan {
    Plan { purpose, steps: Vec::new(), notes: Vec::new() }
}

/// A sealed lower comes up read-only however it is mounted: without an overlay the boot needs it unsealed.
fn switched_off(seen: &Observation, why: &str) -> Plan {
    let mut plan = empty(Purpose::Off { why: why.to_owned() });
    unseal(seen, &mut plan);
    plan
}

/// Unseals the image that this boot runs on.
fn unseal(seen: &Observation, plan: &mut Plan) {
    if let (Root::Plain { .. }, Place::Partition { name, sealed: true, .. }) = (&seen.root, &seen.lower) {
        plan.steps.push(Step::Unseal { device: name.clone() });
        plan.notes.push(
            "what this boot writes goes into the image itself; the next boot into the overlay seals it again"
                .to_owned(),
        );
    }
}

/// Whether this boot runs on the image itself because the guard could not use the upper, and is to do so then.
fn on_the_image(seen: &Observation) -> bool {
    // A word on the kernel command line would have had its way whatever the guard came to.
    seen.overlayroot.guard == Some(Verdict::Lower) && seen.overlay_word().is_none()
}

/// `overlay.on_failure: lower`, and the upper cannot be used: this boot is to write into the image. The next one into the overlay seals
/// it again.
fn lower(seen: &Observation, config: &Config) -> Plan {
    if let Some(plan) = remake::unasked(seen, config) {
        return plan;
    }
    let advice = remake::advice(seen, config).map(|(why, remedy)| (Some(why), Some(remedy)));
    let (why, remedy) = advice.unwrap_or_else(|| said_in_initramfs(seen));
    let why = why.unwrap_or_else(|| "the upper cannot be used".to_owned());
    let reason = format!(
        "this boot runs on the image itself and writes into it, because {why}, and `overlay.on_failure: lower` is set"
    );
    let mut plan = degraded(vec![reason], remedy.as_deref().unwrap_or("restart; if this stays, look at `dmesg`"));
    unseal(seen, &mut plan);
    plan
}

/// An overlay boot: is it the overlay that was configured?
fn verify(seen: &Observation, config: &Config) -> Plan {
    let Root::Overlay { upper, lower_writable, upper_writable } = &seen.root else { return empty(Purpose::Nothing) };
    let Place::Partition { name: lower, sealed, .. } = &seen.lower else {
        let reasons = vec!["the image below the overlay is not on a partition".to_owned()];
        return degraded(reasons, "look at `findmnt` and restart");
    };
    let mut reasons = Vec::new();
    let mut remedies = Vec::new();
    match upper {
        None => {
            if let Some(plan) = remake::unasked(seen, config).filter(|_| !lower_writable) {
                return plan;
            }
            let (why, remedy) = in_memory(seen, config);
            reasons.push(format!("the overlay is in memory, and what is written is lost at power-off: {why}"));
            remedies.push(remedy);
        }
        Some(device) => {
            if !seen.disk.as_ref().is_some_and(|d| d.kernel.iter().any(|p| d.partition_name(p.number) == *device)) {
                reasons.push(format!("the upper /dev/{device} is not on the disk that the image is on"));
                remedies.push("remove the other disk and restart".to_owned());
            }
            if !upper_writable {
                reasons.push(format!(
                    "the upper /dev/{device} takes no writes: its file system has errors, or the card is worn out"
                ));
                remedies
                    .push("restart, so that the file system is checked; if this stays, use another card".to_owned());
            }
        }
    }
    if *lower_writable {
        reasons.push(format!("the image on /dev/{lower} is mounted writable below the overlay"));
        let word = if seen.cmdline.rw { "take `rw` out of cmdline.txt on the boot partition and " } else { "" };
        remedies.push(format!("{word}restart: a sealed image cannot be mounted writable"));
    }
    // The first one is what matters most.
    let mut plan = match remedies.into_iter().next() {
        Some(remedy) => degraded(reasons, &remedy),
        None => empty(Purpose::Nothing),
    };
    if *lower_writable {
        plan.steps.push(Step::MakeReadOnly { directory: overlay::LOWER.to_owned() });
    }
    if !sealed {
        // A power cut between configuration and seal, or a boot with burnonce=off.
        plan.steps.push(Step::Seal { device: lower.clone() });
        if plan.purpose == Purpose::Nothing {
            plan.purpose = Purpose::Seal;
        }
    }
    if let (Purpose::Nothing, Some(device), Some(disk)) = (&plan.purpose, upper, &seen.disk) {
        plan.steps = grow::grow(disk, device, config);
        if let (Some(Step::GrowKernelPartition { .. }), Ok(table)) = (plan.steps.first(), &disk.table) {
            plan.notes.extend(gpt_note(table));
        }
        if !plan.steps.is_empty() {
            plan.purpose = Purpose::Grow;
        }
    }
    plan.notes.extend(seen.overlayroot.guard.is_none().then(|| NO_GUARD.to_owned()));
    plan.notes.extend(twin_notes(seen));
    plan
}

/// Why the overlay is in memory, and what to do.
fn in_memory(seen: &Observation, config: &Config) -> (String, String) {
    if let Some(known) = overridden(seen).or_else(|| remake::advice(seen, config)) {
        return known;
    }
    let (why, remedy) = said_in_initramfs(seen);
    let why = why.or_else(|| log_failure(seen)).unwrap_or_else(|| "the reason is not known".to_owned());
    let otherwise = || format!("restart; if this stays, look at /{} and `dmesg`", seen.overlayroot.generator.log());
    (why, remedy.unwrap_or_else(otherwise))
}

/// A word on the kernel command line is stronger than every file: why, and what to do.
fn overridden(seen: &Observation) -> Option<(String, String)> {
    let word = seen.overlay_word()?;
    let why = format!("`{word}` is on the kernel command line, which overrides burnonce's configuration");
    Some((why, "take it out of cmdline.txt on the boot partition and restart".to_owned()))
}

/// The overlay is configured, and root is not one. No restart: it would not help, and it could be a loop. An image that is not sealed
/// yet is sealed, so that root stays read-only: what is configured to be an overlay is never written.
fn no_overlay(seen: &Observation) -> Plan {
    let (why, remedy) = overridden(seen).unwrap_or_else(|| without_overlay(seen));
    let mut plan = degraded(vec![format!("the overlay is configured, but root is not that overlay: {why}")], &remedy);
    let Root::Plain { writable, .. } = seen.root else { return plan };
    if writable {
        plan.steps.push(Step::MakeReadOnly { directory: "/".to_owned() });
    }
    if let Place::Partition { name, sealed: false, .. } = &seen.lower {
        plan.steps.push(Step::Seal { device: name.clone() });
    }
    plan
}

/// Why the initramfs made no overlay, and what to do.
fn without_overlay(seen: &Observation) -> (String, String) {
    if seen.root == Root::OtherOverlay {
        return (
            "it is an overlay of another make".to_owned(),
            "switch the other one off and restart; `findmnt` shows both".to_owned(),
        );
    }
    let generator = seen.overlayroot.generator;
    let why = match (&seen.overlayroot.log, log_failure(seen)) {
        (None, _) if generator == Generator::Dracut => "the initramfs that booted has nothing of burnonce".to_owned(),
        (None, _) => "the initramfs that booted has no overlayroot".to_owned(),
        (Some(_), Some(failure)) => format!("{} says: {failure}", generator.maker()),
        (Some(_), None) => format!("{}'s log names no reason", generator.maker()),
    };
    let (said, what_to_do) = said_in_initramfs(seen);
    let remedy = if seen.overlayroot.log.is_none() {
        "add `burnonce=off` to cmdline.txt on the boot partition and restart; rebuild the initramfs \
         (`update-initramfs -u -k all`); take the word out and restart"
            .to_owned()
    } else {
        let log = generator.log();
        format!("look at /{log}; `burnonce=off` in cmdline.txt on the boot partition boots the image without burnonce")
    };
    (said.unwrap_or(why), what_to_do.unwrap_or(remedy))
}

/// What the configuration, or the script under it, left in the initramfs: why there is no upper, and what to do. Both go into sentences
/// here, so they lose their full stop and the capital letter of a first word that is one.
fn said_in_initramfs(seen: &Observation) -> (Option<String>, Option<String>) {
    let mut lines = seen.overlayroot.reason.iter().flat_map(|text| text.lines()).map(|line| {
        let line = line.trim().trim_end_matches('.');
        let mut characters = line.chars();
        match (characters.next(), characters.as_str()) {
            (Some(first), rest) if rest.starts_with(|c: char| c.is_lowercase()) => {
                first.to_lowercase().collect::<String>() + rest
            }
            _ => line.to_owned(),
        }
    });
    (lines.next(), lines.next())
}

fn degraded(reasons: Vec<String>, remedy: &str) -> Plan {
    empty(Purpose::Degraded { reasons, remedy: remedy.to_owned() })
}

fn log_failure(seen: &Observation) -> Option<String> {
    seen.overlayroot.log.as_deref().and_then(overlay::failure_in_log)
}

/// A node that is not converted: what makes it an overlay node, or why not.
fn convert(seen: &Observation, config: &Config, fs_type: &str, counts: &Counts) -> Result<Plan, Refusal> {
    if let Some(word) = seen.overlay_word() {
        return Err(Refusal::KernelWord { word });
    }
    let (lower, number, uuid, sealed) = match &seen.lower {
        Place::Partition { name, number, uuid, sealed } => (name, *number, uuid, *sealed),
        Place::WholeDisk { name } => return Err(Refusal::WholeDisk { device: name.clone() }),
        Place::Mapped { name } => return Err(Refusal::Mapped { name: name.clone() }),
        Place::NoDevice { source } => return Err(no_device(source, fs_type)),
    };
    if fs_type != "ext4" {
        return Err(Refusal::RootFilesystem { device: lower.clone(), fs_type: fs_type.to_owned() });
    }
    if uuid.is_empty() {
        return Err(Refusal::RootUnreadable { device: lower.clone() });
    }
    if let Some(device) = &seen.usr {
        return Err(Refusal::SeparateUsr { device: device.clone() });
    }
    let Some(disk) = &seen.disk else { return Err(Refusal::NoDevice { source: lower.clone() }) };
    if disk.read_only {
        return Err(Refusal::ReadOnlyDisk { disk: disk.name.clone() });
    }
    let table = disk.table.as_ref().map_err(|d| Refusal::Table { disk: disk.name.clone(), defect: d.clone() })?;
    kernel_agrees(disk, table, number)?;
    let upper = find_upper(disk, table, number, uuid)?;
    let attempt = counts.attempts.saturating_add(1);
    let made = make_upper(disk, table, config, uuid, attempt, upper)?;
    // A sealed image that no overlay is configured for (one that was read back from a converted card) takes not even a count.
    let mut steps: Vec<Step> = sealed.then(|| Step::Unseal { device: lower.clone() }).into_iter().collect();
    if let Some(prepare) = prepare::prepare(seen, counts)? {
        steps.extend(prepare.steps);
        let notes = notes(seen).into_iter().chain(prepare.notes).collect();
        return Ok(Plan { steps, notes, ..prepare });
    }
    if counts.attempts >= MAX_ATTEMPTS {
        return Err(Refusal::Attempts { attempts: counts.attempts, failure: counts.failure.clone() });
    }
    steps.push(Step::RecordAttempt { attempt });
    let mut notes = notes(seen);
    notes.extend(
        counts.failure.iter().filter(|_| attempt > 1).map(|f| format!("an attempt before this one failed: {f}")),
    );
    notes.extend(table_notes(disk, table, &made, config));
    steps.extend(made.steps);
    steps.extend([
        Step::KeepBootFiles { device: made.device.clone() },
        Step::WriteConfiguration { attempt },
        Step::Seal { device: lower.clone() },
        Step::KeepLog { device: made.device },
        Step::Reboot,
    ]);
    Ok(Plan { purpose: Purpose::Convert, steps, notes })
}

/// Root is on no device of its own. File systems that pool their devices (btrfs) look so too, but name one.
fn no_device(source: &str, fs_type: &str) -> Refusal {
    match source.strip_prefix("/dev/") {
        Some(device) => Refusal::RootFilesystem { device: device.to_owned(), fs_type: fs_type.to_owned() },
        None => Refusal::NoDevice { source: source.to_owned() },
    }
}

/// Writing into a table that is not the one the kernel runs on could put two partitions over each other.
fn kernel_agrees(disk: &Disk, table: &Table, root: u32) -> Result<(), Refusal> {
    let agrees = |entry: &Partition| {
        let known = disk.kernel.iter().find(|k| k.number == entry.number);
        // An entry that the kernel does not have is one that came into the table without it; only root must be known.
        known.map_or(entry.number != root, |k| (k.start, k.sectors) == (entry.start, entry.sectors))
    };
    let stale = table.partitions.iter().find(|entry| !agrees(entry)).map(|entry| entry.number);
    let missing = table.partitions.iter().all(|entry| entry.number != root).then_some(root);
    match stale.or(missing) {
        Some(number) => Err(Refusal::TableChanged { disk: disk.name.clone(), number }),
        None => Ok(()),
    }
}

/// What the owner should know of the kernel command line.
fn notes(seen: &Observation) -> Vec<String> {
    let rw = "the kernel command line has `rw`, so systemd could write to the image before burnonce began; \
              take it out of cmdline.txt when you make the image";
    let ro = "the kernel command line has `ro`, with which some versions of systemd leave the overlay read-only; \
              take it out of cmdline.txt";
    [(seen.cmdline.rw, rw), (seen.cmdline.ro, ro)]
        .into_iter()
        .filter(|(there, _)| *there)
        .map(|(_, note)| note.to_owned())
        .chain(twin_notes(seen))
        .collect()
}

/// A copy of the card beside its original: what is here is settled by root's own disk, but the next boot is the firmware's choice.
fn twin_notes(seen: &Observation) -> impl Iterator<Item = String> {
    let ours = seen.disk.as_ref().map_or("", |disk| disk.name.as_str());
    seen.twins.iter().map(move |twin| {
        format!(
            "/dev/{twin} has the disk id of /dev/{ours}, so one is a copy of the other. This node runs on /dev/{ours}; take the other one \
             out before you restart, for the next boot could begin on either"
        )
    })
}
