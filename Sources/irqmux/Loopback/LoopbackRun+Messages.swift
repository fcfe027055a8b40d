internal import CKernel
internal import EventRing
internal import IRQMux
internal import InterruptModel

// MSI and MSI-X: every vector by itself, then all of them in a storm.
extension LoopbackRun {
    mutating func checkMessages(_ index: IRQIndex, _ vectors: [VectorID]) {
        for (number, id) in vectors.enumerated() {
            if number % 16 == 0 { Diagnostics.progress("loopback: \(index.label) \(number) of \(vectors.count)") }
            checkMessage(Vector(index, UInt32(number)), id)
        }
        checkBurst(index, count: UInt32(vectors.count))
        Diagnostics.progress("loopback: \(index.label) storm of \(plan.storm)")
        check("storm", index, nil) { run in try run.storm(index, vectors) }
    }

    private mutating func checkMessage(_ vector: Vector, _ id: VectorID) {
        checkTriggers(vector)
        checkRaise(vector)
        check("mask", vector.index, vector.number) { run in
            try run.mux.mask(id)
            return try run.held(vector, id) { mux throws(MuxError) in try mux.unmask(id) }
        }
        check("park", vector.index, vector.number) { run in
            try run.mux.route(id, to: .parked)
            return try run.held(vector, id) { mux throws(MuxError) in try mux.route(id, to: .handler) }
        }
        check("fan-out", vector.index, vector.number) { run in try run.fanOut(vector, id) }
    }

    /// The device itself raises it, which not every device can be made to do.
    private mutating func checkRaise(_ vector: Vector) {
        guard device.canRaise(vector) else { return note("raise", vector.index, vector.number, .skip, Self.unraisable) }
        check("raise", vector.index, vector.number) { run in
            try run.device.raise(vector)
            return run.fault(try run.events(expecting: 1), vector)
        }
    }

    static var unraisable: String { "no way is known to make this device raise it (docs/devices.md lists those known)" }

    /// The device raises all vectors at once, some times over.
    private mutating func checkBurst(_ index: IRQIndex, count: UInt32) {
        let raisable = (0..<count).map { Vector(index, $0) }.filter { device.canRaise($0) }
        guard !raisable.isEmpty else { return note("burst", index, nil, .skip, Self.unraisable) }
        check("burst", index, nil) { run in
            for round in 0..<16 {
                for vector in raisable { try run.device.raise(vector) }
                let events = try run.events(expecting: raisable.count)
                guard events.count == raisable.count, Set(events.map(\.vector)) == Set(raisable) else {
                    return "round \(round): \(events.count) interrupts for \(raisable.count) raised"
                }
                run.settle()
            }
            return nil
        }
    }

    /// The loopback of VFIO itself: SET_IRQS TRIGGER with NONE and with BOOL, as a real device is tried.
    mutating func checkTriggers(_ vector: Vector) {
        check("trigger-none", vector.index, vector.number) { run in
            _ = try run.device.setInterrupts(
                IRQRequest(vector.index, .trigger, start: vector.number, .none(count: 1)))
            return run.fault(try run.events(expecting: 1), vector)
        }
        check("trigger-bool", vector.index, vector.number) { run in
            _ = try run.device.setInterrupts(IRQRequest(vector.index, .trigger, start: vector.number, .bool([0])))
            let none = try run.events(expecting: 0)
            guard none.isEmpty else { return "a false byte raised an interrupt" }
            _ = try run.device.setInterrupts(IRQRequest(vector.index, .trigger, start: vector.number, .bool([1])))
            return run.fault(try run.events(expecting: 1), vector)
        }
    }

    /// Raises twice while delivery is held: nothing may come, and one interrupt when it is released.
    private mutating func held(
        _ vector: Vector, _ id: VectorID, _ release: (inout Mux) throws(MuxError) -> Void
    ) throws -> String? {
        try device.raise(vector)
        settle()
        try device.raise(vector)
        settle()
        let early = try events(expecting: 0)
        let isPending = try mux.isPending(id)
        try release(&mux)
        let late = try events(expecting: 1)
        guard early.isEmpty else { return "an interrupt came while it was held" }
        guard isPending else { return "held, but not pending" }
        return fault(late, vector)
    }

    private mutating func fanOut(_ vector: Vector, _ id: VectorID) throws -> String? {
        let first = try EventFD()
        let second = try EventFD()
        try mux.route(id, to: .fanOut([first.number, second.number]))
        try device.raise(vector)
        let deadline = irqmux_monotonic_ns() + Self.patience
        var events = try events(expecting: 0)
        while try second.peek() == 0, irqmux_monotonic_ns() < deadline {
            try mux.wait(timeout: 1_000_000)
            while let event = mux.next() { events.append(event) }
        }
        let counts = (try first.take(), try second.take())
        try mux.route(id, to: .handler)
        guard events.isEmpty else { return "the handler was called beside the fan-out" }
        return counts == (1, 1) ? nil : "the targets were signalled \(counts.0) and \(counts.1) times, not once"
    }

    /// The device raises vectors by lot on a thread of its own, as fast as it can, while this one masks and unmasks.
    private mutating func storm(_ index: IRQIndex, _ vectors: [VectorID]) throws -> String? {
        var masked: Int?
        var handled: UInt64 = 0
        try device.startStorm(index, width: UInt32(vectors.count), count: plan.storm, seed: plan.seed)
        while device.isStorming, !interruption.isRequested {
            try mux.wait(timeout: 1_000_000)
            while let event = mux.next() {
                guard event.kind == .interrupt else { continue }
                handled += 1
                guard handled % 64 == 0 else { continue }
                if let last = masked { try mux.unmask(vectors[last]) }
                masked = Int(event.vector.number)
                try mux.mask(event.id)
            }
        }
        device.stopStorm()
        if let last = masked { try mux.unmask(vectors[last]) }
        _ = try events(expecting: 0)
        var account = Ledger()
        for id in vectors { account.merge(try mux.ledger(id)) }
        return account.unexplained == 0 && account.pending == 0
            ? nil : "does not add up: \(LoopbackReport.sum(account)); seed \(plan.seed)"
    }

    /// ERR and REQ: one vector each, and no mask.
    mutating func checkEvent(_ index: IRQIndex, _ id: VectorID) {
        let vector = Vector(index, 0)
        checkTriggers(vector)
        checkRaise(vector)
    }
}
