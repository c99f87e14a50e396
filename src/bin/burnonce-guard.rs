//! `burnonce guard` alone, for the initramfs: two fifths of the whole program's size, and as much less to load at every boot.
//!
//! The initramfs has it under the name `burnonce`, and it is called in the same way: `burnonce guard --root DIRECTORY`. And it answers
//! what the initramfs wants to know before root is mounted: `burnonce sealed DEVICE` exits with 0 where the ext4 file system on that
//! device is sealed, with 3 where it is not, and with 1 where it cannot be read.

use burnonce::Exit;
use burnonce::output::tell;
#[cfg(target_os = "linux")]
use burnonce::{filesystem, guard};
#[cfg(target_os = "linux")]
use std::path::Path;

#[cfg(not(target_os = "linux"))]
fn main() -> Exit {
    tell("this is the guard of a node's initramfs, which is Linux; here, `burnonce` bakes and inspects images");
    Exit::Failed
}

#[cfg(target_os = "linux")]
fn main() -> Exit {
    use std::ffi::OsString;
    use std::time::Instant;

    let started = Instant::now();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = match arguments.as_slice() {
        [command, option, lower] if command == "guard" && option == "--root" => {
            guard::run(Path::new("/"), Path::new(lower), started)
        }
        [command, device] if command == "sealed" => sealed(Path::new(device)),
        _ => return usage(),
    };
    done.unwrap_or_else(|error| {
        tell(format_args!("{error:#}"));
        Exit::Failed
    })
}

/// Whether the file system on `device` is sealed. One whose superblock is not sound is not: then its check has something to do.
#[cfg(target_os = "linux")]
fn sealed(device: &Path) -> anyhow::Result<Exit> {
    let found = filesystem::identify(device)?;
    Ok(if found.is_some_and(|found| found.sealed) { Exit::Done } else { Exit::Refused })
}

#[cfg(target_os = "linux")]
fn usage() -> Exit {
    tell("this is the guard alone; usage: burnonce guard --root DIRECTORY, or burnonce sealed DEVICE");
    Exit::Failed
}
