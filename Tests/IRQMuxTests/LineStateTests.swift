import CKernel
import EventRing
import Exerciser
import IRQMux
import InterruptModel
import KVM
import TestSupport
import Testing

@Suite("A line's state, saved and loaded", .timeLimit(.minutes(5)))
struct LineStateTests {
    /// A software device's line, served by the loop with a pin that only remembers.
    private struct Line: ~Copyable {
        let device: Exerciser
        var mux: Mux
        let attached: DeviceID
        let id: VectorID
        let pin: Levels
        var registers: INTxRegisters

        init() throws {
            let device = try Exerciser()
            var mux = try Mux(smallOptions())
            let attached = try mux.attach(device)
            let id = try mux.connect(attached, .intx, 0..<1)[0]
            let pin = Levels()
            try mux.serve(id, by: .userEOI(pin: INTxPin(gsi: 5) { _, isHigh in pin.changes.append(isHigh) }))
            self.device = device
            self.mux = mux
            self.attached = attached
            self.id = id
            self.pin = pin
            registers = INTxRegisters(pin: 1)
        }

        /// What the loop has to say.
        mutating func run() throws -> Int { try mux.settle().count }

        mutating func saved() throws -> InterruptState {
            var state = InterruptState(msix: nil, msi: nil)
            try mux.save(line: id, registers, into: &state)
            return try InterruptState(decoding: state.encoded)
        }

        @discardableResult
        mutating func load(_ state: InterruptState) throws(MuxError) -> Bool {
            let device = device
            return try mux.load(line: id, from: state, into: &registers) { device.writeDisINTx(true) }
        }

        mutating func expectBalanced(_ place: SourceLocation = #_sourceLocation) throws {
            let ledger = try mux.ledger(attached)
            #expect(ledger.unexplained == 0 && ledger.pending == 0, "\(ledger)", sourceLocation: place)
        }
    }

    private final class Levels {
        var changes: [Bool] = []
    }

    @Test("told and not acknowledged: in service again, its pin up, and the acknowledgement unmasks")
    func inService() throws {
        var here = try Line()
        here.device.assertINTx()
        #expect(try here.run() == 1)
        _ = here.registers.setAsserted(true)
        var there = try Line()
        #expect(try there.load(here.saved()) == false)
        #expect(try there.run() == 0, "who was told is not told again")
        #expect(there.pin.changes == [true] && there.device.isINTxMasked && there.registers.isAsserted)
        try there.mux.endOfInterrupt(gsi: 5)
        #expect(there.pin.changes == [true, false] && !there.device.isINTxMasked)
        there.device.assertINTx()
        #expect(try there.run() == 1)
        there.device.acknowledgeINTx()
        try there.mux.acknowledge(there.id)
        try there.expectBalanced()
        #expect(try there.mux.ledger(there.attached).raised == 2)
    }

    @Test("an open line may have lost something: the guest is told once, and the line goes on")
    func open() throws {
        var here = try Line()
        var there = try Line()
        #expect(try there.load(here.saved()))
        #expect(try there.run() == 1)
        #expect(there.pin.changes == [true])
        try there.mux.endOfInterrupt(gsi: 5)
        #expect(try there.run() == 0)
        try there.expectBalanced()
    }

    @Test("DisINTx goes to the device, and nobody is told")
    func disabled() throws {
        var here = try Line()
        _ = here.registers.write(offset: 4, width: 2, value: 0x0400)
        here.device.assertINTx()
        _ = here.registers.setAsserted(true)
        let device = here.device
        try here.mux.passDisINTx(here.id, true) { device.writeDisINTx(true) }
        _ = try here.run()
        let state = try here.saved()
        #expect(state.line?.isInService == false && state.line?.mayHaveLost == false)
        var there = try Line()
        #expect(try there.load(state) == false)
        #expect(there.registers == here.registers)
        there.device.assertINTx()
        #expect(try there.run() == 0 && there.pin.changes.isEmpty)
        let other = there.device
        _ = there.registers.write(offset: 4, width: 2, value: 0)
        try there.mux.passDisINTx(there.id, false) { other.writeDisINTx(false) }
        #expect(try there.run() == 1 && there.pin.changes == [true], "the level is still up")
    }

