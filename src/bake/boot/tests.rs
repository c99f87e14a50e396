//! On images of mkfs.fat, read back by mtools and judged by fsck.vfat.

use super::*;
use crate::command::Program;
use crate::units::MIB;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// Where the partition begins in its file.
const START: u64 = 2 * MIB;
/// 2026-11-02 10:11:00 UTC.
const NOW: u64 = 1_793_614_260;
/// Width of the table, length, sectors of a cluster: as small as each may be.
const KINDS: [(&str, u64, &str); 3] = [("12", 4 * MIB, "4"), ("16", 20 * MIB, "1"), ("32", 40 * MIB, "1")];

/// Removes a file, as something else did before.
fn remove(boot: &mut Boot<'_>, path: &str) {
    let fatfs = boot.session().unwrap();
    fatfs.root_dir().remove(path).unwrap();
    fatfs.unmount().unwrap();
}

struct Image {
    directory: TempDir,
    path: PathBuf,
    length: u64,
}

impl Image {
    /// A partition that was full of something else before, with some files.
    fn make((width, length, per_cluster): (&str, u64, &str)) -> Image {
        let directory = TempDir::new().unwrap();
        let image = Image { path: directory.path().join("image"), directory, length };
        let alone = image.alone();
        fs::write(&alone, vec![b'?'; length as usize]).unwrap();
        Program::new("mkfs.fat")
            .args(["-F", width, "-s", per_cluster, "-n", "bootfs", alone.to_str().unwrap()])
            .run()
            .unwrap();
        for name in ["cmdline.txt", "Config.txt", "a-rather-long-name.dtb"] {
            let file = image.directory.path().join(name);
            fs::write(&file, format!("old {name}\n").repeat(300)).unwrap();
            image.mtools("mcopy", &[file.to_str().unwrap(), "::"]);
        }
        image.mtools("mmd", &["::current"]);
        image.mtools("mcopy", &[image.directory.path().join("cmdline.txt").to_str().unwrap(), "::current/"]);
        let file = File::create(&image.path).unwrap();
        file.set_len(START + length + MIB).unwrap();
        file.write_all_at(&[0xAA; 512], START - 512).unwrap();
        file.write_all_at(&[0xAA; 512], START + length).unwrap();
        image.put_back();
        image
    }

    fn alone(&self) -> PathBuf {
        self.directory.path().join("alone")
    }

