//! The package for arm64, as `make deb ARCH=arm64` leaves it: what it asks of the system that it is installed on, and how it
//! runs on the Debian 12 for arm64 of `tests/arm64.sh`, under emulation. That needs root, and fails without.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// Of Ubuntu 22.04, the oldest release that the package is for: the C library whose symbols it may ask for.
const GLIBC: (u32, u32) = (2, 35);

/// What libc6 and libgcc-s1 have of what a program may need. Everything else is linked statically.
const LIBRARIES: &[&str] = &["ld-linux-aarch64.so.1", "libc.so.6", "libgcc_s.so.1", "libm.so.6"];

/// What the package may depend on, and the version that Ubuntu 22.04 has. Debian 12, Debian 13 and Ubuntu 24.04 have all of
/// them by the same names and as new or newer. (overlayroot's numbers are Ubuntu's there, so no version of it may be asked for.)
const OLDEST: &[(&str, &str)] = &[
    ("busybox", "1:1.30.1-7ubuntu3"),
    ("busybox-static", "1:1.30.1-7ubuntu3"),
    ("e2fsprogs", "1.46.5-2ubuntu1"),
    ("initramfs-tools", "0.140ubuntu13"),
    ("libc6", "2.35-0ubuntu3"),
    ("libgcc-s1", "12-20220319-1ubuntu1"),
    ("overlayroot", ""),
];

