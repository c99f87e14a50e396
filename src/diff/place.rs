//! Where a path that somebody typed is on the overlay.

use crate::mounts::{Mount, at};
use anyhow::{Context, Result, bail};
use std::path::{Component, Path, PathBuf};

/// `path` without symlinks but for its last name, which may itself be the symlink that changed. What does not exist any more need not
/// exist.
///
/// # Errors
/// It leads through a directory that does not exist.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).with_context(|| format!("looking for {}", path.display()))?;
    let (Some(parent), Some(_)) = (absolute.parent(), absolute.file_name()) else {
        return absolute.canonicalize().with_context(|| format!("looking for {}", path.display()));
    };
    let known = parent.ancestors().find_map(|known| Some((known, known.canonicalize().ok()?)));
    let (known, real) = known.with_context(|| format!("looking for {}", path.display()))?;
    let rest = absolute.strip_prefix(known)?;
    if rest.components().any(|part| !matches!(part, Component::Normal(_))) {
        bail!("{} leads through a directory that does not exist", path.display());
    }
    Ok(real.join(rest))
}

/// Makes sure that `path`, resolved, is on the overlay and not on something that is mounted over it.
///
/// # Errors
/// It is on another mount, which the message names.
pub fn check(path: &Path, mounts: &[Mount]) -> Result<()> {
    let covering = mounts.iter().map(|mount| mount.mount_point.as_str()).filter(|point| path.starts_with(point));
    let innermost = covering.max_by_key(|point| point.len()).and_then(|point| at(mounts, point));
    match innermost {
        Some(mount) if mount.mount_point != "/" => bail!(
            "{} is not on the overlay: {} is a mount of its own ({} from {}), and the image has nothing to compare it with",
            path.display(),
            mount.mount_point,
            mount.fs_type,
            mount.source
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mounts::parse;

    #[test]
    fn a_mount_over_the_overlay_is_named() {
        let mounts = parse(
            "25 1 0:23 / / rw - overlay overlayroot rw\n26 25 179:1 / /boot/firmware rw - vfat /dev/mmcblk0p1 rw\n\
             27 25 0:30 / /run rw - tmpfs tmpfs rw\n",
        );
        for path in ["/", "/etc", "/boot", "/boot/firmware2", "/running"] {
            check(Path::new(path), &mounts).unwrap();
        }
        let error = check(Path::new("/boot/firmware/config.txt"), &mounts).unwrap_err().to_string();
        let expected = "/boot/firmware/config.txt is not on the overlay: /boot/firmware is a mount of its own (vfat from \
                        /dev/mmcblk0p1), and the image has nothing to compare it with";
        assert_eq!(error, expected);
    }

    #[test]
    fn a_path_loses_its_symlinks_but_for_the_last_name() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path().canonicalize().unwrap();
        std::fs::create_dir(at.join("real")).unwrap();
        std::os::unix::fs::symlink("real", at.join("alias")).unwrap();
        for (typed, found) in [
            ("alias/x", "real/x"),
            ("alias", "alias"),
            ("alias/", "alias"),
            ("alias/gone/x", "real/gone/x"),
            ("real/../alias/x", "real/x"),
            ("alias/..", ""),
        ] {
            assert_eq!(resolve(&at.join(typed)).unwrap(), at.join(found), "{typed}");
        }
        assert_eq!(resolve(Path::new("/")).unwrap(), Path::new("/"));
        let error = resolve(&at.join("gone/../x")).unwrap_err().to_string();
        assert!(error.ends_with("leads through a directory that does not exist"), "{error}");
    }
}
