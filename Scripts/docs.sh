#!/usr/bin/env bash
# The reference of the Swift API as a static site in .build/docs, from the doc comments.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift
command -v docc >/dev/null || die 69 "docc is not in PATH; it comes with the Swift toolchain from swift.org."
swift package dump-symbol-graph --minimum-access-level public --skip-synthesized-members >&2
graphs=$(mktemp -d)
trap 'rm -rf "$graphs"' EXIT
# One page tree a room; the command, the tests and what they depend on are no API.
for room in InterruptModel EventRing KVM IRQMux Exerciser; do
    find "$(swift build --show-bin-path)/../symbolgraph" -name "$room.symbols.json" -o -name "$room@*.symbols.json" |
        xargs -r cp -t "$graphs"
done
rm -rf .build/docs
docc convert --fallback-display-name irqmux --fallback-bundle-identifier irqmux \
    --additional-symbol-graph-dir "$graphs" --output-path .build/docs \
    --transform-for-static-hosting >&2
say "the reference is in .build/docs (serve it: docc preview, or any web server)"
