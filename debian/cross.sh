#!/bin/bash
# Builds the package for another architecture, in a Debian 12 of its own:
#
#   debian/cross.sh ARCHITECTURE DIRECTORY
#
# DIRECTORY has source/ (a copy of the tree), vendor/ (its crates) and completions/; the package is made in it, by the
# user whose it is. `make deb ARCH=arm64` prepares all of that. Nothing but the chroot itself needs the network: it is
# made once (a minute), and kept in BURNONCE_CACHE (default target/vm-cache).
#
# Debian 12 and not the newest: a program asks for the C library that it was linked with, or a later one. What is linked
# on Debian 13, libext2fs among it, needs glibc 2.38, and Debian 12 and Ubuntu 22.04 have an older one.
set -euo pipefail
# What make and cargo hand down: with it, mmdebstrap's own descriptors get two digits, and sh(1) takes one alone (`cat >&11`).
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&-
export LC_ALL=C

SUITE=bookworm
MIRROR=http://deb.debian.org/debian

say() { printf 'cross: [%3ds] %s\n' "$SECONDS" "$*" >&2; }
die() { printf 'cross: %s\n' "$*" >&2 && exit 1; }
digest() { sha256sum | cut -c1-12; }

[ $# = 2 ] || die "usage: debian/cross.sh ARCHITECTURE DIRECTORY"
architecture=$1
build=$(cd "$2" && pwd)
case $architecture in
arm64) gnu=aarch64-linux-gnu ;;
armhf) gnu=arm-linux-gnueabihf ;;
*) die "packages are made for arm64 and armhf, and for the architecture of this machine, but not for $architecture" ;;
esac
[ "$(dpkg --print-architecture)" = amd64 ] || die "cross-building is done on amd64: on a machine of another architecture \
use plain 'make deb' for its own packages"
[ "$(id -u)" = 0 ] || die "cross-building needs root (a chroot is made): run it with sudo"
for tool in mmdebstrap flock unshare; do
    command -v "$tool" >/dev/null || die "$tool is not installed: run tests/setup.sh"
done

# Debian 12 has the Rust of Debian 13 beside its own, for web browsers. libext2fs-dev is there for one architecture only.
PACKAGES=(
    usr-is-merged dpkg-dev debhelper pkg-config
    cargo-web rustc-web gcc libc6-dev
    "libstd-rust-web-dev:$architecture" "gcc-$gnu" "libc6-dev:$architecture" "libext2fs-dev:$architecture"
)

cache=${BURNONCE_CACHE:-target/vm-cache}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
root=$cache/cross-$architecture-$(echo "$SUITE ${PACKAGES[*]}" | digest)

# One makes the chroot, the others wait.
exec 9>"$cache/cross-$architecture.lock"
flock 9

work=
cleanup() { [ -z "$work" ] || rm -rf --one-file-system "$work"; }
trap cleanup EXIT
trap 'exit 130' INT TERM

make_root() {
    local log=$cache/cross-$architecture.log
    work=$(mktemp -d "$cache/work.XXXXXX")
    say "a Debian $SUITE that builds for $architecture, from $MIRROR (mmdebstrap, log in $log)"
    mmdebstrap --mode=root --variant=minbase --format=directory --architectures="amd64,$architecture" \
        --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --include="$(IFS=, && echo "${PACKAGES[*]}")" \
        "$SUITE" "$work/root" "$MIRROR" >"$log" 2>&1 ||
        die "mmdebstrap failed: $(tail -n 5 "$log")"
    mkdir "$work/root/build"
    rm -rf --one-file-system "$cache/cross-$architecture"-*/ # of other packages
    mv "$work/root" "$root"
    say "made, $(du -sh "$root" | cut -f1)"
}

[ -e "$root" ] || make_root

mkdir -p "$build/cargo-home"
cat >"$build/cargo-home/config.toml" <<CONFIG
[source.crates-io]
replace-with = "vendored"

[source.vendored]
directory = "/build/vendor"
CONFIG
chown -R --reference="$build" "$build/cargo-home"

# In a mount namespace of its own, so that nothing is left mounted.
say "compiling for $architecture"
# shellcheck disable=SC2016  # expanded by the inner shell
unshare --mount --propagation private sh -euc '
    root=$1 build=$2 owner=$3 architecture=$4
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    mount -t tmpfs -o mode=1777 tmp "$root/tmp"
    mount --bind "$build" "$root/build"
    exec chroot --userspec="$owner" "$root" env -i LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        CARGO_HOME=/build/cargo-home CARGO_NET_OFFLINE=true CARGO_TARGET_DIR=/build/cargo \
        BURNONCE_COMPLETIONS=/build/completions DEB_BUILD_OPTIONS=nocheck \
        sh -c "cd /build/source && exec dpkg-buildpackage --host-arch=$architecture --no-sign --build=binary --no-check-builddeps"
' -- "$root" "$build" "$(stat -c %u:%g "$build")" "$architecture" </dev/null
say "done"
