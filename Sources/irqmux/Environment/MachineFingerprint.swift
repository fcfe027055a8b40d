/// What a figure was measured on. It goes into every report, since a latency without its machine means nothing.
struct MachineFingerprint {
    let kernel: String
    let cpu: String
    let processors: CPUList
    let governor: String?
    let hypervisor: String?
    let clockSource: String?
    /// The io_uring tier the loop ran on, as EventRing names it.
    let ring: String
    /// What the hypervisor took during the measurement, in percent.
    let stealPercent: Double?

    init(ring: String, stealPercent: Double?) {
        let kernel = KernelFacts.read()
        let processor = ProcessorFacts.read()
        self.kernel = kernel.release
        cpu = processor.model
        processors = processor.online
        governor = processor.governor
        hypervisor = processor.hypervisor
        clockSource = kernel.clockSource
        self.ring = ring
        self.stealPercent = stealPercent
    }

    var json: JSON {
        func optional(_ text: String?) -> JSON { text.map { .string($0) } ?? .null }
        return .object([
            ("kernel", .string(kernel)),
            ("cpu", .string(cpu)),
            ("cpus_online", .string(processors.description)),
            ("governor", optional(governor)),
            ("hypervisor", optional(hypervisor)),
            ("clocksource", optional(clockSource)),
            ("ring", .string(ring)),
            ("steal_percent", stealPercent.map { .number($0) } ?? .null),
        ])
    }
}
