//! What the package puts on a node besides the program: overlayroot's configuration, run as the initramfs runs it, and
//! the facts that have to agree between the package's files.
//!
//! The configuration is sourced by `dash` and by busybox's shell with busybox's own programs, in a mount namespace, with
//! a card that is a loop device. So most of this needs root, and fails without.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use burnonce::sys;
use burnonce::units::{Lba, Sectors};
use tempfile::TempDir;

const CONF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/share/overlayroot.local.conf");

const MIB: u64 = 1 << 20;
/// Start and length in MiB. The card has no table: the kernel alone is told of its partitions.
const ROOT: (u64, u64) = (4, 8);
const UPPER: (u64, u64) = (12, 32);
const SPARE: (u64, u64) = (1, 3);

/// Runs in a mount namespace of its own: `$dir` is the test's directory, `$disk` the card, `$upper` its third partition.
const HARNESS: &str = r#"
set -eu
inside() { mount "$upper" "$dir/upper" && (cd "$dir/upper" && eval "$1"); umount "$dir/upper"; }
written() { read -r _ _ _ _ _ _ sectors _ <"/sys/class/block/${upper#/dev/}/stat"; echo "$sectors"; }
mount -t tmpfs run /run
mkdir -p "$dir/root" "$dir/upper"
echo "root=/dev/mmcblk0p2 quiet" >"$dir/cmdline"
: >"$dir/kmsg"
root=${disk}p2
eval "$prepare"
sync
mount -o ro $root "$dir/root"
mount --bind "$dir/cmdline" /proc/cmdline
mount --bind "$dir/kmsg" /dev/kmsg
before=$(written)
[ -z "${mount_only:-}" ] || inside true
(
	export rootmnt="$dir/root" PATH="$path"
	exec "$shell" -c '. "$1" || exit 9; printf "[%s]" "$overlayroot"' -- "$conf"
) >"$dir/out" 2>&1 </dev/null || echo "failed: $?" >>"$dir/out"
echo $(($(written) - before)) >"$dir/written"
cp /run/burnonce/overlay.reason "$dir/reason" 2>/dev/null || : >"$dir/reason"
grep " /run/burnonce/check " /proc/mounts >"$dir/mounted" || true
"#;

struct Card {
    dir: TempDir,
    disk: String,
}

/// A shell to source the configuration with, and the programs that it finds.
struct Shell {
    name: &'static str,
    path: String,
    _programs: TempDir,
}

#[derive(Debug)]
struct Seen {
    overlayroot: String,
    reason: String,
    console: String,
    mounted: bool,
    sectors_written: u64,
}

fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

impl Card {
    fn new() -> Card {
        assert!(nix::unistd::geteuid().is_root(), "this test mounts loop devices: run it as root (make test)");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("card");
        fs::File::create(&file).unwrap().set_len((UPPER.0 + UPPER.1 + 1) * MIB).unwrap();

        let content = dir.path().join("content");
        for made in ["overlay", "overlay-workdir/_", "burnonce"] {
            fs::create_dir_all(content.join(made)).unwrap();
        }
        fs::write(content.join("burnonce/state.json"), "{}").unwrap();
        for ((start, length), label, content) in [(ROOT, "writable", None), (UPPER, "burnonce", Some(&content))] {
            let mut mke2fs = Command::new("/sbin/mke2fs");
            mke2fs.args([
                "-q",
                "-F",
                "-t",
                "ext4",
                "-L",
                label,
                "-N",
                "256",
                "-O",
                "64bit",
                "-E",
                &format!("offset={}", start * MIB),
            ]);
            if let Some(content) = content {
                mke2fs.arg("-d").arg(content);
            }
            run(mke2fs.arg(&file).arg(format!("{}k", length * 1024)));
        }

        let disk = run(Command::new("/sbin/losetup").args(["--find", "--show", "--partscan"]).arg(&file)).stdout;
        let disk = String::from_utf8(disk).unwrap().trim().to_owned();
        let card = Card { dir, disk };
        let device = fs::OpenOptions::new().read(true).write(true).open(&card.disk).unwrap();
        for (number, (start, length)) in [(2, ROOT), (3, UPPER), (4, SPARE)] {
            let (start, length) = (Lba(start * MIB / 512), Sectors(length * MIB / 512));
            sys::add_kernel_partition(&device, number, start, length, 512).unwrap();
        }
        card
    }

