//! The bed itself: an image without burnonce is a stock image.

use anyhow::ensure;
use burnonce_vm::{Recipe, scenario};

#[test]
fn stock_image() {
    scenario("stock_image", |bed| {
        let image = Recipe::stock().without_package().make()?;
        let mut node = bed.node(bed.card(&image)?);
        ensure!(node.settle(1)? == 1);
        ensure!(node.sh("findmnt -no SOURCE,FSTYPE /")? == "/dev/vda2 ext4");
        ensure!(node.sh("cat /var/lib/demo/ran")? == "cloud-init ran");
        ensure!(node.sh("systemctl is-system-running --wait || systemctl --failed")? == "running");
        node.reboot()?;
        ensure!(node.settle(1)? == 1);
        ensure!(node.sh("cat /var/lib/demo/ran")? == "cloud-init ran");
        node.shutdown()
    });
}
