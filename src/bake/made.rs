//! Images for tests, made by sfdisk and mke2fs.

use super::check::path_for_programs;
use crate::command::Program;
use crate::inspect::ext4::Ext4;
use crate::inspect::partition::extent;
use crate::inspect::tree::{Node, Tree};
use crate::table::{self, Table};
use crate::units::MIB;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Where root begins, and how long its partition is, in bytes. It does not end at a multiple of 4 MiB.
pub const ROOT: u64 = 6 * MIB;
pub const LENGTH: u64 = 24 * MIB + 512 * 7;
/// Root's number.
pub const NUMBER: u32 = 2;

/// Features for mke2fs, and the bytes of a block.
pub const KINDS: [(&str, &str); 5] = [
    ("metadata_csum,64bit", "4096"),
    ("metadata_csum_seed,orphan_file,64bit", "1024"),
    ("^metadata_csum,^64bit,uninit_bg", "1024"),
    ("^extent,^64bit,^metadata_csum,^has_journal,^flex_bg", "1024"),
    ("meta_bg,^resize_inode,metadata_csum,inline_data", "2048"),
];

pub struct Made {
    pub directory: TempDir,
    pub path: PathBuf,
}

impl Made {
    /// An image with a table of sfdisk's kind `label`, and an ext4 of `length` bytes in its second partition.
    pub fn make(label: &str, (features, block): (&str, &str), length: u64) -> Made {
        let more = if label == "gpt" { "" } else { "label-id: 0x5a6b7c8d\n" };
        let made = Made::partitioned(&format!(
            "label: {label}\n{more}start={}, size={}\nstart={}, size={}\n",
            MIB / 512,
            3 * MIB / 512,
            ROOT / 512,
            LENGTH / 512
        ));
        let tree = made.directory.path().join("tree");
        fs::create_dir_all(tree.join("etc/many")).unwrap();
        fs::create_dir_all(tree.join("usr/lib")).unwrap();
        symlink("usr/lib", tree.join("lib")).unwrap();
        fs::write(tree.join("etc/hostname"), "old\n").unwrap();
        // Each block differs, so that one at a wrong place shows.
        let long: String = (0..400_000).map(|n| format!("{n},")).collect();
        fs::write(tree.join("etc/long"), long).unwrap();
        (0..200).for_each(|n| fs::write(tree.join(format!("etc/many/file-{n}")), format!("{n}")).unwrap());
        Program::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", block, "-I", "256", "-L", "rootfs", "-O", features])
            .args(["-E", &format!("offset={ROOT}"), "-d", tree.to_str().unwrap(), made.path.to_str().unwrap()])
            .arg(format!("{}k", length / 1024))
            .run()
            .unwrap();
        made
    }

    pub fn plain(label: &str) -> Made {
        Made::make(label, KINDS[0], LENGTH)
    }

    /// An image of 32 MiB with nothing in it but a table by this script of sfdisk, boot code, and bytes before root.
    pub fn partitioned(script: &str) -> Made {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("image");
        File::create(&path).unwrap().set_len(32 * MIB).unwrap();
        let mut sfdisk = Command::new("/usr/sbin/sfdisk")
            .args(["--quiet", path.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        sfdisk.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(sfdisk.wait().unwrap().success(), "{script}");
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0xB0; 440], 0).unwrap();
        file.write_all_at(&vec![0xAA; MIB as usize], ROOT - MIB).unwrap();
        Made { directory, path }
    }

    pub fn file(&self) -> File {
        File::options().read(true).write(true).open(&self.path).unwrap()
    }

    pub fn table(&self) -> Table {
        table_of(&self.file())
    }

    /// What debugfs prints for `request` to the root file system.
    pub fn debugfs(&self, options: &[&str], request: &str) -> String {
        let place = format!("{}?offset={ROOT}", self.path.display());
        let output = Program::new("debugfs").args(options.iter().copied()).args(["-R", request, &place]).run().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Root's content: what each path has.
    pub fn content(&self) -> BTreeMap<String, String> {
        let ext4 = Ext4::open(&self.path, ROOT).unwrap();
        let mut found = BTreeMap::new();
        walk(&ext4, "", &mut found);
        assert!(found.len() > 200, "{}", found.len());
        found
    }

    /// A copy without a name, and the path that leads to it.
    pub fn unnamed(&self) -> (File, PathBuf) {
        let file = tempfile::tempfile().unwrap();
        (&file).write_all(&fs::read(&self.path).unwrap()).unwrap();
        let path = path_for_programs(&file).unwrap();
        (file, path)
    }
}

pub fn table_of(file: &File) -> Table {
    let sectors = file.metadata().unwrap().len() / 512;
    let table = table::read(&mut &*file, 512, sectors).unwrap().unwrap();
    let root = table.partitions.iter().find(|p| p.number == NUMBER);
    assert!(root.is_none_or(|root| extent(&table, root).0 == ROOT));
    table
}

fn walk(tree: &dyn Tree, path: &str, found: &mut BTreeMap<String, String>) {
    for name in tree.names(path).unwrap() {
        let path = crate::inspect::tree::join(path, &name);
        let held = match tree.node(&path).unwrap().unwrap() {
            Node::Directory => {
                walk(tree, &path, found);
                "a directory".to_owned()
            }
            Node::File => tree.text(&path, u64::MAX).unwrap().unwrap(),
            other => format!("{other:?}"),
        };
        found.insert(path, held);
    }
}
