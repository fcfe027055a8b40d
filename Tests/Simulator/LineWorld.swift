import InterruptModel

/// Functions whose INTx pins share one line of a guest: the registers that the guest sees (`INTxFunctions`), the
/// kernel's devices (`DeviceInterrupts`), the pin as the mux drives it (`PinLevels`), and a guest that handles one
/// function at a time or all of them.
///
/// The reference is what is true of a level: while a function asserts and DisINTx is clear the guest is interrupted,
/// again and again, until it has quieted the function; and then no more.
struct LineWorld {
    private struct Function {
        var device = DeviceInterrupts(DeviceProfile(hasINTx: true, msiVectors: 0, msixVectors: 0))
        /// The device has a reason to interrupt.
        var hasCause = false
        var isDisabled = false
        /// Signals of its eventfd that the loop has not taken, and whether it was told of them.
        var waiting = 0 { didSet { if waiting > oldValue { isNotified = true } } }
        var isNotified = false
        var isInService = false
    }

    private static let gsi: UInt32 = 10
    private var functions: [Function]
    private var registers: INTxFunctions
    private var pins: PinLevels
    private var hasOverflowed = false
    private var disagreement: String?
    private let mutation: Mutation?

    init(_ shape: History.Shape, _ mutation: Mutation?) {
        self.mutation = mutation
        functions = [Function](repeating: Function(), count: Int(shape.vectors))
        registers = INTxFunctions(count: functions.count)
        pins = PinLevels(lines: functions.count)
        for index in functions.indices {
            registers.attach(index, pin: 1, gsi: Self.gsi)
            pins.attach(index, to: Self.gsi)
            connect(index)
        }
    }

    private mutating func connect(_ index: Int) {
        let request = IRQRequest(.intx, .trigger, .eventfd([Int32(index)]))
        _ = functions[index].device.apply(request) { .eventFD(identity: UInt64($0)) }
    }

    mutating func run(_ steps: [Step]) throws(Failure) {
        for index in steps.indices {
            carryOut(steps[index])
            try judgeRegisters(index)
            if let disagreement { throw Failure(step: index, text: disagreement) }
        }
        // Everybody may interrupt, and the guest handles everything: in the end there is nothing left to handle.
        for index in functions.indices { disable(index, false) }
        for _ in 0..<2 * functions.count + 2 {
            turn()
            try judgeLevel(steps.count)
            guestRuns(handling: functions.count)
        }
        turn()
        for index in functions.indices where functions[index].hasCause {
            throw Failure(step: steps.count, text: "function \(index) asserts, and the guest is never told")
        }
        if pins.isHigh(Self.gsi) { throw Failure(step: steps.count, text: "the line is high, and nobody asserts") }
    }

    private mutating func carryOut(_ step: Step) {
        let index = Int(step.vector)
        switch step.kind {
        case .assert: assert(index)
        case .withdraw: letGo(index)
        case .storm:
            for _ in 0..<step.argument % 50 + 2 {
                assert(index)
                letGo(index)
            }
            assert(index)
        case .completionsOverflow:
            hasOverflowed = true
            for index in functions.indices { functions[index].isNotified = false }
        case .saveRestore: saveRestore()
        case .disableINTx: disable(index, step.argument & 1 == 0)
        case .guestRuns: guestRuns(handling: Int(step.argument & 3))
        case .functionReset:
            letGo(index)
            _ = functions[index].device.reset()
            disable(index, false)
        default: turn()
        }
    }

    // MARK: The device

    private mutating func assert(_ index: Int) {
        functions[index].hasCause = true
        _ = registers.setAsserted(index, true)
        if case .signal = functions[index].device.assertLine() { functions[index].waiting += 1 }
    }

    private mutating func letGo(_ index: Int) {
        functions[index].hasCause = false
        _ = registers.setAsserted(index, false)
        functions[index].device.deassertLine()
    }

    // MARK: The guest

    private mutating func disable(_ index: Int, _ disabled: Bool) {
        functions[index].isDisabled = disabled
        _ = registers.write(index, offset: 4, width: 2, value: disabled ? 0x0406 : 0x0006)
        guard mutation != .ignoresDisINTx else { return }
        if functions[index].device.writeDisINTx(disabled) != nil { functions[index].waiting += 1 }
        // The pin is another's business from now on; what was in service is unmasked with DisINTx.
        if disabled {
            functions[index].isInService = false
            _ = pins.deassert(index)
        }
    }

