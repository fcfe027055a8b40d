internal import ArgumentParser
internal import EventRing
internal import InterruptModel
internal import MicroGuest

struct Latency: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure how long an interrupt takes from its signal to its handler.",
        discussion: """
            Paths: eventfd is the floor (a thread writes, the loop receives); loopback has the device raise and \
            the mux hand out; kvm has the device raise and the mux forward into a real guest, whose handler rings \
            a doorbell, and tells every stage (wake, dispatch, forward, acknowledged); bypass is the same guest with \
            nobody on the way in (irqfd, its handler, ioeventfd). With a rate, latency counts from when each signal \
            was due, so that a late sender hides nothing; the reading from the send is shown beside it. Without, the \
            next signal is sent when the last one has been handled.

            Exit code 1 when an assertion is breached, a signal is lost or nothing was measured. Ctrl-C ends early \
            and prints what there is.

            EXAMPLES
              irqmux latency
              irqmux latency --path loopback --vectors 64 --rate 10k/s --duration 10s --wait adaptive
              irqmux latency --path kvm --count 20k --cpu 0,1 --wait spin
              irqmux latency --wait spin --assert 'p99<20us' --assert 'lost<1' --format json
              irqmux latency --rate 50k/s --count 1M --format hgrm --output spin.hgrm
            """)

    @Option(help: "Which way the interrupt takes.")
    var path = PathChoice.eventfd

    @Option(help: "How the loop waits.")
    var wait = WaitChoice.block

    @Option(
        help: ArgumentHelp("The device of loopback and kvm: \(DeviceName.accepted) (default: software)."),
        transform: { try DeviceName(parsing: $0) })
    var device = DeviceName.software(SoftwareLayout())

    @Option(
        help: "Which interrupts of the device: intx, msi or msix (default: msix).",
        completion: .list(["intx", "msi", "msix"]), transform: Latency.index)
    var index = IRQIndex.msix

    @Option(
        help: "How many vectors take turns (default: 1).",
        transform: { try CountArgument.parse($0, of: "vectors", in: 1...16384) })
    var vectors = CountArgument(1)

    @Option(help: "How often a signal is due, as in 10k/s.", transform: { try RateArgument(parsing: $0) })
    var rate: RateArgument?

    @Option(
        help: "How many signals are measured (default: 10k, or as many as --duration has room for).",
        transform: { try CountArgument.parse($0, of: "signals", in: 1...1_000_000_000_000) })
    var count: CountArgument?

    @Option(help: "How long is measured at most, as in 10s.", transform: { try DurationArgument(parsing: $0) })
    var duration: DurationArgument?

    @Option(
        help: "How long signals are sent before measuring begins (default: 100ms).",
        transform: { try DurationArgument(parsing: $0) })
    var warmup = DurationArgument(nanoseconds: 100_000_000)

    @Option(
        help: "The processors of the receiver, the sender and the guest, in this order, as in 0,1.",
        transform: { try CPUList(parsing: $0) })
    var cpu: CPUList?

    @Option(
        help: "A threshold, as in 'p99<20us' or 'lost<1'; may be given more than once.",
        transform: { try Assertion(parsing: $0) })
    var assert: [Assertion] = []

    @Option(help: "The form of the report.")
    var format = MeasurementFormat.text

    @Option(help: "Where the report goes instead of stdout.", completion: .file())
    var output: String?

    static func index(_ text: String) throws(UsageError) -> IRQIndex {
        guard let index = [IRQIndex.intx, .msi, .msix].first(where: { $0.name == text }) else {
            throw UsageError("not an index that can be measured; accepted: intx, msi, msix")
        }
        return index
    }

    func run() throws {
        let plan = try plan()
        let descriptors = path == .kvm ? DescriptorBudget.perGuestVector : DescriptorBudget.perVector
        try DescriptorBudget.secure(vectors: UInt64(plan.vectors), each: descriptors)
        let sink = try OutputSink(path: output)
        let interruption = Interruption.listening()
        RingNotice.give(.probe())
        let selfCost = SelfCost.measure()
        let before = StealTime.read()
        let result = try LatencyRun(plan: plan, interruption: interruption).measure()
        let steal = before.flatMap { before in StealTime.read().map { $0.percent(since: before) } }
        let report = LatencyReport(
            plan: plan, result: result, selfCost: selfCost,
            machine: MachineFingerprint(ring: "\(result.ring.tier.name)", stealPercent: steal), assertions: assert)
        for warning in report.warnings { Diagnostics.warning(warning) }
        if interruption.isRequested { Diagnostics.warning("interrupted: this is what was measured until then") }
        switch format {
        case .text: try sink.write(report.text(terminal: output == nil ? .output : .plain))
        case .json: try sink.write(report.json.text)
        case .csv: try sink.write(report.csv)
        case .hgrm: try sink.write(report.hgrm)
        }
        if report.status != .success { throw ExitCode(report.status.rawValue) }
    }

    /// Everything checked against each other, before anything is made.
    private func plan() throws -> LatencyPlan {
        let opened = try openDevice()
        if let duration, duration.nanoseconds == 0 {
            throw UsageError("--duration 0 measures nothing; accepted: \(DurationArgument.accepted)")
        }
        if warmup.nanoseconds > 3_600_000_000_000 {
            throw UsageError("--warmup \(warmup) is too long; accepted: up to 1h")
        }
        if let cpu { try Self.check(cpu) }
        return LatencyPlan(
            path: path, wait: wait, index: index, device: opened, vectors: Int(vectors.value),
            count: count?.value ?? (duration == nil ? 10_000 : .max), durationNs: duration?.nanoseconds, rate: rate,
            warmUpNs: warmup.nanoseconds, cpus: cpu?.numbers ?? [], usableCPUs: ProcessorFacts.read().usable)
    }

    /// The device of the path, with room for the vectors; `nil` for a path that has none.
    private func openDevice() throws -> OpenedDevice? {
        switch path {
        case .eventfd: return nil
        case .kvm, .bypass:
            guard vectors.value <= MicroGuest.mostMessages else {
                throw UsageError(
                    "--vectors \(vectors) is too many for the guest; accepted: 1 to \(MicroGuest.mostMessages)")
            }
            if path == .bypass { return nil }
        case .loopback:
            guard index != .msix || vectors.value <= 2048 else {
                throw UsageError("--vectors \(vectors) is too many for MSI-X; accepted: 1 to 2048")
            }
        }
        let index = path == .kvm ? IRQIndex.msix : index
        let opened = try DeviceOpeners.open(device, OpeningWishes(vectors: index == .msix ? vectors : nil))
        try vectors.hold(within: opened.counts(), of: index)
        return opened
    }

    private static func check(_ cpus: CPUList) throws(UsageError) {
        guard cpus.numbers.count <= 3 else {
            throw UsageError("--cpu \(cpus) names too many; accepted: up to 3, of the receiver, the sender, the guest")
        }
        let online = ProcessorFacts.read().online
        guard let missing = cpus.numbers.first(where: { !online.numbers.contains($0) }) else { return }
        throw UsageError("--cpu \(cpus): processor \(missing) is not online; accepted: \(online)")
    }
}
