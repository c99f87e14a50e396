//! What the owner wants in the image besides burnonce itself.

use super::{Edit, Image, Request, Step, differs, links, made};
use crate::bake::root::Attributes;
use crate::config;
use crate::inspect::obstacles::{Obstacle, Who};
use crate::inspect::system::TEXT;
use crate::inspect::tree::Tree;
use anyhow::{Result, bail};
use serde_yaml::Value;

/// cloud-init reads the files of this directory in the order of their names.
const KEYS: &str = "etc/cloud/cloud.cfg.d/96-burnonce-ssh.cfg";
/// Longer YAML is not looked into, in bytes: the time that its parser takes grows with the square of it.
const LONGEST_SEED: u64 = 16 << 10;
const HOSTNAME_UNIT: &str = "burnonce-hostname.service";

/// `/etc/burnonce.yaml`.
pub fn configuration(root: &dyn Tree, request: &Request) -> Result<Option<Step>> {
    let Some(content) = &request.config else { return Ok(None) };
    if !differs(root, config::PATH, content)? {
        return Ok(None);
    }
    let verb = if root.has(config::PATH)? { "replace" } else { "write" };
    let path = config::PATH.trim_start_matches('/');
    let edit = Edit::File { path: path.to_owned(), content: content.clone(), attributes: made(0o644) };
    Ok(Some(Step { text: format!("{verb} /{path}"), edits: vec![edit] }))
}

/// What cloud-init reads on the boot partition.
pub fn seed(boot: Option<&dyn Tree>, request: &Request) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let Some(boot) = boot else { return Ok(steps) };
    for (name, content) in &request.seed {
        if differs(boot, name, content)? {
            let verb = if boot.has(name)? { "replace" } else { "write" };
            let edit = Edit::Boot { path: (*name).to_owned(), content: content.clone() };
            steps.push(Step { text: format!("{verb} {name} on the boot partition"), edits: vec![edit] });
        }
    }
    Ok(steps)
}

/// Lets the owners of these keys log in: by cloud-init, or as the first user of Raspberry Pi OS.
pub fn keys(image: &Image, request: &Request) -> Result<Option<Step>> {
    if request.keys.is_empty() {
        return Ok(None);
    }
    if image.seen.findings.system.cloud_init.is_some() {
        let lines: String = request.keys.iter().map(|key| format!("  - {}\n", quoted(key))).collect();
        let content = format!(
            "# Written by burnonce bake. Keys that the user-data names take the place of these.\nssh_authorized_keys:\n{lines}"
        );
        if !differs(image.root, KEYS, content.as_bytes())? {
            return Ok(None);
        }
        let edit = Edit::File { path: KEYS.to_owned(), content: content.into_bytes(), attributes: made(0o644) };
        let text = format!("let the SSH keys given log in as cloud-init's default user (/{KEYS})");
        return Ok(Some(Step { text, edits: vec![edit] }));
    }
    let Some(user) = first_user(&image.root.text("etc/passwd", TEXT)?.unwrap_or_default()) else {
        bail!(
            "the image has neither cloud-init nor a user of its own, so there is nobody that --ssh-key could be for; leave it out"
        );
    };
    if !image.root.has(&user.home)? {
        bail!("`{}`, whom --ssh-key would be for, has no home /{} in the image; leave it out", user.name, user.home);
    }
    let directory = format!("{}/.ssh", user.home);
    let path = format!("{directory}/authorized_keys");
    let mut content = image.root.text(&path, TEXT)?.unwrap_or_default();
    for key in &request.keys {
        if content.lines().all(|line| line != key) {
            content += &format!("{key}\n");
        }
    }
    let mut edits = Vec::new();
    if differs(image.root, &path, content.as_bytes())? {
        let attributes = |mode| Attributes { uid: user.uid, gid: user.gid, ..made(mode) };
        edits.push(Edit::Directory { path: directory, attributes: attributes(0o700) });
        edits.push(Edit::File { path, content: content.into_bytes(), attributes: attributes(0o600) });
    }
    if let Some(boot) = image.boot {
        // `sshswitch` of raspberrypi-sys-mods starts the server where that file is.
        if !boot.has("ssh")? {
            edits.push(Edit::Boot { path: "ssh".to_owned(), content: Vec::new() });
        }
    }
    let text = format!("let the SSH keys given log in as `{}`, and have the SSH server started", user.name);
    Ok((!edits.is_empty()).then_some(Step { text, edits }))
}

/// What cloud-init will find on the boot partition.
#[derive(Debug, Default)]
pub struct Seed {
    user_data: Value,
    meta_data: Value,
}

