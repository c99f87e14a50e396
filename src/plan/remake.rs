//! A converted node without an upper that it can use: a new one is made, in a boot where nothing can be lost by it, else where the owner
//! asks for it. And a node that is not converted, where a partition that the owner gives up makes way.

use super::upper::{Upper, make_upper, table_notes};
use super::{MAX_ATTEMPTS, kernel_agrees, notes, plan, said_in_initramfs};
use crate::config::{Config, Truncated};
use crate::filesystem::{Content, Owner, Superblock};
use crate::guard::report::Verdict;
use crate::observation::{Disk, Observation, Place, Root};
use crate::overlay::{Configuration, LABEL};
use crate::refusal::{Refusal, describe};
use crate::step::{Plan, Purpose, Step};
use crate::table::{self, Change, Partition, Table, behind_root};
use crate::units::{Lba, Sectors};

/// What `burnonce repartition` does; with `number`, that partition makes way. A plan of another purpose than [`Purpose::Remake`],
/// [`Purpose::MakeWay`] and [`Purpose::Grow`] says that there is nothing to do for it.
///
/// # Errors
/// A [`Refusal`]: nothing is to be changed.
pub fn repartition(seen: &Observation, config: &Config, number: Option<u32>) -> Result<Plan, Refusal> {
    match (&seen.root, &seen.configuration, number) {
        (Root::Overlay { upper: Some(upper), .. }, Configuration::Complete(_), Some(_)) => {
            Err(Refusal::UpperInUse { device: upper.clone() })
        }
        (Root::Overlay { upper: Some(_), .. }, Configuration::Complete(_), None) => plan(seen, config),
        (_, Configuration::Complete(_), Some(number)) => give_up(seen, config, number),
        (_, Configuration::Complete(_), None) => anew(seen, config, None).map(|anew| anew.plan),
        (_, _, Some(number)) => make_way(seen, config, number),
        (_, _, None) => plan(seen, config),
    }
}

/// What is in the place of the new upper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Old {
    /// Nothing.
    Nothing,
    /// An upper that reaches past the end of the card.
    CutShort,
    /// Another one of ours.
    Ours,
    /// A partition that the owner named.
    Named,
}

struct Anew {
    old: Old,
    plan: Plan,
}

/// The plan of a boot that makes a new upper without asking: where there is none, and where the owner has said so beforehand.
pub(super) fn unasked(seen: &Observation, config: &Config) -> Option<Plan> {
    let looked_for = matches!(seen.overlayroot.guard, Some(Verdict::Memory | Verdict::Lower));
    let begun = seen.disk.as_ref()?.begun;
    if !looked_for || !config.convert || seen.overlay_word().is_some() || begun >= MAX_ATTEMPTS {
        return None;
    }
    let Anew { old, plan } = anew(seen, config, None).ok()?;
    let unasked = match old {
        Old::Nothing => true,
        Old::CutShort => config.repartition.truncated == Truncated::Remake,
        Old::Ours | Old::Named => false,
    };
    unasked.then_some(plan)
}

/// Why a node has no upper that it can use, and what its owner can do, where that is to ask for a new one.
pub(super) fn advice(seen: &Observation, config: &Config) -> Option<(String, String)> {
    const NEW: &str = "run `burnonce repartition`, which makes a new upper";
    let (said, remedy) = said_in_initramfs(seen);
    let why = || said.clone().unwrap_or_else(|| "the upper cannot be used".to_owned());
    let begun = seen.disk.as_ref()?.begun;
    match anew(seen, config, None) {
        Ok(Anew { old: Old::CutShort, plan: Plan { purpose: Purpose::Remake { reasons }, .. } }) => Some((
            reasons.join("; "),
            format!(
                "copy the original onto a card that is as large as its own, or give up what was written and {NEW} that fits"
            ),
        )),
        Ok(Anew { old: Old::Nothing, .. }) if begun >= MAX_ATTEMPTS => Some((
            format!("{}, and {begun} attempts to make a new one were cut off", why()),
            format!("use another card and power supply, or {NEW}"),
        )),
        Ok(Anew { old: Old::Nothing, .. }) => Some((why(), NEW.to_owned())),
        Err(Refusal::SoundUpper { number, .. }) => {
            Some((said?, format!("{}; or give up what was written: `burnonce repartition --use {number}`", remedy?)))
        }
        // What nobody can say is no reason to give anything up. The guard itself may have named the command.
        Ok(Anew { old: Old::Ours, .. }) => {
            let remedy = remedy?;
            let named = remedy.contains("burnonce repartition");
            Some((said?, if named { remedy } else { format!("{remedy}; or give up what was written and {NEW}") }))
        }
        Err(Refusal::NoFreeSpace { .. }) if seen.disk.as_ref()?.cut_short.is_some() => Some((
            format!("{}; the rest of this card has no room for a new upper", why()),
            "copy the original onto a card that is as large as its own".to_owned(),
        )),
        Err(Refusal::ForeignPartition { device, number, what }) if remedy.is_some() => Some((
            why(),
            format!(
                "look at `burnonce plan`: /dev/{device} holds {what}. If that can go, run `burnonce repartition --use {number}`"
            ),
        )),
        _ => None,
    }
}

