//! Packages that came with the image, installed by the real dpkg on a node that is the card's second partition in a chroot.

use crate::card::{Card, copy_programs, run, text};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

/// dpkg, what it insists on, and what the maintainer scripts here call.
const PROGRAMS: [&str; 14] = [
    "dpkg",
    "dpkg-deb",
    "dpkg-split",
    "dpkg-trigger",
    "start-stop-daemon",
    "ldconfig",
    "tar",
    "rm",
    "diff",
    "sh",
    "true",
    "touch",
    "cat",
    "sync",
];
/// Where the packages wait.
const WAITING: &str = "var/lib/burnonce/packages";
/// Kills the agent and dpkg, once: what a power cut leaves of them, but for what is still in memory.
const CUT: &str = "if [ -e /cut ]; then rm /cut; read -r _ _ _ agent _ </proc/$PPID/stat; kill -9 $agent $PPID; fi\n";
/// As that of initramfs-tools 0.142.
const INITRAMFS_TOOLS: &str = r#"if [ "x$1" != xtriggered ]; then update-initramfs -u; else
DPKG_MAINTSCRIPT_PACKAGE='' update-initramfs -u; fi
"#;
const OVERLAYROOT: &str = "dpkg-trigger update-initramfs\n";
/// As those of debhelper ask, and what burnonce's own does.
const BURNONCE: &str =
    "code=0; /usr/sbin/policy-rc.d ssh.service start || code=$?; echo $code >>/policy; update-initramfs -u -k all\n";

/// Makes a package of this one file, with this script run at the end of its installation.
fn package(directory: &Path, name: &str, depends: &str, (path, content): (&str, &[u8]), postinst: &str) {
    let tree = directory.join(format!("of-{name}"));
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    let control = format!(
        "Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n{depends}Description: x\n"
    );
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let write = |path: &Path, content: &[u8]| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    write(&tree.join("DEBIAN/postinst"), format!("#!/bin/sh\nset -e\n{postinst}").as_bytes());
    write(&tree.join(path), content);
    if name == "initramfs-tools" {
        fs::write(tree.join("DEBIAN/triggers"), "interest-await update-initramfs\n").unwrap();
    }
    let file = directory.join(format!("{name}_1.0_all.deb"));
    run("dpkg-deb", &["--root-owner-group", "-Znone", "--build", tree.to_str().unwrap(), file.to_str().unwrap()]);
    fs::remove_dir_all(tree).unwrap();
}

/// A card whose image has dpkg, initramfs-tools and, in files, overlayroot and burnonce itself, with these scripts.
fn baked(triggered: &str, overlayroot: &str) -> Card {
    let mut card = Card::burned(2048);
    card.insert(false);
    card.write(2, |root| {
        copy_programs(&PROGRAMS, root);
        std::os::unix::fs::symlink("usr/sbin", root.join("bin")).unwrap();
        for directory in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log", WAITING] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
        let script = "usr/share/initramfs-tools/scripts/init-bottom/overlayroot";
        fs::remove_file(root.join(script)).unwrap();
        let waiting = root.join(WAITING);
        let program = b"#!/bin/sh\necho \"$*\" >>/rebuilds\n";
        package(
            &waiting,
            "initramfs-tools",
            "",
            ("usr/sbin/update-initramfs", program),
            &format!("{triggered}{INITRAMFS_TOOLS}"),
        );
        run(
            "chroot",
            &[root.to_str().unwrap(), "dpkg", "--install", &format!("/{WAITING}/initramfs-tools_1.0_all.deb")],
        );
        assert_eq!(fs::read_to_string(root.join("rebuilds")).unwrap(), "-u\n");
        for file in [root.join("rebuilds"), waiting.join("initramfs-tools_1.0_all.deb")] {
            fs::remove_file(file).unwrap();
        }
        package(&waiting, "overlayroot", "Depends: initramfs-tools\n", (script, b""), overlayroot);
        // The agent replaces its own program while it runs.
        let agent = fs::read(root.join("usr/sbin/burnonce")).unwrap();
        package(
            &waiting,
            "burnonce",
            "Depends: initramfs-tools, overlayroot\n",
            ("usr/sbin/burnonce", &agent),
            BURNONCE,
        );
    });
    card.eject();
    card
}

/// A boot of the node with both units.
fn boot(card: &mut Card) -> (Output, Output) {
    card.boot(false);
    let early = card.burnonce(&["-v", "converge", "--no-reboot"]);
    let asked = card.root().join("run/burnonce/prepare").exists();
    assert!(asked, "the late unit is not asked for: {}", text(&early));
    let late = card.burnonce(&["-v", "prepare", "--no-reboot"]);
    (early, late)
}

fn status(node: &Path) -> String {
    let status = fs::read_to_string(node.join("var/lib/dpkg/status")).unwrap();
    status.lines().filter(|line| line.starts_with("Status: ")).collect::<Vec<_>>().join("\n")
}