impl Seed {
    /// What is given, else what is there. What is not YAML counts as nothing: cloud-init has the last word.
    ///
    /// # Errors
    /// The boot partition cannot be read.
    pub fn of(boot: Option<&dyn Tree>, request: &Request) -> Result<Seed> {
        let value = |name: &str| -> Result<Value> {
            let given = request.seed.iter().find(|(one, _)| *one == name).map(|(_, content)| content);
            let text = match (given, boot) {
                (Some(content), _) => String::from_utf8_lossy(content).into_owned(),
                (None, Some(boot)) => boot.text(name, LONGEST_SEED)?.unwrap_or_default(),
                (None, None) => String::new(),
            };
            Ok(serde_yaml::from_str(&text).unwrap_or_default())
        };
        Ok(Seed { user_data: value("user-data")?, meta_data: value("meta-data")? })
    }
}

/// What on the boot partition would make nothing of what the owner wants. Pure.
pub fn in_the_way(seed: &Seed, request: &Request, has_cloud_init: bool) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let mut owner = |what: String, remedy: &str| {
        found.push(Obstacle { found: what, remedy: remedy.to_owned(), who: Who::Owner });
    };
    if !has_cloud_init {
        return found;
    }
    let names = [
        ("user-data", &seed.user_data, "hostname"),
        ("user-data", &seed.user_data, "fqdn"),
        ("meta-data", &seed.meta_data, "local-hostname"),
    ];
    if let Some((file, _, key)) = names.iter().find(|(_, value, key)| value.get(key).is_some()) {
        if request.hostname_from_serial {
            let what = format!("`{key}` in {file} names each node the same, and --hostname-from serial does not");
            owner(what, "take that line out of it, or leave the option out");
        }
    }
    if !request.keys.is_empty() {
        let users = seed.user_data.get("users").and_then(Value::as_sequence);
        let is_default = |user: &Value| {
            user.as_str() == Some("default") || user.get("name").and_then(Value::as_str) == Some("default")
        };
        if seed.user_data.get("ssh_authorized_keys").is_some() {
            let what = "user-data has `ssh_authorized_keys`, which take the place of those of --ssh-key".to_owned();
            owner(what, "put the key into user-data, and leave --ssh-key out");
        } else if users.is_some_and(|users| !users.iter().any(is_default)) {
            let what =
                "--ssh-key is for cloud-init's default user, and `users` in user-data does without that one".to_owned();
            owner(what, "put the key into user-data as `ssh_authorized_keys` of a user, and leave --ssh-key out");
        }
    }
    found
}

/// A YAML scalar in single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// The first user that is no system's (passwd(5)): Debian gives them numbers from 1000 on.
fn first_user(passwd: &str) -> Option<User> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        let home = home.trim_matches('/');
        // Somebody who can log in.
        let fits = !shell.ends_with("/nologin")
            && !shell.ends_with("/false")
            && (1000..60_000).contains(&uid)
            && !home.is_empty()
            && !home.split('/').any(|part| part == "..");
        fits.then(|| User { name: name.to_owned(), uid, gid, home: home.to_owned() })
    })
}

/// A unit that names a node after its board's serial number, in its first boot on the overlay; before cloud-init, which keeps that name
/// where nothing gives it another one.
pub fn hostname(root: &dyn Tree, request: &Request) -> Result<Option<Step>> {
    if !request.hostname_from_serial {
        return Ok(None);
    }
    let path = format!("etc/systemd/system/{HOSTNAME_UNIT}");
    let link = format!("etc/systemd/system/sysinit.target.wants/{HOSTNAME_UNIT}");
    let target = format!("../{HOSTNAME_UNIT}");
    if !differs(root, &path, UNIT.as_bytes())? && links(root, &link, &target)? {
        return Ok(None);
    }
    let edits = vec![
        Edit::File { path, content: UNIT.into(), attributes: made(0o644) },
        Edit::Directory { path: "etc/systemd/system/sysinit.target.wants".to_owned(), attributes: made(0o755) },
        Edit::Link { path: link, target },
    ];
    let text = "name each node after its board's serial number: `pi-` and its last eight digits".to_owned();
    Ok(Some(Step { text, edits }))
}

/// The serial number is in the device tree, with a NUL at its end.
const UNIT: &str = r#"# Made by burnonce bake --hostname-from serial.
[Unit]
Description=Name this node after its board's serial number
DefaultDependencies=no
Conflicts=shutdown.target
ConditionPathExists=/proc/device-tree/serial-number
# Only on the overlay: the image stays as it was burned.
ConditionPathIsMountPoint=/media/root-rw
ConditionPathExists=!/media/root-rw/overlay/etc/hostname
After=burnonce.service systemd-remount-fs.service local-fs.target
Before=cloud-init-main.service cloud-init-local.service cloud-init.service
Before=systemd-hostnamed.service network-pre.target sysinit.target shutdown.target
Wants=network-pre.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'name=pi-$$(tr -d "\\000" </proc/device-tree/serial-number | tail -c 8); \
    sed -i "/^127\\.0\\.1\\.1[[:space:]]/d" /etc/hosts; echo "127.0.1.1 $$name" >>/etc/hosts; \
    echo "$$name" >/etc/hostname && echo "$$name" >/proc/sys/kernel/hostname'

[Install]
WantedBy=sysinit.target
"#;
