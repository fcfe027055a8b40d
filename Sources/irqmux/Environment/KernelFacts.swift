/// The running kernel and what it lets this process do.
struct KernelFacts {
    /// As uname says it: `6.1.0-28-amd64`.
    let release: String
    let major: Int
    let minor: Int
    /// `kernel.io_uring_disabled`: 0 everybody may, 1 only io_uring_group and CAP_SYS_ADMIN, 2 nobody. Since Linux 6.6.
    let ioUringDisabled: Int?
    /// `Seccomp` of /proc/self/status: 0 no filter, 1 strict, 2 a filter (a container's, most often).
    let seccompMode: Int?
    /// The clock source of CLOCK_MONOTONIC.
    let clockSource: String?

    static func read() -> KernelFacts {
        let release = SystemFiles.text("/proc/sys/kernel/osrelease") ?? "unknown"
        let numbers = release.split { !("0"..."9").contains($0) }.prefix(2).map { Int($0) ?? 0 }
        return KernelFacts(
            release: release,
            major: numbers.first ?? 0,
            minor: numbers.count > 1 ? numbers[1] : 0,
            ioUringDisabled: SystemFiles.number("/proc/sys/kernel/io_uring_disabled"),
            seccompMode: SystemFiles.field("Seccomp", of: "/proc/self/status").flatMap { Int($0) },
            clockSource: SystemFiles.text("/sys/devices/system/clocksource/clocksource0/current_clocksource"))
    }

    func isAtLeast(_ major: Int, _ minor: Int) -> Bool { (self.major, self.minor) >= (major, minor) }
}
