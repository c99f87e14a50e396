//! The activity LED: it blinks while a conversion lasts, for somebody who has nothing but the board to look at.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// How long the LED is on, and off, in milliseconds.
const PERIOD: &str = "100";

/// A blinking LED. Dropped, it does again what it did before.
#[derive(Debug)]
pub struct Blink {
    /// The LED's directory in sysfs.
    led: PathBuf,
    /// The trigger that it had, and its brightness where that was `none`.
    before: String,
    brightness: Option<String>,
}

impl Blink {
    /// Makes the activity LED blink. `None` where there is none, or where it cannot be made to; the log says why.
    pub fn start(root: &Path) -> Option<Blink> {
        let leds = root.join("sys/class/leds");
        let names: Vec<String> = fs::read_dir(&leds)
            .map(|entries| entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
            .unwrap_or_default();
        let Some(name) = choose(&names) else {
            log::debug!("no activity LED under {}", leds.display());
            return None;
        };
        let led = leds.join(name);
        let triggers = fs::read_to_string(led.join("trigger"))
            .inspect_err(|error| log::warn!("reading {}: {error}", led.join("trigger").display()))
            .ok()?;
        let before = current(&triggers)?.to_owned();
        let wanted = ["timer", "heartbeat"].into_iter().find(|wanted| offers(&triggers, wanted));
        let Some(wanted) = wanted else {
            log::debug!("{} cannot blink: {}", led.display(), triggers.trim());
            return None;
        };
        let brightness = if before == "none" { fs::read_to_string(led.join("brightness")).ok() } else { None };
        if !write(&led.join("trigger"), wanted) {
            return None;
        }
        if wanted == "timer" {
            write(&led.join("delay_on"), PERIOD);
            write(&led.join("delay_off"), PERIOD);
        }
        Some(Blink { led, before, brightness })
    }
}

impl Drop for Blink {
    fn drop(&mut self) {
        write(&self.led.join("trigger"), &self.before);
        if let Some(brightness) = &self.brightness {
            write(&self.led.join("brightness"), brightness.trim());
        }
    }
}

/// The name of the activity LED, the likeliest first; among equals the first by name.
fn choose(names: &[String]) -> Option<&str> {
    let likely: [fn(&str) -> bool; 4] =
        [|n| n == "ACT", |n| n == "led0", |n| n.ends_with(":act"), |n| n.ends_with("mmc0::")];
    likely.iter().find_map(|fits| names.iter().map(String::as_str).filter(|name| fits(name)).min())
}

/// The trigger in brackets.
fn current(triggers: &str) -> Option<&str> {
    triggers.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
}

/// Whether this trigger is in the list.
fn offers(triggers: &str, wanted: &str) -> bool {
    triggers.split_whitespace().any(|word| word.trim_matches(['[', ']']) == wanted)
}

/// Writes an attribute that is there; a failure is logged, for no conversion fails for an LED.
fn write(attribute: &Path, value: &str) -> bool {
    let written = fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(attribute)
        .and_then(|mut file| file.write_all(value.as_bytes()));
    written.inspect_err(|error| log::warn!("writing {value} to {}: {error}", attribute.display())).is_ok()
}
