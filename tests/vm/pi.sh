#!/bin/bash
# Makes an image for a Raspberry Pi 3 that looks like Raspberry Pi OS trixie without cloud-init, of real Debian 13 for arm64:
#
#   MBR, p1 FAT32 "bootfs" at sector 16384 (kernel, initramfs, device tree, command line), p2 ext4 "rootfs" (the root).
#
# The path of the finished image is the one line on stdout; progress goes to stderr. Beside IMAGE.img there is a directory
# IMAGE.debs with overlayroot and what it needs, which the image lacks as Raspberry Pi OS does. Both are made once
# (minutes, needs the mirror), and kept in BURNONCE_CACHE (default target/vm-cache).
#
# Programs of the image, the maintainer scripts among them, are run by qemu-user. Needs root: a chroot and file owners are
# the point of it.
set -euo pipefail
# What make and cargo hand down: with it, mmdebstrap's own descriptors get two digits, and sh(1) takes one alone (`cat >&11`).
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&-
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

SUITE=trixie
MIRROR=http://deb.debian.org/debian
PACKAGES=(
    systemd-sysv udev dbus libpam-systemd kmod procps iproute2 sudo passwd login netbase
    linux-image-arm64 initramfs-tools busybox zstd
    e2fsprogs dosfstools fdisk
    openssh-server
)
# Documentation, and modules that no Raspberry Pi 3 loads: unpacking is emulated, too.
WITHOUT=(
    '/usr/share/doc/*' '/usr/share/man/*' '/usr/share/locale/*'
    '/usr/lib/modules/*/kernel/drivers/gpu/*' '/usr/lib/modules/*/kernel/drivers/media/*'
    '/usr/lib/modules/*/kernel/drivers/infiniband/*' '/usr/lib/modules/*/kernel/drivers/scsi/*'
    '/usr/lib/modules/*/kernel/drivers/net/ethernet/*' '/usr/lib/modules/*/kernel/drivers/net/wireless/*'
    '/usr/lib/modules/*/kernel/sound/*'
)
# pi-gen's, in sectors of 512 bytes.
FAT_START=16384
FAT_SIZE=1048576
SIGNATURE=5a6b7c8d # an arbitrary one: root is named by it
SLACK=200          # MiB that are free in the root

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'pi: [%3ds] %s\n' "$SECONDS" "$*" >&2; }
die() { printf 'pi: %s\n' "$*" >&2 && exit 1; }
digest() { sha256sum | cut -c1-12; }

[ $# = 0 ] || die "usage: pi.sh"
[ "$(id -u)" = 0 ] || die "making an image needs root (chroot, file owners): run it with sudo"
for tool in mmdebstrap mke2fs mkfs.vfat mcopy sfdisk ssh-keygen flock unshare; do
    command -v "$tool" >/dev/null || die "$tool is not installed: run tests/setup.sh"
done

cache=${BURNONCE_CACHE:-target/vm-cache}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
log=$cache/pi.log

# Everything that mounts runs in a mount namespace of its own, so that nothing stays mounted; what is half made is removed
# out here, where nothing is mounted on it.
if [ -z "${PI_WORK:-}" ]; then
    exec 9>"$cache/pi.lock"
    flock 9
    work=$(mktemp -d "$cache/work.XXXXXX")
    trap 'rm -rf --one-file-system "$work"' EXIT
    trap 'exit 130' INT TERM
    PI_WORK=$work unshare --mount --propagation private "${BASH_SOURCE[0]}" || exit
    exit 0
fi

work=$PI_WORK
# shellcheck source=tests/emulate.sh
. "$here/../emulate.sh"
trap end_emulation EXIT
trap 'exit 130' INT TERM

# make_root: Debian's packages, and in debs/ those that a baked image gets. pi-root.sh makes of it what is burned.
make_root() {
    say "a Debian $SUITE for arm64 from $MIRROR (mmdebstrap, log in $log)"
    mmdebstrap --mode=root --variant=minbase --format=directory --architectures=arm64 --skip=check/qemu \
        --aptopt='APT::Install-Recommends "false"' \
        --dpkgopt=force-unsafe-io \
        "${WITHOUT[@]/#/--dpkgopt=path-exclude=}" \
        --include="$(IFS=, && echo "${PACKAGES[*]}")" \
        --essential-hook="'$here/pi-root.sh' prepare \"\$1\" $SIGNATURE" \
        --customize-hook="'$here/pi-root.sh' overlayroot \"\$1\" $SIGNATURE" \
        --customize-hook="'$here/pi-root.sh' personalise \"\$1\" $SIGNATURE" \
        "$SUITE" "$work/root" "$MIRROR" >"$log" 2>&1 ||
        die "mmdebstrap failed: $(tail -n 5 "$log")"
    rm "$work/root/etc/dpkg/dpkg.cfg.d/99mmdebstrap" # the node's own dpkg leaves nothing out
    mv "$work/root/debs" "$work/debs"
    say "root: $(du -sh "$work/root" | cut -f1)"
}

# make_fat OUT: the boot partition, with what was put into /boot/firmware.
make_fat() {
    mv "$work/root/boot/firmware" "$work/firmware"
    mkdir "$work/root/boot/firmware"
    truncate -s $((FAT_SIZE * 512)) "$1"
    mkfs.vfat -F 32 -n bootfs -i "$SIGNATURE" -h $FAT_START "$1" >/dev/null
    mcopy -i "$1" -s "$work"/firmware/* ::
}

# make_ext4 OUT: the root partition. What the kernel would write lazily is written here, so that a later change is one.
make_ext4() {
    local content
    content=$(du -s -B 1M "$work/root" | cut -f1)
    truncate -s "$(((content * 12 / 10 + SLACK + 3) / 4 * 4))M" "$1"
    mke2fs -q -t ext4 -L rootfs -O ^orphan_file,^metadata_csum_seed -E lazy_itable_init=0,lazy_journal_init=0 \
        -d "$work/root" "$1"
}

# make_image OUT: OUT appears when it is complete, not before.
make_image() {
    local start=$((FAT_START + FAT_SIZE)) size
    make_root
    make_fat "$work/fat"
    make_ext4 "$work/ext4"
    size=$(($(stat -c %s "$work/ext4") / 512))
    truncate -s $(((start + size) * 512)) "$work/image"
    sfdisk --quiet --no-tell-kernel "$work/image" <<TABLE
label: dos
label-id: 0x$SIGNATURE
start=$FAT_START, size=$FAT_SIZE, type=c
start=$start, size=$size, type=83
TABLE
    dd if="$work/fat" of="$work/image" bs=1M seek=$((FAT_START / 2048)) conv=notrunc,sparse status=none
    dd if="$work/ext4" of="$work/image" bs=1M seek=$((start / 2048)) conv=notrunc,sparse status=none
    rm -rf "$cache"/pi-*.img "$cache"/pi-*.debs # those of another recipe
    mv "$work/debs" "${1%.img}.debs"
    mv "$work/image" "$1"
    say "image: $1, $(($(stat -c %s "$1") >> 20)) MiB, $(du -sh "$1" | cut -f1) of them used"
}

# The same key as that of image.sh.
key=$cache/id_ed25519
[ -e "$key" ] || ssh-keygen -q -t ed25519 -N '' -C burnonce-vm -f "$key"

image=$cache/pi-$(cat "${BASH_SOURCE[0]}" "$here/pi-root.sh" | digest).img
if [ ! -e "$image" ]; then
    emulate
    make_image "$image"
fi
echo "$image"
