//! Plans for look-alikes in memory, one for each row of images that people burn.

use super::*;
use crate::inspect::tests::{
    Image as Row, armbian, bookworm, debian, inspected, prepared, status, trixie, ubuntu, ubuntu_ab,
};
use std::fmt::Write;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIabcdefghijklmnopqrstuvwxyz0123456789 me's";

fn planned(row: &Row, request: &Request) -> Result<Plan> {
    let seen = inspected(row);
    decided(&Image { seen: &seen, root: &row.root, boot: Some(&row.boot) }, request)
}

fn decided(image: &Image, request: &Request) -> Result<Plan> {
    check(image, request)?;
    plan(image, request)
}

/// A row after a plan was carried out.
fn edited(row: Row, plan: &Plan) -> Row {
    let Row { mut boot, mut root, labels } = row;
    for edit in plan.edits() {
        match edit {
            Edit::Directory { path, .. } => root = root.directory(path),
            Edit::File { path, content, .. } => root = root.file(path, content),
            Edit::Link { path, target } => root = root.symlink(path, target),
            Edit::Remove { path } => root = root.without(path),
            Edit::Boot { path, content } => boot = boot.file(path, content),
            Edit::Append { path, content } => {
                let mut whole = (&boot as &dyn Tree).read(path, LONGEST).unwrap().unwrap();
                whole.extend(initramfs::padding(whole.len() as u64));
                whole.extend(content);
                boot = boot.file(path, whole);
            }
        }
    }
    Row { boot, root, labels }
}

fn payload(name: &str, version: &str, content: &str) -> Payload {
    Payload {
        name: name.to_owned(),
        version: version.to_owned(),
        file_name: format!("{name}_{version}_arm64.deb"),
        content: content.into(),
        unpacked: Bytes(5 << 20),
    }
}

/// What the package has in it, as far as it matters.
fn request() -> Request {
    let file = |path: &str, mode, content: &str| AgentFile {
        path: path.to_owned(),
        kind: AgentKind::File(content.into()),
        attributes: made(mode),
    };
    Request {
        packages: vec![payload("burnonce", "0.1.0", "the package"), payload("overlayroot", "0.47", "another")],
        agent: vec![
            AgentFile { path: "usr/sbin".to_owned(), kind: AgentKind::Directory, attributes: made(0o755) },
            file("usr/sbin/burnonce", 0o755, "the program"),
            file("usr/lib/systemd/system/burnonce.service", 0o644, "[Install]\nWantedBy=sysinit.target\n"),
            file("usr/lib/systemd/system/burnonce-prepare.service", 0o644, "[Install]\nWantedBy=sysinit.target\n"),
            file("usr/lib/systemd/system/burnonce-reclaim.timer", 0o644, "[Install]\nWantedBy=timers.target\n"),
            file("usr/share/burnonce/95-burnonce.cfg", 0o644, "growpart: {mode: 'off'}\nresize_rootfs: false\n"),
            file("usr/share/doc/burnonce/README.md", 0o644, "read me"),
            AgentFile {
                path: "etc/cloud/cloud.cfg.d/95-burnonce.cfg".to_owned(),
                kind: AgentKind::Symlink("/usr/share/burnonce/95-burnonce.cfg".to_owned()),
                attributes: made(0o777),
            },
        ],
        ..Request::default()
    }
}

fn rows() -> Vec<(&'static str, Row)> {
    vec![
        ("Ubuntu 22.04", ubuntu("22.04", "jammy")),
        ("Ubuntu 24.04", ubuntu("24.04", "noble")),
        ("Ubuntu 26.04", ubuntu_ab()),
        ("Raspberry Pi OS bookworm", bookworm()),
        ("Raspberry Pi OS trixie", trixie()),
        ("Debian", debian()),
        ("Armbian", armbian()),
    ]
}

