//! Every system call that writes fails once, with EIO and with ENOSPC: no run dies of it, what it says names the object, nothing is
//! harmed that it had not to touch, and the next boot comes to the same end as if nothing had failed.
//!
//! `cargo test` takes a sample of the calls. `BURNONCE_LONG=1` makes every one of them fail; `BURNONCE_FAILSTOP=reset` all of
//! one scene, `BURNONCE_FAILSTOP="reset burnonce write 3 EIO"` this one alone. With `BURNONCE_FIGURES=FILE` the figures are appended to that file, a JSON object in each line.

mod bench;
mod fault;
mod picture;
mod scenes;

use crate::card::Card;
use bench::Bench;
use fault::{Calls, ERRORS, Fault, Watch};
use picture::Picture;
use scenes::{SCENES, Scene, names_an_object};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

/// How many faults of each scene the short run tries, beside those of [`ALWAYS`].
const SAMPLE: usize = 6;
const WORKERS: usize = 3;
const CARD_MIB: u64 = 1024;

/// Calls that have done harm once, and are made to fail in every run: scene, program, call, and how it is shown.
const ALWAYS: [(&str, &str, &str, &str); 5] = [
    // An upper that stayed mounted, and a partition that the kernel could not forget.
    ("undo", "burnonce", "umount2", "/run/burnonce/check"),
    // A superblock with the flag and without its checksum: no kernel mounted the image any more.
    ("seal", "tune2fs", "write", "p2>, "),
    ("repair", "e2fsck", "write", "p3>, "),
    // A file that the first boot consumed, and that no reset could put back.
    ("converge", "burnonce", "fsync", "userconf.txt"),
    // A notice that stayed on the boot partition: "This node was not converted."
    ("converge", "burnonce", "unlink", "burnonce.txt"),
];

/// A scene whose undisturbed run is known.
struct Ready {
    scene: &'static Scene,
    /// Where the card is as the run finds it.
    directory: PathBuf,
    calls: Calls,
    /// The card before the run, after it, and after the next boot.
    before: Picture,
    after: Picture,
    end: Picture,
}

/// Cards, and what else is made once.
struct Stock {
    directory: tempfile::TempDir,
}

impl Stock {
    fn new() -> Stock {
        let stock = Stock { directory: crate::card::memory() };
        for directory in ["tools", "burned/boot", "converted/boot"] {
            fs::create_dir_all(stock.at(directory)).unwrap();
        }
        let tools = stock.at("tools");
        fault::tools(&tools);
        let mut bench = Bench::new(&Card::burned(CARD_MIB).file(), &tools);
        bench.save(&stock.at("burned"));
        let ran = scenes::convert(&mut bench, Watch::Nothing);
        assert_eq!(ran.code, Some(0), "{}", ran.text);
        bench.save(&stock.at("converted"));
        drop(bench);
        stock
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Goes through a scene without a fault.
    fn ready(&self, bench: &mut Bench, scene: &'static Scene) -> Ready {
        bench.restore(&self.at(if scene.converted { "converted" } else { "burned" }));
        (scene.prepare)(bench);
        let directory = self.at(scene.name);
        fs::create_dir(&directory).unwrap();
        bench.save(&directory);
        let before = Picture::take(bench, scene.sound);
        let ran = (scene.run)(bench, Watch::Count);
        assert_eq!(ran.code, Some(0), "{}: {}", scene.name, ran.text);
        assert!(!ran.text.contains("\"verdict\":\"memory\""), "{}: {}", scene.name, ran.text);
        let after = Picture::take(bench, true);
        (scene.next)(bench, after.is_configured());
        let end = Picture::take(bench, true);
        Ready { scene, directory, calls: ran.calls(), before, after, end }
    }
}

impl Ready {
    /// All faults there are.
    fn faults(&self) -> Vec<Fault> {
        let fault = |(program, call, number): &(String, String, usize), error: &str| Fault {
            program: program.clone(),
            call: call.clone(),
            number: *number,
            error: error.to_owned(),
        };
        self.calls.keys().flat_map(|call| ERRORS.map(|error| fault(call, error))).collect()
    }

