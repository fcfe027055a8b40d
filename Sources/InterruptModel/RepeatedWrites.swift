/// A register and the value that is written to it: what an ioeventfd can match.
public struct DoorbellRegister: Equatable, Hashable, Sendable, BitwiseCopyable {
    /// The register: an aligned access of 1, 2, 4 or 8 bytes to a BAR.
    public var access: RegionAccess
    /// What is written.
    public var value: UInt64

    /// Names a register and a value.
    public init(_ access: RegionAccess, value: UInt64) {
        self.access = access
        self.value = value
    }
}

/// Finds registers that a guest keeps writing the same way, so that KVM and VFIO can carry the write from the one to
/// the other without this process (KVM_IOEVENTFD with a data match, `VFIO_DEVICE_IOEVENTFD`).
///
/// A register counts while its writes are equal; another value begins anew. Fixed memory: so many registers are
/// looked at, and the one that was least repeated gives way. A register that was refused is not told again
/// until its owner asks for that.
///
/// Source: QEMU's quirks install one after 10 equal writes; `VFIO_DEVICE_IOEVENTFD` takes 1000 a device.
public struct RepeatedWrites: Equatable, Sendable {
    /// Equal writes in a row before a register is told.
    public static let defaultThreshold: UInt32 = 10
    /// How many registers are looked at.
    public static let candidates = 16
    /// The most that are told for one device; the kernel's own limit is 1000.
    public static let most = 256

    /// What becomes of a register that was told.
    public enum State: Equatable, Sendable {
        /// It was told and not answered.
        case asked
        /// An ioeventfd carries its writes.
        case installed
        /// It cannot be had.
        case refused
    }

    private struct Candidate: Equatable {
        var register: DoorbellRegister
        var count: UInt32
    }

    /// Equal writes in a row before a register is told; 0 for never.
    public let threshold: UInt32
    private var counted: [Candidate] = []
    private var told: [(register: DoorbellRegister, state: State)] = []

    /// Nothing seen yet.
    public init(threshold: UInt32 = RepeatedWrites.defaultThreshold) {
        self.threshold = threshold
        counted.reserveCapacity(Self.candidates)
        told.reserveCapacity(threshold == 0 ? 0 : Self.most)
    }

    /// What became of a register; `nil` when it was never told.
    public func state(_ register: DoorbellRegister) -> State? {
        for known in told where known.register == register { return known.state }
        return nil
    }

    /// How many registers have an ioeventfd.
    public var installedCount: Int { told.count { $0.state == .installed } }

    /// The ioeventfd of a told register is there, or cannot be had. No effect for one that was not told.
    public mutating func answer(_ register: DoorbellRegister, installed: Bool) {
        for index in told.indices where told[index].register == register {
            told[index].state = installed ? .installed : .refused
        }
    }

    /// A told register is to be counted anew, as when it was told too early. No effect for one that was not told.
    public mutating func withdraw(_ register: DoorbellRegister) { told.removeAll { $0.register == register } }

    /// Registers that were refused are counted anew, as when there is room again.
    public mutating func retry() { told.removeAll { $0.state == .refused } }

    /// Forgets everything, after a reset or when the overlay is gone. Ioeventfds that are installed are the caller's to
    /// remove: `visit` is called with each.
    public mutating func forget(_ visit: (DoorbellRegister) -> Void) {
        for known in told where known.state == .installed { visit(known.register) }
        told.removeAll(keepingCapacity: true)
        counted.removeAll(keepingCapacity: true)
    }

    /// A write came as a trap. Returns the register when it has now been written often enough.
    mutating func note(_ register: DoorbellRegister) -> DoorbellRegister? {
        guard threshold > 0, state(register) == nil, told.count < Self.most else { return nil }
        let index = place(register)
        if counted[index].register == register {
            counted[index].count += 1
        } else {
            counted[index] = Candidate(register: register, count: 1)
        }
        guard counted[index].count >= threshold else { return nil }
        counted.remove(at: index)
        told.append((register, .asked))
        return register
    }

    /// Where the register is counted: its own place, a free one, or that of the one least repeated.
    private mutating func place(_ register: DoorbellRegister) -> Int {
        var least = 0
        for index in counted.indices {
            if counted[index].register.access == register.access { return index }
            if counted[index].count < counted[least].count { least = index }
        }
        guard counted.count == Self.candidates else {
            counted.append(Candidate(register: register, count: 0))
            return counted.count - 1
        }
        return least
    }

    /// Equal when the same writes lead to the same.
    public static func == (left: RepeatedWrites, right: RepeatedWrites) -> Bool {
        left.threshold == right.threshold && left.counted == right.counted
            && left.told.elementsEqual(right.told) { $0.register == $1.register && $0.state == $1.state }
    }
}
