# The one table of what a test may be skipped for. With CI=true a skip fails when its row's condition holds, since the
# machine could have run it, and when its reason matches no row, since nobody can tell.
#
# A row is: stage | pattern (extended, ignoring case) that the skip's reason matches | condition under which it can run.
# The first row that matches decides. docs/testing.md says how a reason is worded.
stages=(
    'one cpu  | ^emulated machine: .*cpu | false'
    'machine  | ^machine:        | false'
    'vm       | ^vm:             | true'
    'interop  | ^interop:        | true'
    'kvm      | kvm              | [[ -r /dev/kvm && -w /dev/kvm ]]'
    'vfio     | vfio             | [[ -r /dev/vfio/vfio && -w /dev/vfio/vfio ]]'
    'iommufd  | iommufd          | [[ -r /dev/iommu && -w /dev/iommu ]]'
    'io_uring | io_?uring        | [[ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" == 0 ]]'
    'cpus     | cpus?            | (( $(nproc) >= 2 ))'
    'root     | root|privilege   | (( EUID == 0 ))'
    'files    | rlimit_nofile    | (( $(ulimit -Hn) >= 65536 ))'
    'sanitizer | sanitizer       | false'
    'gcc      | gcc              | command -v gcc g++ >/dev/null'
    'valgrind | valgrind         | command -v valgrind >/dev/null'
    'rustc    | rustc            | command -v rustc >/dev/null'
    'dpkg     | dpkg             | command -v dpkg-deb >/dev/null'
)

# Whether the machine could have run what was skipped for this reason: prints why the skip counts as a failure, or
# nothing.
skip_verdict() {
    local reason=$1 row stage pattern condition
    for row in "${stages[@]}"; do
        # The pattern may hold bars of its own: the stage ends at the first, the condition begins after the last " | ".
        stage=${row%%|*} condition=${row##* | } pattern=${row#*|}
        pattern=${pattern%"| $condition"}
        stage=${stage// /} pattern=${pattern// /}
        if grep -qiE -- "$pattern" <<<"$reason"; then
            if eval "$condition"; then printf 'CI must run it: stage %s is there' "$stage"; fi
            return 0
        fi
    done
    printf 'the reason names no stage of Scripts/stages.sh'
}
