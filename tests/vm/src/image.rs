//! Card images: `image.sh` makes and caches them, a [`Recipe`] says which one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::card::Card;
use crate::host;

/// Which image to make.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recipe {
    gpt: bool,
    no_package: bool,
    no_overlayroot: bool,
    stale_initramfs: bool,
}

/// A finished image.
pub struct Image {
    pub path: PathBuf,
}

impl Recipe {
    /// A stock image into which burnonce was installed.
    pub fn stock() -> Self {
        Self::default()
    }

    /// GPT instead of MBR.
    pub fn gpt(self) -> Self {
        Self { gpt: true, ..self }
    }

    /// Without burnonce.
    pub fn without_package(self) -> Self {
        Self { no_package: true, ..self }
    }

    /// overlayroot is purged, which burnonce's package depends on.
    pub fn without_overlayroot(self) -> Self {
        Self { no_overlayroot: true, ..self }
    }

    /// The initramfs that boots is older than overlayroot and burnonce in the root.
    pub fn stale_initramfs(self) -> Self {
        Self { stale_initramfs: true, ..self }
    }

    /// Makes the image, or finds it in the cache. Progress goes to stderr.
    pub fn make(self) -> Result<Image> {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("image.sh"));
        command.env("BURNONCE_CACHE", host::cache()).env_remove("PKG");
        command.args(["--table", if self.gpt { "gpt" } else { "mbr" }]);
        if !self.no_package {
            command.arg("--pkg").arg(package()?);
        }
        if self.no_overlayroot {
            command.arg("--without-overlayroot");
        }
        if self.stale_initramfs {
            command.arg("--stale-initramfs");
        }
        let output = command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("starting {command:?}"))?;
        ensure!(output.status.success(), "making the image failed ({}): {command:?}", output.status);
        let path = PathBuf::from(String::from_utf8(output.stdout)?.trim());
        Ok(Image { path })
    }
}

impl Image {
    /// The image seen as a card, to look into it.
    pub fn as_card(&self) -> Card {
        Card { path: self.path.clone() }
    }

    /// Bytes of the initramfs before the package was installed, and of the one that boots.
    pub fn initramfs_sizes(&self) -> Result<(u64, u64)> {
        let file = self.path.with_extension("initramfs");
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let sizes: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        ensure!(sizes.len() == 2, "{} says {text:?}", file.display());
        Ok((sizes[0], sizes[1]))
    }
}

/// burnonce's package: `BURNONCE_DEB`, or what `make deb` builds.
pub fn package() -> Result<PathBuf> {
    let path = std::env::var_os("BURNONCE_DEB").map_or_else(|| host::target().join("deb/burnonce.deb"), PathBuf::from);
    path.canonicalize().with_context(|| {
        format!("there is no {}: build it with 'make deb', or let BURNONCE_DEB name it", path.display())
    })
}

/// The key that cloud-init lets in.
pub fn login_key() -> PathBuf {
    host::cache().join("id_ed25519")
}
