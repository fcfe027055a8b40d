#!/usr/bin/env bash
# Measures irqmux against its peers in one run; the package in Benchmarks says how. Arguments go through to it.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
[[ -d Benchmarks/.build/release ]] || say "building (the first time takes a minute or two) …"
swift build -c release --package-path Benchmarks >&2
mkdir -p Benchmarks/results
"$(swift build -c release --package-path Benchmarks --show-bin-path)/irqmux-bench" \
    --output Benchmarks/results/latest.json "$@"
