# Walks the calls of the hot symbols; Scripts/hot-path-gate.sh says how it is fed:
#   names    mangled TAB demangled, one function a line
#   symbols  `hot REGEX` and `cold REGEX` lines
#   ends     address of a function's first byte SPACE that of the first byte after it, 16 hexadecimal digits each
#   code     objdump -d of the rooms linked together
# Prints one line a hot symbol and one for each fault; exits 1 when there is a fault.

BEGIN {
    forbidden = "^(swift_(retain|release|bridgeObject|unknownObject|nonatomic|strong|weak|unowned|isUniquely" \
        "|alloc|dealloc|slow|makeBox|projectBox|initStackObject|beginAccess|endAccess|once|getGenericMetadata" \
        "|getWitnessTable|getAssociated|dynamicCast|conformsToProtocol|task|job|continuation)" \
        "|malloc|calloc|realloc|reallocarray|aligned_alloc|posix_memalign|free|memcpy|memmove" \
        "|_Zn|_Zd|pthread_(mutex|rwlock|cond|spin|once|key)|sem_|mtx_|.*[lL]ock(Slow)?$|print)"
    # What the Swift library may be called for: to stop the program.
    stops = "(assertionFailure|fatalErrorMessage|preconditionFailure)"
}

FILENAME != source { source = FILENAME; input++ }

input == 1 { split($0, part, "\t"); demangled[part[1]] = part[2]; next }

input == 2 {
    if ($0 ~ /^(#|$)/) next
    pattern = $0
    sub(/^[a-z]+ +/, "", pattern)
    if ($1 == "hot") hot[++hots] = pattern
    else if ($1 == "cold") cold[++colds] = pattern
    else { printf "fault: hot-symbols: neither hot nor cold: %s\n", $0; faults++ }
    next
}

input == 3 { end[$1] = $2; next }

# 0000000000002c80 <name>:
/^[0-9a-f]+ <.*>:$/ { start = $1; current = $2; sub(/^</, "", current); sub(/>:$/, "", current); next }
/^$/ || /^Disassembly/ { current = ""; next }
current == "" || current ~ /@plt$/ { next }
{
    address = sprintf("%17s", $1)
    gsub(/ /, "0", address)
    if (start in end && substr(address, 1, 16) >= end[start]) next
    if ($2 !~ /^nop/ && $2 != "data16" && $2 != "xchg" && $2 != "cs") instructions[current]++
    if ($2 !~ /^(call|jmp|j[a-z]+|b|bl|b\.[a-z]+|cbz|cbnz|tbz|tbnz|blr|br|bnd|notrack)$/) next
    if (!match($0, /<[^>]*>$/)) {
        if ($2 == "call" || $2 == "blr") indirect[current]++
        next
    }
    target = substr($0, RSTART + 1, RLENGTH - 2)
    sub(/\+0x[0-9a-f]+$/, "", target)
    sub(/@plt$/, "", target)
    if (target != current) {
        calls[current]++
        callee[current, calls[current]] = target
    }
}

function name(symbol) { return symbol in demangled ? demangled[symbol] : symbol }

function fault(text) { printf "fault: %s\n", text; faults++ }

function isCold(symbol,    number) {
    for (number = 1; number <= colds; number++) if (name(symbol) ~ cold[number]) { coldUsed[number] = 1; return 1 }
    return 0
}

# Everything that `symbol` reaches in our own rooms, depth first; `way` says how it was reached.
function walk(symbol, way,    number, target) {
    if (seen[symbol] == root) return
    seen[symbol] = root
    total += instructions[symbol]
    indirectTotal += indirect[symbol]
    for (number = 1; number <= calls[symbol]; number++) {
        target = callee[symbol, number]
        # A typed throw names the conformance of its error to the debugger; on the throwing edge only.
        if (isCold(target) || name(target) ~ /^lazy protocol witness table accessor .*Error and conformance /) continue
        if (target in instructions) walk(target, way " → " name(target))
        else if (target ~ forbidden) fault(way " calls " target)
        else if (target ~ /^\$[sSe]/ && target !~ stops) fault(way " calls " name(target) " of another library")
        else if (target !~ /^\$[sSe]/) outside[target] = 1
    }
}

END {
    for (line = 1; line <= hots; line++) {
        found = 0
        for (symbol in instructions) {
            if (name(symbol) !~ hot[line]) continue
            found = 1
            root = line SUBSEP symbol
            total = indirectTotal = 0
            split("", outside)
            walk(symbol, name(symbol))
            list = ""
            for (target in outside) list = list " " target
            printf "hot: %s: %d instructions, %d with all it reaches, %d indirect calls, calls outside:%s\n", \
                name(symbol), instructions[symbol], total, indirectTotal, list == "" ? " none" : list
        }
        if (!found) fault("no function matches hot " hot[line])
    }
    for (line = 1; line <= colds; line++) if (!coldUsed[line]) fault("nothing hot calls cold " cold[line])
    if (hots == 0) fault("no hot symbol is listed")
    exit faults > 0
}
