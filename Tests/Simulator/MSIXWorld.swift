import IRQMux
import InterruptModel

/// The guest's MSI-X machine, the host below it, and the reference that judges both.
struct MSIXWorld: JudgedWorld, ~Copyable {
    var table: MSIXTable
    var host: Host
    var carrier: MessageCarrier
    var reference: Reference
    let shape: History.Shape
    var earlier: Reference?
    let mutation: Mutation?
    /// What a read saw that it should not have.
    var disagreement: String?

    init(_ shape: History.Shape, _ mutation: Mutation?) {
        self.shape = shape
        self.mutation = mutation
        table = MSIXTable(count: shape.vectors)
        host = Host(shape, mutation)
        carrier = host.makeCarrier()
        reference = Reference(vectors: shape.vectors)
    }

    /// Carries out a history from the beginning.
    ///
    /// - Throws: The first thing that is wrong.
    mutating func run(_ steps: [Step]) throws(Failure) {
        for index in steps.indices {
            beginStep()
            carryOut(steps[index])
            try judge(index)
        }
        // In the end everything is well and everybody is there: nothing may be owed any more.
        healAll()
        try judgeEnd(steps.count)
    }

    func isRefused(_ vector: Int) -> Bool { table.isRefused(UInt32(vector)) }

    mutating func synchronise(again isAgain: Bool) {
        if isAgain { table.retry() }
        table.synchronise { host.perform($0, &carrier) }
    }

    mutating func repair() { try? carrier.repair(on: &host) }

    // MARK: Steps

    private mutating func carryOut(_ step: Step) {
        let vector = Int(step.vector)
        switch step.kind {
        case .control: control(step.argument)
        case .writeRegister: write(vector, step.argument & 3, step.argument >> 2 & 7)
        case .maskVector: write(vector, 3, 1)
        case .unmaskVector: write(vector, 3, 0)
        case .program: program(vector, step.argument)
        case .oddAccess: oddAccess(step.argument)
        case .readTable: readTable(vector)
        case .readPending: readPending()
        case .raise: raise(vector)
        case .raiseAmid: lieInWait(vector, step.argument)
        case .storm: for _ in 0..<step.argument % 50 + 2 { raise(vector) }
        case .functionReset: reset()
        case .backdoorReset: backdoorReset(repaired: mutation != .noRepairAfterBackdoorReset)
        case .turn: host.turn()
        case .commit: host.settleServed()
        case .haltAll: host.haltAll(true)
        case .resumeAll: host.haltAll(false)
        case .halt: host.halt(vector, true)
        case .resume: host.halt(vector, false)
        case .saveRestore: saveRestore(step.argument)
        case .descriptorsRunOut: host.descriptors = step.argument % 6
        case .eventFDCloses: host.close(vector, bypass: step.argument & 1 == 1)
        case .completionsOverflow: host.overflow()
        case .commitsFail: host.commitsFail = true
        case .assert, .withdraw, .disableINTx, .guestRuns: break
        case .heal: heal()
        }
    }

    private mutating func control(_ bits: UInt32) {
        if reference.isEnabled != (bits & 2 != 0) { host.ambush = nil }
        reference.control(enabled: bits & 2 != 0, functionMask: bits & 1 != 0)
        var value = UInt16(bits & 3) << 14
        if mutation == .ignoresFunctionMask { value &= 0x8000 }
        if table.writeMessageControl(value) { synchronise(again: false) }
        // Where it never came to be on, nobody is told that it is off.
        if !reference.isEnabled { host.giveUp() }
    }

    private mutating func write(_ vector: Int, _ register: UInt32, _ value: UInt32) {
        reference.write(vector, register, value)
        let offset = UInt64(vector * 16) + UInt64(register * 4)
        if table.writeTable(offset: offset, width: 4, UInt64(value)) { synchronise(again: false) }
    }

    /// As Linux does it: masked, the message, unmasked. Half of them write QWORDs.
    private mutating func program(_ vector: Int, _ argument: UInt32) {
        write(vector, 3, 1)
        let data = argument & 0xFF
        if argument & 0x100 == 0 {
            write(vector, 0, 0xFEE0_0000)
            write(vector, 1, 0)
            write(vector, 2, data)
            return write(vector, 3, 0)
        }
        reference.write(vector, 0, 0xFEE0_1000)
        reference.write(vector, 1, 0)
        reference.write(vector, 2, data)
        reference.write(vector, 3, 0)
        let offset = UInt64(vector * 16)
        if table.writeTable(offset: offset, width: 8, 0xFEE0_1000) { synchronise(again: false) }
        if table.writeTable(offset: offset + 8, width: 8, UInt64(data)) { synchronise(again: false) }
    }

