/// What one SET_IRQS request of a device can carry, and what it costs to touch a vector that need not change.
public struct IRQPlanRules: Equatable, Sendable {
    /// How many eventfds one request carries. The kernel takes a whole table; a message over a socket fewer.
    public var mostVectors: UInt32 = DeviceProfile.mostMSIXVectors
    /// One request may give some vectors an eventfd and take others' away; over vfio-user it may not.
    public var mixesRemovals = true
    /// MSI-X vectors can be added after enabling (no NORESIZE; Linux 6.5).
    public var growsMSIX = true
    /// An index that cannot grow is disabled and enabled as a whole, which loses what is pending. Without this the
    /// device is asked all the same, and refuses.
    public var restarts = true
    /// Vectors between two changed ones are assigned again with the eventfd they have, which saves a request.
    ///
    /// Done for MSI-X only: its entry is masked meanwhile, and its pending bit keeps what is raised. An MSI vector
    /// without mask bits could lose an interrupt.
    public var bridgesAssigned = true

    /// The kernel's, with MSI-X that grows.
    public init() {}

    /// Asks `device` whether its MSI-X grows, and takes over what its requests can carry.
    public init(of device: borrowing some InterruptDevice & ~Copyable) {
        self = device.planRules
        do throws(DeviceError) { growsMSIX = try !device.interruptInfo(.msix).noResize } catch { growsMSIX = false }
    }

    func grows(_ index: IRQIndex) -> Bool { index == .msix && growsMSIX }
}

/// The fewest SET_IRQS requests that lead from one state of a device to another, in the order that loses least.
///
/// A pure value, made from two states and the device's rules. Ranges that lie together become one request; a range that
/// is too long for one is cut; a first enable asks for the highest vector first, because the kernel allocates
/// everything below it then and nothing beyond it later. An index that cannot grow is disabled and enabled as a whole
/// (``restarts``), and one type gives way to another by being disabled first.
public struct IRQPlan: Equatable, Sendable {
    /// The requests, in order. Empty when nothing has to change.
    public private(set) var requests: [IRQRequest] = []
    /// The index is disabled and enabled again because it cannot grow: interrupts that are pending then are lost.
    public private(set) var restarts = false

    /// Plans the way from `old` to `new`.
    public init(from old: IRQAssignments, to new: IRQAssignments, _ rules: IRQPlanRules = IRQPlanRules()) {
        if old.active == new.active, let index = new.active {
            if index == .intx {
                changeINTx(old, new)
            } else if new.allocated > old.allocated, !rules.grows(index), rules.restarts {
                restarts = true
                disable(index)
                enable(index, new, rules)
            } else {
                assign(index, old, new, rules)
            }
        } else {
            if let index = old.active { disable(index) }
            if let index = new.active { enable(index, new, rules) }
        }
        if old.err != new.err { requests.append(IRQRequest(.err, .trigger, .eventfd([new.err]))) }
        if old.req != new.req { requests.append(IRQRequest(.req, .trigger, .eventfd([new.req]))) }
    }

    private mutating func disable(_ index: IRQIndex) {
        requests.append(IRQRequest(index, .trigger, .none(count: 0)))
    }

    private mutating func changeINTx(_ old: IRQAssignments, _ new: IRQAssignments) {
        if old[0] != new[0] { requests.append(IRQRequest(.intx, .trigger, .eventfd([new[0]]))) }
        guard old.unmask != new.unmask else { return }
        // The kernel answers EBUSY while one is installed.
        if old.unmask != IRQAssignments.none, new.unmask != IRQAssignments.none { setUnmask(IRQAssignments.none) }
        setUnmask(new.unmask)
    }

    private mutating func setUnmask(_ eventFD: Int32) {
        requests.append(IRQRequest(.intx, .unmask, .eventfd([eventFD])))
    }

    private mutating func enable(_ index: IRQIndex, _ new: IRQAssignments, _ rules: IRQPlanRules) {
        guard index != .intx else {
            requests.append(IRQRequest(.intx, .trigger, .eventfd([new[0]])))
            if new.unmask != IRQAssignments.none { setUnmask(new.unmask) }
            return
        }
        var enabled = IRQAssignments()
        enabled.active = index
        let last = max(new.allocated, 1) - 1
        // Down from the highest vector as far as one request reaches: it allocates all, the others fill in.
        var first = last
        while first > 0, last - first + 1 < rules.mostVectors,
            rules.mixesRemovals || Self.isSame(new[first - 1], new[last])
        {
            first -= 1
        }
        // Vectors without an eventfd at its beginning need not be told.
        while first < last, new[first] == IRQAssignments.none { first += 1 }
        add(index, new, first, last)
        enabled.succeeded(requests[requests.count - 1])
        assign(index, enabled, new, rules)
    }

    /// The requests for an index that is enabled: each begins at the first vector left to change and reaches as far as
    /// it may, which no other division undercuts.
    private mutating func assign(
        _ index: IRQIndex, _ old: IRQAssignments, _ new: IRQAssignments, _ rules: IRQPlanRules
    ) {
        let end = UInt32(max(old.eventFDs.count, new.eventFDs.count))
        let bridges = rules.bridgesAssigned && index == .msix
        var number: UInt32 = 0
        while number < end {
            guard old[number] != new[number] else {
                number += 1
                continue
            }
            let first = number
            var last = number
            number += 1
            while number < end, number - first < rules.mostVectors {
                guard rules.mixesRemovals || Self.isSame(new[first], new[number]) else { break }
                if old[number] != new[number] {
                    last = number
                } else if old[number] != IRQAssignments.none, !bridges {
                    break
                }
                number += 1
            }
            number = last + 1
            add(index, new, first, last)
        }
    }

    private mutating func add(_ index: IRQIndex, _ new: IRQAssignments, _ first: UInt32, _ last: UInt32) {
        var numbers: [Int32] = []
        numbers.reserveCapacity(Int(last - first + 1))
        for number in first...last { numbers.append(new[number]) }
        requests.append(IRQRequest(index, .trigger, start: first, .eventfd(numbers)))
    }

    private static func isSame(_ left: Int32, _ right: Int32) -> Bool {
        (left == IRQAssignments.none) == (right == IRQAssignments.none)
    }
}
