#!/usr/bin/env bash
# Installs the command, its manual page and its completions: install.sh PREFIX. DESTDIR is honoured.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
prefix=${1:-}
[[ $prefix == /* ]] || die 64 "PREFIX must be an absolute path, for example: make install PREFIX=/usr/local"
root="${DESTDIR:-}$prefix"
mkdir -p "$root" 2>/dev/null && [[ -w $root ]] ||
    # sudo has a PATH of its own, in which swift seldom is.
    die 69 "$root is not writable. Type: make install PREFIX=\$HOME/.local" \
        "(or, for everybody: sudo env PATH=\"\$PATH\" make install PREFIX=$prefix)"
need_swift
build_release --product irqmux
binary="$(release_directory)/irqmux"

# Everything is made before the first file is put in place.
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
swift package --allow-writing-to-directory "$staging" generate-manual --output-directory "$staging" >&2
for shell in bash zsh fish; do "$binary" --generate-completion-script "$shell" >"$staging/irqmux.$shell"; done

put() {
    install -D -m "$1" "$2" "$root/$3"
    printf '%s\n' "$prefix/$3"
}
put 755 "$binary" bin/irqmux
put 644 "$staging/irqmux.1" share/man/man1/irqmux.1
put 644 "$staging/irqmux.bash" share/bash-completion/completions/irqmux
put 644 "$staging/irqmux.zsh" share/zsh/site-functions/_irqmux
put 644 "$staging/irqmux.fish" share/fish/vendor_completions.d/irqmux.fish
