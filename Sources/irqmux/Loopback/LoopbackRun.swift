internal import CKernel
internal import EventRing
internal import Glibc
internal import IRQMux
internal import InterruptModel

/// Plays every interrupt of a device back to this process and looks whether each arrives: once, where it should, and
/// with nothing lost or invented on the way.
struct LoopbackRun: ~Copyable {
    /// An interrupt that has not come after this long does not come, in nanoseconds. It may have to come through a
    /// socket and an emulated processor of a busy machine.
    static let patience: UInt64 = 5_000_000_000

    let plan: LoopbackPlan
    let device: OpenedDevice
    let deviceID: DeviceID
    let interruption: Interruption
    var mux: Mux
    var checks: [LoopbackCheck] = []
    var ledger = Ledger()
    /// The longest that an interrupt has taken of late, in nanoseconds.
    private var slowest: UInt64 = 0

    /// Makes the mux; nothing is connected yet.
    init(_ device: OpenedDevice, _ plan: LoopbackPlan, _ interruption: Interruption) throws {
        var options = MuxOptions()
        // A removed source gives its place back with a later wait, so there is a place for every vector of every index.
        options.loop.capacity = IRQIndex.allCases.reduce(0) { $0 + Int(plan.count($1)) }
        options.loop.waiting = plan.wait.mode
        options.devices = 1
        options.fanOutTargets = 8
        var mux = try Mux(options)
        deviceID = try mux.attach(device)
        self.mux = mux
        self.device = device
        self.plan = plan
        self.interruption = interruption
    }

    /// Tries every index in turn. After Ctrl-C what is left is skipped.
    mutating func run() {
        for index in IRQIndex.allCases {
            let count = plan.count(index)
            guard count > 0 else {
                note("index", index, nil, .skip, "the device has no \(index.label) vectors")
                continue
            }
            guard !interruption.isRequested else {
                note("index", index, nil, .skip, "interrupted before it began")
                continue
            }
            checkRequests(index, count)
            let vectors: [VectorID]
            do throws(MuxError) {
                vectors = try mux.connect(deviceID, index, 0..<count)
            } catch {
                note("connect", index, nil, .fail, "\(error)")
                continue
            }
            note("connect", index, nil, .pass, "\(count) \(count == 1 ? "vector" : "vectors") by one SET_IRQS")
            switch index {
            case .intx: checkINTx(vectors[0])
            case .msi, .msix: checkMessages(index, vectors)
            case .err, .req: checkEvent(index, vectors[0])
            }
            close(index, vectors)
        }
        Diagnostics.endProgress()
    }

    /// Draws the balance of an index, and disables it.
    private mutating func close(_ index: IRQIndex, _ vectors: [VectorID]) {
        check("ledger", index, nil) { run in
            var account = Ledger()
            for vector in vectors { account.merge(try run.mux.ledger(vector)) }
            run.ledger.merge(account)
            guard account.unexplained == 0, account.pending == 0 else {
                return "does not close: \(LoopbackReport.sum(account))"
            }
            return nil
        }
        check("disable", index, nil) { run in
            try run.mux.disconnectAll(run.deviceID, index)
            return nil
        }
    }

    // MARK: Steps

    /// What is done after Ctrl-C too.
    private static let cleaning: Set<String> = ["ledger", "disable", "release"]

    /// Runs one check. `body` returns what is wrong, or `nil`; an error is a failure too.
    mutating func check(
        _ name: String, _ index: IRQIndex, _ vector: UInt32?, _ body: (inout LoopbackRun) throws -> String?
    ) {
        guard !interruption.isRequested || Self.cleaning.contains(name) else {
            return note(name, index, vector, .skip, "interrupted before it began")
        }
        do {
            let wrong = try body(&self)
            if wrong == nil, name == "storm", interruption.isRequested {
                return note(name, index, vector, .skip, "interrupted before it ended; nothing was wrong until then")
            }
            note(name, index, vector, wrong == nil ? .pass : .fail, wrong ?? "")
        } catch {
            note(name, index, vector, .fail, CommandFailure(error)?.description ?? "\(error)")
        }
    }

    mutating func note(
        _ name: String, _ index: IRQIndex, _ vector: UInt32?, _ status: LoopbackCheck.Status, _ detail: String
    ) {
        checks.append(LoopbackCheck(name: name, index: index, vector: vector, status: status, detail: detail))
    }

    /// The first event within the time of patience, without a look at what follows: an INTx stays unacknowledged.
    mutating func firstEvent() throws(MuxError) -> VectorEvent? {
        let start = irqmux_monotonic_ns()
        let deadline = start + Self.patience
        while true {
            if let event = mux.next() {
                // One that was late once is soon forgotten: it would hold up thousands.
                slowest = max(slowest - slowest / 4, irqmux_monotonic_ns() - start)
                return event
            }
            let now = irqmux_monotonic_ns()
            // Not cut short by Ctrl-C: what was raised is taken in, or it would be missing in check and ledger.
            guard now < deadline else { return nil }
            try mux.wait(timeout: deadline - now)
        }
    }

    /// Everything that arrives until `expected` events are there or patience is over, and whatever came too much.
    mutating func events(expecting expected: Int) throws(MuxError) -> [VectorEvent] {
        var events: [VectorEvent] = []
        while events.count < expected, let event = try firstEvent() { events.append(event) }
        try mux.wait(timeout: 0)
        while let event = mux.next() { events.append(event) }
        return events
    }

    /// Gives an interrupt the time to arrive before the next one of its vector, where they could merge on their way:
    /// ten times what the slowest of late has taken, a millisecond at least and a fifth of a second at most.
    func settle() {
        guard device.mayMerge else { return }
        var time = timespec(tv_sec: 0, tv_nsec: Int(min(max(slowest * 10, 1_000_000), 200_000_000)))
        // SAFETY: time outlives the call; a sleep cut short does no harm.
        _ = unsafe nanosleep(&time, nil)
    }

    /// What is wrong with `events`, of which there should be one, of `vector`.
    func fault(_ events: [VectorEvent], _ vector: Vector) -> String? {
        guard let first = events.first else { return "no interrupt within five seconds" }
        for event in events where event.kind != .interrupt || event.vector != vector {
            return "\(event.vector.index.label) \(event.vector.number) answered (\(event.kind))"
        }
        return events.count == 1 ? nil : "\(events.count) interrupts of \(first.vector.number) for one signal"
    }
}

extension WaitChoice {
    /// The choice in the loop's own terms.
    var mode: WaitMode {
        switch self {
        case .block: .block
        case .spin: .spin
        case .adaptive: .adaptive
        }
    }
}
