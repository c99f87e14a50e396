//! Requests, and a full upper.

use super::{Bench, asked, fill, modules, names, request};
use crate::card::run;
use burnonce::state::{Generation, Kind, State, Trigger};
use burnonce::upper::Upper;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

#[test]
fn a_reset_an_undo_and_the_undo_of_an_undo() {
    let bench = Bench::new("");
    bench.write(|upper| fs::write(upper.overlay().join("first"), "1").unwrap());
    let step = |id: &str, kind: Kind, generation: u32, aside: &[u32], said: &str| {
        bench.request(id, kind);
        let seen = bench.upper();
        let done = seen.report.request.as_ref().unwrap();
        assert_eq!((done.request.id.as_str(), &done.refused), (id, &None));
        assert!(seen.console.contains(&format!("<5>burnonce: {said}\n")), "{}", seen.console);
        bench.write(|upper| {
            let state = upper.state().unwrap();
            assert_eq!((state.generation, state.request.as_ref(), state.user_data.as_ref()), (generation, None, None));
            assert_eq!(state.set_aside.iter().map(|g| g.number).collect::<Vec<_>>(), aside);
            assert_eq!((state.last.as_ref(), state.fresh), (Some(done), kind == Kind::Reset));
            assert_eq!(Upper::number(&upper.overlay()).unwrap(), generation);
            for aside in aside {
                assert_eq!(Upper::number(&upper.generation(*aside).join("overlay")).unwrap(), *aside);
            }
            assert_eq!(fs::metadata(upper.overlay()).unwrap().mode() & 0o7777, 0o755);
            assert!(!upper.own("next").exists());
            assert_eq!(names(&upper.workdir().join("_")), [""; 0], "the work directory is a new one");
            // As an overlay leaves it.
            fs::create_dir(upper.workdir().join("_/work")).unwrap();
            let logs = names(&upper.own("log"));
            let log = upper.own("log").join(logs.last().unwrap());
            assert!(fs::read_to_string(&log).unwrap().contains(said), "{logs:?}");
        });
    };
    step("a", Kind::Reset, 2, &[1], "reset: generation 2 begins; the one before is kept for `burnonce undo`");
    bench.write(|upper| {
        assert_eq!(names(&upper.overlay()), [""; 0]);
        fs::write(upper.overlay().join("second"), "2").unwrap();
    });
    step("b", Kind::Undo, 1, &[2], "undo: generation 1 is back; generation 2 is kept for `burnonce undo`");
    bench.write(|upper| assert_eq!(names(&upper.overlay()), ["first"]));
    step("c", Kind::Undo, 2, &[1], "undo: generation 2 is back; generation 1 is kept for `burnonce undo`");
    bench.write(|upper| assert_eq!(names(&upper.overlay()), ["second"]));
    step("d", Kind::Reset, 3, &[1, 2], "reset: generation 3 begins; the one before is kept for `burnonce undo`");
    bench.write(|upper| assert_eq!(names(&upper.overlay()), [""; 0]));
    let before = bench.card.written();
    bench.upper();
    assert_eq!(bench.card.written(), before, "sectors written by the boot after it");
    // A request that was dealt with, once more, as a cut before the removal of a file on the boot partition could bring it.
    bench.write(|upper| {
        let consumed = vec!["d".to_owned()];
        upper.write_state(&State { consumed, ..upper.state().unwrap() }).unwrap();
    });
    bench.request("d", Kind::Reset);
    assert_eq!(bench.upper().report.request, None);
    bench.write(|upper| assert_eq!((upper.state().unwrap().generation, upper.state().unwrap().request), (3, None)));
}

/// The names in a directory, sorted.
#[test]
fn a_request_that_cannot_be_carried_out_is_refused_and_the_node_goes_on() {
    let bench = Bench::new("");
    bench.write(|upper| fs::write(upper.overlay().join("mine"), "1").unwrap());
    let refused = |id: &str, kind: Kind, why: &str| {
        bench.request(id, kind);
        let seen = bench.upper();
        let done = seen.report.request.unwrap();
        assert!(done.refused.as_ref().unwrap().contains(why), "{done:?}");
        assert!(seen.console.contains(&format!("<5>burnonce: {kind} refused: ")), "{}", seen.console);
        bench.write(|upper| {
            let state = upper.state().unwrap();
            assert_eq!((state.generation, state.request, state.last), (1, None, Some(done)));
            assert_eq!(names(&upper.overlay()), ["mine"]);
        });
        assert_eq!(bench.upper().report.request, None, "it is not tried again");
    };
    refused("a", Kind::Undo, "no generation is kept");
    run("tune2fs", &["-O", "^read-only", &bench.card.partition(2)]);
    bench.card.write(2, |lower| fs::remove_dir(lower.join(modules())).unwrap());
    refused("b", Kind::Reset, "the image has no modules of the running kernel");
    // An undo to a generation that has them.
    bench.write(|upper| {
        let (aside, mut state) = (upper.generation(7), upper.state().unwrap());
        fs::create_dir_all(aside.join("overlay/usr").join(modules())).unwrap();
        Upper::set_number(&aside.join("overlay"), 7).unwrap();
        state.set_aside =
            vec![Generation { number: 7, began: 5, ended: 6, kind: Kind::Undo, by: Trigger::File, size: None }];
        state.request = Some(asked("c", Kind::Undo));
        upper.write_state(&state).unwrap();
    });
    assert_eq!(bench.upper().report.request.unwrap().refused, None);
    bench.write(|upper| assert_eq!((upper.state().unwrap().generation, upper.state().unwrap().began), (7, 5)));
}

