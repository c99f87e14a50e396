#!/bin/sh
# Where there is no systemd in the initramfs, dracut has root checked by itself, in a hook that it sources after this one.
# A sealed image is not checked (fsck-root.sh says why).
case "${root:-}" in
block:/dev/*)
	# shellcheck disable=SC2034
	! /usr/sbin/burnonce leave-unchecked "${root#block:}" || fastboot=y
	;;
esac
