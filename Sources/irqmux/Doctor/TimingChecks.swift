/// The clockwork: what stands between this machine and steady latencies.
enum TimingChecks {
    static func clock(_ patient: Patient) -> Check {
        let source = patient.kernel.clockSource ?? "unknown"
        // Read without entering the kernel on these; every other source costs a system call a stamp.
        let readInUserSpace = ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"]
        if patient.processor.hasInvariantCounter {
            return .ok("clock", "invariant cycle counter; CLOCK_MONOTONIC from \(source)")
        }
        if readInUserSpace.contains(source) {
            return .ok("clock", "no invariant cycle counter; CLOCK_MONOTONIC from \(source) stamps instead")
        }
        return .warn(
            "clock", "no invariant cycle counter, and CLOCK_MONOTONIC from \(source) costs a system call a stamp",
            remedy: "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource")
    }

    static func processors(_ patient: Patient) -> Check {
        let (online, usable) = (patient.processor.online, patient.processor.usable)
        let share = usable == online ? "" : ", of which this process may use \(usable)"
        let detail = "\(online.numbers.count) online (\(online))\(share), \(patient.processor.model)"
        guard usable.numbers.count > 1 else {
            return .warn(
                "processors", detail + ": a spinning wait takes the time of whoever raises the interrupt",
                remedy: online.numbers.count > 1
                    ? "use --wait block, or let it run on two processors (taskset -pc \(online) $$)"
                    : "use --wait block, or a machine with two processors")
        }
        return .ok("processors", detail)
    }

    static func governor(_ patient: Patient) -> Check {
        guard let governor = patient.processor.governor else {
            return .ok("governor", "none here: the frequency is the host's or the firmware's to choose")
        }
        if governor == "performance" { return .ok("governor", governor) }
        return .warn(
            "governor", "\(governor): the frequency changes while latencies are measured",
            remedy: "sudo cpupower frequency-set -g performance")
    }

    /// Above this share a percentile says more about the neighbours than about this machine.
    static let tolerableStealPercent = 1.0

    static func steal(_ patient: Patient) -> Check {
        let place = patient.processor.hypervisor.map { "a guest of \($0)" } ?? "bare metal"
        guard let steal = patient.steal else { return .ok("steal time", "\(place); the kernel does not count it") }
        let percent = steal.percent()
        let detail = "\(place); \(NumberText.decimal(percent, places: 2)) % stolen since boot"
        guard percent < tolerableStealPercent else {
            return .warn(
                "steal time", detail + ": high percentiles are the neighbours'",
                remedy: "use dedicated processors, or compare ratios within one run and not absolute figures")
        }
        return .ok("steal time", detail)
    }
}
