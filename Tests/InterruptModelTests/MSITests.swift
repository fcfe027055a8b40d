import CKernel
import InterruptModel
import Testing

@Suite("Table B.3: MSI and MSI-X")
struct MSITests {
    static let both: [IRQIndex] = [.msi, .msix]
    static func fds(_ range: Range<Int32>) -> [Int32] { Array(range) }
    static func profile(host: UInt32 = 2048, grows: Bool = true) -> DeviceProfile {
        var profile = DeviceProfile()
        profile.hostVectors = host
        profile.platformGrowsMSIX = grows
        return profile
    }

    /// The rows that read the same for both indexes.
    static let common: [Row] = both.flatMap { index -> [Row] in
        let first = Vector(index, 0)
        let on = [IRQRequest.trigger(index, fds(100..<104))]
        let intx = [IRQRequest.trigger(.intx, [300])]
        let other = [IRQRequest.trigger(index == .msi ? .msix : .msi, [300])]
        let name = index.label + ": "
        return [
            Row(
                name: name + "eventfds enable", request: .trigger(index, fds(100..<104)), result: 0,
                reason: .enabled, after: [first: 100, Vector(index, 3): 103, Vector(index, 4): nil], active: index),
            Row(
                name: name + "a range with a start enables all up to its end",
                request: .trigger(index, start: 2, [102]),
                result: 0, reason: .enabled, after: [first: nil, Vector(index, 2): 102], active: index),
            Row(
                name: name + "count 0 with a start enables vectors without eventfds",
                request: .trigger(index, start: 3, []), result: 0, reason: .enabled, after: [first: nil],
                active: index),
            Row(
                name: name + "no vectors at all is ERANGE", request: .trigger(index, []), result: -ERANGE,
                reason: .noVectorsAsked, active: .some(nil)),
            Row(
                name: name + "all -1 enables with no eventfd", request: .trigger(index, [-1, -1]), result: 0,
                reason: .enabled, after: [first: nil], active: index),
            Row(
                name: name + "refused while INTx is active", before: intx, request: .trigger(index, [100]),
                result: -EINVAL, reason: .otherTypeActive, active: .intx),
            Row(
                name: name + "refused while the other one is active", before: other, request: .trigger(index, [100]),
                result: -EINVAL, reason: .otherTypeActive),
            Row(
                name: name + "too few host vectors return how many there are", request: .trigger(index, fds(100..<108)),
                result: 5, reason: .fewerVectors, profile: profile(host: 5), after: [first: nil], active: .some(nil)),
            Row(
                name: name + "no host vector at all is ENOSPC", request: .trigger(index, [100]), result: -ENOSPC,
                reason: .noVectorsLeft, profile: profile(host: 0), active: .some(nil)),
            Row(
                name: name + "a closed descriptor on the first enable disables everything",
                request: .trigger(index, [100, 101, 9000, 103]), result: -EBADF, reason: .notOpen,
                after: [first: nil], active: .some(nil)),
            Row(
                name: name + "another file on the first enable disables everything",
                request: .trigger(index, [100, 5000]), result: -EINVAL, reason: .notAnEventFD, after: [first: nil],
                active: .some(nil)),
            Row(
                name: name + "reassigning swaps", before: on, request: .trigger(index, start: 1, [151, 152]), result: 0,
                reason: .assigned,
                after: [first: 100, Vector(index, 1): 151, Vector(index, 2): 152, Vector(index, 3): 103],
                active: index),
            Row(
                name: name + "-1 de-assigns one and leaves the others", before: on,
                request: .trigger(index, start: 1, [-1]), result: 0, reason: .assigned,
                after: [first: 100, Vector(index, 1): nil, Vector(index, 2): 102], active: index),
            Row(
                name: name + "any negative number de-assigns", before: on, request: .trigger(index, [-2]), result: 0,
                reason: .assigned, after: [first: nil], active: index),
            Row(
                name: name + "de-assigning all leaves the type enabled", before: on,
                request: .trigger(index, [-1, -1, -1, -1]), result: 0, reason: .assigned, after: [first: nil],
                active: index),
            Row(
                name: name + "count 0 while active touches nothing", before: on, request: .trigger(index, []),
                result: 0, reason: .nothingAsked, after: [first: 100], active: index),
            Row(
                name: name + "a failure de-assigns start to k, with what worked before, and no more", before: on,
                request: .trigger(index, start: 1, [151, 9000, 153]), result: -EBADF, reason: .notOpen,
                after: [first: 100, Vector(index, 1): nil, Vector(index, 2): nil, Vector(index, 3): 103],
                active: index),
            Row(
                name: name + "a file that is no eventfd fails the same way", before: on,
                request: .trigger(index, [5000]), result: -EINVAL, reason: .notAnEventFD,
                after: [first: nil, Vector(index, 1): 101], active: index),
            Row(
                name: name + "the same eventfd on several vectors is legal", request: .trigger(index, [100, 100]),
                result: 0, reason: .enabled, after: [first: 100, Vector(index, 1): 100]),
            Row(
                name: name + "NONE count 0 disables", before: on, request: .disable(index), result: 0,
                reason: .disabled, after: [first: nil], active: .some(nil)),
            Row(
                name: name + "disabling what is not enabled", request: .disable(index), result: -EINVAL,
                reason: .notEnabled),
            Row(
                name: name + "disabling while INTx is active", before: intx, request: .disable(index),
                result: -EINVAL, reason: .otherTypeActive, active: .intx),
            Row(
                name: name + "NONE signals the assigned vectors of the range and skips the others",
                before: on + [.trigger(index, start: 1, [-1])], request: .loopBack(index, count: 4), result: 0,
                reason: .looped, signals: [100, 102, 103]),
            Row(
                name: name + "NONE of part of the range", before: on, request: .loopBack(index, start: 2, count: 2),
                result: 0, reason: .looped, signals: [102, 103]),
            Row(
                name: name + "NONE where nothing is assigned", before: on + [.trigger(index, [-1])],
                request: .loopBack(index, count: 1), result: 0, reason: .loopedNowhere),
            Row(
                name: name + "NONE beyond the allocation signals nothing", before: on,
                request: .loopBack(index, start: 4, count: 2), result: 0, reason: .loopedNowhere),
            Row(
                name: name + "NONE while nothing is active", request: .loopBack(index, count: 1), result: -EINVAL,
                reason: .notEnabledLoopback),
            Row(
                name: name + "NONE while INTx is active", before: intx, request: .loopBack(index, count: 1),
                result: -EINVAL, reason: .otherTypeActive),
            Row(
                name: name + "BOOL signals where the byte is not zero", before: on,
                request: IRQRequest(index, .trigger, .bool([1, 0, 2, 255])), result: 0, reason: .looped,
                signals: [100, 102, 103]),
            Row(
                name: name + "BOOL of zeros does nothing", before: on,
                request: IRQRequest(index, .trigger, .bool([0, 0])), result: 0, reason: .falseByte),
            Row(
                name: name + "BOOL count 0 is nothing", before: on, request: IRQRequest(index, .trigger, .bool([])),
                result: 0, reason: .nothingAsked),
            Row(
                name: name + "BOOL while nothing is active", request: IRQRequest(index, .trigger, .bool([1])),
                result: -EINVAL, reason: .notEnabledLoopback),
        ]
    }