    @Test("its owner's mask is set again, and what was held is held, once")
    func masked() throws {
        var here = try Line()
        here.device.assertINTx()
        try here.mux.mask(here.id)
        #expect(try here.run() == 0)
        let state = try here.saved()
        #expect(state.line?.isMasked == true && state.line?.account.pending == 1)
        var there = try Line()
        #expect(try there.load(state) == false)
        #expect(try there.run() == 0 && there.mux.isMasked(there.id) && there.mux.isPending(there.id))
        #expect(try there.mux.ledger(there.attached).pending == 1)
        try there.mux.unmask(there.id)
        #expect(try there.run() == 1 && there.pin.changes == [true])
        try there.mux.acknowledge(there.id)
        try there.expectBalanced()
    }

    @Test("what does not fit is refused with everything as it was")
    func refused() throws {
        var here = try Line()
        let state = try here.saved()
        func refusal(_ line: inout Line, _ state: InterruptState) throws -> Int32 {
            let before = line.registers
            let error = errno { () throws(MuxError) in _ = try line.load(state) }
            #expect(line.registers == before && line.pin.changes.isEmpty)
            #expect(try line.run() == 0)
            return error
        }
        var there = try Line()
        #expect(try refusal(&there, InterruptState(msix: nil, msi: nil)) == EINVAL)
        var forged = state
        forged.line?.isInService = true
        #expect(try refusal(&there, forged) == EINVAL, "in service, and yet it may have lost something")
        there.registers = INTxRegisters(pin: 2)
        #expect(try refusal(&there, state) == EINVAL)
        there.registers = INTxRegisters(pin: 0)
        #expect(try refusal(&there, state) == EINVAL)
        there.registers = INTxRegisters(pin: 1)
        try there.mux.mask(there.id)
        #expect(try refusal(&there, state) == EBUSY)
        try there.mux.unmask(there.id)
        try there.mux.stopServing(there.id)
        #expect(try refusal(&there, state) == EBUSY)
        let attached = there.attached
        try there.mux.disconnectAll(attached, .intx)
        #expect(try refusal(&there, state) == ENOENT)
        let message = try there.mux.connect(attached, .msix, 0..<1)[0]
        #expect(
            errno { () throws(MuxError) in
                var registers = INTxRegisters(pin: 1)
                _ = try there.mux.load(line: message, from: state, into: &registers) {}
            } == EINVAL)
    }

    @Test(
        "into a real guest, by every way: an open line is told once, and interrupts go on",
        .enabled(if: KVMAvailability.canRun, "\(KVMAvailability.reason)"),
        arguments: [INTxWay.kernelResample, .ioapicBroadcast])
    func intoGuest(way: INTxWay) throws {
        let here = try INTxGuest(way)
        here.device.assertINTx()
        try here.awaitRun()
        here.device.acknowledgeINTx()
        try here.settle()
        var state = InterruptState(msix: nil, msi: nil)
        try here.mux.save(line: here.ids[0], INTxRegisters(pin: 1), into: &state)
        #expect(state.line?.way.bypasses == true)
        let there = try INTxGuest(way)
        var registers = INTxRegisters(pin: 1)
        #expect(try there.mux.load(line: there.ids[0], from: state, into: &registers) { Issue.record("no DisINTx") })
        try there.awaitRun()
        try there.settle()
        there.device.assertINTx()
        try there.awaitRun()
        there.device.acknowledgeINTx()
        try there.settle()
        #expect(there.runs >= 2)
        let raised = (state.line?.account.raised ?? 0) + (there.device.raisedCount(pin) ?? 0)
        expectSettled(try there.ledgers(), raised: raised)
    }
}