type Exhaust = fn(&Upper);

/// Takes all inodes of a file system.
fn fill_with_files(directory: &Path) {
    let made = (0..).take_while(|n| fs::File::create(directory.join(format!("file-{n}"))).is_ok()).count();
    assert!(made > 1000, "{made} files");
    run("sync", &["-f", directory.to_str().unwrap()]);
}

#[test]
fn a_full_upper_is_reset_and_has_room_for_a_first_boot() {
    let exhaust: [(&str, Exhaust); 2] =
        [("blocks", |upper| fill(&upper.overlay())), ("inodes", |upper| fill_with_files(&upper.overlay()))];
    for (what, exhaust) in exhaust {
        let bench = Bench::new("");
        // The request comes last on a node, too.
        bench.write(|upper| {
            exhaust(upper);
            run("chattr", &["+i", upper.overlay().to_str().unwrap()]);
            request(upper, "r", Kind::Reset);
        });
        let seen = bench.upper();
        assert_eq!(seen.report.request.as_ref().unwrap().refused, None, "{what}");
        assert!(seen.report.did.iter().any(|line| line.contains("deleted generation 1")), "{:?}", seen.report.did);
        bench.write(|upper| {
            let (state, free) = (upper.state().unwrap(), nix::sys::statvfs::statvfs(upper.root()).unwrap());
            assert_eq!((state.generation, state.set_aside.len(), names(&upper.overlay()).len()), (2, 0, 0), "{what}");
            assert!(
                free.blocks_free() * 50 > free.blocks() && free.files_free() * 50 > free.files(),
                "{what}: {free:?}"
            );
            assert_eq!(names(&upper.own("generations")).len() + names(&upper.own("reclaim")).len(), 0, "{what}");
        });
    }
}

#[test]
fn a_full_upper_boots_as_itself_as_long_as_there_is_something_to_delete() {
    let bench = Bench::new("");
    bench.request("r", Kind::Reset);
    bench.upper();
    bench.write(|upper| {
        let mut state = upper.state().unwrap();
        // As after a boot of the new generation.
        state.fresh = false;
        upper.write_state(&state).unwrap();
        fs::create_dir(upper.own("reclaim/left")).unwrap();
        fs::write(upper.generation(1).join("overlay/big"), vec![1; 1 << 20]).unwrap();
        fill(&upper.overlay());
    });
    let seen = bench.upper();
    let did = "deleted generation 1, which was kept for an undo, for room";
    assert_eq!(seen.report.did, ["deleted what was left of an earlier generation, for room", did]);
    bench.write(|upper| fill(&upper.overlay()));
    assert_eq!(bench.upper().report.did, ["deleted the reserve of 1 MiB, for room"]);
    bench.write(|upper| fill(&upper.overlay()));
    bench.memory("is full");
    bench.write(|upper| {
        assert_eq!(upper.state().unwrap().set_aside, []);
        assert_eq!(names(&upper.own("ballast")), ["0"]);
        assert!(upper.overlay().join("fill-1M").exists());
        // Enough is left to ask for a reset, and that is all.
        request(upper, "again", Kind::Reset);
        assert!(!upper.own("ballast").exists());
    });
    assert_eq!(bench.upper().report.request.unwrap().refused, None);
}

/// overlayroot's mount and the first services make files.
#[test]
fn an_upper_without_a_free_inode_boots_as_itself() {
    let bench = Bench::new("");
    bench.write(|upper| fill_with_files(&upper.overlay()));
    assert_eq!(bench.upper().report.did, ["deleted the reserve of 1 MiB, for room"]);
    bench.write(|upper| {
        let free = nix::sys::statvfs::statvfs(upper.root()).unwrap().files_free();
        assert!(free >= 64, "{free} inodes are free");
        let merged = tempfile::tempdir().unwrap();
        let (upper, work) = (upper.overlay(), upper.workdir().join("_"));
        let options = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
        run("mount", &["-t", "overlay", "overlayroot", "-o", &options, merged.path().to_str().unwrap()]);
        run("umount", &[merged.path().to_str().unwrap()]);
    });
}

/// What a reset takes does not depend on how much is set aside. To make 500,000 files takes a minute: `make test-long` does it.
#[test]
fn a_reset_takes_the_same_time_whatever_the_upper_holds() {
    let many = if std::env::var_os("BURNONCE_LONG").is_some() { 500_000 } else { 50_000 };
    let numbers = [1, 10_000, many];
    let bench = Bench::on(9 << 10, "");
    let reset = |id: String| {
        bench.request(&id, Kind::Reset);
        let seen = bench.upper();
        assert_eq!(seen.report.request.as_ref().unwrap().refused, None);
        assert_eq!(seen.report.did, [""; 0]);
        seen.took("request")
    };
    let times = numbers.map(|files| {
        bench.write(|upper| {
            for number in 0..files {
                let directory = upper.overlay().join((number / 1000).to_string());
                if number % 1000 == 0 {
                    fs::create_dir(&directory).unwrap();
                }
                fs::File::create(directory.join(number.to_string())).unwrap();
            }
        });
        let first = reset(files.to_string());
        bench.request("back", Kind::Undo);
        bench.upper();
        // The better one of two: other tests use the machine, too.
        first.min(reset(format!("{files} again")))
    });
    println!(
        "guard: reset with {} files: {}",
        numbers.map(|n| n.to_string()).join(", "),
        times.map(|t| format!("{} ms", t.as_millis())).join(", ")
    );
    let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(*most <= *least * 5 + Duration::from_millis(50), "{times:?}");
}
