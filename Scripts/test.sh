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

# A stage is one command and counts as one test.
stage() {
    local name=$1 status=0
    shift
    printf '\n── %s\n' "$name"
    bounded "$@" || status=$?
    if ((status == 0)); then record pass "$name"; else record fail "$name" "$* exited with $status"; fi
}

# Swift Testing writes what happened as one JSON object a line; tally.awk counts that, never the text for people.
unit_tests() {
    local status=0 stream=$work/stream selection=() tallied=$work/tallied
    [[ $scope == all ]] || selection=(--skip '^HouseTests\.')
    printf '── building (the first time takes a minute or two) …\n'
    export IRQMUX_WERROR=1
    if ! bounded swift build --build-tests; then
        record fail "build of the tests" "swift build --build-tests; warnings count as errors"
        return
    fi
    printf '\n── swift test\n'
    bounded swift test --skip-build --disable-xctest --event-stream-output-path "$stream" --event-stream-version 0 \
        "${selection[@]}" || status=$?
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

unit_tests
if [[ $scope == all ]]; then
    stage "soak, scaled down" Scripts/soak.sh 300000 1
    stage "simulator, 10000 seeds" Scripts/sim.sh 10000 1
    stage "simulator finds every mutation" Scripts/sim.sh mutations
    stage "embedded build, linked and run from C" Scripts/embedded.sh
    stage "hot-path gate" Scripts/hot-path-gate.sh
    stage "hot-path gate can fail" Scripts/hot-path-gate.sh --self-test
fi
judge_skips

printf '\n'
awk -F '\t' '$1 == "skip" { printf "skipped: %s: %s\n", $2, ($3 == "" ? "no reason given" : $3) }' "$work/judged"
awk -F '\t' '$1 == "fail" { printf "FAILED: %s%s\n", $2, ($3 == "" ? "" : ": " $3) }' "$work/judged"
awk -F '\t' '{ n[$1]++ } END { printf "%d passed, %d failed, %d skipped\n", n["pass"], n["fail"], n["skip"]
    exit n["fail"] > 0 }' "$work/judged"
