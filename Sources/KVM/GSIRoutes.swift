internal import CKernel

/// A routing table as a pure value: which GSI goes where. Nothing here talks to the kernel; ``GSIRouting`` does.
///
/// Its memory is taken at creation; changes allocate nothing as long as the value is not copied.
/// Every limit of the kernel is checked here, before it is hit: GSIs and the number of entries stay below
/// ``limit``, and a pin exists.
public struct GSIRoutes: Equatable, Sendable {
    /// The most entries, and the first GSI that is out of range: `KVM_MAX_IRQ_ROUTES` of x86 since Linux 4.18.
    /// ``KVMCapabilities/routes`` says what the running kernel has.
    public static let kernelLimit: UInt32 = 4096

    /// The most entries, and the first GSI that is out of range.
    public let limit: UInt32
    /// Indexed by GSI.
    private var slots: [GSIRoute?]
    /// How many GSIs have a route.
    public private(set) var count = 0
    /// How many entries the kernel's table has for them: a GSI with PIC and IOAPIC pins takes two.
    public private(set) var entries = 0

    /// Makes an empty table.
    public init(limit: UInt32 = GSIRoutes.kernelLimit) {
        self.limit = limit
        slots = [GSIRoute?](repeating: nil, count: Int(limit))
    }

    /// The table that KVM_CREATE_IRQCHIP installs: GSIs 0 to 15 on PIC and IOAPIC, 16 to 23 on the IOAPIC.
    public static func irqChipDefaults(limit: UInt32 = GSIRoutes.kernelLimit) -> GSIRoutes {
        var routes = GSIRoutes(limit: limit)
        for gsi in 0..<min(24, limit) { routes.put(.pins(IRQChipPins.defaults(for: gsi)), at: Int(gsi)) }
        return routes
    }

    /// The route of `gsi`; `nil` where there is none or the number is out of range.
    public subscript(gsi: UInt32) -> GSIRoute? { gsi < limit ? slots[Int(gsi)] : nil }

    /// How many message routes fit in still, each on a GSI of its own: the forecast of the kernel's limit.
    public var room: Int { min(Int(limit) - entries, Int(limit) - count) }

    /// Says whether `messages` more routes will fit, before an eventfd or a vector has been spent on them.
    ///
    /// - Throws: `EINVAL` (``KVMError/Reason/tooManyRoutes``), which KVM would answer to the commit.
    public func checkRoom(for messages: Int) throws(KVMError) {
        guard messages <= room else { throw KVMError(.route, errno: EINVAL, .tooManyRoutes) }
    }

    /// Gives `gsi` a route, in place of the one it has, if it has one.
    ///
    /// - Returns: Whether that changed the table.
    /// - Throws: `EINVAL` for a GSI out of range, a pin that does not exist, or one entry more than the kernel takes.
    @discardableResult
    public mutating func set(_ route: GSIRoute, for gsi: UInt32) throws(KVMError) -> Bool {
        guard gsi < limit else { throw KVMError(.route, errno: EINVAL, .gsiOutOfRange) }
        if case .pins(let pins) = route, !pins.areValid { throw KVMError(.route, errno: EINVAL, .pinOutOfRange) }
        let previous = slots[Int(gsi)]
        guard previous != route else { return false }
        guard entries - (previous?.entries ?? 0) + route.entries <= Int(limit) else {
            throw KVMError(.route, errno: EINVAL, .tooManyRoutes)
        }
        put(route, at: Int(gsi))
        return true
    }

    /// Gives `gsi` a route, where it has none.
    ///
    /// - Throws: `EEXIST` for a GSI that has a route; else as `set`.
    public mutating func add(_ route: GSIRoute, for gsi: UInt32) throws(KVMError) {
        guard self[gsi] == nil else { throw KVMError(.route, errno: EEXIST, .gsiTaken) }
        try set(route, for: gsi)
    }

    /// Takes the route of `gsi` away. Its irqfds must be deassigned first: signals without a route are lost.
    ///
    /// - Returns: Whether it had one.
    @discardableResult
    public mutating func remove(_ gsi: UInt32) -> Bool {
        guard self[gsi] != nil else { return false }
        put(nil, at: Int(gsi))
        return true
    }

    /// Calls `body` with every route, in ascending order of GSI.
    public func forEach(_ body: (_ gsi: UInt32, _ route: GSIRoute) -> Void) {
        for index in 0..<slots.count {
            if let route = slots[index] { body(UInt32(index), route) }
        }
    }

    /// Calls `body` with every GSI whose route differs in `other`; `nil` where one side has none.
    public func forEachDifference(
        from other: GSIRoutes, _ body: (_ gsi: UInt32, _ here: GSIRoute?, _ there: GSIRoute?) -> Void
    ) {
        for index in 0..<Int(max(limit, other.limit)) {
            let gsi = UInt32(index)
            if self[gsi] != other[gsi] { body(gsi, self[gsi], other[gsi]) }
        }
    }

    /// Takes over the routes of another table of the same limit, in its own memory.
    mutating func become(_ other: borrowing GSIRoutes) {
        for index in 0..<slots.count where slots[index] != other.slots[index] { put(other.slots[index], at: index) }
    }

    /// Gives the value memory of its own now, so that the first change does not have to.
    mutating func makeUnique() { slots.reserveCapacity(Int(limit)) }

    private mutating func put(_ route: GSIRoute?, at index: Int) {
        let previous = slots[index]
        count += (route == nil ? 0 : 1) - (previous == nil ? 0 : 1)
        entries += (route?.entries ?? 0) - (previous?.entries ?? 0)
        slots[index] = route
    }
}
