//! The second place for what a kernel is started with: `/boot` of the root, on an image without a boot partition. U-Boot reads it there, by
//! Armbian's script or by its own extlinux.conf. Pure: it looks at a [`Tree`].

use super::boot::{Boot, Used, command_line, files_of, is_initramfs, looked_into};
use super::partition::Held;
use super::system::TEXT;
use super::tree::Tree;
use anyhow::Result;

/// Armbian's settings for its script (armbian/build, `config/bootscripts`).
const ARMBIAN: &str = "/boot/armbianEnv.txt";
/// U-Boot's own format (its documentation, "Generic Distro Configuration Concept").
const EXTLINUX: &str = "/boot/extlinux/extlinux.conf";

/// What `/boot` of the root on the partition with this number holds; `None` where neither file is there.
///
/// # Errors
/// Something that is there cannot be read.
pub fn look(root: &dyn Tree, partition: u32, partitions: &[Held]) -> Result<Option<Boot>> {
    let armbian = root.text(ARMBIAN, TEXT)?.map(|text| (ARMBIAN, arguments(&text)));
    let extlinux = root.text(EXTLINUX, TEXT)?.unwrap_or_default();
    let appended = extlinux.lines().filter_map(appended).map(|line| (EXTLINUX, line.to_owned()));
    let lines = armbian.into_iter().chain(appended).take(MOST_LINES);
    let command_lines: Vec<_> =
        lines.map(|(path, text)| command_line(path.to_owned(), Used::Always, &text, partitions)).collect();
    if command_lines.is_empty() {
        return Ok(None);
    }
    let names = root.list("boot")?.into_iter().filter(|name| is_initramfs(name));
    let (initramfs, more_initramfs) = looked_into(root, files_of(root, names.map(|name| format!("/boot/{name}")))?);
    Ok(Some(Boot { partition, command_lines, initramfs, more_initramfs, first_boot: Vec::new() }))
}

/// So many command lines are looked at.
const MOST_LINES: usize = 16;

/// The command line that Armbian's script makes of its settings, as far as they say.
fn arguments(text: &str) -> String {
    let value = |key: &str| text.lines().rev().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
    let root = value("rootdev").map(|root| format!("root={root}"));
    let words = [root, value("extraargs").map(str::to_owned), value("extraboardargs").map(str::to_owned)];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// What a line `append root=LABEL=x` has behind its keyword.
fn appended(line: &str) -> Option<&str> {
    let (keyword, rest) = line.trim().split_once(char::is_whitespace)?;
    keyword.eq_ignore_ascii_case("append").then_some(rest.trim())
}
