internal import ArgumentParser
internal import EventRing
internal import IRQMux
internal import InterruptModel

struct Loopback: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Play every interrupt of a device back, and prove that none is lost.",
        discussion: """
            For every index: SET_IRQS itself, with eventfds assigned to all vectors, all of them triggered at once and \
            by a pattern, a part taken away, and what must be refused. For every vector of INTx, MSI, MSI-X, ERR and \
            REQ: raise it by SET_IRQS and by the device, hold it by mask and by parking, fan it out, and look whether \
            it arrives once and nowhere else; then a storm over all vectors with masking in between. The ledger must \
            close: raised = delivered + coalesced + pending + dropped.

            A device of the kernel's VFIO is left as it was found, also after Ctrl-C. The device itself raises where \
            irqmux knows how (edu, rocker, ivshmem-doorbell, mtty, the Exerciser); elsewhere those checks are skipped.

            Exit code 0 when everything passed, 1 when something failed, 77 when everything was skipped.

            EXAMPLES
              irqmux loopback
              irqmux loopback --device software:msix=2048,msi=0,intx=0 --wait spin
              irqmux loopback --vectors 8 --storm 1M --seed 42
              irqmux loopback --device 0000:01:00.0 --format tap
              irqmux loopback --format json | jq '.checks[] | select(.status == "fail")'
            """)

    @Option(
        help: ArgumentHelp("The device: \(DeviceName.accepted) (default: software)."),
        transform: { try DeviceName(parsing: $0) })
    var device = DeviceName.software(SoftwareLayout())

    @Option(
        help: "How many vectors of MSI-X, and of MSI as far as it has them, are tried (default: all).",
        transform: { try CountArgument.parse($0, of: "vectors", in: 1...2048) })
    var vectors: CountArgument?

    @Option(
        help: "How many interrupts the storm of each index has (default: 20k).",
        transform: { try CountArgument.parse($0, of: "interrupts", in: 1...1_000_000_000) })
    var storm = CountArgument(20_000)

    @Option(
        help: "What the storm draws its vectors from; the same seed draws the same (default: by lot).",
        transform: { try CountArgument(parsing: $0) })
    var seed: CountArgument?

    @Option(help: "How the loop waits.")
    var wait = WaitChoice.block

    @Option(help: "The form of the report.")
    var format = LoopbackFormat.text

    @Option(help: "Where the report goes instead of stdout.", completion: .file())
    var output: String?

    func run() throws {
        let opened = try DeviceOpeners.open(device, OpeningWishes(vectors: vectors))
        let counts = try opened.counts()
        if let vectors {
            // MSI has as many of them as it has; the type with the most is what they are asked of.
            let leading = [IRQIndex.msix, .msi, .intx].first { counts[$0] ?? 0 > 0 }
            try vectors.hold(within: counts, of: leading ?? .msix)
        }
        let plan = LoopbackPlan(
            counts: counts, vectors: vectors.map { UInt32($0.value) } ?? 2048, storm: storm.value,
            seed: seed?.value ?? .random(in: 0...UInt64(UInt32.max)), wait: wait)
        try DescriptorBudget.secure(vectors: UInt64(plan.mostConnected))
        let sink = try OutputSink(path: output)
        var run = try LoopbackRun(opened, plan, .listening())
        RingNotice.give(run.mux.ringReport)
        run.run()
        let report = LoopbackReport(
            device: opened.name.description, ring: "\(run.mux.ringReport.tier.name)", wait: wait, checks: run.checks,
            ledger: run.ledger)
        switch format {
        case .text: try sink.write(report.text(terminal: output == nil ? .output : .plain))
        case .json: try sink.write(report.json.text)
        case .tap: try sink.write(report.tap)
        case .junit: try sink.write(report.junit)
        }
        if run.interruption.isRequested { Diagnostics.warning("interrupted: the checks not yet begun were skipped") }
        if report.status != .success { throw ExitCode(report.status.rawValue) }
    }
}

extension SoftwareLayout {
    /// The layout with room for the vectors asked for: the default grows, a layout that was given does not.
    func holding(_ vectors: CountArgument?) -> SoftwareLayout {
        guard let vectors, vectors.value > msix, !namesMSIX else { return self }
        var layout = self
        layout.msix = UInt32(vectors.value)
        return layout
    }
}

/// Says once when a loop had to do without the best ring.
enum RingNotice {
    static func give(_ report: RingReport) {
        guard report.tier == .epoll else { return }
        let why = report.obstacle.map { ": \($0)" } ?? ""
        Diagnostics.warning("no io_uring, listening by epoll at a higher cost\(why)")
    }
}
