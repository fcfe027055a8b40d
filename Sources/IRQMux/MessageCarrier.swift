internal import CKernel
package import InterruptModel

/// Carries out what a guest's MSI or MSI-X registers ask for, on a mux or a model of one: which of its vectors stands
/// for which of the guest's, and how the device's index grows. What `GuestMSIX` and `GuestMSI` have in common.
package struct MessageCarrier: ~Copyable {
    let device: DeviceID
    let index: IRQIndex
    /// How many vectors the device has.
    let count: UInt32
    /// The requester that the guest's messages carry, where the machine wants one.
    let requester: UInt32?
    /// The index cannot grow while it is enabled.
    let isFixed: Bool
    /// By the guest's vector; `nobody` where none is connected.
    var places: [VectorID]
    /// Vectors that the host has given while the index cannot grow.
    var allocated: UInt32 = 0
    /// Vectors of a restored state whose pending signal has not been told yet, one bit each.
    var owed: [UInt64]
    /// Vectors that were not used yet when the device's own pending bits were lost, one bit each.
    var unknown: [UInt64]
    /// The guest switched its interrupts on, and the device could not follow: what it raised since then is lost.
    var isLate = false
    var report = GuestMessageReport()
    /// Kicks that the mux sent by itself: when the host let a vector go again, or moved it past the loop.
    var kicked: KickCount?
    private var kickedBefore: UInt64 = 0

    static let nobody = VectorID(slot: .max, generation: .max)

    package init(_ device: DeviceID, _ index: IRQIndex, count: UInt32, isFixed: Bool, requester: UInt32? = nil) {
        self.device = device
        self.index = index
        self.requester = requester
        self.count = count
        self.isFixed = isFixed
        owed = [UInt64](repeating: 0, count: (Int(count) + 63) / 64)
        unknown = owed
        places = [VectorID](repeating: Self.nobody, count: Int(count))
    }

    init(_ device: DeviceID, _ index: IRQIndex, requester: UInt32?, on mux: borrowing Mux) throws(MuxError) {
        let attached = try mux.locate(device)
        let info: IRQInfo
        do throws(DeviceError) { info = try attached.info(index) } catch { throw MuxError(error) }
        guard info.count > 0 else {
            throw MuxError("serving a guest's messages", errno: ENODEV, remedy: "the device has no such interrupts")
        }
        guard attached.connected[Int(index.rawValue)] == 0 else {
            throw MuxError(
                "serving a guest's messages", errno: EBUSY, remedy: "its vectors are connected: disconnect them first")
        }
        self.init(device, index, count: info.count, isFixed: info.noResize, requester: requester)
        kicked = attached.kicked
        kickedBefore = attached.kicked[index]
    }

    /// What it came to, with what the registers counted.
    func report(_ counted: MSIXTable.Statistics) -> GuestMessageReport {
        var report = report
        report.maskChanges = counted.maskChanges
        report.illegalAccesses = counted.illegalAccesses
        if let kicked { report.kicks &+= kicked[index] &- kickedBefore }
        return report
    }

    /// The place of a vector that is connected.
    package func slot<Host: ServedHost & ~Copyable>(_ vector: UInt32, _ host: borrowing Host) -> UInt32? {
        host.slot(of: places[Int(vector)])
    }

    package mutating func perform<Host: ServedHost & ~Copyable>(
        _ request: MessageRequest, on host: inout Host
    ) -> Bool {
        do throws(MuxError) {
            switch request {
            case .one(let operation): try carry(operation, on: &host)
            case .many(let batch, let vectors): try carry(batch, vectors, on: &host)
            }
            return true
        } catch {
            // What several were refused, each is asked for by itself: that is what counts.
            if case .many = request { return false }
            report.refusals &+= 1
            report.lastError = error
            return false
        }
    }

    private mutating func carry<Host: ServedHost & ~Copyable>(
        _ operation: MessageOperation, on host: inout Host
    ) throws(MuxError) {
        switch operation {
        case .enable(let vectors): try enable(vectors, on: &host)
        case .disable: disable(on: &host)
        case .use(let vector, let message): try use(vector, message, on: &host)
        case .mask(let vector): if let slot = slot(vector, host) { try host.maskServed(slot) }
        case .unmask(let vector):
            if let slot = slot(vector, host), try host.unmaskServed(slot) { report.kicks &+= 1 }
        case .message(let vector, let message):
            if let slot = slot(vector, host) { try host.redirectServed(slot, message, requester: requester) }
        case .deliver(let vector, let message):
            if let slot = slot(vector, host), !host[gate: slot].isOpen {
                // The host holds it back: with what is held.
                host[mayHaveLost: slot] = true
            } else {
                try host.send(message, requester: requester, for: vector)
                report.kicks &+= 1
            }
            settleOwed(vector, on: &host)
        }
    }

    private mutating func carry<Host: ServedHost & ~Copyable>(
        _ batch: MessageBatch, _ vectors: [UInt64], on host: inout Host
    ) throws(MuxError) {
        switch batch {
        case .prepare: try connect(vectors, on: &host)
        case .mask: try host.maskServed(vectors, device, index, places)
        case .unmask: report.kicks &+= try host.unmaskServed(vectors, device, index, places)
        }
    }

    private mutating func use<Host: ServedHost & ~Copyable>(
        _ vector: UInt32, _ message: InterruptMessage, on host: inout Host
    ) throws(MuxError) {
        if slot(vector, host) == nil { try connect(vector, on: &host) }
        guard let slot = slot(vector, host) else {
            throw MuxError("SET_IRQS", errno: ENOSPC, remedy: "the host has fewer vectors left than the guest wants")
        }
        let bit: UInt64 = 1 << UInt64(vector & 63)
        if unknown[Int(vector >> 6)] & bit != 0 { host[mayHaveLost: slot] = true }
        unknown[Int(vector >> 6)] &= ~bit
        if try host.useServed(slot, message, requester: requester) { report.kicks &+= 1 }
    }

    /// Vectors whose signals are kept while masked, of 64 from `first` on: exact for those that were used.
    package func kept<Host: ServedHost & ~Copyable>(from first: UInt32, on host: inout Host) -> UInt64 {
        var bits: UInt64 = 0
        for bit in 0..<Int(min(count, first &+ 64) - min(first, count)) {
            if let slot = slot(first + UInt32(bit), host), host.isHeld(slot) { bits |= 1 << UInt64(bit) }
        }
        return bits
    }

    /// The same with those that may have lost something before they were used: what a saved state has to tell of. From
    /// a multiple of 64 on.
    package func owing<Host: ServedHost & ~Copyable>(from first: UInt32, on host: inout Host) -> UInt64 {
        guard first < count else { return 0 }
        let all = UInt64.max >> UInt64(64 - min(64, count - first))
        return isLate ? all : kept(from: first, on: &host) | unknown[Int(first >> 6)]
    }

    /// Assigns everything again, after somebody wiped the device's own table, and tells every open vector once.
    ///
    /// - Throws: The first refusal of SET_IRQS, after everything else was done.
    package mutating func repair<Host: ServedHost & ~Copyable>(on host: inout Host) throws(MuxError) {
        // What is off has nothing to lose.
        guard allocated > 0 else { return }
        defer {
            report.repairs &+= 1
            tellAll(on: &host)
        }
        try host.reassign(device, index, places)
    }

    /// Something of any vector may have been lost: those that are open are told once, now; the others when they are.
    mutating func tellAll<Host: ServedHost & ~Copyable>(on host: inout Host) {
        for vector in 0..<count {
            guard let slot = slot(vector, host), host.wanted(slot) != nil else {
                unknown[Int(vector >> 6)] |= 1 << UInt64(vector & 63)
                continue
            }
            if !host[gate: slot].isOpen {
                host[mayHaveLost: slot] = true
            } else if host.tellLoss(slot) {
                report.kicks &+= 1
            }
        }
    }

    // MARK: What a restored state owes

    /// The message of a restored vector was sent: what it owed is delivered.
    private mutating func settleOwed<Host: ServedHost & ~Copyable>(_ vector: UInt32, on host: inout Host) {
        let bit: UInt64 = 1 << UInt64(vector & 63)
        guard owed[Int(vector >> 6)] & bit != 0 else { return }
        owed[Int(vector >> 6)] &= ~bit
        host.settleOwed(device)
    }

    /// The guest switched its interrupts off: what is still owed is given up by name.
    mutating func dropOwed<Host: ServedHost & ~Copyable>(on host: inout Host) {
        for word in 0..<owed.count where owed[word] != 0 {
            let count = UInt64(owed[word].nonzeroBitCount)
            owed[word] = 0
            host.dropOwed(device, count)
        }
    }
}

