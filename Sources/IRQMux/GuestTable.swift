internal import CKernel
internal import KVM

/// What all muxes with the same guest share: the machine, its routing table, its GSIs, and who has them.
///
/// One a machine, because the kernel replaces the whole table at a commit. Called when something changes, never per
/// event, by any of the muxes' threads; the lock is held for one system call at most.
final class GuestTable: @unchecked Sendable {
    let machine: VirtualMachine
    /// Whether the muxes commit the table; otherwise its owner does, and `routing` says nothing.
    let keepsTable: Bool
    private let lock = GroupLock()
    // Everything below is the lock's.
    private var routing: GSIRouting
    private var allocator: GSIAllocator
    /// Who has a GSI, by GSI: see `AttachedGuest.owner`, or nobody.
    private var owners: [UInt64]
    private var members: UInt64 = 0
    /// The errno that told that the machine was closed; 0 as long as none did.
    private var lostErrno: Int32 = 0

    static var nobody: UInt64 { .max }

    init(_ machine: consuming VirtualMachine, live: GSIRoutes?) {
        let limit = live?.limit ?? GSIRoutes.kernelLimit
        self.machine = machine
        keepsTable = live != nil
        routing = GSIRouting(live: live ?? GSIRoutes(limit: limit))
        var allocator = GSIAllocator(limit: limit)
        for gsi in GSIAllocator.first..<max(limit, GSIAllocator.first) where live?[gsi] != nil {
            try? allocator.reserve(gsi)
        }
        self.allocator = allocator
        owners = [UInt64](repeating: Self.nobody, count: Int(limit))
    }

    /// A number for one more mux, to tell its owners of GSIs from the others'.
    func join() -> UInt64 {
        lock.withLock {
            members += 1
            return members
        }
    }

    // MARK: Who has a GSI

    /// Whether a vector's route, or a pair, goes by this GSI, or has gone by it and kept its irqfd.
    func isOwned(_ gsi: GSI) -> Bool {
        lock.withLock { gsi < owners.count && owners[Int(gsi)] != Self.nobody }
    }

    /// Takes a GSI for somebody, and makes sure that signals of an irqfd bound to it have somewhere to go: commits what
    /// was asked for so far.
    ///
    /// - Throws: As `Mux.route` for routes into the guest; then the GSI is not taken.
    func claim(_ gsi: GSI, for owner: UInt64) throws(MuxError) {
        try lock.withLock { () throws(MuxError) in
            try checkAlive()
            guard gsi < owners.count else {
                throw MuxError("routing into the guest", errno: EINVAL, remedy: KVMError.Reason.gsiOutOfRange.remedy)
            }
            guard owners[Int(gsi)] == Self.nobody || owners[Int(gsi)] == owner else {
                throw MuxError(
                    "routing into the guest", errno: EEXIST,
                    remedy: "the GSI is another vector's or pair's, also while that one goes elsewhere: take one each")
            }
            try commitWanted()
            guard !keepsTable || routing.live[gsi] != nil else {
                throw MuxError(
                    "routing into the guest", errno: ENXIO,
                    remedy: "KVM swallows signals of a GSI without a route: give it one (allocateGSI, setGSI) first")
            }
            owners[Int(gsi)] = owner
        }
    }

    /// The GSI is another's from now on.
    func handOver(_ gsi: GSI, to owner: UInt64) { lock.withLock { owners[Int(gsi)] = owner } }

    /// Lets a GSI go. No effect when it is somebody else's by now.
    func release(_ gsi: GSI, of owner: UInt64) {
        lock.withLock { if owners[Int(gsi)] == owner { owners[Int(gsi)] = Self.nobody } }
    }

    // MARK: Routes

    /// Takes a free GSI and wants `route` for it.
    func allocate(_ route: GSIRoute) throws(MuxError) -> GSI {
        try changing { () throws(KVMError) in
            try Self.check(route)
            try routing.checkRoom(for: route.entries)
            let gsi = try allocator.allocate()
            do throws(KVMError) { try routing.add(route, for: gsi) } catch {
                try allocator.free(gsi)
                throw error
            }
            return gsi
        }
    }

