use super::*;
use crate::command::Program;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An image to be written.
fn image(content: &[u8]) -> (File, u64) {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(content, 0).unwrap();
    (file, content.len() as u64)
}

/// All that is in a directory, hidden things too.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn an_image_is_there_when_it_is_whole_with_its_checksum() {
    for name in ["mine.img", "mine.img.xz", "mine.img.zst"] {
        let directory = TempDir::new().unwrap();
        let target = directory.path().join(name);
        for content in [vec![1; 300_000], b"another one".to_vec()] {
            let (image, length) = image(&content);
            let output = Output::create(&target).unwrap();
            output.fill(&image, length, &|_| {}).unwrap();
            let before = names(directory.path());
            assert!(before.is_empty() || before == [name.to_owned(), format!("{name}.sha256")], "{before:?}");
            output.publish().unwrap();
            assert_eq!(names(directory.path()), [name.to_owned(), format!("{name}.sha256")]);
            let checked = Command::new("sha256sum")
                .args(["--check", "--strict", &format!("{name}.sha256")])
                .current_dir(directory.path())
                .output()
                .unwrap();
            assert!(checked.status.success(), "{checked:?}");
            let unpacked = match name.rsplit('.').next() {
                Some("xz") => Program::new("xz").args(["-dc", target.to_str().unwrap()]).run().unwrap().stdout,
                Some("zst") => Program::new("zstd").args(["-dc", target.to_str().unwrap()]).run().unwrap().stdout,
                _ => fs::read(&target).unwrap(),
            };
            assert!(unpacked == content, "{name}");
        }
    }
}

#[test]
fn what_is_given_up_leaves_nothing_and_what_was_there_stays() {
    let directory = TempDir::new().unwrap();
    let target = directory.path().join("mine.img");
    fs::write(&target, "the old one").unwrap();
    let (image, length) = image(b"new");
    let output = Output::create(&target).unwrap();
    output.fill(&image, length, &|_| {}).unwrap();
    drop(output);
    assert_eq!(names(directory.path()), ["mine.img"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), "the old one");

    // One with a name, as on a file system that cannot do without.
    let (mut file, named) = Named::create(&target).unwrap();
    file.write_all(b"new").unwrap();
    assert_eq!(names(directory.path()).len(), 2);
    drop(named);
    assert_eq!(names(directory.path()), ["mine.img"]);
    let (mut file, named) = Named::create(&target).unwrap();
    file.write_all(b"new").unwrap();
    Pending { file, target: target.clone(), named: Some(named), mode: None }.place().unwrap();
    assert_eq!(names(directory.path()), ["mine.img"]);
    assert_eq!(fs::read_to_string(&target).unwrap(), "new");
}

/// The permissions are those of any new file of this user.
#[test]
fn a_new_file_is_as_any_other() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TempDir::new().unwrap();
    let (target, other) = (directory.path().join("mine.img"), directory.path().join("other"));
    fs::write(&other, "").unwrap();
    Output::create(&target).unwrap().publish().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&target), mode(&other));
    assert_eq!(mode(&directory.path().join("mine.img.sha256")), mode(&other));

    // One that takes the place of another is read by nobody who could not read that.
    for old in [0o600, 0o444, 0o400] {
        fs::set_permissions(&target, fs::Permissions::from_mode(old)).unwrap();
        let output = Output::create(&target).unwrap();
        // Until it is whole, its owner's programs open it by a path.
        assert_eq!(output.file().metadata().unwrap().permissions().mode() & 0o7777, old | 0o600);
        output.publish().unwrap();
        assert_eq!(mode(&target) & 0o7777, old);
    }
}

