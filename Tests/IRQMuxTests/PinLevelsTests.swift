import InterruptModel
import Testing

@Suite("levels of shared pins")
struct PinLevelsTests {
    @Test("a pin is high while any of its lines is asserted")
    func counting() {
        var levels = PinLevels(lines: 3)
        for line in 0..<2 { #expect(levels.attach(line, to: 7) == .none) }
        levels.attach(2, to: 8)
        #expect(levels.assert(0) == .rises)
        #expect(levels.assert(1) == .none && levels.assert(1) == .none)
        #expect(levels.count(7) == 2 && levels.isHigh(7) && !levels.isHigh(8))
        #expect(levels.deassert(0) == .none && levels.isHigh(7))
        #expect(levels.deassert(1) == .falls && !levels.isHigh(7))
        #expect(levels.deassert(1) == .none)
    }

    @Test("an end of interrupt lets all lines of the pin go, and none of another")
    func endOfInterrupt() {
        var levels = PinLevels(lines: 3)
        for line in 0..<3 { levels.attach(line, to: line == 2 ? 8 : 7) }
        for line in 0..<3 { _ = levels.assert(line) }
        #expect(levels.endOfInterrupt(7) == .falls)
        #expect(!levels.isAsserted(0) && !levels.isAsserted(1) && levels.isAsserted(2))
        #expect(levels.endOfInterrupt(7) == .none)
        #expect(levels.assert(1) == .rises, "it re-fires")
    }

    @Test("a line that leaves its pin lets it go")
    func leaving() {
        var levels = PinLevels(lines: 2)
        levels.attach(0, to: 1)
        levels.attach(1, to: 1)
        _ = levels.assert(0)
        #expect(levels.attach(0, to: 2) == .falls && levels.pin(of: 0) == 2 && !levels.isHigh(2))
        #expect(levels.detach(1) == .none && levels.pin(of: 1) == nil)
        #expect(levels.assert(1) == .none, "on no pin")
    }

    @Test("whatever is done, a pin is high exactly while a line asserts it, and every change is told once")
    func property() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SplitMix(seed: seed)
        var levels = PinLevels(lines: 6)
        var pins = [UInt32?](repeating: nil, count: 6)
        var asserted = [Bool](repeating: false, count: 6)
        var driven = [Bool](repeating: false, count: 3)
        for step in 0..<5000 {
            let line = random.below(6)
            let pin = UInt32(random.below(3))
            var touched = pins[line] ?? pin
            let change: PinLevels.Change
            switch random.below(5) {
            case 0:
                change = levels.attach(line, to: pin)
                (pins[line], asserted[line]) = (pin, false)
            case 1:
                change = levels.detach(line)
                (pins[line], asserted[line]) = (nil, false)
            case 2:
                change = levels.assert(line)
                asserted[line] = pins[line] != nil
            case 3:
                change = levels.deassert(line)
                asserted[line] = false
            default:
                touched = pin
                change = levels.endOfInterrupt(pin)
                for other in 0..<6 where pins[other] == pin { asserted[other] = false }
            }
            if change != .none {
                #expect(driven[Int(touched)] == (change == .falls), "step \(step), seed \(seed)")
                driven[Int(touched)] = change == .rises
            }
            for pin in 0..<3 {
                let high = (0..<6).contains { pins[$0] == UInt32(pin) && asserted[$0] }
                #expect(levels.isHigh(UInt32(pin)) == high && driven[pin] == high, "step \(step), seed \(seed)")
            }
        }
    }
}
