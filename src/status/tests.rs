//! What the screen shows.

use super::*;
use crate::guard::report::Verdict;
use crate::state::{Done, Generation, Kind, Request, Trigger};

fn healthy() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        mode: Mode::Overlay,
        health: Health::Healthy,
        degraded: false,
        reasons: Vec::new(),
        remedy: None,
        upper: Some(Upper {
            device: "/dev/mmcblk0p3".to_owned(),
            size: Bytes(6 << 30),
            used: Bytes(60 << 20),
            available: Bytes(5 << 30),
            free_inodes: 500_000,
            writable: true,
            errors: 0,
        }),
        lower: Some(Lower { device: "/dev/mmcblk0p2".to_owned(), sealed: true, writable: false }),
        held: true,
        guard: Some(Report {
            version: "0.1.0".to_owned(),
            verdict: Verdict::Upper,
            upper: Some("/dev/mmcblk0p3".to_owned()),
            problem: None,
            did: Vec::new(),
            request: None,
            took_ms: Vec::new(),
            total_ms: 31,
        }),
        state: Some(State { made_by: "0.1.0".to_owned(), ..State::new("u", 1) }),
        converge: Some(Outcome {
            outcome: "converged".to_owned(),
            message: String::new(),
            took_ms: 7,
            version: "0.1.0".to_owned(),
        }),
    }
}

#[test]
fn a_healthy_node_fits_one_screen() {
    let expected = "\
burnonce 0.1.0: healthy

  root       overlay: what is written goes to the upper, the image stays as burned
  upper      /dev/mmcblk0p3, 6 GiB: 60 MiB used (0 %), 5 GiB free
  lower      /dev/mmcblk0p2: read-only, sealed
  made       by burnonce 0.1.0, first attempt; generation 1
  logs       /media/root-rw/burnonce/log
  guard      upper, 31 ms
  held       kernel, firmware and initramfs packages; upgrade: burnonce maintain apt full-upgrade
  this boot  converge: converged, 7 ms
";
    assert_eq!(healthy().to_string(), expected);
}

#[test]
fn a_degraded_node_says_so_first() {
    let mut status = Status { mode: Mode::Memory, upper: None, state: None, converge: None, ..healthy() };
    status.degrade("the upper is missing".to_owned());
    status.remedy = Some("restart".to_owned());
    let text = status.to_string();
    assert!(text.starts_with("burnonce 0.1.0: DEGRADED\n  ! the upper is missing\n  > restart\n\n"), "{text}");
    assert!(text.contains("lost at power-off"), "{text}");
}

#[test]
fn what_was_asked_for_is_told() {
    let mut status = healthy();
    let request =
        Request { id: "1".to_owned(), kind: Kind::Undo, by: Trigger::Command, at: 1_793_614_260, keep: Vec::new() };
    let state = status.state.as_mut().unwrap();
    state.request = Some(request.clone());
    let reset = Request { kind: Kind::Reset, by: Trigger::File, ..request };
    state.last = Some(Done { request: reset, refused: None });
    let aside = Generation { number: 1, began: 0, ended: 0, kind: Kind::Reset, by: Trigger::File, size: None };
    state.set_aside = vec![aside];
    status.guard.as_mut().unwrap().did = vec!["repaired /dev/mmcblk0p3".to_owned()];
    let expected = "\
  pending    an undo is pending (by command): the next restart carries it out
  last       reset (by a file on the boot partition), 2026-11-02 10:11 UTC: carried out
  set aside  1 generation, for `burnonce undo`
  logs       /media/root-rw/burnonce/log
  guard      upper, 31 ms
             repaired /dev/mmcblk0p3
";
    assert!(status.to_string().contains(expected), "{status}");
    let state = status.state.as_mut().unwrap();
    (state.request, state.last.as_mut().unwrap().refused) = (None, Some("no modules for kernel 6.2".to_owned()));
    status.guard = None;
    let text = status.to_string();
    assert!(text.contains("10:11 UTC: refused: no modules for kernel 6.2\n"), "{text}");
    assert!(text.contains("guard      none in the initramfs that booted\n"), "{text}");
}

#[test]
fn an_upper_is_full_without_blocks_or_without_inodes() {
    let upper = healthy().upper.unwrap();
    assert!(!upper.is_full());
    assert!(Upper { available: Bytes(4096), ..upper.clone() }.is_full());
    assert!(Upper { free_inodes: 3, ..upper.clone() }.is_full());
    // The ballast, and nothing else.
    assert!(Upper { free_inodes: 72, ..upper }.is_full());
}
