#!/bin/sh
# In the place of systemd's check of root, in the initramfs: a sealed image is not checked, for e2fsck writes the superblock
# of whatever it looks at, be it clean. The guard has nothing to do with that: it comes after root is mounted.
unit=/run/systemd/generator/systemd-fsck-root.service # by systemd-fstab-generator(8), for root= on the command line

command=
while read -r line; do
	case "$line" in ExecStart=*) command=${line#ExecStart=} ;; esac
done <"$unit"
[ -n "$command" ] || exit 0
device=${command##* }

# Bit 12 of s_feature_ro_compat, which begins at byte 0x64 of the superblock at 1024: RO_COMPAT_READONLY
# (Documentation/filesystems/ext4/super.rst). Its byte is never beyond ASCII but with verity, which has no place in an image
# that is sealed by its kernel.
byte=$(dd if="$device" bs=1 skip=1125 count=1 2>/dev/null)
if [ -n "$byte" ] && [ $(($(printf '%d' "'$byte") & 16)) -ne 0 ]; then
	echo "burnonce: $device is sealed, so it is not checked"
	exit 0
fi
# In its words.
# shellcheck disable=SC2086
exec $command
