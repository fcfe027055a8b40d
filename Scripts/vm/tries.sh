#!/usr/bin/env bash
# Boots the emulated machine, a second time where QEMU itself hung or died, and sums up:
#   tries.sh NAME KERNEL_FOLDER INITRAMFS VARIANT OUTPUT [NAME=VALUE…]
# Prints a line a test as they come (as a part of all tests only what did not pass, and a closing line), and writes
# OUTPUT.results: pass|fail|skip TAB machine NAME: test TAB reason, the last one about the boot as a whole.
# IRQMUX_VM_LIMIT seconds are the limit of each try.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
(($# >= 5)) || die 64 "usage: Scripts/vm/tries.sh NAME KERNEL_FOLDER INITRAMFS VARIANT OUTPUT [NAME=VALUE…]"
name=$1 folder=$2 initramfs=$3 variant=$4 output=$5
shift 5

outcome() {
    case $1 in
    0 | 1) printf 'the guest stopped half-way: its kernel or its first process died' ;;
    2) printf 'it hung: no end within %s s, and this had begun last: %s' "${IRQMUX_VM_LIMIT:-600}" \
        "$(awk -F '\t' 'NF > 1 { last = $2 } END { print last == "" ? "nothing" : last }' "$output/results")" ;;
    *) printf 'QEMU itself died' ;;
    esac
}
for try in first second; do
    rm -rf "$output"
    mkdir -p "$output"
    : >"$output/results"
    "${with_parent[@]}" Scripts/vm/boot.sh "$folder" "$initramfs" "$variant" "$output" "$@" &
    pid=$!
    tail -n +1 -s 0.2 -f --pid="$pid" "$output/results" |
        awk -F '\t' -v name="$name" -v all="$([[ -n ${IRQMUX_PART_OF_TEST:-} ]] || echo 1)" '
        $1 ~ /^(pass|fail|skip)$/ { n[$1]++ }
        $1 ~ /^(fail|skip)$/ || (all && $1 == "pass") {
            printf "%s  %s: %s%s\n", $1, name, $2, ($3 == "" ? "" : ": " $3)
            fflush()
        }
        END { printf "%s: %d passed, %d failed, %d skipped inside\n", name, n["pass"], n["fail"], n["skip"] }'
    status=0
    wait "$pid" || status=$?
    # Worth a second try is only what QEMU did: it hung as a whole, or died.
    if ((status < 2)) || [[ $try == second ]]; then break; fi
    say "$name: $(outcome "$status"); once more"
done
# A list that begins a second time takes the place of what came of it before.
awk -F '\t' -v OFS='\t' -v name="$name" '
    $1 == "list" { if (started) count = before; else before = count; started = 1 }
    $1 ~ /^(pass|fail|skip)$/ { $2 = "machine " name ": " $2; line[++count] = $0 }
    END { for (at = 1; at <= count; at++) print line[at] }' "$output/results" >"$output.results"
if ((status == 0)) && grep -qx end "$output/results"; then
    printf 'pass\tmachine %s: the whole list ran\t\n' "$name" >>"$output.results"
else
    printf 'fail\tmachine %s: the whole list ran\t%s\n' "$name" "$(outcome "$status")" >>"$output.results"
fi
if grep -q '^fail' "$output.results"; then
    say "$name: the end of the console:"
    tail -n 60 "$output/console.log" >&2
    tail -n 5 "$output/qemu.log" >&2
fi
