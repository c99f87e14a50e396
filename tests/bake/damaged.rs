//! Images that are damaged anywhere: burnonce says so, or makes one that is sound.

use crate::common::{BOOT, said};
use crate::debs::Debs;
use crate::rows::{self, ROOT, ROOT_LENGTH};
use crate::{bake, listing, names, text};
use std::fs::{self, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long it is tried.
const LONG: Duration = Duration::from_secs(20);

/// Numbers that are the same in each run (xorshift64, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn within(&mut self, place: &Range<u64>) -> u64 {
        place.start + self.below(place.end - place.start)
    }
}

/// What is damaged, one place at a time, so that the others are read: the table; FAT's boot sector, tables and directories; the superblock,
/// descriptors, inodes and directories of ext4; anything.
const PLACES: [Range<u64>; 7] = [
    440..512,
    BOOT..BOOT + 64,
    BOOT + 512..BOOT + (256 << 10),
    ROOT + 1024..ROOT + 2048,
    ROOT + 4096..ROOT + 8192,
    ROOT + 8192..ROOT + (4 << 20),
    0..ROOT + ROOT_LENGTH,
];

/// Damages the image, and says how.
fn damage(image: &Path, numbers: &mut Numbers) -> String {
    let file = OpenOptions::new().write(true).open(image).unwrap();
    if numbers.below(8) == 0 {
        let length = numbers.below(ROOT + ROOT_LENGTH);
        file.set_len(length).unwrap();
        return format!("cut to {length} bytes");
    }
    let place = &PLACES[numbers.below(PLACES.len() as u64) as usize];
    let bytes: Vec<(u64, u8)> =
        (0..1 + numbers.below(12)).map(|_| (numbers.within(place), numbers.below(256) as u8)).collect();
    bytes.iter().for_each(|(at, byte)| file.write_all_at(&[*byte], *at).unwrap());
    format!("written: {bytes:?}")
}

#[test]
fn a_damaged_image_is_told_or_made_sound() {
    let (debs, directory, results) = (Debs::make(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let stock = rows::debian().make(directory.path(), "stock.img");
    let baked = directory.path().join("baked.img");
    bake(&[text(&stock), "-o", text(&baked), "--deb", text(debs.path())]).done();
    let (copy, out) = (directory.path().join("copy.img"), results.path().join("out.img"));
    let mut numbers = Numbers(0x6275_726E_6F6E_6365);
    let (begun, mut done, mut told) = (Instant::now(), 0, 0);
    while begun.elapsed() < LONG {
        let from = if (done + told) % 2 == 0 { &stock } else { &baked };
        said("cp", &["--sparse=always", text(from), text(&copy)], b"");
        let how = damage(&copy, &mut numbers);
        let ran = bake(&[text(&copy), "-o", text(&out), "--deb", text(debs.path())]);
        if ran.code == 0 {
            done += 1;
            assert_eq!(names(results.path()), ["out.img", "out.img.sha256"], "{how}");
            said("e2fsck", &["-f", "-n", &listing::place(&out)], b"");
            names(results.path()).iter().for_each(|name| fs::remove_file(results.path().join(name)).unwrap());
        } else {
            told += 1;
            // 101: it panicked; from 1000 on: a signal.
            assert!(matches!(ran.code, 1 | 3), "{how}: {}{}{}", ran.code, ran.out, ran.err);
            assert!(ran.err.contains("copy.img") || ran.err.contains("of the image"), "{how}: {}", ran.err);
            assert!(!ran.err.contains("please report it"), "{how}: {}", ran.err);
            assert_eq!(names(results.path()), [""; 0], "{how}: {}", ran.err);
        }
    }
    assert!(done > 2 && told > 2, "{done} were baked, {told} were not");
}
