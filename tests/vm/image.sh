#!/bin/bash
# Makes a card image that looks like a stock Raspberry Pi image, of real Debian for the emulated machine (amd64). It is Debian 13, whose
# initramfs initramfs-tools makes, or Debian forky, with one of dracut:
#
#   MBR, p1 FAT32 "system-boot" (kernel, initramfs, command line, cloud-init's seed), p2 ext4 "writable" (the root).
#
# The path of the finished image is the one line on stdout; progress goes to stderr. Two stages, both cached:
#
#   base-HASH.tar    the root as the distribution's packages make it (a minute, needs the mirror)
#   image-HASH.img   the base, optionally burnonce's .deb installed into it, put into partitions (half a minute)
#
# Needs root: a chroot and file owners are the point of it.
set -euo pipefail
# What make and cargo hand down: with it, mmdebstrap's own descriptors get two digits, and sh(1) takes one alone (`cat >&11`).
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&-
export LC_ALL=C

usage() {
    cat <<USAGE
usage: image.sh [option]...

  --pkg DEB              install this package into the root (or PKG=DEB in the environment)
  --table mbr|gpt        kind of partition table (default mbr)
  --generator initramfs-tools|dracut
                         what makes the initramfs (default initramfs-tools); with dracut there is no overlayroot
  --switch dracut|back   an administrator has changed from initramfs-tools to dracut, or to dracut and back, after the package came
  --without-overlayroot  purge overlayroot before the package goes in
  --stale-initramfs      what boots is an initramfs made before overlayroot and the package were installed
  --base                 make the base alone, and print its path

BURNONCE_CACHE names the cache directory (default target/vm-cache).
USAGE
}

MIRROR=http://deb.debian.org/debian
PACKAGES=(
    systemd-sysv udev dbus libpam-systemd kmod procps iproute2 sudo passwd login netbase
    linux-image-cloud-amd64 busybox zstd
    e2fsprogs dosfstools fdisk cloud-guest-utils
    cloud-init openssh-server
)
DISK_SIGNATURE=0x5e11ca4d # an arbitrary one: the scenarios check that it survives
MIB=$((1024 * 1024))
FAT_START=1    # MiB, so sector 2048
FAT_SIZE=256   # MiB
ROOT_SLACK=200 # MiB that are free in the root
FAT_UUID=5E11CA4D

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BURNONCE_CACHE:-target/vm-cache}
pkg=${PKG:-}
table=mbr
generator=initramfs-tools
overlayroot=installed # or purged, or none: there never was one
stale=no
switch=none
only_base=no

while [ $# -gt 0 ]; do
    case $1 in
    --pkg) pkg=${2:?--pkg needs a file} && shift ;;
    --table) table=${2:?--table needs mbr or gpt} && shift ;;
    --generator) generator=${2:?--generator needs initramfs-tools or dracut} && shift ;;
    --switch) switch=${2:?--switch needs dracut or back} && shift ;;
    --without-overlayroot) overlayroot=purged ;;
    --stale-initramfs) stale=yes ;;
    --base) only_base=yes ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done

# say WORDS...: a progress line with the seconds since the start.
say() { printf 'image: [%3ds] %s\n' "$SECONDS" "$*" >&2; }
die() { printf 'image: %s\n' "$*" >&2 && exit 1; }
# occupied PATH: what it takes on the disk, for progress lines.
occupied() { du -sh "$1" | cut -f1; }
# digest: twelve digits that name the text on stdin.
digest() { sha256sum | cut -c1-12; }

[ "$(id -u)" = 0 ] || die "making an image needs root (chroot, file owners): run it with sudo"
case $table in mbr | gpt) ;; *) die "--table $table: it is mbr or gpt" ;; esac
case $generator in
initramfs-tools)
    suite=trixie
    last_steps=(overlayroot anonymise)
    ;;
dracut)
    [ "$overlayroot" = installed ] ||
        die "--without-overlayroot: with dracut there is no overlayroot, whose package depends on initramfs-tools"
    overlayroot=none
    suite=forky
    last_steps=(anonymise)
    ;;
*) die "--generator $generator: it is initramfs-tools or dracut" ;;
esac
case $switch in
none) ;;
dracut | back)
    [ "$generator $overlayroot" = "initramfs-tools installed" ] || die "--switch begins with initramfs-tools and overlayroot"
    suite=forky # Debian 13's dracut has no update-initramfs
    ;;
*) die "--switch $switch: it is dracut or back" ;;
esac
PACKAGES+=("$generator")
[ -z "$pkg" ] || [ -r "$pkg" ] || die "the package $pkg cannot be read: build it with 'make deb'"
for tool in mmdebstrap mke2fs mkfs.vfat mcopy sfdisk sgdisk ssh-keygen flock unshare; do
    command -v "$tool" >/dev/null || die "$tool is not installed: run tests/setup.sh"
done

mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

# Scenarios run side by side and may want the same image: one makes it, the others wait.
exec 9>"$cache/lock"
flock 9