    /// Wants another route for a GSI, and takes it if nobody has.
    func set(_ route: GSIRoute, for gsi: GSI) throws(MuxError) {
        try changing { () throws(KVMError) in
            try Self.check(route)
            try routing.set(route, for: gsi)
            // The pins below the first are taken for ever.
            if !allocator.isTaken(gsi) { try allocator.reserve(gsi) }
        }
    }

    /// Gives a GSI of `allocate` back, and its route.
    func free(_ gsi: GSI) throws(MuxError) {
        try lock.withLock { () throws(MuxError) in
            guard gsi >= owners.count || owners[Int(gsi)] == Self.nobody else {
                throw MuxError(
                    "GSI allocation", errno: EBUSY,
                    remedy: "its irqfd is bound: disconnect the vector, give it another GSI, or remove the pair, first")
            }
            do throws(KVMError) { try allocator.free(gsi) } catch { throw MuxError(error) }
            routing.remove(gsi)
        }
    }

    /// Gives the GSI of a vector back that is neither bound nor used by its owner any more, and its route with the next
    /// commit. No effect when it is somebody else's by now.
    func giveBack(_ gsi: GSI, of owner: UInt64) {
        lock.withLock {
            guard owners[Int(gsi)] == owner || owners[Int(gsi)] == Self.nobody else { return }
            owners[Int(gsi)] = Self.nobody
            routing.remove(gsi)
            try? allocator.free(gsi)
        }
    }

    /// Commits what is wanted; `false` when there was nothing to commit.
    func commit() throws(MuxError) -> Bool {
        try lock.withLock { () throws(MuxError) in
            try checkKeepsTable()
            return try commitWanted()
        }
    }

    /// The route that is wanted for a GSI, committed or not.
    func wantedRoute(_ gsi: GSI) -> GSIRoute? { lock.withLock { routing.wanted[gsi] } }

    /// The committed route of a GSI.
    func liveRoute(_ gsi: GSI) -> GSIRoute? { lock.withLock { routing.live[gsi] } }

    /// How many GSIs with a message each can still be had.
    var room: Int { lock.withLock { min(allocator.available, routing.room) } }

    /// How often the table was committed.
    var commits: UInt64 { lock.withLock { routing.commits } }

    // MARK: The machine's end

    /// The errno that told that the machine was closed; 0 as long as none did.
    var lost: Int32 { lock.withLock { lostErrno } }

    /// Remembers when KVM's answer says that there is no machine any more.
    func take(_ error: KVMError) -> MuxError { lock.withLock { note(error) } }

    private func note(_ error: KVMError) -> MuxError {
        switch error.reason {
        case .virtualMachineClosed, .notAVirtualMachine: lostErrno = error.errno
        // EIO: the machine's process has gone, or the kernel gave the machine up.
        default: if error.errno == ENODEV || error.errno == EIO { lostErrno = error.errno }
        }
        return MuxError(error)
    }

    /// KVM refuses the whole table for one such address, where the machine has the x2APIC format; elsewhere no
    /// interrupt comes of it. So it is one route's fault, before it can be everybody's.
    private static func check(_ route: GSIRoute) throws(KVMError) {
        guard case .message(let address, _, _) = route, address >> 32 & 0xff != 0 else { return }
        throw KVMError(.commitRouting, errno: EINVAL, .badMessageAddress)
    }

    // MARK: Under the lock

    private func checkAlive() throws(MuxError) {
        guard lostErrno == 0 else {
            throw MuxError(
                "using the guest", errno: ENODEV,
                remedy: "its virtual machine was closed: route the vectors elsewhere, detach the guest, attach another")
        }
    }

    /// A table that somebody else commits is not known here, and would be wiped by a commit.
    private func checkKeepsTable() throws(MuxError) {
        try checkAlive()
        guard keepsTable else {
            throw MuxError(
                "changing a GSI's route", errno: EPERM,
                remedy: "its owner commits the table; attach the guest with its routes to let the mux do it")
        }
    }

    @discardableResult
    private func commitWanted() throws(MuxError) -> Bool {
        do throws(KVMError) { return try routing.commit(to: machine) } catch { throw note(error) }
    }

    private func changing<Value>(_ body: () throws(KVMError) -> Value) throws(MuxError) -> Value {
        try lock.withLock { () throws(MuxError) in
            try checkKeepsTable()
            do throws(KVMError) { return try body() } catch { throw MuxError(error) }
        }
    }
}