#[test]
fn what_cannot_be_a_target_is_told() {
    let directory = TempDir::new().unwrap();
    let here = directory.path().display();
    let told = |target: &str| format!("{:#}", Output::create(Path::new(target)).unwrap_err());
    assert_eq!(told(&format!("{here}")), format!("{here} is a directory; name the image file itself"));
    assert_eq!(told("/dev/null"), "/dev/null is no file; name a file that is to be made");
    assert!(told(&format!("{here}/none/x.img")).starts_with(&format!("there is no directory {here}/none; ")));
    assert!(told("mine.img.gz").contains("no .gz is written"));
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_checksum_is_written_as_sha256sum_does() {
    for (name, expected) in [("a b.img", "0aff  a b.img\n"), ("a\\b\n.img", "\\0aff  a\\\\b\\n.img\n")] {
        assert_eq!(String::from_utf8(line(&[0x0A, 0xFF], OsStr::new(name))).unwrap(), expected);
    }
}

/// This program once more, running one test alone, with what that test is to do.
fn again(before: &str, test: &str, directory: &Path) -> Command {
    let mut command = Command::new("env");
    let program = std::env::current_exe().unwrap();
    // Whoever runs the tests may have them ignore signals: nohup(1) does.
    command
        .args(["--default-signal=HUP,INT,TERM", "sh", "-c", &format!("{before} exec \"$@\""), "sh"])
        .arg(program)
        .args(["--exact", &format!("bake::output::tests::{test}"), "--nocapture", "--ignored"])
        .env("BURNONCE_TEST_DIRECTORY", directory)
        .stdout(Stdio::null());
    command
}

fn directory_of_child() -> PathBuf {
    PathBuf::from(std::env::var_os("BURNONCE_TEST_DIRECTORY").expect("run by another test"))
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let directory = TempDir::new().unwrap();
    // A limit for the length of a file, in blocks of 512 bytes, is the full disk that one can have without root.
    let status = again("trap '' XFSZ; ulimit -f 100;", "child_that_has_no_room", directory.path()).status().unwrap();
    assert!(status.success(), "{status}");
    assert!(names(directory.path()).is_empty(), "{:?}", names(directory.path()));
}

#[test]
#[ignore = "run by a_full_disk_leaves_nothing_behind"]
fn child_that_has_no_room() {
    let directory = directory_of_child();
    // Of /dev/urandom, so that it cannot be packed; a regular file of that length could not be made here.
    let noise = File::open("/dev/urandom").unwrap();
    for name in ["mine.img.xz", "mine.img.zst"] {
        let output = Output::create(&directory.join(name)).unwrap();
        let error = format!("{:#}", output.fill(&noise, 1 << 20, &|_| {}).unwrap_err());
        let said = format!("there is no room for {} in {} (", directory.join(name).display(), directory.display());
        assert!(error.starts_with(&said) && error.ends_with("; make some, or name a place with more"), "{error}");
    }
    let (file, named) = Named::create(&directory.join("mine.img")).unwrap();
    assert!(file.write_all_at(&[1; 100_000], 0).is_err());
    drop(named);
}

#[test]
fn a_signal_leaves_nothing_behind() {
    use std::os::unix::process::ExitStatusExt;
    for (before, number, ends) in [("", 2, true), ("", 15, true), ("", 1, true), ("trap '' HUP;", 1, false)] {
        let directory = TempDir::new().unwrap();
        let mut child = again(before, "child_that_waits", directory.path()).spawn().unwrap();
        let begun = Instant::now();
        while names(directory.path()).len() < 2 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not begin");
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::try_from(number).unwrap()).unwrap();
        if !ends {
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(names(directory.path()).len(), 2, "an ignored signal stays ignored");
            child.kill().unwrap();
            child.wait().unwrap();
            continue;
        }
        let status: ExitStatus = child.wait().unwrap();
        assert_eq!(status.signal(), Some(number), "{status}");
        assert_eq!(names(directory.path()), ["ready"], "signal {number}");
    }
}

#[test]
#[ignore = "run by a_signal_leaves_nothing_behind"]
fn child_that_waits() {
    let directory = directory_of_child();
    let _named = Named::create(&directory.join("mine.img")).unwrap();
    fs::write(directory.join("ready"), "").unwrap();
    std::thread::sleep(Duration::from_secs(60));
}
