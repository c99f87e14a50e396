#!/bin/sh
# A busy hour in small, on a node: everything that a reset has to undo. /etc/kept-* is what the reset is to keep.
# /tmp/mess.deb is there already.
set -eu
dpkg --install /tmp/mess.deb
useradd --create-home extra
echo "# edited" >>/etc/hosts
printf 'kept\n' >/etc/kept-token && chown 1234:4321 /etc/kept-token && chmod 640 /etc/kept-token
touch -d '2001-02-03 04:05:06' /etc/kept-token
rm /etc/debian_version
rm -r /usr/share/common-licenses
rm -r /usr/share/base-passwd && mkdir /usr/share/base-passwd && echo new >/usr/share/base-passwd/new
mkdir -p /srv/mess/deep/.hidden
cd /srv/mess
echo content >file && ln file hard-link && ln -s nowhere dangling
mknod device c 1 3 && mkfifo pipe
python3 -c 'import os; os.setxattr("file", "user.colour", b"blue")'
echo fixed >immutable && chattr +i immutable
echo fixed >deep/.hidden/append-only && chattr +a deep/.hidden/append-only && chattr +i deep
for i in $(seq 2000); do echo "$i" >"many-$i"; done
useradd gone && touch of-nobody && chown gone of-nobody && userdel gone
systemd-run --quiet sh -c 'exec 3>>/srv/mess/open; while :; do echo line >&3; sleep 0.2; done'
sync
