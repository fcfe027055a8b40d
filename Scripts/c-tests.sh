#!/usr/bin/env bash
# The C library's tests, a stage a call; see the end for their names.
# Exit 77: this machine lacks what the stage needs; the last line says what.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
out=.build-c
warnings=(-Wall -Wextra -Wpedantic -Werror)
archive_limit=307200
# The aim is 64 KiB; docs/decisions/0014-c-library.md says what stands in its way.
declare -A program_limits=([epoll-embed]=122880 [vmm-in-c]=217088)

skip() {
    printf 'skipped: %s\n' "$*"
    exit 77
}
need_c() { command -v "$1" >/dev/null || skip "$2: $1 is not installed"; }
build() { Scripts/c-library.sh "$@" >&2; }

# compile OUTPUT COMPILER FLAGS… : the tests with one of the two libraries.
compile() {
    local output=$1 compiler=$2
    shift 2
    "$compiler" -std=c11 -D_GNU_SOURCE "${warnings[@]}" -I"$out/include" Tests/c/*.c "$@" -o "$output"
}

# The header alone, as a VMM's compiler sees it.
header() {
    local compiler
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    printf '#include "irqmux.h"\nint main(void) { return irqmux_abi_version() != IRQMUX_ABI_VERSION; }\n' >"$work/one.c"
    cp "$work/one.c" "$work/one.cpp"
    need_c gcc gcc
    need_c g++ gcc
    for compiler in gcc clang; do
        "$compiler" -std=c11 "${warnings[@]}" -ISources/CIRQMuxHeader/include -fsyntax-only "$work/one.c"
    done
    for compiler in g++ clang++; do
        "$compiler" -std=c++17 "${warnings[@]}" -ISources/CIRQMuxHeader/include -fsyntax-only "$work/one.cpp"
    done
    say "header: C11 and C++17, gcc and clang, ${warnings[*]}: nothing to say"
}

# What the archive asks for, how large it is, and the tests with it.
static() {
    build static
    local asked foreign sections
    asked=$(nm -u "$out/libirqmux.a" | awk 'NF == 2 { print $2 }' | sort -u)
    foreign=$(grep -vxE -f <(grep -vE '^(#|$)' Scripts/embedded-symbols.txt) <<<"$asked" || true)
    [[ -z $foreign ]] || die 1 "libirqmux.a needs more than libc and liburing:"$'\n'"$foreign"
    foreign=$(nm -g --defined-only "$out/libirqmux.a" | awk 'NF == 3 { print $3 }' | sort | comm -3 - "$out/api")
    [[ -z $foreign ]] || die 1 "libirqmux.a shows other symbols than irqmux.h:"$'\n'"$foreign"
    # bss takes no bytes of it.
    sections=$(size "$out/libirqmux.a" | awk 'NR == 2 { print $1 + $2 }')
    ((sections <= archive_limit)) || die 1 "libirqmux.a has $sections bytes of sections; the limit is $archive_limit"
    say "libirqmux.a: $sections bytes of sections, asks for $(wc -l <<<"$asked") symbols of libc and liburing:" $asked
    compile "$out/tests-static" clang -O1 -g "$out/libirqmux.a" -luring -lpthread
    "$out/tests-static"
    "$out/tests-static" --tier 3
}

shared() {
    build shared
    local needed foreign
    needed=$(objdump -p "$out/libirqmux.so.0" | awk '$1 == "NEEDED" { print $2 }')
    if grep -q swift <<<"$needed"; then die 1 "libirqmux.so.0 needs Swift's libraries: $needed"; fi
    foreign=$(nm -D --defined-only "$out/libirqmux.so.0" |
        awk 'NF == 3 && $2 ~ /[A-Z]/ { print $3 }' | sort | comm -3 - "$out/api")
    [[ -z $foreign ]] || die 1 "libirqmux.so.0 shows other symbols than irqmux.h:"$'\n'"$foreign"
    say "libirqmux.so.0: $(stat -c %s "$out/libirqmux.so.0") bytes, needs" $needed
    compile "$out/tests-shared" clang -O1 -g -L"$out" -lirqmux -lpthread -Wl,-rpath,"$PWD/$out"
    "$out/tests-shared"
    "$out/tests-shared" --tier 3
}

# valgrind 3.19 lets no other thread run while one sleeps in io_uring_enter, so a mux with a thread of its own would
# hang under it, and it cannot map a second process's ring: tests with company run on epoll, all others on both.
under_valgrind() {
    local program=$1 run
    for run in '--tier 3' --alone; do
        # shellcheck disable=SC2086
        command valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite,indirect \
            --errors-for-leak-kinds=definite,indirect "$program" $run 2>"$out/valgrind.log" ||
            { grep -v '^--' "$out/valgrind.log"; die 1 "valgrind has something to report of $program ($run)"; }
    done
    # What is left in the log are calls that valgrind does not know (epoll_pwait2, VFIO's ioctls): no report.
    say "valgrind: nothing to report of $(basename "$program")"
}

# The shared library has Swift's runtime inside, and needs no suppression either.
valgrind() {
    need_c valgrind valgrind
    need_c gcc gcc
    build static shared
    # Not clang 21, whose debugging information valgrind 3.19 cannot read.
    compile "$out/tests-valgrind" gcc -O1 -g "$out/libirqmux.a" -luring -lpthread
    under_valgrind "$out/tests-valgrind"
    compile "$out/tests-valgrind-shared" gcc -O1 -g -L"$out" -lirqmux -lpthread -Wl,-rpath,"$PWD/$out"
    under_valgrind "$out/tests-valgrind-shared"
}

# The tests are instrumented, not the libraries.
sanitizers() {
    need_c gcc gcc
    build static shared
    local flags=(-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all)
    compile "$out/tests-sanitized" gcc "${flags[@]}" "$out/libirqmux.a" -luring -lpthread
    compile "$out/tests-sanitized-shared" gcc "${flags[@]}" -L"$out" -lirqmux -lpthread -Wl,-rpath,"$PWD/$out"
    "$out/tests-sanitized" || die 1 "a test, or a sanitizer, has something to report of the archive"
    "$out/tests-sanitized-shared" || die 1 "a test, or a sanitizer, has something to report of the shared library"
}

# example OUTPUT SOURCES…: linked as small as a VMM would, with the archive.
example() {
    local output=$1
    shift
    gcc -std=c11 -D_GNU_SOURCE "${warnings[@]}" -Os -ffunction-sections -fdata-sections -I"$out/include" "$@" \
        "$out/libirqmux.a" -luring -lpthread -Wl,--gc-sections -Wl,--as-needed -Wl,-z,noseparate-code \
        -Wl,-z,pack-relative-relocs -s -o "$output"
}

examples() {
    need_c gcc gcc
    build static
    local needed bytes
    example "$out/epoll-embed" Examples/epoll-embed/main.c
    example "$out/vmm-in-c" Examples/vmm-in-c/*.c Examples/vmm-in-c/guest.S
    for program in epoll-embed vmm-in-c; do
        bytes=$(stat -c %s "$out/$program")
        needed=$(ldd "$out/$program" | grep -vE 'linux-vdso|ld-linux|libc\.so|liburing\.so' || true)
        [[ -z $needed ]] || die 1 "$program needs more than libc and liburing:"$'\n'"$needed"
        say "$program: $bytes bytes stripped, needs libc and liburing"
        ((bytes <= program_limits[$program])) ||
            die 1 "$program has $bytes bytes; the limit is ${program_limits[$program]}"
    done
    "$out/epoll-embed"
    [[ -r /dev/kvm && -w /dev/kvm ]] || skip "kvm: /dev/kvm does not open, so vmm-in-c was built and not run"
    runs_guest vmm-in-c
}

# runs_guest PROGRAM: what an example prints of fifty rounds is exact, and an argument that is none is 64.
runs_guest() {
    local program=$1 said wanted status
    said=$("$out/$program" 50)
    printf '%s\n' "$said"
    for wanted in 'MSI-X: 52 of 52 ' 'masked: 2 of 2 ' 'INTx: 50 of 50 ' 'pair: 50 of 50 completed, doorbell rung 50 ' \
        'ledger: raised 102, delivered 102,' 'unexplained 0'; do
        grep -qF "$wanted" <<<"$said" || die 1 "$program does not say '$wanted…'"
    done
    for wanted in 0 1000001 many '1 2'; do
        status=0
        # shellcheck disable=SC2086
        "$out/$program" $wanted 2>/dev/null || status=$?
        ((status == 64)) || die 1 "$program $wanted exits with $status, not 64"
    done
}

rust() {
    need_c rustc rustc
    build static
    gcc -c Examples/vmm-in-c/guest.S -o "$out/guest.o"
    rustc --edition 2021 -D warnings -O -o "$out/vmm-in-rust" Examples/vmm-in-rust/main.rs \
        -C link-arg="$out/guest.o" -C link-arg="$out/libirqmux.a" -C link-arg=-luring
    [[ -r /dev/kvm && -w /dev/kvm ]] || skip "kvm: /dev/kvm does not open, so vmm-in-rust was built and not run"
    runs_guest vmm-in-rust
}

# The shared library against a device that another process serves, and again under the documented system calls.
vfio_user() {
    need_c gcc gcc
    build shared
    build_release --product irqmux
    local served=$PWD/$out/served allowed server
    allowed=$(documented_calls)
    serve() {
        rm -f "$served"
        "$(release_directory)/irqmux" serve --socket "$served" --device software:msix=4,msi=0,intx=0 2>/dev/null &
        server=$!
        # A generous end to waiting, against a server that does not come up.
        for ((turn = 0; turn < 600; turn++)); do [[ -S $served ]] && return || sleep 0.1; done
        die 1 "irqmux serve did not make its socket"
    }
    compile_served "$out/vfio-user"
    serve
    "$out/vfio-user" "$served" "$server"
    wait "$server" 2>/dev/null || true
    serve
    compile_served "$out/vfio-user-filtered" Tests/c/seccomp/filter.c
    if ! IRQMUX_SECCOMP=$allowed "$out/vfio-user-filtered" "$served"; then
        kill "$server"
        die 1 "under the documented system calls the program failed, or made another one"
    fi
    kill "$server"
    wait "$server"
}

compile_served() {
    local output=$1
    shift
    gcc -std=c11 -D_GNU_SOURCE "${warnings[@]}" -O1 -g -I"$out/include" Tests/c/vfio-user/main.c Tests/c/check.c "$@" \
        -L"$out" -lirqmux -lpthread -Wl,-rpath,"$PWD/$out" -o "$output"
}

# documented_calls [FEATURE…]: the system calls of the table in docs/c-abi.md, of the rows that begin so; without one,
# of all rows.
documented_calls() {
    local row allowed='' found
    local -a rows=("$@")
    (($# > 0)) || rows=('')
    for row in "${rows[@]}"; do
        found=$(awk -F '|' -v row="$row" '/^\| *feature *\| *system calls/ { on = 1; next } on && !/^\|/ { on = 0 }
            on && $3 !~ /---/ && index($2, " " row) == 1 { print $3 }' docs/c-abi.md |
            grep -o '`[^`]*`' | tr -d '`' || true)
        [[ -n $found ]] || die 2 "docs/c-abi.md has no row of system calls that begins with '$row'"
        allowed+=" $found"
    done
    tr -s ' \n' '\n' <<<"$allowed" | sort -u | tr '\n' ' '
}

# The rows that every program needs, those of a loop, and those of a thread of its own.
every=('making and destroying' 'the C library:')
loop=('the loop, on io_uring')
[[ $(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0) == 0 ]] || loop=('the loop, where it is epoll')
threads=('own thread' 'calls of other threads')

# filtered PROGRAM ARGUMENT ROW…: a program under these rows alone; and not without the last of them, where that has a
# call which the others have not.
filtered() {
    local program=$1 argument=$2 all less
    shift 2
    all=$(documented_calls "$@")
    IRQMUX_SECCOMP=$all "$out/$program" $argument ||
        die 1 "$(basename "$program") $argument fails, or made a call beyond: $all"
    less=$(documented_calls "${@:1:$#-1}")
    [[ $less == "$all" ]] || ! (IRQMUX_SECCOMP=$less exec "$out/$program" $argument) >"$out/without" 2>&1 ||
        die 1 "$(basename "$program") $argument needs nothing of the row '${*: -1}'"
}

# The C programs under exactly the system calls of docs/c-abi.md: any other kills them.
seccomp() {
    need_c gcc gcc
    build static
    example "$out/epoll-embed-filtered" Examples/epoll-embed/main.c Tests/c/seccomp/filter.c
    gcc -std=c11 -D_GNU_SOURCE "${warnings[@]}" -O1 -I"$out/include" Tests/c/seccomp/*.c Tests/c/check.c \
        "$out/libirqmux.a" -luring -lpthread -o "$out/feature-filtered"
    filtered epoll-embed-filtered '' ledger '`epoll-embed` itself' "${every[@]}" "${loop[@]}"
    local own='the tests of features'
    filtered feature-filtered loop "$own" "${every[@]}" ledger "${loop[@]}"
    filtered feature-filtered epoll "$own" "${every[@]}" ledger 'the loop, where it is epoll'
    filtered feature-filtered spinning "$own" "${every[@]}" "${loop[@]}" ledger spinning
    filtered feature-filtered thread "$own" "${every[@]}" "${loop[@]}" "${threads[@]}"
    filtered feature-filtered fan-out "$own" "${every[@]}" "${loop[@]}" fan-out
    filtered feature-filtered ledger "$own" "${every[@]}" "${loop[@]}" ledger
    filtered feature-filtered budget "$own" 'the C library:' 'descriptor budget'
    filtered feature-filtered vfio "$own" "${every[@]}" "${loop[@]}" 'VFIO devices'
    [[ -r /dev/kvm && -w /dev/kvm ]] || skip "kvm: /dev/kvm does not open, so vmm-in-c was not run under its filter"
    # It opens /dev/kvm as the ledger opens its file.
    filtered feature-filtered guest "$own" "${every[@]}" "${loop[@]}" ledger guests
    example "$out/vmm-in-c-filtered" Examples/vmm-in-c/*.c Examples/vmm-in-c/guest.S Tests/c/seccomp/filter.c
    filtered vmm-in-c-filtered 20 "${every[@]}" "${loop[@]}" ledger '`vmm-in-c` itself' guests "${threads[@]}"
}

# The program that meets real devices inside the emulated machine (Scripts/test-vm.sh), which has no shared libraries.
machine() {
    build static
    clang -std=c11 -D_GNU_SOURCE "${warnings[@]}" -O1 -g -static -I"$out/include" Tests/c/machine/*.c Tests/c/check.c \
        "$out/libirqmux.a" -luring -lpthread -o "$out/irqmux-c"
}

# An installation, a program built by pkg-config against it, the package, and that uninstall leaves nothing.
install() {
    local root=$out/root program=$out/installed package
    rm -rf "$root"
    DESTDIR=$PWD/$root Scripts/install.sh /opt/irqmux
    local -x PKG_CONFIG_PATH=$root/opt/irqmux/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$PWD/$root
    [[ $(pkg-config --modversion irqmux) == "$(c_version)" ]] || die 1 "irqmux.pc tells another version"
    # shellcheck disable=SC2046
    clang -std=c11 -D_GNU_SOURCE -Os Examples/epoll-embed/main.c $(pkg-config --cflags --libs irqmux) -o "$program"
    LD_LIBRARY_PATH=$root/opt/irqmux/lib "$program"
    [[ -s $root/opt/irqmux/share/man/man3/irqmux.3 && -s $root/opt/irqmux/bin/irqmux ]] || die 1 "a file is missing"
    DESTDIR=$PWD/$root Scripts/install.sh --uninstall /opt/irqmux
    [[ -z $(find "$root" -type f -o -type l) ]] || die 1 "left over: $(find "$root" -type f -o -type l)"
    command -v dpkg-deb >/dev/null || skip "dpkg: dpkg-deb is not installed, so no package was made"
    package=$(Scripts/deb.sh)
    dpkg-deb --extract "$package" "$root"
    dpkg-deb --info "$package" | grep -E '^ (Package|Version|Depends):'
    local wanted
    for wanted in usr/bin/irqmux usr/include/irqmux.h usr/share/man/man3/irqmux.3.gz; do
        [[ -s $root/$wanted ]] || die 1 "the package lacks $wanted"
    done
    [[ $(find "$root/usr/lib" -name 'libirqmux.*' | wc -l) == 3 ]] || die 1 "the package lacks a library"
    "$root/usr/bin/irqmux" --version
    rm -rf "$root"
}

case ${1:-} in
install | header | machine | static | shared | valgrind | sanitizers | examples | rust | seccomp) "$1" ;;
vfio-user) vfio_user ;;
*)
    die 64 "usage: Scripts/c-tests.sh STAGE: header, machine, static, shared, vfio-user, valgrind, sanitizers," \
        "examples, rust, seccomp or install"
    ;;
esac
