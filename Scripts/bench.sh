#!/usr/bin/env bash
# Measures irqmux against its peers in one run; the package in Benchmarks says how. Arguments go through to it; with
# vfio-user as the first, it is the pair of client and server that is measured.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
[[ -d Benchmarks/.build/release ]] || say "building (the first time takes a minute or two) …"
swift build -c release --package-path Benchmarks >&2
products=$(swift build -c release --package-path Benchmarks --show-bin-path)
if [[ ${1:-} == vfio-user ]]; then exec "$products/vfio-user-bench"; fi
mkdir -p Benchmarks/results
"$products/irqmux-bench" --output Benchmarks/results/latest.json "$@"
