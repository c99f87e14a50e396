# shellcheck shell=bash
# Programs for arm64 on this machine, each run by qemu-user. Sourced by scripts that are bash, root, have a function `die`, and
# run in a mount namespace of their own.

EMULATOR=/usr/bin/qemu-aarch64-static
BINFMT=/proc/sys/fs/binfmt_misc
handler=

# emulate: has the kernel run programs for arm64 by the emulator, until end_emulation. The kernel opens the emulator now
# (F), so that a chroot need not have it. What is registered later comes before what this machine may have for them.
emulate() {
    [ "$(uname -m)" != aarch64 ] || return 0
    [ -x "$EMULATOR" ] || die "$EMULATOR is not installed: run tests/setup.sh"
    local name=burnonce-arm64-$$ e_machine='\xb7\x00' any='\xff'
    # Where systemd has mounted it, it is there already.
    [ -e "$BINFMT/register" ] || mount -t binfmt_misc binfmt_misc "$BINFMT" 2>/dev/null ||
        die "this kernel has no binfmt_misc, or does not let this container have it: a Debian for arm64 cannot run here. \
Load the module binfmt_misc, or run the container privileged."
    printf '%s' ":$name:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00$e_machine:\
$any$any$any$any$any$any$any\\x00$any$any$any$any$any$any$any$any\\xfe$any$any$any:$EMULATOR:F" >"$BINFMT/register" ||
        die "binfmt_misc takes no program here: a Debian for arm64 cannot run. Where this is a container, run it privileged."
    handler=$BINFMT/$name
}

# end_emulation: for the script's end, however it comes.
end_emulation() { [ -z "$handler" ] || echo -1 >"$handler"; }
