#!/bin/sh
# Where there is no systemd in the initramfs, dracut has root checked by itself, in a hook that it sources after this one.
# A sealed image is not checked (fsck-root.sh says why).
case "${root:-}" in
block:/dev/*)
	if ! getargbool 0 forcefsck && /usr/sbin/burnonce sealed "${root#block:}"; then
		echo "burnonce: ${root#block:} is sealed, so it is not checked"
		# shellcheck disable=SC2034
		fastboot=y
	fi
	;;
esac
