import InterruptModel

/// Draws steps: mostly requests that mean something in the present state, then spoilt ones, then noise.
struct Generator {
    private var dice: Dice
    private let pool: Pool
    private let kind: DeviceKind
    private let counts: [IRQIndex: UInt32]

    init(seed: UInt64, pool: Pool, kind: DeviceKind, counts: [IRQIndex: UInt32]) {
        dice = Dice(seed)
        self.pool = pool
        self.kind = kind
        self.counts = counts
    }

    mutating func next(_ model: DeviceInterrupts) -> Step {
        if let event = event(model) { return event }
        while true {
            let bytes = request(model)
            if keepsPoolsApart(bytes) { return .request(bytes) }
        }
    }

    /// What the device or its driver does between requests.
    private mutating func event(_ model: DeviceInterrupts) -> Step? {
        guard kind == .edu || kind == .rocker || kind == .mtty, dice.below(4) == 0 else {
            if model.unmaskEventFD != nil, dice.below(6) == 0 { return .signal(dice.pick(pool.unmaskers)) }
            return nil
        }
        switch kind {
        case .rocker: return .raise(dice.below(Int(counts[.msix] ?? 1)))
        case .mtty: return .raise(0)
        default:
            switch dice.below(8) {
            case 0...2: return .raise(0)
            case 3, 4: return .acknowledge
            case 5: return .disINTx(dice.below(2) == 0)
            default: return .signal(dice.pick(pool.unmaskers))
            }
        }
    }

    /// The kernel drains an unmasking eventfd, so one that is also a trigger would have no count to compare.
    private func keepsPoolsApart(_ bytes: [UInt8]) -> Bool {
        guard let request = RawIRQRequest(bytes: bytes)?.request, case .eventfd(let numbers) = request.data else {
            return true
        }
        let unmasks = request.index == .intx && request.action == .unmask
        return numbers.allSatisfy { !(unmasks ? pool.triggers : pool.unmaskers).contains($0) }
    }

    private mutating func request(_ model: DeviceInterrupts) -> [UInt8] {
        let sensible = sensibleRequest(model)
        switch dice.below(10) {
        case 0: return spoilt(sensible.encoded)
        case 1: return twisted(sensible)
        case 2 where dice.below(4) == 0: return (0..<dice.below(64)).map { _ in UInt8(dice.below(256)) }
        default: return sensible.encoded
        }
    }

    private mutating func sensibleRequest(_ model: DeviceInterrupts) -> IRQRequest {
        let index = index(model)
        let count = counts[index] ?? 0
        if dice.below(14) == 0 { return IRQRequest(index, .trigger, .none(count: 0)) }
        if index == .intx, dice.below(2) == 0 {
            let action: IRQRequest.Action = dice.below(3) == 0 ? .mask : .unmask
            switch dice.below(4) {
            case 0: return IRQRequest(index, action, .bool([UInt8(dice.below(3))]))
            case 1: return IRQRequest(index, action, .eventfd([descriptor(pool.unmaskers)]))
            default: return IRQRequest(index, action, .none(count: 1))
            }
        }
        // Short ranges mostly: a long one costs the emulated machine a millisecond a vector.
        let start = UInt32(dice.below(Int(max(count, 1))))
        let most = max(count > start ? count - start : 0, 1)
        let length = min(most, UInt32(dice.below(8) == 0 ? dice.below(Int(most) + 1) : 1 + dice.below(4)))
        let from = dice.below(3) == 0 ? start : 0
        switch dice.below(5) {
        case 0: return IRQRequest(index, .trigger, start: from, .none(count: length))
        case 1: return IRQRequest(index, .trigger, start: from, .bool((0..<length).map { _ in UInt8(dice.below(3)) }))
        default:
            return IRQRequest(
                index, .trigger, start: from, .eventfd((0..<length).map { _ in descriptor(pool.triggers) }))
        }
    }

    /// The active index more often than another.
    private mutating func index(_ model: DeviceInterrupts) -> IRQIndex {
        if let active = model.activeType, dice.below(3) > 0 { return active }
        return dice.pick(IRQIndex.allCases)
    }

    private mutating func descriptor(_ good: [Int32]) -> Int32 {
        switch dice.below(24) {
        case 0: pool.notAnEventFD
        case 1: pool.closed
        case 2, 3: -1
        case 4: dice.pick([-2, Int32.min, Int32.max])
        default: dice.pick(good)
        }
    }

    /// A word of the header or a byte changed, or the end cut off.
    private mutating func spoilt(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        switch dice.below(4) {
        case 0: bytes.removeLast(1 + dice.below(bytes.count))
        case 1: bytes[dice.below(bytes.count)] ^= 1 << UInt8(dice.below(8))
        case 2: bytes += (0..<dice.below(20)).map { _ in UInt8(dice.below(256)) }
        default:
            let values: [UInt32] = [0, 1, 2, 5, 19, 20, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff]
            let value = dice.pick(values)
            let at = 4 * dice.below(5)
            for byte in 0..<4 { bytes[at + byte] = UInt8(truncatingIfNeeded: value >> (8 * UInt32(byte))) }
        }
        return bytes
    }

    /// A header whose words are each likely but do not go together.
    private mutating func twisted(_ request: IRQRequest) -> [UInt8] {
        var raw = request.raw
        switch dice.below(5) {
        case 0: raw.header.flags = UInt32(dice.below(0x80))
        case 1: raw.header.index = UInt32(dice.below(7))
        case 2: raw.header.start = UInt32(dice.below(40))
        case 3: raw.header.count = UInt32(dice.below(40))
        default: raw.header.argsz = UInt32(dice.below(60))
        }
        return raw.bytes
    }
}

/// A generator whose whole state is one number, so that a run is named by its seed.
struct Dice {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = (state ^ (state >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }

    mutating func pick<Element>(_ choices: [Element]) -> Element { choices[below(choices.count)] }
}
