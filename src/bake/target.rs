//! Where the result goes, and what its owner is told of it.

use super::Options;
use super::{output, packing};
use crate::inspect::Packing;
use crate::inspect::source::Named;
use crate::output::escaped;
use crate::question::{confirm, need_terminal};
use crate::units::Bytes;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// The file that the result becomes: behind links, where the name is one.
///
/// # Errors
/// It cannot be that file.
pub fn of(options: &Options, named: &Named) -> Result<PathBuf> {
    let image = &options.image;
    let shown = image.display();
    let target = match (&options.output, options.in_place) {
        (None, true) if named.is_device => bail!(
            "{shown} is a card: it is not edited where it is, for a cut in between would leave it broken; name a file by -o, and burn that"
        ),
        (None, true) if named.packing == Packing::Gzip => {
            bail!(
                "{shown} is packed by gzip, which is not written; name a file that ends with .img, .img.xz or .img.zst by -o"
            )
        }
        (None, true) => {
            let written = packing::of_target(image)?;
            ensure!(
                written == named.packing,
                "{shown} is {}, and by its name it would be written as {written}; rename it, or name another file by -o",
                named.packing
            );
            image
        }
        (Some(output), false) => output,
        _ => bail!("say where the result goes: -o FILE, or --in-place"),
    };
    let target = behind_links(target)?;
    output::check(&target)?;
    output::check(&output::checksum_of(&target))?;
    ensure!(
        target.extension().is_none_or(|extension| extension != "deb"),
        "{} is the name of a package; name a file that ends with .img, .img.xz or .img.zst by -o",
        target.display()
    );
    // What is read is not written, but for the image with --in-place.
    let mut inputs: Vec<&PathBuf> = [&options.config, &options.user_data, &options.network_config, &options.meta_data]
        .into_iter()
        .flatten()
        .chain(&options.debs)
        .chain(&options.ssh_keys)
        .collect();
    let is = |path: &Path, other: &Path| {
        fs::canonicalize(path).is_ok_and(|path| fs::canonicalize(other).is_ok_and(|other| path == other))
    };
    ensure!(
        options.in_place || !is(&target, image),
        "{shown} is the image itself; give --in-place if it is to be replaced"
    );
    inputs.push(image);
    for written in [&target, &output::checksum_of(&target)] {
        let input = inputs.iter().find(|input| is(written, input) && !(options.in_place && written == &target));
        if let Some(input) = input {
            bail!("{} would be written, and is to be read; name another file by -o", input.display());
        }
    }
    Ok(target)
}

/// A link would be replaced by what is put at its name, and what it leads to would stay.
fn behind_links(target: &Path) -> Result<PathBuf> {
    let is_link = fs::symlink_metadata(target).is_ok_and(|metadata| metadata.file_type().is_symlink());
    if !is_link {
        return Ok(target.to_owned());
    }
    fs::canonicalize(target).with_context(|| format!("{} is a link that leads nowhere", target.display()))
}

/// Asks before files are replaced.
///
/// # Errors
/// [`crate::question::Refused`]: there is nobody to ask, or the answer is no.
pub fn ask(options: &Options, target: &Path) -> Result<()> {
    let checksum = output::checksum_of(target);
    let there: Vec<String> = [target, &checksum].into_iter().filter(|path| path.exists()).map(escaped).collect();
    if options.yes || there.is_empty() {
        return Ok(());
    }
    need_terminal().with_context(|| format!("{} would be replaced", there.join(" and "))).map_err(flat)?;
    let what = if options.in_place { "the image as it is now is lost" } else { "what is in it is lost" };
    confirm(&format!("{} will be replaced: {what}.\n", there.join(" and ")))
}

/// A refusal with what it is about.
fn flat(error: anyhow::Error) -> anyhow::Error {
    crate::question::refuse(format!("{error:#}"))
}

/// What the owner does next.
pub fn finish(target: &Path, length: Bytes) -> String {
    let (shown, quoted) = (escaped(target), quoted(target));
    // The one of macOS knows no capital M, and unbuffered devices by another name.
    let (disk, size) = if cfg!(target_os = "macos") { ("/dev/rdiskN", "4m") } else { ("/dev/sdX", "4M") };
    let burn = match packing::of_target(target) {
        Ok(Packing::Xz) => format!("xz -dc {quoted} | sudo dd of={disk} bs={size} conv=fsync"),
        Ok(Packing::Zstd) => format!("zstd -dc {quoted} | sudo dd of={disk} bs={size} conv=fsync"),
        _ => format!("sudo dd if={quoted} of={disk} bs={size} conv=fsync"),
    };
    format!(
        "{shown} is ready ({length} on the card), its checksum is beside it. Burn it and power the node on:\n  {burn}\n"
    )
}

/// A name as a shell reads it. Pure.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    if text.chars().all(is_plain) {
        return text;
    }
    if text.chars().any(char::is_control) {
        // Only a terminal's own quoting could say it; what is shown is for a person.
        return "'FILE'".to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_name_is_quoted_for_the_shell() {
        for (name, expected) in [
            ("out/mine.img", "out/mine.img"),
            ("my image.img", "'my image.img'"),
            ("it's;rm.img", "'it'\\''s;rm.img'"),
            ("a\u{1b}[31m\n.img", "'FILE'"),
        ] {
            assert_eq!(quoted(Path::new(name)), expected);
        }
        let text = finish(Path::new("a\u{1b}b.img.xz"), Bytes(1 << 30));
        assert!(text.starts_with("a\\x1bb.img.xz is ready (1 GiB") && text.contains("xz -dc 'FILE' | "), "{text}");
    }

    #[test]
    fn a_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link, nowhere) =
            (directory.path().join("a"), directory.path().join("b"), directory.path().join("c"));
        fs::write(&file, "").unwrap();
        symlink("a", &link).unwrap();
        symlink("none", &nowhere).unwrap();
        assert_eq!(behind_links(&link).unwrap(), fs::canonicalize(&file).unwrap());
        assert_eq!(behind_links(&file).unwrap(), file);
        assert!(behind_links(&nowhere).unwrap_err().to_string().contains("leads nowhere"));
    }
}
