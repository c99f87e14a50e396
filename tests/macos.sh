#!/bin/bash
# Checks that what bakes and inspects images compiles for macOS, with clippy's eyes: types and names, with Rust's own library for that
# system. Nothing is linked or run, so that it needs no Mac: the C in it (zstd, liblzma) is not compiled but stood in for, and in place of
# the Mac's libext2fs the one of this machine is found.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-apple-darwin
sysroot=$(rustc --print sysroot)
if [ ! -d "$sysroot/lib/rustlib/$target/lib" ]; then
    command -v rustup >/dev/null || {
        echo "$0: this toolchain has no library for $target, and only rustup installs one (https://rustup.rs)" >&2
        exit 1
    }
    rustup target add "$target"
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
cargo clippy --locked --package burnonce --lib --bins --target "$target" "$@" -- -D warnings
