# Makes irqmux(3) of irqmux.h: its comments are the reference, so the page cannot disagree with it.
function flush_text(   text) {
    if (comment != "") {
        text = comment
        gsub(/\\/, "\\e", text)
        gsub(/-/, "\\-", text)
        gsub(/^\./, "\\\\\\&.", text)
        print text
    }
    comment = ""
}
function code(line) { gsub(/\\/, "\\e", line); gsub(/-/, "\\-", line); sub(/^\./, "\\\\\\&.", line); print line }
BEGIN {
    print ".TH irqmux 3 \"\" irqmux \"irqmux C library\"\n.SH NAME\nirqmux \\- interrupt router and eventfd multiplexer"
    print ".SH SYNOPSIS\n.nf\n#include <irqmux.h>\n\ncc program.c $(pkg\\-config \\-\\-cflags \\-\\-libs irqmux)\n.fi"
    print ".SH RULES"
    rules = 1
}
/^#ifndef IRQMUX_H/ { flush_text(); rules = 0; next }
rules {
    sub(/^\/\/ */, "")
    if (/^- /) { flush_text(); print ".PP" }
    comment = comment (comment == "" ? "" : "\n") $0
    next
}
/^#|^extern "C"|^}$/ { next }
/^\/\/ ---- / { flush_text(); sub(/^\/\/ ---- /, ""); print ".SH " toupper($0); next }
/^\/\/ / { sub(/^\/\/ /, ""); comment = comment (comment == "" ? "" : "\n") $0; next }
/^$/ { if (open) print ".fi"; open = 0; flush_text(); next }
{
    if (!open) {
        name = ""
        if (match($0, /irqmux_[a-z0-9_]+\(/)) name = substr($0, RSTART, RLENGTH - 1)
        if (name != "") print ".SS " name
        text = comment
        comment = ""
        print ".PP\n.nf"
        open = 1
    }
    code($0)
    if (/;$/ && !/^    / && text != "") { print ".fi\n.PP"; comment = text; text = ""; flush_text(); open = 0 }
}
END { if (open) print ".fi"; flush_text() }
