#!/bin/bash
# Runs libFuzzer on each target, from the committed corpus: tests/fuzz/run.sh [TARGET...]. FUZZ_SECONDS is for each of them. What it finds
# beside crashes stays in target/fuzzing/found/TARGET, from which the next run goes on, too. With FUZZ_MERGE=N, the corpus then takes of
# it the N files of at most 8 KiB that together reach most of what nothing in the corpus does.
set -euo pipefail
shopt -s nullglob
export LC_ALL=C
cd "$(dirname "$0")/../.."

seconds=${FUZZ_SECONDS:-60}
target=${CARGO_TARGET_DIR:-target}
host=$(rustc -vV | sed -n 's/^host: //p')
results=$target/fuzzing
LARGEST=8192 # bytes of a file of the corpus

# What cargo-fuzz would say, which needs a nightly toolchain. With --target, build scripts and macros are not instrumented.
flags=(-Cpasses=sancov-module --cfg fuzzing)
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=("-Cllvm-args=-sanitizer-coverage-$option")
done
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && echo "${flags[*]}") \
    cargo build --locked --profile fuzz --package burnonce-fuzz --features engine --bin fuzz --target "$host"
program=$target/$host/fuzz/fuzz

# merge NUMBER: adds so many files to $corpus.
merge() {
    local control=$results/$name.merge file
    rm -rf "$control" "$control.new"
    mkdir "$control.new"
    "$program" -set_cover_merge=1 -merge_control_file="$control" -max_len=$LARGEST "$control.new" "$corpus" "$found" \
        >>"$results/$name.log" 2>&1
    awk -v corpus="$corpus" -v most="$1" -f tests/fuzz/best.awk "$control" | while read -r file; do
        cp "$file" "$corpus/found-$(sha256sum "$file" | head -c 12)"
    done
}

# What docs/reliability.md shows, a line of JSON for each target; it is made anew by a run of all.
figures=$target/fuzz-figures.json
[ $# != 0 ] || { set -- tests/fuzz/corpus/* && rm -f "$figures"; }
figure() {
    local done='s/^Done \([0-9]*\) runs in \([0-9]*\) second.*/"executions":\1,"seconds":\2/p'
    printf '{"what":"%s",%s,"crashes":0}\n' "$name" "$(sed -n "$done" "$results/$name.log")" >>"$figures"
}
failed=()
for name in "$@"; do
    name=${name##*/}
    corpus=tests/fuzz/corpus/$name found=$results/found/$name crashes=$results/crashes/$name
    mkdir -p "$found" "$crashes"
    export BURNONCE_FUZZ=$name
    if "$program" -max_total_time="$seconds" -max_len=$((2 * LARGEST)) -timeout=10 -rss_limit_mb=1024 \
        -artifact_prefix="$crashes/" "$found" "$corpus" >"$results/$name.log" 2>&1; then
        printf '%-12s %s; %s\n' "$name" "$(sed -n 's/^Done //p' "$results/$name.log")" \
            "$(sed -n 's/.*\(cov: [0-9]* ft: [0-9]*\).*/\1/p' "$results/$name.log" | tail -n 1)"
        figure
        [ -z "${FUZZ_MERGE:-}" ] || merge "$FUZZ_MERGE"
    else
        failed+=("$name")
        printf '%-12s FAILED: %s\n' "$name" "$(grep -m 1 -A 1 -e 'panicked at' -e 'libFuzzer:' "$results/$name.log" | tr '\n' ' ')"
        echo "  the log: $results/$name.log; what to repeat it with (nothing, where it was interrupted):"
        for crash in "$crashes"/*; do
            echo "  BURNONCE_FUZZ=$name $program $crash"
        done
    fi
done
[ ${#failed[@]} = 0 ] || {
    echo "failed: ${failed[*]}. Put the file into tests/fuzz/corpus/TARGET; then 'cargo test -p burnonce-fuzz' fails, too, until it is mended" >&2
    exit 1
}
