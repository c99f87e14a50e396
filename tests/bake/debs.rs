//! Packages made by dpkg-deb: a stand-in for burnonce's own, with its units, and what it needs.

use crate::common::{link, put, said};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// When the packages were made, in seconds since 1970.
pub const MADE: u64 = 1_760_000_000;

/// Where the packages are, and what of them is known by its content: a path of burnonce's package, or a package's file name.
pub struct Debs {
    directory: TempDir,
    pub known: Vec<(Vec<u8>, String)>,
}

/// What a package says of itself, besides its name and version.
pub struct Facts {
    pub architecture: &'static str,
    pub depends: &'static str,
}

impl Debs {
    /// Those that a node needs, of its architecture.
    pub fn make() -> Debs {
        let mut debs = Debs { directory: TempDir::new().unwrap(), known: Vec::new() };
        let tree = debs.burnonce();
        let facts = |architecture, depends| Facts { architecture, depends };
        let needs = "busybox | busybox-static, e2fsprogs, initramfs-tools | dracut, overlayroot | dracut";
        debs.add("burnonce", "0.1.0", &facts("arm64", needs), tree.path());
        let other = TempDir::new().unwrap();
        put(other.path(), "usr/bin/busybox", "busybox\n");
        debs.add("busybox", "1:1.37.0-6", &facts("arm64", "dpkg (>= 1.15)"), other.path());
        let other = TempDir::new().unwrap();
        put(other.path(), "usr/share/initramfs-tools/scripts/init-bottom/overlayroot", "#!/bin/sh\n# newer\n");
        debs.add("overlayroot", "0.48ubuntu2", &facts("all", "initramfs-tools"), other.path());
        debs
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The files of burnonce's package, as far as it matters.
    fn burnonce(&mut self) -> TempDir {
        let tree = TempDir::new().unwrap();
        let mut file = |path: &str, content: &[u8]| {
            put(tree.path(), path, content);
            self.known.push((content.to_vec(), path.to_owned()));
        };
        // Of more than one block, and none like the other.
        let program: String = (0..4000).map(|n| format!("# {n}\n")).collect();
        file("usr/sbin/burnonce", format!("#!/bin/sh\n{program}").as_bytes());
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        for unit in
            ["burnonce.service", "burnonce-prepare.service", "burnonce-reclaim.service", "burnonce-reclaim.timer"]
        {
            let path = format!("usr/lib/systemd/system/{unit}");
            file(&path, &fs::read(here.join("systemd").join(unit)).unwrap());
        }
        file("usr/share/burnonce/95-burnonce.cfg", &fs::read(here.join("share/95-burnonce.cfg")).unwrap());
        file("usr/share/doc/burnonce/README.md", b"Read me.\n");
        let program = tree.path().join("usr/sbin/burnonce");
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        link(tree.path(), "etc/cloud/cloud.cfg.d/95-burnonce.cfg", "/usr/share/burnonce/95-burnonce.cfg");
        tree
    }

    /// Makes one of them.
    fn add(&mut self, name: &str, version: &str, facts: &Facts, tree: &Path) {
        let path = package(self.path(), name, version, facts, tree);
        let content = fs::read(&path).unwrap();
        self.known.push((content, format!("the package {}", path.file_name().unwrap().to_str().unwrap())));
    }
}

/// Makes a package of a tree, in `directory`.
pub fn package(directory: &Path, name: &str, version: &str, facts: &Facts, tree: &Path) -> PathBuf {
    let Facts { architecture, depends } = facts;
    let depends = if depends.is_empty() { String::new() } else { format!("Depends: {depends}\n") };
    put(
        tree,
        "DEBIAN/control",
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: nobody <nobody@example.org>\n\
             {depends}Description: for a test\n"
        ),
    );
    let without_epoch = version.split_once(':').map_or(version, |(_, rest)| rest);
    let path = directory.join(format!("{name}_{without_epoch}_{architecture}.deb"));
    // The umask of who runs this is no matter of the package.
    let script = format!(
        "chmod -R u=rwX,go=rX {tree} && SOURCE_DATE_EPOCH={MADE} dpkg-deb --root-owner-group --build {tree} {path}",
        tree = tree.display(),
        path = path.display()
    );
    said("sh", &["-c", &script], b"");
    path
}
