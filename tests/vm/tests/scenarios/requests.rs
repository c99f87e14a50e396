//! Reset and undo of a node that nobody logs in to: by files on the boot partition, and by changed user-data.

use anyhow::ensure;
use burnonce_vm::{Recipe, checks, scenario};

/// A file that a card reader puts there resets, another one brings everything back; what a first boot consumes is there again for a
/// reset, unless the owner put something else in its place.
#[test]
fn files_on_the_boot_partition() {
    scenario("files_on_the_boot_partition", |bed| {
        let image = Recipe::stock().make()?;
        let card = bed.card(&image)?;
        card.write_boot("userconf.txt", "node:$6$salt$hash\n")?;
        card.write_boot("custom.toml", "config_version = 1\n")?;
        card.write_boot("ssh", "")?;
        let mut node = bed.node(card);
        ensure!(node.settle(2)? == 2);
        node.sh("touch /root/marker && cd /boot/firmware && rm userconf.txt ssh && echo mine >custom.toml")?;
        node.shutdown()?;
        let burned = checks::burned(&node.card)?;

        node.card.write_boot("burnonce-reset", "")?;
        ensure!(node.settle(2)? == 2, "a file on the boot partition took another number of boots than two");
        ensure!(!checks::has_marker(&node)? && checks::generation(&node)? == 2, "the file did not reset the node");
        ensure!(node.sh("cat /var/lib/demo/ran")? == "cloud-init ran");
        checks::nothing_failed(&node)?;
        let again = node.sh("cd /boot/firmware && cat userconf.txt custom.toml && test -e ssh")?;
        ensure!(again == "node:$6$salt$hash\nmine", "on the boot partition there is {again:?}");
        node.shutdown()?;
        ensure!(!node.card.boot_names()?.iter().any(|name| name.contains("reset")), "the file is still there");

        // As some readers write names.
        node.card.write_boot("BURNONCE-UNDO.TXT", "please\n")?;
        ensure!(node.settle(2)? == 2);
        ensure!(checks::has_marker(&node)? && checks::generation(&node)? == 1, "the file did not undo the reset");
        checks::nothing_failed(&node)?;
        node.reboot()?;
        ensure!(node.settle(1)? == 1 && checks::has_marker(&node)?, "the file worked twice");
        node.shutdown()?;
        let names = node.card.boot_names()?;
        ensure!(!names.iter().any(|name| name.to_lowercase().contains("undo")), "there are {names:?}");
        ensure!(checks::burned(&node.card)? == burned, "the image was written");
        Ok(())
    });
}