/// Bake leaves nothing in the way that it could have taken out of it, and a second bake has nothing to do.
#[test]
fn each_row_is_baked_once() {
    for (name, row) in rows() {
        let before = inspected(&row);
        assert!(before.obstacles.iter().any(|obstacle| obstacle.who == Who::Bake), "{name}");
        let first = planned(&row, &request()).unwrap();
        let row = edited(row, &first);
        let after = inspected(&row);
        let left: Vec<_> = after.obstacles.iter().filter(|obstacle| obstacle.who != Who::Unknown).collect();
        assert!(left.is_empty(), "{name}: {left:#?}");
        assert!(after.findings.growers.iter().all(|grower| grower.state == State::Disarmed), "{name}: {after}");
        assert!(after.findings.system.burnonce.armed && after.findings.system.burnonce.brings("overlayroot"), "{name}");
        let second = planned(&row, &request()).unwrap();
        assert_eq!(second.steps, [], "{name}");
        // Nor where only what is in it already is asked for.
        assert!(planned(&row, &Request::default()).unwrap().is_empty(), "{name}");
    }
}

/// The plans, word for word. `UPDATE_EXPECTED=1` writes them anew.
#[test]
fn the_plans_are_these() {
    let mut text = String::new();
    for (name, row) in rows() {
        writeln!(text, "== {name}\n{}", planned(&row, &request()).unwrap()).unwrap();
        for edit in planned(&row, &request()).unwrap().edits() {
            match edit {
                Edit::Directory { path, attributes } => writeln!(text, "root {path}/ {:o}", attributes.mode),
                Edit::File { path, content, attributes } => {
                    writeln!(text, "root {path} {:o}, {} bytes", attributes.mode, content.len())
                }
                Edit::Link { path, target } => writeln!(text, "root {path} -> {target}"),
                Edit::Remove { path } => writeln!(text, "root {path} is removed"),
                Edit::Boot { path, content } => {
                    writeln!(text, "boot {path}: {}", String::from_utf8_lossy(content).trim_end())
                }
                Edit::Append { path, content } => writeln!(text, "boot {path}, {} bytes more", content.len()),
            }
            .unwrap();
        }
        text.push('\n');
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bake/plan/expected.txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap());
}

#[test]
fn what_is_in_the_way_is_told_and_nothing_is_planned() {
    let refused = |row: &Row, request: &Request| -> String {
        planned(row, request).unwrap_err().downcast::<Refusal>().unwrap().to_string()
    };
    let mut bare = ubuntu_ab();
    bare.root = bare.root.file("var/lib/dpkg/status", status(&[("dpkg", "1.23")], "arm64"));
    let text = refused(&bare, &request());
    assert!(text.contains("neither initramfs-tools nor dracut") && !text.contains("rw"), "{text}");

    let mut other = ubuntu("1.0", "x");
    other.root = other.root.file("usr/lib/os-release", "ID=arch\nPRETTY_NAME=\"Arch\u{1b}\"\n");
    let text = refused(&other, &request());
    assert!(text.contains("(Arch\\x1b)") && text.contains("--distribution"), "{text}");
    assert!(planned(&other, &Request { distribution: Some(Distribution::Ubuntu), ..request() }).is_ok());

    let seed = Request { seed: vec![("user-data", b"#cloud-config\n".to_vec())], ..request() };
    assert!(refused(&bookworm(), &seed).contains("cloud-init, which reads user-data"));
    assert!(planned(&ubuntu("24.04", "noble"), &seed).is_ok());

    let sealed = trixie();
    let mut seen = inspected(&sealed);
    seen.root.sealed = true;
    let image = Image { seen: &seen, root: &sealed.root, boot: Some(&sealed.boot) };
    let text = decided(&image, &request()).unwrap_err().to_string();
    assert_eq!(text.matches("is sealed").count(), 1, "{text}");

    // Off is what the owner wants; a configuration that is given takes its place.
    let mut off = trixie();
    off.root = off.root.file("etc/burnonce.yaml", "convert: false\n");
    assert!(refused(&off, &request()).contains("convert: false"));
    let given = Request { config: Some(b"convert: true\n".to_vec()), ..request() };
    assert!(planned(&off, &given).unwrap().to_string().contains("replace /etc/burnonce.yaml"));
}

