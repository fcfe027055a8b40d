internal import EventRing
internal import InterruptModel
internal import KVM

/// The way that a vector's signals take at this moment, and why.
public struct VectorPath: Sendable {
    /// The ways there are.
    public enum Kind: UInt8, CaseIterable, Sendable {
        /// Into the guest inside the kernel, injected in the context of whoever signals: a message (MSI) route.
        case bypassAtomic
        /// Into the guest inside the kernel, by way of a kernel worker: pins of PIC and IOAPIC.
        case bypassWorker
        /// To this process.
        case user
        /// Into the guest by way of the loop.
        case detour
        /// Nowhere: kept by the mux.
        case parked
        /// Into the void: the GSI has no route, or there is no guest any more.
        case unrouted

        /// The path's name in reports.
        public var name: StaticString {
            switch self {
            case .bypassAtomic: "bypass-atomic"
            case .bypassWorker: "bypass-worker"
            case .user: "user"
            case .detour: "detour"
            case .parked: "parked"
            case .unrouted: "unrouted"
            }
        }
    }

    /// The way.
    public let kind: Kind
    /// Why it is this one, in one sentence.
    public let why: StaticString
    /// Whether the ledger knows every signal that goes this way: the loop sees it, or the device counts. Where not,
    /// what is bypassed is in no account.
    public let isCounted: Bool
    /// For an INTx line that is served to a guest: how the end of its interrupt gets back to the device, and why so.
    public let service: INTxChoice?
}

extension Mux {
    /// Which way a vector's signals take now, and why.
    ///
    /// - Throws: `ENOENT` when it was disconnected.
    public func path(of id: VectorID) throws(MuxError) -> VectorPath {
        let slot = try entries.locate(id, "looking at a vector")
        let counts = devices[Int(entries[slot].device)]?.raisedCount(entries[slot].vector) != nil
        let (kind, why) = pathKind(slot)
        let isBypass = kind == .bypassAtomic || kind == .bypassWorker || kind == .unrouted
        let line = entries[slot].way == nil ? nil : lines.byPlace[Int(entries[slot].device)]
        return VectorPath(kind: kind, why: why, isCounted: counts || !isBypass, service: line?.choice)
    }

    /// A served line's way, which its route only follows.
    private func linePath(_ way: INTxWay, _ slot: UInt32) -> (VectorPath.Kind, StaticString)? {
        switch way {
        case .kernelResample:
            (.bypassWorker, "its line is a resampling irqfd: KVM drives the pin, and unmasks when the guest is done")
        case .ioapicBroadcast:
            (.bypassAtomic, "its line is an irqfd with a level-triggered message, which KVM injects")
        case .userEOI, .mappingToggle:
            lines.byPlace[Int(entries[slot].device)]?.drivesPin ?? false
                ? (.detour, "its line is served by the loop, which drives the guest's pin") : nil
        }
    }

    private func pathKind(_ slot: UInt32) -> (VectorPath.Kind, StaticString) {
        let entry = entries[slot]
        if entry.route == .parked { return (.parked, "its route is parked: kept until it gets another one") }
        if entry.gate.isMasked { return (.parked, "it is masked: kept until it is unmasked") }
        if let way = entry.way, let path = linePath(way, slot) { return path }
        switch entry.route {
        case .handler: return (.user, "its route is a handler of this process")
        case .fanOut: return (.user, "its route is a fan-out, which the loop writes")
        case .injected: return (.detour, "its route is not committed yet: the loop injects its message")
        case .guest, .detour: break
        case .parked: return (.parked, "")
        }
        guard let guest, let gsi = entry.boundGSI else { return (.unrouted, "the guest was detached") }
        if untakenByGuest(slot) > 0 {
            return (.unrouted, "nobody takes its signals: the virtual machine is gone, and they are kept")
        }
        let route = guest.table.liveRoute(gsi)
        if guest.table.keepsTable, route == nil {
            return (.unrouted, "its GSI has no committed route: KVM swallows the signals")
        }
        if entry.route == .detour {
            return (.detour, "its route is a detour: the loop stamps each notification and forwards it")
        }
        guard entry.bypassed.isLive else { return (.detour, "the device did not take the bypass eventfd") }
        switch route {
        case .message: return (.bypassAtomic, "its GSI is one message: KVM injects it where the device signals")
        case .pins: return (.bypassWorker, "its GSI drives pins of the irqchip: KVM leaves that to a kernel worker")
        case nil: return (.bypassAtomic, "its GSI is routed by the machine's owner, as one message presumably")
        }
    }
}
