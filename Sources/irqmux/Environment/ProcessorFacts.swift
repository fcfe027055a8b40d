internal import CKernel

/// The processors and what stands between them and steady timing.
struct ProcessorFacts {
    /// `model name` of /proc/cpuinfo.
    let model: String
    /// The processors that are online.
    let online: CPUList
    /// Those of them that this process may run on (taskset, cpusets), as far as the calling thread says.
    let usable: CPUList
    /// The frequency governor of the first processor; `nil` where the host decides.
    let governor: String?
    /// What this machine is a guest of; `nil` on bare metal.
    let hypervisor: String?
    /// Whether the cycle counter can be used as a clock.
    let hasInvariantCounter: Bool

    static func read() -> ProcessorFacts {
        let online = SystemFiles.text("/sys/devices/system/cpu/online").flatMap { try? CPUList(parsing: $0) }
        let model =
            SystemFiles.field("model name", of: "/proc/cpuinfo") ?? SystemFiles.field("CPU part", of: "/proc/cpuinfo")
        return ProcessorFacts(
            model: model ?? "unknown",
            online: online ?? CPUList([0]),
            usable: usable() ?? online ?? CPUList([0]),
            governor: SystemFiles.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            hypervisor: hypervisorName(),
            hasInvariantCounter: irqmux_cycles_are_invariant())
    }

    private static func usable() -> CPUList? {
        SystemFiles.field("Cpus_allowed_list", of: "/proc/thread-self/status").flatMap { try? CPUList(parsing: $0) }
    }

    private static func hypervisorName() -> String? {
        if let type = SystemFiles.text("/sys/hypervisor/type"), !type.isEmpty { return type }
        let flags = SystemFiles.field("flags", of: "/proc/cpuinfo")?.split(separator: " ") ?? []
        guard flags.contains("hypervisor") else { return nil }
        let vendor = SystemFiles.text("/sys/class/dmi/id/sys_vendor") ?? ""
        let product = SystemFiles.text("/sys/class/dmi/id/product_name") ?? ""
        let name = [vendor, product].filter { !$0.isEmpty }.joined(separator: " ")
        return name.isEmpty ? nameFromClocks() : name
    }

    /// Micro-VMs have no DMI table; the clock a hypervisor offers its guests still gives it away.
    private static func nameFromClocks() -> String {
        let clocks = SystemFiles.text("/sys/devices/system/clocksource/clocksource0/available_clocksource") ?? ""
        if clocks.contains("kvm-clock") { return "KVM" }
        if clocks.contains("hyperv") { return "Hyper-V" }
        if clocks.contains("xen") { return "Xen" }
        return "an unnamed hypervisor"
    }
}