    fn look(&self, shell: &Shell, prepare: &str) -> Seen {
        let dir = self.dir.path();
        let mut unshare = Command::new("/usr/bin/unshare");
        unshare.args(["--mount", "--propagation", "private", "/bin/dash", "-c", HARNESS]);
        unshare.env("dir", dir).env("disk", &self.disk).env("upper", format!("{}p3", self.disk));
        unshare.env("prepare", prepare).env("shell", shell.name).env("path", &shell.path).env("conf", CONF);
        run(&mut unshare);
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        Seen {
            overlayroot: read("out"),
            reason: read("reason"),
            console: read("kmsg"),
            mounted: !read("mounted").is_empty(),
            sectors_written: read("written").trim().parse().unwrap(),
        }
    }

    /// What overlayroot is to print where the upper is used.
    fn upper(&self) -> String {
        format!("[device:dev={}p3,recurse=0]", self.disk)
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = Command::new("/sbin/losetup").args(["--detach", &self.disk]).status();
    }
}

fn shells() -> [Shell; 2] {
    let path = "/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
    let dash = Shell { name: "dash", path, _programs: tempfile::tempdir().unwrap() };

    let programs = tempfile::tempdir().unwrap();
    run(Command::new("busybox").args(["--install", "-s"]).arg(programs.path()));
    symlink("/sbin/e2fsck", programs.path().join("e2fsck")).unwrap();
    let path = programs.path().to_str().unwrap().to_owned();
    [dash, Shell { name: "sh", path, _programs: programs }]
}

#[rustfmt::skip]
const CASES: &[(&str, &str, bool, &str)] = &[
    ("sound", "", true, ""),
    ("wiped empty", "inside 'rmdir overlay overlay-workdir/_ overlay-workdir'", true, ""),
    ("used, but by a third", "inside 'dd if=/dev/zero of=overlay/fill bs=1M count=10 2>/dev/null'", true, ""),
    ("error flag", "debugfs -w -R 'ssv state 3' $upper 2>/dev/null", true, ""),
    ("needs recovery", "mount $upper $dir/upper; touch $dir/upper/overlay/x; sync; cp $upper $dir/copy; umount $dir/upper; cp $dir/copy $upper", true, ""),
    ("room for root alone", "inside 'dd if=/dev/zero of=overlay/fill bs=64k count=300 2>/dev/null'; tune2fs -m 45 $upper >/dev/null", true, ""),
    ("no label", "e2label $upper other", false, "is labelled burnonce"),
    ("superblock zeroed", "dd if=/dev/zero of=$upper bs=1k seek=1 count=1 2>/dev/null", false, "is labelled burnonce"),
    ("group descriptors zeroed", "dd if=/dev/zero of=$upper bs=1k seek=2 count=60 2>/dev/null", false, "$diskp3"),
    ("root inode zeroed", "debugfs -w -R 'clri <2>' $upper 2>/dev/null", false, "$diskp3"),
    ("full", "inside 'dd if=/dev/zero of=overlay/fill bs=64k 2>/dev/null; dd if=/dev/zero of=overlay/rest bs=1k 2>/dev/null; touch overlay/more' || true", false, "is full"),
    ("no inodes", "inside 'i=0; while mkdir overlay/$i 2>/dev/null; do i=$((i+1)); done'", false, "is full"),
    ("two labels", "mke2fs -q -L burnonce ${disk}p4", false, "Two partitions of"),
    ("write-protected", "blockdev --setro $upper", false, "write-protected"),
    ("sealed", "tune2fs -O read-only $upper >/dev/null", false, "can only be read"),
    ("overlay is a file", "inside 'rmdir overlay; touch overlay'", false, "overlay-workdir/_ cannot be made"),
    ("work is a link", "inside 'rmdir overlay-workdir/_; ln -s /etc overlay-workdir/_'", false, "cannot be made"),
    ("not made by burnonce", "inside 'rm burnonce/state.json'", false, "not made by it"),
    ("root is labelled too", "e2label $root burnonce", true, ""),
    ("root is no partition", "truncate -s 8M $dir/whole; mke2fs -qF $dir/whole; root=\"-o loop $dir/whole\"", false, "not a partition"),
];

