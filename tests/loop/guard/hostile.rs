//! Uppers as nobody makes them on purpose: the guard comes to an end, loses no generation and mixes none.

use super::{Bench, asked, fill, names, request};
use burnonce::guard::kernel_log::KernelLog;
use burnonce::guard::report::Verdict;
use burnonce::guard::room;
use burnonce::state::{self, Kind, Request, State};
use burnonce::upper::Upper;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Resets once, so that generation 1 is set aside.
fn with_one_aside(bench: &Bench) {
    bench.write(|upper| {
        fs::write(upper.overlay().join("first"), "1").unwrap();
        request(upper, "first", Kind::Reset);
    });
    bench.upper();
    bench.write(|upper| {
        let state = State { fresh: false, ..upper.state().unwrap() };
        upper.write_state(&state).unwrap();
        fs::write(upper.overlay().join("second"), "2").unwrap();
    });
}

#[test]
fn kept_files_that_do_not_fit_cost_nothing() {
    let bench = Bench::new("");
    with_one_aside(&bench);
    bench.write(|upper| {
        // More than half of the upper.
        fs::write(upper.overlay().join("big"), vec![1; 600 << 20]).unwrap();
        let mut state = upper.state().unwrap();
        state.request = Some(Request { keep: vec!["/big".to_owned()], ..asked("r", Kind::Reset) });
        upper.write_state(&state).unwrap();
    });
    let before = bench.write(|upper| nix::sys::statvfs::statvfs(upper.root()).unwrap().blocks_free());
    let seen = bench.upper();
    let refused = seen.report.request.as_ref().unwrap().refused.clone().unwrap();
    assert!(refused.contains("the upper is full"), "{refused}");
    bench.write(|upper| {
        let after = nix::sys::statvfs::statvfs(upper.root()).unwrap().blocks_free();
        assert_eq!(names(&upper.generation(1).join("overlay")), ["first"], "{:?}", seen.report.did);
        assert_eq!(upper.state().unwrap().set_aside.len(), 1);
        assert!(after + 1024 > before, "{after} of {before} blocks are free: {:?}", seen.report.did);
    });
}

type Make = fn(PathBuf);

#[test]
fn a_state_file_that_is_none_ends_in_memory() {
    let bench = Bench::new("");
    let file = |upper: &Upper| upper.root().join(state::PATH);
    let make: [(&str, Make); 4] = [
        ("a pipe", |path| nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap()),
        ("a link to what has no end", |path| symlink("/dev/zero", path).unwrap()),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        ("huge", |path| fs::File::create(path).unwrap().set_len(64 << 30).unwrap()),
    ];
    for (what, make) in make {
        bench.write(|upper| {
            let path = file(upper);
            if path.is_dir() {
                fs::remove_dir(&path).unwrap()
            } else {
                fs::remove_file(&path).unwrap()
            }
            make(path);
        });
        let log = bench.root.with_file_name("kmsg-hostile");
        fs::write(&log, "").unwrap();
        super::run("mount", &["-o", "ro", &bench.card.partition(2), bench.root.to_str().unwrap()]);
        super::run("mount", &["--bind", log.to_str().unwrap(), "/dev/kmsg"]);
        let output = Command::new("timeout")
            .args(["-s", "KILL", "20", "prlimit", "--as=1000000000", env!("CARGO_BIN_EXE_burnonce"), "guard", "--root"])
            .arg(&bench.root)
            .output();
        super::run("umount", &["/dev/kmsg"]);
        super::run("umount", &[bench.root.to_str().unwrap()]);
        let output = output.unwrap();
        let console = fs::read_to_string(&log).unwrap();
        let _ = Command::new("umount").arg("/run/burnonce/check").output();
        assert_eq!(output.status.code(), Some(0), "{what}: {}{console}", super::text(&output));
        let report = super::report::read(Path::new("/")).unwrap().unwrap();
        assert_eq!(report.verdict, Verdict::Memory, "{what}: {console}");
    }
}

