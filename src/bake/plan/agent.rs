//! Putting burnonce in: the packages that the first boot installs, and of burnonce's own package what runs until then.

use super::{AgentFile, AgentKind, Edit, Request, Step, differs, links, made};
use crate::inspect::system::{PACKAGES, TEXT, Unit, unit};
use crate::inspect::tree::{Tree, join};
use anyhow::Result;

/// Where packages put their units.
const UNITS: &str = "usr/lib/systemd/system";
/// Where systemd keeps what is enabled.
const ENABLED: &str = "etc/systemd/system";
/// What is enabled, as burnonce's own postinst does it.
const OURS: [&str; 3] = ["burnonce.service", "burnonce-prepare.service", "burnonce-reclaim.timer"];
/// What of the package is not needed before it is installed.
const LEFT_OUT: [&str; 4] = ["usr/share/doc/", "usr/share/man/", "usr/share/lintian/", "usr/share/bash-completion/"];

/// The packages, and burnonce's files.
pub fn install(root: &dyn Tree, request: &Request) -> Result<Option<Step>> {
    let mut edits = Vec::new();
    // What waits already was chosen anew with what is given: what is not among the packages any more has no place there.
    let is_one = |name: &String| request.packages.iter().any(|payload| payload.file_name == *name);
    if !request.packages.is_empty() {
        let waiting = root.list(PACKAGES)?;
        let left = waiting.iter().filter(|name| name.ends_with(".deb") && !is_one(name));
        edits.extend(left.map(|name| Edit::Remove { path: join(PACKAGES, name) }));
    }
    for payload in &request.packages {
        let path = join(PACKAGES, &payload.file_name);
        if differs(root, &path, &payload.content)? {
            edits.push(Edit::File { path, content: payload.content.clone(), attributes: made(0o644) });
        }
    }
    for entry in &request.agent {
        edits.extend(agent_file(root, entry)?);
    }
    if edits.is_empty() {
        return Ok(None);
    }
    edits.insert(0, Edit::Directory { path: PACKAGES.to_owned(), attributes: made(0o755) });
    let names: Vec<String> = request.packages.iter().map(|one| format!("{} {}", one.name, one.version)).collect();
    let them = if names.len() == 1 { "it" } else { "them" };
    let text = format!(
        "put in {}: the first boot of a node installs {them} by dpkg, makes the initramfs anew (some minutes on a Raspberry Pi), and \
         restarts; the second converts the card",
        names.join(", ")
    );
    Ok(Some(Step { text, edits }))
}

fn agent_file(root: &dyn Tree, entry: &AgentFile) -> Result<Option<Edit>> {
    let path = &entry.path;
    if LEFT_OUT.iter().any(|directory| format!("{path}/").starts_with(directory)) {
        return Ok(None);
    }
    let (path, attributes) = (path.clone(), entry.attributes);
    Ok(match &entry.kind {
        AgentKind::Directory if !root.has(&path)? => Some(Edit::Directory { path, attributes }),
        AgentKind::File(content) if differs(root, &path, content)? => {
            Some(Edit::File { path, content: content.clone(), attributes })
        }
        AgentKind::Symlink(target) if !links(root, &path, target)? => Some(Edit::Link { path, target: target.clone() }),
        AgentKind::Directory | AgentKind::File(_) | AgentKind::Symlink(_) => None,
    })
}

/// Enables burnonce's units: those that are put in, or those of the package that is installed.
pub fn arm(root: &dyn Tree, request: &Request) -> Result<Option<Step>> {
    let mut edits = Vec::new();
    for name in OURS {
        let path = join(UNITS, name);
        let brought = request.agent.iter().find(|entry| entry.path == path).map(|entry| &entry.kind);
        let brought = match brought {
            Some(AgentKind::File(content)) => Some(String::from_utf8_lossy(content)),
            _ => None,
        };
        edits.extend(enable(root, name, brought.as_deref())?);
    }
    Ok((!edits.is_empty()).then(|| Step { text: "arm burnonce: its units are enabled".to_owned(), edits }))
}

/// Enables a unit as `systemctl enable` does, unless it is. `text` is what the unit will be, where it is not there yet.
pub fn enable(root: &dyn Tree, name: &str, text: Option<&str>) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    if unit(root, name)? == Unit::Enabled {
        return Ok(edits);
    }
    let (mut path, mut text) = (join(UNITS, name), text.map(str::to_owned));
    if text.is_none() {
        if !root.has(&path)? {
            path = join("lib/systemd/system", name);
        }
        text = root.text(&path, TEXT)?;
    }
    for target in text.as_deref().map(wanted_by).unwrap_or_default() {
        let wants = format!("{ENABLED}/{target}.wants");
        let link = join(&wants, name);
        if root.link(&link)?.is_none() {
            edits.push(Edit::Directory { path: wants, attributes: made(0o755) });
            edits.push(Edit::Link { path: link, target: format!("/{path}") });
        }
    }
    Ok(edits)
}

/// The targets that want a unit (systemd.unit(5), `[Install]`).
fn wanted_by(unit: &str) -> Vec<&str> {
    unit.lines().filter_map(|line| line.strip_prefix("WantedBy=")).flat_map(str::split_whitespace).collect()
}
