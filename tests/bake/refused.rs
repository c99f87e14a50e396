//! What cannot be baked, or not so: each has its message and its exit code, and nothing is left in the directory.

use crate::common::{BOOT, MIB, put, said};
use crate::debs::{Debs, Facts, package};
use crate::rows::{self, BOOT_LENGTH, ROOT, Row};
use crate::{Ran, bake, command, names, text};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A look-alike, packages, and a directory for what is made of them.
pub struct Given {
    pub debs: Debs,
    pub directory: TempDir,
    pub image: PathBuf,
    pub output: TempDir,
}

pub fn given(row: &Row) -> Given {
    let directory = TempDir::new().unwrap();
    let image = row.make(directory.path(), "stock.img");
    Given { debs: Debs::make(), directory, image, output: TempDir::new().unwrap() }
}

impl Given {
    pub fn out(&self) -> String {
        self.output.path().join("out.img").to_str().unwrap().to_owned()
    }

    /// Bakes this image with these arguments besides; nothing may be made.
    #[track_caller]
    pub fn refused(&self, image: &Path, code: i32, more: &[&str]) -> String {
        let out = self.out();
        let said = bake(&[&[text(image), "-o", &out], more].concat()).gave_up(code);
        assert_eq!(names(self.output.path()), [""; 0], "{more:?}");
        said
    }

    /// A copy of the image in which this is written.
    pub fn with(&self, offset: u64, bytes: &[u8]) -> PathBuf {
        let copy = self.directory.path().join("copy.img");
        said("cp", &["--sparse=always", text(&self.image), text(&copy)], b"");
        OpenOptions::new().write(true).open(&copy).unwrap().write_all_at(bytes, offset).unwrap();
        copy
    }

    /// The arguments that name the packages.
    pub fn debs(&self) -> [&str; 2] {
        ["--deb", text(self.debs.path())]
    }
}

#[test]
fn what_is_no_image_or_a_damaged_one() {
    let given = given(&rows::noble());
    let at = |name: &str| given.directory.path().join(name);
    let refused = |path: &Path| given.refused(path, 1, &given.debs());
    assert!(refused(&at("none.img")).contains("none.img is not there; check the name"));
    fs::write(at("text.img"), "Not an image.\n".repeat(500)).unwrap();
    assert!(refused(&at("text.img")).contains("text.img is no disk image"));

    // btrfs: its superblock is at 64 KiB, and its magic number 64 bytes behind that.
    let zeros = vec![0; 0x10040];
    let text_of = refused(&given.with(ROOT, &[&zeros[..], b"_BHRfS_M"].concat()));
    assert!(text_of.contains("no partition holds an ext4, which burnonce needs for root"), "{text_of}");

    for (kind, program) in [("xz", "xz -0"), ("zst", "zstd -1 -q"), ("gz", "gzip -1")] {
        let packed = at(&format!("stock.img.{kind}"));
        let script = format!("{program} --stdout '{}' >'{}'", text(&given.image), text(&packed));
        said("sh", &["-c", &script], b"");
        let whole = fs::read(&packed).unwrap();
        fs::write(&packed, &whole[..whole.len() * 2 / 3]).unwrap();
        let said_by = refused(&packed);
        assert!(said_by.contains("is cut short") && said_by.contains("download it again"), "{kind}: {said_by}");
        let mut damaged = whole.clone();
        damaged[whole.len() / 2..][..64].fill(0x5A);
        fs::write(&packed, damaged).unwrap();
        let said_by = refused(&packed);
        assert!(said_by.contains("cannot be unpacked: its") || said_by.contains("is cut short"), "{kind}: {said_by}");
        fs::write(&packed, [&whole[..], b"<html>Not found</html>"].concat()).unwrap();
        let said_by = refused(&packed);
        assert!(said_by.contains("has something behind the end of its"), "{kind}: {said_by}");
    }
}

