//! `burnonce bake`: burnonce is put into a stock image, on any workstation, without root, mounts or loop devices.
//!
//! The image is copied into a file that has no name yet, or unpacked there. [`crate::inspect`] looks at it, [`request`] reads what is to
//! be put in, and [`plan`] decides; [`apply`] edits the copy: by [`root`] the ext4 that root is on, by [`boot`] the FAT of the boot
//! partition. The copy is checked, looked at once more, and gets its name by [`output`] when it is whole and not before; [`packing`]
//! packs it.
//!
//! What is edited is a copy. An editing that fails leaves a damaged file system behind, and the copy is thrown away.

mod apply;
pub mod boot;
#[cfg(target_os = "linux")]
mod card;
pub mod check;
mod full;
pub mod output;
pub mod package;
pub mod packing;
pub mod plan;
mod possible;
mod programs;
mod progress;
mod request;
pub mod room;
pub mod root;
mod target;
mod unmounted;

#[cfg(test)]
mod made;

use crate::Exit;
use crate::inspect::obstacles::Who;
use crate::inspect::source::{self, Named, Source};
use crate::inspect::system::Distribution;
use crate::inspect::{self, Inspection, Packing};
use crate::output::{escaped, print, tell};
use crate::question::Refused;
use crate::table::Scheme;
use crate::units::Bytes;
use anyhow::{Context, Result, anyhow, bail};
use check::Checked;
use output::Output;
use plan::{Edit, Image, Plan, Refusal, Request};
use progress::Progress;
use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// The variable that gives the time of all that is written (reproducible-builds.org), so that an image can be made twice the same.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// What is to be baked, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The stock image: a file, or a card.
    pub image: PathBuf,
    /// Where the result goes.
    pub output: Option<PathBuf>,
    /// The result takes the place of the image.
    pub in_place: bool,
    /// Only say what would be done.
    pub plan: bool,
    /// Packages, and directories with packages.
    pub debs: Vec<PathBuf>,
    /// What becomes `/etc/burnonce.yaml`.
    pub config: Option<PathBuf>,
    pub user_data: Option<PathBuf>,
    pub network_config: Option<PathBuf>,
    pub meta_data: Option<PathBuf>,
    /// Files with public keys.
    pub ssh_keys: Vec<PathBuf>,
    pub hostname_from_serial: bool,
    /// How much longer the root becomes.
    pub grow: Option<Bytes>,
    /// What an image is that does not tell.
    pub distribution: Option<Distribution>,
    /// Do not ask before a file is replaced.
    pub yes: bool,
}

impl From<crate::cli::Bake> for Options {
    fn from(given: crate::cli::Bake) -> Options {
        Options {
            image: given.image,
            output: given.output,
            in_place: given.in_place,
            plan: given.plan,
            debs: given.debs,
            config: given.config,
            user_data: given.user_data,
            network_config: given.network_config,
            meta_data: given.meta_data,
            ssh_keys: given.ssh_keys,
            hostname_from_serial: given.hostname_from.is_some(),
            grow: given.grow,
            distribution: given.distribution.map(|name| match name {
                crate::cli::Distribution::Ubuntu => Distribution::Ubuntu,
                crate::cli::Distribution::RaspberryPiOs => Distribution::RaspberryPiOs,
                crate::cli::Distribution::Debian => Distribution::Debian,
                crate::cli::Distribution::Armbian => Distribution::Armbian,
            }),
            yes: given.yes,
        }
    }
}

/// Bakes an image.
///
/// # Errors
/// The image is none, or is damaged; what is to be put in is wrong or missing; there is no room. Nothing is left behind then.
pub fn run(options: &Options) -> Result<Exit> {
    if let Some(time) = given_time(std::env::var_os(EPOCH))? {
        // Before there are any threads, which packing and unpacking have.
        programs::set_time_of_e2fsprogs(time);
    }
    let done = if options.plan { show(options) } else { bake(options) };
    match done {
        Ok(()) => Ok(Exit::Done),
        Err(error) if error.is::<Refused>() => Refused::to_exit(Err(error)),
        Err(error) => match error.downcast::<Refusal>() {
            Ok(refusal) => {
                tell(format_args!("{}: {refusal}", escaped(&options.image)));
                Ok(Exit::Refused)
            }
            // A name in a damaged image can hold anything, and becomes part of the message.
            Err(error) => {
                let lines: Vec<String> = format!("{error:#}").lines().map(escaped).collect();
                Err(anyhow!("{}", lines.join("\n")))
            }
        },
    }
}

