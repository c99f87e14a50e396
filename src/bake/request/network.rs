//! cloud-init's network configuration, of version 1 or 2: looked at as far as a mistake in it would leave each node without a network.
//!
//! What is in a device's own settings is for cloud-init and netplan to judge.

use anyhow::{Result, bail, ensure};
use serde_yaml::Value;

/// Version 2: keys that are no sections.
const SETTINGS: [&str; 2] = ["version", "renderer"];
/// Version 2: what stands at its top besides them. cloud-init documents some ("Networking config Version 2") and hands all on to netplan,
/// which has more ("YAML configuration", "Top-level configuration structure"; `network_handlers` in its `src/parse.c`).
const SECTIONS: [&str; 13] = [
    "ethernets",
    "wifis",
    "bonds",
    "bridges",
    "vlans",
    "modems",
    "tunnels",
    "vrfs",
    "dummy-devices",
    "virtual-ethernets",
    "xfrm-interfaces",
    "nm-devices",
    OPENVSWITCH,
];
/// The section that has settings and no devices.
const OPENVSWITCH: &str = "openvswitch";

/// Whether `value`, the content of a network-config, is one. Pure.
///
/// # Errors
/// What is wrong, to be put behind the file's name.
pub fn check(value: &Value) -> Result<()> {
    let (inner, at) = match value.get("network") {
        Some(inner) => (inner, "`network:`"),
        None => (value, "it"),
    };
    ensure!(inner.is_mapping(), "`network:` has nothing below it; indent what belongs there by two spaces");
    let config = inner.get("config");
    if config.and_then(Value::as_str) == Some("disabled") {
        return Ok(());
    }
    let Some(version) = inner.get("version") else {
        bail!("{at} has no `version:`; write `version: 2` at its beginning");
    };
    match version.as_i64() {
        Some(1) => ensure!(
            config.is_some_and(Value::is_sequence),
            "version 1 has to have `config:`, a list of devices each with its `type:` (or `config: disabled`)"
        ),
        Some(2) => return version_2(inner),
        Some(other) => bail!("`version: {other}`: cloud-init knows 1 and 2"),
        None => bail!(
            "`version` has to be the number 2 (in an old file 1), without quotes and without a point; it is `{}`",
            serde_yaml::to_string(version).unwrap_or_default().trim()
        ),
    }
    Ok(())
}

fn version_2(inner: &Value) -> Result<()> {
    let entries = inner.as_mapping().into_iter().flatten();
    for (key, section) in entries {
        let name = key.as_str().unwrap_or_default();
        if SETTINGS.contains(&name) {
            continue;
        }
        if !SECTIONS.contains(&name) {
            let meant = SECTIONS.iter().find(|one| is_like(one, name));
            let meant = match meant {
                Some(one) => format!("did you mean `{one}:`?"),
                None => "a device belongs below one of them, indented".to_owned(),
            };
            bail!(
                "`{name}:` is none of the sections of a network-config of version 2 ({}); {meant}",
                SECTIONS.join(", ")
            );
        }
        let Some(devices) = section.as_mapping() else {
            bail!("`{name}:` has to have its devices below it, indented, each a name with settings (`eth0:`)");
        };
        let wrong = devices.iter().find(|(device, settings)| {
            // netplan takes a renderer for all devices of a section.
            name != OPENVSWITCH && device.as_str() != Some("renderer") && !settings.is_mapping()
        });
        if let Some((device, _)) = wrong {
            let device = serde_yaml::to_string(device).unwrap_or_default();
            bail!(
                "`{}:` in `{name}:` has to have settings below it, indented (`dhcp4: true`; `{{}}` where there are none)",
                device.trim()
            );
        }
    }
    Ok(())
}

/// Whether somebody who wrote `wrong` can have meant this `section`: but for the plural, case and hyphens they are the same.
fn is_like(section: &str, wrong: &str) -> bool {
    let stem = |name: &str| {
        let name: String = name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
        name.trim_end_matches('s').to_owned()
    };
    stem(section) == stem(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_config_is_told_from_what_is_none() {
        for (content, wanted) in [
            ("version: 2\nethernets: {}\n", ""),
            ("version: 2\n", ""),
            ("network:\n  version: 1\n  config: []\n", ""),
            ("version: 1\nconfig: disabled\n", ""),
            ("network: {config: disabled}\n", ""),
            (
                "network:\n  version: 2\n  renderer: NetworkManager\n  wifis:\n    renderer: networkd\n    wlan0: {dhcp4: true}\n",
                "",
            ),
            ("version: 2\nopenvswitch: {protocols: [OpenFlow13]}\nbonds: {b: {}}\nvrfs: {}\nnm-devices: {}\n", ""),
            (
                "version: 2\ntunnels: {}\ndummy-devices: {}\nvirtual-ethernets: {}\nmodems: {}\nvlans: {}\nbridges: {}\n",
                "",
            ),
            ("ethernets: {}\n", "it has no `version:`; write"),
            ("network:\n  ethernets: {}\n", "`network:` has no `version:`"),
            ("network:\nversion: 2\n", "`network:` has nothing below it"),
            ("version: 3\n", "knows 1 and 2"),
            ("version: \"2\"\n", "`version` has to be the number 2"),
            ("version: 2.0\n", "it is `2.0`"),
            ("version: 1\n", "version 1 has to have `config:`, a list"),
            ("version: 1\nconfig: {type: physical}\n", "version 1 has to have `config:`, a list"),
            (
                "version: 2\nethernet: {}\n",
                "`ethernet:` is none of the sections of a network-config of version 2 (ethernets, ",
            ),
            ("version: 2\nethernet: {}\n", "; did you mean `ethernets:`?"),
            ("version: 2\ndummy_device: {}\n", "; did you mean `dummy-devices:`?"),
            ("version: 2\neth0: {dhcp4: true}\n", "openvswitch); a device belongs below one of them"),
            ("version: 2\nethernets:\neth0: {dhcp4: true}\n", "`ethernets:` has to have its devices below it"),
            ("version: 2\nwifis: [wlan0]\n", "`wifis:` has to have its devices below it"),
            (
                "version: 2\nethernets:\n  eth0:\n  dhcp4: true\n",
                "`eth0:` in `ethernets:` has to have settings below it",
            ),
        ] {
            match check(&serde_yaml::from_str(content).unwrap()) {
                Ok(()) => assert!(wanted.is_empty(), "{content}"),
                Err(error) => assert!(!wanted.is_empty() && error.to_string().contains(wanted), "{content}: {error}"),
            }
        }
    }
}
