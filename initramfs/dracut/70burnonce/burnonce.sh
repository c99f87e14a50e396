#!/bin/sh
# Runs the guard on the root that was just mounted, and then makes the overlay that it and the configuration ask for. dracut
# sources this, so nothing in it may exit or leave a variable behind.
if [ -n "${NEWROOT:-}" ]; then
	rootmnt=$NEWROOT /usr/lib/burnonce/local-bottom
	rootmnt=$NEWROOT /usr/lib/burnonce/init-bottom make
fi