/// Prints what would be done.
fn show(options: &Options) -> Result<()> {
    let mut request = request::read(options)?;
    let (_, _alone) = open(options)?;
    let source = source::open(&options.image)?;
    let seen = inspect::of_source(&options.image, &source)?;
    let plan = decide(options, &mut request, &source, &seen)?;
    print(format_args!("{}\n{plan}", seen.heading()));
    if !seen.root.clean {
        print(
            "Note: the root file system was not unmounted. Its journal is replayed before anything else, and what is planned then can differ.\n",
        );
    }
    if unmounted::boot(&source.file, &seen)?.is_some() {
        print(
            "Note: the boot partition was not unmounted. It is checked before anything else, and not baked if it is damaged.\n",
        );
    }
    Ok(())
}

/// Opens the image: a file, or a card that nothing uses, nor will as long as the second descriptor is open.
fn open(options: &Options) -> Result<(Named, Option<File>)> {
    let named = Named::open(&options.image)?;
    #[cfg(target_os = "linux")]
    if named.is_device {
        let alone = card::need_unused(std::path::Path::new("/"), &options.image, &named.file)
            .with_context(|| format!("{}", options.image.display()))?;
        return Ok((named, Some(alone)));
    }
    Ok((named, None))
}

/// What is to be done to an image, with how much longer it has to become for that.
fn decide(options: &Options, request: &mut Request, source: &Source, seen: &Inspection) -> Result<Plan> {
    let (root, fat) = inspect::trees(source, seen)?;
    let image = Image { seen, root: &root, boot: fat.as_ref().map(|fat| fat as _) };
    // Before packages are asked for that would not help.
    plan::check(&image, request)?;
    request::packages(options, seen, &root, request)?;
    let mut plan = plan::plan(&image, request)?;
    let files: Vec<Bytes> = plan.edits().filter_map(length).collect();
    if !files.is_empty() {
        let unpacked = request.packages.iter().fold(0, |all, package| package.unpacked.0.saturating_add(all));
        let needed = room::needed(root.room(), &files, Bytes(unpacked));
        let asked = plan.grow.unwrap_or_default();
        let grow = needed.bytes.max(asked);
        plan.grow = (grow > Bytes(0)).then_some(grow);
        plan.grows_for_inodes = needed.for_inodes && needed.bytes > asked;
    }
    possible::check(source, seen, &plan)?;
    Ok(plan)
}

/// How much an edit writes into the root.
fn length(edit: &Edit) -> Option<Bytes> {
    match edit {
        Edit::File { content, .. } => Some(Bytes(content.len() as u64)),
        Edit::Directory { .. } | Edit::Link { .. } => Some(Bytes(1)),
        Edit::Remove { .. } | Edit::Boot { .. } | Edit::Append { .. } => None,
    }
}

fn bake(options: &Options) -> Result<()> {
    let (named, alone) = open(options)?;
    let target = &target::of(options, &named)?;
    let mut request = request::read(options)?;
    let mut length = named.length;
    if named.packing == Packing::None {
        // What is refused, is refused before all of it is copied.
        let source = Source { file: named.file.try_clone()?, length: named.length, packing: Packing::None };
        let seen = inspect::of_source(&options.image, &source)?;
        let plan = decide(options, &mut request, &source, &seen)?;
        let is_in_order = seen.root.clean && unmounted::boot(&source.file, &seen)?.is_none();
        if plan.is_empty() && is_in_order && options.in_place {
            print(format_args!("{}\n{plan}", seen.heading()));
            return Ok(());
        }
        if named.is_device {
            length = used(&seen);
        }
    }
    target::ask(options, target)?;
    let mut output = Output::create(target)?;
    let mut source = copy(&named, length, &mut output)?;
    drop(alone);
    let (seen, mended) = in_order(options, &source)?;
    if mended {
        // The list of what is installed may be another one now.
        (request.packages, request.agent) = (Vec::new(), Vec::new());
    }
    let plan = decide(options, &mut request, &source, &seen)?;
    print(format_args!("{}\n{plan}", seen.heading()));
    if plan.is_empty() && !mended && options.in_place {
        return Ok(());
    }
    let edited = edit(&mut source, seen, &plan).map_err(|error| told(options, &output, error))?;
    output.look(|| sound(options, &source, &edited))?;
    if output.packing() != Packing::None {
        let packing = Progress::new(&format!("packing {}", escaped(target)), source.length);
        output.fill(&source.file, source.length.0, &|bytes| packing.add(bytes))?;
    }
    output.publish()?;
    print(target::finish(target, source.length));
    Ok(())
}

/// How much of a card is its image: what is free behind the last partition is not burned to another one. A GPT has its backup at the end.
fn used(seen: &Inspection) -> Bytes {
    let table = &seen.table;
    let ends = table.partitions.iter().map(|partition| {
        let (start, length) = inspect::partition::extent(table, partition);
        start.saturating_add(length)
    });
    match table.scheme {
        Scheme::Mbr { .. } => Bytes(ends.max().unwrap_or(0)).min(seen.length),
        Scheme::Gpt { .. } => seen.length,
    }
}

