#!/bin/bash
# What is unsafe (src/sys.rs, src/doomed.rs, src/filesystem/ext2, crates/e2fsprogs-sys) under valgrind, and under AddressSanitizer where there is a
# nightly toolchain: the unit tests of the file systems, the binding's own, the corpus of the fuzzer. Under AddressSanitizer and as root
# also tests on loop devices, in which the compiled program converts a card, opens the door of `maintain`, takes the flags of chattr and
# asks for the clock. (Valgrind does not know openat2(2), and takes the mount(2) without a type, of a change of propagation, for an error.)
#
# Neither sees the ioctl that makes a partition longer, which only a virtual machine comes to, nor what happens inside of libext2fs,
# beyond its calls of malloc and memcpy.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
host=$(rustc -vV | sed -n 's/^host: //p')
ON_LOOP=(a_burned_card_is_converted maintain:: a_tree_goes_with_all_that_is_in_it when_a_generation_began_is_put_right)

# tests [CARGO-OPTION...]: the programs of those tests, each behind its name.
tests() {
    cargo "${toolchain[@]}" test --locked --no-run --message-format=json "$@" 2>/dev/null |
        sed -n 's/.*"target":{"kind":\["[a-z]*"\][^}]*"name":"\([a-z_]*\)".*"test":true},"features".*"executable":"\([^"]*\)".*/\1 \2/p'
}

# run_all [CARGO-OPTION...]: runs them behind the words of $under.
run_all() {
    local name program
    programs=()
    while read -r name program; do programs[$name]=$program; done < <(
        tests "$@" --package burnonce --lib --test loop
        tests "$@" --package e2fsprogs-sys --test link
        tests "$@" --package burnonce-fuzz --test corpus
    )
    [ ${#programs[@]} = 4 ] || { echo "of four test programs cargo made ${#programs[@]}: ${!programs[*]}" >&2 && exit 1; }
    "${under[@]}" "${programs[burnonce]}" filesystem:: inspect::ext4:: bake::root:: --test-threads=2
    "${under[@]}" "${programs[link]}"
    "${under[@]}" "${programs[corpus]}"
}

declare -A programs
echo "valgrind:"
toolchain=()
under=(valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite)
run_all

if ! rustc +nightly --version >/dev/null 2>&1; then
    echo "no nightly toolchain: AddressSanitizer was left out" >&2
    exit 0
fi
echo "AddressSanitizer:"
toolchain=(+nightly)
under=()
# In a directory of its own, for everything is compiled again. With --target, build scripts are left as they are.
export CARGO_TARGET_DIR=$target/sanitize RUSTFLAGS=-Zsanitizer=address
run_all --target "$host"
if [ "$(id -u)" = 0 ]; then
    "${programs[loop]}" "${ON_LOOP[@]}"
else
    echo "not run, for they need root: ${ON_LOOP[*]}" >&2
fi
