#!/usr/bin/env bash
# The command's own documentation, generated from the command line itself: command-docs.sh [CONFIGURATION].
# Manual pages go into docs/man, shell completions into docs/completions; tests compare both with the binary.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_swift

configuration=${1:-debug}
swift build --configuration "$configuration" --product irqmux >&2
binary="$(swift build --configuration "$configuration" --show-bin-path)/irqmux"

mkdir -p docs/man docs/completions
"$binary" --generate-completion-script bash >docs/completions/irqmux.bash
"$binary" --generate-completion-script zsh >docs/completions/_irqmux
"$binary" --generate-completion-script fish >docs/completions/irqmux.fish

# Dated by the last change to the command, so that generating twice gives the same pages.
date=$(git log -1 --format=%cs -- Sources/irqmux)
pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT
swift package --allow-writing-to-directory "$pages" generate-manual \
    --configuration "$configuration" --multi-page --date "$date" --output-directory "$pages" >&2
rm -f docs/man/*.1
cp "$pages"/irqmux*.1 docs/man/
ls docs/man docs/completions
