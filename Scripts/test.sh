#!/usr/bin/env bash
# Runs the tests and counts them: test.sh all | fast. The last line is "N passed, N failed, N skipped".
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source Scripts/stages.sh
scope=${1:-all}
[[ $scope == all || $scope == fast ]] || die 64 "usage: Scripts/test.sh all | fast"
need_swift

# Long enough for a slow machine's build; a hang is a failure, not a wait.
limit=${IRQMUX_TEST_LIMIT:-1800}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
results=$work/results
: >"$results"
record() { printf '%s\t%s\t%s\n' "$1" "$2" "${3:-}" >>"$results"; }

# Runs a command without input, its messages among the output, for the limit at most.
bounded() { timeout --foreground --kill-after=30 "$limit" "$@" </dev/null 2>&1; }

# A stage is one command and counts as one test. With 77 it was skipped, and its last line says why.
stage() {
    local name=$1 status=0 output=$work/stage
    shift
    printf '\n── %s\n' "$name"
    bounded "$@" | tee "$output" || status=$?
    case $status in
    0) record pass "$name" ;;
    77) record skip "$name" "$(tail -n 1 "$output" | sed 's/^skipped: //')" ;;
    *) record fail "$name" "$* exited with $status" ;;
    esac
}

# Swift Testing writes what happened as one JSON object a line; tally.awk counts that, never the text for people.
unit_tests() {
    # The machine's own tests are counted where they run: inside (emulated_machine).
    local status=0 stream=$work/stream selection=(--skip '^MachineTests\.') tallied=$work/tallied
    [[ $scope == all ]] || selection+=(--skip '^HouseTests\.')
    printf '── building (the first time takes a minute or two) …\n'
    export IRQMUX_WERROR=1
    if ! bounded swift build --build-tests; then
        record fail "build of the tests" "swift build --build-tests; warnings count as errors"
        return
    fi
    printf '\n── swift test\n'
    # Of 1100 tests only what did not pass is worth a line: what passed is counted, and told by the hundred.
    bounded swift test --skip-build --disable-xctest --event-stream-output-path "$stream" --event-stream-version 0 \
        "${selection[@]}" |
        awk 'index($0, "◇") == 1 { next }
            index($0, "✔ Test ") == 1 { if (++passed % 100 == 0) { print passed " tests passed …"; fflush() } next }
            index($0, "✔") == 1 { next }
            { print; fflush() }' || status=$?
    unset IRQMUX_WERROR
    : >>"$stream"
    awk -f Scripts/tally.awk "$stream" >"$tallied"
    cat "$tallied" >>"$results"
    if [[ ! -s $tallied ]] || ! grep -q '^pass' "$tallied"; then
        record fail "swift test" "not one test passed (exit $status)"
    elif ((status != 0)) && ! grep -q '^fail' "$tallied"; then
        record fail "swift test" "it exited with $status though every test passed"
    fi
}

# With CI=true a skip of what this machine could run is a failure.
judge_skips() {
    local outcome name reason verdict
    while IFS=$'\t' read -r outcome name reason; do
        if [[ $outcome == skip && ${CI:-} == true ]]; then
            verdict=$(skip_verdict "$reason")
            if [[ -n $verdict ]]; then outcome=fail reason="skipped: $reason ($verdict)"; fi
        fi
        printf '%s\t%s\t%s\n' "$outcome" "$name" "$reason"
    done <"$results" >"$work/judged"
}

# The emulated machine's tests count one by one, as they do on this one.
emulated_machine() {
    local status=0
    printf '\n── emulated machine\n'
    # Room for a boot that hung twice and was told (Scripts/vm/tries.sh).
    IRQMUX_PART_OF_TEST=1 SEED=${SEED:-1} limit=$((limit + 900)) bounded Scripts/test-vm.sh "$results" || status=$?
    ((status == 0)) || record fail "emulated machine" "Scripts/test-vm.sh exited with $status"
}

# Another implementation's client and its guest, against our server and device.
interop() {
    local status=0
    printf '\n── another implementation\n'
    IRQMUX_PART_OF_TEST=1 bounded Scripts/test-interop.sh "$results" || status=$?
    ((status == 0)) || record fail "interop" "Scripts/test-interop.sh exited with $status"
}

unit_tests
if [[ $scope == all ]]; then
    emulated_machine
    interop
    stage "soak, scaled down" Scripts/soak.sh 300000 1
    stage "fuzzing of vfio-user, scaled down" Scripts/fuzz.sh 15
    stage "simulator, 10000 seeds" Scripts/sim.sh 10000 1
    stage "simulator finds every mutation" Scripts/sim.sh mutations
    stage "embedded build, linked and run from C" Scripts/embedded.sh
    stage "C header, as C and C++, gcc and clang" Scripts/c-tests.sh header
    stage "C tests with libirqmux.a" Scripts/c-tests.sh static
    stage "C tests with libirqmux.so" Scripts/c-tests.sh shared
    stage "C program with a device of another process" Scripts/c-tests.sh vfio-user
    stage "C tests under valgrind" Scripts/c-tests.sh valgrind
    stage "C tests under address and undefined-behaviour sanitizers" Scripts/c-tests.sh sanitizers
    stage "examples in C" Scripts/c-tests.sh examples
    stage "example in Rust" Scripts/c-tests.sh rust
    stage "C programs under exactly the documented system calls" Scripts/c-tests.sh seccomp
    stage "installation, and its end" Scripts/c-tests.sh install
    stage "hot-path gate" Scripts/hot-path-gate.sh
    stage "hot-path gate can fail" Scripts/hot-path-gate.sh --self-test
fi
judge_skips

printf '\n'
awk -F '\t' '$1 == "skip" { printf "skipped: %s: %s\n", $2, ($3 == "" ? "no reason given" : $3) }' "$work/judged"
awk -F '\t' '$1 == "fail" { printf "FAILED: %s%s\n", $2, ($3 == "" ? "" : ": " $3) }' "$work/judged"
awk -F '\t' '{ n[$1]++ } END { printf "%d passed, %d failed, %d skipped\n", n["pass"], n["fail"], n["skip"]
    exit n["fail"] > 0 }' "$work/judged"
