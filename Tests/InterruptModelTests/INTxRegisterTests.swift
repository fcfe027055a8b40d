import InterruptModel
import Simulator
import Testing

@Suite("INTx in configuration space")
struct INTxRegisterTests {
    @Test("DisINTx keeps the function from its pin, and the status bit tells the level all the same")
    func disable() {
        var registers = INTxRegisters(pin: 1)
        #expect(registers.setAsserted(true) == .rises && registers.drives)
        #expect(registers.write(offset: 0x04, width: 2, value: 0x0406) == .falls)
        #expect(registers.read(offset: 0x04, width: 4, over: 0x0010_0002) == 0x0018_0402)
        #expect(registers.setAsserted(false) == .none && registers.setAsserted(true) == .none)
        #expect(registers.write(offset: 0x05, width: 1, value: 0) == .rises)
        #expect(registers.write(offset: 0x05, width: 1, value: 0) == .none)
    }

    @Test("read-only bits stay, and Interrupt Line is the software's", arguments: [1, 2, 4])
    func readOnly(width: Int) {
        var registers = INTxRegisters(pin: 2)
        _ = registers.write(offset: 0x3C, width: width, value: 0x0A0A_0A0A)
        #expect(registers.read(offset: 0x3C, width: 1, over: 0) == 0x0A)
        #expect(registers.read(offset: 0x3D, width: 1, over: 0x55) == 2)
        #expect(registers.write(offset: 0x06, width: 2, value: 0x0008) == .none)
        #expect(registers.read(offset: 0x06, width: 2, over: 0xFFFF) == 0xFFF7)
    }

    @Test("accesses of any width and place change only the bits that are INTx's", arguments: seeds)
    func anywhere(seed: UInt64) {
        var dice = Dice(seed)
        var registers = INTxRegisters(pin: 3)
        for _ in 0..<3000 {
            let offset = dice.pick([UInt64(dice.below(0x48)), .max, .max - 3])
            let (width, value) = (dice.below(12) - 1, dice.next())
            let before = registers
            _ = registers.write(offset: offset, width: width, value: value)
            #expect(registers.isAsserted == before.isAsserted && registers.pin == 3)
            let read = registers.read(offset: offset, width: width, over: value)
            let plain = offset > 6 && offset < 0x3C - 8 || !(1...8 ~= width)
            if plain { #expect(read == value, "seed \(seed)") }
            _ = registers.setAsserted(dice.below(2) == 0)
            #expect(registers.drives == (registers.isAsserted && !registers.isDisabled))
        }
    }

    @Test("a function without a pin, or with one that PCI does not know, drives nothing")
    func withoutPin() {
        for pin: UInt8 in [0, 5, 255] {
            var registers = INTxRegisters(pin: pin)
            #expect(registers.setAsserted(true) == .none && !registers.drives && registers.swizzled(slot: 3) == nil)
            #expect(registers.read(offset: 0x06, width: 1, over: 0) == 0x08)
        }
        #expect(INTxRegisters(pin: 1).swizzled(slot: 3) == 3 && INTxRegisters(pin: 4).swizzled(slot: 2) == 1)
    }

    @Test("reset lets the pin go and clears DisINTx")
    func reset() {
        var registers = INTxRegisters(pin: 1)
        _ = registers.setAsserted(true)
        _ = registers.write(offset: 0x3C, width: 1, value: 9)
        #expect(registers.reset() == .falls && registers == INTxRegisters(pin: 1))
    }
}

@Suite("INTx of several functions on shared lines")
struct INTxFunctionTests {
    @Test("a line falls when the last of its functions lets it go, by level, by DisINTx or by leaving")
    func shared() {
        var functions = INTxFunctions(count: 4)
        for index in 0..<3 { functions.attach(index, pin: 1, gsi: index == 2 ? 11 : 10) }
        #expect(functions.setAsserted(0, true) == .init(gsi: 10, change: .rises))
        #expect(functions.setAsserted(1, true).change == .none)
        #expect(functions.setAsserted(2, true) == .init(gsi: 11, change: .rises))
        #expect(functions.write(0, offset: 4, width: 2, value: 0x400).change == .none)
        #expect(functions.isHigh(10))
        #expect(functions.setAsserted(1, false) == .init(gsi: 10, change: .falls))
        #expect(functions.write(0, offset: 4, width: 2, value: 0) == .init(gsi: 10, change: .rises))
        #expect(functions.detach(0) == .init(gsi: 10, change: .falls))
        #expect(functions.reset(2) == .init(gsi: 11, change: .falls))
        #expect(functions.setAsserted(3, true).change == .none, "nobody is there")
        #expect(functions.read(3, offset: 6, width: 1, over: 8) == 8 && functions.registers(of: 3) == nil)
    }

    @Test("the end of an interrupt names those that still drive the line, and only those")
    func endOfInterrupt() {
        var functions = INTxFunctions(count: 4)
        for index in 0..<4 {
            functions.attach(index, pin: 1, gsi: index == 3 ? 11 : 10)
            _ = functions.setAsserted(index, true)
        }
        _ = functions.setAsserted(0, false)
        _ = functions.write(1, offset: 5, width: 1, value: 4)
        var told: [Int] = []
        functions.endOfInterrupt(10) { told.append($0) }
        #expect(told == [2])
    }
}
