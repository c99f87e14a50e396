//! Requests by files on the boot partition, with the power cut around them; what a first boot consumes there.

use anyhow::{Context, ensure};
use burnonce_vm::{Recipe, checks, scenario};

/// One file is one reset, wherever the power is cut: while it is recorded, between the restart and the guard, after the guard.
#[test]
fn file_and_cuts() {
    scenario("file_and_cuts", |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        let burned = checks::burned(&node.card)?;
        for (number, (boot, line)) in
            [(1, "burnonce-reset"), (1, "Restarting"), (2, "local-bottom"), (2, "init-bottom"), (2, "systemd[1]:")]
                .into_iter()
                .enumerate()
        {
            let told = || format!("a cut of boot {boot} at {line:?}");
            node.card.write_boot("burnonce-reset", format!("{number}\n"))?;
            node.power_on()?;
            if boot == 2 {
                node.wait_off()?;
                node.power_on()?;
            }
            node.wait_for(line).with_context(told)?;
            node.kill()?;
            node.settle(2).with_context(told)?;
            let now = checks::generation(&node)?;
            ensure!(now == number as u64 + 2, "{}: generation {now}, not one reset", told());
            node.reboot()?;
            ensure!(!node.card.boot_names()?.iter().any(|n| n.contains("reset")), "{}: the file is there", told());
            ensure!(node.settle(1)? == 1, "{}: it was reset again", told());
            ensure!(checks::generation(&node)? == now, "{}: it was reset again", told());
            node.shutdown()?;
            ensure!(checks::burned(&node.card)? == burned, "{}: the image was written", told());
        }
        Ok(())
    });
}

/// As Raspberry Pi's imager writes it, but for the setting-up itself.
const FIRSTRUN: &str = "#!/bin/bash\necho ran >>/var/lib/firstrun\nrm -f /boot/firmware/firstrun.sh\n\
    sed -i 's| systemd.run.*||g' /boot/firmware/cmdline.txt\nexit 0\n";
const WORDS: &str =
    "systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target";

/// A script that deletes itself and the words that call it, as an image for a Raspberry Pi has it: after a reset it runs again.
#[test]
fn firstrun() {
    scenario("firstrun", |bed| {
        let image = Recipe::stock().make()?;
        let card = bed.card(&image)?;
        let line = card.boot_text("cmdline.txt")?.context("the image has no cmdline.txt")?;
        card.write_boot("cmdline.txt", format!("{} {WORDS}\n", line.trim()))?;
        card.write_boot("firstrun.sh", FIRSTRUN)?;
        let mut node = bed.node(card);
        ensure!(node.settle(3)? == 3, "converting, the script, and a boot");
        ensure!(node.sh("cat /var/lib/firstrun")? == "ran");
        ensure!(!node.sh("cat /boot/firmware/cmdline.txt")?.contains("systemd.run"), "the words are still there");
        node.sh("touch /root/marker")?;
        node.restarts_by("burnonce reset --yes")?;
        node.settle(3)?;
        ensure!(node.sh("cat /var/lib/firstrun")? == "ran", "the script did not run once after a reset");
        ensure!(node.sudo("test -e /root/marker")?.code == Some(1));
        ensure!(!node.sh("cat /boot/firmware/cmdline.txt")?.contains("systemd.run"), "the words are there for ever");
        ensure!(checks::generation(&node)? == 2);
        node.shutdown()
    });
}

/// `reset.on: [user-data]`: edit the file, restart, done. An undo is not answered by the next reset.
#[test]
fn changed_user_data() {
    scenario("changed_user_data", |bed| {
        let image = Recipe::stock().make()?;
        let mut node = bed.node(bed.converted(&image)?);
        node.card
            .edit_lower(|root| Ok(std::fs::write(root.join("etc/burnonce.yaml"), "reset:\n  on: [user-data]\n")?))?;
        ensure!(node.settle(1)? == 1);
        node.sh("touch /root/marker")?;
        // As an owner does who has no reader at hand.
        node.sh("sed -i 's/cloud-init ran/edited/' /boot/firmware/user-data && sync")?;
        node.reboot()?;
        ensure!(node.settle(2)? == 2, "changed user-data did not reset the node");
        ensure!(!checks::has_marker(&node)? && node.sh("cat /var/lib/demo/ran")? == "edited");
        ensure!(checks::generation(&node)? == 2);

        node.restarts_by("burnonce undo --yes")?;
        ensure!(node.settle(1)? == 1, "the node reset itself after an undo");
        ensure!(checks::has_marker(&node)? && checks::generation(&node)? == 1);
        node.reboot()?;
        ensure!(node.settle(1)? == 1, "the node reset itself one boot after an undo");
        ensure!(checks::has_marker(&node)?);
        node.shutdown()
    });
}