/// What a program prints to stdout; it must succeed.
fn said(command: &mut Command, input: &[u8]) -> String {
    command.env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = command.get_program().to_owned();
    let mut child = command.spawn().unwrap_or_else(|error| panic!("starting {name:?} ({error}): run `make setup`"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out
}

fn package() -> PathBuf {
    let name = format!("target/deb/burnonce_{}_arm64.deb", env!("CARGO_PKG_VERSION"));
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    assert!(package.is_file(), "{} is not there: make it with `make deb ARCH=arm64`", package.display());
    package
}

/// The versions of the C library that an output of `readelf --version-info` says are needed.
fn glibc_versions(readelf: &str) -> Vec<(u32, u32)> {
    let names = readelf.split_whitespace().filter_map(|word| word.strip_prefix("GLIBC_"));
    names
        .map(|version| {
            let mut numbers = version.split('.').map(|n| n.parse().unwrap_or_else(|_| panic!("GLIBC_{version}")));
            (numbers.next().unwrap(), numbers.next().unwrap())
        })
        .collect()
}

#[test]
fn its_programs_ask_for_no_newer_c_library_than_that_of_ubuntu_22_04() {
    let root = tempfile::tempdir().unwrap();
    said(Command::new("dpkg-deb").arg("--extract").arg(package()).arg(root.path()), b"");
    for program in ["usr/sbin/burnonce", "usr/lib/burnonce/guard"] {
        let readelf = |option: &str| {
            let path = root.path().join(program);
            said(Command::new("readelf").args(["--wide", option]).arg(path), b"")
        };
        let header = readelf("--file-header");
        assert!(header.contains("AArch64"), "{program}: {header}");
        let versions = readelf("--version-info");
        let newest = glibc_versions(&versions).into_iter().max();
        let newest = newest.unwrap_or_else(|| panic!("{program} names no version of the C library: {versions}"));
        assert!(newest <= GLIBC, "{program} needs glibc {newest:?}, Ubuntu 22.04 has {GLIBC:?}: {versions}");

        let dynamic = readelf("--dynamic");
        let libraries = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
        let libraries: Vec<&str> = libraries.map(|line| line.split(['[', ']']).nth(1).unwrap()).collect();
        assert!(libraries.contains(&"libc.so.6"), "{program}: {dynamic}");
        for library in libraries {
            assert!(
                LIBRARIES.contains(&library),
                "{program} needs {library}, which is neither in libc6 nor in libgcc-s1"
            );
        }
    }
}

/// Whether Ubuntu 22.04 has a package as it is named in a Depends: `libc6 (>= 2.34)`.
fn is_in_the_oldest(wanted: &str) -> bool {
    let (name, version) = wanted.split_once(" (>= ").unwrap_or((wanted, ""));
    let Some((_, oldest)) = OLDEST.iter().find(|(known, _)| *known == name) else { return false };
    let version = version.trim_end_matches(')');
    let compared = Command::new("dpkg").args(["--compare-versions", version, "le-nl", oldest]).status().unwrap();
    version.is_empty() || (!oldest.is_empty() && compared.success())
}

#[test]
fn every_release_has_what_the_package_depends_on() {
    let field = |name: &str| {
        let field = said(Command::new("dpkg-deb").arg("--field").arg(package()).arg(name), b"");
        field.trim().to_owned()
    };
    assert_eq!(field("Architecture"), "arm64");
    assert_eq!(field("Pre-Depends"), "");
    let depends = field("Depends");
    assert!(depends.contains("libc6 (>= "), "{depends}");
    for wanted in depends.split(", ") {
        assert!(wanted.split(" | ").any(is_in_the_oldest), "{wanted} is not in Ubuntu 22.04: {depends}");
    }
    for wanted in ["libext2fs2t64", "libc6 (>= 2.36)", "libgcc-s1 (>= 13)", "overlayroot (>= 0.1)"] {
        assert!(!is_in_the_oldest(wanted), "{wanted}");
    }
}

/// An image with a boot partition and a root, of a system that grows its root, in `directory`: raw, and packed.
fn images(directory: &Path) -> [&'static str; 4] {
    let (boot, root) = (directory.join("card.fat"), directory.join("root"));
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/os-release"), "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n").unwrap();
    fs::write(root.join("etc/fstab"), "PARTUUID=5a6b7c8d-02 / ext4 defaults,noatime 0 1\n").unwrap();
    fs::write(directory.join("cmdline.txt"), "root=PARTUUID=5a6b7c8d-02 rootfstype=ext4 rootwait\n").unwrap();

    let image = directory.join("card.img");
    let file = File::create(&image).unwrap();
    file.set_len(48 * MIB).unwrap();
    let table = b"label: dos\nlabel-id: 0x5a6b7c8d\nstart=8192, size=32768, type=c\nstart=40960, size=57344, type=83\n";
    said(Command::new("sfdisk").arg("--quiet").arg(&image), table);
    File::create(&boot).unwrap().set_len(16 * MIB).unwrap();
    said(Command::new("mkfs.fat").args(["-F", "16", "-n", "bootfs"]).arg(&boot), b"");
    said(Command::new("mcopy").arg("-i").arg(&boot).arg(directory.join("cmdline.txt")).arg("::"), b"");
    file.write_all_at(&fs::read(&boot).unwrap(), 4 * MIB).unwrap();
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-L", "rootfs", "-E", "offset=20971520", "-d"]);
    said(mke2fs.arg(&root).arg(&image).arg("28672k"), b"");

    for (packer, options) in [("xz", ["-k", "-1"]), ("zstd", ["-k", "-q"]), ("gzip", ["-k", "-1"])] {
        said(Command::new(packer).args(options).arg(&image), b"");
    }
    ["card.img", "card.img.xz", "card.img.zst", "card.img.gz"]
}

#[test]
fn it_is_installed_on_debian_12_and_says_there_what_it_says_here() {
    assert!(nix::unistd::geteuid().is_root(), "this test makes a chroot: run it as root (make test)");
    let directory = TempDir::new().unwrap();
    let images = images(directory.path());
    let script = format!(
        "exec >/mnt/said 2>&1; uname -m; dpkg-query --show --showformat '${{db:Status-Abbrev}}\n' burnonce; dpkg --audit
        burnonce --version; cd /mnt; export TMPDIR=/mnt
        for image in {}; do echo \"= $image\"; burnonce inspect --json $image; done; echo =",
        images.join(" ")
    );
    let mut emulated = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/arm64.sh"));
    emulated.current_dir(env!("CARGO_MANIFEST_DIR")).arg("run").arg(package()).arg(directory.path()).arg(script);
    said(&mut emulated, b"");

    let text = fs::read_to_string(directory.path().join("said")).unwrap();
    let mut parts = text.split("\n= ");
    assert_eq!(parts.next(), Some(concat!("aarch64\nii \nburnonce ", env!("CARGO_PKG_VERSION"))));
    for image in images {
        let mut native = Command::new(env!("CARGO_BIN_EXE_burnonce"));
        let native = said(native.args(["inspect", "--json", image]).current_dir(directory.path()), b"");
        assert!(native.contains("bookworm") && native.contains("5a6b7c8d"), "{native}");
        let seen = parts.next().unwrap_or_else(|| panic!("nothing about {image}: {text}"));
        assert_eq!(seen.trim_end_matches("\n=\n").trim_end(), format!("{image}\n{}", native.trim_end()));
    }
    assert_eq!(parts.next(), None, "{text}");
}
