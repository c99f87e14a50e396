//! The package going from a node again.

use anyhow::ensure;
use burnonce_vm::{Recipe, checks, running, scenario};

#[test]
fn purge_on_running() {
    scenario("purge_on_running", |bed| {
        let mut node = running::plain(bed, &Recipe::stock().without_package().make()?)?;
        running::install(&node)?;
        node.sh("dpkg --purge burnonce")?;
        let left = node.sh("find /etc /usr /var/lib /boot -xdev -name '*burnonce*' -o -name overlayroot.local.conf")?;
        ensure!(left.is_empty(), "a purge left {left}");
        running::install(&node)?;
        node.reboot()?;
        ensure!(node.settle(2)? == 2, "the restart did not convert");
        checks::is_converted(&node)?;
        node.shutdown()
    });
}