/// A copy of the image that can be edited, not packed: in the output itself, or else in a file beside it.
fn copy(named: &Named, length: Bytes, output: &mut Output) -> Result<Source> {
    let file = match output.packing() {
        Packing::None => output.file().try_clone().context("opening the output twice")?,
        _ => output.beside()?,
    };
    let shown = escaped(named.path());
    let length = if named.packing == Packing::None {
        let progress = Progress::new(&format!("copying {shown}"), length);
        let copied = packing::copy(&named.file, 0..length.0, &file, &|bytes| progress.add(bytes));
        copied.map_err(|failure| output.told(failure))?;
        length
    } else {
        let progress = Progress::new(&format!("unpacking {shown}"), named.length);
        named.unpack(&file, &|bytes| progress.add(bytes), |error| output.failed(error))?
    };
    Ok(Source { file, length, packing: named.packing })
}

/// Puts in order what was not unmounted, and looks at the image; and says whether there was anything: the journal of the root is replayed,
/// and the boot partition checked.
fn in_order(options: &Options, source: &Source) -> Result<(Inspection, bool)> {
    let seen = inspect::of_source(&options.image, source)?;
    let replayed = !(seen.root.clean || seen.root.errors);
    if replayed {
        let (start, _) = apply::place(&seen, seen.root.partition)?;
        check::repair(&check::path_for_programs(&source.file)?, start)?;
        tell("the root file system of the image was not unmounted: its journal was replayed");
    }
    let boot = unmounted::boot(&source.file, &seen)?;
    if let Some(place) = boot {
        unmounted::mend(&source.file, &options.image.display().to_string(), place)?;
        tell(
            "the boot partition of the image was not unmounted: nothing else is wrong with it, and that mark was taken away",
        );
    }
    let mended = replayed || boot.is_some();
    Ok((if mended { inspect::of_source(&options.image, source)? } else { seen }, mended))
}

/// Carries the plan out on the copy. The place of its root can be another one then.
fn edit(source: &mut Source, mut seen: Inspection, plan: &Plan) -> Result<Inspection> {
    if let Some(by) = plan.grow {
        seen.table =
            room::grow(&source.file, &check::path_for_programs(&source.file)?, &seen.table, seen.root.partition, by)?;
        source.length = Bytes(source.file.metadata().context("looking at the copy")?.len());
    }
    apply::apply(&source.file, &seen, plan, now()?)?;
    Ok(seen)
}

/// What it means that the copy cannot be edited: where there is no room for it any more, nothing is wrong with the image.
fn told(options: &Options, output: &Output, error: anyhow::Error) -> anyhow::Error {
    match full::error(&error) {
        Some(full) => output.failed(full),
        None => error
            .context(format!("{} cannot be edited; where it is damaged, download it again", options.image.display())),
    }
}

/// Makes sure of what came of it, also where nothing was to be done: what is given out as ready is sound.
fn sound(options: &Options, source: &Source, seen: &Inspection) -> Result<()> {
    checked(&source.file, seen)?;
    let after = inspect::of_source(&options.image, source).context("looking at what was made")?;
    match after.obstacles.iter().find(|obstacle| obstacle.who != Who::Unknown) {
        Some(left) => bail!(
            "what was made is not as it should be, and was thrown away: {}. This is a mistake of burnonce; please report it",
            left.found
        ),
        None => Ok(()),
    }
}

/// Has both file systems checked, where the programs for that are there.
fn checked(file: &File, seen: &Inspection) -> Result<()> {
    let (start, _) = apply::place(seen, seen.root.partition)?;
    let mut done = vec![check::check(&check::path_for_programs(file)?, start)?];
    if let Some(boot) = seen.findings.boot.as_ref().filter(|boot| boot.partition != seen.root.partition) {
        let (start, length) = apply::place(seen, boot.partition)?;
        done.push(check::check_fat(file, start, length)?);
    }
    for one in done {
        if let Checked::LeftOut(program) = one {
            tell(format_args!("note: {program} is not installed, so what was written was not checked by it"));
        }
    }
    Ok(())
}

/// The time that goes into what is written.
fn now() -> Result<u64> {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(given_time(std::env::var_os(EPOCH))?.unwrap_or_else(clock))
}

/// What [`EPOCH`] says, where it is set: in seconds since 1970. Pure.
fn given_time(value: Option<OsString>) -> Result<Option<u64>> {
    let Some(value) = value else { return Ok(None) };
    let number = value.to_str().and_then(|text| text.parse().ok());
    let number = number.with_context(|| {
        format!(
            "{EPOCH} is `{}`, and has to be a number, of seconds since 1970, or what is written would differ with each run; \
             set it right, or unset it",
            escaped(&value)
        )
    });
    number.map(Some)
}
