import CKernel
import InterruptModel
import Testing

@Suite("Whatever the requests, the rules hold")
struct PropertyTests {
    static let cases: [(UInt64, Int)] = seeds.flatMap { seed in (0..<4).map { (seed, $0) } }
    static let dialects: [Dialect] = [.linux, .linux(6, 1), .linux(6, 12), .libvfioUser]

    /// Hands out a new identity for every lookup and remembers what has not come back.
    struct Registry {
        var next: UInt64 = 1
        var open: Set<UInt64> = []
        mutating func lookUp(_ number: Int32) -> EventFDLookup {
            let identity = next
            switch Descriptors.lookUp(number) {
            case .notOpen: return .notOpen
            case .eventFD:
                next += 1
                open.insert(identity)
                return .eventFD(identity: identity)
            case .otherFile:
                next += 1
                open.insert(identity)
                return .otherFile(identity: identity)
            }
        }
    }

    static func profile(_ dice: inout Dice) -> DeviceProfile {
        var profile = DeviceProfile(hasINTx: dice.below(6) > 0, msiVectors: 4, msixVectors: 8)
        profile.hostVectors = UInt32(dice.pick([0, 3, 6, 2048]))
        profile.platformGrowsMSIX = dice.below(2) == 0
        profile.isPCIe = dice.below(2) == 0
        profile.msiHasPendingBits = dice.below(2) == 0
        return profile
    }

    /// Every eventfd the device holds.
    static func held(_ device: DeviceInterrupts) -> [AssignedEventFD] {
        var held: [AssignedEventFD] = []
        for index in IRQIndex.allCases {
            if device.dialect.tables == .sharedByTypes, index == .intx || index == .msi { continue }
            for number in 0..<device.profile.count(index, device.dialect) {
                if let eventFD = device.eventFD(Vector(index, number)) { held.append(eventFD) }
            }
        }
        if let eventFD = device.unmaskEventFD { held.append(eventFD) }
        return held
    }

    @Test("random requests and events", arguments: cases)
    func sequences(seed: UInt64, dialect: Int) {
        var dice = Dice(seed)
        var device = DeviceInterrupts(Self.profile(&dice), Self.dialects[dialect])
        var registry = Registry()
        for step in 0..<300 {
            let context: Comment = "seed \(seed), \(Self.dialects[dialect].name), step \(step)"
            if dice.below(4) == 0 {
                event(&device, &dice, context)
            } else {
                request(&device, &registry, &dice, context)
            }
            // Nobody leaks and nobody gives back twice: what is open is exactly what the device holds.
            #expect(registry.open == Set(Self.held(device).map(\.identity)), context)
            invariants(device, context)
        }
    }

