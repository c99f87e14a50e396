//! What `burnonce status` prints.

use super::{Health, Mode, Status};
use crate::guard::report::Verdict;
use crate::overlay;
use crate::state::{Done, Kind, State};
use crate::time;
use std::fmt;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let health = match self.health {
            Health::Healthy => "healthy",
            Health::Degraded => "DEGRADED",
            Health::NotConverted => "not converted",
            Health::SwitchedOff => "switched off",
            Health::InMaintenance => "in maintenance",
        };
        writeln!(f, "burnonce {}: {health}", self.version)?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  ! {reason}"))?;
        if let Some(remedy) = &self.remedy {
            writeln!(f, "  > {remedy}")?;
        }
        writeln!(f)?;
        let root = match self.mode {
            Mode::Overlay => "overlay: what is written goes to the upper, the image stays as burned",
            Mode::Memory => "overlay in MEMORY: what is written is lost at power-off",
            Mode::Plain => "the image itself",
        };
        writeln!(f, "  root       {root}")?;
        if let Some(upper) = &self.upper {
            let percent = (u128::from(upper.used.0) * 100).checked_div(u128::from(upper.size.0)).unwrap_or(0);
            writeln!(
                f,
                "  upper      {}, {}: {} used ({percent} %), {} free",
                upper.device, upper.size, upper.used, upper.available
            )?;
        }
        if let Some(lower) = &self.lower {
            let sealed = if lower.sealed { "sealed" } else { "not sealed" };
            let writable = if lower.writable { "writable" } else { "read-only" };
            writeln!(f, "  lower      {}: {writable}, {sealed}", lower.device)?;
        }
        if let Some(state) = &self.state {
            let attempts = if state.attempts == 1 { "first attempt" } else { "a repeated attempt" };
            writeln!(f, "  made       by burnonce {}, {attempts}; generation {}", state.made_by, state.generation)?;
            requests(f, state)?;
            writeln!(f, "  logs       {}/burnonce/log", overlay::UPPER)?;
        }
        self.guard(f)?;
        if self.held {
            writeln!(
                f,
                "  held       kernel, firmware and initramfs packages; upgrade: burnonce maintain apt full-upgrade"
            )?;
        }
        if let Some(converge) = &self.converge {
            writeln!(f, "  this boot  converge: {}, {} ms", converge.outcome, converge.took_ms)?;
        }
        Ok(())
    }
}

impl Status {
    fn guard(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(report) = &self.guard else {
            return match self.mode {
                Mode::Overlay | Mode::Memory => writeln!(f, "  guard      none in the initramfs that booted"),
                Mode::Plain => Ok(()),
            };
        };
        let verdict = match report.verdict {
            Verdict::NotConfigured => "nothing to guard",
            Verdict::Off => "switched off",
            Verdict::Upper => "upper",
            Verdict::Memory => "memory",
            Verdict::Lower => "the image itself",
            Verdict::Stop => "stop",
        };
        writeln!(f, "  guard      {verdict}, {} ms", report.total_ms)?;
        report.did.iter().try_for_each(|did| writeln!(f, "             {did}"))
    }
}

/// What is pending, what became of the last request, and what an undo has to go back to.
fn requests(f: &mut fmt::Formatter<'_>, state: &State) -> fmt::Result {
    if let Some(pending) = &state.request {
        let (a, kind, by) = (article(pending.kind), pending.kind, pending.by);
        writeln!(f, "  pending    {a} {kind} is pending ({by}): the next restart carries it out")?;
    }
    if let Some(Done { request, refused }) = &state.last {
        let at = time::utc(request.at).map_or(String::new(), |at| format!(", {at}"));
        write!(f, "  last       {} ({}){at}: ", request.kind, request.by)?;
        match refused {
            Some(why) => writeln!(f, "refused: {why}")?,
            None => writeln!(f, "carried out")?,
        }
    }
    match state.set_aside.len() {
        0 => Ok(()),
        1 => writeln!(f, "  set aside  1 generation, for `burnonce undo`"),
        n => writeln!(f, "  set aside  {n} generations; `burnonce undo` brings the last one back"),
    }
}

fn article(kind: Kind) -> &'static str {
    match kind {
        Kind::Reset => "a",
        Kind::Undo => "an",
    }
}