/// Both boots of an image with two have the same words taken out, a line that no boot uses, too.
#[test]
fn all_command_lines_stay_in_step() {
    let mut row = trixie();
    let line = "console=tty1 root=PARTUUID=5a6b7c8d-02 rw rootwait resize \nsecond line resize\n";
    row.boot = row
        .boot
        .file("config.txt", "[all]\nos_prefix=current/\n[tryboot]\nos_prefix=new/\n")
        .file("current/cmdline.txt", line)
        .file("new/cmdline.txt", line);
    let found = planned(&row, &request()).unwrap();
    let boot: Vec<(&str, String)> = found
        .edits()
        .filter_map(|edit| match edit {
            Edit::Boot { path, content } => Some((path.as_str(), String::from_utf8(content.clone()).unwrap())),
            _ => None,
        })
        .collect();
    let new = "console=tty1 root=PARTUUID=5a6b7c8d-02 rootwait\nsecond line resize\n".to_owned();
    let left_over = "console=tty1 root=PARTUUID=5a6b7c8d-02 rootwait\n".to_owned();
    let expected = [("current/cmdline.txt", new.clone()), ("new/cmdline.txt", new), ("cmdline.txt", left_over)];
    assert_eq!(boot, expected);
}

#[test]
fn a_quoted_word_is_no_word_of_the_line() {
    let line = "root=LABEL=a x=\"rw ro\" rw";
    let (new, taken) = without(line, |word| NEVER.contains(&word));
    assert_eq!((new.as_str(), taken), ("root=LABEL=a x=\"rw ro\"", vec!["rw".to_owned()]));
    assert_eq!(without("a  b\n", |word| word == "c"), ("a  b\n".to_owned(), Vec::new()));
}

/// All that is installed in the first boot is chosen together: what waits and is not among them is taken away.
#[test]
fn an_older_package_makes_way() {
    let row = ubuntu("24.04", "noble");
    let row = edited(row, &planned(&ubuntu("24.04", "noble"), &request()).unwrap());
    let overlayroot = payload("overlayroot", "0.47", "another");
    let newer = Request { packages: vec![payload("burnonce", "0.2.0", "newer"), overlayroot.clone()], ..request() };
    let plan = planned(&row, &newer).unwrap();
    let edits: Vec<_> = plan.edits().collect();
    let old = format!("{}/burnonce_0.1.0_arm64.deb", crate::inspect::system::PACKAGES);
    assert!(edits.contains(&&Edit::Remove { path: old }), "{edits:?}");
    assert!(plan.edits().all(|edit| !matches!(edit, Edit::Remove { path } if path.contains("overlayroot"))));
    // The same version that was built anew is another one.
    let rebuilt = Request { packages: vec![payload("burnonce", "0.1.0", "built anew"), overlayroot], ..request() };
    assert_eq!(planned(&row, &rebuilt).unwrap().edits().count(), 2);
}

#[test]
fn burnonce_that_is_installed_is_armed() {
    let mut row = prepared();
    row.root = row
        .root
        .file("usr/lib/systemd/system/burnonce.service", "[Install]\nWantedBy=sysinit.target\n")
        .without("etc/systemd/system/sysinit.target.wants/burnonce.service");
    let plan = planned(&row, &Request::default()).unwrap();
    let link = "etc/systemd/system/sysinit.target.wants/burnonce.service".to_owned();
    let target = "/usr/lib/systemd/system/burnonce.service".to_owned();
    assert!(plan.edits().any(|edit| *edit == Edit::Link { path: link.clone(), target: target.clone() }), "{plan:?}");
    let row = edited(row, &plan);
    assert!(planned(&row, &Request::default()).unwrap().is_empty());
}

/// The service makes them where the first boot does not any more.
#[test]
fn the_host_keys_are_made_all_the_same() {
    let mut row = bookworm();
    row.root = row
        .root
        .file("usr/lib/systemd/system/regenerate_ssh_host_keys.service", "[Install]\nWantedBy=multi-user.target\n");
    let plan = planned(&row, &request()).unwrap();
    assert!(plan.to_string().contains("enable regenerate_ssh_host_keys.service"), "{plan}");
    let row = edited(row, &plan);
    assert_eq!(unit(&row.root, "regenerate_ssh_host_keys.service").unwrap(), Unit::Enabled);
    assert_eq!(planned(&row, &request()).unwrap().steps, []);
}

