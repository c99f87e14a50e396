//! Every file of the corpus: what a fuzzer once found stays found, and each target is one that can be run.

use burnonce_fuzz::TARGETS;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn names(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("reading {}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_file_passes() {
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        let files = names(&corpus().join(name));
        assert!(!files.is_empty(), "{name} has no corpus");
        // Nothing at all is an input too.
        target(&[]);
        for path in files {
            let data = fs::read(&path).unwrap();
            if catch_unwind(|| target(&data)).is_err() {
                failed.push(path);
            }
        }
    }
    assert_eq!(failed, Vec::<PathBuf>::new(), "these fail; what is wrong with each is above");
}

#[test]
fn every_directory_is_that_of_a_target_and_small() {
    let mut total = 0;
    for directory in names(&corpus()) {
        let name = directory.file_name().unwrap().to_str().unwrap();
        assert!(TARGETS.iter().any(|(target, _)| *target == name), "corpus/{name} belongs to no target");
        total += names(&directory).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    }
    assert!(total <= 400 << 10, "the corpus has {total} bytes; merge it (CONTRIBUTING.md)");
}
