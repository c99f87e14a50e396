//! `burnonce reset`: checks, asks, records the request and restarts. The guard carries it out, while nothing has the upper mounted.
//!
//! Nothing is changed before all checks are done. What they find is said as a refusal: the node is as it was.

use crate::config::{self, pattern};
use crate::files;
use crate::keep::{self, Survey};
use crate::output::{escaped, print, tell};
use crate::question::{Refused, need_terminal, refuse};
use crate::state::Kind;
use crate::{Exit, overlay, time, user_data};
use anyhow::{Context, Result};
use node::Node;
use std::fmt::Write;
use std::path::{Path, PathBuf};

pub(crate) mod node;
mod preview;

/// What was asked for on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Paths and globs beside those of the configuration.
    pub keep: Vec<String>,
    /// What becomes the user-data on the boot partition.
    pub user_data: Option<PathBuf>,
    /// Show what would be kept and what lost, and change nothing.
    pub preview: bool,
    /// Leave it to the next boot.
    pub no_reboot: bool,
    /// Do not ask.
    pub yes: bool,
}

/// Resets the node whose root is at `root`.
///
/// # Errors
/// Something that must work did not; where the node does not allow a reset, that is [`Exit::Refused`], with the reason on standard error.
pub fn run(root: &Path, options: &Options) -> Result<Exit> {
    Refused::to_exit(reset(root, options))
}

fn reset(root: &Path, options: &Options) -> Result<Exit> {
    let node = Node::of(root)?;
    let config = config::load(&files::below(root, config::PATH)).map_err(|error| {
        refuse(format!("{error:#}; what `reset.keep` is to keep cannot be known before that is corrected"))
    })?;
    let keep = patterns(&config.reset.keep, &options.keep)?;
    let user_data = options.user_data.as_deref().map(|path| user_data::read(path).map_err(refuse)).transpose()?;
    let agreed = node.check_kernel(&[&files::below(root, overlay::LOWER)]);
    if options.preview {
        let survey = keep::survey(&node.upper.overlay(), &keep)?;
        print(preview::text(&survey, node.state.began));
        if let Err(error) = agreed {
            tell(format_args!("a reset would be refused: {error:#}"));
        }
        return Ok(Exit::Done);
    }
    agreed?;
    if user_data.is_some() {
        // Found out before anybody is asked.
        node.with_boot(|_| Ok(())).map_err(refuse)?;
    }
    if !options.yes {
        need_terminal()?;
        let survey = keep::survey(&node.upper.overlay(), &keep);
        let question = Question {
            survey,
            keep: &keep,
            began: node.state.began,
            generations: config.reset.generations,
            percent: node.percent_used()?,
            user_data: options.user_data.as_deref(),
        };
        node.ask(&question.text())?;
    }
    let new_user_data = user_data.is_some();
    if let Some(text) = user_data {
        node.with_boot(|boot| {
            boot.make_writable()?;
            user_data::put(boot.directory(), &text).map(drop)
        })
        .context("nothing was reset")?;
    }
    let requested = node.request(Kind::Reset, keep);
    if new_user_data {
        requested
            .context("the new user-data is on the boot partition already, the old one beside it as user-data.bak")?;
    } else {
        requested?;
    }
    node.restart(options.no_reboot)
}

/// The patterns of the configuration and those of the command line, each once.
fn patterns(configured: &[String], asked: &[String]) -> Result<Vec<String>> {
    let mut all = configured.to_vec();
    for text in asked {
        let pattern = pattern(text).map_err(|why| refuse(format!("--keep: {why}")))?;
        if !all.contains(&pattern) {
            all.push(pattern);
        }
    }
    Ok(all)
}

/// What the owner is asked.
struct Question<'a> {
    survey: Result<Survey>,
    keep: &'a [String],
    /// When the present generation began, seconds since 1970.
    began: u64,
    /// How many generations are kept.
    generations: u32,
    /// How full the upper is.
    percent: u64,
    user_data: Option<&'a Path>,
}

/// From here on generations are deleted that could still be kept.
const NEARLY_FULL: u64 = 80;

impl Question<'_> {
    fn text(&self) -> String {
        let mut text = "This node goes back to the image as it was burned.\n".to_owned();
        match &self.survey {
            Ok(survey) => {
                let _ = writeln!(text, "What is lost: {}.", preview::lost(survey, self.began));
                if !self.keep.is_empty() {
                    let _ = writeln!(text, "What is kept: {} ({}).", survey.kept(), escaped(self.keep.join(", ")));
                }
                for pattern in &survey.unmatched {
                    let _ = writeln!(text, "Nothing that was written matches {}.", escaped(pattern));
                }
            }
            Err(error) => {
                let since = time::utc(self.began).map_or(String::new(), |since| format!(" since {since}"));
                let _ =
                    writeln!(text, "What is lost: all that was written{since}; it could not be counted: {error:#}.");
            }
        }
        if let Some(path) = self.user_data {
            let _ = writeln!(text, "{} becomes its user-data.", escaped(path));
        }
        text += &match self.generations {
            0 => "This cannot be undone: `reset.generations` is 0.\n".to_owned(),
            _ if self.percent > NEARLY_FULL => format!(
                "`burnonce undo` brings it back, as long as the generation is kept; the upper is {} % full, so that may not be long.\n",
                self.percent
            ),
            _ => "`burnonce undo` brings it back, as long as the generation is kept.\n".to_owned(),
        };
        text
    }
}

#[cfg(test)]
mod tests;
