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

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: &str = "none rfkill-any kbd-scrolllock timer heartbeat default-on [mmc0]\n";

    /// A sysfs with LEDs of these names and triggers.
    fn sysfs(leds: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, triggers) in leds {
            let led = root.path().join("sys/class/leds").join(name);
            fs::create_dir_all(&led).unwrap();
            for (attribute, value) in
                [("trigger", *triggers), ("delay_on", "500\n"), ("delay_off", "500\n"), ("brightness", "1\n")]
            {
                fs::write(led.join(attribute), value).unwrap();
            }
        }
        root
    }

    fn attributes(root: &tempfile::TempDir, led: &str) -> [String; 4] {
        let led = root.path().join("sys/class/leds").join(led);
        ["trigger", "delay_on", "delay_off", "brightness"].map(|name| fs::read_to_string(led.join(name)).unwrap())
    }

    #[test]
    fn it_blinks_and_then_does_what_it_did() {
        let root = sysfs(&[("ACT", OFFERED), ("PWR", "none timer [default-on]")]);
        let blink = Blink::start(root.path()).unwrap();
        assert_eq!(attributes(&root, "ACT"), ["timer", "100", "100", "1\n"]);
        drop(blink);
        assert_eq!(attributes(&root, "ACT"), ["mmc0", "100", "100", "1\n"]);
        assert_eq!(attributes(&root, "PWR")[0], "none timer [default-on]");
    }

    #[test]
    fn an_led_that_nothing_triggered_gets_its_brightness_back() {
        let root = sysfs(&[("led0", "[none] timer heartbeat")]);
        let blink = Blink::start(root.path()).unwrap();
        fs::write(root.path().join("sys/class/leds/led0/brightness"), "0\n").unwrap();
        drop(blink);
        assert_eq!(attributes(&root, "led0"), ["none", "100", "100", "1"]);
    }

    #[test]
    fn without_a_timer_it_beats() {
        let root = sysfs(&[("ACT", "none [mmc0] heartbeat")]);
        let blink = Blink::start(root.path()).unwrap();
        assert_eq!(attributes(&root, "ACT"), ["heartbeat", "500\n", "500\n", "1\n"]);
        drop(blink);
        assert_eq!(attributes(&root, "ACT")[0], "mmc0");
    }

    #[test]
    fn no_led_no_trigger_no_failure() {
        assert!(Blink::start(tempfile::tempdir().unwrap().path()).is_none());
        for leds in [
            &[("PWR", OFFERED), ("input2::capslock", OFFERED)][..],
            &[("ACT", "none [mmc0] default-on")],
            &[("ACT", "none timer")],
            &[("ACT", "")],
        ] {
            let root = sysfs(leds);
            assert!(Blink::start(root.path()).is_none(), "{leds:?}");
            assert_eq!(attributes(&root, leds[0].0), [leds[0].1, "500\n", "500\n", "1\n"], "{leds:?}");
        }
        let root = sysfs(&[("ACT", OFFERED)]);
        fs::remove_file(root.path().join("sys/class/leds/ACT/trigger")).unwrap();
        assert!(Blink::start(root.path()).is_none());
    }

    #[test]
    fn the_likeliest_is_chosen() {
        for (names, chosen) in [
            (&["PWR", "mmc0::", "led0", "ACT"][..], Some("ACT")),
            (&["led1", "mmc1::", "led0"], Some("led0")),
            (&["mmc0::", "orangepi:green:act", "blue:act"], Some("blue:act")),
            (&["PWR", "mmc0::"], Some("mmc0::")),
            (&["PWR", "led1", "activity", "eth0:act:x"], None),
        ] {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(choose(&names), chosen, "{names:?}");
        }
    }
}
