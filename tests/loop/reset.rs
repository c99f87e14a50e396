//! `reset`, `undo`, `generations`: what they record, refuse and show. What the guard makes of it is another test's.

use crate::card::{Card, run, text};
use crate::maintain::converted_and_booted;
use burnonce::keep;
use burnonce::state::{Generation, Kind, State, Trigger};
use burnonce::upper::{Upper, is_full};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The upper of a booted node.
fn upper(node: &Path) -> Upper {
    Upper::at(node.join("media/root-rw"))
}

fn state(node: &Path) -> State {
    upper(node).state().unwrap()
}

/// As if a reset had set generation 1 aside; it had `etc/first`.
fn set_one_aside(node: &Path) {
    let upper = upper(node);
    let first = upper.generation(1).join("overlay/etc");
    fs::create_dir_all(&first).unwrap();
    fs::write(first.join("first"), "1").unwrap();
    let generation =
        Generation { number: 1, began: 0, ended: 1_793_614_260, kind: Kind::Reset, by: Trigger::File, size: None };
    Upper::set_number(&upper.overlay(), 2).unwrap();
    let state = State { generation: 2, set_aside: vec![generation], ..upper.state().unwrap() };
    upper.write_state(&state).unwrap();
}

fn assert_refused(output: &Output, why: &str) {
    assert_eq!(output.status.code(), Some(3), "{}", text(output));
    assert!(text(output).contains(why), "{}", text(output));
}