    /// An access that PCI does not define: reads give ones, writes change nothing.
    private mutating func oddAccess(_ argument: UInt32) {
        let size = table.tableSize
        let (offset, width): (UInt64, Int) =
            switch argument & 7 {
            case 0: (UInt64(argument >> 3) % size | 1, 4)
            case 1: (UInt64(argument >> 3) % size, Int(argument >> 20 & 1) + 1)
            case 2: (size - 4, 8)
            case 3: (size, 4)
            case 4: (.max - 3, 4)
            case 5: (UInt64(argument >> 3) % size & ~7 | 4, 8)
            case 6: (UInt64(argument >> 3) % size, 3)
            default: (UInt64(argument >> 3) % size, 0)
            }
        if table.writeTable(offset: offset, width: width, .max) { synchronise(again: false) }
        let ones: UInt64 = width == 0 ? 0 : width == 8 ? .max : 1 << UInt64(width * 8) - 1
        let read = table.readTable(offset: offset, width: width)
        if read != ones { disagreement = "an odd access of \(width) bytes at \(offset) read \(read)" }
    }

    private mutating func readTable(_ vector: Int) {
        for register in 0..<UInt32(4) {
            let read = table.readTable(offset: UInt64(vector * 16) + UInt64(register * 4), width: 4)
            let expected = reference.read(vector, register)
            if read != UInt64(expected) {
                disagreement = "register \(register) of entry \(vector) read \(read) and not \(expected)"
            }
        }
        let bits: UInt16 = (reference.isEnabled ? 0x8000 : 0) | (reference.isFunctionMasked ? 0x4000 : 0)
        if table.messageControl & 0xC000 != bits, mutation != .ignoresFunctionMask {
            disagreement = "message control reads \(table.messageControl)"
        }
    }

    private mutating func readPending() {
        for first in stride(from: 0, to: host.vectors.count, by: 64) { readPending(from: first) }
    }

    /// The pending bits of one word, 64 vectors from `first` on.
    private mutating func readPending(from first: Int) {
        let kept = mutation == .pendingBitsAlwaysRead0 ? 0 : carrier.kept(from: UInt32(first), on: &host)
        var read = table.readPending(offset: UInt64(first / 8), width: 8, kept: kept)
        if mutation == .pendingBitsOfUnmasked { read |= kept }
        if mutation == .pendingBitsAlwaysRead0 { read = 0 }
        var expected = reference.pendingBits(first / 64)
        for vector in first..<min(first + 64, host.vectors.count) {
            let bit: UInt64 = 1 << UInt64(vector & 63)
            // A vector that something was refused for may be unmasked and pending, one that may have lost something
            // says so, and what pends in the device before a vector is used only the device knows; nothing else may.
            let isOpen =
                table.isRefused(UInt32(vector)) || reference.entries[vector].isKickDue || host.isInDoubt(vector)
            if isOpen || !host.vectors[vector].isConnected && read & bit == 0 {
                expected = expected & ~bit | read & bit
            }
        }
        if read != expected {
            disagreement =
                "the pending bits from \(first) on read \(String(read, radix: 2)) and not \(String(expected, radix: 2))"
        }
    }

    private mutating func raise(_ vector: Int) {
        reference.raise(vector)
        host.raise(vector, isOwed: reference.isEnabled)
    }

    private mutating func reset() {
        host.ambush = nil
        reference.reset()
        host.resetDevice()
        table.reset()
        synchronise(again: false)
        host.giveUp()
    }

    // MARK: Keeping the state

    mutating func owing(from first: UInt32) -> UInt64 { carrier.owing(from: first, on: &host) }

    mutating func moveIntoMachine() -> [UInt64] { host.moveIntoMachine(&carrier) }

    func isInUse(_ vector: Int) -> Bool { table.isInUse(UInt32(vector)) }

    func savedRegisters(pending: [Int]) -> InterruptState {
        var saved = table
        for vector in pending { saved.setPending(UInt32(vector)) }
        return InterruptState(msix: saved, msi: nil)
    }

    mutating func takeRegisters(of state: InterruptState, pending keeps: Bool) {
        guard let saved = state.msix else { return disagreement = "a state without its registers" }
        table = saved
        if !keeps { for vector in 0..<shape.vectors { table.clearPending(vector) } }
    }

    mutating func setPending(_ vector: Int) { table.setPending(UInt32(vector)) }
}