    static let masking: [Row] = both.flatMap { index -> [Row] in
        let reason: Reason = index == .msi ? .msiNotMaskable : .msixNotMaskable
        let states: [(String, [IRQRequest])] = [
            ("none active", []), ("itself active", [.trigger(index, [100])]),
            ("INTx active", [.trigger(.intx, [100])]),
        ]
        let payloads: [(String, IRQRequest.Data)] = [
            ("NONE", .none(count: 1)), ("BOOL", .bool([1])), ("EVENTFD", .eventfd([101])),
        ]
        return states.flatMap { state, before in
            payloads.flatMap { kind, data in
                [IRQRequest.Action.mask, .unmask].map { action in
                    Row(
                        name: "\(index.label): \(action) \(kind), \(state)", before: before,
                        request: IRQRequest(index, action, data), result: -ENOTTY, reason: reason)
                }
            }
        }
    }

    static let growing: [Row] = [
        Row(
            name: "MSI-X grows where the platform can", before: [.trigger(.msix, [100])],
            request: .trigger(.msix, start: 5, [105]), result: 0, reason: .assigned,
            after: [Vector(.msix, 0): 100, Vector(.msix, 5): 105]),
        Row(
            name: "MSI-X with NORESIZE does not", before: [.trigger(.msix, [100])],
            request: .trigger(.msix, start: 0, [110, 111]), result: -EINVAL, reason: .beyondAllocation,
            profile: profile(grows: false), after: [Vector(.msix, 0): nil], active: .msix),
        Row(
            name: "MSI never does", before: [.trigger(.msi, [100])], request: .trigger(.msi, start: 1, [101]),
            result: -EINVAL, reason: .beyondAllocation, after: [Vector(.msi, 0): 100], active: .msi),
        Row(
            name: "-1 beyond the allocation is nothing", before: [.trigger(.msi, [100])],
            request: .trigger(.msi, start: 1, [-1, -1]), result: 0, reason: .assigned, after: [Vector(.msi, 0): 100]),
        Row(
            name: "growing beyond the host's vectors is ENOSPC", before: [.trigger(.msix, [100, 101])],
            request: .trigger(.msix, start: 1, [111, 112, 113]), result: -ENOSPC, reason: .cannotGrow,
            profile: profile(host: 3),
            after: [Vector(.msix, 0): 100, Vector(.msix, 1): nil, Vector(.msix, 2): nil]),
    ]

