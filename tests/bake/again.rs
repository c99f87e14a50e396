//! A second bake, with other packages: all that waits in the image goes to dpkg in one call, and is chosen together.

use crate::common::{put, said};
use crate::debs::{Debs, Facts, package};
use crate::rows::{self, ROOT};
use crate::{bake, text};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A package of burnonce that differs from the one of [`Debs`].
fn other_burnonce(directory: &Path, depends: &'static str) -> PathBuf {
    let tree = TempDir::new().unwrap();
    put(tree.path(), "usr/sbin/burnonce", "#!/bin/sh\n# newer\n");
    package(directory, "burnonce", "0.2.0", &Facts { architecture: "arm64", depends }, tree.path())
}

/// The names of the packages that wait in an image.
fn waiting(image: &Path) -> Vec<String> {
    let place = format!("{}?offset={ROOT}", image.display());
    let listed = said("debugfs", &["-R", "ls -p /var/lib/burnonce/packages", &place], b"");
    let names = listed.lines().filter_map(|line| line.split('/').nth(5)).filter(|name| name.ends_with(".deb"));
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn a_newer_package_takes_the_place_of_the_one_that_waits() {
    let (debs, directory, newer) = (Debs::make(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let image = rows::noble().make(directory.path(), "stock.img");
    let (once, twice) = (directory.path().join("once.img"), directory.path().join("twice.img"));
    bake(&[text(&image), "-o", text(&once), "--deb", text(debs.path())]).done();
    let before = waiting(&once);
    assert!(before.contains(&"burnonce_0.1.0_arm64.deb".to_owned()), "{before:?}");

    // What it needs waits in the image, and is not given once more.
    let newer = other_burnonce(newer.path(), "busybox | busybox-static, overlayroot");
    let said_by = bake(&[text(&once), "-o", text(&twice), "--deb", text(&newer)]).done();
    assert!(said_by.contains("put in burnonce 0.2.0"), "{said_by}");
    let after: Vec<String> = before.iter().map(|name| name.replace("burnonce_0.1.0", "burnonce_0.2.0")).collect();
    assert_eq!(waiting(&twice), after);
}

/// burnonce's own program runs before dpkg does: a library that comes with it comes too late.
#[test]
fn a_library_of_burnonce_has_to_be_in_the_image() {
    let (debs, directory, other) = (Debs::make(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let image = rows::noble().make(directory.path(), "stock.img");
    let burnonce = other_burnonce(other.path(), "overlayroot, libc6 (>= 2.99)");
    let tree = TempDir::new().unwrap();
    let library = package(other.path(), "libc6", "2.99-1", &Facts { architecture: "arm64", depends: "" }, tree.path());
    let arguments = ["--plan", "--deb", text(&burnonce), "--deb", text(&library), "--deb", text(debs.path())];
    let said_by = bake(&[&[text(&image)], &arguments[..]].concat()).gave_up(1);
    assert!(said_by.contains("needs libc6 (>= 2.99), and the image has not got it"), "{said_by}");
}
