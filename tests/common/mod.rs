//! Images for tests, made by sfdisk, mkfs.fat, mtools and mke2fs. No root, mounts or loop devices.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

pub const MIB: u64 = 1 << 20;
/// Where the boot partition begins, in bytes: as in Raspberry Pi OS.
pub const BOOT: u64 = 4 * MIB;

/// What a program prints, both streams; it must succeed. One that is not there fails the test with its name.
pub fn said(program: &str, arguments: &[&str], input: &[u8]) -> String {
    let directories = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|d| format!("{d}/{program}"));
    let found = directories.iter().find(|path| Path::new(path).exists());
    let mut child = Command::new(found.unwrap_or_else(|| panic!("{program} is not installed: run `make setup`")))
        .args(arguments)
        .env("LC_ALL", "C")
        .env("MTOOLS_SKIP_CHECK", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("starting {program}: {error}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

/// How an image is to be made.
pub struct Shape {
    /// `dos` or `gpt`.
    pub table: &'static str,
    /// 12, 16 or 32.
    pub fat: u32,
    pub boot_length: u64,
    pub root_length: u64,
    /// Those of the boot partition and of root.
    pub labels: [&'static str; 2],
    /// For mke2fs: options.
    pub ext4: &'static [&'static str],
}

pub const PLAIN: Shape = Shape {
    table: "dos",
    fat: 16,
    boot_length: 20 * MIB,
    root_length: 24 * MIB,
    labels: ["bootfs", "rootfs"],
    ext4: &[],
};

impl Shape {
    pub fn root(&self) -> u64 {
        BOOT + self.boot_length
    }

    /// Makes an image `name` in `directory`, with the files of the two trees.
    pub fn make(&self, directory: &Path, name: &str, boot: &Path, root: &Path) -> PathBuf {
        let image = directory.join(name);
        let file = File::create(&image).unwrap();
        // A GPT has its backup at the end.
        file.set_len(self.root() + self.root_length + if self.table == "gpt" { MIB } else { 0 }).unwrap();
        let (path, sectors) = (image.to_str().unwrap(), |bytes: u64| bytes / 512);
        let (fat, linux) = if self.table == "gpt" { ("U", "L") } else { ("c", "83") };
        let id = if self.table == "gpt" { "" } else { "label-id: 0x5a6b7c8d\n" };
        let script = format!(
            "label: {}\n{id}start={}, size={}, type={fat}\nstart={}, size={}, type={linux}\n",
            self.table,
            sectors(BOOT),
            sectors(self.boot_length),
            sectors(self.root()),
            sectors(self.root_length)
        );
        said("sfdisk", &["--quiet", path], script.as_bytes());

        let part = directory.join(format!("{name}.fat"));
        File::create(&part).unwrap().set_len(self.boot_length).unwrap();
        let part_path = part.to_str().unwrap();
        let [fat_label, ext4_label] = self.labels;
        said("mkfs.fat", &["-F", &self.fat.to_string(), "-s", "1", "-n", fat_label, "-i", "1234abcd", part_path], b"");
        for entry in fs::read_dir(boot).unwrap() {
            said("mcopy", &["-s", "-i", part_path, entry.unwrap().path().to_str().unwrap(), "::"], b"");
        }
        file.write_all_at(&fs::read(&part).unwrap(), BOOT).unwrap();
        fs::remove_file(part).unwrap();

        let offset = format!("offset={}", self.root());
        let length = format!("{}k", self.root_length / 1024);
        let fixed = ["-q", "-F", "-t", "ext4", "-L", ext4_label, "-E", &offset, "-d", root.to_str().unwrap()];
        said("mke2fs", &[&fixed, self.ext4, &[path, &length]].concat(), b"");
        image
    }
}

pub fn put(directory: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = directory.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub fn link(directory: &Path, path: &str, target: &str) {
    let path = directory.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(target, path).unwrap();
}

/// An initramfs as initramfs-tools makes it, with empty files of these names.
pub fn initramfs(names: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names.iter().chain([&"TRAILER!!!"]) {
        let mut numbers = [0; 13];
        numbers[11] = name.len() + 1;
        bytes.extend(format!("070701{}", numbers.map(|n| format!("{n:08x}")).concat()).bytes());
        bytes.extend(name.bytes().chain([0]));
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let packed = TempDir::new().unwrap();
    put(packed.path(), "initrd", bytes);
    let (from, to) = (packed.path().join("initrd"), packed.path().join("initrd.zst"));
    said("zstd", &["-q", from.to_str().unwrap(), "-o", to.to_str().unwrap()], b"");
    fs::read(to).unwrap()
}
