//! `reclaim`: what resets have set aside is deleted, whatever is in it and whenever it is interrupted.

use crate::card::{Card, run, text};
use crate::maintain::converted_and_booted;
use burnonce::state::{Generation, Kind, Request, Size, State, Trigger};
use burnonce::tree;
use burnonce::upper::Upper;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

fn set_aside(number: u32) -> Generation {
    Generation { number, began: 1, ended: 2, kind: Kind::Reset, by: Trigger::Command, size: None }
}

/// Puts a generation with files in it aside, as the guard does; the state is not changed.
fn fill(upper: &Upper, number: u32, files: u32) {
    let overlay = upper.generation(number).join("overlay");
    fs::create_dir_all(overlay.join("etc")).unwrap();
    fs::create_dir_all(upper.generation(number).join("overlay-workdir/_/work")).unwrap();
    Upper::set_number(&overlay, number).unwrap();
    for file in 0..files {
        fs::write(overlay.join(format!("etc/{file}")), "written by the node\n").unwrap();
    }
}

/// A converted node that runs on its overlay in generation 10, with these set aside, ten files in each.
fn node(generations: &[u32], configuration: &str) -> (Card, Upper) {
    let (card, node) = converted_and_booted();
    let upper = Upper::at(node.join("media/root-rw"));
    Upper::set_number(&upper.overlay(), 10).unwrap();
    generations.iter().for_each(|&number| fill(&upper, number, 10));
    let aside = generations.iter().map(|&number| set_aside(number)).collect();
    upper.write_state(&State { generation: 10, set_aside: aside, ..upper.state().unwrap() }).unwrap();
    fs::write(node.join("etc/burnonce.yaml"), configuration).unwrap();
    (card, upper)
}

