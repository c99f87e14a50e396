//! What the agent makes of the guard's answer, and what it notes for it on the upper. The boot partition of these cards is none that
//! this kernel can mount: requests on it are tried on directories, in src/at_boot/tests.rs.

use crate::card::{Card, run, text};
use crate::maintain::converted_and_booted;
use burnonce::guard::report::Verdict;
use burnonce::state::{Kind, Request, State, Trigger};
use burnonce::upper::Upper;
use std::fs;
use std::path::Path;

fn state(node: &Path) -> State {
    Upper::at(node.join("media/root-rw")).state().unwrap()
}

fn status(card: &Card) -> (Option<i32>, serde_json::Value, String) {
    let json = card.burnonce(&["status", "--json"]);
    let shown = card.burnonce(&["status"]);
    (json.status.code(), serde_json::from_slice(&json.stdout).unwrap(), text(&shown))
}

#[test]
fn the_first_boot_of_a_generation_notes_when_it_began() {
    let (mut card, node) = converted_and_booted();
    assert_eq!(state(&node).began, 0);
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let began = state(&node).began;
    assert!(began > 1_700_000_000, "{began}");
    card.eject();
    let node = card.boot(true);
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(state(&node).began, began);
}

#[test]
fn an_overlay_boot_without_a_guard_says_so() {
    let (card, node) = converted_and_booted();
    fs::remove_file(node.join("run/burnonce/guard.json")).unwrap();
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("the initramfs that booted has no guard of burnonce"), "{}", text(&output));
    let (code, json, shown) = status(&card);
    assert_eq!((code, &json["guard"]), (Some(0), &serde_json::Value::Null), "{json}");
    assert!(shown.contains("reset and undo are not carried out"), "{shown}");
}

#[test]
fn an_unconverted_card_without_a_guard_is_not_converted() {
    let mut card = Card::burned(2048);
    let node = card.boot(false);
    fs::remove_file(node.join("run/burnonce/guard.json")).unwrap();
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let reason = "the initramfs that booted has no guard of burnonce, and there is no update-initramfs";
    assert!(text(&output).contains(reason), "{}", text(&output));
    assert_eq!(card.table().len(), 2);
}

/// `overlay.on_failure: lower`: the boot on the image is writable, says so, and the next one into the overlay seals again.
#[test]
fn on_failure_lower_unseals_for_one_boot() {
    let (mut card, _) = converted_and_booted();
    card.eject();
    let node = card.boot(false);
    card.guard_says(Verdict::Lower);
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    let because = "this boot runs on the image itself and writes into it, because the upper cannot be mounted, and";
    assert!(text(&output).contains(because), "{}", text(&output));
    run("mount", &["-o", "remount,rw", node.to_str().unwrap()]);
    fs::write(node.join("etc/written"), "x").unwrap();
    let (code, json, _) = status(&card);
    assert_eq!((code, &json["guard"]["verdict"]), (Some(4), &"lower".into()), "{json}");
    card.eject();
    card.boot(true);
    let output = card.burnonce(&["-v", "converge", "--no-reboot"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(run("dumpe2fs", &["-h", &card.partition(2)]).contains("read-only"), "not sealed again");
}

#[test]
fn status_tells_of_requests() {
    let (card, node) = converted_and_booted();
    let upper = Upper::at(node.join("media/root-rw"));
    let request =
        Request { id: "1".to_owned(), kind: Kind::Reset, by: Trigger::Command, at: 1_700_000_000, keep: Vec::new() };
    burnonce::request::record(&upper, request).unwrap();
    let (code, json, shown) = status(&card);
    assert_eq!((code, &json["state"]["request"]["kind"]), (Some(0), &"reset".into()), "{json}");
    assert!(shown.contains("a reset is pending (by command): the next restart carries it out"), "{shown}");
    assert!(shown.contains("guard      upper, 3 ms"), "{shown}");
}