work=
cleanup() { [ -z "$work" ] || rm -rf --one-file-system "$work"; }
trap cleanup EXIT
trap 'exit 130' INT TERM
work=$(mktemp -d "$cache/work.XXXXXX")

# The harness logs in with this key.
key=$cache/id_ed25519
[ -e "$key" ] || ssh-keygen -q -t ed25519 -N '' -C burnonce-vm -f "$key"

# ------------------------------------------------------------------------------------------------- stage 1: the base

base_inputs() { cat "$here/root.sh" && echo "$suite ${PACKAGES[*]}"; }

# make_base OUT: Debian's packages, with no documentation, as a tar.
make_base() {
    local log=$cache/mmdebstrap.log step valid_until hooks=()
    for step in prepare "$generator"; do hooks+=(--essential-hook="'$here/root.sh' $step \"\$1\""); done
    for step in plain "${last_steps[@]}"; do hooks+=(--customize-hook="'$here/root.sh' $step \"\$1\""); done
    # forky's index says how long it is valid, trixie's does not. Where a mirror lags behind, this machine's apt was told not to look.
    valid_until=$(apt-config dump --format '%v' Acquire::Check-Valid-Until)
    say "base: Debian $suite from $MIRROR (mmdebstrap, log in $log)"
    mmdebstrap --mode=root --variant=minbase --format=tar \
        --aptopt='APT::Install-Recommends "false"' \
        --aptopt="Acquire::Check-Valid-Until \"${valid_until:-true}\"" \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --include="$(IFS=, && echo "${PACKAGES[*]}")" \
        "${hooks[@]}" \
        "$suite" "$work/base.tar" "$MIRROR" >"$log" 2>&1 ||
        die "mmdebstrap failed: $(tail -n 5 "$log")"
    mv "$work/base.tar" "$1"
    say "base: $(occupied "$1")"
}

# ------------------------------------------------------------------------------------------------ stage 2: the image

# in_root COMMAND...: in the root, with /proc, in a mount namespace of its own so that nothing is left mounted.
in_root() {
    # shellcheck disable=SC2016  # expanded by the inner shell
    unshare --mount sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$work/root" "$@" \
        >>"$work/chroot.log" 2>&1 ||
        die "in the root, '$*' failed: $(tail -n 20 "$work/chroot.log")"
}