/// Every case on a fresh card: what it is called, what is done to the card, whether the upper is used, and why not.
fn an_upper_is_used_only_where_it_can_be(shell: &Shell) {
    for &(name, prepare, used, reason) in CASES {
        let card = Card::new();
        let seen = card.look(shell, prepare);
        let context = format!("{name}: {seen:?}");
        let expected = if used { card.upper() } else { "[tmpfs:recurse=0]".to_owned() };
        assert_eq!(seen.overlayroot, expected, "{context}");
        assert!(!seen.mounted, "{context}");
        let reason = reason.replace("$disk", &card.disk);
        assert!(seen.reason.contains(&reason), "{context}");
        assert_eq!(seen.reason.lines().count(), if used { 0 } else { 2 }, "{context}");
        assert_eq!(seen.console.contains("This boot runs on memory"), !used, "{context}");
    }
}

#[test]
fn an_upper_is_used_only_where_it_can_be_by_dash() {
    an_upper_is_used_only_where_it_can_be(&shells()[0]);
}

#[test]
fn an_upper_is_used_only_where_it_can_be_by_busybox() {
    an_upper_is_used_only_where_it_can_be(&shells()[1]);
}

#[test]
fn looking_writes_no_more_than_a_mount_and_an_unmount() {
    let card = Card::new();
    for shell in shells() {
        let mounted = card.look(&shell, "mount_only=1; shell=/bin/true");
        let seen = card.look(&shell, "");
        assert_eq!(seen.overlayroot, card.upper());
        assert!(0 < seen.sectors_written && seen.sectors_written <= mounted.sectors_written, "{seen:?} {mounted:?}");
    }
}