/// The upper as burnonce 0.1.0 left it.
fn as_of_0_1_0(upper: &Upper) {
    for name in ["generations", "reclaim", "spare", "boot", "ballast"] {
        let _ = fs::remove_dir_all(upper.own(name));
    }
    let State { made_for, .. } = upper.state().unwrap();
    let text = format!(r#"{{"version":"1.0","made_by":"0.1.0","made_for":"{made_for}","attempts":1,"generation":1}}"#);
    fs::write(upper.root().join(state::PATH), text).unwrap();
}

#[test]
fn an_upper_of_the_first_version_is_reset_and_comes_back() {
    let bench = Bench::new("");
    bench.write(as_of_0_1_0);
    assert_eq!(bench.upper().report.did, [""; 0]);
    bench.write(|upper| {
        fs::write(upper.overlay().join("first"), "1").unwrap();
        request(upper, "r", Kind::Reset);
    });
    bench.upper();
    bench.write(|upper| {
        let state = upper.state().unwrap();
        assert_eq!((state.generation, state.set_aside.len(), names(&upper.overlay()).len()), (2, 1, 0));
        request(upper, "u", Kind::Undo);
    });
    bench.upper();
    bench.write(|upper| {
        assert_eq!((upper.state().unwrap().generation, names(&upper.overlay())), (1, vec!["first".to_owned()]));
    });
}

#[test]
fn the_last_number_is_the_end_and_no_crash() {
    let bench = Bench::new("");
    bench.write(|upper| {
        Upper::set_number(&upper.overlay(), u32::MAX).unwrap();
        let state = State { generation: u32::MAX, ..upper.state().unwrap() };
        upper.write_state(&state).unwrap();
        fs::write(upper.overlay().join("mine"), "1").unwrap();
        request(upper, "r", Kind::Reset);
    });
    let seen = bench.upper();
    assert!(seen.report.request.unwrap().refused.is_some());
    bench.write(|upper| assert_eq!(names(&upper.overlay()), ["mine"]));
}

#[test]
fn a_full_upper_without_a_reserve_is_reset() {
    let bench = Bench::new("");
    bench.write(|upper| {
        request(upper, "r", Kind::Reset);
        fs::remove_dir_all(upper.own("ballast")).unwrap();
        fill(&upper.overlay());
    });
    let seen = bench.upper();
    assert_eq!(seen.report.request.as_ref().unwrap().refused, None);
    bench.write(|upper| {
        let state = upper.state().unwrap();
        assert_eq!((state.generation, state.request, names(&upper.overlay()).len()), (2, None, 0));
    });
}

type Damage = fn(&Upper);

#[test]
fn what_has_a_name_of_ours_is_out_of_the_way() {
    let damages: [(&str, Damage); 8] = [
        ("generations is a file", |u| {
            let _ = fs::remove_dir_all(u.own("generations"));
            fs::write(u.own("generations"), "").unwrap();
        }),
        ("generations is a link", |u| {
            fs::remove_dir_all(u.own("generations")).unwrap();
            symlink("/run", u.own("generations")).unwrap();
        }),
        ("the place is taken by a file", |u| fs::write(u.generation(1), "").unwrap()),
        ("the place is taken by a link to nothing", |u| symlink("nowhere", u.generation(1)).unwrap()),
        ("next is a file", |u| fs::write(u.own("next"), "").unwrap()),
        ("next is a link to the upper in use", |u| symlink("..", u.own("next")).unwrap()),
        ("spare is a link to somewhere else", |u| {
            fs::remove_dir_all(u.own("spare")).unwrap();
            symlink("/run", u.own("spare")).unwrap();
        }),
        ("reclaim is a link to the upper in use, and the place is taken", |u| {
            fs::remove_dir_all(u.own("reclaim")).unwrap();
            symlink("../overlay", u.own("reclaim")).unwrap();
            fs::create_dir(u.generation(1)).unwrap();
        }),
    ];
    let mut bench = Bench::new("");
    bench.write(|upper| {
        fs::write(upper.overlay().join("mine"), "1").unwrap();
        request(upper, "r", Kind::Reset);
    });
    let sound = bench.keep("sound.img");
    let mut wrong = Vec::new();
    for (what, damage) in damages {
        bench.write(damage);
        let first = bench.upper();
        let second = bench.upper();
        bench.write(|upper| {
            let state = upper.state().unwrap();
            let there = names(&upper.overlay());
            let aside = upper.generation(1).join("overlay");
            let kept = if aside.is_dir() { names(&aside) } else { Vec::new() };
            let done = (state.generation, there.len(), kept == ["mine"]) == (2, 0, true);
            let refused = (state.generation, there == ["mine"]) == (1, true);
            if !(done || refused) || state.request.is_some() {
                wrong.push(format!(
                    "{what}: generation {}, {there:?}, {kept:?}, {:?}, {:?}",
                    state.generation, first.report.did, second.report.did
                ));
            }
        });
        bench.restore(&sound);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An undo whose exchange is done and whose books could not be written.
#[test]
fn room_is_not_taken_from_an_exchange_that_is_not_in_the_books() {
    let bench = Bench::new("");
    with_one_aside(&bench);
    bench.write(|upper| {
        // As after a cut between the exchange and the books.
        request(upper, "u", Kind::Undo);
        fs::rename(upper.overlay(), upper.own("two")).unwrap();
        fs::rename(upper.generation(1).join("overlay"), upper.overlay()).unwrap();
        fs::rename(upper.own("two"), upper.generation(1).join("overlay")).unwrap();
        let state = upper.state().unwrap();
        fill(&upper.overlay());
        let log = KernelLog::of(Path::new("/proc"));
        let reserve = room::reserve(Path::new("/"), bench.device().trim_start_matches("/dev/"));
        assert!(room::is_short(upper, reserve, &state).unwrap());
        let _ = room::make(upper, reserve, state, &log, &mut Vec::new());
        assert_eq!(names(&upper.generation(1).join("overlay")), ["second"]);
    });
    bench.upper();
    bench.write(|upper| {
        assert_eq!(upper.state().unwrap().generation, 1);
        assert!(names(&upper.overlay()).contains(&"first".to_owned()));
    });
}
