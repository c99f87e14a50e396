//! cloud-init's growers: the modules `growpart` and `resizefs`, and what its configuration makes of them. Pure: it looks at [`Tree`]s.

use super::boot::{CommandLine, Used};
use super::growers::{Grower, State, Switch, When};
use super::system::TEXT;
use super::tree::Tree;
use crate::units::Bytes;
use anyhow::Result;
use serde_yaml::Value;

/// The user-data, as it is called in sentences.
pub(crate) const USER_DATA: &str = "user-data on the boot partition";
/// The main file.
const MAIN: &str = "etc/cloud/cloud.cfg";
/// The files of this directory come after it, sorted by their names (cloud-init's documentation, "Base configuration").
pub const DIRECTORY: &str = "etc/cloud/cloud.cfg.d";
/// The lists of modules that a growing one can be in.
const STAGES: [&str; 3] = ["cloud_init_modules", "cloud_config_modules", "cloud_final_modules"];
/// Longer YAML is not looked into, in bytes: the time that its parser takes grows with the square of it.
pub const LONGEST: usize = 16 << 10;
/// What switches `growpart` off, whatever the configuration says (cloud-init, `cc_growpart.py`).
const SWITCH: &str = "etc/growroot-disabled";

/// What the configuration says in the end; each file may say it anew.
#[derive(Debug, Default)]
struct Settings {
    /// Which modules run in each of [`STAGES`]; a file that names them takes the place of those before it.
    modules: [Vec<String>; 3],
    /// `growpart.mode` is off, and the file that says so last.
    growpart: Option<(bool, String)>,
    /// `resize_rootfs` is off, and the file that says so last.
    resize: Option<(bool, String)>,
    /// `growpart.ignore_growroot_disabled`: [`SWITCH`] does not count.
    ignores_switch: bool,
    /// Files that were not looked into, each with the reason.
    unreadable: Vec<String>,
}

/// The growers of cloud-init, where it is installed and has them.
///
/// # Errors
/// Something that is there cannot be read.
pub fn look(root: &dyn Tree, boot: Option<&dyn Tree>, lines: &[CommandLine]) -> Result<Vec<Grower>> {
    if root.first_of(&["usr/bin/cloud-init", MAIN])?.is_none() {
        return Ok(Vec::new());
    }
    let settings = settings(root, boot)?;
    let disabled = disabled(root, lines)?;
    let switched = (!settings.ignores_switch && root.has(SWITCH)?).then(|| format!("/{SWITCH} is there"));
    let off = |said: &Option<(bool, String)>, key: &str| {
        said.as_ref().filter(|(off, _)| *off).map(|(_, file)| format!("{key} is off in {file}"))
    };
    let growpart_off = disabled.clone().or(switched).or_else(|| off(&settings.growpart, "growpart.mode"));
    let resize_off = disabled.or_else(|| off(&settings.resize, "resize_rootfs"));
    let runs = |module: &str| settings.modules.iter().flatten().any(|name| name == module);
    let armed = match settings.unreadable.first() {
        Some(file) => format!("nothing that can be read switches it off ({file})"),
        None => "nothing switches it off".to_owned(),
    };
    // The user-data comes after all files of the root.
    let by_user_data = settings.growpart.as_ref().is_some_and(|(off, file)| !off && file == USER_DATA);
    let grower = |name: &str, state, why, remedy: &str| Grower {
        name: format!("cloud-init {name}"),
        place: format!("module `{name}` in /{MAIN}"),
        when: When::CloudInit,
        state,
        why,
        remedy: if by_user_data {
            format!("take `growpart` out of {USER_DATA}, which counts before what burnonce's package says of it")
        } else {
            format!(
                "write `{remedy}` into a file of /{DIRECTORY} in the root partition (burnonce's package puts such a file there)"
            )
        },
        switch: Switch::Nothing,
    };
    let mut found = Vec::new();
    let grows = runs("growpart") && growpart_off.is_none();
    if runs("growpart") {
        let state = if grows { State::Armed } else { State::Disarmed };
        found.push(grower("growpart", state, growpart_off.unwrap_or_else(|| armed.clone()), "growpart: {mode: 'off'}"));
    }
    if runs("resizefs") {
        let (state, why) = match resize_off {
            Some(why) => (State::Disarmed, why),
            None if grows => (State::Armed, armed),
            None => (State::Harmless, "it fills the partition that is there".to_owned()),
        };
        found.push(grower("resizefs", state, why, "resize_rootfs: false"));
    }
    Ok(found)
}

