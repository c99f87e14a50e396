//! A disk that has become full while the copy of an image was edited, told from an image that is damaged. Pure.

use crate::filesystem::ext2::Failed;
use std::io::{self, ErrorKind};

/// What a program of e2fsprogs says in the end, which has no code for it; its locale is C.
const SAID: &str = "No space left on device";

/// The error of the system in this one that says that there is no room: the file system of the output is full, its owner's quota is used
/// up, or files may not be so long there. `None` where it is another.
pub fn error(error: &anyhow::Error) -> Option<io::Error> {
    let found = error.chain().find_map(|cause| {
        let code = match cause.downcast_ref::<io::Error>() {
            Some(error) => error.raw_os_error().map(io::Error::from_raw_os_error),
            None => cause.downcast_ref::<Failed>().and_then(Failed::of_system),
        };
        code.filter(|error| {
            matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
        })
    });
    let said = || error.chain().any(|cause| cause.to_string().contains(SAID));
    found.or_else(|| said().then(|| io::Error::from_raw_os_error(nix::libc::ENOSPC)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context, anyhow};

    #[test]
    fn a_full_disk_is_found_in_what_came_of_it() {
        let of = |code| anyhow::Error::from(io::Error::from_raw_os_error(code)).context("writing");
        let kind = |found: anyhow::Error| error(&found.context("editing")).map(|error| error.kind());
        assert_eq!(kind(of(nix::libc::ENOSPC)), Some(ErrorKind::StorageFull));
        assert_eq!(kind(of(nix::libc::EDQUOT)), Some(ErrorKind::QuotaExceeded));
        assert_eq!(kind(of(nix::libc::EFBIG)), Some(ErrorKind::FileTooLarge));
        assert_eq!(kind(of(nix::libc::EIO)), None);
        let said = anyhow!("`resize2fs` failed: No space left on device while trying to resize");
        assert_eq!(kind(said), Some(ErrorKind::StorageFull));
        // That of the file system in the image is another matter.
        assert_eq!(kind(anyhow!("there is no room: 5 KiB are needed")), None);
        let library = std::fs::read("/no such file").context("no image").unwrap_err();
        assert_eq!(kind(library), None);
    }
}
