#!/bin/bash
# pi-root.sh STEP ROOT SIGNATURE: what makes a debootstrapped root that of an image for a Raspberry Pi. pi.sh has mmdebstrap call
# it:
#
#   prepare      once the essential packages are there, before kernel and initramfs come
#   overlayroot  downloads overlayroot, and what it needs, to /debs
#   personalise  last: the user, the first boot's services, and what must not be the same on two nodes
#
# What Raspberry Pi OS has from raspberrypi-sys-mods and pi-gen is written here anew, with the same names.
set -euo pipefail

step=$1
root=$2
signature=$3

# put PATH [MODE]: a file of the root, from stdin.
put() {
    mkdir -p "$root/$(dirname "$1")"
    cat >"$root/$1"
    chmod "${2:-644}" "$root/$1"
}

prepare() {
    mkdir -p "$root/boot/firmware"

    # What update-initramfs makes is what boots next.
    put etc/initramfs/post-update.d/zz-firmware 755 <<'HOOK'
#!/bin/sh
# Copies the kernel ($1 is its version), its initramfs ($2) and its device tree to where the firmware reads them.
set -e
[ -d /boot/firmware ] && [ -n "$2" ] || exit 0
place() {
    cp "$1" "$2.new"
    sync "$2.new"
    mv "$2.new" "$2"
}
place "/boot/vmlinuz-$1" /boot/firmware/kernel8.img
place "$2" /boot/firmware/initramfs8
place "/usr/lib/linux-image-$1/broadcom/bcm2837-rpi-3-b.dtb" /boot/firmware/bcm2710-rpi-3-b.dtb
sync -f /boot/firmware
HOOK

    # Only the modules of the emulated machine: a boot under emulation waits for every megabyte of initramfs.
    # `overlay` is left out on purpose, as on a stock image.
    put etc/initramfs-tools/conf.d/vm <<<'MODULES=list'
    put usr/share/initramfs-tools/modules.d/vm < <(printf '%s\n' bcm2835 sdhci_iproc bcm2835_wdt ext4)

    # Raspberry Pi OS' grower: it makes the partition as long as the card where the command line has a word for it.
    put usr/share/initramfs-tools/hooks/resize 755 <<'HOOK'
#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
copy_exec /usr/sbin/sfdisk
HOOK
    put usr/share/initramfs-tools/scripts/local-premount/resize_early 755 <<'SCRIPT'
#!/bin/sh
[ "$1" != prereqs ] || exit 0
grep -q ' resize' /proc/cmdline || exit 0
echo ', +' | sfdisk --quiet --force -N 2 /dev/mmcblk0
echo "grower: the root partition has $(cat /sys/block/mmcblk0/mmcblk0p2/size) sectors" >/dev/kmsg
SCRIPT
}

overlayroot() {
    mkdir -p "$root/debs/partial"
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes --download-only \
        --option APT::Sandbox::User=root --option Dir::Cache::Archives="$root/debs" install overlayroot
    rm -r "$root/debs/partial"
    rm -f "$root/debs/lock"
    ls "$root"/debs/overlayroot_*.deb
}

personalise() {
    put etc/hostname <<<raspberrypi
    put etc/hosts < <(printf '127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n')
    put etc/rpi-issue <<<'Raspberry Pi reference: a look-alike of it'
    put etc/fstab <<TABLE
proc            /proc           proc    defaults          0       0
PARTUUID=$signature-01  /boot/firmware  vfat    defaults          0       2
PARTUUID=$signature-02  /               ext4    defaults,noatime  0       1
TABLE
    put boot/firmware/cmdline.txt <<<"console=serial0,115200 console=tty1 root=PARTUUID=$signature-02 rootfstype=ext4 \
fsck.repair=yes rootwait resize"
    put boot/firmware/config.txt < <(printf '[all]\nauto_initramfs=1\narm_64bit=1\n')

    put usr/lib/systemd/system/rpi-resize.service <<'UNIT'
[Unit]
Description=Grow and trim root filesystem on first boot
Before=first-boot-complete.target shutdown.target
After=systemd-remount-fs.service systemd-growfs-root.service
Wants=first-boot-complete.target systemd-growfs-root.service
ConditionFirstBoot=yes
DefaultDependencies=no
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart=/usr/bin/true
RemainAfterExit=yes

[Install]
WantedBy=sysinit.target
UNIT
    put usr/lib/systemd/system/regenerate_ssh_host_keys.service <<'UNIT'
[Unit]
Description=Regenerate SSH host keys
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key

[Install]
WantedBy=multi-user.target
UNIT
    put usr/lib/systemd/system/sshswitch.service <<'UNIT'
[Unit]
Description=Turn on SSH if /boot/firmware/ssh is present
ConditionPathExistsGlob=/boot/firmware/ssh{,.txt}
After=regenerate_ssh_host_keys.service

[Service]
Type=oneshot
ExecStart=/bin/sh -c "systemctl enable --now ssh && rm -f /boot/firmware/ssh /boot/firmware/ssh.txt"

[Install]
WantedBy=multi-user.target
UNIT
    # The emulated Pi's network is on its USB.
    put etc/systemd/network/usb.network < <(printf '[Match]\nName=eth* usb*\n\n[Network]\nDHCP=ipv4\n')
    chroot "$root" systemctl disable ssh.service
    chroot "$root" systemctl disable systemd-networkd-wait-online.service
    chroot "$root" systemctl enable systemd-networkd.service rpi-resize.service regenerate_ssh_host_keys.service \
        sshswitch.service
    chroot "$root" useradd --create-home --shell /bin/bash --uid 1000 pi
    put etc/sudoers.d/010_pi-nopasswd 440 <<<'pi ALL=(ALL) NOPASSWD: ALL'

    # Else each first boot runs ldconfig and makes the catalogue of messages: minutes of reading from an emulated card.
    touch --reference="$root/usr" "$root/etc/.updated" "$root/var/.updated"

    put etc/machine-id <<<uninitialized
    rm -f "$root/var/lib/dbus/machine-id" "$root"/etc/ssh/ssh_host_*
    find "$root/var/log" -type f -delete
    mkdir -p "$root/var/log/journal"
}

case $step in
prepare | overlayroot | personalise) "$step" ;;
*) echo "pi-root.sh: no step $step" >&2; exit 2 ;;
esac
