//! What baking makes different in a look-alike of each image, path by path: tests/bake/expected/. `UPDATE_EXPECTED=1 cargo test --test
//! bake` writes these files anew; read the difference before it is committed.

use crate::common::BOOT;
use crate::debs::Debs;
use crate::listing::{self, difference};
use crate::rows::{self, DRACUT, INITRAMFS_TOOLS, ROOT, ROOT_LENGTH, Row};
use crate::{bake, names, text};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn expect(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/bake/expected/{name}.txt"));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if found != expected {
        let changed = similar::TextDiff::from_lines(expected.as_str(), found);
        panic!("{} is not what was found:\n{}", path.display(), changed.unified_diff());
    }
}

/// Bakes a look-alike, compares what became of it with what is expected, and bakes it once more.
fn baked(row: &Row) {
    let (debs, directory) = (Debs::make(), TempDir::new().unwrap());
    let image = row.make(directory.path(), "stock.img");
    let [once, twice] = ["once.img", "twice.img"].map(|name| directory.path().join(name));
    let stock = fs::read(&image).unwrap();
    let before = listing::read(&image);
    let packages = ["--deb", text(debs.path())];

    let said = bake(&[&[text(&image), "-o", text(&once)], &packages[..]].concat()).done();
    let plan = said.split("\nWhat is done").nth(1).and_then(|rest| rest.split_once(text(&once))).unwrap().0;
    let after = listing::read(&once);
    let boot = difference(&before.boot, &after.boot, &debs.known);
    let root = difference(&before.root, &after.root, &debs.known);
    expect(row.name, &format!("What is done{plan}\n== the boot partition\n{boot}\n== root\n{root}"));

    // The image itself, and of the other one all that is in neither file system: the boot code, the disk signature, the table.
    assert!(fs::read(&image).unwrap() == stock, "the image was written");
    let result = fs::read(&once).unwrap();
    assert_eq!(result.len(), stock.len());
    let end = (ROOT + ROOT_LENGTH) as usize;
    assert!(result[..BOOT as usize] == stock[..BOOT as usize] && result[end..] == stock[end..]);

    let said = bake(&[&[text(&once), "-o", text(&twice)], &packages[..]].concat()).done();
    assert!(said.contains("This image is baked already: there is nothing to do."), "{said}");
    assert!(fs::read(&twice).unwrap() == result, "baking twice is not baking once");
    let modified = || fs::metadata(&once).unwrap().modified().unwrap();
    let before = modified();
    let said = bake(&[&[text(&once), "--in-place"], &packages[..]].concat()).done();
    assert!(said.contains("This image is baked already") && !said.contains("is ready"), "{said}");
    assert!(modified() == before && fs::read(&once).unwrap() == result);
    assert_eq!(names(directory.path()), ["once.img", "once.img.sha256", "stock.img", "twice.img", "twice.img.sha256"],);
}

#[test]
fn ubuntu_22_04() {
    baked(&rows::ubuntu("ubuntu-22.04", "22.04", "jammy", INITRAMFS_TOOLS));
}

#[test]
fn ubuntu_24_04() {
    baked(&rows::noble());
}

/// Both boots get the same line.
#[test]
fn ubuntu_26_04_with_initramfs_tools() {
    baked(&rows::resolute("ubuntu-26.04-initramfs-tools", INITRAMFS_TOOLS));
}

#[test]
fn ubuntu_26_04() {
    baked(&rows::resolute("ubuntu-26.04", DRACUT));
}

#[test]
fn without_a_tool_that_makes_an_initramfs_it_is_refused() {
    let (debs, directory) = (Debs::make(), TempDir::new().unwrap());
    let row = rows::resolute("ubuntu-26.04-without", &[]);
    let image = row.make(directory.path(), "stock.img");
    let output = directory.path().join("out.img");
    let said = bake(&[text(&image), "-o", text(&output), "--deb", text(debs.path())]).gave_up(3);
    assert!(said.contains("this image is not baked, and nothing was written"), "{said}");
    assert!(said.contains("neither initramfs-tools nor dracut is installed"), "{said}");
    assert_eq!(names(directory.path()), ["stock.img"]);
}

#[test]
fn raspberry_pi_os_bookworm() {
    baked(&rows::bookworm());
}

#[test]
fn raspberry_pi_os_trixie() {
    baked(&rows::trixie());
}

#[test]
fn debian() {
    baked(&rows::debian());
}

#[test]
fn armbian() {
    baked(&rows::armbian());
}
