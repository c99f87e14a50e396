//! What libext2fs fails with.

use anyhow::Result;
use e2fsprogs_sys as sys;
use std::ffi::{CStr, c_long};
use std::{fmt, io};

/// A file system has a feature that this libext2fs does not know.
#[derive(Debug)]
pub(crate) struct UnknownFeature;

impl fmt::Display for UnknownFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it has a feature that libext2fs does not know")
    }
}

impl std::error::Error for UnknownFeature {}

/// What libext2fs failed with: its code, or an error of the system.
#[derive(Debug)]
pub(crate) struct Failed(c_long);

impl Failed {
    /// The error of the system that it is, where it is one: the library's own codes are beyond those. A block that was written in part is
    /// counted as one that found no room: of a file that is what it means (`lib/ext2fs/unix_io.c`).
    pub(crate) fn of_system(&self) -> Option<io::Error> {
        let code = if self.0 == sys::EXT2_ET_SHORT_WRITE { nix::libc::ENOSPC } else { i32::try_from(self.0).ok()? };
        (1..1 << 12).contains(&code).then(|| io::Error::from_raw_os_error(code))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: the text is a static or thread-unrelated C string that outlives this line; it is copied at once.
        let text = unsafe { CStr::from_ptr(sys::error_message(self.0)) };
        f.write_str(&text.to_string_lossy())
    }
}

impl std::error::Error for Failed {}

/// A code of libext2fs as a result.
pub(super) fn check(code: c_long) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    Err(Failed(code).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_is_told_from_the_library_s_own() {
        let of_system = |code| Failed(code).of_system().map(|error| error.kind());
        assert_eq!(of_system(nix::libc::ENOSPC.into()), Some(io::ErrorKind::StorageFull));
        assert_eq!(of_system(nix::libc::EFBIG.into()), Some(io::ErrorKind::FileTooLarge));
        assert_eq!(of_system(sys::EXT2_ET_SHORT_WRITE), Some(io::ErrorKind::StorageFull));
        assert_eq!(of_system(sys::EXT2_ET_DIR_NO_SPACE), None);
        let text = check(nix::libc::ENOSPC.into()).unwrap_err().to_string();
        assert!(text.contains("No space left"), "{text}");
    }
}
