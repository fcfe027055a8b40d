internal import CEngines
internal import EventRing
internal import Foundation

/// The machine a run was made on: two processors to pin to, the clock, and what goes on record.
struct Machine {
    let readerCPU: Int32
    let writerCPU: Int32
    let nanosecondsPerCycle: Double
    let descriptorLimit: Int

    /// Pins the calling thread to the first processor. Nil when there are fewer than two: then a wake-up from one to
    /// the other cannot be measured.
    init?() {
        guard bench_cpu_count() >= 2 else { return nil }
        readerCPU = bench_cpu(0)
        writerCPU = bench_cpu(1)
        guard bench_pin(readerCPU) == 0 else { return nil }
        nanosecondsPerCycle = bench_clock_calibrate()
        descriptorLimit = Int(clamping: bench_raise_descriptor_limit())
    }

    /// What the results depend on, for the record.
    var environment: [String: String] {
        var facts: [String: String] = [
            "clock": bench_clock_is_invariant() ? "cycle counter, invariant" : "cycle counter, not invariant",
            "reader_cpu": "\(readerCPU)", "writer_cpu": "\(writerCPU)",
            "cpus": "\(ProcessInfo.processInfo.activeProcessorCount)",
            // SAFETY: a static text.
            "libraries": unsafe String(cString: bench_library_versions()),
        ]
        let ring = RingReport.probe()
        facts["ring"] = "\(ring.tier.name)" + (ring.obstacle.map { " (better tiers: \($0))" } ?? "")
        facts["kernel"] = Self.text("/proc/sys/kernel/osrelease")
        let cpu = Self.text("/proc/cpuinfo")?.split(separator: "\n") ?? []
        facts["cpu"] = cpu.first { $0.hasPrefix("model name") }.map { Self.value($0) }
        facts["hypervisor"] = cpu.contains { $0.hasPrefix("flags") && $0.contains(" hypervisor") } ? "yes" : "no"
        facts["governor"] = Self.text("/sys/devices/system/cpu/cpu\(readerCPU)/cpufreq/scaling_governor") ?? "none"
        return facts
    }

    private static func text(_ path: String) -> String? {
        (try? String(contentsOfFile: path, encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private static func value(_ line: Substring) -> String {
        line.split(separator: ":", maxSplits: 1).last.map { $0.trimmingCharacters(in: .whitespaces) } ?? ""
    }
}