    /// Those of [`ALWAYS`].
    fn known(&self) -> Vec<Fault> {
        let is_known = |fault: &Fault| {
            let shown = &self.calls[&(fault.program.clone(), fault.call.clone(), fault.number)];
            ALWAYS.iter().any(|(scene, program, call, part)| {
                (self.scene.name, fault.program.as_str(), fault.call.as_str()) == (*scene, *program, *call)
                    && shown.contains(part)
            })
        };
        self.faults().into_iter().filter(is_known).collect()
    }

    /// Goes through the scene with a fault. What was wrong.
    fn go(&self, bench: &mut Bench, fault: &Fault) -> Result<(), String> {
        bench.restore(&self.directory);
        let ran = (self.scene.run)(bench, Watch::Fail(fault));
        let Some(victim) = ran.failed().first().map(|line| (*line).to_owned()) else {
            return Err(format!("no such call was made: {}", ran.text));
        };
        let wrong = |what: String| Err(format!("{victim}\n  {what}\n  exit {:?}: {}", ran.code, ran.text));
        if ran.signal.is_some() || ran.text.contains("panicked") {
            return wrong(format!("it died (signal {:?})", ran.signal));
        }
        let seen = Picture::take(bench, self.scene.sound);
        if let Some(damage) = self.before.damage(&seen) {
            return wrong(format!("harmed: {damage}"));
        }
        if ran.third && seen.upper.is_none() {
            return wrong("the kernel shows a partition that the card does not have".to_owned());
        }
        match self.after.difference(&seen, self.scene.unsaid) {
            None if ran.code == Some(0) => {}
            difference if ran.failed().into_iter().all(is_console) => {
                return wrong(format!("a console that fails stops something: {difference:?}"));
            }
            difference if !names_an_object(&ran.complaints) => {
                return wrong(format!("nothing that it says names an object: {difference:?}"));
            }
            _ => {}
        }
        (self.scene.next)(bench, seen.is_configured());
        let end = Picture::take(bench, true);
        self.end
            .difference(&end, self.scene.left_out)
            .map_or(Ok(()), |difference| wrong(format!("the next boot ends elsewhere: {difference}")))
    }
}

/// Whether the call that failed was one that says something to somebody.
fn is_console(victim: &str) -> bool {
    let ways = ["write(1<", "write(2<", "writev(1<", "writev(2<"];
    ways.iter().any(|way| victim.starts_with(way))
        || ["/dev/tty", "/dev/console", "kmsg>"].iter().any(|way| victim.contains(way))
}

/// What a panic said.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        said.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_else(|| "a panic".to_owned())
    })
}

/// Does every job on one of the benches; where one panics, its bench is given up.
fn spread<J: Send, R: Send>(
    stock: &Stock,
    jobs: Vec<J>,
    work: impl Fn(&mut Bench, J) -> R + Sync,
) -> Vec<Result<R, String>> {
    let (jobs, results) = (Mutex::new(jobs.into_iter().enumerate()), Mutex::new(BTreeMap::new()));
    let (tools, card) = (stock.at("tools"), stock.at("burned/card.img"));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let mut bench = Bench::new(&card, &tools);
                loop {
                    let Some((number, job)) = jobs.lock().unwrap().next() else { break };
                    let result = caught(|| work(&mut bench, job));
                    if result.is_err() {
                        let broken = std::mem::replace(&mut bench, Bench::new(&card, &tools));
                        let _ = caught(|| drop(broken));
                    }
                    results.lock().unwrap().insert(number, result);
                }
            });
        }
    });
    results.into_inner().unwrap().into_values().collect()
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    /// So many of `all`, in their order.
    fn some<T>(&mut self, mut all: Vec<T>, count: usize) -> Vec<T> {
        while all.len() > count {
            all.remove(self.below(all.len()));
        }
        all
    }
}

