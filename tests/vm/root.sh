#!/bin/bash
# root.sh STEP ROOT: what makes a debootstrapped root a stock Pi image's root. image.sh has mmdebstrap call it:
#
#   prepare                    once the essential packages are there, before kernel and initramfs come
#   initramfs-tools or dracut  after that: what goes into the initramfs
#   plain                      everything but overlayroot is there: keeps the initramfs as it is now
#   overlayroot                then installs overlayroot
#   anonymise                  last: what must not be the same on two nodes
set -euo pipefail

step=$1
root=$2

# Files that a Pi image has and Debian's packages do not bring.
prepare() {
    mkdir -p "$root/boot/firmware" "$root/etc/initramfs/post-update.d" "$root/etc/cloud/cloud.cfg.d"

    # As flash-kernel does: what update-initramfs makes is what boots next.
    cat >"$root/etc/initramfs/post-update.d/zz-firmware" <<'HOOK'
#!/bin/sh
# Copies the kernel ($1 is its version) and its initramfs ($2) to where the firmware reads them.
set -e
[ -d /boot/firmware ] && [ -n "$2" ] || exit 0
place() {
    cp "$1" "$2.new"
    sync "$2.new"
    mv "$2.new" "$2"
}
place "/boot/vmlinuz-$1" /boot/firmware/vmlinuz
place "$2" /boot/firmware/initrd.img
sync -f /boot/firmware
HOOK
    chmod 755 "$root/etc/initramfs/post-update.d/zz-firmware"

    # Ubuntu's Pi images find cloud-init's seed on the boot partition in the same way.
    cat >"$root/etc/cloud/cloud.cfg.d/90-pi.cfg" <<'CLOUD'
datasource_list: [NoCloud, None]
datasource:
  NoCloud:
    fs_label: system-boot
CLOUD
    cat >"$root/etc/cloud/cloud.cfg.d/91-vm.cfg" <<'CLOUD'
# There is no netplan here, and no locale to generate.
system_info:
  network:
    renderers: [networkd]
locale: false
CLOUD
}

# Of the kernel's modules an initramfs has those of the emulated machine: a boot under emulation waits for every megabyte of it.
# `overlay` is not named on purpose, as on a stock image.
MODULES=(virtio_pci virtio_blk ext4)

initramfs-tools() {
    mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/usr/share/initramfs-tools/modules.d"
    printf 'MODULES=list\n' >"$root/etc/initramfs-tools/conf.d/vm"
    printf '%s\n' "${MODULES[@]}" >"$root/usr/share/initramfs-tools/modules.d/vm"
}

# Left alone, dracut looks at the machine that it runs on (hostonly), which is not the one that boots. What is omitted, a dracut that
# looks leaves out as well. Its module `systemd` brings some of the kernel's modules in by itself, `overlay` among them, on stock images
# too.
dracut() {
    mkdir -p "$root/etc/dracut.conf.d" "$root/etc/kernel/postinst.d"
    cat >"$root/etc/dracut.conf.d/vm.conf" <<CONF
hostonly="no"
drivers+=" ${MODULES[*]} "
omit_dracutmodules+=" hwdb nvdimm virtfs virtiofs "
compress="zstd"
CONF

    # For a new kernel dracut is run by itself, without update-initramfs and its hooks.
    cat >"$root/etc/kernel/postinst.d/zz-firmware" <<'HOOK'
#!/bin/sh
exec /etc/initramfs/post-update.d/zz-firmware "$1" "/boot/initrd.img-$1"
HOOK
    chmod 755 "$root/etc/kernel/postinst.d/zz-firmware"
}

# The initramfs of an image that nobody prepared for an overlay is kept aside for --stale-initramfs.
plain() {
    mkdir "$root/testbed"
    cp "$root"/boot/initrd.img-* "$root/testbed/initrd.plain"
}

# The package is kept aside, too, for whoever bakes an image without it, and what takes its place, for an administrator who changes from
# one tool to the other.
overlayroot() {
    (cd "$root/testbed" && download overlayroot)
    mv "$root"/testbed/overlayroot_*.deb "$root/testbed/overlayroot.deb"
    mkdir "$root/testbed/tools"
    (cd "$root/testbed/tools" && download dracut dracut-core initramfs-tools overlayroot)
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes -oDPkg::Chroot-Directory="$root" install overlayroot
}

# download PACKAGE...: into this directory.
download() { APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --option APT::Sandbox::User=root download "$@"; }

# Takes back what makes an installed root different from a shipped one.
anonymise() {
    printf 'node\n' >"$root/etc/hostname"
    printf '127.0.0.1\tlocalhost node\n' >"$root/etc/hosts"
    printf 'LABEL=%s\t%s\t%s\tdefaults\t0 1\n' \
        writable / ext4 system-boot /boot/firmware vfat >"$root/etc/fstab"
    : >"$root/etc/machine-id"
    rm -f "$root/var/lib/dbus/machine-id" "$root"/etc/ssh/ssh_host_*
    find "$root/var/log" -type f -delete
    mkdir -p "$root/var/log/journal"
    # Ubuntu's image brings its network up by what cloud-init writes for this service.
    chroot "$root" systemctl enable systemd-networkd >/dev/null 2>&1
}

case $step in
prepare | initramfs-tools | dracut | plain | overlayroot | anonymise) "$step" ;;
*) echo "root.sh: no step $step" >&2; exit 2 ;;
esac