    /// The guest's handler: looks at the status bit of each function, quiets so many of them, and ends the interrupt.
    private mutating func guestRuns(handling most: Int) {
        guard pins.isHigh(Self.gsi) else { return }
        var left = most
        for index in functions.indices where left > 0 {
            guard registers.read(index, offset: 6, width: 2, over: 0) & 8 != 0, !functions[index].isDisabled else {
                continue
            }
            letGo(index)
            left -= 1
        }
        endOfInterrupt()
    }

    /// The pin goes low first: unmasking a function that still asserts fires it again.
    private mutating func endOfInterrupt() {
        if mutation != .unmasksBeforeLowering { _ = pins.endOfInterrupt(Self.gsi) }
        for index in functions.indices where functions[index].isInService {
            functions[index].isInService = false
            guard mutation != .forgetsToUnmask else { continue }
            let outcome = functions[index].device.apply(IRQRequest(.intx, .unmask, .none(count: 1))) { _ in .notOpen }
            functions[index].waiting += outcome.signals.count
            if mutation == .unmasksOneOfTheLine { break }
        }
        if mutation == .unmasksBeforeLowering {
            turn()
            _ = pins.endOfInterrupt(Self.gsi)
        }
    }

    // MARK: The host

    private mutating func turn() {
        if hasOverflowed, mutation != .staysDeafAfterOverflow {
            for index in functions.indices { functions[index].isNotified = functions[index].waiting > 0 }
        }
        hasOverflowed = false
        for index in functions.indices where functions[index].isNotified {
            functions[index].waiting = 0
            functions[index].isNotified = false
            guard !functions[index].isDisabled else { continue }
            functions[index].isInService = true
            _ = pins.assert(index)
        }
    }

    /// Each function's line is saved as a blob and loaded into a machine whose loop knows nothing: the devices are
    /// there with their levels, masked by nobody, and their eventfds are new.
    private mutating func saveRestore() {
        pins = PinLevels(lines: functions.count)
        hasOverflowed = false
        for index in functions.indices { pins.attach(index, to: Self.gsi) }
        for index in functions.indices {
            guard let seen = registers.registers(of: index) else { continue }
            let this = functions[index]
            let line = InterruptState.Line(
                seen, way: .userEOI, isInService: this.isInService && !this.isDisabled,
                mayHaveLost: !this.isInService && !this.isDisabled)
            do throws(StateError) {
                let saved = InterruptState(msix: nil, msi: nil, line: line)
                guard let loaded = try InterruptState(decoding: saved.encoded).line, loaded == line else {
                    return disagreement = "a line reads back as another one"
                }
                load(loaded, index)
            } catch { return disagreement = "a line that was just saved is refused: \(error)" }
        }
    }

    /// In the order of `Mux.load(line:)`: DisINTx, what is in service, and one interrupt for what may be lost.
    private mutating func load(_ line: InterruptState.Line, _ index: Int) {
        let hasCause = functions[index].hasCause
        functions[index] = Function()
        functions[index].hasCause = hasCause
        functions[index].isDisabled = line.registers.isDisabled
        connect(index)
        if line.registers.isDisabled { _ = functions[index].device.writeDisINTx(true) }
        if hasCause, case .signal = functions[index].device.assertLine() { functions[index].waiting += 1 }
        if line.isInService {
            _ = functions[index].device.apply(IRQRequest(.intx, .mask, .none(count: 1))) { _ in .notOpen }
            functions[index].isInService = true
            _ = pins.assert(index)
        }
        if line.mayHaveLost, mutation != .noKickAfterRestore { functions[index].waiting += 1 }
    }

    // MARK: Judgement

    private func judgeRegisters(_ step: Int) throws(Failure) {
        for index in functions.indices {
            let read = registers.read(index, offset: 4, width: 4, over: 0)
            let expected: UInt64 =
                (functions[index].hasCause ? 0x0008_0000 : 0) | (functions[index].isDisabled ? 0x0400 : 0)
            guard read == expected else {
                throw Failure(step: step, text: "command and status of function \(index) read \(read)")
            }
        }
        let drives = functions.contains { $0.hasCause && !$0.isDisabled }
        guard registers.isHigh(Self.gsi) == drives else {
            throw Failure(step: step, text: "the line of the registers is wrong")
        }
    }

    /// After a turn of the loop: whoever asserts has the line.
    private func judgeLevel(_ step: Int) throws(Failure) {
        for index in functions.indices where functions[index].hasCause && !pins.isHigh(Self.gsi) {
            throw Failure(step: step, text: "function \(index) asserts, and the line is low")
        }
    }
}
