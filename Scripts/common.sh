# Words shared by the scripts. Source it; it changes to the repository's root.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Messages for a person go to stderr, so that stdout stays data.
say() { printf '%s\n' "$*" >&2; }
die() {
    local status=$1
    shift
    say "error: $*"
    exit "$status"
}

# Exit codes as the command's: 64 for a wrong call, 69 for a machine that lacks something.
need_swift() {
    [[ $(uname -s) == Linux ]] || die 69 "irqmux runs on Linux only; this is $(uname -s)."
    command -v swift >/dev/null ||
        die 69 "swift is not in PATH. Install Swift 6.3 or newer: https://www.swift.org/install/linux/"
    local answer version
    answer=$(swift --version 2>&1) || true
    version=$(sed -n 's/.*Swift version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p' <<<"$answer" | head -n 1)
    [[ -n $version ]] || die 69 "'swift --version' does not answer; what it says is below. A missing library is one" \
        "of the packages that Swift itself needs: https://www.swift.org/install/linux/"$'\n'"$answer"
    local major=${version% *} minor=${version#* }
    ((major > 6 || (major == 6 && minor >= 3))) ||
        die 69 "Swift $major.$minor is too old; irqmux needs 6.3: https://www.swift.org/install/linux/"
}

# The directory of release products.
release_directory() { swift build -c release --show-bin-path; }

# Builds the release products; progress is SwiftPM's own on stderr.
build_release() {
    [[ -d .build/release ]] || say "building (the first time takes a minute or two) …"
    swift build -c release "$@" >&2
}

# The objects that a build made of one target: objects_of BUILD_DIRECTORY TARGET SOURCE_FOLDER. The object of a source
# that is gone stays behind in the build folder, so objects are found by their sources.
objects_of() {
    local built=$1 name=$2 folder=$3 source object found=0
    while IFS= read -r source; do
        # C objects keep their subfolder, Swift's do not.
        object=$built/$name.build/${source#"$folder/"}.o
        [[ $source == *.swift ]] && object=$built/$name.build/$(basename "$source").o
        [[ -f $object ]] || die 2 "no object for $source: looked for $object"
        printf '%s\n' "$object"
        found=$((found + 1))
    done < <(find "$folder" \( -name '*.swift' -o -name '*.c' \) | sort)
    ((found > 0)) || die 2 "$folder has no sources"
}

# The functions that irqmux.h declares, one a line.
c_api() { grep -oE '\birqmux_[a-z0-9_]+\(' Sources/CIRQMuxHeader/include/irqmux.h | tr -d '(' | sort -u; }

# The version that the C library tells.
c_version() { sed -n 's/.*irqmux_version_text.*return "\(.*\)".*/\1/p' Sources/CIRQMuxHeader/support.c; }

# In front of a command that must not outlive whoever started it, however that one ends: timeout's group of its own, for
# one, hears nothing of a Ctrl-C.
with_parent=()
if command -v setpriv >/dev/null; then with_parent=(setpriv --pdeathsig KILL); fi
