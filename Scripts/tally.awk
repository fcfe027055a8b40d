# Counts Swift Testing's event stream (version 0, one JSON object a line, keys sorted):
#   awk -f Scripts/tally.awk STREAM   writes one line a test: pass|fail|skip TAB name TAB reason
# A test function counts once; a parameterised one counts once for every set of arguments that ran. A test that began
# and did not end, or never began because the process died, counts as failed: nothing disappears from the sum.
#
# No JSON parser is needed: quotes inside a JSON string are escaped, so `"key":"` can only be a key.

# The position of the last `needle` in `text`, 0 when there is none.
function last(text, needle,    at, step) {
    at = 0
    while ((step = index(substr(text, at + 1), needle)) > 0) at += step
    return at
}

# The JSON string that begins at position `at` of `text`, unescaped and on one line.
function stringAt(text, at,    result, rest, character) {
    result = ""
    rest = substr(text, at)
    # By pieces, not by characters: in an emulated machine that is the difference between one second and a dozen.
    while (match(rest, /["\\]/)) {
        result = result substr(rest, 1, RSTART - 1)
        character = substr(rest, RSTART, 1)
        if (character == "\"") return result
        character = substr(rest, RSTART + 1, 1)
        if (character == "n" || character == "t" || character == "r") character = " "
        result = result character
        rest = substr(rest, RSTART + 2)
    }
    return result rest
}

# The string under the first `"key":"` (or the first string of an array under it), "" when there is none.
function field(text, key,    at, opening) {
    opening = "\"" key "\":\""
    if ((at = index(text, opening)) > 0) return stringAt(text, at + length(opening))
    opening = "\"" key "\":[\""
    if ((at = index(text, opening)) > 0) return stringAt(text, at + length(opening))
    return ""
}

# What an issue says: Issue.record's own first message is only a heading.
function issueText(line,    text) {
    text = field(line, "text")
    if (text != "Issue recorded") return text
    return stringAt(line, last(line, "\"text\":\"") + 8)
}

function report(outcome, name, reason) {
    gsub(/\t/, " ", name)
    gsub(/\t/, " ", reason)
    printf "%s\t%s\t%s\n", outcome, name, reason
}

/^[{]"kind":"test",/ && /"kind":"function"/ {
    own = last($0, "\"id\":\"")
    id = stringAt($0, own + 6)
    order[++count] = id
    shown = last($0, "\"displayName\":\"")
    # Every argument has a displayName and an id before the function's own.
    cases = last(substr($0, 1, own - 1), "\"id\":\"")
    name = id
    sub(/\/[^\/]*$/, "", name)
    suite = name
    sub(/\/[^\/]*$/, "", suite)
    names[id] = shown > cases ? suite ": " stringAt($0, shown + 15) : name
    parameterised[id] = index($0, "\"isParameterized\":true") > 0
    next
}

/^[{]"kind":"event",/ {
    kind = field(substr($0, 16), "kind")
    if (kind == "runEnded") ended = 1
    id = field($0, "testID")
    if (!(id in names)) next
    symbol = field($0, "symbol")
    if (kind == "testStarted") state[id] = "started"
    else if (kind == "testSkipped" || kind == "testCancelled") {
        reason[id] = field($0, "_comments")
        if (kind == "testSkipped") state[id] = "skip"
    } else if (kind == "testEnded") {
        state[id] = symbol == "pass" || symbol == "passWithKnownIssue" || symbol == "passWithWarnings" ? "pass" \
            : symbol == "skip" ? "skip" : "fail"
    } else if (kind == "issueRecorded" && symbol == "fail") {
        if (issues[id]++ == 0) reason[id] = issueText($0)
    }

    if (!parameterised[id] || (at = index($0, "\"_testCase\":")) == 0) next
    argument = field(substr($0, at), "id")
    key = id SUBSEP argument
    if (kind == "testCaseStarted") {
        caseOrder[id, ++caseCount[id]] = argument
        caseName[key] = field(substr($0, at), "displayName")
        caseState[key] = "fail"
        caseReason[key] = "it began and did not end"
    } else if (kind == "issueRecorded" && symbol == "fail") {
        caseFailed[key] = 1
        caseReason[key] = issueText($0)
    } else if (kind == "testCaseCancelled") {
        caseSkipped[key] = 1
        caseReason[key] = field($0, "_comments")
    } else if (kind == "testCaseEnded") {
        caseState[key] = caseFailed[key] ? "fail" : caseSkipped[key] ? "skip" : "pass"
    }
}

END {
    for (number = 1; number <= count; number++) {
        id = order[number]
        if (state[id] == "") report("fail", names[id], "it never began")
        else if (state[id] == "started" && caseCount[id] == 0) report("fail", names[id], "it began and did not end")
        else if (caseCount[id] == 0) {
            if (state[id] == "pass") reason[id] = ""
            if (issues[id] > 1) reason[id] = reason[id] " (and " issues[id] - 1 " more)"
            report(state[id], names[id], reason[id])
        }
        else {
            failedCases = 0
            for (step = 1; step <= caseCount[id]; step++) {
                key = id SUBSEP caseOrder[id, step]
                if (caseState[key] == "fail") failedCases++
                if (caseState[key] == "pass") caseReason[key] = ""
                report(caseState[key], names[id] " (" caseName[key] ")", caseReason[key])
            }
            # An issue recorded outside any set of arguments, by a detached thread for example.
            if (failedCases == 0 && state[id] ~ /^(fail|started)$/) report("fail", names[id], reason[id])
        }
    }
    if (!ended) report("fail", "the test process", "it died before its summary")
}