    /// What one of mtools prints; it must succeed.
    fn mtools(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(["-i", self.alone().to_str().unwrap()])
            .args(arguments)
            // It does not like the geometry that mkfs.fat makes up for a file.
            .env("MTOOLS_SKIP_CHECK", "1")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn put_back(&self) {
        self.file().write_all_at(&fs::read(self.alone()).unwrap(), START).unwrap();
    }

    fn file(&self) -> File {
        File::options().read(true).write(true).open(&self.path).unwrap()
    }

    fn edit(&self, edit: impl FnOnce(&mut Boot<'_>)) {
        let file = self.file();
        edit(&mut Boot::open(&file, START, self.length, NOW).unwrap());
        let mut bytes = vec![0; self.length as usize];
        file.read_exact_at(&mut bytes, START).unwrap();
        fs::write(self.alone(), bytes).unwrap();
        Program::new("fsck.vfat").args(["-n", self.alone().to_str().unwrap()]).run().unwrap();
        for at in [START - 512, START + self.length] {
            let mut guard = [0; 512];
            file.read_exact_at(&mut guard, at).unwrap();
            assert_eq!(guard, [0xAA; 512]);
        }
    }

    /// The long names in a directory, as mtools shows them.
    fn names(&self, directory: &str) -> Vec<String> {
        let text = self.mtools("mdir", &["-b", "-a", directory]);
        text.lines().map(|line| line.trim_start_matches("::/").to_owned()).collect()
    }
}

#[test]
fn files_are_written_and_replaced_and_names_keep_their_case() {
    for kind in KINDS {
        let image = Image::make(kind);
        let long: String = (0..60_000).map(|n| format!("{n} ")).collect();
        image.edit(|boot| {
            boot.write("CMDLINE.TXT", b"console=tty1\n").unwrap();
            boot.write("/config.txt", long.as_bytes()).unwrap();
            boot.write("current/CmdLine.txt", b"").unwrap();
            boot.write("user-data", b"#cloud-config\n").unwrap();
            boot.write("current/A Name with Blanks, and Größe.yaml", b"x").unwrap();
            remove(boot, "A-RATHER-long-name.dtb");
        });
        let mut names = image.names("::");
        names.sort();
        assert_eq!(names, ["Config.txt", "cmdline.txt", "current/", "user-data"], "{kind:?}");
        assert_eq!(image.mtools("mtype", &["::cmdline.txt"]), "console=tty1\n");
        assert!(image.mtools("mtype", &["::config.txt"]) == long);
        assert_eq!(image.mtools("mtype", &["::current/cmdline.txt"]), "");
        assert_eq!(image.mtools("mtype", &["::user-data"]), "#cloud-config\n");
        let listing = image.mtools("mdir", &["::"]);
        let line = listing.lines().find(|line| line.contains("user-data")).unwrap();
        assert!(line.contains("2026-11-02  10:11"), "{line}");
        let file = image.file();
        let fat = Fat::open(&file, START, image.length).unwrap();
        let read: &dyn Tree = &fat;
        assert_eq!(read.list("current").unwrap(), ["A Name with Blanks, and Größe.yaml", "cmdline.txt"], "{kind:?}");
    }
}

#[test]
fn what_is_replaced_becomes_free() {
    for kind in KINDS {
        let image = Image::make(kind);
        let free = |boot: &Boot<'_>| boot.free().unwrap();
        image.edit(|boot| {
            let before = free(boot);
            for content in [&[7; 100_000][..], b"x", &[8; 50_000], b""] {
                boot.write("new", content).unwrap();
            }
            assert_eq!(free(boot), before, "{kind:?}");
            boot.write("new", &[9; 9000]).unwrap();
            assert!(free(boot) < before);
            remove(boot, "new");
            assert_eq!(free(boot), before, "{kind:?}");
        });
    }
}

/// A directory grows by clusters in which other things were; the root directory of FAT12 and FAT16 does not grow.
#[test]
fn a_directory_takes_many_names() {
    for kind in KINDS {
        let image = Image::make(kind);
        let name = |n: usize| format!("a-name-that-needs-more-than-one-entry-{n:03}.txt");
        image.edit(|boot| {
            for n in 0..90 {
                boot.write(&format!("current/{}", name(n)), format!("{n}").as_bytes()).unwrap();
                boot.write(&name(n), format!("{n}").as_bytes()).unwrap();
            }
            (0..90).step_by(3).for_each(|n| remove(boot, &name(n)));
            (0..30).for_each(|n| boot.write(&format!("short{n}"), b"").unwrap());
        });
        assert_eq!(image.names("::current").len(), 91, "{kind:?}");
        let names = image.names("::");
        assert_eq!(names.len(), 4 + 60 + 30, "{kind:?} {names:?}");
        assert_eq!(image.mtools("mtype", &[&format!("::{}", name(89))]), "89");
    }
}

/// What lies behind the mark of a directory's end is not looked at, so it may be anything.
#[test]
fn what_lies_behind_the_end_of_a_directory_does_not_become_an_entry() {
    let image = Image::make(KINDS[1]);
    let file = image.file();
    let fat = Fat::open(&file, START, image.length).unwrap();
    let (stretches, can_grow) = fat.stretches("").unwrap().unwrap();
    assert!(!can_grow && stretches.len() == 1);
    let bytes = fat.bytes_at(&stretches[0]).unwrap();
    let (_, mark) = slot(&bytes, 1);
    let behind = START + stretches[0].start + (mark as u64 + 1) * 32;
    file.write_all_at(b"GARBAGE BIN \0\0\0\0\0\0\0\0\0\0\0\0\0\0\xFF\xFF\0\0\0\0", behind).unwrap();
    file.write_all_at(b"GARBAGE2BIN \0\0\0\0\0\0\0\0\0\0\0\0\0\0\xFF\xFF\0\0\0\0", behind + 32).unwrap();
    image.edit(|boot| boot.write("new", b"x").unwrap());
    assert!(!image.names("::").iter().any(|name| name.to_uppercase().contains("GARBAGE")));
}

#[test]
fn no_room_is_told_before_anything_is_written() {
    for kind in KINDS {
        let image = Image::make(kind);
        image.edit(|boot| {
            let before = fs::read(&image.path).unwrap();
            let free = boot.free().unwrap();
            let error = format!("{:#}", boot.write("new", &vec![1; free.0 as usize + 1]).unwrap_err());
            let said = "writing new on the boot partition: there is no room: ";
            assert!(error.starts_with(said) && error.ends_with("use an image with a larger boot partition"), "{error}");
            assert!(fs::read(&image.path).unwrap() == before, "{kind:?}");
            // What is replaced makes room.
            let old = boot.write("config.txt", &vec![1; free.0 as usize]);
            old.unwrap();
            boot.write("config.txt", &vec![2; free.0 as usize]).unwrap();
        });
        if kind.0 == "32" {
            continue;
        }
        let image = Image::make(kind);
        image.edit(|boot| {
            let full = (0..2000).find_map(|n| boot.write(&format!("file-with-a-longer-name-{n}"), b"").err()).unwrap();
            let error = format!("{full:#}");
            assert!(
                error.ends_with("the root directory has no room for one more name; remove a file from it"),
                "{error}"
            );
        });
    }
}

#[test]
fn what_cannot_be_done_is_told_with_the_name() {
    let image = Image::make(KINDS[1]);
    image.edit(|boot| {
        for (path, said) in [
            ("none/x", "writing none/x on the boot partition: there is no directory none"),
            ("current", "writing current on the boot partition: there is a directory"),
            ("x.", "writing x. on the boot partition: a name on FAT does not end with a dot or a space"),
            ("a:b", "writing a:b on the boot partition: File name contains unsupported characters"),
        ] {
            assert_eq!(format!("{:#}", boot.write(path, b"").unwrap_err()), said);
        }
    });
    let file = image.file();
    file.write_all_at(&[1], START + 0x25).unwrap();
    let Err(error) = Boot::open(&file, START, image.length, NOW) else { panic!("opened") };
    assert_eq!(error.to_string(), "the boot partition was not unmounted; let `fsck.vfat -a` look at it");
    assert!(Boot::open(&file, 0, image.length, NOW).is_err());
}

#[test]
fn a_place_for_entries_is_that_of_deleted_ones_or_the_end() {
    let directory = |kinds: &str| -> Vec<u8> {
        let first = |kind| match kind {
            'd' => DELETED,
            '0' => END,
            _ => b'A',
        };
        kinds.chars().flat_map(|kind| std::iter::once(first(kind)).chain([0; 31])).collect()
    };
    for (kinds, wanted, found) in [
        ("", 1, (0, 0)),
        ("0000", 2, (0, 0)),
        ("uu00", 2, (2, 2)),
        ("uddu0", 2, (1, 4)),
        ("uddu0", 3, (4, 4)),
        ("udd0u", 3, (1, 3)),
        ("uuud", 2, (3, 4)),
        ("uuuu", 2, (4, 4)),
    ] {
        assert_eq!(slot(&directory(kinds), wanted), found, "{kinds} {wanted}");
    }
}

#[test]
fn times_are_those_that_fat_can_hold() {
    for (seconds, date, time) in
        [(0, (1980, 1, 1), (0, 0, 0)), (NOW + 7, (2026, 11, 2), (10, 11, 7)), (u64::MAX, (2107, 12, 31), (23, 59, 58))]
    {
        let found = dos_time(seconds);
        assert_eq!((found.date.year, found.date.month, found.date.day), date);
        assert_eq!((found.time.hour, found.time.min, found.time.sec), time);
    }
}
