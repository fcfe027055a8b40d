import IRQMux
import InterruptModel

/// The guest's MSI registers, the host below them, and the reference that judges both.
struct MSIWorld: JudgedWorld, ~Copyable {
    var registers: MSIRegisters
    var host: Host
    var carrier: MessageCarrier
    var reference: Reference
    let shape: History.Shape
    var disagreement: String?
    var earlier: Reference?
    let mutation: Mutation?
    /// What the guest wrote, for the reference: the message that all vectors share, the mask bits, how many it enabled.
    private var address: UInt64 = 0
    private var data: UInt32 = 0
    private var maskBits: UInt32 = 0
    private var enabled: UInt32 = 1

    init(_ shape: History.Shape, _ mutation: Mutation?) {
        self.shape = shape
        self.mutation = mutation
        let is64Bit = shape.grows
        registers = MSIRegisters(.init(vectors: shape.vectors, is64Bit: is64Bit, isMaskable: shape.masks != .nowhere))
        host = Host(shape, mutation)
        carrier = host.makeCarrier()
        reference = Reference(vectors: shape.vectors)
        tellReference()
    }

    mutating func run(_ steps: [Step]) throws(Failure) {
        for index in steps.indices {
            beginStep()
            carryOut(steps[index])
            try judge(index)
        }
        healAll()
        try judgeEnd(steps.count)
    }

    func isRefused(_ vector: Int) -> Bool {
        registers.refusedBits >> UInt32(vector) & 1 == 1 || reference.isEnabled && !registers.isInUse(UInt32(vector))
    }

    mutating func synchronise(again isAgain: Bool) {
        if isAgain { registers.retry() }
        registers.synchronise { host.perform($0, &carrier) }
    }

    mutating func repair() { try? carrier.repair(on: &host) }

    // MARK: Steps

    private mutating func carryOut(_ step: Step) {
        let vector = Int(step.vector)
        switch step.kind {
        case .control: control(step.argument)
        case .writeRegister: writeMessage(step.argument)
        case .maskVector: setMasks(maskBits | 1 << step.vector)
        case .unmaskVector: setMasks(maskBits & ~(1 << step.vector))
        case .program:
            setMasks(maskBits | 1 << step.vector)
            writeMessage(0)
            writeMessage(step.argument | 1)
            setMasks(maskBits & ~(1 << step.vector))
        case .oddAccess: oddAccess(step.argument)
        case .readTable, .readPending: read()
        case .raise: raise(vector)
        case .raiseAmid: if vector < Int(enabled) { lieInWait(vector, step.argument) }
        case .storm: for _ in 0..<step.argument % 50 + 2 { raise(vector) }
        case .functionReset: reset()
        case .backdoorReset: backdoorReset(repaired: mutation != .noRepairAfterBackdoorReset)
        case .turn: host.turn()
        case .commit: host.settleServed()
        case .haltAll: host.haltAll(true)
        case .resumeAll: host.haltAll(false)
        case .halt: host.halt(vector, true)
        case .resume: host.halt(vector, false)
        case .descriptorsRunOut: host.descriptors = step.argument % 6
        case .eventFDCloses: host.close(vector, bypass: step.argument & 1 == 1)
        case .completionsOverflow: host.overflow()
        case .commitsFail: host.commitsFail = true
        case .saveRestore: saveRestore(step.argument)
        case .assert, .withdraw, .disableINTx, .guestRuns: break
        case .heal: heal()
        }
    }

    private var dataOffset: Int { registers.layout.is64Bit ? 12 : 8 }

    private mutating func write(_ offset: Int, _ width: Int, _ value: UInt32) {
        if registers.write(offset: offset, width: width, value) { synchronise(again: false) }
        // Each write is a moment of its own: vectors that are open share the message.
        absorb()
        earlier = reference
    }

    /// Enable, and so many vectors; another number while enabled begins anew.
    private mutating func control(_ argument: UInt32) {
        host.ambush = nil
        let isEnabled = argument & 2 != 0
        let power = min(argument >> 2 & 7, UInt32(shape.vectors.trailingZeroBitCount))
        if reference.isEnabled, 1 << power != enabled { reference.control(enabled: false, functionMask: false) }
        let before = enabled
        enabled = 1 << power
        reference.control(enabled: isEnabled, functionMask: false)
        tellReference()
        // Where it never came to be on, nobody is told that it is off.
        if !isEnabled || before != enabled { host.giveUp() }
        write(2, 2, UInt32(isEnabled ? 1 : 0) | (argument >> 2 & 7) << 4)
    }

