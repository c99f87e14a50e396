//! What a conversion comes to.

use anyhow::{Result, ensure};

use crate::{Card, Image, Node, checks};

/// Boots a fresh card until it is converted, shuts the node down, and looks at the card: in its root, only files whose names begin as
/// `allowed` differ from the image.
pub fn converts(node: &mut Node, image: &Image, allowed: &[&str]) -> Result<()> {
    ensure!(node.settle(2)? == 2, "it was not exactly one restart");
    checks::is_converted(node)?;
    checks::nothing_failed(node)?;
    node.shutdown()?;
    checks::has_third_partition(&node.card, &image.as_card())?;
    checks::lower_is_as_burned(&node.card, image, allowed)
}

/// What a node makes on its first boot is in the upper; what conversion has to say is beside it.
pub fn first_boot_went_to_upper(card: &Card) -> Result<()> {
    let upper = card.mount(3)?;
    ensure!(upper.text("overlay/var/lib/demo/ran")? == "cloud-init ran\n", "cloud-init did not run exactly once");
    ensure!(upper.text("overlay/etc/machine-id")?.trim().len() == 32, "the upper has no machine-id");
    for made in ["etc/ssh/ssh_host_ed25519_key", "var/lib/cloud/instance", "home/node/.ssh/authorized_keys"] {
        ensure!(upper.has(&format!("overlay/{made}")), "{made} is not in the upper");
    }
    let logs: Vec<_> = std::fs::read_dir(upper.path().join("burnonce/log"))?.collect::<Result<_, _>>()?;
    ensure!(logs.len() == 1, "there are {} conversion logs", logs.len());
    let log = std::fs::read_to_string(logs[0].path())?;
    ensure!(log.contains("converting this node"), "the conversion log is {log}");
    Ok(())
}