    @Test("assignment, loopback, disabling", arguments: common) func rows(_ row: Row) { row.check() }
    @Test("masking is ENOTTY whatever the state", arguments: masking) func mask(_ row: Row) { row.check() }
    @Test("growing", arguments: growing) func grow(_ row: Row) { row.check() }

    @Test("a vector stays allocated after -1, and is freed when the type is disabled", arguments: both)
    func allocation(_ index: IRQIndex) {
        var device = DeviceInterrupts.after([.trigger(index, start: 2, [102]), .trigger(index, start: 2, [-1])])
        #expect(device.allocatedVectors == 3 && device.isAllocated(Vector(index, 0)))
        _ = device.run(.disable(index))
        #expect(device.allocatedVectors == 0)
    }

    @Test("a vector added with a bad eventfd stays allocated all the same")
    func allocatedThoughRefused() {
        var device = DeviceInterrupts.after([.trigger(.msix, [100])])
        #expect(device.run(.trigger(.msix, start: 7, [9000])).returnValue == -EBADF)
        #expect(device.isAllocated(Vector(.msix, 7)) && device.allocatedVectors == 2)
    }

    @Test("the failing vector is named, and each eventfd taken or looked at is given back once")
    func halfRange() {
        var device = DeviceInterrupts.after([.trigger(.msix, [100, 101, 102, 103])])
        let outcome = device.run(.trigger(.msix, [200, 201, 5000, 203]))
        #expect(outcome.failedAt == 2)
        #expect(outcome.released.map(\.number).sorted() == [100, 101, 102, 200, 201, 5000])
        #expect(device.number(Vector(.msix, 3)) == 103)
    }

    @Test("descriptors after the failing one are never looked at")
    func lookUpOrder() {
        var device = DeviceInterrupts(DeviceProfile())
        var seen: [Int32] = []
        _ = device.apply(.trigger(.msix, [100, 9000, 102])) {
            seen.append($0)
            return Descriptors.lookUp($0)
        }
        #expect(seen == [100, 9000])
    }

    @Test("switching types needs a disable in between", arguments: both)
    func switching(_ index: IRQIndex) {
        var device = DeviceInterrupts.after([.trigger(.intx, [100])])
        #expect(device.run(.trigger(index, [101])).returnValue == -EINVAL)
        #expect(device.run(.disable(.intx)).returnValue == 0)
        #expect(device.run(.trigger(index, [101])).returnValue == 0)
        #expect(device.run(.trigger(.intx, [100])).returnValue == -EINVAL)
    }

    @Test("all 2048 vectors of a full table are assigned, signalled and disabled")
    func fullTable() {
        let numbers = (0..<2048).map { Int32(100 + $0) }
        var device = DeviceInterrupts.after([.trigger(.msix, numbers)], DeviceProfile(msixVectors: 2048))
        #expect(device.run(.loopBack(.msix, count: 2048)).signals.map(\.number) == numbers)
        #expect(device.run(.disable(.msix)).released.count == 2048)
    }
}

