#!/bin/bash
# A Debian 12 for arm64 on this machine, each of its programs run by qemu-user:
#
#   tests/arm64.sh prepare                      makes it, if it is not there
#   tests/arm64.sh run DEB DIRECTORY SCRIPT     installs DEB in it, and then runs SCRIPT by sh, with DIRECTORY at /mnt
#
# It is made once (a minute, needs the mirror) and kept in BURNONCE_CACHE (default target/vm-cache). What `run` does to it
# is in memory, and gone afterwards. What the package and SCRIPT print goes to stdout, progress to stderr.
#
# This machine's dpkg unpacks it, for under emulation that takes three times as long; the packages' scripts run emulated.
set -euo pipefail
# What make and cargo hand down: with it, mmdebstrap's own descriptors get two digits, and sh(1) takes one alone (`cat >&11`).
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&-
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

SUITE=bookworm
MIRROR=http://deb.debian.org/debian
# Beside what is essential: apt, and what the package depends on.
PACKAGES=(usr-is-merged apt busybox e2fsprogs initramfs-tools overlayroot)
WITHOUT=('/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*')

say() { printf 'arm64: [%3ds] %s\n' "$SECONDS" "$*" >&2; }
die() { printf 'arm64: %s\n' "$*" >&2 && exit 1; }
digest() { sha256sum | cut -c1-12; }

case "${1:-} $#" in
"prepare 1") ;;
"run 4") ;;
*) die "usage: tests/arm64.sh prepare | run DEB DIRECTORY SCRIPT" ;;
esac
[ "$(id -u)" = 0 ] || die "a chroot needs root: run this with sudo"
for tool in mmdebstrap dpkg flock unshare; do
    command -v "$tool" >/dev/null || die "$tool is not installed: run tests/setup.sh"
done

cache=${BURNONCE_CACHE:-target/vm-cache}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
log=$cache/arm64.log

# Everything that mounts runs in a mount namespace of its own, so that nothing stays mounted; what is half made is removed
# out here, where nothing is mounted on it.
if [ -z "${ARM64_WORK:-}" ]; then
    exec 9>"$cache/arm64.lock"
    flock 9
    work=$(mktemp -d "$cache/work.XXXXXX")
    trap 'rm -rf --one-file-system "$work"' EXIT
    trap 'exit 130' INT TERM
    ARM64_WORK=$work unshare --mount --propagation private "${BASH_SOURCE[0]}" "$@" || exit
    exit 0
fi

work=$ARM64_WORK
# shellcheck source=tests/emulate.sh
. "$(dirname "${BASH_SOURCE[0]}")/emulate.sh"
trap end_emulation EXIT
trap 'exit 130' INT TERM

# mount_system ROOT: what programs expect, beside the root itself.
mount_system() {
    mount -t proc proc "$1/proc"
    mount --bind /dev "$1/dev"
    mount -t tmpfs run "$1/run"
    mount -t tmpfs -o mode=1777 tmp "$1/tmp"
}

make_root() {
    local new=$work/new path
    say "a Debian $SUITE for arm64 from $MIRROR (log in $log)"
    local options=(--force-unsafe-io)
    for path in "${WITHOUT[@]}"; do options+=("--path-exclude=$path"); done
    # shellcheck disable=SC2016  # the hook's own $1
    mmdebstrap --mode=root --variant=extract --format=directory --architectures=arm64 \
        --aptopt='APT::Install-Recommends "false"' \
        "${WITHOUT[@]/#/--dpkgopt=path-exclude=}" \
        --skip=essential/unlink,download/empty,cleanup/apt,cleanup/reproducible \
        --setup-hook='for d in bin sbin lib; do mkdir -p "$1/usr/$d" && ln -s "usr/$d" "$1/$d"; done' \
        --include='?essential' --include="$(IFS=, && echo "${PACKAGES[*]}")" \
        "$SUITE" "$new" "$MIRROR" >"$log" 2>&1 || die "mmdebstrap failed: $(tail -n 5 "$log")"
    mkdir -p "$new/proc" "$new/run"
    printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
    chmod 755 "$new/usr/sbin/policy-rc.d"
    mount_system "$new"
    say "installing it"
    # Each package is there before any is configured, so the order does not matter.
    dpkg --root="$new" --force-architecture --force-depends "${options[@]}" --unpack "$new"/var/cache/apt/archives/*.deb \
        >>"$log" 2>&1 || die "dpkg could not unpack it: $(tail -n 5 "$log")"
    chroot "$new" dpkg --configure --pending >>"$log" 2>&1 ||
        die "in the root, its packages could not be configured: $(tail -n 5 "$log")"
    chroot "$new" dpkg --audit >&2
    umount "$new/proc" "$new/dev" "$new/run" "$new/tmp"
    rm -rf "$new"/var/cache/apt/archives/*.deb "$new"/var/lib/apt/lists/*
    rm -rf --one-file-system "$cache"/arm64-*/
    mv "$new" "$root"
    say "made, $(du -sh "$root" | cut -f1)"
}

# run_in_copy DEB DIRECTORY SCRIPT: what is written goes to memory.
run_in_copy() {
    local copy=$work/copy
    mkdir "$work/memory" "$copy"
    mount -t tmpfs memory "$work/memory"
    mkdir "$work/memory/upper" "$work/memory/work"
    mount -t overlay -o "lowerdir=$root,upperdir=$work/memory/upper,workdir=$work/memory/work" copy "$copy"
    mount_system "$copy"
    mount --bind "$2" "$copy/mnt"
    cp "$1" "$copy/root/package.deb"
    say "installing $(basename "$1")"
    chroot "$copy" dpkg --install /root/package.deb 2>&1 || die "it cannot be installed on Debian $SUITE for arm64"
    say "installed"
    chroot "$copy" sh -euc "$3"
}

root=$cache/arm64-$({ declare -f make_root && echo "$SUITE ${PACKAGES[*]} ${WITHOUT[*]}"; } | digest)
emulate
[ -e "$root" ] || make_root
[ "$1" = prepare ] || run_in_copy "$2" "$3" "$4"
