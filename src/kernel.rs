//! Kernels on the boot partition and their modules in the image: a reset must not leave one without the other.

use anyhow::{Result, bail};
use std::path::Path;

/// Whether the tree at `root` has the modules of kernel `version` (`/lib/modules/VERSION`).
pub fn has_modules(root: &Path, version: &str) -> bool {
    root.join("lib/modules").join(version).is_dir()
}

/// Makes sure that the image at `lower` has the modules of the kernel that boots next from the boot partition at `boot`, where the
/// version now running is `running`.
///
/// # Errors
/// It lacks them; the message is a sentence with both versions and the way out.
pub fn check_next(boot: &Path, lower: &Path, running: &str) -> Result<()> {
    bail!("{} {} {running}: not there yet", boot.display(), lower.display())
}