/// Why cloud-init does not run, where that is so. The kernel command line comes before the file.
///
/// # Errors
/// Something that is there cannot be read.
pub fn disabled(root: &dyn Tree, lines: &[CommandLine]) -> Result<Option<String>> {
    let used = lines.iter().find(|line| line.used == Used::Always);
    let words = used.map(CommandLine::words).unwrap_or_default();
    if words.contains(&"cloud-init=enabled") {
        return Ok(None);
    }
    if words.contains(&"cloud-init=disabled") {
        return Ok(Some("`cloud-init=disabled` is on the kernel command line".to_owned()));
    }
    let file = root.has("etc/cloud/cloud-init.disabled")?;
    Ok(file.then(|| "/etc/cloud/cloud-init.disabled is there".to_owned()))
}

/// The files of the configuration in the root, in the order in which each takes the place of those before it.
///
/// # Errors
/// The directory is there and cannot be read.
pub fn files(root: &dyn Tree) -> Result<Vec<String>> {
    let names = root.list(DIRECTORY)?;
    let after = names.iter().filter(|name| name.ends_with(".cfg")).map(|name| format!("{DIRECTORY}/{name}"));
    Ok([MAIN.to_owned()].into_iter().chain(after).collect())
}

/// Reads the main file, those after it, and the user-data, which comes last.
fn settings(root: &dyn Tree, boot: Option<&dyn Tree>) -> Result<Settings> {
    let mut settings = Settings::default();
    for path in files(root)? {
        if let Some(text) = root.text(&path, TEXT)? {
            settings.read(&format!("/{path}"), &text);
        }
    }
    if let Some(boot) = boot {
        let text = boot.text("user-data", TEXT)?.filter(|text| text.starts_with("#cloud-config"));
        if let Some(text) = text {
            settings.read(USER_DATA, &text);
        }
    }
    Ok(settings)
}

impl Settings {
    /// Of a main file that is not known, the modules of every distribution's are supposed.
    fn not_looked_into(&mut self, file: &str, why: String) {
        if file.strip_prefix('/') == Some(MAIN) {
            self.modules[0] = ["growpart", "resizefs"].map(str::to_owned).to_vec();
        }
        self.unreadable.push(why);
    }

    fn read(&mut self, file: &str, text: &str) {
        let value = if text.len() > LONGEST {
            Err(format!("{file} was not looked into: it is longer than {}", Bytes(LONGEST as u64)))
        } else {
            // A template that was not filled in, say.
            serde_yaml::from_str::<Value>(text).map_err(|_| format!("{file} is not YAML"))
        };
        let value = match value {
            Ok(value) => value,
            Err(why) => return self.not_looked_into(file, why),
        };
        for (stage, modules) in STAGES.iter().zip(&mut self.modules) {
            if let Some(named) = value.get(stage).and_then(Value::as_sequence) {
                *modules = named.iter().filter_map(name).map(|name| name.replace('-', "_")).collect();
            }
        }
        if let Some(mode) = value.get("growpart").and_then(|growpart| growpart.get("mode")) {
            self.growpart = Some((is_off(mode), file.to_owned()));
        }
        if let Some(ignores) = value.get("growpart").and_then(|growpart| growpart.get("ignore_growroot_disabled")) {
            self.ignores_switch = is_on(ignores);
        }
        if let Some(resize) = value.get("resize_rootfs") {
            self.resize = Some((is_off(resize), file.to_owned()));
        }
    }
}

/// A module is named by itself, or at the head of a list with its arguments.
fn name(module: &Value) -> Option<&str> {
    module.as_str().or_else(|| module.get(0).and_then(Value::as_str))
}

/// What cloud-init takes for true (`util.is_true`).
fn is_on(value: &Value) -> bool {
    match value {
        Value::Bool(on) => *on,
        Value::String(text) => matches!(text.to_lowercase().as_str(), "on" | "1" | "yes" | "true"),
        Value::Number(number) => number.as_i64() == Some(1),
        _ => false,
    }
}

/// What cloud-init takes for false (`util.is_false`).
fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(on) => !on,
        Value::String(text) => matches!(text.to_lowercase().as_str(), "off" | "0" | "no" | "false"),
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    }
}
