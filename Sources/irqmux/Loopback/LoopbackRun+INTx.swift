internal import IRQMux
internal import InterruptModel

// INTx: level-triggered, masks itself when it fires, and fires again when it is unmasked with the line still high.
extension LoopbackRun {
    private static var pin: Vector { Vector(.intx, 0) }
    /// How many interrupts in a row the cycle check takes.
    private static var cycles: Int { 256 }

    private static var momentary: String { "the device raises its line for a moment only, and keeps none while masked" }

    mutating func checkINTx(_ id: VectorID) {
        checkTriggers(Self.pin)
        guard device.canRaise(Self.pin) else {
            for name in ["automask", "still-asserted", "mask", "cycle"] { note(name, .intx, 0, .skip, Self.unraisable) }
            return
        }
        check("automask", .intx, 0) { run in try run.automask() }
        if device.hasLevel {
            check("still-asserted", .intx, 0) { run in try run.stillAsserted() }
            check("mask", .intx, 0) { run in try run.masked(id) }
        } else {
            for name in ["still-asserted", "mask"] { note(name, .intx, 0, .skip, Self.momentary) }
        }
        Diagnostics.progress("loopback: INTx \(Self.cycles) cycles")
        check("cycle", .intx, 0) { run in
            for round in 0..<Self.cycles {
                try run.device.raise(Self.pin)
                if let wrong = try run.serve() { return "round \(round): \(wrong)" }
            }
            return nil
        }
    }

    /// Takes one interrupt, quiets the device and acknowledges; returns what is wrong.
    private mutating func serve() throws -> String? {
        guard let event = try firstEvent() else { return "no interrupt within five seconds" }
        try device.quiet()
        // The look at what follows acknowledges.
        let more = try events(expecting: 0)
        return fault([event] + more, Self.pin)
    }

    private mutating func automask() throws -> String? {
        try device.raise(Self.pin)
        guard try firstEvent() != nil else { return "no interrupt within five seconds" }
        let maskedInService = device.isINTxMasked
        try device.quiet()
        let more = try events(expecting: 0)
        guard more.isEmpty else { return "fired again although the line was low" }
        guard maskedInService ?? true else { return "did not mask itself when it fired" }
        return device.isINTxMasked ?? false ? "still masked after the acknowledgement" : nil
    }

    private mutating func stillAsserted() throws -> String? {
        try device.raise(Self.pin)
        guard try firstEvent() != nil else { return "no interrupt within five seconds" }
        // Acknowledged without quieting the device: the line is high, so it must fire again.
        guard try firstEvent() != nil else {
            try device.quiet()
            return "unmasked with the line high, and did not fire again"
        }
        try device.quiet()
        return try events(expecting: 0).isEmpty ? nil : "fired once more although the line was low"
    }

    private mutating func masked(_ id: VectorID) throws -> String? {
        try mux.mask(id)
        try device.raise(Self.pin)
        let early = try events(expecting: 0)
        try mux.unmask(id)
        let wrong = try serve()
        return early.isEmpty ? wrong : "an interrupt came while it was masked"
    }
}
