#!/usr/bin/env bash
# Measures irqmux against its peers, the loop first and then vfio-user's pair of client and server; the package in
# Benchmarks says how. With arguments it is one of them: vfio-user [ROUNDS [WORD]], or the loop, which takes them all.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
[[ -d Benchmarks/.build/release ]] || say "building (the first time takes a minute or two) …"
swift build -c release --package-path Benchmarks >&2
products=$(swift build -c release --package-path Benchmarks --show-bin-path)
pair=$products/vfio-user-bench
if [[ ${1:-} == vfio-user ]]; then exec "$pair" "${@:2}"; fi
mkdir -p Benchmarks/results
"$products/irqmux-bench" --output Benchmarks/results/latest.json "$@"
if (($# > 0)); then exit; fi
say "vfio-user, both ends …"
# A bar that is missed is told by its line; only --assert-bars, of the loop, makes a failure of one.
"$pair" || (($? == 1))