/// The steps that make a new upper.
fn anew(seen: &Observation, config: &Config, named: Option<u32>) -> Result<Anew, Refusal> {
    let (disk, root, uuid) = converted(seen)?;
    let (whole, mut table) = on_the_card(disk)?;
    kernel_agrees(disk, &table, root)?;
    let (old, gone) = match named {
        Some(number) => (Old::Named, Some(owners_choice(disk, whole, root, number)?)),
        None => find(seen, disk, whole, &table, root)?,
    };
    let mut steps = Vec::new();
    // What the kernel knows of the old one is dealt with when that is taken away.
    let mut without = disk.clone();
    if let Some(partition) = gone {
        let (number, device) = (partition.number, disk.partition_name(partition.number));
        without.kernel.retain(|known| known.number != number);
        if table.partitions.iter().any(|p| p.number == number) {
            table = removed(disk, &table, number)?;
        }
        steps.push(Step::RemovePartition { device, number, what: holds(disk, partition), before: whole.clone() });
    }
    let made = make_upper(&without, &table, config, uuid, disk.begun.saturating_add(1), Upper::None)?;
    let notes = notes(seen).into_iter().chain(table_notes(disk, &table, &made, config)).collect();
    steps.extend(made.steps);
    steps.extend([
        Step::KeepBootFiles { device: made.device.clone() },
        Step::KeepLog { device: made.device },
        Step::Reboot,
    ]);
    let reasons = vec![reason(seen, disk, old, gone)];
    Ok(Anew { old, plan: Plan { purpose: Purpose::Remake { reasons }, steps, notes } })
}

/// Disk, root's partition and the lower's UUID of a node that is converted and whose upper is not in use.
fn converted(seen: &Observation) -> Result<(&Disk, u32, &str), Refusal> {
    let source = || match &seen.lower {
        Place::Partition { name, .. } | Place::WholeDisk { name } | Place::Mapped { name } => name.clone(),
        Place::NoDevice { source } => source.clone(),
    };
    let (Place::Partition { number, uuid, name, .. }, Some(disk)) = (&seen.lower, &seen.disk) else {
        return Err(Refusal::NoDevice { source: source() });
    };
    if uuid.is_empty() {
        return Err(Refusal::RootUnreadable { device: name.clone() });
    }
    if disk.read_only {
        return Err(Refusal::ReadOnlyDisk { disk: disk.name.clone() });
    }
    Ok((disk, *number, uuid))
}

/// The table as it is written, and as much of it as is on the card.
fn on_the_card(disk: &Disk) -> Result<(&Table, Table), Refusal> {
    let defect = match &disk.table {
        Ok(table) => return Ok((table, table.clone())),
        Err(defect) => defect,
    };
    let end = Lba(disk.sectors.0.saturating_sub(1));
    let Some(whole) = &disk.cut_short else {
        return Err(Refusal::Table { disk: disk.name.clone(), defect: defect.clone() });
    };
    let mut table = whole.clone();
    table.last_usable = table.last_usable.min(end);
    table.partitions.retain(|p| p.last() <= end);
    Ok((whole, table))
}

/// What is in the place of the new upper, and the partition that it is.
fn find<'a>(
    seen: &Observation,
    disk: &Disk,
    whole: &'a Table,
    table: &Table,
    root: u32,
) -> Result<(Old, Option<&'a Partition>), Refusal> {
    let ours = others(disk, whole, root, None)?;
    let is_cut = ours.is_some_and(|ours| table.partitions.iter().all(|p| p.number != ours.number));
    Ok(match ours {
        Some(_) if is_cut => (Old::CutShort, ours),
        Some(partition) if can_be_read(disk, partition) => {
            let (device, number) = (disk.partition_name(partition.number), partition.number);
            return Err(Refusal::SoundUpper { device, number, why: said_in_initramfs(seen).0 });
        }
        Some(_) => (Old::Ours, ours),
        None => (Old::Nothing, None),
    })
}

