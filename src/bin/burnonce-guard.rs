//! `burnonce guard` alone, for the initramfs: two fifths of the whole program's size, and as much less to load at every boot.
//!
//! The initramfs has it under the name `burnonce`, and it is called in the same way: `burnonce guard --root DIRECTORY`.

use burnonce::Exit;
use burnonce::output::tell;

#[cfg(not(target_os = "linux"))]
fn main() -> Exit {
    tell("this is the guard of a node's initramfs, which is Linux; here, `burnonce` bakes and inspects images");
    Exit::Failed
}

#[cfg(target_os = "linux")]
fn main() -> Exit {
    use burnonce::guard;
    use std::ffi::OsString;
    use std::path::Path;
    use std::time::Instant;

    let started = Instant::now();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [command, option, lower] = arguments.as_slice() else { return usage() };
    if command != "guard" || option != "--root" {
        return usage();
    }
    guard::run(Path::new("/"), Path::new(lower), started).unwrap_or_else(|error| {
        tell(format_args!("{error:#}"));
        Exit::Failed
    })
}

#[cfg(target_os = "linux")]
fn usage() -> Exit {
    tell("this is the guard alone; usage: burnonce guard --root DIRECTORY");
    Exit::Failed
}
