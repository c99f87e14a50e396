//! What the initramfs needs of burnonce: two fifths of the whole program's size, and as much less to load at every boot.
//!
//! The initramfs has it under the name `burnonce`. Before root is mounted it is called as `burnonce leave-unchecked DEVICE` (see
//! [`burnonce::guard::unchecked`]), afterwards as the whole program would be: `burnonce guard --root DIRECTORY`.

use burnonce::Exit;
use burnonce::output::tell;

#[cfg(not(target_os = "linux"))]
fn main() -> Exit {
    tell("this is for a node's initramfs, which is Linux; here, `burnonce` bakes and inspects images");
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
    let done = match arguments.as_slice() {
        [command, option, lower] if command == "guard" && option == "--root" => {
            guard::run(Path::new("/"), Path::new(lower), started)
        }
        [command, device] if command == "leave-unchecked" => guard::unchecked(Path::new("/"), Path::new(device)),
        _ => return usage(),
    };
    done.unwrap_or_else(|error| {
        tell(format_args!("{error:#}"));
        Exit::Failed
    })
}

#[cfg(target_os = "linux")]
fn usage() -> Exit {
    tell("this is for an initramfs; usage: burnonce guard --root DIRECTORY, or burnonce leave-unchecked DEVICE");
    Exit::Failed
}
