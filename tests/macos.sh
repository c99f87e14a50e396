#!/bin/bash
# Checks that what bakes and inspects images compiles for macOS, with clippy's eyes: types and names, with Rust's own library for that
# system. Nothing is linked or run, so that it needs no Mac: the C in it (zstd, liblzma) is not compiled but stood in for, and in place of
# the Mac's libext2fs the one of this machine is found.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-apple-darwin
clippy=(cargo clippy)
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    # Debian packages no library for macOS, but its source. To compile that is open to a nightly compiler, or to one that is told to be:
    # what comes out is looked at here, not used. By their paths, for other toolchains may come first on the PATH.
    source=/usr/lib/rustlib/src/rust/library
    if [ ! -f "$source/Cargo.lock" ] || [ ! -x /usr/bin/cargo-clippy ]; then
        echo "$0: this toolchain has no library for $target. Either install it (rustup target add $target)," \
            "or Debian's toolchain with the library's source (tests/setup.sh --macos)" >&2
        exit 1
    fi
    export RUSTC=/usr/bin/rustc CARGO=/usr/bin/cargo RUSTC_BOOTSTRAP=1
    clippy=(/usr/bin/cargo-clippy clippy '-Zbuild-std=std,panic_abort')
fi

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
# cc -o OBJECT ...
cat >"$tools/cc" <<'CC'
#!/bin/bash
while [ $# -gt 0 ]; do
    if [ "$1" = -o ]; then : >"$2"; fi
    shift
done
CC
# ar OPERATION ARCHIVE OBJECT...
cat >"$tools/ar" <<'AR'
#!/bin/bash
: >>"$2"
AR
chmod +x "$tools/cc" "$tools/ar"

export CC_aarch64_apple_darwin=$tools/cc AR_aarch64_apple_darwin=$tools/ar
# One that is set would stand in for the path of a Mac's headers; without any, cc asks Xcode.
export SDKROOT=/ PKG_CONFIG_ALLOW_CROSS=1
export CARGO_TARGET_DIR=target/macos CARGO_PROFILE_DEV_DEBUG=0
"${clippy[@]}" --locked --package burnonce --lib --bins --target "$target" "$@" -- -D warnings
