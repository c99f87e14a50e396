//! Links libext2fs and libcom_err statically: a dynamic link would tie the binary to `libext2fs2` or, from Debian 13 on,
//! `libext2fs2t64`, and a package built on one release would not install on the other.

use std::path::{Path, PathBuf};

/// The pkg-config module, its library and the Debian package that has both; a library before those that it uses.
const LIBRARIES: [(&str, &str, &str); 2] =
    [("ext2fs", "ext2fs", "libext2fs-dev"), ("com_err", "com_err", "comerr-dev (libext2fs-dev depends on it)")];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for (module, library, package) in LIBRARIES {
        if let Err(reason) = link(module, library) {
            eprintln!(
                "e2fsprogs-sys: {reason}.\nThe static library lib{library}.a is needed to read and edit file systems: \
                 install it with `apt install {package}`, and pkg-config with `apt install pkg-config`. (macOS: `brew install \
                 e2fsprogs pkgconf`, and set PKG_CONFIG_PATH to `$(brew --prefix e2fsprogs)/lib/pkgconfig`.)"
            );
            std::process::exit(1);
        }
    }
}

/// Tells rustc to link `lib{library}.a`, from the directory that pkg-config names. The pkg-config crate itself refuses to link
/// statically from a system directory, so it is asked for the place only.
fn link(module: &str, library: &str) -> Result<(), String> {
    pkg_config::Config::new()
        .cargo_metadata(false)
        .env_metadata(true)
        .probe(module)
        .map_err(|error| format!("pkg-config does not know `{module}`: {error}"))?;
    let directory = pkg_config::get_variable(module, "libdir")
        .map_err(|error| format!("pkg-config does not say where `{module}` is: {error}"))?;
    let archive: PathBuf = Path::new(&directory).join(format!("lib{library}.a"));
    if !archive.is_file() {
        return Err(format!("{} is not there", archive.display()));
    }
    println!("cargo:rerun-if-changed={}", archive.display());
    println!("cargo:rustc-link-search=native={directory}");
    println!("cargo:rustc-link-lib=static={library}");
    Ok(())
}