# unpack_root BASE: the base, and in the boot directory what the package's postinst may then replace.
unpack_root() {
    local version
    mkdir "$work/root"
    tar -C "$work/root" --numeric-owner --xattrs --xattrs-include='*' -xpf "$1"
    mv "$work/root/testbed" "$work/testbed"
    version=$(basename "$work"/root/lib/modules/*)
    cp "$work/root/boot/vmlinuz-$version" "$work/root/boot/firmware/vmlinuz"
    cp "$work/root/boot/initrd.img-$version" "$work/root/boot/firmware/initrd.img"
    say "root: unpacked, $(occupied "$work/root"), kernel $version"
}

# install_package: as on a node, but no service starts.
install_package() {
    printf '#!/bin/sh\nexit 101\n' >"$work/root/usr/sbin/policy-rc.d"
    chmod 755 "$work/root/usr/sbin/policy-rc.d"
    if [ "$overlayroot" = purged ]; then
        in_root dpkg --purge overlayroot
        say "root: overlayroot purged"
    fi
    stat -c %s "$work"/root/boot/initrd.img-* >"$work/initramfs"
    if [ -n "$pkg" ]; then
        cp "$pkg" "$work/root/package.deb"
        if [ "$overlayroot" = purged ]; then
            in_root dpkg --force-depends --install /package.deb
        else
            in_root dpkg --install /package.deb
        fi
        say "root: $(basename "$pkg") installed"
    fi
    switch_tools
    rm -f "$work/root/package.deb"
    rm "$work/root/usr/sbin/policy-rc.d"
    stat -c %s "$work"/root/boot/initrd.img-* >>"$work/initramfs"
    find "$work/root/var/log" -type f -delete
    if [ "$stale" = yes ]; then
        cp "$work/testbed/initrd.plain" "$(echo "$work"/root/boot/initrd.img-*)"
        cp "$work/testbed/initrd.plain" "$work/root/boot/firmware/initrd.img"
        say "root: the initramfs is the one from before overlayroot and the package"
    fi
}

# switch_tools: by apt, as an administrator does, and with whatever goes with it.
switch_tools() {
    [ "$switch" != none ] || return 0
    mv "$work/testbed/tools" "$work/root/tools"
    "$here/root.sh" dracut "$work/root"
    in_root sh -c 'apt-get --yes install /tools/dracut_*.deb /tools/dracut-core_*.deb'
    if [ "$switch" = back ]; then
        in_root sh -c 'apt-get --yes install /tools/initramfs-tools_*.deb /tools/overlayroot_*.deb'
    fi
    rm -r "$work/root/tools"
    # And what is there of burnonce is upgraded after that.
    [ -z "$pkg" ] || in_root dpkg --install /package.deb
    say "root: the tool is $(cd "$work/root/usr/sbin" && echo mkinitramfs*) $(cd "$work/root/usr/bin" && echo dracut*)"
}

# seed: cloud-init's files, as the owner of the card would put them there.
seed() {
    cat >"$work/firmware/user-data" <<SEED
#cloud-config
hostname: node
ssh_genkeytypes: [ed25519]
users:
  - name: node
    shell: /bin/bash
    sudo: ALL=(ALL) NOPASSWD:ALL
    lock_passwd: false
    plain_text_passwd: node
    ssh_authorized_keys:
      - $(cat "$key.pub")
runcmd:
  - mkdir -p /var/lib/demo
  - echo "cloud-init ran" >>/var/lib/demo/ran
SEED
    printf 'instance-id: burned-1\n' >"$work/firmware/meta-data"
    cat >"$work/firmware/network-config" <<SEED
version: 2
ethernets:
  eth0:
    dhcp4: true
SEED
}

# make_fat OUT: the boot partition, with what was put into /boot/firmware.
make_fat() {
    mv "$work/root/boot/firmware" "$work/firmware"
    mkdir "$work/root/boot/firmware"
    echo 'console=tty1 console=ttyS0,115200 root=LABEL=writable rootfstype=ext4 rootwait fixrtc' \
        >"$work/firmware/cmdline.txt"
    seed
    truncate -s "${FAT_SIZE}M" "$1"
    mkfs.vfat -F 32 -n system-boot -i "$FAT_UUID" -h $((FAT_START * 2048)) "$1" >/dev/null 2>&1
    mcopy -i "$1" -s "$work"/firmware/* ::
}

# make_ext4 OUT: the root partition. Its inode tables and journal are written here, so that a later change is a change
# and not the kernel's lazy initialisation; the features are those that an e2fsck of Ubuntu 22.04 knows.
make_ext4() {
    local content
    content=$(du -s -B "$MIB" "$work/root" | cut -f1)
    truncate -s "$(((content * 11 / 10 + ROOT_SLACK + 64 + 3) / 4 * 4))M" "$1"
    mke2fs -q -t ext4 -L writable -O ^orphan_file,^metadata_csum_seed -E lazy_itable_init=0,lazy_journal_init=0 \
        -d "$work/root" "$1"
}

# write_table IMAGE ROOT_SIZE: sizes in MiB. GPT needs room for its second header behind the root.
write_table() {
    local root_start=$((FAT_START + FAT_SIZE))
    truncate -s "$((root_start + $2))M" "$1"
    if [ "$table" = gpt ]; then
        truncate -s +1M "$1"
        sgdisk --set-alignment=2048 \
            --new="1:${FAT_START}M:+${FAT_SIZE}M" --typecode=1:0700 --change-name=1:system-boot \
            --new="2:${root_start}M:+$2M" --typecode=2:8300 --change-name=2:writable "$1" >/dev/null
    else
        sfdisk --quiet --no-tell-kernel "$1" <<TABLE
label: dos
label-id: $DISK_SIGNATURE
start=${FAT_START}MiB, size=${FAT_SIZE}MiB, type=c
start=${root_start}MiB, size=${2}MiB, type=83
TABLE
    fi
}

# make_image BASE OUT: everything of stage 2. OUT appears when it is complete, not before.
make_image() {
    unpack_root "$1"
    install_package
    make_fat "$work/fat"
    make_ext4 "$work/ext4"
    write_table "$work/image" $(($(stat -c %s "$work/ext4") / MIB))
    dd if="$work/fat" of="$work/image" bs=1M seek=$FAT_START conv=notrunc,sparse status=none
    dd if="$work/ext4" of="$work/image" bs=1M seek=$((FAT_START + FAT_SIZE)) conv=notrunc,sparse status=none
    mv "$work/initramfs" "${2%.img}.initramfs"
    [ "$overlayroot" = none ] || mv "$work/testbed/overlayroot.deb" "${2%.img}.overlayroot.deb"
    mv "$work/image" "$2"
    say "image: $2, $(($(stat -c %s "$2") / MIB)) MiB, $(occupied "$2") of them used"
}

# An image whose package or recipe has changed is not wanted any more: keep the newest few.
drop_old_images() {
    local old
    find "$cache" -maxdepth 1 -name 'image-*.img' -printf '%T@ %p\n' | sort -rn | tail -n +13 | cut -d' ' -f2- |
        while read -r old; do rm -f "$old" "${old%.img}".{initramfs,overlayroot.deb}; done
}

base=$cache/base-$(base_inputs | digest).tar
if [ "$only_base" = yes ]; then
    [ -e "$base" ] || make_base "$base"
    echo "$base"
    exit 0
fi
variant=$({
    cat "${BASH_SOURCE[0]}" "$key.pub"
    base_inputs
    [ -z "$pkg" ] || sha256sum <"$pkg"
    echo "$table $generator $overlayroot $stale $switch"
} | digest)
image=$cache/image-$variant.img
if [ ! -e "$image" ]; then
    [ -e "$base" ] || make_base "$base"
    make_image "$base" "$image"
    drop_old_images
fi
touch "$image"
echo "$image"
