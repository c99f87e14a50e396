//! `demo`: burns the image with burnonce in it to a virtual card, switches the node on, shows its console through all
//! boots, and what the node says of itself; then goes once through the loop: other user-data, `burnonce reset`. The exit code
//! is 0 only if / is an overlay whose upper is on the third partition, and the reset node is what the new user-data describes.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use burnonce_vm::card::{Card, GIB};
use burnonce_vm::{Node, Recipe, host};

fn main() -> Result<()> {
    host::require()?;
    let dir = host::fresh_log_dir("demo")?;
    let image = Recipe::stock().make()?;
    let card = Card::blank(&dir.join("card.img"), 8 * GIB)?;
    println!("=== dd if={} of={} bs=4M (a blank card of 8 GiB) ===", image.path.display(), card.path.display());
    card.burn(&image.path)?;

    let mut node = Node::new(card, &dir);
    node.echo = true;
    let boots = node.settle(4)?;
    node.echo = false;
    println!("\n=== cloud-init is done; power-ons: {boots} ===");
    show(&node)?;
    let upper = node.sh("findmnt -no SOURCE /media/root-rw").context("looking for the upper's device")?;
    let root = node.sh("findmnt -no FSTYPE /")?;
    the_loop(&mut node)?;
    node.shutdown()?;
    ensure!(root == "overlay", "/ is {root}, not an overlay");
    ensure!(upper == "/dev/vda3", "the upper is on {upper}, not on the third partition");
    println!("\n=== / is an overlay, its upper is on the third partition; logs: {} ===", dir.display());
    std::fs::remove_file(&node.card.path).context("removing the card")
}

/// What an owner of the node would type.
fn show(node: &Node) -> Result<()> {
    run(node, &["sudo burnonce status", "findmnt /", "findmnt /media/root-ro", "findmnt /media/root-rw"])
}

/// Edits the user-data, resets, and shows that the node is another one.
fn the_loop(node: &mut Node) -> Result<()> {
    let edit = "sed 's/^hostname: .*/hostname: blue/' /boot/firmware/user-data >new.yaml";
    run(
        node,
        &["hostname", "sudo touch /etc/a-mistake", "sudo burnonce diff /etc", "sudo burnonce reset --preview", edit],
    )?;
    let reset = "burnonce reset --yes --user-data /home/node/new.yaml";
    println!("\nnode$ sudo {reset}");
    let asked = Instant::now();
    node.echo = true;
    node.restarts_by(reset)?;
    node.settle(1)?;
    node.echo = false;
    println!("\n=== from reset to a finished cloud-init: {} s ===", asked.elapsed().as_secs());
    run(node, &["hostname", "ls /etc/a-mistake", "sudo burnonce generations", "sudo burnonce status"])?;
    ensure!(node.sh("hostname")? == "blue", "the new user-data was not used");
    ensure!(node.sudo("test -e /etc/a-mistake")?.code == Some(1), "the reset left what was written");
    Ok(())
}

fn run(node: &Node, commands: &[&str]) -> Result<()> {
    for command in commands {
        let answer = node.ssh(command)?;
        print!("\nnode$ {command}\n{}{}", answer.stdout, answer.stderr);
        if answer.code != Some(0) {
            println!("(exit code {:?})", answer.code);
        }
    }
    Ok(())
}
