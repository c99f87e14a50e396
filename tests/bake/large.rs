//! A large image takes as little memory as a small one.

use crate::command;
use crate::common::{MIB, Shape, said};
use crate::debs::Debs;
use crate::{names, rows, text};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;

/// What the machine with the least memory that anybody bakes on can spare, in KiB.
const MOST: u64 = 200 << 10;

/// The most memory that burnonce had while it baked this, in KiB: the high-water mark that the kernel keeps (proc_pid_status(5)).
fn peak(image: &Path, output: &Path, debs: &Debs) -> u64 {
    let temporary = TempDir::new().unwrap();
    let arguments = [text(image), "-o", text(output), "--deb", text(debs.path())];
    let mut child = command(temporary.path(), &arguments).stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        let text = fs::read_to_string(&status).unwrap();
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        // There is none any more when it has ended.
        if let Some(mark) = mark {
            peak = mark.trim().trim_end_matches(" kB").parse().unwrap();
        }
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(ended.success(), "{ended}");
    peak
}

#[test]
fn an_image_of_4_gib_takes_little_memory() {
    let (debs, directory, results) = (Debs::make(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let shape = Shape { root_length: 4096 * MIB, ..rows::ROOMY };
    let image = rows::trixie().make_as(directory.path(), "large.img", shape);
    let packed = directory.path().join("large.img.xz");
    // In blocks as `xz -T0` makes them, of 24 MiB with its dictionary of 8.
    said(
        "sh",
        &["-c", &format!("xz -0 -T2 --lzma2=preset=0,dict=8MiB --stdout '{}' >'{}'", text(&image), text(&packed))],
        b"",
    );
    for (from, to) in [(&image, "raw.img"), (&packed, "unpacked.img")] {
        let peak = peak(from, &results.path().join(to), &debs);
        assert!((1 << 10..MOST).contains(&peak), "{to}: {peak} KiB");
    }
    assert_eq!(names(results.path()).len(), 4);
    // Both are the same, by their checksums, and have holes as they came.
    let [one, other] = ["raw.img", "unpacked.img"]
        .map(|name| fs::read_to_string(results.path().join(format!("{name}.sha256"))).unwrap().replace(name, ""));
    assert_eq!(one, other);
    for name in ["raw.img", "unpacked.img"] {
        let used = fs::metadata(results.path().join(name)).unwrap().blocks() * 512;
        assert!(used < 200 * MIB, "{name}: {used} bytes");
    }
}