/// Whether files of a partition of ours, which this boot does not run on, can be read: then only its owner gives it up, by its number. That
/// no room is left on it, that it is another image's, or that the guard was not asked, is no reason to.
fn can_be_read(disk: &Disk, partition: &Partition) -> bool {
    match disk.content(partition.number) {
        Content::Ext(Superblock { size, owner: Owner::Ours { .. } | Owner::Files { .. }, .. }) => {
            *size <= partition.sectors.to_bytes(disk.sector_size)
        }
        _ => false,
    }
}

/// The one partition of ours among all but root and the one that goes: none may be somebody else's.
fn others<'a>(disk: &Disk, table: &'a Table, root: u32, goes: Option<u32>) -> Result<Option<&'a Partition>, Refusal> {
    let behind: Vec<u32> = behind_root(table, root).map(|p| p.number).collect();
    let mut found: Option<&Partition> = None;
    for partition in table.partitions.iter().filter(|p| p.number != root && Some(p.number) != goes) {
        let device = disk.partition_name(partition.number);
        match disk.content(partition.number) {
            _ if is_ours(disk, partition) => {
                if let Some(first) = found {
                    return Err(Refusal::TwoUppers { first: disk.partition_name(first.number), second: device });
                }
                found = Some(partition);
            }
            Content::Unreadable { reason } if behind.contains(&partition.number) => {
                return Err(Refusal::UnreadablePartition { device, why: reason.clone() });
            }
            other if behind.contains(&partition.number) => {
                return Err(Refusal::ForeignPartition { device, number: partition.number, what: describe(other) });
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Whether burnonce made it, by its label, its state, or the name in the table; or nothing of it is on this card.
fn is_ours(disk: &Disk, partition: &Partition) -> bool {
    match disk.content(partition.number) {
        Content::Ext(Superblock { label, owner, .. }) => label == LABEL || matches!(owner, Owner::Ours { .. }),
        Content::Blank => partition.name.as_deref() == Some(LABEL),
        _ => partition.start.0 >= disk.sectors.0,
    }
}

/// The partition that the owner has named, where it is one that can go.
fn owners_choice<'a>(disk: &Disk, table: &'a Table, root: u32, number: u32) -> Result<&'a Partition, Refusal> {
    let refuse = |why: &str| Refusal::NotToUse { disk: disk.name.clone(), number, why: why.to_owned() };
    let found = table.partitions.iter().find(|p| p.number == number);
    let found = found.ok_or_else(|| refuse("is not in the partition table"))?;
    if number == root {
        return Err(refuse("is the image's root"));
    }
    let can_go = behind_root(table, root).any(|p| p.number == number) || is_ours(disk, found);
    if can_go { Ok(found) } else { Err(refuse("lies before root, so it belongs to the image (firmware, boot)")) }
}

/// The table without this partition.
fn removed(disk: &Disk, table: &Table, number: u32) -> Result<Table, Refusal> {
    let refuse = |error: anyhow::Error| Refusal::NotToUse {
        disk: disk.name.clone(),
        number,
        why: format!("cannot be taken out of the table: {error:#}"),
    };
    table::change(table, &Change::Remove { number }).map_err(refuse)
}

/// What is lost with a partition, in words.
fn holds(disk: &Disk, partition: &Partition) -> String {
    let length = partition.sectors.to_bytes(disk.sector_size);
    let what = match disk.content(partition.number) {
        _ if partition.start.0 >= disk.sectors.0 => "nothing of it is on this card".to_owned(),
        Content::Ext(Superblock { owner: Owner::Ours { used: true, .. }, .. }) => {
            "the upper, with all that this node has written".to_owned()
        }
        other => describe(other),
    };
    format!("{length}, {what}")
}

/// Why a new one is made, as a sentence.
fn reason(seen: &Observation, disk: &Disk, old: Old, gone: Option<&Partition>) -> String {
    let said = said_in_initramfs(seen).0;
    match (old, gone) {
        (Old::CutShort, Some(partition)) => {
            let missing =
                Sectors(partition.last().0.saturating_add(1).saturating_sub(disk.sectors.0)).to_bytes(disk.sector_size);
            format!(
                "the upper /dev/{} reaches {missing} past the end of the card (/dev/{}, {}): this is a copy of a larger card, cut short",
                disk.partition_name(partition.number),
                disk.name,
                disk.sectors.to_bytes(disk.sector_size)
            )
        }
        (Old::Nothing, _) => format!("the node is converted, but no partition of /dev/{} is its upper", disk.name),
        (_, Some(partition)) => {
            said.unwrap_or_else(|| format!("/dev/{} is not to be used as it is", disk.partition_name(partition.number)))
        }
        (_, None) => said.unwrap_or_else(|| "the upper cannot be used".to_owned()),
    }
}

/// Of a node that is converted, takes the partition away that its owner has named, and makes a new upper in its place; where another
/// upper, or more that is in the way, stays, does only the first. Not where there would be no upper in the end.
fn give_up(seen: &Observation, config: &Config, number: u32) -> Result<Plan, Refusal> {
    let (disk, root, _) = converted(seen)?;
    let (whole, table) = on_the_card(disk)?;
    kernel_agrees(disk, &table, root)?;
    let partition = owners_choice(disk, whole, root, number)?;
    let then = match others(disk, whole, root, Some(number)) {
        Ok(None) => return anew(seen, config, Some(number)).map(|anew| anew.plan),
        Ok(Some(upper)) => {
            format!("the next boot looks for the upper on /dev/{}", disk.partition_name(upper.number))
        }
        Err(next) => {
            let also = in_the_way(disk, &next).ok_or_else(|| next.clone())?;
            give_up(&without(seen, also)?, config, number)?;
            still_in_the_way(&next)
        }
    };
    Ok(way(disk, whole, partition, then, Vec::new()))
}

/// Takes the partition away that keeps a node from being converted. Not where the node would not be converted for all that, be it after
/// more of such partitions are gone.
fn make_way(seen: &Observation, config: &Config, number: u32) -> Result<Plan, Refusal> {
    let (Place::Partition { number: root, .. }, Some(disk)) = (&seen.lower, &seen.disk) else {
        return plan(seen, config);
    };
    let Ok(table) = &disk.table else { return plan(seen, config) };
    let partition = owners_choice(disk, table, *root, number)?;
    let (then, notes) = match plan(&without(seen, number)?, config) {
        Ok(next) if matches!(next.purpose, Purpose::Convert | Purpose::Prepare { .. }) => {
            ("the next boot converts the node".to_owned(), next.notes)
        }
        Ok(next) => return Ok(next),
        Err(next) => {
            let also = in_the_way(disk, &next).ok_or_else(|| next.clone())?;
            let beyond = make_way(&without(seen, also)?, config, number)?;
            if !matches!(beyond.purpose, Purpose::MakeWay { .. }) {
                return Ok(beyond);
            }
            (still_in_the_way(&next), beyond.notes)
        }
    };
    Ok(way(disk, table, partition, then, notes))
}

/// The number of the partition that a refusal is about, where it would be no obstacle if it were gone.
fn in_the_way(disk: &Disk, refusal: &Refusal) -> Option<u32> {
    match refusal {
        Refusal::ForeignPartition { number, .. } | Refusal::UnusableUpper { number, .. } => Some(*number),
        Refusal::TwoUppers { second, .. } => {
            let table = disk.table.as_ref().ok().or(disk.cut_short.as_ref())?;
            table.partitions.iter().map(|p| p.number).find(|number| disk.partition_name(*number) == *second)
        }
        _ => None,
    }
}

/// What would be seen if a partition were gone.
fn without(seen: &Observation, number: u32) -> Result<Observation, Refusal> {
    let mut after = seen.clone();
    if let (Some(disk), Some(before)) = (&mut after.disk, &seen.disk) {
        disk.kernel.retain(|known| known.number != number);
        disk.contents.retain(|held| held.number != number);
        match (&mut disk.table, &mut disk.cut_short) {
            (Ok(table), _) | (_, Some(table)) => *table = removed(before, table, number)?,
            (Err(_), None) => {}
        }
    }
    Ok(after)
}

fn still_in_the_way(next: &Refusal) -> String {
    format!("then there is one more thing in the way: {next}")
}

/// The plan that takes one partition away, and nothing else.
fn way(disk: &Disk, table: &Table, partition: &Partition, then: String, notes: Vec<String>) -> Plan {
    let number = partition.number;
    let device = disk.partition_name(number);
    let remove = Step::RemovePartition { device, number, what: holds(disk, partition), before: table.clone() };
    Plan { purpose: Purpose::MakeWay { then }, steps: vec![remove, Step::Reboot], notes }
}