#[test]
fn another_answer_comes_before_looking() {
    let card = Card::new();
    for shell in shells() {
        let off = card.look(&shell, r#"echo "root=/dev/mmcblk0p2 burnonce=off quiet" >"$dir/cmdline""#);
        assert_eq!((off.overlayroot.as_str(), off.mounted), ("[]", false));
        let guard = card.look(
            &shell,
            r#"mkdir /run/burnonce; echo 'overlayroot="device:dev=/dev/guard"' >/run/burnonce/overlayroot.conf"#,
        );
        assert_eq!((guard.overlayroot.as_str(), guard.mounted), ("[device:dev=/dev/guard]", false));
    }
}

#[test]
fn outside_of_an_initramfs_nothing_is_looked_for() {
    let script = r#". "$0"; printf "[%s]" "$overlayroot""#;
    let output = run(Command::new("/bin/dash").args(["-c", script, CONF]).env_remove("rootmnt"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "[tmpfs:recurse=0]");
}

/// Runs a script of `initramfs/scripts` in a mount and process namespace of its own: a `halt` in there can stop nothing but that.
/// `prepare` is done before, `look` prints what the test wants to see. `$dir` is the test's directory; what is in `$dir/fake` comes before
/// the programs of `/usr/sbin`. `script` may have a word behind it.
fn run_script(shell: &Shell, script: &str, prepare: &str, look: &str) -> String {
    const HARNESS: &str = r#"
set -eu
mount -t proc proc /proc
mkdir -p "$dir/fake" "$dir/root"
eval "$prepare"
mount -t overlay -o "lowerdir=$dir/fake:/usr/sbin" fake /usr/sbin
mount -t tmpfs run /run
mount -t tmpfs media /media
mkdir /run/burnonce
echo "root=/dev/mmcblk0p2 quiet" >"$dir/cmdline"
mount --bind "$dir/cmdline" /proc/cmdline
: >"$dir/kmsg"
mount --bind "$dir/kmsg" /dev/kmsg
[ -z "${answer:-}" ] || echo "$answer" >/run/burnonce/overlayroot.conf
export PATH="$path" rootmnt="$dir/root"
if [ -n "$word" ]; then
	"$shell" "$script" "$word" </dev/null 2>&1 || echo "exit $?"
else
	"$shell" -c 'halt() { echo "halted: $*"; exit 9; }; . "$1"' -- "$script" </dev/null 2>&1 || echo "exit $?"
fi
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
cat "$dir/kmsg"
eval "$look"
"#;
    assert!(nix::unistd::geteuid().is_root(), "this test mounts file systems: run it as root (make test)");
    let dir = tempfile::tempdir().unwrap();
    let (script, word) = script.split_once(' ').unwrap_or((script, ""));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/initramfs/scripts/").to_owned() + script;
    let mut unshare = Command::new("/usr/bin/unshare");
    unshare.args(["--mount", "--propagation", "private", "--pid", "--fork", "/bin/dash", "-c", HARNESS]);
    unshare.env("dir", dir.path()).env("prepare", prepare).env("look", look).env("script", script);
    unshare.env("shell", shell.name).env("path", &shell.path).env("word", word);
    String::from_utf8(run(&mut unshare).stdout).unwrap()
}

/// A program that stands in for the guard.
fn fake_guard(code: u8) -> String {
    format!("printf '#!/bin/sh\\necho \"$*\"\\nexit {code}\\n' >$dir/fake/burnonce; chmod 755 $dir/fake/burnonce")
}

#[test]
fn the_guard_runs_on_root_and_its_failure_does_not_stop_a_boot() {
    for shell in shells() {
        let see = |prepare: &str| run_script(&shell, "local-bottom/burnonce", prepare, "echo $dir");
        for (code, then) in [
            (0, ""),
            (1, "<3>burnonce: The guard failed (1): overlayroot's configuration looks for the upper by itself.\n"),
            (134, "<3>burnonce: The guard failed (134): overlayroot's configuration looks for the upper by itself.\n"),
            (5, "halted: -f\nexit 9\n"),
        ] {
            let seen = see(&fake_guard(code));
            let dir = seen.lines().last().unwrap();
            assert_eq!(seen, format!("guard --root {dir}/root\n{then}{dir}\n"), "{} {code}", shell.name);
        }
        // An initramfs without the guard: a whiteout hides one that is installed here.
        let seen = see("mknod $dir/fake/burnonce c 0 0");
        assert_eq!(seen.lines().count(), 1, "{seen}");
    }
}

/// Runs local-premount's script in a root of its own, in which initramfs-tools' scripts are stood in for: `/dev/found` is what `ROOT` comes
/// to, and the guard's program has the exit code `code`. Prints what that was asked, and what init reads afterwards.
fn before_root_is_mounted(shell: &str, root: &str, code: u8) -> String {
    const HARNESS: &str = r#"
set -eu
mount -t tmpfs top "$dir"
mkdir "$dir/top" "$dir/work" "$dir/new"
mount -t overlay -o "lowerdir=/,upperdir=$dir/top,workdir=$dir/work" new "$dir/new"
mkdir -p "$dir/new/conf" "$dir/new/scripts"
cp "$script" "$dir/new/scripts/burnonce"
: >"$dir/new/conf/param.conf"
: >"$dir/new/scripts/functions"
cat >"$dir/new/scripts/local" <<'LOCAL'
local_device_setup() {
	[ "$1" != LABEL=absent ] || { [ "$3" = false ] || echo panic; return 1; }
	DEV=/dev/found
}
LOCAL
printf '#!/bin/sh\necho "$*"\nexit %s\n' "$code" >"$dir/new/sbin/burnonce"
chmod 755 "$dir/new/sbin/burnonce"
ROOT="$root" chroot "$dir/new" $shell /scripts/burnonce </dev/null
cat "$dir/new/conf/param.conf"
"#;
    assert!(nix::unistd::geteuid().is_root(), "this test mounts file systems: run it as root (make test)");
    let dir = tempfile::tempdir().unwrap();
    let mut unshare = Command::new("/usr/bin/unshare");
    unshare.args(["--mount", "--propagation", "private", "/bin/dash", "-c", HARNESS]);
    unshare
        .env("dir", dir.path())
        .env("script", concat!(env!("CARGO_MANIFEST_DIR"), "/initramfs/scripts/local-premount/burnonce"));
    unshare.env("shell", shell).env("root", root).env("code", code.to_string());
    String::from_utf8(run(&mut unshare).stdout).unwrap()
}

#[test]
fn a_sealed_root_is_left_out_of_the_check_however_it_is_named() {
    for shell in ["dash", "busybox sh"] {
        for root in ["LABEL=writable", "PARTUUID=5a6b7c8d-02", "/dev/mmcblk0p2"] {
            for (code, then) in [(0, "fastboot=y\n"), (3, ""), (1, ""), (134, "")] {
                let seen = before_root_is_mounted(shell, root, code);
                assert_eq!(seen, format!("leave-unchecked /dev/found\n{then}"), "{root} {code}");
            }
        }
        // A root that does not come, or none.
        for root in ["LABEL=absent", ""] {
            assert_eq!(before_root_is_mounted(shell, root, 0), "", "{root}");
        }
    }
}

#[test]
fn the_stop_code_of_the_script_is_that_of_the_program() {
    use std::process::Termination;
    let text = include_str!("../initramfs/scripts/local-bottom/burnonce");
    assert!(text.contains("STOP=5 "));
    assert_eq!(format!("{:?}", burnonce::Exit::Stop.report()), format!("{:?}", std::process::ExitCode::from(5)));
}

#[test]
fn the_belt_leaves_the_plain_root_that_the_guard_decided_on() {
    let prepare = "mount -t tmpfs root $dir/root; mkdir $dir/root/etc; \
        echo '# burnonce-overlay 1' >$dir/root/etc/overlayroot.local.conf; mount -o remount,ro $dir/root; answer=";
    for shell in shells() {
        let see = |answer: &str| {
            let look = "grep \" $dir/root \" /proc/mounts | cut -d ' ' -f 3";
            run_script(&shell, "init-bottom/burnonce", &format!("{prepare}'{answer}'"), look)
        };
        let plain = see(r#"overlayroot="""#);
        assert_eq!(plain, "tmpfs\n", "{}", shell.name);
        for answer in ["", r#"overlayroot="tmpfs:recurse=0""#, r#"overlayroot="device:dev=/dev/x,recurse=0""#] {
            let seen = see(answer);
            assert!(seen.ends_with("\noverlay\n"), "{} {answer}: {seen}", shell.name);
            assert!(seen.contains("This boot runs on memory"), "{} {answer}: {seen}", shell.name);
        }
    }
}

/// What dracut's initramfs runs: no overlayroot is before it.
#[test]
fn the_belt_makes_the_overlay_itself_where_it_is_to() {
    const PREPARE: &str = r#"
mount -t tmpfs root $dir/root
mkdir $dir/root/etc
cp $conf $dir/root/etc/overlayroot.local.conf
printf '%s\n%s\n%s\n%s' '# static' 'LABEL=writable / ext4 defaults 0 1' 'server:/ /srv nfs4 defaults' 'LABEL=boot /boot/firmware vfat defaults 0 1' >$dir/root/etc/fstab
mount -o remount,ro $dir/root
truncate -s 8M $dir/upper.img
mke2fs -q -t ext4 $dir/upper.img
upper=$(losetup --find --show $dir/upper.img)
# As below systemd: a mount that is shared cannot be moved, nor can what is mounted on it.
mount --make-rshared /
"#;
    const LOOK: &str = r#"
for point in '' /media/root-ro /media/root-rw; do
	grep " $dir/root$point " /proc/mounts | cut -d ' ' -f 3 | tr '\n' ' '
done
cat /run/burnonce/overlay.log
grep -c '^[^#].* / ' $dir/root/etc/fstab || true
grep -c '^server' $dir/root/etc/fstab
grep -o 'vfat.*' $dir/root/etc/fstab
head -n 1 /run/burnonce/overlay.reason 2>/dev/null || true
umount -R $dir/root
losetup -d $upper
"#;
    for shell in shells() {
        let see = |more: &str| {
            let prepare = format!("conf={CONF}; {PREPARE}{more}");
            run_script(&shell, "init-bottom/burnonce make", &prepare, LOOK)
        };
        let upper = see(r#"answer="overlayroot=\"device:dev=$upper,recurse=0\"""#);
        assert_eq!(upper, "overlay tmpfs ext4 [success]: done\n0\n1\nvfat defaults 0 1\n", "{}", shell.name);
        let memory = see(r#"answer='overlayroot="tmpfs:recurse=0"'"#);
        assert_eq!(memory, "overlay tmpfs tmpfs [success]: done\n0\n1\nvfat defaults 0 1\n", "{}", shell.name);
        let plain = see(r#"answer='overlayroot=""'"#);
        assert_eq!(plain, "tmpfs [success]: done\n1\n1\nvfat defaults 0 1\n", "{}", shell.name);
        let other = see("mount -o remount,rw $dir/root; echo : >$dir/root/etc/overlayroot.local.conf");
        assert_eq!(other, "tmpfs [success]: done\n1\n1\nvfat defaults 0 1\n", "{}", shell.name);
        // Root is left where it is, read-only: what is mounted on it would be left behind.
        let parted = see(concat!(
            "mount -o remount,rw $dir/root; mkdir $dir/root/usr; mount -o remount,ro $dir/root; ",
            "mount -t tmpfs usr $dir/root/usr; answer='overlayroot=\"tmpfs:recurse=0\"'"
        ));
        assert!(parted.contains("root stays read-only"), "{}: {parted}", shell.name);
        let broken = see(r#"answer='overlayroot="device:dev=/dev/none,recurse=0"'"#);
        let failure = "the overlay with the upper on /dev/none could not be mounted";
        assert!(broken.contains("This boot runs on memory"), "{}: {broken}", shell.name);
        let end = format!(
            "overlay tmpfs tmpfs [failure]: {failure}\n0\n1\nvfat defaults 0 1\nThe initramfs made no overlay: {failure}.\n"
        );
        assert!(broken.ends_with(&end), "{}: {broken}", shell.name);
    }
}

/// One that is not would end a boot: `203/EXEC` is a failure of the unit that runs it.
#[test]
fn every_script_of_an_initramfs_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    for directory in
        ["hooks", "scripts/local-premount", "scripts/local-bottom", "scripts/init-bottom", "dracut/70burnonce"]
    {
        let directory = format!("{}/initramfs/{directory}", env!("CARGO_MANIFEST_DIR"));
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let is_script = fs::read(&path).unwrap().starts_with(b"#!");
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o111 != 0, is_script, "{}", path.display());
        }
    }
}

#[test]
fn the_package_has_the_version_of_the_program() {
    let changelog = include_str!("../debian/changelog");
    let version = changelog.split(['(', ')']).nth(1);
    assert_eq!(version, Some(env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_belt_and_the_maintainer_scripts_know_the_configuration_by_its_first_line() {
    let marker = fs::read_to_string(CONF).unwrap().lines().next().unwrap().to_owned();
    assert_eq!(marker, "# burnonce-overlay 1");
    for (file, text) in [
        ("belt", include_str!("../initramfs/scripts/init-bottom/burnonce")),
        ("postinst", include_str!("../debian/burnonce.postinst")),
    ] {
        assert!(text.contains("# burnonce-overlay"), "{file}");
    }
}

#[test]
fn every_unit_is_installed_and_those_that_can_be_are_enabled() {
    let at = |path: &str| fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let units = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd")).unwrap();
    let units = units.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let units: Vec<String> = units.filter(|n| n.ends_with(".service") || n.ends_with(".timer")).collect();
    assert_eq!(units.len(), 4, "{units:?}");
    let [install, postinst, postrm] = ["install", "postinst", "postrm"].map(|f| at(&format!("debian/burnonce.{f}")));
    for unit in units {
        assert!(install.contains(&format!("systemd/{unit} usr/lib/systemd/system\n")), "{unit}");
        let enabled = at(&format!("systemd/{unit}")).contains("[Install]");
        for (name, script) in [("postinst", &postinst), ("postrm", &postrm)] {
            assert_eq!(script.split([' ', ';']).any(|word| word == unit), enabled, "{unit} in {name}");
        }
    }
}

/// Packages with version, what they depend on, and whether that version is installed; a suite has all of them.
#[rustfmt::skip]
const PACKAGES: &[(&str, &str, &str, bool)] = &[
    ("linux-image-rpi-v8", "1", "linux-image-6.1-rpi-v8", true),
    ("linux-image-rpi-v8", "2", "linux-image-6.2-rpi-v8", false),
    ("linux-image-6.1-rpi-v8", "1", "", true),
    ("linux-image-6.1-rpi-v8", "2", "", false),
    ("linux-image-6.2-rpi-v8", "1", "", false),
    ("raspi-firmware", "1:1", "", true),
    ("raspi-firmware", "1:2", "", false),
    ("initramfs-tools", "0.1", "", true),
    ("initramfs-tools", "0.2", "", false),
    ("bar", "1", "raspi-firmware", true),
    ("bar", "2", "raspi-firmware", false),
    ("needs-firmware", "1", "raspi-firmware", true),
    ("needs-firmware", "2", "raspi-firmware (>= 1:2)", false),
    ("new-needs-kernel", "1", "linux-image-6.1-rpi-v8", false),
    ("linux-libc-dev", "1", "", true),
    ("linux-libc-dev", "2", "", false),
];

/// An apt of its own in a directory, with a suite of [`PACKAGES`] and the status of a node that has some of them.
struct Apt {
    dir: TempDir,
    options: Vec<String>,
}

impl Apt {
    fn new() -> Apt {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        for made in ["etc/apt/preferences.d", "etc/apt/apt.conf.d", "lists/partial", "cache/archives/partial", "suite"]
        {
            fs::create_dir_all(at(made)).unwrap();
        }
        let architecture = run(Command::new("dpkg").arg("--print-architecture")).stdout;
        let architecture = String::from_utf8(architecture).unwrap().trim().to_owned();
        let (mut suite, mut status) = (String::new(), String::new());
        for (package, version, depends, installed) in PACKAGES {
            let mut record = format!("Package: {package}\nVersion: {version}\nArchitecture: {architecture}\n");
            record += "Maintainer: somebody <somebody@example.org>\nDescription: a package\n";
            if !depends.is_empty() {
                record += &format!("Depends: {depends}\n");
            }
            suite += &format!("{record}Filename: ./{package}_{version}.deb\nSize: 1\nSHA256: {}\n\n", "0".repeat(64));
            if *installed {
                status += &format!("{record}Status: install ok installed\n\n");
            }
        }
        fs::write(at("suite/Packages"), suite).unwrap();
        fs::write(at("status"), status).unwrap();
        let root = dir.path().display();
        fs::write(at("etc/apt/sources.list"), format!("deb [trusted=yes] file:{root}/suite ./\n")).unwrap();
        // The options of this machine's own apt are not to count.
        fs::write(at("apt.conf"), format!("Dir::Etc \"{root}/etc/apt\";\n")).unwrap();
        let settings = ["State::Lists=lists", "State::status=status", "Cache=cache", "Log=."];
        let settings = settings.map(|s| s.replacen('=', &format!("={root}/"), 1)).map(|s| format!("Dir::{s}"));
        let options = settings.into_iter().chain(["APT::Sandbox::User=".to_owned()]);
        let options = options.flat_map(|option| ["-o".to_owned(), option]).collect();
        let apt = Apt { dir, options };
        assert!(apt.get(&["update"]).contains("Reading package lists"));
        apt
    }

    /// All that apt-get says.
    fn get(&self, arguments: &[&str]) -> String {
        let mut apt = Command::new("apt-get");
        apt.env("APT_CONFIG", self.dir.path().join("apt.conf")).env("LC_ALL", "C");
        let output = apt.args(&self.options).args(arguments).stdin(Stdio::null()).output().expect("apt-get");
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8(said).unwrap()
    }

    /// What it would install or remove: `Inst NAME`, `Remv NAME`.
    fn would(&self, arguments: &[&str]) -> Vec<String> {
        let said = self.get(&[&["--simulate"], arguments].concat());
        let words = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let mut steps: Vec<String> =
            said.lines().filter(|l| l.starts_with("Inst ") || l.starts_with("Remv ")).map(words).collect();
        steps.sort();
        steps
    }
}

#[test]
fn apt_holds_what_boots_and_nothing_else() {
    let apt = Apt::new();
    let everything = [
        "Inst bar",
        "Inst initramfs-tools",
        "Inst linux-image-6.1-rpi-v8",
        "Inst linux-image-6.2-rpi-v8",
        "Inst linux-image-rpi-v8",
        "Inst linux-libc-dev",
        "Inst needs-firmware",
        "Inst raspi-firmware",
    ];
    assert_eq!(apt.would(&["full-upgrade"]), everything);
    assert!(burnonce::hold::converge(apt.dir.path(), true).unwrap());
    for upgrade in ["full-upgrade", "upgrade"] {
        assert_eq!(apt.would(&[upgrade]), ["Inst bar", "Inst linux-libc-dev"], "{upgrade}");
    }
    // What needs a package that is held, as it is installed, can be installed.
    assert_eq!(apt.would(&["install", "new-needs-kernel"]), ["Inst new-needs-kernel"]);
    for (package, said) in [
        ("linux-image-rpi-v8", "linux-image-rpi-v8 is already the newest version (1)"),
        ("linux-image-6.2-rpi-v8", "Package 'linux-image-6.2-rpi-v8' has no installation candidate"),
        ("needs-firmware", "raspi-firmware (>= 1:2)"),
    ] {
        assert_eq!(apt.would(&["install", package]), [""; 0], "{package}");
        let says = apt.get(&["--simulate", "install", package]);
        assert!(says.contains(said), "{says}");
    }
    // Whoever names a version gets it.
    assert_eq!(apt.would(&["install", "raspi-firmware=1:2"]), ["Inst raspi-firmware"]);
    assert!(burnonce::hold::converge(apt.dir.path(), false).unwrap());
    assert_eq!(apt.would(&["full-upgrade"]), everything);
}
