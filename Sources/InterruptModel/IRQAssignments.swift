/// What the vectors of one device signal, as far as SET_IRQS has said: where a change begins, and where it is to end.
///
/// A pure value without the device's own side (masks, pending bits): what a request can put back after another one has
/// failed. Eventfds are the caller's numbers. A copy is changed into the wanted state, and ``IRQPlan`` says how to get
/// there; ``change(to:on:rules:)`` does it. Not for use by several threads at a time.
public struct IRQAssignments: Equatable, Sendable {
    /// What stands for "no eventfd".
    public static var none: Int32 { -1 }
    /// After a refusal it is not known whether the vector has its eventfd still; only the device knows.
    static var unknown: Int32 { .min }

    /// Which of INTx, MSI and MSI-X is enabled; `nil` for none.
    public internal(set) var active: IRQIndex?
    /// How many vectors of the active type are allocated at the host from 0 on, at least. The kernel allocates
    /// everything below a range's end when it enables MSI or MSI-X.
    public internal(set) var allocated: UInt32 = 0
    /// The eventfd that unmasks INTx.
    public internal(set) var unmask = IRQAssignments.none
    /// The eventfd of ERR.
    public internal(set) var err = IRQAssignments.none
    /// The eventfd of REQ.
    public internal(set) var req = IRQAssignments.none
    /// The eventfds of the active type by vector, without those that have none at the end.
    var eventFDs: [Int32] = []

    /// A device that was just opened: nothing enabled, nothing assigned.
    public init() {}

    /// The eventfd that `vector` signals, ``none`` where it has none.
    public func eventFD(_ vector: Vector) -> Int32 {
        switch vector.index {
        case .err: return err
        case .req: return req
        case .intx, .msi, .msix: return active == vector.index ? self[vector.number] : Self.none
        }
    }

    /// How many vectors of the active type have an eventfd.
    public var assignedCount: Int { eventFDs.count { $0 != Self.none } }

    subscript(number: UInt32) -> Int32 { number < UInt32(eventFDs.count) ? eventFDs[Int(number)] : Self.none }

    // MARK: Saying what is wanted

    /// Gives vectors from `start` on these eventfds, one each; a negative number takes the vector's away.
    ///
    /// Enables the index where it is not, which takes away what INTx, MSI or MSI-X had before: one of them is enabled
    /// at a time.
    public mutating func assign(_ index: IRQIndex, start: UInt32 = 0, _ numbers: [Int32]) {
        switch index {
        case .err: err = numbers.first.map(Self.normal) ?? err
        case .req: req = numbers.first.map(Self.normal) ?? req
        case .intx, .msi, .msix:
            if active != index {
                disable()
                active = index
            }
            set(start, numbers)
        }
    }

    /// Takes the eventfds of a range away; the index stays enabled.
    public mutating func remove(_ index: IRQIndex, _ range: Range<UInt32>) {
        switch index {
        case .err, .req: assign(index, [Self.none])
        case .intx, .msi, .msix:
            guard active == index else { return }
            set(range.lowerBound, [Int32](repeating: Self.none, count: range.count), allocating: false)
        }
    }

    /// Disables INTx, MSI or MSI-X, whichever is enabled. ERR and REQ stay.
    public mutating func disable() {
        active = nil
        allocated = 0
        unmask = Self.none
        eventFDs = []
    }

    /// Lets `eventFD` unmask INTx; ``none`` ends that. No effect unless INTx is enabled.
    public mutating func unmaskINTx(by eventFD: Int32) {
        if active == .intx { unmask = Self.normal(eventFD) }
    }

    private static func normal(_ number: Int32) -> Int32 { number < 0 ? none : number }

    private mutating func set(_ start: UInt32, _ numbers: [Int32], allocating: Bool = true) {
        let end = Int(start) + numbers.count
        while eventFDs.count < end { eventFDs.append(Self.none) }
        for (offset, number) in numbers.enumerated() { eventFDs[Int(start) + offset] = Self.normal(number) }
        if allocating { allocated = max(allocated, UInt32(end)) }
        trim()
    }

    private mutating func trim() { while eventFDs.last == Self.none { eventFDs.removeLast() } }

    // MARK: What requests leave behind

    /// The state after `request` was carried out.
    public mutating func succeeded(_ request: IRQRequest) {
        switch (request.action, request.data) {
        case (.trigger, .eventfd(let numbers)) where !numbers.isEmpty:
            assign(request.index, start: request.start, numbers)
        case (.trigger, .none(count: 0)):
            switch request.index {
            case .err: err = Self.none
            case .req: req = Self.none
            case .intx, .msi, .msix: if active == request.index { disable() }
            }
        case (.unmask, .eventfd(let numbers)) where request.index == .intx:
            unmaskINTx(by: numbers.first ?? unmask)
        default: break
        }
    }

    /// The state after `request` was refused, or answered with a number of vectors to be had.
    ///
    /// The kernel goes through a range in order and, where it fails, takes away everything it came by; what lies behind
    /// keeps what it had. How far it came it does not say. So a vector that had no eventfd has none now, whatever it
    /// was to get, and one that had one may have lost it. A refused first enable leaves the index disabled.
    public mutating func failed(_ request: IRQRequest, errno: Int32 = 0) {
        guard request.action == .trigger, case .eventfd(let numbers) = request.data, active == request.index,
            errno != Self.untouchedByAction, errno != Self.untouchedByAddress
        else { return }
        for offset in numbers.indices {
            let place = Int(request.start) + offset
            guard place < eventFDs.count, eventFDs[place] != Self.none else { continue }
            eventFDs[place] = Self.unknown
        }
    }

    /// Whether a refusal left something in doubt.
    public var isCertain: Bool { !eventFDs.contains(Self.unknown) }
}
