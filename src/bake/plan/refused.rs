//! What keeps an image from being baked, and what would keep a baked one from converting. Pure.

use super::edited::Edited;
use super::extras::{self, Said};
use super::{Edit, Image, Request, WIDTH};
use crate::inspect::cloud;
use crate::inspect::growers::{FIRST_BOOT, State};
use crate::inspect::obstacles::{self, Obstacle, Who};
use crate::inspect::system::{Convert, Distribution, Unit, unit};
use crate::inspect::{Findings, Inspection, look};
use crate::output::escaped;
use crate::overlay::Configuration;
use crate::text::paragraph;
use crate::user_data;
use anyhow::Result;
use std::fmt;

/// Why an image is not baked.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal(pub Vec<Obstacle>);

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this image is not baked, and nothing was written:")?;
        for (number, Obstacle { found, remedy, .. }) in (1..).zip(&self.0) {
            for (mark, text) in [(format!("{number:>3}. "), found), ("     > ".to_owned(), remedy)] {
                write!(f, "\n{}", paragraph(&mark, &escaped(text), WIDTH))?;
            }
        }
        Ok(())
    }
}

/// Whether an image can be baked at all, whatever packages there are.
///
/// # Errors
/// It cannot: a [`Refusal`]; something of the image cannot be read.
pub fn check(image: &Image, request: &Request) -> Result<()> {
    refuse(in_the_way(image, request)?)
}

/// Whether an image that these edits are made in is one that converts: it is looked at as it will be.
///
/// # Errors
/// It is not: a [`Refusal`]; something of the image cannot be read.
pub fn check_edited<'e>(
    image: &Image<'e>,
    request: &Request,
    edits: impl Iterator<Item = &'e Edit> + Clone,
) -> Result<()> {
    let root = Edited::root(image.root, edits.clone())?;
    let boot = image.boot.map(|boot| Edited::boot(boot, edits)).transpose()?;
    let number = image.seen.findings.boot.as_ref().map(|boot| boot.partition);
    let boot = number.zip(boot.as_ref()).map(|(number, tree)| (number, tree as _));
    let findings: Findings = look((image.seen.root.partition, &root), boot, &image.seen.partitions)?;
    let mut after = Inspection { findings, ..image.seen.clone() };
    // The journal is replayed before anything is edited.
    after.root.clean = true;
    let found = obstacles::of(&after).into_iter().filter(|obstacle| obstacle.who != Who::Unknown);
    let convert = obstacles::convert(&after.findings.system.burnonce);
    refuse(found.map(|obstacle| of_given(obstacle, request, convert.as_ref())).collect())
}

/// What is wrong in a file that was given is put right there, and not in the image. `convert` is the obstacle in the configuration.
fn of_given(mut obstacle: Obstacle, request: &Request, convert: Option<&Obstacle>) -> Obstacle {
    if request.config.is_some() && Some(&obstacle) == convert {
        obstacle.found = "`convert: false` is in the configuration that is given: no boot converts".to_owned();
        obstacle.remedy = "take that line out of the file that --config names".to_owned();
    } else if request.seed.iter().any(|(name, _)| *name == user_data::NAME) {
        obstacle.remedy = obstacle.remedy.replace(cloud::USER_DATA, "the user-data that is given");
    }
    obstacle
}

fn refuse(found: Vec<Obstacle>) -> Result<()> {
    if found.is_empty() { Ok(()) } else { Err(Refusal(found).into()) }
}

fn owner(found: impl Into<String>, remedy: impl Into<String>) -> Obstacle {
    Obstacle { found: found.into(), remedy: remedy.into(), who: Who::Owner }
}

/// What stands in the way that is not taken out of it here.
fn in_the_way(image: &Image, request: &Request) -> Result<Vec<Obstacle>> {
    let mut seen = image.seen.clone();
    if request.config.is_some() {
        // It takes the place of the one that is there.
        seen.findings.system.burnonce.convert = Convert::On;
    }
    let mut found: Vec<Obstacle> =
        obstacles::of(&seen).into_iter().filter(|obstacle| obstacle.who == Who::Owner).collect();
    // Where the configuration is complete it is among the others; else a conversion would unseal it, and an edit needs it unsealed.
    if seen.root.sealed && !matches!(seen.findings.system.burnonce.configuration, Configuration::Complete(_)) {
        found.push(owner(
            "the root file system is sealed: no kernel mounts it for writing",
            "run `tune2fs -O ^read-only` on a copy of it, or begin with the image as it was published",
        ));
    }
    if unit(image.root, "burnonce.service")? == Unit::Masked {
        found.push(owner(
            "burnonce.service is masked: somebody does not want it to run",
            "remove the link /etc/systemd/system/burnonce.service from the root partition",
        ));
    }
    let system = &seen.findings.system;
    if system.distribution == Distribution::Other && request.distribution.is_none() {
        let name = if system.name.is_empty() { "it does not say what system it is" } else { system.name.as_str() };
        found.push(owner(
            format!("this is none of the distributions that bake knows ({name}): how its root is kept from growing is not known"),
            "name the one that it is made like by --distribution, if you are sure of it",
        ));
    }
    found.extend(first_boot(image)?);
    found.extend(seed(image, request));
    if system.has_cloud_init() {
        found.extend(extras::in_the_way(&Said::of(image, request)?, request));
    }
    Ok(found)
}

/// What only Raspberry Pi OS' first boot applies, and that is taken out.
fn first_boot(image: &Image) -> Result<Option<Obstacle>> {
    let findings = &image.seen.findings;
    let is_taken_out = findings.growers.iter().any(|grower| grower.name == FIRST_BOOT && grower.state == State::Armed);
    let has_file = match image.boot {
        Some(boot) => boot.has("custom.toml")?,
        None => false,
    };
    Ok((is_taken_out && has_file).then(|| {
        owner(
            "custom.toml is on the boot partition, and what applies it is the first boot that also grows root, which is taken out",
            "take that file away, and set up user, network and SSH by userconf.txt, wpa_supplicant.conf and ssh, or by --ssh-key",
        )
    }))
}

fn seed(image: &Image, request: &Request) -> Option<Obstacle> {
    if request.seed.is_empty() {
        return None;
    }
    let files = request.seed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and ");
    if image.boot.is_none() {
        return Some(owner(format!("there is no boot partition for {files}"), "leave them out"));
    }
    match &image.seen.findings.system.cloud_init {
        None => {
            let remedy = "leave them out, or use an image with cloud-init in it";
            Some(owner(format!("cloud-init, which reads {files}, is not in the image"), remedy))
        }
        Some(cloud_init) if cloud_init.disabled => {
            let remedy = "take `cloud-init=disabled` out of the kernel command line and /etc/cloud/cloud-init.disabled out of the root \
                          partition, or leave them out";
            Some(owner(format!("cloud-init, which reads {files}, is switched off in the image"), remedy))
        }
        Some(_) => None,
    }
}
