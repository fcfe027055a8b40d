internal import CKernel

/// The GSI routing of one machine: what is wanted, what the kernel has, and the difference committed at once.
///
/// The kernel replaces the whole table on every KVM_SET_GSI_ROUTING, at a cost that grows with it (some 90 µs for one
/// entry, 1.5 ms for 4096), so changes are gathered and committed once a batch, and not at all when nothing differs.
///
/// One table a machine: KVM cannot be asked what routes it has, so whoever commits must know them all. Not safe for use
/// from several threads at once; its owner serialises. All memory is taken at creation.
///
/// A route that is missing while an irqfd is bound to its GSI swallows signals. Order: commit routes, then assign
/// irqfds; deassign irqfds, then remove routes and commit.
public struct GSIRouting: ~Copyable, Sendable {
    /// The table that the next commit will install.
    public private(set) var wanted: GSIRoutes
    /// The table that the kernel has.
    public private(set) var live: GSIRoutes
    /// How many GSIs differ between the two.
    public private(set) var pendingChanges = 0
    /// How often KVM_SET_GSI_ROUTING was carried out.
    public private(set) var commits: UInt64 = 0
    /// Storage for a request of the largest size: its header, then 48 bytes an entry. Words, for alignment.
    private var request: [UInt64]

    /// Begins with what the kernel has now.
    ///
    /// - Parameter live: `.irqChipDefaults()` after a full irqchip was created, `GSIRoutes()` after a split one; for a
    ///   machine that a VMM has set up, the routes that the VMM gave it.
    public init(live: GSIRoutes) {
        self.live = live
        wanted = live
        self.live.makeUnique()
        wanted.makeUnique()
        request = [UInt64](repeating: 0, count: 1 + 6 * Int(live.limit))
    }

    /// How many message routes fit in still; see ``GSIRoutes/room``.
    public var room: Int { wanted.room }

    /// Says whether `messages` more routes will fit; see ``GSIRoutes/checkRoom(for:)``.
    public func checkRoom(for messages: Int) throws(KVMError) { try wanted.checkRoom(for: messages) }

    /// Wants `route` for `gsi`, in place of the one it has, if it has one. Takes effect with the next commit.
    ///
    /// - Throws: `EINVAL` as ``GSIRoutes/set(_:for:)``.
    public mutating func set(_ route: GSIRoute, for gsi: UInt32) throws(KVMError) {
        let differed = wanted[gsi] != live[gsi]
        try wanted.set(route, for: gsi)
        count(gsi, differed)
    }

    /// Wants `route` for `gsi`, which has none. Takes effect with the next commit.
    ///
    /// - Throws: `EEXIST` and `EINVAL` as ``GSIRoutes/add(_:for:)``.
    public mutating func add(_ route: GSIRoute, for gsi: UInt32) throws(KVMError) {
        let differed = wanted[gsi] != live[gsi]
        try wanted.add(route, for: gsi)
        count(gsi, differed)
    }

    /// Wants no route for `gsi`. Takes effect with the next commit; deassign its irqfds before that.
    public mutating func remove(_ gsi: UInt32) {
        let differed = wanted[gsi] != live[gsi]
        wanted.remove(gsi)
        count(gsi, differed)
    }

    /// Forgets every change since the last commit.
    public mutating func revert() {
        guard pendingChanges > 0 else { return }
        wanted.become(live)
        pendingChanges = 0
    }

    /// Installs what is wanted, by one KVM_SET_GSI_ROUTING, or by none when nothing differs.
    ///
    /// On failure the kernel keeps the table it had and the changes stay wanted: mend them, or `revert()`.
    ///
    /// - Returns: Whether the kernel was asked.
    /// - Throws: `EINVAL` (no irqchip, pins with a split irqchip, a malformed x2APIC address), `ENOMEM`, `EBADF`.
    @discardableResult
    public mutating func commit(to machine: borrowing VirtualMachine) throws(KVMError) -> Bool {
        guard pendingChanges > 0 else { return false }
        let result = install(on: machine.number)
        guard result == 0 else {
            throw KVMError(.commitRouting, errno: -result, reason(-result, machine))
        }
        commits += 1
        live.become(wanted)
        pendingChanges = 0
        return true
    }

    private mutating func count(_ gsi: UInt32, _ differed: Bool) {
        let differs = wanted[gsi] != live[gsi]
        pendingChanges += (differs ? 1 : 0) - (differed ? 1 : 0)
    }

    private mutating func install(on machine: Int32) -> Int32 {
        let wanted = wanted
        // SAFETY: the storage has a header and room for `limit` entries, which GSIRoutes never exceeds; the pointers do
        // not leave the closure, and the kernel reads `nr` entries.
        return unsafe request.withUnsafeMutableBytes { bytes in
            // SAFETY: the array is never empty, and words are aligned for both structures.
            let table = unsafe bytes.baseAddress!.assumingMemoryBound(to: kvm_irq_routing.self)
            var next: UInt32 = 0
            for gsi in 0..<Int(wanted.limit) {
                guard let route = wanted[UInt32(gsi)] else { continue }
                // SAFETY: `next` counts the entries so far, of which there are never more than there is room for.
                unsafe GSIRouting.put(route, of: UInt32(gsi), into: table, at: &next)
            }
            // SAFETY: the header lies within the storage.
            unsafe table.pointee.nr = next
            // SAFETY: as above.
            unsafe table.pointee.flags = 0
            // SAFETY: the request is complete and outlives the call.
            return unsafe irqmux_ioctl(machine, irqmux_KVM_SET_GSI_ROUTING, table)
        }
    }

    /// Writes the entries of one route; the table has room for them behind entry `next`.
    private static func put(
        _ route: GSIRoute, of gsi: UInt32, into table: UnsafeMutablePointer<kvm_irq_routing>, at next: inout UInt32
    ) {
        switch route {
        case .message(let address, let data, let deviceID):
            let device = deviceID.map { Int64($0) } ?? -1
            // SAFETY: the caller vouches for the room.
            unsafe irqmux_routing_put_msi(table, next, gsi, address, data, device)
            next += 1
        case .pins(let pins):
            if let pin = pins.primaryPIC {
                // SAFETY: the caller vouches for the room.
                unsafe irqmux_routing_put_pin(table, next, gsi, UInt32(irqmux_PIC_MASTER), UInt32(pin))
                next += 1
            }
            if let pin = pins.secondaryPIC {
                // SAFETY: the caller vouches for the room.
                unsafe irqmux_routing_put_pin(table, next, gsi, UInt32(irqmux_PIC_SLAVE), UInt32(pin))
                next += 1
            }
            if let pin = pins.ioAPIC {
                // SAFETY: the caller vouches for the room.
                unsafe irqmux_routing_put_pin(table, next, gsi, UInt32(irqmux_IOAPIC), UInt32(pin))
                next += 1
            }
        }
    }

    /// Everything that the table itself can get wrong was refused on the way in, save for the message addresses; what
    /// remains is the machine.
    private func reason(_ errno: Int32, _ machine: borrowing VirtualMachine) -> KVMError.Reason {
        guard errno == EINVAL else { return machine.failure(errno) }
        var pins = false
        var badAddress = false
        wanted.forEach { _, route in
            switch route {
            case .pins: pins = true
            case .message(let address, _, _): badAddress = badAddress || address >> 32 & 0xff != 0
            }
        }
        switch try? machine.probeIRQChip() {
        case .some(.none): return .noIRQChip
        case .split where pins: return .pinsNeedFullIRQChip
        default: return badAddress ? .badMessageAddress : .unsupported
        }
    }
}
