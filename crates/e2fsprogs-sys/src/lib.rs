//! FFI to libext2fs.