/// What serving a guest's MSI or MSI-X came to; for reports.
public struct GuestMessageReport: Sendable {
    /// Operations that were refused: no vector, descriptor or route was left. `lastError` says why.
    public internal(set) var refusals: UInt64 = 0
    /// The last refusal's reason.
    public internal(set) var lastError: MuxError?
    /// How often the device's index was disabled and enabled anew to get more vectors, because it cannot grow
    /// (NORESIZE). Each costs two SET_IRQS, a moment without interrupts, and one message to each vector.
    public internal(set) var regrowths: UInt64 = 0
    /// How often the host had fewer vectors than were asked for, and said how many.
    public internal(set) var shortAnswers: UInt64 = 0
    /// Messages sent because something may have been lost (restore, reset, growth), or for a restored pending bit.
    public internal(set) var kicks: UInt64 = 0
    /// Changes of a vector's mask by the guest, in either direction: a storm shows here. One costs no more than the
    /// SET_IRQS that it needs, and none where it is taken back before it is carried out.
    public internal(set) var maskChanges: UInt64 = 0
    /// Accesses to the registers that PCI does not define: reads gave ones, writes were ignored.
    public internal(set) var illegalAccesses: UInt64 = 0
    /// How often all vectors were assigned again, because the device's own table had been wiped.
    public internal(set) var repairs: UInt64 = 0

    /// Adds another report; its last error counts where there is none here.
    mutating func merge(_ other: GuestMessageReport) {
        refusals &+= other.refusals
        lastError = lastError ?? other.lastError
        regrowths &+= other.regrowths
        shortAnswers &+= other.shortAnswers
        kicks &+= other.kicks
        repairs &+= other.repairs
        maskChanges &+= other.maskChanges
        illegalAccesses &+= other.illegalAccesses
    }
}

/// Messages that a device's vectors were sent because something may have been lost, by the mux and by nobody's access.
final class KickCount {
    private var messages: UInt64 = 0
    private var extended: UInt64 = 0

    subscript(index: IRQIndex) -> UInt64 {
        get { index == .msix ? extended : messages }
        set { if index == .msix { extended = newValue } else { messages = newValue } }
    }
}
