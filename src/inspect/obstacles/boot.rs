//! What stands in the way on the boot partition: words of the kernel command line, and what cannot be known of it and of the initramfs.

use super::super::Inspection;
use super::super::boot::{CommandLine, Used, partition_of};
use super::super::partition::Target;
use super::{Obstacle, Who, obstacle};
use crate::overlay;

/// What to do where the image does not tell.
const LOOK: &str = "look at what its boot loader gives to the kernel, and at `burnonce plan` on the node";

/// Words that change what root is.
pub fn command_lines(image: &Inspection) -> Vec<Obstacle> {
    let Some(boot) = &image.findings.boot else {
        let found = "no partition holds a FAT file system, and /boot of the root has neither armbianEnv.txt nor extlinux/extlinux.conf: \
                     the kernel command line and what is in the initramfs are not known";
        return vec![obstacle(found, LOOK).by(Who::Unknown)];
    };
    if boot.command_lines.is_empty() {
        let found = format!("partition {} has no cmdline.txt: the kernel command line is not known", boot.partition);
        return vec![obstacle(found, LOOK).by(Who::Unknown)];
    }
    let used = boot.command_lines.iter().filter(|line| line.used != Used::Never);
    used.flat_map(|line| words(line, image.root.partition)).collect()
}

fn words(line: &CommandLine, root: u32) -> Vec<Obstacle> {
    let (path, mut found) = (&line.path, Vec::new());
    let partition = partition_of(path);
    let take_out = |word: &str| format!("take the word `{word}` out of {path} on the {partition}");
    let called = format!("`root=` and its label or UUID, as listed above for partition {root}");
    let Some(name) = line.root.as_deref() else {
        let what = format!("no `root=` is in {path}: what is root there is not known");
        return vec![obstacle(what, format!("write into that line on the {partition} {called}"))];
    };
    match line.target {
        Target::Nothing => found.push(obstacle(
            format!("`root={name}` in {path} names no partition of this image"),
            format!("write there what the root partition is called: {called}"),
        )),
        Target::Partition(number) if number != root => found.push(obstacle(
            format!("`root={name}` in {path} names partition {number}, and the root file system was found on partition {root}"),
            format!("let it name partition {root}"),
        )),
        Target::Partition(_) => {}
        Target::NotTold => found.push(obstacle(
            format!("whether `root={name}` in {path} names the root partition cannot be told from an image"),
            format!("write there {called}, or make sure of it by `burnonce plan` on the node"),
        ).by(Who::Unknown)),
    }
    for word in line.words() {
        match word {
            "rw" => found.push(obstacle(
                format!("`rw` in {path} has root mounted writable from the start: something may write to the image before burnonce runs"),
                take_out(word),
            ).by(if path.starts_with('/') { Who::Owner } else { Who::Bake })),
            "burnonce=off" => {
                found.push(obstacle(format!("`burnonce=off` in {path} keeps burnonce from doing anything"), take_out(word)));
            }
            _ if word.starts_with("overlayroot=") || overlay::is_dracut_overlay(word) => {
                let what = format!("`{word}` in {path} configures an overlay, and counts before burnonce's configuration");
                found.push(obstacle(what, take_out(word)));
            }
            _ => {}
        }
    }
    found
}

/// An initramfs of which it is not known what it does before burnonce.
pub fn initramfs(image: &Inspection) -> Vec<Obstacle> {
    let Some(boot) = &image.findings.boot else { return Vec::new() };
    let closed = boot.initramfs.iter().filter_map(|one| Some((&one.path, one.unreadable.as_ref()?)));
    let mut found: Vec<Obstacle> = closed
        .map(|(path, why)| {
            let what = format!("what {path} on the {} does is not known: {why}", partition_of(path));
            obstacle(what, "make it anew, packed by zstd: set `COMPRESS=zstd` in /etc/initramfs-tools/initramfs.conf (with dracut `compress=zstd` in a file of /etc/dracut.conf.d), and run `update-initramfs -u -k all` in a chroot of the image").by(Who::Unknown)
        })
        .collect();
    if boot.more_initramfs > 0 {
        let what = format!(
            "{} files more on partition {} have the name of an initramfs, and were not looked into",
            boot.more_initramfs, boot.partition
        );
        found.push(obstacle(what, "remove there what no kernel uses").by(Who::Unknown));
    }
    found
}
