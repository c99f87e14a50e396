//! dpkg itself, with what was chosen.

use super::*;
use crate::inspect::tree::memory::Memory;
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::atomic::{AtomicU32, Ordering};

/// How often something could be chosen, and how often something was missing.
static CHOSEN: AtomicU32 = AtomicU32::new(0);
static MISSING: AtomicU32 = AtomicU32::new(0);

/// What is chosen is installed by dpkg. Where something is missing and all was named, dpkg does not install all of it.
#[test]
fn dpkg_installs_what_was_chosen_and_nothing_that_lacks_something() {
    cases();
    let (chosen, missing) = (CHOSEN.load(Ordering::Relaxed), MISSING.load(Ordering::Relaxed));
    assert!(chosen > 0 && missing > 0, "{chosen} chosen, {missing} with something missing: the cases do not try much");
}

/// A package as random as it gets among few.
#[derive(Debug, Clone)]
struct Some {
    name: &'static str,
    version: u8,
    fields: Vec<(&'static str, String)>,
}

const NAMES: [&str; 5] = ["aa", "bb", "burnonce", "cc", "dd"];

fn relations() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let field = select(vec!["Depends", "Depends", "Depends", "Pre-Depends", "Breaks", "Conflicts", "Provides"]);
    let name = || select(vec!["aa", "bb", "cc", "dd", "virtual"]);
    let value = (name(), name(), select(vec!["", " (= 1)", " (>= 2)", " (<< 2)"]), any::<bool>());
    let one = (field, value).prop_map(|(field, (name, other, version, alternative))| match field {
        "Provides" => (field, "virtual".to_owned()),
        "Depends" | "Pre-Depends" if alternative => (field, format!("{name}{version} | {other}")),
        _ => (field, format!("{name}{version}")),
    });
    prop::collection::vec(one, 0..3).prop_map(|mut fields| {
        fields.sort();
        fields.dedup_by_key(|(field, _)| *field);
        fields
    })
}

fn packages() -> impl Strategy<Value = Vec<Some>> {
    let one = (select(NAMES.to_vec()), 1..3u8, relations());
    let one = one.prop_map(|(name, version, fields)| Some { name, version, fields });
    prop::collection::vec(one, 0..5).prop_map(|mut packages| {
        packages.sort_by_key(|package| package.name);
        packages.dedup_by_key(|package| package.name);
        packages
    })
}

impl Some {
    fn control(&self) -> String {
        let more: String = self.fields.iter().map(|(field, value)| format!("{field}: {value}\n")).collect();
        control(self.name, &self.version.to_string(), "all", &more)
    }
}

/// Installs packages in a root with this list of packages; says whether dpkg did it, and what it said.
fn install(status: &str, packages: &[PathBuf]) -> (bool, String) {
    let root = TempDir::new().unwrap();
    let state = root.path().join("var/lib/dpkg");
    for directory in ["info", "updates", "triggers"] {
        fs::create_dir_all(state.join(directory)).unwrap();
    }
    fs::write(state.join("status"), status).unwrap();
    for line in status.lines() {
        if let Some(name) = line.strip_prefix("Package: ") {
            fs::write(state.join(format!("info/{name}.list")), "/.\n").unwrap();
        }
    }
    // Without root, and without syncing each file.
    let output = Command::new("dpkg")
        .env("LC_ALL", "C")
        .arg(format!("--root={}", root.path().display()))
        .args(["--log=/dev/null", "--force-not-root", "--force-bad-path", "--force-unsafe-io"])
        .args(["--install", "--auto-deconfigure"])
        .args(packages)
        .output()
        .expect("this test installs packages by dpkg, of the package dpkg; it has to be installed");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    fn cases(
        image in packages(),
        given in packages(),
        burnonce in relations(),
        named in prop::bool::weighted(0.75),
    ) {
        let mut given = given;
        given.retain(|package| package.name != "burnonce");
        // What has the same version is the same package, and is not taken again.
        for package in &mut given {
            let same = image.iter().find(|one| (one.name, one.version) == (package.name, package.version));
            *package = same.unwrap_or(package).clone();
        }
        given.push(Some { name: "burnonce", version: 2, fields: burnonce });
        let mut status = "Package: dpkg\nStatus: install ok installed\nVersion: 1.22\nArchitecture: all\nMaintainer: x\nDescription: x\n\n".to_owned();
        for package in image.iter().filter(|package| package.name != "burnonce") {
            write!(status, "{}Status: install ok installed\n\n", package.control()).unwrap();
        }
        let work = TempDir::new().unwrap();
        let mut paths = Vec::new();
        for package in &given {
            let path = work.path().join(format!("{}.deb", package.name));
            fs::write(&path, deb(&package.control(), &tar(&[]))).unwrap();
            paths.push(path);
        }
        let installed = Installed::of(&Memory::default().file("var/lib/dpkg/status", &status)).unwrap();
        let directory = [work.path().to_owned()];
        match choose(if named { &paths } else { &directory }, Vec::new(), &installed, "arm64") {
            Ok(chosen) => {
                prop_assert!(chosen.iter().any(|package| package.name() == "burnonce"));
                let chosen: Vec<PathBuf> = chosen.iter().map(|package| package.path().to_owned()).collect();
                let (done, said) = install(&status, &chosen);
                prop_assert!(done, "{status}\n{given:#?}\n{chosen:?}\n{said}");
                CHOSEN.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) if format!("{error:#}").contains("packages are missing") && named => {
                let (done, said) = install(&status, &paths);
                prop_assert!(!done, "{status}\n{given:#?}\n{error:#}\n{said}");
                MISSING.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let text = format!("{error:#}");
                let reasons = ["are missing", "cannot be installed beside", "before it is unpacked", "of the image needs", "a newer one"];
                prop_assert!(reasons.iter().any(|reason| text.contains(reason)), "{text}");
            }
        }
    }
}