#[test]
fn a_boot_partition_without_room() {
    let given = given(&rows::noble());
    let part = given.directory.path().join("part");
    let bytes = fs::read(&given.image).unwrap();
    fs::write(&part, &bytes[BOOT as usize..][..BOOT_LENGTH as usize]).unwrap();
    let free = said("mdir", &["-i", text(&part), "::"], b"");
    let free = free.lines().rev().find_map(|line| line.trim().strip_suffix("bytes free")).unwrap();
    let free: u64 = free.split_whitespace().collect::<String>().parse().unwrap();
    let filler = given.directory.path().join("filler");
    let filled = |length: u64| {
        fs::write(&filler, vec![1; length as usize]).unwrap();
        said("mcopy", &["-o", "-i", text(&part), text(&filler), "::"], b"");
        given.with(BOOT, &fs::read(&part).unwrap())
    };
    // Enough for what is put there now, and not for what the first boot makes.
    let said_by = given.refused(&filled(free - MIB), 1, &given.debs());
    assert!(said_by.contains("the first boot of a node needs") && said_by.contains("for a new initramfs"), "{said_by}");
    let full = filled(free);
    let user_data = given.directory.path().join("mine.yaml");
    fs::write(&user_data, format!("#cloud-config\n# {}\nhostname: a\n", "x".repeat(9000))).unwrap();
    let more = [&given.debs()[..], &["--user-data", text(&user_data)]].concat();
    let said_by = given.refused(&full, 1, &more);
    assert!(said_by.contains("there is no room") && said_by.contains("larger boot partition"), "{said_by}");
}

#[test]
fn a_system_that_is_not_known_is_named_by_its_owner() {
    let row = rows::debian().on_root("usr/lib/os-release", "PRETTY_NAME=\"Arch Linux ARM\"\nID=archarm\n");
    let given = given(&row);
    let said_by = given.refused(&given.image, 3, &given.debs());
    assert!(said_by.contains("none of the distributions that bake knows (Arch Linux ARM)"), "{said_by}");
    let out = given.out();
    let more = [&given.debs()[..], &["--distribution", "debian"]].concat();
    bake(&[&[text(&given.image), "-o", &out], &more[..]].concat()).done();
    assert_eq!(names(given.output.path()), ["out.img", "out.img.sha256"]);
}

#[test]
fn packages_that_are_missing_or_do_not_fit() {
    let given = given(&rows::noble());
    let own = given.debs.path().join("burnonce_0.1.0_arm64.deb");
    let said_by = given.refused(&given.image, 1, &["--deb", text(&own)]);
    assert!(said_by.contains("busybox | busybox-static, needed by burnonce 0.1.0"), "{said_by}");
    assert!(said_by.contains("`apt-get download busybox`") && !said_by.contains("\\n"), "{said_by}");

    let said_by = given.refused(&given.image, 1, &[]);
    assert!(said_by.contains("no package was named; give burnonce's .deb for arm64"), "{said_by}");

    let tree = given.directory.path().join("tree");
    put(&tree, "usr/sbin/burnonce", "x");
    let facts = Facts { architecture: "amd64", depends: "" };
    let other = package(given.directory.path(), "burnonce", "0.1.0", &facts, &tree);
    let said_by = given.refused(&given.image, 1, &["--deb", text(&other)]);
    assert!(said_by.contains("is for amd64, and the image is for arm64"), "{said_by}");

    let cut = given.directory.path().join("cut.deb");
    let whole = fs::read(&own).unwrap();
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let said_by = given.refused(&given.image, 1, &["--deb", text(&cut), "--deb", text(given.debs.path())]);
    assert!(said_by.contains("fetch it again"), "{said_by}");

    // What it says of itself is whole, and its files are not.
    let mut damaged = whole;
    let place = damaged.len() - 60;
    damaged[place] ^= 0xFF;
    fs::write(&cut, damaged).unwrap();
    let said_by = given.refused(&given.image, 1, &["--deb", text(&cut), "--deb", text(given.debs.path())]);
    assert!(said_by.contains("the package ") && said_by.contains("fetch it again"), "{said_by}");
}

