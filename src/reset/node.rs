//! A node on which a reset or an undo can be asked for, and what the two commands have in common.

use crate::boot_partition::{self, Boot};
use crate::observation::{Disk, Observation, Place, Root};
use crate::output::tell;
use crate::overlay::{self, Configuration};
use crate::question::{confirm, need_terminal, refuse};
use crate::state::{Kind, Request, State, Trigger};
use crate::upper::Upper;
use crate::{Exit, command::Program, config, files, kernel, maintain, observe, request, time};
use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::{Path, PathBuf};

/// A node that runs on burnonce's overlay with the upper on its card.
pub(crate) struct Node {
    root: PathBuf,
    disk: Disk,
    lower: Place,
    pub(crate) upper: Upper,
    pub(crate) state: State,
}

impl Node {
    /// The node whose root is at `root`.
    ///
    /// # Errors
    /// [`crate::question::Refused`]: it does not run so, its upper takes no writes, or `maintain` is at work.
    pub(crate) fn of(root: &Path) -> Result<Node> {
        if maintain::is_at_work(root) {
            return Err(refuse(maintain::AT_WORK));
        }
        let node = Node::seen(root)?;
        if !node.1 {
            return Err(refuse("the upper takes no writes: restart, so that it is checked, and see `burnonce status`"));
        }
        Ok(node.0)
    }

    /// The node whose root is at `root`, only to be looked at.
    ///
    /// # Errors
    /// [`crate::question::Refused`]: it does not run on its upper.
    pub(crate) fn to_look_at(root: &Path) -> Result<Node> {
        Node::seen(root).map(|(node, _)| node)
    }

    /// The node, and whether its upper takes writes.
    fn seen(root: &Path) -> Result<(Node, bool)> {
        let (_, config) = config::of(root);
        let seen = observe::observe(root, &config)?;
        let writable = on_the_card(&seen).map_err(refuse)?;
        let Observation { disk, lower, .. } = seen;
        let disk = disk.ok_or_else(|| refuse("the disk of root is not known"))?;
        let upper = Upper::at(files::below(root, overlay::UPPER));
        let state = upper.state()?;
        Ok((Node { root: root.to_owned(), disk, lower, upper, state }, writable))
    }

    /// Makes sure that one of `trees` has the modules of the kernel that boots next.
    ///
    /// # Errors
    /// [`crate::question::Refused`]: none has.
    pub(crate) fn check_kernel(&self, trees: &[&Path]) -> Result<()> {
        let running = kernel::running(&self.root)?;
        let check = |boot: Option<&Path>| kernel::check(boot, trees, &running).map_err(refuse);
        let looked =
            boot_partition::with(&self.root, &self.disk, &self.lower, |boot| Ok(check(Some(boot.directory()))));
        looked.unwrap_or_else(|error| {
            log::debug!("{error:#}");
            check(None)
        })
    }

    /// Runs `work` on the boot partition.
    ///
    /// # Errors
    /// There is none; those of `work`.
    pub(crate) fn with_boot<T>(&self, work: impl FnOnce(&Boot) -> Result<T>) -> Result<T> {
        boot_partition::with(&self.root, &self.disk, &self.lower, work)
    }

    /// How full the upper is.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub(crate) fn percent_used(&self) -> Result<u64> {
        let root = self.upper.root();
        let numbers = statvfs(root).with_context(|| format!("looking at {}", root.display()))?;
        let used = numbers.blocks().saturating_sub(numbers.blocks_free());
        Ok((used * 100).checked_div(numbers.blocks()).unwrap_or(0))
    }

    /// Asks the one at the terminal.
    ///
    /// # Errors
    /// [`crate::question::Refused`]: there is nobody, or the answer is not yes.
    pub(crate) fn ask(&self, question: &str) -> Result<()> {
        let pending = self.state.request.as_ref().map_or(String::new(), |pending| {
            format!("This takes the place of the {} that is pending.\n", pending.kind)
        });
        need_terminal()?;
        confirm(&format!("{question}{pending}"))
    }

    /// Records what the guard is to do at the next boot.
    ///
    /// # Errors
    /// The upper takes no writes.
    pub(crate) fn request(&self, kind: Kind, keep: Vec<String>) -> Result<()> {
        if let Some(pending) = &self.state.request {
            tell(format_args!("the {} that was pending is not carried out: this takes its place", pending.kind));
        }
        let path = self.root.join("proc/sys/kernel/random/uuid");
        let id = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let id = id.trim().to_owned();
        request::record(&self.upper, Request { id, kind, by: Trigger::Command, at: time::now(), keep })
            .context("the request could not be recorded, and nothing is going to happen")
    }

    /// Restarts, in order: what runs gets its time to stop. Or leaves that to the owner.
    ///
    /// # Errors
    /// systemd could not be told.
    pub(crate) fn restart(&self, no_reboot: bool) -> Result<Exit> {
        if no_reboot {
            tell("recorded; the next boot carries it out");
            return Ok(Exit::Done);
        }
        tell("recorded; restarting to carry it out");
        Program::new("systemctl")
            .arg("reboot")
            .run()
            .context("restart this node yourself: the next boot carries it out")?;
        Ok(Exit::Done)
    }
}

/// Makes sure that the node runs on burnonce's overlay with the upper on the card; whether that takes writes.
fn on_the_card(seen: &Observation) -> Result<bool, String> {
    let why = match (&seen.root, &seen.configuration) {
        (Root::Overlay { upper: Some(_), upper_writable, .. }, Configuration::Complete(_)) => {
            return Ok(*upper_writable);
        }
        (Root::Overlay { upper: None, .. }, Configuration::Complete(_)) => {
            let reason = seen.overlayroot.reason.as_deref().and_then(|text| text.lines().next());
            let reason = reason.unwrap_or("the upper could not be used").trim_end_matches('.');
            return Err(format!(
                "this boot runs on memory: {reason}. What is written now is lost at power-off; `burnonce status` says what to do"
            ));
        }
        (Root::Plain { .. }, Configuration::Complete(_)) => {
            "root is the image itself in this boot; take `burnonce=off` out of cmdline.txt on the boot partition, where it is, and restart"
        }
        (Root::Plain { .. }, _) => {
            "this node has no overlay, so there is nothing to go back from; `burnonce status` says why"
        }
        _ => "this overlay was not configured by burnonce",
    };
    Err(why.to_owned())
}
