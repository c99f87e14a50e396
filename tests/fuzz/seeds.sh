#!/bin/bash
# Makes the first seeds of the corpus: tables by sfdisk and sgdisk, file systems by mke2fs, text from the project's own files.
# What a fuzzer found beyond them was added by tests/fuzz/run.sh (see CONTRIBUTING.md); this need not be run again.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
cd "$(dirname "$0")/../.."
corpus=tests/fuzz/corpus
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

cargo build --quiet --locked --package burnonce-fuzz --bin seed
seed=${CARGO_TARGET_DIR:-target}/debug/seed

# seed_of TARGET NAME: of the image $work/image.
seed_of() {
    mkdir -p "$corpus/$1"
    "$seed" "$1" "$work/image" >"$corpus/$1/$2"
}

# image SIZE: an empty one.
image() {
    rm -f "$work/image"
    truncate --size "$1" "$work/image"
}

image 8G
printf 'label: dos\nlabel-id: 0x1a2b3c4d\n1M,256M,c,*\n257M,3G,83\n' | sfdisk --quiet "$work/image"
seed_of table mbr
seed_of publish mbr
image 64M
printf 'label: dos\n1M,8M,c\n9M,16M,83\n25M,8M,82\n33M,8M,5\n' | sfdisk --quiet --no-tell-kernel "$work/image"
seed_of table mbr-extended
image 64M
mkfs.vfat "$work/image" >/dev/null
seed_of table superfloppy
image 64M
sgdisk --new 1:2048:+8M --typecode 1:ef00 --new 2:0:+16M --change-name 2:writable "$work/image" >/dev/null
for target in table gpt publish; do seed_of $target gpt; done
truncate --size 96M "$work/image"
for target in gpt publish; do seed_of $target gpt-on-a-larger-card; done
image 64M
sgdisk --new 3:2048:+8M --new 128:0:0 "$work/image" >/dev/null
dd if=/dev/zero of="$work/image" bs=512 seek=1 count=1 conv=notrunc status=none
for target in gpt publish; do seed_of $target gpt-without-primary; done

upper() {
    rm -rf "$work/tree"
    mkdir -p "$work/tree/burnonce" "$work/tree/overlay/etc" "$work/tree/overlay-workdir"
    cat >"$work/tree/burnonce/state.json" <<JSON
{"version":"1.0","made_by":"0.1.0","made_for":"c6b4e7a1-3f0d-4b52-9a77-2d9e1f5a80c3","attempts":1,"generation":1}
JSON
}
upper
# file_system NAME FEATURES SIZE-IN-KIB OPTION...
file_system() {
    local name=$1 features=$2 size=$3
    shift 3
    image "${size}K"
    mke2fs -q -F -t ext4 -O "none,$features" -N 16 -U 7d1c5c0e-6a52-4d0e-b3f4-0c9be2a4d111 "$@" "$work/image" "$size"
    seed_of owner "$name"
}
file_system upper filetype,extent 64 -b 1024 -I 128 -L burnonce -d "$work/tree"
file_system upper-checksums metadata_csum,64bit,filetype,extent 64 -b 1024 -I 128 -L burnonce -d "$work/tree"
seed_of superblock checksums
file_system blocks filetype 64 -b 1024 -I 128 -d "$work/tree"
file_system empty filetype,sparse_super,extra_isize 128 -b 2048 -I 256 -L burnonce
seed_of superblock plain
rm -r "$work/tree"/* && mkdir "$work/tree/var" && touch "$work/tree/fstab"
file_system files inline_data,ext_attr,filetype,extent 64 -b 1024 -I 256 -L data -d "$work/tree"

# boot NAME BITS SIZE: a boot partition.
boot() {
    image "$3"
    mkfs.fat -F "$2" -s 1 -r 32 -n bootfs -i 1234abcd "$work/image" >/dev/null
    printf 'os_prefix=current/\n' >"$work/config.txt"
    printf 'root=LABEL=writable %01200d' 7 >"$work/cmdline.txt"
    mmd -i "$work/image" ::current ::a-directory-with-a-long-name
    mcopy -i "$work/image" "$work/config.txt" ::
    mcopy -i "$work/image" "$work/cmdline.txt" ::current
    mcopy -i "$work/image" "$work/config.txt" ::a-directory-with-a-long-name/network-config
    seed_of fat "$1"
}
boot fat12 12 128K
boot fat16 16 3M
mkdir -p "$corpus/initramfs"
(cd "$work" && printf '%s\n' config.txt cmdline.txt | cpio --quiet --create --format newc --block-size 1 >early)
cp "$work/early" "$corpus/initramfs/plain"
(cat "$work/early" && gzip -n9 <"$work/early") >"$corpus/initramfs/gzip"
(cat "$work/early" && zstd -q <"$work/early") >"$corpus/initramfs/zstd"
(cat "$work/early" && xz <"$work/early") >"$corpus/initramfs/xz"

# A package: its files are short, so that a fuzzer gets at what holds them together.
mkdir -p "$corpus/package" "$work/package/DEBIAN" "$work/package/usr/share/$(printf 'long-name%.0s' {1..12})"
cat >"$work/package/DEBIAN/control" <<'CONTROL'
Package: burnonce
Version: 1:0.1.0~rc1-1
Architecture: arm64
Maintainer: Nobody <nobody@example.org>
Pre-Depends: dpkg (>= 1.17)
Depends: busybox | busybox-static, python3:any (<< 4),
 overlayroot
Provides: x (= 2), y
Description: a test
CONTROL
echo text >"$work/package/usr/file"
ln "$work/package/usr/file" "$work/package/usr/hard"
ln -s ../file "$work/package/usr/share/link"
for packing in gzip xz zstd; do
    SOURCE_DATE_EPOCH=1764105600 dpkg-deb --root-owner-group "-Z$packing" --build "$work/package" "$work/deb" >/dev/null
    cp "$work/deb" "$corpus/package/$packing"
done
# dpkg-deb fills its archives up to 10 KiB.
echo 2.0 >"$work/debian-binary"
tar=(tar --create --blocking-factor 1 --format gnu --owner root:0 --group root:0 --sort name --mtime @1764105600)
"${tar[@]}" --directory "$work/package/DEBIAN" --file "$work/control.tar" ./control
"${tar[@]}" --directory "$work/package" --file "$work/data.tar" ./usr
rm -f "$corpus/package/none"
ar qcD "$corpus/package/none" "$work"/{debian-binary,control.tar,data.tar}

text() { mkdir -p "$corpus/$1" && cat >"$corpus/$1/$2"; }
text config every-key <<'YAML'
convert: true
partition: {min: 2 GiB, align: 16 MiB}
overlay:
  conf: /etc/overlayroot.conf
  on_failure: stop
  hold: false
reset:
  keep: [/etc/ssh/ssh_host_*, "/home/*/.ssh"]
  on: [user-data]
  generations: 3