#[test]
fn where_the_result_cannot_go() {
    let given = given(&rows::armbian());
    let stock = fs::read(&given.image).unwrap();
    let debs = given.debs();
    let image = text(&given.image);
    let out = given.out();
    fs::write(&out, "precious").unwrap();
    let run = |arguments: &[&str]| bake(&[arguments, &debs[..]].concat());
    let said_by = run(&[image, "-o", &out]).gave_up(3);
    assert!(said_by.contains("there is no terminal to ask on; use --yes"), "{said_by}");
    // The question is for who sits at the terminal, wherever the rest goes.
    let log = given.directory.path().join("log");
    let program = env!("CARGO_BIN_EXE_burnonce");
    let typed = format!("{program} bake {image} -o {out} --deb {} >{}", debs[1], text(&log));
    let shown =
        said("sh", &["-c", &format!("script --quiet --return --command '{typed}' /dev/null || echo $?")], b"n\n");
    assert!(shown.contains("Go on? [y/N]") && shown.ends_with("3\n"), "{shown}");
    assert_eq!(fs::read_to_string(&log).unwrap(), "");
    assert!(run(&[image, "-o", image]).gave_up(1).contains("is the image itself; give --in-place"));
    assert!(run(&[image]).gave_up(2).contains("--output <FILE>"));
    // Each option takes one path, so that the image can stand behind it.
    bake(&[&["--plan"], &debs[..], &[image]].concat()).done();
    for name in [format!("{out}.qcow2"), format!("{out}.vmdk"), format!("{out}.ISO")] {
        assert!(
            run(&[image, "-o", &name]).gave_up(1).contains("is written; name a file that ends with .img"),
            "{name}"
        );
    }
    assert!(run(&[image, "-o", "-"]).gave_up(1).contains("no image is written to standard output"));
    let said_by = run_by("env", &["SOURCE_DATE_EPOCH=today"], &given, &[image, "--plan"]).gave_up(1);
    assert!(said_by.contains("SOURCE_DATE_EPOCH is `today`") && said_by.contains("or unset it"), "{said_by}");
    assert!(run(&[image, "-o", &out, "--in-place"]).gave_up(2).contains("cannot be used with"));
    assert!(run(&[image, "-o", &format!("{out}.gz")]).gave_up(1).contains("no .gz is written"));
    assert!(run(&[image, "-o", "/nowhere/x.img"]).gave_up(1).contains("there is no directory /nowhere; "));
    let package = debs[1].to_owned() + "/burnonce_0.1.0_arm64.deb";
    assert!(run(&[image, "-o", &package, "--yes"]).gave_up(1).contains("is the name of a package"));
    let config = format!("{out}.sha256");
    fs::write(&config, "size: 50%\n").unwrap();
    let said_by = run(&[image, "-o", &out, "--config", &config, "--yes"]).gave_up(1);
    assert!(said_by.contains(&format!("{config} would be written, and is to be read")), "{said_by}");
    assert_eq!(fs::read_to_string(&config).unwrap(), "size: 50%\n");
    fs::remove_file(&config).unwrap();
    assert_eq!(fs::read_to_string(&out).unwrap(), "precious");
    assert_eq!(names(given.output.path()), ["out.img"]);
    assert!(fs::read(&given.image).unwrap() == stock);
    run(&[image, "-o", &out, "--yes"]).done();
    assert_eq!(fs::metadata(&out).unwrap().len(), stock.len() as u64);
}

/// As it ends where a limit, or a right, is not this process's own.
fn run_by(program: &str, before: &[&str], given: &Given, arguments: &[&str]) -> Ran {
    let temporary = TempDir::new().unwrap();
    let bake = command(temporary.path(), arguments);
    let output = Command::new(program)
        .args(before)
        .arg(bake.get_program())
        .args(bake.get_args())
        .args(given.debs())
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    assert_eq!(names(temporary.path()), [""; 0]);
    Ran::of(&output)
}

#[test]
fn a_full_disk_leaves_nothing() {
    let given = given(&rows::armbian());
    // In blocks of 512 bytes: less than the image; less than it takes packed.
    for (blocks, ending) in [(100_000, "img"), (100_000, "img.xz"), (100_000, "img.zst")] {
        let out = given.output.path().join(format!("out.{ending}"));
        let limit = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let ran = run_by("sh", &["-c", &limit, "sh"], &given, &[text(&given.image), "-o", text(&out)]);
        let said_by = ran.gave_up(1);
        assert!(said_by.contains("there is no room for") && said_by.contains("name a place with more"), "{said_by}");
        assert_eq!(names(given.output.path()), [""; 0]);
    }
}

/// It is full when the copy is complete, and is edited.
#[test]
fn a_disk_that_becomes_full_while_the_copy_is_edited() {
    let given = given(&rows::armbian());
    // A tmpfs keeps pages, those that are not zero here.
    let bytes = fs::read(&given.image).unwrap();
    let used = bytes.chunks(4096).filter(|page| page.iter().any(|byte| *byte != 0)).count() as u64 * 4096;
    let (directory, out) = (given.output.path(), given.out());
    let mut full = 0;
    // So much more than the copy takes, and the file's own bookkeeping.
    for (more, arguments) in [(16, &[][..]), (64, &[]), (160, &[]), (16, &["--grow", "200MiB"]), (4 << 10, &[])] {
        let script = format!(
            "mount -t tmpfs -o size={} none '{}' && \"$@\"; code=$?; ls -A '{}'; exit $code",
            used + (more << 10),
            text(directory),
            text(directory)
        );
        // Only root mounts, or one who is root in a namespace of his own.
        let mine = if nix::unistd::geteuid().is_root() { "--mount" } else { "-Urm" };
        let before = [mine, "--", "sh", "-c", &script, "sh"];
        let ran = run_by("unshare", &before, &given, &[&[text(&given.image), "-o", &out], arguments].concat());
        if ran.code == 0 {
            continue;
        }
        full += 1;
        assert_eq!(ran.out.lines().last().filter(|line| line.contains("out.img")), None, "{}", ran.out);
        let said_by = ran.gave_up(1);
        assert!(said_by.contains("there is no room for") && said_by.contains("out.img"), "{more}: {said_by}");
        assert!(said_by.contains("name a place with more") && !said_by.contains("download"), "{more}: {said_by}");
    }
    assert!((3..5).contains(&full), "{full}");
}

