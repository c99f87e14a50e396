//! A signal that ends baking leaves nothing behind, or all of it.

use crate::refused::given;
use crate::{Ran, command, names, rows, text};
use std::fs;
use std::process::{Command, Stdio};
use tempfile::TempDir;

#[test]
fn a_signal_at_any_time_leaves_nothing() {
    let given = given(&rows::trixie());
    let out = given.output.path().join("out.img.xz");
    let mut ended = 0;
    for wait in [5, 20, 60, 120, 250] {
        let temporary = TempDir::new().unwrap();
        let arguments = [&[text(&given.image), "-o", text(&out)], &given.debs()[..]].concat();
        let bake = command(temporary.path(), &arguments);
        // Whoever runs the tests in the background may have them ignore this signal.
        let mut child = Command::new("env");
        child.arg("--default-signal=INT").arg(bake.get_program()).args(bake.get_args());
        child.envs(bake.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = child.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(wait));
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        let code = Ran::of(&child.wait_with_output().unwrap()).code;
        assert_eq!(names(temporary.path()), [""; 0], "after {wait} ms");
        if code == 1002 {
            ended += 1;
            assert_eq!(names(given.output.path()), [""; 0], "after {wait} ms");
        } else {
            assert_eq!((code, names(given.output.path()).len()), (0, 2), "after {wait} ms");
            names(given.output.path()).iter().for_each(|name| fs::remove_file(given.output.path().join(name)).unwrap());
        }
    }
    assert!(ended > 0, "each was done before it was ended");
}

/// At the calls at which something is, or could be, under a name: a copy of the boot partition is made to be checked, checksum and image are
/// placed. strace sends the signal there.
#[test]
fn a_signal_in_between_leaves_all_or_nothing() {
    let given = given(&rows::trixie());
    for (call, which) in
        [("ftruncate", 1), ("ftruncate", 2), ("linkat", 1), ("linkat", 2), ("rename", 1), ("rename", 2)]
    {
        let (temporary, output) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let out = output.path().join("out.img");
        let (is_replaced, at) = (call == "rename", format!("{call} {which}"));
        if is_replaced {
            fs::write(&out, "old").unwrap();
            fs::write(output.path().join("out.img.sha256"), "old").unwrap();
        }
        let arguments = [&[text(&given.image), "-o", text(&out), "--yes"], &given.debs()[..]].concat();
        let bake = command(temporary.path(), &arguments);
        // arm64 has no `rename` of its own.
        let calls = if is_replaced { "?rename,?renameat,?renameat2" } else { call };
        let inject = format!("inject={calls}:signal=INT:when={which}");
        let mut strace = Command::new("env");
        strace.args([
            "--default-signal=INT",
            "strace",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={calls}"),
            "-e",
            &inject,
        ]);
        strace.arg(bake.get_program()).args(bake.get_args());
        strace.envs(bake.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ended = strace.stdin(Stdio::null()).output().expect("strace, of the package strace, has to be installed");
        assert_eq!(Ran::of(&ended).code, 1002, "{at}: {ended:?}");
        assert_eq!(names(temporary.path()), [""; 0], "{at}");
        let left = names(output.path());
        if call == "ftruncate" {
            assert_eq!(left, [""; 0], "{at}");
        } else {
            assert_eq!(left, ["out.img", "out.img.sha256"], "{at}");
            let check =
                Command::new("sha256sum").args(["--check", "out.img.sha256"]).current_dir(output.path()).output();
            assert!(check.unwrap().status.success(), "{at}");
        }
    }
}
