#!/bin/bash
# burnonce's module of dracut: puts into every initramfs what an overlay root of burnonce needs there, whatever the
# running system looks like. dracut's own module for overlays is not used: it takes a device that it cannot mount for
# none, and makes an overlay in memory without a word to anybody.

# What the initramfs of initramfs-tools runs, too.
scripts=/usr/share/initramfs-tools/scripts

check() {
	return 0
}

depends() {
	echo base
}

installkernel() {
	# Not of this machine alone: a card is put into another one.
	hostonly='' instmods overlay ext4
}

# shellcheck disable=SC2154  # dracut sets moddir
install() {
	# Beside what dracut's base has: what burnonce's configuration calls where it looks for the upper by itself.
	inst_multiple e2fsck dd stat rm rmdir sync sleep modprobe
	# Where `overlay.on_failure: stop` ends a boot.
	inst_multiple -o halt
	inst /usr/lib/burnonce/guard /usr/sbin/burnonce
	inst_script "$scripts/local-bottom/burnonce" /usr/lib/burnonce/local-bottom
	inst_script "$scripts/init-bottom/burnonce" /usr/lib/burnonce/init-bottom
	if dracut_module_included systemd; then
		inst_script "$moddir/fsck-root.sh" /usr/lib/burnonce/fsck-root
		inst_simple "$moddir/fsck-root.conf" /usr/lib/systemd/system/systemd-fsck-root.service.d/burnonce.conf
	else
		# Before dracut's own hook, 99, which checks and mounts.
		inst_hook mount 98 "$moddir/sealed.sh"
	fi
	# Before 00-prepare-overlayfs, the first of dracut's own that would make an overlay.
	inst_hook pre-pivot 00 "$moddir/burnonce.sh"
}