#[test]
fn an_image_that_may_not_be_read() {
    let given = given(&rows::armbian());
    fs::set_permissions(&given.image, fs::Permissions::from_mode(0o000)).unwrap();
    let out = given.out();
    // root reads everything, but for one who has given that up.
    let (program, before) = if nix::unistd::geteuid().is_root() {
        let less = ["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"];
        ("setpriv", less.to_vec())
    } else {
        ("env", Vec::new())
    };
    let said_by = run_by(program, &before, &given, &[text(&given.image), "-o", &out]).gave_up(1);
    assert!(said_by.contains("you may not read") && said_by.contains("run this with sudo"), "{said_by}");
    assert_eq!(names(given.output.path()), [""; 0]);
}

#[test]
fn a_plan_is_what_is_done() {
    let given = given(&rows::debian());
    let before = fs::metadata(&given.image).unwrap().modified().unwrap();
    let planned = bake(&[&[text(&given.image), "--plan"], &given.debs()[..]].concat()).done();
    assert_eq!(names(given.directory.path()), ["stock.img"]);
    assert_eq!(fs::metadata(&given.image).unwrap().modified().unwrap(), before);
    let out = given.out();
    let done = bake(&[&[text(&given.image), "-o", &out], &given.debs()[..]].concat()).done();
    assert!(done.starts_with(&planned), "{planned}\n{done}");
    assert!(planned.contains("1. switch off Debian's rpi-resizerootfs (`local-bottom/rpi-resizerootfs`"), "{planned}");
}

/// What is missing in the root, it becomes longer by, and so do its partition and the image.
#[test]
fn a_root_without_room_grows() {
    let row = rows::trixie();
    for (length, more, least) in [(64 * MIB, &[][..], 140 * MIB), (rows::ROOT_LENGTH, &["--grow", "64MiB"], 64 * MIB)] {
        let mut given = given(&row);
        given.image = row.make_as(
            given.directory.path(),
            "small.img",
            crate::common::Shape { root_length: length, ..rows::ROOMY },
        );
        let out = given.out();
        let said_by = bake(&[&[text(&given.image), "-o", &out], &given.debs()[..], more].concat()).done();
        assert!(said_by.contains("1. make the image and its root partition longer, by "), "{said_by}");
        let [stock, baked] = [text(&given.image), &out].map(|path| fs::metadata(path).unwrap().len());
        assert!((least..least + 32 * MIB).contains(&(baked - stock)), "{stock} {baked}");
        let [before, after] = [text(&given.image), &out].map(|path| said("sfdisk", &["--dump", path], b""));
        let table = |text: &str, device: &str| text.replace(device, "x").lines().map(str::to_owned).collect::<Vec<_>>();
        let changed: Vec<(String, String)> = table(&before, text(&given.image))
            .into_iter()
            .zip(table(&after, &out))
            .filter(|(old, new)| old != new)
            .collect();
        let sectors = |bytes: u64| format!("size={:>12}", bytes / 512);
        assert_eq!(changed.len(), 1, "{before}{after}");
        assert!(changed[0].0.contains("x2") && changed[0].1.contains(&sectors(baked - ROOT)), "{changed:?}");
        said("e2fsck", &["-f", "-n", &format!("{out}?offset={ROOT}")], b"");
        let facts = said("dumpe2fs", &["-h", &format!("{out}?offset={ROOT}")], b"");
        assert!(facts.contains(&format!("Block count:              {}\n", (baked - ROOT) / 4096)), "{facts}");
        let [old, new] = [&given.image, &PathBuf::from(&out)].map(|path| fs::read(path).unwrap());
        // Boot code, disk signature, and what is before the boot partition but for the entry.
        assert!(old[..446] == new[..446] && old[510..BOOT as usize] == new[510..BOOT as usize]);
    }
}