    @Test("a swap is the request with one eventfd, where the vector signals one already, and nothing elsewhere")
    func swap() throws {
        var swaps = 0
        for seed in seeds {
            for dialect in Self.dialects {
                var dice = Dice(seed)
                var device = DeviceInterrupts(Self.profile(&dice), dialect)
                var registry = Registry()
                for step in 0..<300 {
                    let context: Comment = "seed \(seed), \(dialect.name), step \(step)"
                    let vector = Vector(dice.pick(IRQIndex.allCases), UInt32(dice.below(9)))
                    let eventFD = AssignedEventFD(number: 5, identity: UInt64.max - UInt64(step))
                    var swapped = device
                    guard let (released, fires) = swapped.swap(vector, for: eventFD) else {
                        #expect(swapped == device, context)
                        let mayBeSwapped = vector.index == .msi || vector.index == .msix
                        #expect(
                            dialect.tables != .oneActiveType || !mayBeSwapped || device.eventFD(vector) == nil, context)
                        if dice.below(4) == 0 {
                            event(&device, &dice, context)
                        } else {
                            request(&device, &registry, &dice, context)
                        }
                        continue
                    }
                    swaps += 1
                    var asked = device
                    let request = IRQRequest(vector.index, .trigger, start: vector.number, .eventfd([5]))
                    let outcome = asked.apply(request) { _ in .eventFD(identity: eventFD.identity) }
                    #expect(swapped == asked && outcome.verdict == .done, context)
                    #expect(outcome.released == [released] && outcome.signals == (fires ? [eventFD] : []), context)
                    event(&device, &dice, context)
                }
            }
        }
        #expect(swaps > 100, "the dice come to swaps: \(swaps)")
    }

    private func invariants(_ device: DeviceInterrupts, _ context: Comment) {
        if device.dialect.tables == .sharedByTypes { #expect(device.activeType == nil, context) }
        for index in [IRQIndex.intx, .msi, .msix] where device.dialect.tables == .oneActiveType {
            for number in 0..<device.profile.count(index, device.dialect) {
                let vector = Vector(index, number)
                if device.eventFD(vector) != nil {
                    #expect(device.activeType == index && device.isAllocated(vector), context)
                    if index != .intx { #expect(!device.isPending(vector), context) }
                }
            }
        }
        #expect(device.activeType != .err && device.activeType != .req, context)
        #expect(device.allocatedVectors <= device.profile.hostVectors, context)
        if device.activeType == nil { #expect(device.allocatedVectors == 0, context) }
        if device.activeType == .intx, device.isLineAsserted || device.isINTxDisabledByCommand {
            #expect(device.isINTxMasked, context)
        }
    }

    private func event(_ device: inout DeviceInterrupts, _ dice: inout Dice, _ context: Comment) {
        let held = Self.held(device)
        switch dice.below(7) {
        case 0: device.deassertLine()
        case 1: _ = device.reset()
        case 2: if let eventFD = device.writeDisINTx(dice.below(2) == 0) { #expect(held.contains(eventFD), context) }
        case 3: if let eventFD = device.unmaskEventFDSignalled() { #expect(held.contains(eventFD), context) }
        default:
            let vector = Vector(dice.pick(IRQIndex.allCases), UInt32(dice.below(9)))
            if case .signal(let eventFD) = device.raise(vector) { #expect(held.contains(eventFD), context) }
        }
    }

    private func request(
        _ device: inout DeviceInterrupts, _ registry: inout Registry, _ dice: inout Dice, _ context: Comment
    ) {
        let request = dice.request(hostile: dice.below(4) == 0)
        let before = device
        var byBytes = device
        let outcome = device.apply(request) { registry.lookUp($0) }
        for eventFD in outcome.released { #expect(registry.open.remove(eventFD.identity) != nil, context) }

        // The same request as bytes; without payload, eventfds that travel beside the message have no bytes.
        if device.dialect.eventFDsInPayload {
            let again = byBytes.apply(bytes: request.encoded, lookUp: Descriptors.lookUp)
            #expect(again.returnValue == outcome.returnValue && again.reason == outcome.reason, context)
            #expect(again.signals.map(\.number) == outcome.signals.map(\.number), context)
        }
        switch outcome.verdict {
        case .done: break
        case .available(let count):
            #expect(device == before && count > 0 && count < request.start + request.count, context)
        case .refused(let errno):
            #expect(errno > 0, context)
            if outcome.changes.isEmpty { #expect(device == before, context) }
            halfRange(request, outcome, before, device, context)
        }
        let lines = before.explain(request, lookUp: Descriptors.lookUp).lines
        #expect(!lines[0].isEmpty && !lines.contains(""), context)
    }

    /// A refusal inside a range de-assigns start to k and nothing else; on the first enable it leaves nothing enabled.
    private func halfRange(
        _ request: IRQRequest, _ outcome: Outcome, _ before: DeviceInterrupts, _ after: DeviceInterrupts,
        _ context: Comment
    ) {
        guard after.dialect.tables == .oneActiveType, request.index == .msi || request.index == .msix else {
            if after.dialect.tables == .sharedByTypes { #expect(Self.held(after) == Self.held(before), context) }
            return
        }
        guard let failed = outcome.failedAt else { return #expect(after == before, context) }
        guard before.activeType != nil else { return #expect(after.activeType == nil, context) }
        for number in 0..<after.profile.count(request.index, after.dialect) {
            let vector = Vector(request.index, number)
            let expected = (request.start...failed).contains(number) ? nil : before.eventFD(vector)
            #expect(after.eventFD(vector) == expected, context)
        }
    }
}
