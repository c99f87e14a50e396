//! Packages that `dpkg-deb` built, and such as it would not.

mod broken;
mod chosen;
mod dpkg;

use super::*;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;
use tempfile::TempDir;

/// What a package says, with these fields beside those that it has to have.
fn control(name: &str, version: &str, architecture: &str, more: &str) -> String {
    let mut text = format!("Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n");
    write!(text, "Maintainer: Nobody <nobody@example.org>\nDescription: a test\n of more\n .\n lines\n{more}").unwrap();
    text
}

/// Builds a package of what is in `tree`, with this file `control`.
fn build(tree: &Path, control: &str, packing: &str, to: &Path) {
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    let output = Command::new("dpkg-deb")
        .args(["--root-owner-group", packing, "--build"])
        .args([tree, to])
        .output()
        .expect("this test builds packages by dpkg-deb, of the package dpkg; it has to be installed");
    assert!(output.status.success(), "dpkg-deb {packing}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The members of a .deb.
fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, content) in members {
        archive.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).bytes());
        archive.extend(*content);
        archive.extend(std::iter::repeat_n(b'\n', content.len() % 2));
    }
    archive
}

fn owned_by_root(header: &mut tar::Header) {
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_764_105_600);
}

/// A tar archive of files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        owned_by_root(&mut header);
        archive.append_data(&mut header, name, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

/// A .deb of these, not packed at all.
fn deb(control: &str, data: &[u8]) -> Vec<u8> {
    let control = tar(&[("control", control.as_bytes())]);
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", data)])
}

/// Reads all of it; gives the lines that tell what is in it.
fn listing(package: &Package) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    package.files(|Entry { path, kind, attributes }| {
        let what = match kind {
            Kind::Directory => "directory".to_owned(),
            Kind::Symlink(target) => format!("-> {target}"),
            Kind::Hardlink(target) => format!("= {target}"),
            Kind::File { size, content } => {
                let mut all = Vec::new();
                content.read_to_end(&mut all)?;
                assert_eq!(all.len() as u64, size);
                format!("{size} bytes, {:?}", String::from_utf8_lossy(&all[..all.len().min(9)]))
            }
        };
        assert_eq!((attributes.uid, attributes.gid), (0, 0));
        lines.push(format!("{path} {:o} {what}", attributes.mode));
        Ok(())
    })?;
    Ok(lines)
}

#[test]
fn what_dpkg_deb_built_is_read_in_every_packing() {
    let work = TempDir::new().unwrap();
    let tree = work.path().join("tree");
    let deep = "long-name/".repeat(15) + &"f".repeat(120);
    fs::create_dir_all(tree.join("usr/sbin")).unwrap();
    fs::create_dir_all(tree.join(&deep).parent().unwrap()).unwrap();
    fs::write(tree.join("usr/sbin/burnonce"), [&b"ELF"[..], &[0; 300_000]].concat()).unwrap();
    fs::set_permissions(tree.join("usr/sbin/burnonce"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(tree.join(&deep), "deep").unwrap();
    fs::hard_link(tree.join(&deep), tree.join("usr/other")).unwrap();
    symlink("/usr/sbin/burnonce", tree.join("usr/link")).unwrap();
    symlink(&deep, tree.join("usr/long-link")).unwrap();
    let more = "Pre-Depends: dpkg (>= 1.17)\nDepends: libc6 (>= 2.36),\n busybox | busybox-static\nProvides: x (= 2), y\nConflicts: z\n";
    for (packing, is_zstd) in [("-Zxz", false), ("-Zgzip", false), ("-Zzstd", true), ("-Znone", false)] {
        let path = work.path().join("some name.deb");
        build(&tree, &control("burnonce", "1:0.1.0~rc1-1", "arm64", more), packing, &path);
        let package = Package::open(&path).unwrap();
        assert_eq!((package.name(), package.architecture()), ("burnonce", "arm64"));
        assert_eq!((package.version().as_str(), package.is_zstd()), ("1:0.1.0~rc1-1", is_zstd), "{packing}");
        assert_eq!(package.file_name(), "burnonce_0.1.0~rc1-1_arm64.deb");
        assert_eq!(package.path(), path);
        let needs: Vec<String> = package.needs().map(Group::to_string).collect();
        assert_eq!(needs, ["dpkg (>= 1.17)", "libc6 (>= 2.36)", "busybox | busybox-static"]);
        assert_eq!(package.provides(), relation::provided("x (= 2), y").unwrap());
        assert_eq!(package.facts().conflicts.len(), 1);
        let mut whole = Vec::new();
        package.content().unwrap().read_to_end(&mut whole).unwrap();
        assert_eq!(whole, fs::read(&path).unwrap());

        let mut lines = listing(&package).unwrap();
        lines.retain(|line| !line.starts_with("long-name") || line.contains("fff"));
        let (real, link) = match lines.iter().find(|line| line.starts_with("usr/other")).unwrap().contains(" = ") {
            true => (format!("{deep} 644 4 bytes, \"deep\""), format!("usr/other 644 = {deep}")),
            false => (format!("{deep} 644 = usr/other"), "usr/other 644 4 bytes, \"deep\"".to_owned()),
        };
        let mut wanted = vec![
            real,
            "usr 755 directory".to_owned(),
            "usr/link 777 -> /usr/sbin/burnonce".to_owned(),
            format!("usr/long-link 777 -> {deep}"),
            link,
            "usr/sbin 755 directory".to_owned(),
            "usr/sbin/burnonce 4755 300003 bytes, \"ELF\\0\\0\\0\\0\\0\\0\"".to_owned(),
        ];
        lines.sort();
        wanted.sort();
        assert_eq!(lines, wanted, "{packing}");
        package.files(|_| Ok(())).unwrap();

        // What is not read is passed over, and what fails in the caller comes out.
        let mut count = 0;
        let counting = |_: Entry<'_>| {
            count += 1;
            Ok(())
        };
        package.files(counting).unwrap();
        assert!(count > 7);
        let error = package.files(|entry| bail!("no room for {}", entry.path)).unwrap_err();
        assert!(format!("{error:#}").contains("no room for "), "{error:#}");
    }
}

#[test]
fn what_may_be_added_to_the_format_is_passed_over() {
    let work = TempDir::new().unwrap();
    let path = work.path().join("a.deb");
    let control = tar(&[("./control", control("a", "1", "all", "").as_bytes()), ("./postinst", b"#!/bin/sh\n")]);
    let data = tar(&[("./a", b"a")]);
    let members: [(&str, &[u8]); 6] = [
        ("debian-binary/", b"2.7\nmore\n"),
        ("_odd", b"x"),
        ("control.tar/", &control),
        ("_even", b"xy"),
        ("data.tar/", &data),
        ("signature", b"after"),
    ];
    fs::write(&path, ar(&members)).unwrap();
    let package = Package::open(&path).unwrap();
    assert_eq!((package.name(), package.file_name().as_str()), ("a", "a_1_all.deb"));
    assert_eq!(listing(&package).unwrap(), ["a 644 1 bytes, \"a\""]);
}