#[test]
fn what_the_owner_wants_is_put_in_once() {
    let wanted = || Request {
        config: Some(b"convert: true\n".to_vec()),
        seed: vec![
            ("user-data", b"#cloud-config\nusers: [default]\n".to_vec()),
            ("meta-data", b"instance-id: b\n".to_vec()),
        ],
        keys: vec![KEY.to_owned()],
        hostname_from_serial: true,
        ..request()
    };
    let plan = planned(&ubuntu("24.04", "noble"), &wanted()).unwrap();
    let text = plan.to_string();
    for sentence in [
        "write /etc/burnonce.yaml.",
        "replace user-data on the boot partition.",
        "write meta-data on the boot partition.",
        "let the SSH keys given log in as cloud-init's default user",
        "name each node after its board's serial number",
    ] {
        assert!(text.contains(sentence), "{sentence}: {text}");
    }
    let row = edited(ubuntu("24.04", "noble"), &plan);
    assert_eq!(planned(&row, &wanted()).unwrap().steps, []);
    let file = "etc/cloud/cloud.cfg.d/96-burnonce-ssh.cfg";
    let value: serde_yaml::Value =
        serde_yaml::from_str(&(&row.root as &dyn Tree).text(file, TEXT).unwrap().unwrap()).unwrap();
    assert_eq!(value["ssh_authorized_keys"][0], KEY);
    // Another one comes beside it.
    let other = Request { keys: vec![KEY.replace("AIab", "AIcd")], ..request() };
    let plan = planned(&row, &other).unwrap();
    let row = edited(row, &plan);
    let text = (&row.root as &dyn Tree).text(file, TEXT).unwrap().unwrap();
    assert_eq!(text.matches("  - 'ssh-ed25519 ").count(), 2, "{text}");
    assert_eq!(planned(&row, &Request { keys: wanted().keys, ..request() }).unwrap().steps, []);
}

