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
    dracut: bool,
    no_package: bool,
    no_overlayroot: bool,
    switch: Option<Switch>,
    stale_initramfs: bool,
}

/// What an administrator has made of the tool that makes the initramfs, after burnonce's package came.
#[derive(Clone, Copy, Debug)]
pub enum Switch {
    /// initramfs-tools has made way for dracut, and with it overlayroot.
    Dracut,
    /// And dracut for initramfs-tools and overlayroot again.
    Back,
}

/// A finished image.
pub struct Image {
    pub path: PathBuf,
}

impl Recipe {
    /// A stock image of Debian 13 into which burnonce was installed; of Debian forky where `BURNONCE_GENERATOR=dracut` has a whole suite run
    /// on that one.
    pub fn stock() -> Self {
        Self {
            dracut: std::env::var_os("BURNONCE_GENERATOR").is_some_and(|value| value == "dracut"),
            ..Self::default()
        }
    }

    /// GPT instead of MBR.
    pub fn gpt(self) -> Self {
        Self { gpt: true, ..self }
    }

    /// Debian forky, whose initramfs dracut makes, with systemd in it; instead of Debian 13, whose initramfs initramfs-tools makes.
    /// There is no overlayroot, for its package depends on initramfs-tools: [`without_overlayroot`](Self::without_overlayroot)
    /// beside it is an error.
    pub fn dracut(self) -> Self {
        Self { dracut: true, ..self }
    }

    /// Whether it is the one of [`dracut`](Self::dracut).
    pub fn is_of_dracut(self) -> bool {
        self.dracut
    }

    /// Without burnonce.
    pub fn without_package(self) -> Self {
        Self { no_package: true, ..self }
    }

    /// overlayroot is purged, which burnonce's package depends on.
    pub fn without_overlayroot(self) -> Self {
        Self { no_overlayroot: true, ..self }
    }

    /// Another tool makes the initramfs than when burnonce was installed.
    pub fn switched(self, switch: Switch) -> Self {
        Self { switch: Some(switch), ..self }
    }

    /// The initramfs that boots is older than overlayroot (where there is one) and burnonce in the root.
    pub fn stale_initramfs(self) -> Self {
        Self { stale_initramfs: true, ..self }
    }

    /// Makes the image, or finds it in the cache. Progress goes to stderr.
    pub fn make(self) -> Result<Image> {
        let mut command = recipe("image.sh");
        command.env_remove("PKG");
        command.args(["--table", if self.gpt { "gpt" } else { "mbr" }]);
        command.args(["--generator", if self.dracut { "dracut" } else { "initramfs-tools" }]);
        if !self.no_package {
            command.arg("--pkg").arg(package()?);
        }
        if let Some(switch) = self.switch {
            command.args(["--switch", if matches!(switch, Switch::Dracut) { "dracut" } else { "back" }]);
        }
        if self.no_overlayroot {
            command.arg("--without-overlayroot");
        }
        if self.stale_initramfs {
            command.arg("--stale-initramfs");
        }
        made_by(&mut command)
    }
}

impl Image {
    /// The image for a Raspberry Pi, made by `pi.sh` or found in the cache. Neither overlayroot nor burnonce is in it.
    pub fn raspberry_pi() -> Result<Image> {
        made_by(&mut recipe("pi.sh"))
    }

    /// The directory with the packages that `pi.sh` leaves beside the image: overlayroot, and what it needs.
    pub fn debs(&self) -> PathBuf {
        self.path.with_extension("debs")
    }

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

/// One of the scripts that make images.
fn recipe(name: &str) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(name));
    command.env("BURNONCE_CACHE", host::cache());
    command
}

/// Runs it; its one line on stdout is the image's path, and its progress goes to stderr.
fn made_by(recipe: &mut Command) -> Result<Image> {
    let output = recipe
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {recipe:?}"))?;
    ensure!(output.status.success(), "making the image failed ({}): {recipe:?}", output.status);
    Ok(Image { path: PathBuf::from(String::from_utf8(output.stdout)?.trim()) })
}

/// burnonce's package: `BURNONCE_DEB`, or what `make deb` builds.
pub fn package() -> Result<PathBuf> {
    let path = std::env::var_os("BURNONCE_DEB").map_or_else(|| host::target().join("deb/burnonce.deb"), PathBuf::from);
    path.canonicalize().with_context(|| {
        format!("there is no {}: build it with 'make deb', or let BURNONCE_DEB name it", path.display())
    })
}

/// burnonce's package for arm64, as `make deb ARCH=arm64` leaves it: it keeps one version.
pub fn package_for_arm64() -> Result<PathBuf> {
    let directory = host::target().join("deb");
    let entries = std::fs::read_dir(&directory)
        .with_context(|| format!("there is no {}: run 'make deb ARCH=arm64'", directory.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let found = paths.into_iter().find(|path| path.to_string_lossy().ends_with("_arm64.deb"));
    let path = found
        .with_context(|| format!("no package in {} is for arm64: run 'make deb ARCH=arm64'", directory.display()))?;
    Ok(path.canonicalize()?)
}

/// The key that may log in.
pub fn login_key() -> PathBuf {
    host::cache().join("id_ed25519")
}
