//! What is chosen for which image.

use super::*;
use crate::inspect::tree::memory::Memory;

/// A directory of packages, and an image they are for.
struct Shelf {
    directory: TempDir,
    image: Installed,
}

/// An image with these packages besides dpkg: name, version, and more fields.
fn image(packages: &[(&str, &str, &str)]) -> Installed {
    let mut status = String::new();
    for (name, version, more) in [("dpkg", "1.21.22", "")].iter().chain(packages) {
        let architecture = if more.contains("Architecture") { "" } else { "Architecture: arm64\n" };
        write!(status, "Package: {name}\nStatus: install ok installed\n{architecture}Version: {version}\n{more}\n")
            .unwrap();
    }
    status.push_str("Package: gone\nStatus: deinstall ok config-files\nArchitecture: arm64\nVersion: 9\n\n");
    let tree = Memory::default()
        .file("etc/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n")
        .file("var/lib/dpkg/status", status);
    Installed::of(&tree).unwrap()
}

impl Shelf {
    fn new(image: Installed) -> Shelf {
        Shelf { directory: TempDir::new().unwrap(), image }
    }

    /// With a package that has these fields.
    fn with(self, name: &str, version: &str, more: &str) -> Shelf {
        self.put(name, version, "arm64", more)
    }

    fn put(self, name: &str, version: &str, architecture: &str, more: &str) -> Shelf {
        let path = self.path(&format!("{name}_{version}_{architecture}.deb"));
        fs::write(path, deb(&control(name, version, architecture, more), &tar(&[]))).unwrap();
        self
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    /// The names of the files that are chosen of the whole directory and these of it by name.
    fn choose(&self, named: &[&str]) -> Result<Vec<String>> {
        let named = named.iter().map(|file| self.path(file));
        let given: Vec<PathBuf> = [self.directory.path().to_owned()].into_iter().chain(named).collect();
        self.only(&given)
    }

    fn only(&self, given: &[PathBuf]) -> Result<Vec<String>> {
        let chosen = choose(given, Vec::new(), &self.image, "arm64")?;
        Ok(chosen.iter().map(Package::file_name).collect())
    }

    fn refused(&self, named: &[&str]) -> String {
        format!("{:#}", self.choose(named).unwrap_err())
    }
}

#[test]
fn what_burnonce_needs_is_taken_and_the_rest_left() {
    let shelf = Shelf::new(image(&[("libc6", "2.36-9", ""), ("initramfs-tools", "0.142", "Architecture: all\n")]))
        .with("burnonce", "0.1", "Depends: overlayroot, initramfs-tools, busybox | busybox-static, libc6 (>= 2.34)\n")
        .with("burnonce", "0.9", "Depends: nothing-there-is\n")
        .with("burnonce", "0.10~rc1", "Depends: overlayroot\n")
        .with("burnonce", "0.10", "Depends: overlayroot, initramfs-tools, busybox | busybox-static, libc6 (>= 2.34)\n")
        .put("burnonce", "0.11", "amd64", "")
        .put("overlayroot", "0.47", "all", "Depends: cryptsetup-bin\n")
        .with("cryptsetup-bin", "2", "")
        .with("busybox-static", "1.36", "")
        .with("libc6", "2.40", "")
        .with("unneeded", "1", "Depends: nowhere\n");
    let wanted = [
        "burnonce_0.10_arm64.deb",
        "busybox-static_1.36_arm64.deb",
        "cryptsetup-bin_2_arm64.deb",
        "overlayroot_0.47_all.deb",
    ];
    assert_eq!(shelf.choose(&[]).unwrap(), wanted);
    // The same file twice is as once.
    assert_eq!(shelf.choose(&["burnonce_0.10_arm64.deb", "burnonce_0.10_arm64.deb"]).unwrap(), wanted);
    // What was named is taken, needed or not, and also instead of a newer one.
    let named = shelf.with("more", "1", "").choose(&["burnonce_0.1_arm64.deb", "more_1_arm64.deb"]).unwrap();
    assert_eq!(
        (named[0].as_str(), named[4].as_str(), named.len()),
        ("burnonce_0.1_arm64.deb", "overlayroot_0.47_all.deb", 5)
    );
}

#[test]
fn of_alternatives_one_that_can_be_installed_is_taken() {
    let shelf = Shelf::new(image(&[]))
        .with("burnonce", "1", "Depends: a | b | c\n")
        .with("a", "1", "Depends: a2\n")
        .with("a2", "1", "Depends: nowhere\n")
        .with("c", "1", "")
        .with("d", "1", "Provides: b\n");
    assert_eq!(shelf.choose(&[]).unwrap(), ["burnonce_1_arm64.deb", "d_1_arm64.deb"]);
    // One that is there is better than any.
    let shelf = Shelf { image: image(&[("c", "1", "")]), ..shelf };
    assert_eq!(shelf.choose(&[]).unwrap(), ["burnonce_1_arm64.deb"]);
    // And one that provides it after itself.
    let shelf = shelf.with("burnonce", "2", "Depends: b\n").with("b", "1", "");
    assert_eq!(shelf.choose(&[]).unwrap(), ["b_1_arm64.deb", "burnonce_2_arm64.deb"]);
}

#[test]
fn what_is_provided_counts() {
    let image = image(&[
        ("libext2fs2t64", "1.47.2", "Provides: libext2fs2 (= 1.47.2)\n"),
        ("mawk", "1.3", "Provides: awk\n"),
        ("python3", "3.11", "Multi-Arch: allowed\n"),
        ("tool", "1", "Multi-Arch: foreign\nArchitecture: armhf\n"),
        ("lib", "1", "Multi-Arch: same\nArchitecture: armhf\n"),
    ]);
    for (needs, is_met) in [
        ("libext2fs2 (>= 1.46)", true),
        ("libext2fs2 (>= 1.48)", false),
        ("awk", true),
        ("awk (>= 1)", false),
        ("python3:any (>= 3.5)", true),
        ("mawk:any", false),
        ("mawk:arm64", true),
        ("tool", true),
        ("tool (>> 1)", false),
        ("lib", false),
        ("lib:armhf", true),
        ("gone", false),
    ] {
        let shelf = Shelf::new(image.clone()).with("burnonce", "1", &format!("Depends: {needs}\n"));
        assert_eq!(shelf.choose(&[]).is_ok(), is_met, "{needs}: {:?}", shelf.choose(&[]));
    }
}

#[test]
fn all_that_is_missing_is_told_at_once() {
    let shelf = Shelf::new(image(&[("libc6", "2.36-9", "")]))
        .with("burnonce", "0.1", "Depends: overlayroot, libc6 (>= 2.38), busybox | busybox-static, e2fsprogs\n")
        .with("e2fsprogs", "1", "Depends: overlayroot\n")
        .put("busybox", "1.36", "armhf", "");
    let busybox = shelf.path("busybox_1.36_armhf.deb");
    let wanted = format!(
        "packages are missing, in the image and among those that were given:\n\
         \x20 busybox | busybox-static, needed by burnonce 0.1; {} is for armhf\n\
         \x20 libc6 (>= 2.38), needed by burnonce 0.1; the image has libc6 2.36-9\n\
         \x20 overlayroot, needed by burnonce 0.1, e2fsprogs 1\n\
         Download them for arm64 and Debian GNU/Linux 12 (bookworm), with `apt-get download busybox libc6 overlayroot` on a machine that \
         runs it or from https://packages.debian.org, and give each with --deb.\n\
         Where the image has another version, the package that needs it was made for another release: get that one for the image's.",
        busybox.display()
    );
    assert_eq!(shelf.refused(&[]), wanted);
}

#[test]
fn burnonce_is_there_or_in_the_image() {
    let shelf = Shelf::new(image(&[])).put("burnonce", "1", "armhf", "").with("other", "1", "");
    let text = shelf.refused(&[]);
    assert!(text.contains("burnonce is not in the image") && text.contains("_armhf.deb is for armhf"), "{text}");
    assert!(text.ends_with("give the one for arm64 with --deb"), "{text}");
    let shelf = Shelf { image: image(&[("burnonce", "1", "")]), ..shelf };
    assert_eq!(shelf.choose(&[]).unwrap(), [""; 0]);
    assert_eq!(shelf.only(&[]).unwrap(), [""; 0]);
    assert_eq!(shelf.choose(&["other_1_arm64.deb"]).unwrap(), ["other_1_arm64.deb"]);
}

#[test]
fn what_the_image_has_is_not_taken_again() {
    let shelf = Shelf::new(image(&[("burnonce", "2", ""), ("same", "1.0", "")]))
        .with("burnonce", "1", "")
        .with("burnonce", "3", "")
        .with("same", "1.00", "")
        .with("burnonce", "2", "");
    assert_eq!(shelf.choose(&[]).unwrap(), ["burnonce_3_arm64.deb"]);
    // Named, the newer one of the directory stays there.
    assert_eq!(shelf.choose(&["burnonce_2_arm64.deb", "same_1.00_arm64.deb"]).unwrap(), [""; 0]);
    let text = shelf.refused(&["burnonce_1_arm64.deb"]);
    assert!(
        text.contains("burnonce_1_arm64.deb has burnonce 1, and the image has a newer one, 2: leave it out"),
        "{text}"
    );
    let text = shelf.refused(&["burnonce_2_arm64.deb", "burnonce_3_arm64.deb"]);
    assert!(text.contains("are two versions of burnonce, 2 and 3: give one of them"), "{text}");
}

#[test]
fn what_cannot_be_used_is_told() {
    let shelf = Shelf::new(image(&[])).with("burnonce", "1", "").put("burnonce", "1", "amd64", "");
    let text = shelf.refused(&["burnonce_1_amd64.deb"]);
    assert!(
        text.contains("burnonce_1_amd64.deb is for amd64, and the image is for arm64: give the one for arm64"),
        "{text}"
    );
    assert!(shelf.refused(&["none.deb"]).contains("none.deb: No such file"), "{}", shelf.refused(&["none.deb"]));
    // What is no package by its name, and what is no file, is passed over.
    fs::write(shelf.path("notes.txt"), "x").unwrap();
    fs::create_dir(shelf.path("directory.deb")).unwrap();
    assert_eq!(shelf.choose(&[]).unwrap(), ["burnonce_1_arm64.deb"]);
    fs::write(shelf.path("half.deb"), "!<arch>\n").unwrap();
    assert!(shelf.refused(&[]).contains("move it elsewhere: the package "), "{}", shelf.refused(&[]));
}

#[test]
fn what_dpkg_would_refuse_is_told() {
    let image = |more: &str| image(&[("old", "1", more), ("user", "1", "Depends: old (= 1)\nArchitecture: all\n")]);
    for (installed, burnonce, other, reason) in [
        (
            "",
            "Conflicts: old\n",
            "",
            "burnonce 1 (given) cannot be installed beside old 1 (of the image): it conflicts with it",
        ),
        ("", "Breaks: old (<< 2)\n", "", "it breaks it"),
        ("Conflicts: burnonce\n", "", "", "old 1 (of the image) cannot be installed beside burnonce 1 (given)"),
        ("Breaks: burnonce (<< 2)\n", "", "", "it breaks it"),
        ("Provides: virtual\n", "Conflicts: virtual\n", "", "it conflicts with it"),
        ("", "Depends: new\nBreaks: new\n", "Package: new", "beside new 1 (given)"),
        ("", "Pre-Depends: new\n", "Package: new", "before it is unpacked"),
        ("", "Depends: old (= 2)\n", "Package: old", "user of the image needs old (= 1)"),
        ("", "Breaks: old (<< 1)\nConflicts: burnonce, virtual\nProvides: virtual\n", "", ""),
    ] {
        let shelf = Shelf::new(image(installed)).with("burnonce", "1", burnonce);
        let shelf = match other {
            "Package: new" => shelf.with("new", "1", ""),
            "Package: old" => shelf.with("old", "2", ""),
            _ => shelf,
        };
        match shelf.choose(&[]) {
            Ok(chosen) => assert_eq!((chosen.len(), reason), (1, ""), "{burnonce}"),
            Err(error) => assert!(!reason.is_empty() && error.to_string().contains(reason), "{burnonce}: {error:#}"),
        }
    }
    let shelf = Shelf::new(Installed::default()).with("burnonce", "1", "");
    assert!(shelf.refused(&[]).contains("the image has no dpkg"), "{}", shelf.refused(&[]));
}

#[test]
fn zstd_needs_a_dpkg_that_reads_it() {
    let mut shelf = Shelf::new(image(&[]));
    let tree = shelf.path("tree");
    build(&tree, &control("burnonce", "1", "arm64", ""), "-Zzstd", &shelf.path("burnonce.deb"));
    for (dpkg, reads) in [("1.20.13", false), ("1.21.18", true), ("1.21.1ubuntu2", true)] {
        shelf.image.packages[0].version = Some(Version::parse(dpkg).unwrap());
        assert_eq!(shelf.choose(&[]).is_ok(), reads, "{dpkg}");
    }
    shelf.image.packages[0].version = Some(Version::parse("1.20.13").unwrap());
    assert!(shelf.refused(&[]).contains("packed by zstd, which the image's dpkg 1.20.13 does not read"));
}
