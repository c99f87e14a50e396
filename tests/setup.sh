#!/bin/bash
# Installs from Debian 12 or 13 what building, testing and the demo need, and the packages that are named besides; with --macos,
# before these, also what `make check-macos` compiles with. Where everything is there it does nothing, at once. Run it as root,
# or as a user who may use sudo.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
export PATH=$PATH:/usr/sbin:/sbin

OLDEST_CARGO=85 # the minor version: 1.85

PACKAGES=(
    # building, and the package
    gcc libc6-dev make pkg-config libext2fs-dev e2fsprogs ca-certificates git
    debhelper dpkg-dev fakeroot lintian man-db shellcheck
    # disks and images
    fdisk gdisk dosfstools mtools util-linux mount xz-utils zstd busybox-static
    mmdebstrap debian-archive-keyring
    # system calls that fail, and what commands take
    strace binutils time
    # the package for arm64
    qemu-user-static
    # emulated nodes
    openssh-client
)
EMULATOR=(qemu-system-x86 qemu-system-arm qemu-utils)

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*" && exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null || die "'$1' needs root, and there is no sudo: run this as root"
        sudo env DEBIAN_FRONTEND=noninteractive LC_ALL=C ${http_proxy:+"http_proxy=$http_proxy"} \
            ${https_proxy:+"https_proxy=$https_proxy"} "$@"
    fi
}

# missing PACKAGE...: those that are not installed. busybox does as well as busybox-static.
missing() {
    local installed package
    # It fails where it has not heard of one of them; what it knows it prints all the same.
    installed=$(dpkg-query --show --showformat '${Package} ${db:Status-Status}\n' "$@" busybox 2>/dev/null |
        sed -n 's/ installed$//p') || true
    for package in "$@"; do
        grep -qx "$package" <<<"$installed" ||
            { [ "$package" = busybox-static ] && grep -qx busybox <<<"$installed"; } ||
            echo "$package"
    done
}

# The packages' lists are fetched once, and only where something is missing.
updated=no
update() {
    [ "$updated" = no ] || return 0
    say "fetching the package lists"
    as_root apt-get update -q >/dev/null || die "apt-get update failed: check the network and /etc/apt"
    updated=yes
}

# install OPTION... PACKAGE...
install() {
    local log
    update
    say "installing $*"
    log=$(mktemp)
    as_root apt-get install -y -q --no-install-recommends "$@" >"$log" 2>&1 ||
        die "apt-get could not install $*: $(tail -n 5 "$log")"
    rm "$log"
}

# A cargo that is new enough, from wherever it came.
cargo_will_do() {
    local version
    version=$(PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin cargo --version 2>/dev/null) || return 1
    version=${version#cargo 1.}
    [ "${version%%.*}" -ge "$OLDEST_CARGO" ]
}

# Debian 12 has a newer toolchain beside its own, for web browsers; it brings programs of the usual names.
toolchain() {
    if [ "$release" = 12 ]; then
        echo cargo-web rustc-web rustfmt-web rust-web-clippy
    else
        echo cargo rustc rustfmt rust-clippy
    fi
}

# `make check-macos` compiles Rust's own library for macOS from its source, unless the toolchain brings it.
library_for_macos() {
    [ -d "$(PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin rustc --print sysroot 2>/dev/null)/lib/rustlib/aarch64-apple-darwin" ]
}

source_of_library() {
    if [ "$release" = 12 ]; then
        echo rust-web-src
    else
        echo rust-src
    fi
}

# On Debian 12, qemu-utils of the backports excludes the emulator of the release, so both come from there.
backports() {
    local file=/etc/apt/sources.list.d/bookworm-backports.sources
    if ! apt-cache policy | grep -q 'n=bookworm-backports'; then
        update # the suite may be configured, and its list not fetched yet
    fi
    if ! apt-cache policy | grep -q 'n=bookworm-backports'; then
        say "enabling bookworm-backports ($file)"
        as_root tee "$file" >/dev/null <<SOURCES
Types: deb
URIs: http://deb.debian.org/debian
Suites: bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
        updated=no
        update
    fi
}

# shellcheck source=/dev/null
release=$(. /etc/os-release && [ "${ID:-}" = debian ] && echo "${VERSION_ID%%.*}") || release=
case $release in
12 | 13) ;;
*) die "this is neither Debian 12 nor 13: install by hand what $0 names" ;;
esac

macos=no
if [ "${1:-}" = --macos ]; then
    macos=yes
    shift
fi

mapfile -t wanted < <(missing "${PACKAGES[@]}" "$@")
read -ra tools <<<"$(toolchain)"
if [ "$macos" = yes ] && ! library_for_macos; then
    mapfile -t -O ${#wanted[@]} wanted < <(missing "${tools[@]}" "$(source_of_library)")
elif ! cargo_will_do; then
    wanted+=("${tools[@]}")
fi
[ ${#wanted[@]} = 0 ] || install "${wanted[@]}"
cargo_will_do || die "no cargo of 1.$OLDEST_CARGO or later on the PATH, although one was installed: look at 'cargo --version'"

mapfile -t wanted < <(missing "${EMULATOR[@]}")
if [ ${#wanted[@]} != 0 ]; then
    if [ "$release" = 12 ]; then
        backports
        install --target-release bookworm-backports "${EMULATOR[@]}"
    else
        install "${EMULATOR[@]}"
    fi
fi
