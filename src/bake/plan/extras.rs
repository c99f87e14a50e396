//! What the owner wants in the image besides burnonce itself.

use super::{Edit, Image, Request, Step, differs, links, made};
use crate::bake::root::Attributes;
use crate::config;
use crate::inspect::cloud;
use crate::inspect::obstacles::{Obstacle, Who};
use crate::inspect::system::TEXT;
use crate::inspect::tree::{Tree, join};
use crate::units::Bytes;
use anyhow::{Result, bail};
use serde_yaml::Value;

/// In [`cloud::DIRECTORY`], whose files cloud-init reads in the order of their names.
const KEYS: &str = "96-burnonce-ssh.cfg";
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
    if image.seen.findings.system.has_cloud_init() {
        let path = join(cloud::DIRECTORY, KEYS);
        let old = image.root.text(&path, TEXT)?.and_then(|text| serde_yaml::from_str::<Value>(&text).ok());
        let old = old.as_ref().and_then(|value| value.get("ssh_authorized_keys")?.as_sequence());
        let mut keys: Vec<&str> = old.into_iter().flatten().filter_map(Value::as_str).collect();
        for key in &request.keys {
            if !keys.contains(&key.as_str()) {
                keys.push(key);
            }
        }
        let lines: String = keys.iter().map(|key| format!("  - {}\n", quoted(key))).collect();
        let content = format!(
            "# Written by burnonce bake. Keys that the user-data names take the place of these.\nssh_authorized_keys:\n{lines}"
        );
        if !differs(image.root, &path, content.as_bytes())? {
            return Ok(None);
        }
        let text = format!("let the SSH keys given log in as cloud-init's default user (/{path})");
        let edit = Edit::File { path, content: content.into_bytes(), attributes: made(0o644) };
        return Ok(Some(Step { text, edits: vec![edit] }));
    }
    let Some(user) = first_user(&image.root.text("etc/passwd", TEXT)?.unwrap_or_default()) else {
        bail!(
            "the image has neither cloud-init at work nor a user of its own, so there is nobody that --ssh-key could be for; leave it out"
        );
    };
    if !image.root.has(&user.home)? {
        bail!("`{}`, whom --ssh-key would be for, has no home /{} in the image; leave it out", user.name, user.home);
    }
    let directory = format!("{}/.ssh", user.home);
    let path = format!("{directory}/authorized_keys");
    let mut content = image.root.text(&path, TEXT)?.unwrap_or_default();
    for key in &request.keys {
        if content.lines().all(|line| line.trim() != key) {
            if !content.is_empty() && !content.ends_with('\n') {
                content.push('\n');
            }
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

/// What cloud-init goes by, from what comes last to what comes first, and what each is called. What is not YAML counts as nothing: cloud-init
/// has the last word.
pub struct Said {
    files: Vec<(String, Value)>,
    /// Too long to be looked into.
    unread: Vec<String>,
}

impl Said {
    /// What is given, else what is on the boot partition, and what the image brings with it besides.
    ///
    /// # Errors
    /// Something that is there cannot be read.
    pub fn of(image: &Image, request: &Request) -> Result<Said> {
        let mut said = Said { files: Vec::new(), unread: Vec::new() };
        for name in ["user-data", "meta-data"] {
            let given = request.seed.iter().find(|(one, _)| *one == name).map(|(_, content)| content);
            match (given, image.boot) {
                // It was parsed already.
                (Some(content), _) => said.read(name, &String::from_utf8_lossy(content)),
                (None, Some(boot)) => said.look(name, boot.text(name, TEXT)?),
                (None, None) => {}
            }
        }
        let ours = join(cloud::DIRECTORY, KEYS);
        for path in cloud::files(image.root)?.into_iter().rev().filter(|path| *path != ours) {
            said.look(&format!("/{path}"), image.root.text(&path, TEXT)?);
        }
        Ok(said)
    }

    fn look(&mut self, name: &str, text: Option<String>) {
        match text {
            Some(text) if text.len() > cloud::LONGEST => self.unread.push(name.to_owned()),
            Some(text) => self.read(name, &text),
            None => {}
        }
    }

    fn read(&mut self, name: &str, text: &str) {
        self.files.extend(serde_yaml::from_str(text).ok().map(|value| (name.to_owned(), value)));
    }

    /// What is said last of something, and where.
    fn last(&self, key: &str) -> Option<(&str, &Value)> {
        self.files.iter().find_map(|(name, value)| Some((name.as_str(), value.get(key)?)))
    }
}

/// What would make nothing of what the owner wants, where cloud-init runs. Pure.
pub fn in_the_way(said: &Said, request: &Request) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let mut owner = |what: String, remedy: &str| {
        found.push(Obstacle { found: what, remedy: remedy.to_owned(), who: Who::Owner });
    };
    if request.hostname_from_serial {
        let name = ["hostname", "fqdn", "local-hostname"].iter().find_map(|key| Some((key, said.last(key)?)));
        if let Some((key, (file, _))) = name {
            let what = format!("`{key}` in {file} names each node the same, and --hostname-from serial does not");
            owner(what, "take that line out of it, or leave the option out");
        }
    }
    if !request.keys.is_empty() {
        if let Some((file, _)) = said.last("ssh_authorized_keys") {
            let what = format!("{file} has `ssh_authorized_keys`, and of two such lists cloud-init takes one alone");
            owner(what, "put the key into that file, and leave --ssh-key out");
        } else if let Some((file, _)) = said.last("users").filter(|(_, users)| !has_default(users)) {
            let what =
                format!("--ssh-key is for cloud-init's default user, and `users` in {file} does without that one");
            owner(what, "put the key into that file as `ssh_authorized_keys` of a user, and leave --ssh-key out");
        }
    }
    if request.hostname_from_serial || !request.keys.is_empty() {
        for file in &said.unread {
            let remedy = match file.as_str() {
                "user-data" | "meta-data" => "give it by --user-data or --meta-data: then all of it is looked into",
                _ => "make it shorter, or leave --ssh-key and --hostname-from out",
            };
            let what = format!(
                "{file} is longer than {}, so that it was not looked into whether it has other keys or another name in it",
                Bytes(cloud::LONGEST as u64)
            );
            owner(what, remedy);
        }
    }
    found
}

/// Whether cloud-init's default user is among `users`: a list of names and mappings, a mapping by names, or names with commas between them
/// (cloud-init, `distros/ug_util.py`, `_normalize_users`).
fn has_default(users: &Value) -> bool {
    let is_default =
        |name: &Value| name.as_str().is_some_and(|names| names.split(',').any(|name| name.trim() == "default"));
    match users {
        Value::Sequence(list) => list.iter().any(|user| is_default(user.get("name").unwrap_or(user)) || is_in(user)),
        other => is_default(other) || is_in(other),
    }
}

/// Whether a mapping of users by their names has the default one.
fn is_in(users: &Value) -> bool {
    users.get("default").is_some()
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
