//! Boot partitions are directories here: what is on them, what is kept, what comes back.

use super::*;
use std::os::unix::fs::PermissionsExt;

const CMDLINE: &str = "console=tty1 root=PARTUUID=1b2c-02 rootwait";
const RUN: &str =
    "systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target";

/// A boot partition and an upper.
struct Card {
    directory: tempfile::TempDir,
}

impl Card {
    fn new(files: &[(&str, &str)]) -> Card {
        let directory = tempfile::tempdir().unwrap();
        for part in ["boot/current", "upper/burnonce"] {
            fs::create_dir_all(directory.path().join(part)).unwrap();
        }
        let card = Card { directory };
        files.iter().for_each(|(name, content)| card.write(name, content));
        card
    }

    fn boot(&self) -> PathBuf {
        self.directory.path().join("boot")
    }

    fn upper(&self) -> Upper {
        Upper::at(self.directory.path().join("upper"))
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.boot().join(name), content).unwrap();
    }

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.boot().join(name)).ok()
    }

    fn keep(&self) -> Result<()> {
        keep(&self.boot(), &self.upper())
    }

    fn put_back(&self) -> Result<PutBack> {
        put_back(&Boot::Already(self.boot()), &self.upper())
    }
}

fn names(back: &PutBack) -> Vec<&str> {
    back.files.iter().map(String::as_str).collect()
}

#[test]
fn what_a_first_boot_consumed_comes_back() {
    let card = Card::new(&[
        ("userconf.txt", "pi:$6$x\n"),
        ("ssh", ""),
        ("firstrun.sh", "#!/bin/bash\n"),
        ("cmdline.txt", &format!("{CMDLINE} {RUN}\n")),
        ("kernel8.img", "not ours"),
    ]);
    card.keep().unwrap();
    let kept = card.upper().own("boot");
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(kept.join("userconf.txt")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(&kept).unwrap().count(), 4, "three files and the words");
    ["userconf.txt", "ssh", "firstrun.sh"].iter().for_each(|name| fs::remove_file(card.boot().join(name)).unwrap());
    card.write("cmdline.txt", &format!("{CMDLINE}\n"));
    let back = card.put_back().unwrap();
    assert_eq!(names(&back), ["userconf.txt", "ssh", "firstrun.sh"]);
    assert_eq!(back.words.join(" "), RUN);
    assert_eq!(card.text("userconf.txt").as_deref(), Some("pi:$6$x\n"));
    assert_eq!(card.text("cmdline.txt").unwrap(), format!("{CMDLINE} {RUN}\n"));
    // Once more, as after a power cut: there is nothing left to do.
    assert_eq!(card.put_back().unwrap(), PutBack::default());
}

#[test]
fn what_the_owner_changed_since_stays() {
    let card = Card::new(&[("ssh", ""), ("custom.toml", "old"), ("cmdline.txt", &format!("{CMDLINE} {RUN}"))]);
    card.write("firstrun.sh", "old");
    card.keep().unwrap();
    card.write("custom.toml", "new");
    card.write("firstrun.sh", "new");
    fs::remove_file(card.boot().join("ssh")).unwrap();
    let back = card.put_back().unwrap();
    assert_eq!((names(&back), back.words.len()), (vec!["ssh"], 0));
    assert_eq!(card.text("custom.toml").as_deref(), Some("new"));
    assert_eq!(card.text("cmdline.txt").unwrap(), format!("{CMDLINE} {RUN}"));
}

/// A conversion that failed, a boot that consumed the files, another conversion.
#[test]
fn what_was_kept_stays_kept() {
    let card = Card::new(&[("ssh", ""), ("cmdline.txt", &format!("{CMDLINE} {RUN}")), ("firstrun.sh", "x")]);
    card.keep().unwrap();
    fs::remove_file(card.boot().join("ssh")).unwrap();
    card.write("cmdline.txt", CMDLINE);
    card.keep().unwrap();
    let back = card.put_back().unwrap();
    assert_eq!((names(&back), back.words.join(" ")), (vec!["ssh"], RUN.to_owned()));
}

/// Ubuntu's A/B boot partitions: the live command line is the one under the prefix of `[all]`.
#[test]
fn the_command_line_is_the_one_that_the_firmware_reads() {
    let config = "[tryboot]\nos_prefix=new/\n[all]\n# os_prefix=no/\nos_prefix=current/\n[pi4]\nos_prefix=pi4/\n";
    let card = Card::new(&[
        ("config.txt", config),
        ("cmdline.txt", "old"),
        ("current/cmdline.txt", &format!("{CMDLINE} {RUN}\n")),
        ("firstrun.sh", "x"),
    ]);
    card.keep().unwrap();
    card.write("current/cmdline.txt", &format!("{CMDLINE}\n"));
    card.put_back().unwrap();
    assert_eq!(card.text("current/cmdline.txt").unwrap(), format!("{CMDLINE} {RUN}\n"));
    assert_eq!(card.text("cmdline.txt").as_deref(), Some("old"));
    fs::remove_dir_all(card.boot().join("current")).unwrap();
    assert_eq!(cmdline(&card.boot()).unwrap(), card.boot().join("cmdline.txt"));
}

#[test]
fn words_without_their_script_are_not_added() {
    let card = Card::new(&[("firstrun.sh", "x"), ("cmdline.txt", &format!("{CMDLINE} {RUN}"))]);
    card.keep().unwrap();
    card.write("cmdline.txt", CMDLINE);
    fs::remove_file(card.boot().join("firstrun.sh")).unwrap();
    fs::remove_file(card.upper().own("boot/firstrun.sh")).unwrap();
    let error = format!("{:#}", card.put_back().unwrap_err());
    assert!(error.contains("firstrun.sh, which `systemd.run="), "{error}");
    assert_eq!(card.text("cmdline.txt").as_deref(), Some(CMDLINE));
}

#[test]
fn a_file_that_is_too_long_is_named_and_the_rest_is_kept() {
    let card = Card::new(&[("firstrun.sh", &"x".repeat(65537)), ("ssh.txt", "x"), ("cmdline.txt", CMDLINE)]);
    let error = format!("{:#}", card.keep().unwrap_err());
    assert!(error.contains("firstrun.sh has 65537 bytes"), "{error}");
    fs::remove_file(card.boot().join("ssh.txt")).unwrap();
    assert_eq!(names(&card.put_back().unwrap()), ["ssh.txt"]);
}

#[test]
fn an_upper_that_nothing_was_kept_on_puts_nothing_back() {
    let card = Card::new(&[("cmdline.txt", CMDLINE)]);
    assert_eq!(card.put_back().unwrap(), PutBack::default());
}

#[test]
fn words_are_told_apart() {
    let text = "a systemd.run=\"/bin/sh -c x\"  systemd.run-failure-action=poweroff systemd.unit=rescue.target systemd.runx=1 b\n";
    assert_eq!(first_boot_words(text), ["systemd.run=\"/bin/sh -c x\"", "systemd.run-failure-action=poweroff"]);
    assert_eq!(with_words("a b \nrest\n", &["c".to_owned()]), "a b c\nrest\n");
}
