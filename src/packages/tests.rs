use super::*;
use std::os::unix::fs::PermissionsExt;

const PACKAGES: [&str; 2] = ["burnonce_0.2.0_arm64.deb", "overlayroot_0.47_all.deb"];

/// A node with packages, and a dpkg that is this script. It finds the node's root in `$NODE`.
struct Node {
    directory: tempfile::TempDir,
}

impl Node {
    fn new(script: &str) -> Node {
        let node = Node { directory: tempfile::tempdir().unwrap() };
        for directory in [DIRECTORY, "/usr/sbin"] {
            fs::create_dir_all(files::below(node.root(), directory)).unwrap();
        }
        for package in PACKAGES {
            fs::write(node.at(DIRECTORY).join(package), "").unwrap();
        }
        let dpkg = node.root().join("dpkg");
        fs::write(&dpkg, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&dpkg, fs::Permissions::from_mode(0o755)).unwrap();
        node
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    fn at(&self, path: &str) -> PathBuf {
        files::below(self.root(), path)
    }

    fn install(&self, again: bool, limit: Duration) -> (Result<()>, Vec<String>) {
        let dpkg = Program::at(self.root().join("dpkg")).env("NODE", self.root().display().to_string());
        let mut said = Vec::new();
        let result =
            Installer { root: self.root(), dpkg, limit }
                .install(&waiting(self.root()).unwrap(), again, &mut |words| said.push(words.to_owned()));
        (result, said)
    }

    /// Nothing keeps services from being started, nor the initramfs from being rebuilt.
    fn assert_quiet_has_ended(&self) {
        assert!(!self.at(STUBS).exists(), "the stubs are still there");
        assert!(!self.at(POLICY).exists(), "policy-rc.d is still there");
        assert!(!has_leftovers(self.root()));
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_packages_that_wait_are_found() {
    let node = Node::new("");
    fs::write(node.at(DIRECTORY).join("SHA256SUMS"), "").unwrap();
    fs::write(node.at(DIRECTORY).join("busybox_1%3a1.35.0-4_arm64.deb"), "").unwrap();
    let expected = ["burnonce_0.2.0_arm64.deb", "busybox_1%3a1.35.0-4_arm64.deb", "overlayroot_0.47_all.deb"];
    assert_eq!(waiting(node.root()).unwrap(), expected);
    let names = waiting(node.root()).unwrap();
    assert_eq!(summary(&names), "3 packages (burnonce, busybox, overlayroot)");
    assert_eq!(summary(&names[..1]), "1 package (burnonce)");
    assert_eq!(summary(&[names.clone(), names].concat()), "6 packages (burnonce, busybox, overlayroot, burnonce, ...)");
    remove(node.root()).unwrap();
    assert!(waiting(node.root()).unwrap().is_empty());
    assert!(!node.at("/var/lib/burnonce").exists(), "nothing of it stays in the image");
    assert!(node.at("/var/lib").exists());
    // Removed once more, as after a power cut.
    remove(node.root()).unwrap();
}

#[test]
fn dpkg_gets_all_files_at_once_and_a_quiet_node() {
    let node = Node::new(
        r#"printf '%s\n' "$@" >"$NODE/arguments"
        printf '%s\n' "$DEBIAN_FRONTEND" "$LC_ALL" "$HOME" >"$NODE/environment"
        command -v update-initramfs >"$NODE/found"
        update-initramfs -u -k all && "$NODE/usr/sbin/policy-rc.d" ssh.service start; echo $? >"$NODE/policy"
        read -r line && exit 9
        echo "(Reading database ... 7 files and directories currently installed.)"
        echo "Unpacking overlayroot (0.47) ..."
        echo "Unpacking burnonce (0.2.0) over (0.1.0) ..."
        echo "Setting up overlayroot (0.47) ...""#,
    );
    let (result, said) = node.install(false, MINUTE);
    result.unwrap();
    let read = |name: &str| fs::read_to_string(node.root().join(name)).unwrap();
    let files = PACKAGES.map(|name| node.at(DIRECTORY).join(name).display().to_string());
    let expected =
        ["--force-confold", "--force-confdef", "--install", "--auto-deconfigure", &files[0], &files[1], ""].join("\n");
    assert_eq!(read("arguments"), expected);
    assert_eq!(read("environment"), "noninteractive\nC.UTF-8\n/root\n");
    assert_eq!(read("found"), format!("{}/update-initramfs\n", node.at(STUBS).display()));
    assert_eq!(read("policy"), "101\n");
    let expected =
        ["unpacking overlayroot (0.47)", "unpacking burnonce (0.2.0) over (0.1.0)", "setting up overlayroot (0.47)"];
    assert_eq!(said, expected);
    node.assert_quiet_has_ended();
    assert_eq!(waiting(node.root()).unwrap(), PACKAGES, "they stay until the card has all of it");
}

#[test]
fn a_dpkg_that_fails_is_told_and_nothing_stays_quiet() {
    let node = Node::new(
        r#"echo "Setting up overlayroot (0.47) ..."
        echo "dpkg: error processing package overlayroot (--install):" >&2
        echo " dependency problems - leaving unconfigured" >&2
        echo "Errors were encountered while processing:" >&2
        echo " overlayroot" >&2
        exit 1"#,
    );
    let (result, _) = node.install(false, MINUTE);
    assert_eq!(
        result.unwrap_err().to_string(),
        "dpkg failed (exit status: 1): dpkg: error processing package overlayroot (--install): / dependency problems - leaving unconfigured"
    );
    node.assert_quiet_has_ended();
    assert_eq!(waiting(node.root()).unwrap(), PACKAGES);
}

#[test]
fn a_dpkg_that_hangs_is_killed_and_nothing_stays_quiet() {
    let node = Node::new("sleep 1000 & echo $! >\"$NODE/child\"; wait");
    let begun = Instant::now();
    let (result, _) = node.install(false, Duration::from_secs(2));
    let error = result.unwrap_err().to_string();
    assert!(error.ends_with("dpkg did not end within 2 s, and was killed"), "{error}");
    assert!(begun.elapsed() < MINUTE / 2, "{:?}", begun.elapsed());
    let child = fs::read_to_string(node.root().join("child")).unwrap();
    let state = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
    assert!(state.as_ref().map_or(true, |stat| stat.contains(") Z ")), "its child still runs: {state:?}");
    node.assert_quiet_has_ended();
}

#[test]
fn a_dpkg_that_is_not_there_is_told_and_nothing_stays_quiet() {
    let node = Node::new("");
    fs::remove_file(node.root().join("dpkg")).unwrap();
    let error = format!("{:#}", node.install(false, MINUTE).0.unwrap_err());
    assert!(error.contains("starting ") && error.contains("No such file"), "{error}");
    node.assert_quiet_has_ended();
}

/// What is half done beside the packages is put right first; that it cannot all be is no failure.
#[test]
fn a_further_attempt_configures_before_it_installs() {
    let script = r#"shift 2; echo "$1" >>"$NODE/calls"; [ "$1" = --install ]"#;
    for (again, calls) in [(false, "--install\n"), (true, "--configure\n--install\n")] {
        let node = Node::new(script);
        node.install(again, MINUTE).0.unwrap();
        assert_eq!(fs::read_to_string(node.root().join("calls")).unwrap(), calls);
        node.assert_quiet_has_ended();
    }
    // Both have the same time.
    let node = Node::new("sleep 1000");
    assert!(node.install(true, Duration::from_secs(1)).0.is_err());
    node.assert_quiet_has_ended();
}

#[test]
fn what_a_power_cut_leaves_is_ours_and_goes() {
    for left in [POLICY, "/usr/sbin/policy-rc.d.burnonce-new"] {
        let node = Node::new("");
        fs::write(node.at(left), FORBID).unwrap();
        assert!(has_leftovers(node.root()), "{left}");
        clear_leftovers(node.root()).unwrap();
        assert!(!node.at(left).exists(), "{left}");
    }
    let node = Node::new("[ -x \"$NODE/usr/sbin/policy-rc.d\" ]");
    std::mem::forget(Quiet::begin(node.root()).unwrap());
    // One that was cut short while it was made, too.
    fs::write(node.at(STUBS).join("update-initramfs"), "#!").unwrap();
    assert!(has_leftovers(node.root()));
    node.install(true, MINUTE).0.unwrap();
    node.assert_quiet_has_ended();
}

#[test]
fn a_policy_of_the_image_stays_as_it_is() {
    let node = Node::new("cmp \"$NODE/usr/sbin/policy-rc.d\" \"$NODE/policy\"");
    let text = "#!/bin/sh\n# made by the builder of this image\nexit 101\n";
    for name in ["policy", "usr/sbin/policy-rc.d"] {
        fs::write(node.root().join(name), text).unwrap();
    }
    node.install(false, MINUTE).0.unwrap();
    assert_eq!(fs::read_to_string(node.at(POLICY)).unwrap(), text);
    assert!(!node.at(STUBS).exists() && !has_leftovers(node.root()));
}

#[test]
fn the_reason_is_what_dpkg_says_first() {
    let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    assert_eq!(reason(&[]), "it said nothing");
    assert_eq!(reason(&lines("a\nb\nc\n\nd\n")), "b / c / d");
    let locked = "dpkg: error: dpkg frontend lock was locked by another process with pid 7\nNote: ...\n";
    assert!(reason(&lines(locked)).starts_with("dpkg: error: dpkg frontend lock was locked"));
}
