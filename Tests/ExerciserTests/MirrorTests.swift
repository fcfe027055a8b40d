import EventRing
import Exerciser
import InterruptModel
import Testing

@Suite("The device does with real eventfds what the model says")
struct MirrorTests {
    struct Dice: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var value = (state ^ (state >> 30)) &* 0xbf58_476d_1ce4_e5b9
            value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
            return value ^ (value >> 31)
        }
        mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<limit, using: &self) }
    }

    static let dialects: [Dialect] = [.linux, .linux(6, 1), .libvfioUser]

    @Test(
        "random requests: same result, same signals, closed ledgers",
        arguments: [1, 2, 3, 4, UInt64.random(in: 0...UInt64.max)], 0..<3)
    func mirror(seed: UInt64, dialect: Int) throws {
        var dice = Dice(state: seed)
        var configuration = ExerciserConfiguration(msi: 4, msix: 8)
        configuration.dialect = Self.dialects[dialect]
        configuration.hostVectors = 6
        let device = try Exerciser(configuration)
        var profile = DeviceProfile(msiVectors: 4, msixVectors: 8)
        profile.hostVectors = 6
        profile.msiHasPendingBits = true
        var model = DeviceInterrupts(profile, configuration.dialect)
        let events = try EventFDs(6)
        let numbers = events.numbers
        var signals = [UInt64](repeating: 0, count: 6)
        for step in 0..<400 {
            let context: Comment = "seed \(seed), \(configuration.dialect.name), step \(step)"
            if dice.below(3) == 0 {
                let vector = Vector(IRQIndex.allCases[dice.below(5)], UInt32(dice.below(9)))
                let result = model.raise(vector)
                let real = device.raise(vector)
                switch (result, real) {
                case (.signal(let eventFD), .signal): signals[numbers.firstIndex(of: eventFD.number)!] += 1
                default: #expect(result == real, context)
                }
                continue
            }
            let request = Self.request(&dice, numbers)
            let outcome = model.apply(request) { number in
                numbers.contains(number) ? .eventFD(identity: UInt64(number)) : .notOpen
            }
            var result: Int32
            do {
                result = Int32(try device.setInterrupts(request))
            } catch {
                result = -error.errno
            }
            #expect(result == outcome.returnValue, context)
            for eventFD in outcome.signals { signals[numbers.firstIndex(of: eventFD.number)!] += 1 }
        }
        #expect(try events.takeAll() == signals, "seed \(seed), \(configuration.dialect.name)")
        for index in IRQIndex.allCases {
            for number in 0..<(try device.interruptInfo(index).count) {
                #expect(device.ledger(Vector(index, number)).unexplained == 0, "seed \(seed)")
            }
        }
        let counts = IRQIndex.allCases.flatMap { index in (0..<8).map { device.raisedCount(Vector(index, $0)) ?? 0 } }
        #expect(counts.reduce(0, +) == signals.reduce(0, +), "seed \(seed)")
    }

    static func request(_ dice: inout Dice, _ numbers: [Int32]) -> IRQRequest {
        let index = IRQIndex.allCases[dice.below(5)]
        let action: IRQRequest.Action = [.trigger, .trigger, .trigger, .mask, .unmask][dice.below(5)]
        let most = index == .msix ? 8 : index == .msi ? 4 : 1
        let start = dice.below(most)
        let count = dice.below(most - start + 1)
        // An unmasking eventfd would be read by the device's own thread, whose moment the model cannot know.
        switch action == .unmask ? dice.below(2) : dice.below(4) {
        case 0: return IRQRequest(index, action, start: UInt32(start), .none(count: UInt32(count)))
        case 1:
            return IRQRequest(index, action, start: UInt32(start), .bool((0..<count).map { _ in UInt8(dice.below(3)) }))
        default:
            let chosen = (0..<count).map { _ in
                dice.below(5) == 0 ? [-1, 1 << 30][dice.below(2)] : numbers[dice.below(6)]
            }
            return IRQRequest(index, action, start: UInt32(start), .eventfd(chosen))
        }
    }
}
