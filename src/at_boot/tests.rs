//! Boot partition and upper are directories here, and a boot is a call of `look`.

use super::*;
use crate::state::Generation;
use anyhow::bail;
use std::fs;

struct Card {
    directory: tempfile::TempDir,
    config: Config,
    guarded: bool,
    /// Why the kernel on the boot partition must not be left without its modules.
    kernel: Option<&'static str>,
    /// What the consoles heard in the last boot.
    said: String,
}

impl Card {
    fn new() -> Card {
        let directory = tempfile::tempdir().unwrap();
        for part in ["boot", "upper/burnonce", "upper/overlay"] {
            fs::create_dir_all(directory.path().join(part)).unwrap();
        }
        let card = Card { directory, config: Config::default(), guarded: true, kernel: None, said: String::new() };
        card.upper().write_state(&State::new("u", 1)).unwrap();
        card
    }

    /// One that has been up before.
    fn in_use() -> Card {
        let mut card = Card::new();
        assert_eq!(card.boot(), Next::GoOn);
        card
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("boot").join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn upper(&self) -> Upper {
        Upper::at(self.directory.path().join("upper"))
    }

    fn state(&self) -> State {
        self.upper().state().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        self.upper().write_state(&state).unwrap();
    }

    fn boot(&mut self) -> Next {
        self.boot_after(None)
    }

    fn boot_after(&mut self, request: Option<Done>) -> Next {
        let report = Report {
            version: "0".to_owned(),
            verdict: report::Verdict::Upper,
            upper: None,
            problem: None,
            did: Vec::new(),
            request,
            took_ms: Vec::new(),
            total_ms: 0,
        };
        let kernel = self.kernel;
        let check = |_: &Path| kernel.map_or(Ok(()), |why| bail!("{why}"));
        let node = Node {
            root: self.directory.path(),
            upper: self.upper(),
            config: &self.config,
            guarded: self.guarded,
            now: 1_700_000_000,
            check: &check,
        };
        let mut console = Console::silent();
        let next = node.look(Some(&Boot::Already(self.path(""))), Some(&report), &mut console).unwrap();
        self.said = console.transcript();
        next
    }

    /// The next boot, in which the guard has dealt with what is pending.
    fn restart(&mut self, refused: Option<&str>) -> Next {
        let mut state = self.state();
        let request = state.request.take().expect("a pending request");
        let done = state.close(request, refused.map(str::to_owned));
        if refused.is_none() {
            state.set_aside.push(Generation {
                number: state.generation,
                began: state.began,
                ended: done.request.at,
                kind: done.request.kind,
                by: done.request.by,
                size: None,
            });
            (state.generation, state.began, state.user_data) = (state.generation + 1, 0, None);
            state.fresh = done.request.kind == Kind::Reset;
            Upper::set_number(&self.upper().overlay(), state.generation).unwrap();
        }
        self.upper().write_state(&state).unwrap();
        self.boot_after(Some(done))
    }

    #[track_caller]
    fn assert_said(&self, text: &str) {
        assert!(self.said.contains(text), "`{text}` is not in:\n{}", self.said);
    }
}

#[test]
fn a_file_resets_once_and_is_removed() {
    let mut card = Card::in_use();
    card.config.reset.keep = vec!["/etc/ssh/*".to_owned()];
    card.write("Burnonce-Reset.TXT", "");
    assert_eq!(card.boot(), Next::Restart);
    card.assert_said("reset asked for by Burnonce-Reset.TXT on the boot partition: restarting for it.");
    let request = card.state().request.unwrap();
    assert_eq!((request.kind, request.by, request.at), (Kind::Reset, Trigger::File, 1_700_000_000));
    assert_eq!(request.keep, ["/etc/ssh/*"]);
    assert!(card.path("Burnonce-Reset.TXT").exists(), "it is removed last");
    assert_eq!(card.restart(None), Next::GoOn);
    card.assert_said("this is generation 2, freshly begun by a reset (by a file on the boot partition).");
    assert!(!card.path("Burnonce-Reset.TXT").exists());
    assert_eq!((card.boot(), card.said.as_str()), (Next::GoOn, ""));
    assert_eq!((card.state().request, card.state().generation), (None, 2));
}

/// The power was cut after the guard's work and before the file was removed.
#[test]
fn a_file_that_was_dealt_with_in_an_earlier_boot_is_only_removed() {
    let mut card = Card::in_use();
    card.write("burnonce-reset", "please");
    card.write("burnonce-reset.txt", "please");
    assert_eq!(card.boot(), Next::Restart);
    card.change(|state| {
        let request = state.request.take().unwrap();
        state.close(request, None);
    });
    assert_eq!(card.boot(), Next::GoOn);
    card.assert_said("removed burnonce-reset from the boot partition: this is generation 1, freshly begun by a reset");
    assert!(!card.path("burnonce-reset").exists() && !card.path("burnonce-reset.txt").exists());
}

/// The file could not be removed, and its owner has asked for something else since.
#[test]
fn a_file_that_was_dealt_with_does_not_ask_again_after_another_request() {
    let mut card = Card::in_use();
    card.write("burnonce-reset", "");
    assert_eq!(card.boot(), Next::Restart);
    let other = Request { id: "typed".to_owned(), by: Trigger::Command, ..card.state().request.unwrap() };
    card.change(|state| {
        let request = state.request.take().unwrap();
        state.close(request, None);
        state.close(other, None);
    });
    assert_eq!(card.boot(), Next::GoOn);
    card.assert_said("removed burnonce-reset from the boot partition: it was dealt with before.");
}

/// A tool may give every file the same time.
#[test]
fn a_file_that_is_made_again_asks_again() {
    let mut card = Card::in_use();
    for _ in 0..2 {
        card.write("burnonce-reset", "");
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        fs::File::options().write(true).open(card.path("burnonce-reset")).unwrap().set_modified(time).unwrap();
        assert_eq!(card.boot(), Next::Restart);
        assert_eq!(card.restart(None), Next::GoOn);
        assert_eq!(card.state().consumed, [""; 0]);
    }
    assert_eq!(card.state().generation, 3);
}

#[test]
fn what_the_guard_refused_is_said_and_left_on_the_boot_partition() {
    let mut card = Card::in_use();
    card.write("burnonce-reset", "");
    assert_eq!(card.boot(), Next::Restart);
    assert_eq!(card.restart(Some("the kept files do not fit")), Next::GoOn);
    card.assert_said("the reset (by a file on the boot partition) was refused: the kept files do not fit.");
    let notice = fs::read_to_string(card.path(notice::NAME)).unwrap();
    assert!(notice.contains("was refused: the kept files do not fit.\r\n"), "{notice}");
    assert!(!card.path("burnonce-reset").exists());
    assert_eq!(card.boot(), Next::GoOn);
    // The next reset that is carried out makes the notice untrue.
    card.write("burnonce-reset", "again");
    assert_eq!(card.boot(), Next::Restart);
    assert_eq!(card.restart(None), Next::GoOn);
    assert!(!card.path(notice::NAME).exists());
}

#[test]
fn a_reset_that_would_leave_the_kernel_without_modules_waits() {
    let mut card = Card::in_use();
    card.kernel = Some("the image has no modules for kernel 6.2");
    card.write("burnonce-reset", "");
    let Next::Refused(why) = card.boot() else { panic!("{}", card.said) };
    assert!(why.ends_with("is refused: the image has no modules for kernel 6.2"), "{why}");
    assert!(card.path("burnonce-reset").exists() && card.path(notice::NAME).exists());
    assert_eq!(card.state().request, None);
    card.kernel = None;
    assert_eq!(card.boot(), Next::Restart);
}

#[test]
fn an_undo_needs_a_generation_to_go_back_to() {
    let mut card = Card::in_use();
    card.write("burnonce-undo", "");
    assert!(matches!(card.boot(), Next::Refused(_)));
    card.assert_said("burnonce-undo was removed from the boot partition: there is no generation to go back to.");
    // Left there, it would undo the next reset.
    assert!(!card.path("burnonce-undo").exists());
    card.write("burnonce-reset", "");
    assert_eq!(card.boot(), Next::Restart);
    assert_eq!(card.restart(None), Next::GoOn);
    card.write("burnonce-undo", "");
    card.kernel = Some("undo is the guard's to judge");
    assert_eq!(card.boot(), Next::Restart);
    assert_eq!(card.state().request.unwrap().kind, Kind::Undo);
    assert_eq!(card.restart(None), Next::GoOn);
    card.assert_said("brought back by an undo (by a file on the boot partition).");
}

#[test]
fn of_a_reset_and_an_undo_the_reset_counts() {
    let mut card = Card::in_use();
    card.write("burnonce-reset", "");
    card.write("burnonce-undo", "");
    assert_eq!(card.boot(), Next::Restart);
    card.assert_said("burnonce-reset counts, and burnonce-undo does not: it was removed.");
    assert_eq!(card.state().request.unwrap().kind, Kind::Reset);
    assert!(!card.path("burnonce-undo").exists());
}

#[test]
fn there_is_no_restart_for_what_no_guard_carries_out() {
    let mut card = Card::in_use();
    card.guarded = false;
    card.write("burnonce-reset", "");
    let before = card.state();
    assert!(matches!(card.boot(), Next::Degraded(why, _) if why.contains("no guard")));
    assert_eq!(card.state(), before, "nothing is recorded for a guard that is not there");
    // A guard that is there and does not do it.
    card.guarded = true;
    assert_eq!(card.boot(), Next::Restart);
    for _ in 0..2 {
        assert!(matches!(card.boot(), Next::Degraded(why, _) if why.contains("did not carry out the reset")));
    }
}

#[test]
fn there_is_no_restart_for_what_cannot_be_recorded() {
    let mut card = Card::in_use();
    card.write("burnonce-reset", "");
    let check = |_: &Path| Ok(());
    let node = Node {
        root: card.directory.path(),
        upper: card.upper(),
        config: &card.config,
        guarded: true,
        now: 1,
        check: &check,
    };
    // A directory in the place of the temporary file: no write gets through.
    fs::create_dir(card.upper().own("state.json.burnonce-new")).unwrap();
    let boot = Boot::Already(card.path(""));
    assert!(node.look(Some(&boot), None, &mut Console::silent()).is_err());
    fs::remove_dir(card.upper().own("state.json.burnonce-new")).unwrap();
    assert_eq!(card.boot(), Next::Restart);
}

#[test]
fn what_a_generation_begins_with_is_noted_once() {
    let mut card = Card::new();
    card.write("user-data", "#cloud-config\n");
    assert_eq!(card.boot(), Next::GoOn);
    let first = card.state();
    assert_eq!((first.began, first.user_data.as_ref().map(String::len)), (1_700_000_000, Some(64)));
    card.write("user-data", "#cloud-config\nhostname: x\n");
    let written = || fs::metadata(card.upper().root().join(crate::state::PATH)).unwrap().modified().unwrap();
    let before = written();
    let check = |_: &Path| Ok(());
    let node = Node {
        root: card.directory.path(),
        upper: card.upper(),
        config: &card.config,
        guarded: true,
        now: 1,
        check: &check,
    };
    assert_eq!(node.look(Some(&Boot::Already(card.path(""))), None, &mut Console::silent()).unwrap(), Next::GoOn);
    assert_eq!((card.state(), written()), (first, before), "a boot with nothing to do writes nothing");
}

/// Without a boot partition nothing is known of user-data: that there is none would reset the node once it is there again.
#[test]
fn without_a_boot_partition_only_the_time_is_noted() {
    let card = Card::new();
    let check = |_: &Path| Ok(());
    let node = Node {
        root: card.directory.path(),
        upper: card.upper(),
        config: &card.config,
        guarded: true,
        now: 5,
        check: &check,
    };
    assert_eq!(node.look(None, None, &mut Console::silent()).unwrap(), Next::GoOn);
    assert_eq!((card.state().began, card.state().user_data), (5, None));
}

#[test]
fn user_data_that_is_gone_resets_nothing() {
    let mut card = Card::new();
    card.config.reset.on = vec![ResetOn::UserData];
    card.write("user-data", "#cloud-config");
    assert_eq!(card.boot(), Next::GoOn);
    fs::remove_file(card.path("user-data")).unwrap();
    assert_eq!(card.boot(), Next::GoOn);
}

#[test]
fn changed_user_data_resets_where_that_is_asked_for() {
    let mut card = Card::in_use();
    card.write("user-data", "one");
    assert_eq!(card.boot(), Next::GoOn, "it is not by default");
    card.config.reset.on = vec![ResetOn::UserData];
    assert_eq!(card.boot(), Next::Restart);
    card.assert_said("reset asked for by changed user-data: restarting for it.");
    assert_eq!(card.state().request.unwrap().by, Trigger::UserData);
    assert_eq!(card.restart(None), Next::GoOn);
    assert_eq!(card.boot(), Next::GoOn);
    // Refused for this content: not asked for again, but for the next one.
    card.write("user-data", "two");
    assert_eq!(card.boot(), Next::Restart);
    assert_eq!(card.restart(Some("no modules")), Next::GoOn);
    card.assert_said("refused: no modules");
    assert_eq!((card.boot(), card.said.as_str()), (Next::GoOn, ""));
    card.write("user-data", "three");
    assert_eq!(card.boot(), Next::Restart);
}

/// An undo must not end in a reset for the user-data that is there.
#[test]
fn an_undo_takes_the_present_user_data_as_its_own() {
    let mut card = Card::in_use();
    card.config.reset.on = vec![ResetOn::UserData];
    card.write("user-data", "one");
    assert_eq!(card.boot(), Next::Restart);
    assert_eq!(card.restart(None), Next::GoOn);
    card.write("burnonce-undo", "");
    assert_eq!(card.boot(), Next::Restart);
    assert_eq!(card.restart(None), Next::GoOn);
    assert_eq!(card.boot(), Next::GoOn);
}

/// The card failed while conversion kept these files, and the first boot has not consumed them yet.
#[test]
fn what_conversion_could_not_keep_is_kept_before_the_first_boot_consumes_it() {
    let mut card = Card::new();
    card.write("ssh", "");
    card.write(notice::NAME, "This node was not converted.");
    card.boot();
    let kept = card.upper().own("boot");
    assert!(kept.join("ssh").exists() && !card.path(notice::NAME).exists());
    // From then on it is the owner's.
    card.write("userconf.txt", "pi:hash");
    card.boot();
    assert!(!kept.join("userconf.txt").exists());
}

#[test]
fn a_fresh_generation_gets_its_first_boot_back() {
    let mut card = Card::in_use();
    let words = "systemd.run=/boot/firstrun.sh systemd.unit=kernel-command-line.target";
    card.write("firstrun.sh", "x");
    card.write("cmdline.txt", &format!("rootwait {words}\n"));
    boot_files::keep(&card.path(""), &card.upper()).unwrap();
    fs::remove_file(card.path("firstrun.sh")).unwrap();
    card.write("cmdline.txt", "rootwait\n");
    assert_eq!(card.boot(), Next::GoOn, "not in a generation that is in use");
    card.write("burnonce-reset", "");
    assert_eq!(card.boot(), Next::Restart);
    // The words work in the next boot, and by then the mark is gone: there is one restart and no more.
    assert_eq!(card.restart(None), Next::Restart);
    card.assert_said("put back on the boot partition: firstrun.sh.");
    assert_eq!(fs::read_to_string(card.path("cmdline.txt")).unwrap(), format!("rootwait {words}\n"));
    assert!(!card.state().fresh && !card.path("burnonce-reset").exists());
    assert_eq!(card.boot(), Next::GoOn);
    // The power was cut before the mark was cleared: this boot has the words already.
    card.change(|state| state.fresh = true);
    assert_eq!(card.boot(), Next::GoOn);
    assert!(!card.state().fresh);
}
