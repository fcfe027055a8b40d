#!/usr/bin/env bash
# Fuzzes decoders, server and client of vfio-user: fuzz.sh SECONDS [keep].
# What reaches new code is kept in Tests/fuzz/corpus with `keep`, so that the corpus grows in the repository; without
# it, the corpus is left as it is. An input that crashes, hangs, or leaks memory or a descriptor is written to
# .build-fuzz/findings, and the status is 1.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
seconds=${1:-60}
keep=${2:-}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || die 64 "usage: Scripts/fuzz.sh SECONDS [keep]"
scratch=.build-fuzz
corpus=Tests/fuzz/corpus
found=$scratch/findings

# A debug build, whose internals the targets may import; address sanitizer for memory, and its leaks with it. SwiftPM
# passes one option for each sanitizer and the compiler takes the last, so both are named in one more: without it no
# Swift code tells libFuzzer what an input reached.
IRQMUX_FUZZ=1 swift build --scratch-path "$scratch" --product irqmux-fuzz \
    --sanitize fuzzer --sanitize address -Xswiftc -sanitize=fuzzer,address >"$scratch.log" 2>&1 || {
    tail -30 "$scratch.log" >&2
    die 1 "the build failed"
}
rm -f "$scratch.log"
mkdir -p "$found" "$scratch/corpus"
# Leaks are looked for at the end and every so often by libFuzzer itself; it cannot where ptrace is forbidden.
limits=(-max_len=4096 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$found/")
status=0
"$scratch/debug/irqmux-fuzz" "${limits[@]}" -max_total_time="$seconds" "$scratch/corpus" "$corpus" \
    >"$scratch/fuzz.log" 2>&1 || status=$?
if ((status != 0)); then
    tail -60 "$scratch/fuzz.log" >&2
    die 1 "an input went wrong; it lies in $found, the whole log is $scratch/fuzz.log"
fi
grep -E '^stat::|DONE' "$scratch/fuzz.log" >&2 || true
# The C alone has some hundred places to reach; decoders, server and client in Swift have thousands.
places=$(sed -n 's/.*inline 8-bit counters): *\([0-9]*\).*/\1/p' "$scratch/fuzz.log" | sort -n | tail -n 1)
((${places:-0} > 2000)) || die 1 "the fuzzer sees ${places:-no} places: the Swift code is not instrumented"
if [[ $keep == keep ]]; then
    "$scratch/debug/irqmux-fuzz" -merge=1 "$corpus" "$scratch/corpus" >/dev/null 2>&1
    say "the corpus has $(find "$corpus" -type f | wc -l) inputs"
fi
say "fuzz: $seconds seconds, nothing found"
