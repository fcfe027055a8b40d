#!/usr/bin/env bash
# The hot-path gate: fails when a symbol of Scripts/hot-symbols.txt, or what it calls in our own rooms, allocates,
# counts references or locks. `--self-test` shows that the gate can fail.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
case ${1:-} in '' | --self-test) ;; *) die 64 "usage: Scripts/hot-path-gate.sh [--self-test]" ;; esac
build_release
built=$(release_directory)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# All rooms linked together: every call inside is then direct, and every call outside goes through the PLT by its name.
objects=()
for folder in Sources/*/; do
    room=$(basename "$folder")
    [[ -n $(find "$folder" \( -name '*.swift' -o -name '*.c' \) -print -quit) ]] || continue
    found=$(objects_of "$built" "$room" "Sources/$room")
    mapfile -t -O "${#objects[@]}" objects <<<"$found"
done
clang -shared -nostdlib -Wl,-Bsymbolic -Wl,--unresolved-symbols=ignore-all -o "$work/rooms.so" "${objects[@]}"
objdump -d --no-show-raw-insn "$work/rooms.so" >"$work/code"
nm "$work/rooms.so" | awk 'NF == 3 && $2 ~ /[tTwW]/ { print $3 } NF == 2 { print $2 }' | sort -u >"$work/mangled"
swift demangle --simplified --compact <"$work/mangled" | paste "$work/mangled" - >"$work/names"

# Where each function ends. The linker leaves the bodies of functions that another object defines as well behind their
# neighbours, without a name: what is past a function's end is not its own. By address and not by name, because a small
# C function has a copy of the same name in each room that calls it.
nm -S "$work/rooms.so" | while read -r address size kind name; do
    if [[ $kind == [tTwW] ]]; then printf '%s %016x\n' "$address" $((16#$address + 16#$size)); fi
done >"$work/ends"

gate() { awk -f Scripts/hot-path.awk "$work/names" "$1" "$work/ends" "$work/code"; }

if [[ ${1:-} != --self-test ]]; then
    gate Scripts/hot-symbols.txt || die 1 "the hot path allocates, counts references or locks, or a symbol is gone."
    exit 0
fi

# Each list is one that the gate must refuse, and the text that its refusal must hold.
refuse() {
    local list=$1 wanted=$2 answer
    printf '%s\n' "$list" >"$work/list"
    if answer=$(gate "$work/list"); then die 1 "the gate let through: $list"; fi
    answer=$(grep -m 1 -E -- "^fault: .*$wanted" <<<"$answer") || die 1 "the gate refused '$list', not for '$wanted'"
    say "refused as it must be: $answer"
}
refuse 'hot ^HistogramSnapshot\.init\(\)$' 'allocateBuffer|swift_alloc'
refuse 'hot ^Histogram\.init\(\)$' 'swift_slowAlloc'
refuse 'hot ^EventFD\.nothing\(\)$' 'no function matches'
refuse $'hot ^Histogram\\.record\\(_:\\)$\ncold ^nothing$' 'nothing hot calls cold'
refuse '# empty' 'no hot symbol'
# Reached through other functions of our own.
refuse 'hot ^HistogramSnapshot\.merge\(_:\)$' '→ .*(swift_|allocateBuffer)'
# One that the gate must let through, so that it does not refuse everything.
printf '%s\n' 'hot ^EventFD\.take\(\)$' >"$work/list"
gate "$work/list" >&2 || die 1 "the gate refused a function that reads an eventfd and no more"
