internal import Exerciser
internal import IRQMux
internal import InterruptModel

// INTx: level-triggered, masks itself when it fires, and fires again when it is unmasked with the line still high.
extension LoopbackRun {
    private static var pin: Vector { Vector(.intx, 0) }
    /// How many interrupts in a row the cycle check takes.
    private static var cycles: Int { 256 }

    mutating func checkINTx(_ id: VectorID) {
        checkTriggers(Self.pin)
        check("automask", .intx, 0) { run in try run.automask() }
        check("still-asserted", .intx, 0) { run in try run.stillAsserted() }
        check("mask", .intx, 0) { run in try run.masked(id) }
        Diagnostics.progress("loopback: INTx \(Self.cycles) cycles")
        check("cycle", .intx, 0) { run in
            for round in 0..<Self.cycles {
                run.device.assertINTx()
                if let wrong = try run.serve() { return "round \(round): \(wrong)" }
            }
            return nil
        }
    }

    /// Takes one interrupt, quiets the device and acknowledges; returns what is wrong.
    private mutating func serve() throws(MuxError) -> String? {
        guard let event = try firstEvent() else { return "no interrupt within a second" }
        device.acknowledgeINTx()
        // The look at what follows acknowledges.
        let more = try events(expecting: 0)
        return fault([event] + more, Self.pin)
    }

    private mutating func automask() throws(MuxError) -> String? {
        device.assertINTx()
        guard try firstEvent() != nil else { return "no interrupt within a second" }
        let maskedInService = device.isINTxMasked
        device.acknowledgeINTx()
        let more = try events(expecting: 0)
        guard more.isEmpty else { return "fired again although the line was low" }
        guard maskedInService else { return "did not mask itself when it fired" }
        return device.isINTxMasked ? "still masked after the acknowledgement" : nil
    }

    private mutating func stillAsserted() throws(MuxError) -> String? {
        device.assertINTx()
        guard try firstEvent() != nil else { return "no interrupt within a second" }
        // Acknowledged without quieting the device: the line is high, so it must fire again.
        guard try firstEvent() != nil else {
            device.acknowledgeINTx()
            return "unmasked with the line high, and did not fire again"
        }
        device.acknowledgeINTx()
        return try events(expecting: 0).isEmpty ? nil : "fired once more although the line was low"
    }

    private mutating func masked(_ id: VectorID) throws(MuxError) -> String? {
        try mux.mask(id)
        device.assertINTx()
        let early = try events(expecting: 0)
        try mux.unmask(id)
        let wrong = try serve()
        return early.isEmpty ? wrong : "an interrupt came while it was masked"
    }
}