    private mutating func writeMessage(_ argument: UInt32) {
        if argument & 1 == 0 {
            address = UInt64(0xFEE0_0000 | argument & 0xF000)
            tellReference()
            write(4, 4, UInt32(address))
        } else {
            data = argument >> 4 & 0xFF
            tellReference()
            write(dataOffset, 2, data)
        }
    }

    /// Without mask bits the write goes to what lies behind the capability, and does nothing.
    private mutating func setMasks(_ bits: UInt32) {
        maskBits = registers.layout.isMaskable ? bits & (1 << shape.vectors - 1) : 0
        tellReference()
        write(dataOffset + 4, 4, bits)
    }

    private mutating func oddAccess(_ argument: UInt32) {
        let offset = Int(argument >> 3 & 31)
        let width = [3, 8, 0, 5][Int(argument & 3)]
        if registers.write(offset: offset, width: width, .max) { synchronise(again: false) }
        let ones: UInt32 = width == 0 ? 0 : width == 3 ? 0xFF_FFFF : .max
        let read = registers.read(offset: offset, width: width)
        if read != ones { disagreement = "an odd access of \(width) bytes at \(offset) read \(read)" }
    }

    private mutating func read() {
        var pairs: [(Int, UInt32)] = [(4, UInt32(address)), (dataOffset, data)]
        if registers.layout.isMaskable { pairs.append((dataOffset + 4, maskBits)) }
        for (offset, expected) in pairs {
            let read = registers.read(offset: offset, width: 4)
            if read != expected { disagreement = "the capability reads \(read) at \(offset), and not \(expected)" }
        }
        guard registers.layout.isMaskable else { return }
        let kept =
            mutation == .pendingBitsAlwaysRead0 ? 0 : UInt32(truncatingIfNeeded: carrier.kept(from: 0, on: &host))
        let read = registers.read(offset: dataOffset + 8, width: 4, kept: kept)
        var expected = UInt32(truncatingIfNeeded: reference.pendingBits(0))
        // Those that the guest did not enable have no bits.
        if enabled < 32 { expected &= 1 << enabled - 1 }
        for vector in host.vectors.indices where isRefused(vector) || host.isInDoubt(vector) {
            expected = expected & ~(1 << UInt32(vector)) | read & 1 << UInt32(vector)
        }
        if read != expected { disagreement = "the pending bits read \(read) and not \(expected)" }
    }

    /// A device makes do with the vectors that it was given.
    private mutating func raise(_ vector: Int) {
        guard !reference.isEnabled || vector < Int(enabled) else { return }
        reference.raise(vector)
        host.raise(vector, isOwed: reference.isEnabled)
    }

    private mutating func reset() {
        host.ambush = nil
        reference.reset()
        (address, data, maskBits, enabled) = (0, 0, 0, 1)
        tellReference()
        host.resetDevice()
        registers.reset()
        synchronise(again: false)
        host.giveUp()
    }

    /// Vector n sends the data with its low bits replaced; vectors that are not enabled are masked.
    private mutating func tellReference() {
        for vector in 0..<shape.vectors {
            reference.write(Int(vector), 0, UInt32(truncatingIfNeeded: address))
            reference.write(Int(vector), 1, UInt32(truncatingIfNeeded: address >> 32))
            reference.write(Int(vector), 2, data & ~(enabled - 1) | vector & (enabled - 1))
            let isMasked = vector >= enabled || maskBits >> vector & 1 == 1
            reference.write(Int(vector), 3, isMasked ? 1 : 0)
        }
    }

    // MARK: Keeping the state

    mutating func owing(from first: UInt32) -> UInt64 { carrier.owing(from: first, on: &host) }

    mutating func moveIntoMachine() -> [UInt64] { host.moveIntoMachine(&carrier) }

    func isInUse(_ vector: Int) -> Bool { registers.isInUse(UInt32(vector)) }

    func savedRegisters(pending: [Int]) -> InterruptState {
        var saved = registers
        for vector in pending { saved.setPending(UInt32(vector)) }
        return InterruptState(msix: nil, msi: saved)
    }

    mutating func takeRegisters(of state: InterruptState, pending keeps: Bool) {
        guard let saved = state.msi else { return disagreement = "a state without its registers" }
        registers = saved
        if !keeps { for vector in 0..<shape.vectors { registers.clearPending(vector) } }
    }

    mutating func setPending(_ vector: Int) { registers.setPending(UInt32(vector)) }
}
