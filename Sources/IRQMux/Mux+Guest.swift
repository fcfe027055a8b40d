internal import CKernel
internal import EventRing
public import KVM

/// Whether vectors can be routed into a guest.
public enum GuestState: Equatable, Sendable {
    /// No guest is attached.
    case none
    /// A guest is attached.
    case attached
    /// The virtual machine's descriptor was closed behind the mux's back, or the kernel gave the machine up: KVM
    /// answered `errno`. Nothing can be bound any more. What is bound works as long as the machine lives.
    case closed(errno: Int32)
}

extension MuxError {
    /// KVM's error, by its operation's name in the kernel.
    public init(_ error: KVMError) { self.init(error.operation.name, errno: error.errno, remedy: error.remedy) }
}

// The guest and its interrupts. Changes to the routing table are gathered and committed once a batch, because the
// kernel replaces the whole table each time.
extension Mux {
    /// Attaches the virtual machine that vectors will be routed into: one at a time. The mux keeps a duplicate of its
    /// descriptor, so the caller may close his.
    ///
    /// - Parameters:
    ///   - machine: The machine, with its irqchip.
    ///   - routes: The routing table that it has now: `.irqChipDefaults()` after KVM_CREATE_IRQCHIP, empty with a split
    ///     irqchip. From now on the mux alone commits routes, for KVM cannot be asked what it has. `nil` where the
    ///     owner goes on committing the table himself: then the mux commits nothing and checks no GSI.
    /// - Throws: `EBUSY` when there is a guest; `EMFILE`, `EBADF`.
    public mutating func attach(guest machine: borrowing VirtualMachine, routes: GSIRoutes?) throws(MuxError) {
        let copy: VirtualMachine
        do throws(KVMError) { copy = try VirtualMachine(sharing: machine.number) } catch { throw MuxError(error) }
        try attach(owning: copy, routes: routes)
    }

    /// The same with the machine's descriptor, for VMMs that keep a number.
    public mutating func attach(guestNumber number: Int32, routes: GSIRoutes?) throws(MuxError) {
        let copy: VirtualMachine
        do throws(KVMError) { copy = try VirtualMachine(sharing: number) } catch { throw MuxError(error) }
        try attach(owning: copy, routes: routes)
    }

    /// Attaches a virtual machine and takes it over. As the form that borrows it, which duplicates the descriptor.
    public mutating func attach(owning machine: consuming VirtualMachine, routes: GSIRoutes?) throws(MuxError) {
        try checkGuestless()
        try attach(table: GuestTable(machine, live: routes))
    }

    /// Attaches a guest that other muxes have as well.
    mutating func attach(table: GuestTable) throws(MuxError) {
        try checkGuestless()
        guest = AttachedGuest(table, vectors: entries.count, pairs: pairs.count)
    }

    private func checkGuestless() throws(MuxError) {
        guard guest == nil else {
            throw MuxError(
                "attaching a guest", errno: EBUSY, remedy: "a mux has one guest: detach it, or make a mux each")
        }
    }

    /// Lets the guest go: deassigns every irqfd that is left, and the ioeventfds of registers. Its routes stay in the
    /// kernel's table.
    ///
    /// - Throws: `ENODEV` without a guest; `EBUSY` while a vector is routed into it, or a pair is there.
    public mutating func detachGuest() throws(MuxError) {
        let guest = try attachedGuest()
        for slot in 0..<UInt32(entries.count) where entries[slot].eventfd >= 0 && entries[slot].route.isIntoGuest {
            throw MuxError("detaching the guest", errno: EBUSY, remedy: "route its vectors elsewhere first")
        }
        guard !guest.hasPairs else {
            throw MuxError("detaching the guest", errno: EBUSY, remedy: "remove its pairs first")
        }
        for slot in 0..<UInt32(entries.count) where entries[slot].bypass >= 0 {
            recoverUntaken(slot)
            unbind(slot)
        }
        endShortcutsOfGuest()
        self.guest = nil
    }

    /// Whether vectors can be routed into a guest, and why not any more.
    public var guestState: GuestState {
        guard let guest else { return .none }
        let lost = guest.table.lost
        return lost == 0 ? .attached : .closed(errno: lost)
    }

    /// Takes a GSI and wants this route for it. Committed with the next `commitRoutes`, or when a vector is first
    /// routed to it.
    ///
    /// - Throws: `ENODEV`; `EPERM` where the owner commits; `ENOSPC` when no GSI is left, `EINVAL` for a route that
    ///   KVM's table of 4096 entries has no room for: nothing is spent on it then.
    public mutating func allocateGSI(_ route: GSIRoute) throws(MuxError) -> GSI {
        try attachedGuest().table.allocate(route)
    }

    /// Takes a GSI for a message: what the guest wrote into the device's MSI or MSI-X registers.
    ///
    /// - Throws: As `allocateGSI(_:)`.
    public mutating func allocateGSI(message address: UInt64, data: UInt32, deviceID: UInt32? = nil) throws(MuxError)
        -> GSI
    {
        try allocateGSI(.message(address: address, data: data, deviceID: deviceID))
    }

    /// How many GSIs with a message each can still be had: the forecast of both limits, of GSIs and of the table.
    public var guestRoom: Int { guest?.table.room ?? 0 }

    /// Wants another route for a GSI, as when the guest rewrote a message. Committed with the next `commitRoutes`; the
    /// irqfd bound to it stays, and KVM uses the new route from the commit on.
    ///
    /// - Throws: `ENODEV`; `EPERM` where the owner commits; `EINVAL` for a GSI out of range or a table that would be
    ///   too large.
    public mutating func setGSI(_ gsi: GSI, to route: GSIRoute) throws(MuxError) {
        try attachedGuest().table.set(route, for: gsi)
    }

    /// Gives a GSI of `allocateGSI` back, and its route with the next commit.
    ///
    /// - Throws: `ENODEV`; `ENOENT` when it is not out; `EBUSY` while it is a vector's or a pair's: KVM would swallow
    ///   the signals of an irqfd whose route is gone.
    public mutating func freeGSI(_ gsi: GSI) throws(MuxError) {
        try attachedGuest().table.free(gsi)
    }

    /// Commits every change of routes since the last commit, by one KVM_SET_GSI_ROUTING, or by none.
    ///
    /// - Returns: Whether the kernel was asked.
    /// - Throws: `ENODEV`; `EPERM` where the owner commits; what KVM says, and then the kernel keeps the table it had
    ///   and the changes stay wanted.
    @discardableResult
    public mutating func commitRoutes() throws(MuxError) -> Bool {
        let isAsked = try attachedGuest().table.commit()
        settleServed()
        return isAsked
    }

    /// How often the mux has committed routes to the guest.
    public var routingCommits: UInt64 { guest?.table.commits ?? 0 }

    func attachedGuest() throws(MuxError) -> AttachedGuest {
        guard let guest else {
            throw MuxError("using the guest", errno: ENODEV, remedy: "attach a guest first")
        }
        return guest
    }
}