#[test]
fn a_reset_records_its_request() {
    let (mut card, node) = converted_and_booted();
    fs::write(node.join("etc/burnonce.yaml"), "reset:\n  keep: [/etc/ssh/ssh_host_*]\n").unwrap();
    let output =
        card.burnonce(&["reset", "--yes", "--no-reboot", "--keep", "/etc/x/", "--keep", "/etc/ssh/ssh_host_*"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(text(&output), "burnonce: recorded; the next boot carries it out\n");
    let first = state(&node).request.unwrap();
    assert_eq!((first.kind, first.by), (Kind::Reset, Trigger::Command));
    assert_eq!(first.keep, ["/etc/ssh/ssh_host_*", "/etc/x"]);
    assert!(first.id.len() == 36 && first.at > 1_700_000_000, "{first:?}");
    // Once more: the later one counts.
    let output = card.burnonce(&["reset", "--yes", "--no-reboot"]);
    assert!(text(&output).contains("the reset that was pending is not carried out"), "{}", text(&output));
    let second = state(&node).request.unwrap();
    assert_ne!(first.id, second.id);
    let listed = card.burnonce(&["generations"]);
    assert!(text(&listed).contains("    1  in use     since unknown\n"), "{}", text(&listed));
    assert!(text(&listed).contains("The next boot carries out: reset (by command)"), "{}", text(&listed));
    card.eject();
}

#[test]
fn nothing_is_recorded_where_a_check_fails() {
    let (mut card, node) = converted_and_booted();
    let yes = ["reset", "--yes", "--no-reboot"];
    assert_refused(&card.burnonce(&["reset"]), "use --yes");
    assert_refused(&card.burnonce(&["reset", "--yes", "--keep", "relative"]), "`relative` is no absolute path");
    let file = node.join("tmp/new.yaml");
    let with_file = ["reset", "--yes", "--user-data", "/tmp/new.yaml"];
    fs::write(&file, "#cloud-config\na: b\n  c: d\n").unwrap();
    assert_refused(&card.burnonce(&with_file), "/tmp/new.yaml:3:4: not YAML");
    fs::write(&file, "#cloud-config\na: b\n").unwrap();
    assert_refused(&card.burnonce(&with_file), "has no FAT partition before root");
    assert_refused(&card.burnonce(&["undo", "--yes"]), "no generation is set aside");
    fs::write(node.join("etc/burnonce.yaml"), "reset: {kep: []}\n").unwrap();
    assert_refused(&card.burnonce(&yes), "unknown key `reset.kep`");
    fs::remove_file(node.join("etc/burnonce.yaml")).unwrap();
    // An image without the modules of the kernel that boots next.
    let modules = node.join("media/root-ro/lib/modules");
    run("mount", &["-t", "tmpfs", "none", modules.to_str().unwrap()]);
    fs::create_dir(modules.join("6.1.0-other")).unwrap();
    let refused = card.burnonce(&yes);
    assert_refused(
        &refused,
        "the image has no modules for it (it has 6.1.0-other): run `burnonce maintain apt update` and `burnonce maintain apt full-upgrade`",
    );
    // An undo may find them in the upper that it goes back to.
    set_one_aside(&node);
    assert_refused(&card.burnonce(&["undo", "--yes", "--no-reboot"]), "has no modules for it");
    assert_eq!(state(&node).request, None);
    let running = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let overlay = upper(&node).generation(1).join("overlay");
    fs::create_dir_all(overlay.join("usr/lib/modules").join(running.trim())).unwrap();
    let undo = card.burnonce(&["undo", "--yes", "--no-reboot"]);
    assert_eq!(undo.status.code(), Some(0), "{}", text(&undo));
    run("umount", &[modules.to_str().unwrap()]);
    // An upper that takes no writes.
    run("mount", &["-o", "remount,ro", node.join("media/root-rw").to_str().unwrap()]);
    assert_refused(&card.burnonce(&yes), "the upper takes no writes");
    card.eject();
    // The image itself.
    card.boot(false);
    assert_refused(&card.burnonce(&yes), "root is the image itself");
    assert_refused(&card.burnonce(&["generations"]), "root is the image itself");
    card.eject();
}

#[test]
fn a_node_that_runs_on_memory_has_nothing_to_reset() {
    let (mut card, node) = converted_and_booted();
    // As overlayroot leaves it where the configuration says memory.
    let covered = node.join("media/root-rw");
    run("mount", &["-t", "tmpfs", "none", covered.to_str().unwrap()]);
    assert_refused(&card.burnonce(&["reset", "--yes", "--no-reboot"]), "this boot runs on memory");
    run("umount", &[covered.to_str().unwrap()]);
    assert_eq!(state(&node).request, None);
    card.eject();
}

#[test]
fn an_undo_names_both_generations_and_records_its_request() {
    let (mut card, node) = converted_and_booted();
    set_one_aside(&node);
    let output = card.burnonce(&["generations", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&listed["in_use"]["number"], &listed["set_aside"][0]["number"]), (&2.into(), &1.into()));
    assert_refused(&card.burnonce(&["undo"]), "use --yes");
    let (said, code) = on_a_terminal(&node, &["undo", "--no-reboot"], "no\n");
    assert_eq!((code, state(&node).request), (Some(3), None), "{said}");
    let (said, code) = on_a_terminal(&node, &["undo", "--no-reboot"], "y\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("goes back to generation 1, which was in use from unknown to 2026-11-02 10:11"), "{said}");
    assert!(said.contains("The present one, 2, is set aside in its place"), "{said}");
    assert_eq!(state(&node).request.unwrap().kind, Kind::Undo);
    // The directory was deleted behind its back.
    fs::remove_dir_all(upper(&node).generation(1)).unwrap();
    assert_refused(&card.burnonce(&["undo", "--yes", "--no-reboot"]), "generations/1/overlay is not there any more");
    card.eject();
}

#[test]
fn a_reset_asks_and_a_preview_changes_nothing() {
    let (mut card, node) = converted_and_booted();
    fs::create_dir(node.join("srv")).unwrap();
    fs::write(node.join("srv/big"), vec![1; 3 << 20]).unwrap();
    fs::write(node.join("etc/token"), "secret").unwrap();
    fs::write(node.join("etc/token\n  \x1b[2Jx"), "").unwrap();
    fs::remove_file(node.join("etc/machine-id")).unwrap();
    let before = fs::read(node.join("media/root-rw/burnonce/state.json")).unwrap();
    let seen =
        card.burnonce(&["reset", "--preview", "--keep", "/etc/token*", "/etc/machine-*", "--keep", "/nowhere/*"]);
    assert_eq!(seen.status.code(), Some(0), "{}", text(&seen));
    let seen = text(&seen);
    for line in [
        "  /etc/machine-id (deleted, and stays so)\n",
        "  /etc/token\n",
        "  /etc/token\\n  \\x1b[2Jx\n",
        "matches /nowhere/*.\n",
        "  /srv\n",
        "What is lost: 3 MiB in ",
    ] {
        assert!(seen.contains(line), "{line}: {seen}");
    }
    let (said, code) = on_a_terminal(&node, &["reset", "--no-reboot", "--keep", "/etc/token"], "\n");
    assert_eq!(code, Some(3), "{said}");
    assert!(
        said.contains("goes back to the image as it was burned") && said.contains("What is lost: 3 MiB in "),
        "{said}"
    );
    assert!(said.contains("What is kept: 4 KiB in 1 file (/etc/token)") && said.contains("Go on? [y/N]"), "{said}");
    assert_eq!(fs::read(node.join("media/root-rw/burnonce/state.json")).unwrap(), before);
    let (said, code) = on_a_terminal(&node, &["reset", "--no-reboot"], "yes\n");
    assert_eq!((code, state(&node).request.unwrap().kind), (Some(0), Kind::Reset), "{said}");
    card.eject();
}

/// Runs the agent on the booted node with a terminal, types `answer`, and gives what the terminal showed and the exit code.
fn on_a_terminal(node: &Path, arguments: &[&str], answer: &str) -> (String, Option<i32>) {
    let pty = nix::pty::openpty(None, None).unwrap();
    let shown = || std::process::Stdio::from(pty.slave.try_clone().unwrap());
    let mut chroot = Command::new("chroot");
    chroot.arg(node).arg("/usr/sbin/burnonce").args(arguments);
    let mut child = chroot.stdin(shown()).stdout(shown()).stderr(shown()).spawn().unwrap();
    drop(chroot);
    drop(pty.slave);
    let mut terminal = fs::File::from(pty.master);
    terminal.write_all(answer.as_bytes()).unwrap();
    let (mut said, mut piece) = (Vec::new(), [0; 1024]);
    // EIO: the other side is closed.
    while let Ok(length @ 1..) = terminal.read(&mut piece) {
        said.extend_from_slice(&piece[..length]);
    }
    (String::from_utf8_lossy(&said).into_owned(), child.wait().unwrap().code())
}

/// No block is free, and a reset is what helps.
#[test]
fn a_full_upper_takes_the_request() {
    let (mut card, node) = converted_and_booted();
    let filler = node.join("media/root-rw/overlay/filler");
    fs::create_dir(&filler).unwrap();
    for size in ["1G", "100M", "10M", "1M", "100K", "4K"] {
        for number in 0.. {
            let file = filler.join(format!("{size}-{number}"));
            let filled = Command::new("fallocate").args(["--length", size]).arg(&file).output().unwrap();
            if !filled.status.success() {
                break;
            }
        }
    }
    // With the blocks gone: a file that has a name but no room.
    assert!(fs::write(filler.join("last"), vec![1; 8192]).is_err(), "the upper is not full");
    let spare = upper(&node).own("spare").join("overlay");
    let error = keep::carry(&upper(&node).overlay(), &spare, &["/filler/4K-0".to_owned()]).unwrap_err();
    assert!(is_full(&error), "{error:#}");
    let ballast = upper(&node).own("ballast");
    assert!(ballast.exists());
    let output = card.burnonce(&["reset", "--yes", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(state(&node).request.unwrap().kind, Kind::Reset);
    assert!(!ballast.exists(), "the upper was not full");
    card.eject();
    card.insert(false);
    run("e2fsck", &["-fn", &card.partition(3)]);
    card.eject();
}

/// What the merged tree shows at a path.
fn shown(path: &Path) -> Option<(u32, u32, u32, u64, i64, String)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let content = if metadata.is_file() { fs::read_to_string(path).unwrap() } else { String::new() };
    let content = if metadata.is_symlink() { fs::read_link(path).unwrap().display().to_string() } else { content };
    Some((metadata.mode(), metadata.uid(), metadata.gid(), metadata.rdev(), metadata.mtime(), content))
}

/// An upper that a real overlay made, and the overlay of the next generation over the same image.
#[test]
fn what_is_kept_looks_the_same_in_the_next_generation() {
    let mut card = Card::burned(2048);
    let image = card.boot(false);
    run("mount", &["-o", "remount,rw", image.to_str().unwrap()]);
    for (path, content) in [
        ("srv/app/old", "image"),
        ("srv/app/changed", "image"),
        ("srv/new/from-image", "image"),
        ("srv/rest/x", "image"),
        ("etc/motd", "image"),
    ] {
        fs::create_dir_all(image.join(path).parent().unwrap()).unwrap();
        fs::write(image.join(path), content).unwrap();
    }
    run("mount", &["-o", "remount,ro", image.to_str().unwrap()]);
    let output = card.burnonce(&["converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    card.eject();

    let node = card.boot(true);
    let at = |path: &str| node.join(path);
    fs::remove_file(at("etc/motd")).unwrap();
    fs::remove_file(at("srv/app/old")).unwrap();
    fs::write(at("srv/app/changed"), "changed").unwrap();
    fs::write(at("srv/app/secret"), "secret").unwrap();
    fs::hard_link(at("srv/app/secret"), at("srv/app/twin")).unwrap();
    fs::set_permissions(at("srv/app/secret"), fs::Permissions::from_mode(0o4750)).unwrap();
    lchown(at("srv/app/changed"), Some(1001), Some(1002)).unwrap();
    symlink("secret", at("srv/app/link")).unwrap();
    run("mknod", &[at("srv/app/null").to_str().unwrap(), "c", "1", "3"]);
    let acl = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 210, 4, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4,
        0,
    ]
    .into_iter()
    .chain([255; 4])
    .chain([32, 0, 0, 0, 255, 255, 255, 255])
    .collect::<Vec<u8>>();
    xattr::set(at("srv/app/changed"), "system.posix_acl_access", &acl).unwrap();
    // A directory that is made anew is opaque: nothing of the image shows in it.
    fs::remove_dir_all(at("srv/new")).unwrap();
    fs::create_dir(at("srv/new")).unwrap();
    fs::write(at("srv/new/own"), "own").unwrap();
    fs::write(at("srv/rest/x"), "dropped").unwrap();
    fs::write(at("srv/unasked"), "dropped").unwrap();
    fs::set_permissions(at("srv"), fs::Permissions::from_mode(0o711)).unwrap();
    let kept = [
        "etc/motd",
        "srv",
        "srv/app",
        "srv/app/old",
        "srv/app/changed",
        "srv/app/secret",
        "srv/app/twin",
        "srv/app/link",
        "srv/app/null",
        "srv/new",
        "srv/new/own",
        "srv/new/from-image",
    ];
    let before: Vec<_> = kept.map(|path| shown(&at(path))).into_iter().collect();
    let upper_of = node.join("media/root-rw");
    assert_eq!(
        xattr::get(upper_of.join("overlay/srv/new"), "trusted.overlay.opaque").unwrap().as_deref(),
        Some(b"y".as_slice()),
        "this kernel makes no opaque directory of it"
    );
    card.eject();

    card.insert(false);
    let mounted = |name: &str| -> PathBuf {
        let at = card.file().with_file_name(name);
        fs::create_dir_all(&at).unwrap();
        at
    };
    let (lower, upper_root, merged) = (mounted("lower"), mounted("upper"), mounted("merged"));
    run("mount", &["-o", "ro", &card.partition(2), lower.to_str().unwrap()]);
    run("mount", &[&card.partition(3), upper_root.to_str().unwrap()]);
    let upper = Upper::at(&upper_root);
    let next = upper.own("spare").join("overlay");
    let patterns = ["/etc/motd", "/srv/app", "/srv/n?w"].map(str::to_owned);
    // motd; app, old, changed, secret, twin, link, null; new, own.
    assert_eq!(keep::carry(&upper.overlay(), &next, &patterns).unwrap(), 10);
    let work = upper.own("spare").join("overlay-workdir/_");
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), next.display(), work.display());
    run("mount", &["-t", "overlay", "next", "-o", &options, merged.to_str().unwrap()]);
    for (path, before) in kept.iter().zip(before) {
        assert_eq!(shown(&merged.join(path)), before, "{path}");
    }
    assert_eq!(shown(&merged.join("etc/motd")), None);
    assert!(fs::metadata(merged.join("srv/app/null")).unwrap().file_type().is_char_device());
    let inode = |path: &str| fs::metadata(merged.join(path)).unwrap().ino();
    assert_eq!(inode("srv/app/secret"), inode("srv/app/twin"));
    assert_eq!(xattr::get(merged.join("srv/app/changed"), "system.posix_acl_access").unwrap(), Some(acl));
    // All else is the image's again.
    assert_eq!(fs::read_to_string(merged.join("srv/rest/x")).unwrap(), "image");
    assert!(!merged.join("srv/unasked").exists());
    for directory in [merged, lower, upper_root] {
        run("umount", &[directory.to_str().unwrap()]);
    }
    run("e2fsck", &["-fn", &card.partition(3)]);
    card.eject();
}