/// What is on the boot partition, or comes there, can make nothing of what the owner wants.
#[test]
fn what_would_come_to_nothing_is_refused() {
    let refused = |row: &Row, request: &Request| -> String {
        let text = planned(row, request).unwrap_err().downcast::<Refusal>().unwrap().to_string();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let with = |name, text: &str| Request { seed: vec![(name, text.into())], ..request() };
    let named = |request: Request| Request { hostname_from_serial: true, ..request };
    let keyed = |request: Request| Request { keys: vec![KEY.to_owned()], ..request };
    let stock = || ubuntu("24.04", "noble");
    for (request, sentence) in [
        (named(with("user-data", "#cloud-config\nhostname: a\n")), "`hostname` in user-data names each node the same"),
        (named(with("meta-data", "local-hostname: a\n")), "`local-hostname` in meta-data"),
        (keyed(with("user-data", "#cloud-config\nusers: [{name: me}]\n")), "does without that one"),
        (keyed(with("user-data", "#cloud-config\nusers: {bob: {}}\n")), "does without that one"),
        (keyed(with("user-data", "#cloud-config\nusers: bob\n")), "does without that one"),
        (
            keyed(with("user-data", "#cloud-config\nssh_authorized_keys: []\n")),
            "of two such lists cloud-init takes one alone",
        ),
        (
            with("user-data", "#cloud-config\ngrowpart: {mode: auto}\n"),
            "> take `growpart` out of the user-data that is given, which counts before",
        ),
        (
            Request { config: Some(b"convert: false\n".to_vec()), ..request() },
            "is in the configuration that is given: no boot converts. > take that line out of the file that --config names.",
        ),
    ] {
        let text = refused(&stock(), &request);
        assert!(text.contains(sentence), "{sentence}: {text}");
    }
    let mut there = stock();
    there.boot = there.boot.file("user-data", "#cloud-config\nhostname: a\n");
    assert!(refused(&there, &named(request())).contains("names each node the same"));
    there.boot = there.boot.file("user-data", format!("#cloud-config\n# {}\nhostname: a\n", "x".repeat(20_000)));
    assert!(refused(&there, &named(request())).contains("user-data is longer than 16 KiB"));
    planned(&there, &request()).unwrap();
    there.boot = there.boot.file("user-data", "#cloud-config\ngrowpart: {mode: auto}\n");
    assert!(refused(&there, &request()).contains("> take `growpart` out of user-data on the boot partition"));
    // Another one takes its place.
    planned(&there, &named(with("user-data", "#cloud-config\nusers: [default]\n"))).unwrap();

    for users in ["{default: {}, bob: {}}", "'bob, default'", "[bob, default]", "[{default: true}]"] {
        planned(&stock(), &keyed(with("user-data", &format!("#cloud-config\nusers: {users}\n")))).unwrap();
    }

    let mut later = stock();
    later.root = later.root.file("etc/cloud/cloud.cfg.d/99-x.cfg", "users: [bob]\n");
    assert!(refused(&later, &keyed(request())).contains("`users` in /etc/cloud/cloud.cfg.d/99-x.cfg"));

    // Where cloud-init does not run, it reads nothing; the key is for somebody who is there already, or for nobody.
    let mut off = stock();
    off.root = off.root.file("etc/cloud/cloud-init.disabled", "");
    let text = refused(&off, &with("user-data", "#cloud-config\n"));
    assert!(text.contains("switched off in the image"), "{text}");
    let error = planned(&off, &keyed(request())).unwrap_err().to_string();
    assert!(error.contains("nobody that --ssh-key could be for"), "{error}");

    let mut imager = bookworm();
    imager.boot = imager.boot.file("custom.toml", "x");
    assert!(refused(&imager, &request()).contains("custom.toml is on the boot partition"));
    let mut masked = stock();
    masked.root = masked.root.symlink("etc/systemd/system/burnonce.service", "/dev/null");
    assert!(refused(&masked, &request()).contains("burnonce.service is masked"));
}

/// Without cloud-init the keys are the first user's, beside those that are there.
#[test]
fn keys_without_cloud_init_are_for_the_first_user() {
    let wanted = Request { keys: vec![KEY.to_owned()], ..request() };
    let error = planned(&bookworm(), &wanted).unwrap_err().to_string();
    assert!(error.contains("nobody that --ssh-key could be for"), "{error}");
    let mut row = bookworm();
    let passwd = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:n:/:/bin/false\nsvc:x:1000:1000::/srv:/usr/sbin/nologin\npi:x:1000:1001:,,,:/home/pi:/bin/bash\n";
    row.root = row.root.file("etc/passwd", passwd).file("home/pi/.ssh/authorized_keys", "ssh-rsa old");
    let plan = planned(&row, &wanted).unwrap();
    let expected = Edit::File {
        path: "home/pi/.ssh/authorized_keys".to_owned(),
        content: format!("ssh-rsa old\n{KEY}\n").into_bytes(),
        attributes: Attributes { uid: 1000, gid: 1001, ..made(0o600) },
    };
    assert!(plan.edits().any(|edit| *edit == expected), "{plan:?}");
    assert!(plan.edits().any(|edit| *edit == Edit::Boot { path: "ssh".to_owned(), content: Vec::new() }));
    assert_eq!(planned(&edited(row, &plan), &wanted).unwrap().steps, []);
}

#[test]
fn a_root_that_grows_for_inodes_says_so() {
    let plan = |grows_for_inodes| Plan {
        steps: Vec::new(),
        notes: Vec::new(),
        grow: Some(Bytes(64 << 20)),
        grows_for_inodes,
        makes_initramfs: false,
    };
    let text = plan(true).to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("longer, by 64 MiB: too few inodes are free in it, and more come with more room."), "{text}");
    assert!(plan(false).to_string().contains("longer, by 64 MiB.\n"));
}