@Suite("Table B.4: ERR and REQ")
struct ErrReqTests {
    static let rows: [Row] = [IRQIndex.err, .req].flatMap { index -> [Row] in
        let name = index.label + ": "
        let vector = Vector(index, 0)
        let set = [IRQRequest.trigger(index, [100])]
        return [
            Row(
                name: name + "an eventfd is set", request: .trigger(index, [100]), result: 0, reason: .assigned,
                after: [vector: 100], active: .some(nil)),
            Row(
                name: name + "an eventfd is replaced", before: set, request: .trigger(index, [101]), result: 0,
                reason: .assigned, after: [vector: 101]),
            Row(
                name: name + "-1 removes", before: set, request: .trigger(index, [-1]), result: 0, reason: .removed,
                after: [vector: nil]),
            Row(name: name + "-1 with none set is fine", request: .trigger(index, [-1]), result: 0, reason: .removed),
            Row(
                name: name + "-2 is refused", before: set, request: .trigger(index, [-2]), result: -EINVAL,
                reason: .belowMinusOne, after: [vector: 100]),
            Row(
                name: name + "a closed descriptor", before: set, request: .trigger(index, [9000]), result: -EBADF,
                reason: .notOpen, after: [vector: 100]),
            Row(
                name: name + "another file", before: set, request: .trigger(index, [5000]), result: -EINVAL,
                reason: .notAnEventFD, after: [vector: 100]),
            Row(
                name: name + "EVENTFD count 0", before: set, request: .trigger(index, []), result: -EINVAL,
                reason: .eventTakesOneVector, after: [vector: 100]),
            Row(
                name: name + "NONE count 1 signals", before: set, request: .loopBack(index, count: 1), result: 0,
                reason: .looped, signals: [100]),
            Row(
                name: name + "NONE count 1 with none set", request: .loopBack(index, count: 1), result: -EINVAL,
                reason: .noneToSignal),
            Row(
                name: name + "NONE count 0 removes", before: set, request: .disable(index), result: 0,
                reason: .removed, after: [vector: nil]),
            Row(
                name: name + "NONE count 0 with none set", request: .disable(index), result: -EINVAL,
                reason: .noneToRemove),
            Row(
                name: name + "BOOL 1 signals", before: set, request: IRQRequest(index, .trigger, .bool([1])),
                result: 0, reason: .looped, signals: [100]),
            Row(
                name: name + "BOOL 0 does nothing", before: set, request: IRQRequest(index, .trigger, .bool([0])),
                result: 0, reason: .falseByte),
            Row(
                name: name + "BOOL 1 with none set is fine", request: IRQRequest(index, .trigger, .bool([1])),
                result: 0, reason: .loopedNowhere),
            Row(
                name: name + "BOOL count 0", before: set, request: IRQRequest(index, .trigger, .bool([])),
                result: -EINVAL, reason: .eventTakesOneVector),
            Row(
                name: name + "start 1", before: set, request: .trigger(index, start: 1, [100]), result: -EINVAL,
                reason: .rangeOutside),
            Row(
                name: name + "count 2", before: set, request: .loopBack(index, count: 2), result: -EINVAL,
                reason: .rangeOutside),
            Row(
                name: name + "MASK", before: set, request: IRQRequest(index, .mask, .none(count: 1)),
                result: -ENOTTY, reason: .eventNotMaskable),
            Row(
                name: name + "UNMASK", before: set, request: IRQRequest(index, .unmask, .bool([1])),
                result: -ENOTTY, reason: .eventNotMaskable),
            Row(
                name: name + "goes with any active type", before: [.trigger(.msix, [200])],
                request: .trigger(index, [100]), result: 0, reason: .assigned, after: [vector: 100], active: .msix),
        ]
    }

    @Test("every row", arguments: rows) func row(_ row: Row) { row.check() }

    @Test("ERR and REQ have eventfds of their own, and disabling MSI-X leaves them")
    func apart() {
        var device = DeviceInterrupts.after([
            .trigger(.err, [100]), .trigger(.req, [101]), .trigger(.msix, [102]), .disable(.msix),
        ])
        #expect(device.number(Vector(.err, 0)) == 100 && device.number(Vector(.req, 0)) == 101)
        #expect(device.raise(Vector(.req, 0)) == .signal(AssignedEventFD(number: 101, identity: 101)))
        #expect(device.raise(Vector(.req, 0)) == .signal(AssignedEventFD(number: 101, identity: 101)))
    }
}