fn reclaim(card: &Card) -> String {
    let output = card.burnonce(&["-v", "reclaim"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    text(&output)
}

fn numbers(upper: &Upper) -> Vec<u32> {
    upper.state().unwrap().set_aside.iter().map(|generation| generation.number).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

fn assert_stocked(upper: &Upper) {
    for directory in ["overlay", "overlay-workdir/_"] {
        let path = upper.own("spare").join(directory);
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o755, 0, 0), "{}", path.display());
        assert_eq!(names(&path), [""; 0], "{}", path.display());
        assert_eq!(xattr::list(&path).unwrap().count(), 0, "{}", path.display());
    }
    let ballast: Vec<_> = names(&upper.own("ballast")).iter().map(|name| upper.own("ballast").join(name)).collect();
    assert_eq!(ballast.len(), 72);
    let blocks = ballast.iter().map(|file| fs::metadata(file).unwrap().blocks());
    assert!(blocks.sum::<u64>() * 512 >= 1 << 20);
}

#[test]
fn what_is_not_kept_is_deleted_and_what_is_missing_is_made_again() {
    let (card, upper) = node(&[3, 4, 8, 9], "reset:\n  generations: 2\n");
    // An orphan, an entry without a tree, an older one's leftover under a number that goes now, a note of the owner's.
    fill(&upper, 7, 1);
    fs::remove_dir_all(upper.generation(4)).unwrap();
    fs::create_dir_all(upper.own("reclaim/3/overlay/half")).unwrap();
    fs::create_dir(upper.own("generations/notes")).unwrap();
    fs::create_dir(upper.own("next")).unwrap();
    let deep = upper.generation(3).join("overlay");
    fs::create_dir_all(deep.join("var/db")).unwrap();
    fs::write(deep.join("var/db/frozen"), "").unwrap();
    fs::write(deep.join("var/log"), "").unwrap();
    run("mknod", &[deep.join("whiteout").to_str().unwrap(), "c", "0", "0"]);
    symlink("/", deep.join("link")).unwrap();
    run("chattr", &["+i", deep.join("var/db/frozen").to_str().unwrap(), deep.join("var/db").to_str().unwrap()]);
    run("chattr", &["+a", deep.join("var/log").to_str().unwrap(), deep.join("var").to_str().unwrap()]);
    // A spare that is not as it must be: the merged root would have its mode.
    fs::set_permissions(upper.own("spare/overlay"), fs::Permissions::from_mode(0o700)).unwrap();
    // The ballast as an earlier version made it.
    fs::remove_dir_all(upper.own("ballast")).unwrap();
    fs::write(upper.own("ballast"), vec![0xB0; 1 << 20]).unwrap();

    let said = reclaim(&card);
    assert!(said.contains("generation 3 is not kept any more"), "{said}");
    assert_eq!(names(&upper.own("generations")), ["8", "9", "notes"]);
    assert_eq!(names(&upper.own("reclaim")), [""; 0]);
    assert!(upper.own("next").is_dir(), "the guard's own");
    let state = upper.state().unwrap();
    let sizes: Vec<_> = state.set_aside.iter().map(|g| (g.number, g.size.unwrap().files)).collect();
    assert_eq!(sizes, [(8, 11), (9, 11)], "ten files and a directory");
    assert!(state.set_aside.iter().all(|g| g.size.unwrap().bytes >= 11 * 4096), "{state:?}");
    assert_stocked(&upper);

    let before = card.written();
    let said = reclaim(&card);
    assert!(said.contains("nothing to reclaim"), "{said}");
    assert_eq!(card.written(), before, "sectors written by a run with nothing to do");
}

/// SIGTERM or SIGKILL at any moment: what an undo can go back to is whole, and a last run ends it.
#[test]
fn an_interrupted_run_is_finished_by_the_next() {
    const FILES: u32 = 3000;
    let (card, upper) = node(&[], "reset:\n  generations: 1\n");
    for number in 1..=4 {
        fill(&upper, number, FILES);
    }
    let aside = (1..=4).map(set_aside).collect();
    upper.write_state(&State { set_aside: aside, ..upper.state().unwrap() }).unwrap();
    let node = card.file().with_file_name("node");
    let mut interrupted = 0;
    for round in 0..60u64 {
        let mut child = Command::new("chroot")
            .arg(&node)
            .args(["/usr/sbin/burnonce", "reclaim"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Longer from round to round: from before its first step to behind its last.
        std::thread::sleep(Duration::from_micros(500 + 700 * round));
        let signal = if round % 2 == 0 { nix::sys::signal::SIGTERM } else { nix::sys::signal::SIGKILL };
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        interrupted += u32::from(!child.wait().unwrap().success());
        let numbers = numbers(&upper);
        assert!(numbers.contains(&4), "round {round}: {numbers:?}");
        for number in numbers {
            // Its entry goes last.
            let Ok(files) = fs::read_dir(upper.generation(number).join("overlay/etc")) else { continue };
            assert_eq!(files.count(), FILES as usize, "round {round}: generation {number} is in part deleted");
        }
    }
    assert!(interrupted >= 3, "only {interrupted} runs were interrupted: this test did not test much");
    reclaim(&card);
    assert_eq!((numbers(&upper), names(&upper.own("generations"))), (vec![4], vec!["4".to_owned()]));
    assert_eq!(names(&upper.own("reclaim")), [""; 0]);
    assert_eq!(upper.state().unwrap().set_aside[0].size.unwrap().files, u64::from(FILES) + 1);
    assert_stocked(&upper);
}

#[test]
fn on_a_card_that_is_nearly_full_the_kept_ones_go_oldest_first() {
    let (card, upper) = node(&[2, 5, 9], "reset:\n  generations: 9\n");
    let statistics = || nix::sys::statvfs::statvfs(upper.root()).unwrap();
    let block = statistics().fragment_size();
    let take = |path: &Path, percent: u64| {
        let length = statistics().blocks() * block * percent / 100;
        run("fallocate", &["--length", &length.to_string(), path.to_str().unwrap()]);
    };
    take(&upper.generation(2).join("overlay/large"), 20);
    take(&upper.generation(5).join("overlay/large"), 20);
    take(&upper.generation(9).join("overlay/large"), 20);
    take(&upper.overlay().join("large"), 37);
    let mut spare = fs::OpenOptions::new().write(true).open(upper.own("ballast/63")).unwrap();
    std::io::Write::write_all(&mut spare, b"x").unwrap();
    spare.set_len(1).unwrap();
    reclaim(&card);
    assert_eq!((numbers(&upper), names(&upper.own("generations"))), (vec![5, 9], vec!["5".into(), "9".into()]));
    assert_stocked(&upper);
    // The node's own files alone are too many: the others go, which is all that can be done, and there is no room for a new spare.
    fs::remove_file(upper.generation(5).join("overlay/large")).unwrap();
    fs::remove_file(upper.generation(9).join("overlay/large")).unwrap();
    take(&upper.overlay().join("largest"), 56);
    fs::remove_dir_all(upper.own("ballast")).unwrap();
    fs::remove_dir_all(upper.own("spare")).unwrap();
    reclaim(&card);
    assert_eq!((numbers(&upper), names(&upper.own("generations")).len()), (vec![], 0));
    assert!(!upper.own("spare").exists() && !upper.own("ballast").exists());
    fs::remove_file(upper.overlay().join("largest")).unwrap();
    reclaim(&card);
    assert_stocked(&upper);
}

#[test]
fn a_pending_request_and_a_wrong_configuration_keep_what_is_there() {
    let (card, upper) = node(&[3, 4], "reset:\n  generations: 0\n");
    let (id, keep) = ("1".to_owned(), Vec::new());
    let request = Request { id, kind: Kind::Undo, by: Trigger::Command, at: 5, keep };
    upper.write_state(&State { request: Some(request), ..upper.state().unwrap() }).unwrap();
    reclaim(&card);
    assert_eq!((numbers(&upper), names(&upper.own("generations")).len()), (vec![3, 4], 2));
    // The guard has exchanged the trees, and did not come to write that down.
    Upper::set_number(&upper.overlay(), 11).unwrap();
    upper.write_state(&State { request: None, ..upper.state().unwrap() }).unwrap();
    reclaim(&card);
    assert_eq!((numbers(&upper), names(&upper.own("generations")).len()), (vec![3, 4], 2));
    Upper::set_number(&upper.overlay(), 10).unwrap();
    let configuration = card.file().with_file_name("node").join("etc/burnonce.yaml");
    fs::write(&configuration, "reset:\n  generation: 1\n").unwrap();
    let said = reclaim(&card);
    assert!(said.contains("no generation is deleted for its number"), "{said}");
    assert_eq!(numbers(&upper), [3, 4]);
    fs::remove_file(&configuration).unwrap();
    reclaim(&card);
    assert_eq!(numbers(&upper), [4], "one is the default");
}

#[test]
fn a_node_that_is_not_on_its_overlay_has_nothing_to_reclaim() {
    let mut card = Card::burned(2048);
    card.boot(false);
    let said = reclaim(&card);
    assert!(said.contains("nothing to do: this node does not run on an overlay on its card"), "{said}");
}

/// A clock that was years behind when the generation began is right now, or nobody says that it is.
#[test]
fn when_a_generation_began_is_put_right_once_the_clock_is() {
    let (card, upper) = node(&[], "");
    let node = card.file().with_file_name("node");
    let began = |seconds: u64| upper.write_state(&State { began: seconds, ..upper.state().unwrap() }).unwrap();
    let mark = node.join("run/burnonce/began");
    began(1_000_000);
    reclaim(&card);
    assert_eq!(upper.state().unwrap().began, 1_000_000, "not this boot's");
    fs::create_dir_all(mark.parent().unwrap()).unwrap();
    fs::write(&mark, "").unwrap();
    reclaim(&card);
    let seconds = upper.state().unwrap().began;
    if burnonce::sys::clock_is_set() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!((now - seconds).abs_diff(uptime as u64) < 60, "{now} {seconds} {uptime}");
        assert!(!mark.exists());
    } else {
        assert!(seconds == 1_000_000 && mark.exists());
    }
}

/// What chattr(1) protects, what is no file, and what is mounted in it, directly on ext4.
#[test]
fn a_tree_goes_with_all_that_is_in_it_but_not_past_a_mount() {
    let (_card, upper) = node(&[], "");
    let top = upper.own("reclaim/top");
    for directory in ["frozen/below", "log", "held/mount", "same/mount"] {
        fs::create_dir_all(top.join(directory)).unwrap();
    }
    let outside = upper.own("outside");
    fs::create_dir(&outside).unwrap();
    for file in ["frozen/file", "frozen/below/file", "log/messages", "held/file"].map(|f| top.join(f)) {
        fs::write(file, "").unwrap();
    }
    fs::write(outside.join("kept"), "").unwrap();
    let path = |name: &str| top.join(name).to_str().unwrap().to_owned();
    run("mknod", &[&path("frozen/whiteout"), "c", "0", "0"]);
    run("mknod", &[&path("frozen/null"), "c", "1", "3"]);
    run("mkfifo", &[&path("frozen/fifo")]);
    symlink(&outside, path("frozen/link")).unwrap();
    xattr::set(path("frozen"), "trusted.overlay.opaque", b"y").unwrap();
    run("chattr", &["+i", &path("frozen/file"), &path("frozen/below"), &path("frozen")]);
    run("chattr", &["+a", &path("log/messages"), &path("log")]);
    assert!(fs::symlink_metadata(path("frozen/whiteout")).unwrap().file_type().is_char_device());
    assert_eq!(tree::measure(&top).unwrap().files, 15);

    run("mount", &["-t", "tmpfs", "mount", &path("held/mount")]);
    run("mount", &["--bind", outside.to_str().unwrap(), &path("same/mount")]);
    fs::write(path("held/mount/kept"), "").unwrap();
    for (name, kept) in [("held", "held/mount/kept"), ("same", "same/mount/kept"), ("same/mount", "same/mount/kept")] {
        let error = format!("{:#}", tree::remove(&top.join(name)).unwrap_err());
        assert!(error.contains(&path(name)) && error.contains("something is mounted there"), "{error}");
        assert!(top.join(kept).exists(), "{kept}");
    }
    assert_eq!(tree::measure(&top.join("same")).unwrap(), Size::default(), "what a mount shows is not counted");
    run("umount", &[&path("held/mount"), &path("same/mount")]);
    run("chattr", &["+i", &path("")]);
    tree::remove(&top).unwrap();
    assert!(fs::symlink_metadata(&top).is_err() && outside.join("kept").exists());
}

/// What a link leads to is somebody's: here the upper that is in use.
#[test]
fn a_link_in_the_place_of_a_directory_of_ours_is_not_followed() {
    let (card, upper) = node(&[3, 4], "");
    fs::remove_dir(upper.own("reclaim")).unwrap();
    symlink("../overlay", upper.own("reclaim")).unwrap();
    fs::remove_dir_all(upper.own("spare")).unwrap();
    symlink("generations/4", upper.own("spare")).unwrap();
    let before = names(&upper.overlay());
    assert!(before.contains(&"etc".to_owned()), "{before:?}");
    reclaim(&card);
    assert_eq!(names(&upper.overlay()), before);
    assert_eq!(names(&upper.own("generations")), ["4"]);
    assert_eq!(names(&upper.generation(4).join("overlay/etc")).len(), 10);
    assert_eq!(names(&upper.own("reclaim")), [""; 0]);
    assert_stocked(&upper);
}
