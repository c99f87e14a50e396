//! Images go in raw or packed, and come out raw or packed: what comes out is the same.

use crate::common::said;
use crate::debs::Debs;
use crate::{bake, names, rows, text};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The image packed in each way that is read, with the name of that packing.
fn packed(image: &Path) -> Vec<(&'static str, PathBuf)> {
    let shown = text(image);
    let pack = |kind: &'static str, script: &str| {
        let path = PathBuf::from(format!("{shown}.{kind}"));
        said("sh", &["-e", "-c", &format!("({script}) >'{}'", path.display())], b"");
        (kind, path)
    };
    let blocks = "xz -1 -T2 --block-size=4MiB --stdout";
    vec![
        pack("blocks.xz", &format!("{blocks} '{shown}'")),
        // What `cat a.xz b.xz` makes.
        pack(
            "streams.xz",
            &format!("head -c 20000001 '{shown}' | xz -0 --stdout; tail -c +20000002 '{shown}' | {blocks}"),
        ),
        pack("zst", &format!("zstd -1 -q --check --stdout '{shown}'")),
        pack("gz", &format!("gzip -1 --stdout '{shown}'")),
    ]
}

#[test]
fn what_comes_out_is_the_same_however_it_is_packed() {
    let (debs, directory, results) = (Debs::make(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let image = rows::trixie().make(directory.path(), "stock.img");
    let bake_into = |from: &Path, name: &str| {
        let output = results.path().join(name);
        let shown = text(&output).to_owned();
        let said_by = bake(&[text(from), "-o", &shown, "--deb", text(debs.path())]).done();
        assert!(said_by.contains(&format!("{shown} is ready (260 MiB on the card)")), "{said_by}");
        // Reads the checksum as people do, and finds the file beside it.
        let script = format!("cd '{}' && sha256sum --check --strict {name}.sha256", results.path().display());
        assert_eq!(said("sh", &["-c", &script], b""), format!("{name}: OK\n"));
        output
    };
    let plain = fs::read(bake_into(&image, "raw-to-raw.img")).unwrap();
    let packed = packed(&image);
    for (kind, path) in &packed {
        assert!(fs::read(bake_into(path, &format!("{kind}-to-raw.img"))).unwrap() == plain, "{kind}");
        fs::remove_file(results.path().join(format!("{kind}-to-raw.img"))).unwrap();
    }
    // Each packing that is written, from one that is not the same.
    for (from, ending, unpack) in [(&image, "img.xz", "xz -dc"), (&packed[0].1, "img.zst", "zstd -dcq")] {
        let result = bake_into(from, &format!("made.{ending}"));
        let plain = results.path().join("raw-to-raw.img");
        said("sh", &["-c", &format!("{unpack} '{}' | cmp - '{}'", result.display(), plain.display())], b"");
        // What is packed can be baked again, and is not changed.
        let before = fs::read(&result).unwrap();
        let again = bake(&[text(&result), "--in-place", "--yes", "--deb", text(debs.path())]).done();
        assert!(again.contains("This image is baked already: there is nothing to do."), "{again}");
        assert!(fs::read(&result).unwrap() == before, "{ending}");
    }
    assert_eq!(names(directory.path()).len(), 5);
}

/// The result takes the place of the image, in the packing that it had.
#[test]
fn in_place_replaces_the_image() {
    let (debs, directory) = (Debs::make(), TempDir::new().unwrap());
    let image = rows::armbian().make(directory.path(), "stock.img");
    let other = directory.path().join("other.img");
    bake(&[text(&image), "-o", text(&other), "--deb", text(debs.path())]).done();
    let said_by = bake(&[text(&image), "--in-place", "--deb", text(debs.path())]).gave_up(3);
    assert!(said_by.contains("--yes"), "{said_by}");
    let said_by = bake(&[text(&image), "--in-place", "--yes", "--deb", text(debs.path())]).done();
    assert!(said_by.contains("stock.img is ready"), "{said_by}");
    assert!(fs::read(&image).unwrap() == fs::read(&other).unwrap());
    assert_eq!(names(directory.path()), ["other.img", "other.img.sha256", "stock.img", "stock.img.sha256"]);
}