fn seed() -> u64 {
    let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    std::env::var("BURNONCE_SEED").map_or_else(|_| clock(), |text| text.parse().expect("BURNONCE_SEED is a number"))
}

/// The faults that are tried in a scene.
fn chosen(ready: &Ready, dice: &mut Dice) -> Vec<Fault> {
    match std::env::var("BURNONCE_FAILSTOP") {
        Ok(one) => match one.split_once(' ') {
            Some((scene, fault)) if scene == ready.scene.name => {
                vec![fault.parse().unwrap_or_else(|why| panic!("{why}"))]
            }
            None if one == ready.scene.name => ready.faults(),
            _ => Vec::new(),
        },
        Err(_) if std::env::var_os("BURNONCE_LONG").is_some() => ready.faults(),
        Err(_) => {
            let mut known = ready.known();
            let others = ready.faults().into_iter().filter(|fault| !known.contains(fault)).collect();
            known.extend(dice.some(others, SAMPLE));
            known
        }
    }
}

/// Writes a line of figures, for the owner and for a file.
fn report(ready: &Ready, injections: usize, failures: usize, took: Duration, seed: u64) {
    let (name, calls) = (ready.scene.name, ready.calls.len());
    println!("failstop {name}: {calls} calls, {injections} injections, {failures} failures, seed {seed}");
    let Some(path) = std::env::var_os("BURNONCE_FIGURES") else { return };
    let line = serde_json::json!({
        "what": format!("failstop {name}"), "calls": calls, "injections": injections, "failures": failures,
        "seconds": took.as_secs(), "seed": seed,
    });
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

/// What was wrong, with what repeats it.
fn named(ready: &Ready, fault: &Fault, why: &str) -> String {
    format!("BURNONCE_FAILSTOP=\"{} {fault}\": {why}", ready.scene.name)
}

#[test]
fn a_call_that_fails_once_does_no_harm() {
    let seed = seed();
    println!("failstop: BURNONCE_SEED={seed}");
    let stock = Stock::new();
    let ready = spread(&stock, SCENES.iter().collect(), |bench, scene| stock.ready(bench, scene));
    let ready: Vec<Ready> = ready.into_iter().map(|ready| ready.unwrap()).collect();
    for (scene, ..) in ALWAYS {
        assert!(
            ready.iter().any(|ready| ready.scene.name == scene && !ready.known().is_empty()),
            "{scene} makes no such call"
        );
    }
    let mut dice = Dice(seed);
    let jobs: Vec<(&Ready, Fault)> =
        ready.iter().flat_map(|ready| chosen(ready, &mut dice).into_iter().map(move |fault| (ready, fault))).collect();
    assert!(!jobs.is_empty(), "there is no such scene");
    let done = spread(&stock, jobs.clone(), |bench, (ready, fault)| {
        let begun = Instant::now();
        let result = ready.go(bench, &fault).map_err(|why| named(ready, &fault, &why));
        // It may be long until the others are done.
        if let Err(why) = &result {
            println!("failstop: {why}");
        }
        (result, begun.elapsed())
    });
    let mut wrong = Vec::new();
    for ready in &ready {
        let of_scene = || jobs.iter().zip(&done).filter(|((of, _), _)| of.scene.name == ready.scene.name);
        let before = wrong.len();
        let mut took = Duration::ZERO;
        for ((_, fault), done) in of_scene() {
            match done {
                Ok((result, time)) => {
                    took += *time;
                    wrong.extend(result.clone().err());
                }
                Err(panic) => wrong.push(named(ready, fault, panic)),
            }
        }
        if of_scene().count() > 0 {
            report(ready, of_scene().count(), wrong.len() - before, took, seed);
        }
    }
    assert!(wrong.is_empty(), "{} of {} faults did harm:\n\n{}", wrong.len(), jobs.len(), wrong.join("\n\n"));
}
