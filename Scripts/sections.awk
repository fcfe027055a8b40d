# Assembly of swiftc or clang, with every literal and every other object in a section of its own, so that a linker drops
# what nothing refers to: the compilers do that for functions and keep all texts of a room for one of them.
# Usage: awk -v room=NAME -f Scripts/sections.awk NAME.s
function enter(name, attributes) {
    kind = name
    flags = attributes
    alignment = ""
}
/^\t\.section\t\.rodata\.str1\.[0-9]+,/ { enter(".rodata.str", "\"aMS\",@progbits,1"); next }
/^\t\.section\t\.rodata,/ { enter(".rodata", "\"a\",@progbits"); next }
/^\t\.section\t\.data\.rel\.ro,/ { enter(".data.rel.ro", "\"aw\",@progbits"); next }
/^\t\.data$/ { enter(".data", "\"aw\",@progbits"); next }
/^\t\.(section|text|bss)/ { kind = "" }
kind != "" && /^\t\.p2align/ { alignment = $0; next }
kind != "" && /^[^\t #].*:/ {
    # A second label at one place names the same object. Texts need no alignment.
    if (!after_label) {
        printf "\t.section\t%s.%s%d,%s\n", kind, room, ++count, flags
        if (alignment != "" && kind != ".rodata.str") print alignment
    }
    alignment = ""
    after_label = 1
    print
    next
}
{ after_label = 0; print }