diff:
  fold:
    - /var/log
console: {led: off}
log: {level: debug}
YAML
printf 'partition:\n\tmin: 2 GiB\n' | text config tab
printf 'convert: yes\n---\nconvert: no\n' | text config two-documents
printf 'partition: &a\n  min: 1 XiB\nreset: *a\n' | text config alias
printf '{"version":"1.0","made_by":"0.1.0","made_for":"u","attempts":1,"generation":1}' | text state new
text state full <<'JSON'
{"version":"1.1","made_by":"0.1.0","made_for":"u","attempts":2,"generation":3,"began":1764105600,"fresh":true,"user_data":"ab",
"request":{"id":"1","kind":"reset","by":"command","at":5,"keep":["/etc/ssh/*"]},
"last":{"id":"0","kind":"undo","by":"file","at":4,"refused":"no \"room\""},"consumed":["0"],
"set_aside":[{"number":2,"began":1,"ended":2,"kind":"reset","by":"user-data","size":{"files":3,"bytes":4}}]}
JSON
printf '{"version":"1.7","made_by":"2","made_for":"u","attempts":1,"generation":1,"later":{"a":[1]}}' | text state newer
printf '# burnonce: conversion begun; attempts=2 rebuilds=1 rebuilt=1\n# failed: no `room'\''\n:\n' | text overlayroot begun
printf '# burnonce: converted; attempts=1 rebuilds=0 rebuilt=0\n. /run/x\noverlayroot="device:dev=LABEL=burnonce"\n' | text overlayroot complete
printf 'overlayroot_cfgdisk="disabled"\noverlayroot="tmpfs:swap=1" # x\n[failure]: failed mount\n' | text overlayroot foreign
printf '\2\0\0\0\1\0\0\0\3making ext4:\nno `room'\''\n# burnonce: converted; attempts=9\noverlayroot="tmpfs"' | text counts failure
printf 'console=serial0,115200 root=PARTUUID=1-02 rw ro burnonce=off overlayroot=tmpfs\n' | text cmdline words
printf 'quiet systemd.run=/boot/firmware/firstrun.sh systemd.run_success_action=reboot systemd.unit=kernel-command-line.target\n\0root=/dev/sda2 x="a b"\nmore\n' | text cmdline first-boot
text mounts overlay <<'MOUNTS'
25 1 0:23 / / rw,relatime shared:1 - overlay overlayroot rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/overlay
27 25 179:3 / /media/root-rw rw,relatime - ext4 /dev/mmcblk0p3 rw,emergency_ro,errors=remount-ro
28 25 8:1 / /mnt/a\040b ro - vfat /dev/sda1 ro
MOUNTS
for case in 003-ubuntu-64-gb 021-gpt-on-a-larger-card 033-placeholder-gpt 035-published-before-a-power-cut 065-overlay; do
    text saved "$case" <"tests/plan/$case/observation.json"
done
