#!/usr/bin/env bash
# Builds the Embedded-clean rooms without the Swift runtime, makes one archive of them, checks what the archive asks of
# the outside, links it into Tests/embedded/main.c and runs that.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
scratch=.build-embedded
rooms=(CKernel EventRing InterruptModel VFIO KVM IRQMux)
archive=$scratch/libirqmux-embedded.a
program=$scratch/embedded-test

IRQMUX_EMBEDDED=1 IRQMUX_WERROR=1 swift build -c release --scratch-path "$scratch" >&2
built=$scratch/release

# SwiftPM's static product may leave out objects of other targets, so the archive is made from all of them.
objects=()
for room in "${rooms[@]}"; do
    found=$(objects_of "$built" "$room" "Sources/$room")
    mapfile -t -O "${#objects[@]}" objects <<<"$found"
done
found=$(objects_of "$built" EmbeddedProbe Tests/embedded/EmbeddedProbe)
mapfile -t probe <<<"$found"
rm -f "$archive" "$program"
ar rcs "$archive" "${objects[@]}"

# The archive asks only for libc and liburing: whatever it neither defines nor may ask for is named.
asked=$(nm -u "${objects[@]}" | awk 'NF >= 2 { print $NF }' | sort -u)
defined=$(nm --defined-only "${objects[@]}" | awk 'NF == 3 { print $3 }' | sort -u)
allowed=$(grep -vE '^(#|$)' Scripts/embedded-symbols.txt)
foreign=$(comm -23 <(printf '%s\n' "$asked") <(printf '%s\n' "$defined") |
    grep -vxE -f <(printf '%s\n' "$allowed") || true)
[[ -z $foreign ]] || die 1 "the Embedded archive needs more than libc and liburing:"$'\n'"$foreign"

clang -std=c11 -Wall -Wextra -Werror -O2 -Wl,--gc-sections -Wl,--as-needed \
    -o "$program" Tests/embedded/main.c "${probe[@]}" "$archive" -luring
needed=$(objdump -p "$program" | awk '$1 == "NEEDED" { printf " %s", $2 }')
strip -o "$program.stripped" "$program"
answer=$("$program") || die 1 "the C program failed:"$'\n'"$answer"
[[ $answer == ok ]] || die 1 "the C program answered '$answer' instead of 'ok'"
strip --strip-debug -o "$archive.stripped" "$archive"
say "embedded: ${#objects[@]} objects, archive $(stat -c %s "$archive.stripped") bytes without debug information," \
    "test program $(stat -c %s "$program.stripped") bytes stripped, needs$needed: $answer"