/// All is installed, the initramfs was rebuilt once, and nothing of it stays.
fn assert_prepared(node: &Path, late: &Output) {
    assert_eq!(late.status.code(), Some(0), "{}", text(late));
    assert_eq!(status(node), ["Status: install ok installed"; 3].join("\n"), "{}", text(late));
    assert_eq!(fs::read_to_string(node.join("rebuilds")).unwrap(), "-u -k all\n", "{}", text(late));
    assert_eq!(fs::read_to_string(node.join("policy")).unwrap(), "101\n");
    for path in ["usr/sbin/policy-rc.d", "var/lib/burnonce"] {
        assert!(!node.join(path).exists(), "{path}");
    }
    let conf = fs::read_to_string(node.join("etc/overlayroot.local.conf")).unwrap();
    assert!(conf.contains(" rebuilt=1\n") && !conf.contains("failed"), "{conf}");
}

fn assert_converts(card: &mut Card) {
    card.eject();
    card.boot(false);
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    card.eject();
    assert_eq!(card.table().len(), 3, "{}", text(&output));
    card.insert(false);
    run("e2fsck", &["-fn", &card.partition(2)]);
}

#[test]
fn packages_of_the_image_are_installed_and_the_initramfs_is_rebuilt_once() {
    let mut card = baked("", OVERLAYROOT);
    let (early, late) = boot(&mut card);
    let said = text(&early);
    assert!(said.contains("this image came with 2 packages (burnonce, overlayroot)"), "{said}");
    assert!(text(&late).contains("setting up overlayroot (1.0)"), "{}", text(&late));
    assert_prepared(&card.root(), &late);
    assert_converts(&mut card);
}

/// What no package of the image is at fault for: initramfs-tools is cut off in its trigger, and the others depend on it.
#[test]
fn an_installation_that_is_cut_off_is_finished_by_the_next_boot() {
    for (triggered, overlayroot) in [(CUT, OVERLAYROOT.to_owned()), ("", format!("{CUT}{OVERLAYROOT}"))] {
        let mut card = baked(triggered, &overlayroot);
        card.insert(false);
        card.write(2, |root| fs::write(root.join("cut"), "").unwrap());
        card.eject();
        let (_, late) = boot(&mut card);
        assert_eq!(late.status.code(), None, "it was not killed: {}", text(&late));
        let node = card.root();
        // dpkg writes each change into a file of its own there, and all into `status` at its end.
        let updates = fs::read_dir(node.join("var/lib/dpkg/updates")).unwrap();
        let updates = updates.map(|update| fs::read_to_string(update.unwrap().path()).unwrap()).collect::<String>();
        assert!(updates.contains("half-configured"), "{updates}");
        assert!(node.join("usr/sbin/policy-rc.d").exists());
        card.eject();
        let node = card.boot(false);
        let early = card.burnonce(&["-v", "converge", "--no-reboot"]);
        assert_eq!(early.status.code(), Some(0), "{}", text(&early));
        // In whatever way this boot goes on: services start in it again.
        assert!(!node.join("usr/sbin/policy-rc.d").exists() && !node.join("var/lib/burnonce/stubs").exists());
        let late = card.burnonce(&["-v", "prepare", "--no-reboot"]);
        assert!(text(&late).contains(", attempt 2 of 3"), "{}", text(&late));
        assert_eq!(late.status.code(), Some(0), "{}", text(&late));
        let policy = fs::read_to_string(node.join("policy")).unwrap();
        assert_eq!(policy.replace("101\n", ""), "", "{policy}");
        fs::write(node.join("policy"), "101\n").unwrap();
        assert_prepared(&node, &late);
        assert_converts(&mut card);
    }
}

#[test]
fn an_installation_that_fails_is_tried_three_times_and_told() {
    let mut card = baked("", "exit 7\n");
    for attempt in 1..=3 {
        let (_, late) = boot(&mut card);
        assert_eq!(late.status.code(), Some(1), "{}", text(&late));
        let node = card.root();
        let conf = fs::read_to_string(node.join("etc/overlayroot.local.conf")).unwrap();
        assert!(conf.contains(&format!(" rebuilds={attempt} rebuilt=0\n")), "{conf}");
        assert!(conf.contains("subprocess returned error exit status 7"), "{conf}");
        assert!(!node.join("usr/sbin/policy-rc.d").exists() && !node.join("rebuilds").exists());
        assert_eq!(fs::read_dir(node.join(WAITING)).unwrap().count(), 2);
        card.eject();
    }
    let node = card.boot(false);
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("3 attempts to install the packages that came with this image"), "{said}");
    assert!(
        said.contains("exit status 7") && said.contains("dpkg --install /var/lib/burnonce/packages/*.deb"),
        "{said}"
    );
    assert!(!node.join("run/burnonce/prepare").exists());
}
