/// The two things a host tells of a device besides its interrupts, as events with a deadline and a default action: that
/// it reported an error (ERR), and that the host wants it back (REQ).
///
/// REQ fires again and again while the host waits. One event is told, the rest is counted, and the deadline stays where
/// the first one put it: whoever is slow cannot be kept alive by being asked more often. A pure value; times are
/// nanoseconds of any one source that the caller reads.
///
/// Source: docs/vfio-semantics.md, B.4; `VFIO_PCI_ERR_IRQ_INDEX` and `VFIO_PCI_REQ_IRQ_INDEX` of `<linux/vfio.h>`.
public struct DeviceNotices: Equatable, Sendable {
    /// What is told.
    public enum Kind: UInt8, CaseIterable, Sendable, BitwiseCopyable {
        /// The device reported an uncorrectable error (ERR).
        case error
        /// The host wants the device back (REQ).
        case release
    }

    /// What is done when nobody answers in time.
    public enum Action: UInt8, Sendable, BitwiseCopyable {
        /// Nothing but telling that the time is over.
        case none
        /// The device's function is reset.
        case reset
        /// Every vector is masked: nothing of the device reaches anybody any more.
        case mask
        /// The device is detached and its descriptors are closed, which is what the host waits for.
        case detach
    }

    /// How long an owner has, and what happens then.
    public struct Rule: Equatable, Sendable, BitwiseCopyable {
        /// Nanoseconds from the first signal.
        public var time: UInt64
        /// What happens when they are over.
        public var action: Action

        /// A rule of a time and an action.
        public init(time: UInt64, action: Action) {
            self.time = time
            self.action = action
        }
    }

    /// What there is to tell.
    public enum Event: Equatable, Sendable {
        /// Something has come up; the owner has until `deadline` to answer.
        case opened(Kind, deadline: UInt64)
        /// Nobody answered: the action is due now. Told once.
        case expired(Kind, Action)
    }

    private enum State: Equatable {
        case quiet
        case open(deadline: UInt64)
        case answered
        case expired
    }

    /// An error may wait a second for its owner, and then the vectors are masked.
    public static let usualError = Rule(time: 1_000_000_000, action: .mask)
    /// A request may wait five seconds, and then the device is detached.
    public static let usualRelease = Rule(time: 5_000_000_000, action: .detach)

    private let rules: InlinePair<Rule>
    private var states: InlinePair<State>
    /// Signals, those that were told and those that were not.
    private var counts: InlinePair<UInt64>

    /// Nothing has come up.
    public init(error: Rule = DeviceNotices.usualError, release: Rule = DeviceNotices.usualRelease) {
        rules = InlinePair(error: error, release: release)
        states = InlinePair(error: .quiet, release: .quiet)
        counts = InlinePair(error: 0, release: 0)
    }

    /// How often it was signalled so far.
    public func count(_ kind: Kind) -> UInt64 { counts[kind] }

    /// Whether an owner still has to answer.
    public func isOpen(_ kind: Kind) -> Bool {
        if case .open = states[kind] { true } else { false }
    }

    /// The next deadline, for a timer; `nil` when nothing is open.
    public var nextDeadline: UInt64? {
        var next: UInt64?
        for kind in Kind.allCases {
            if case .open(let deadline) = states[kind] { next = min(next ?? .max, deadline) }
        }
        return next
    }

    /// The vector was signalled, `count` times or more often.
    ///
    /// - Returns: The event, when this begins one. An error after an answer is a new event; a request after an answer
    ///   is the same one again, which the host repeats until it has the device.
    public mutating func signal(_ kind: Kind, count: UInt64 = 1, at now: UInt64) -> Event? {
        counts[kind] &+= count
        switch states[kind] {
        case .open: return nil
        case .expired where kind == .release: return nil
        case .answered where kind == .release: return nil
        case .quiet, .answered, .expired:
            let (sum, overflow) = now.addingReportingOverflow(rules[kind].time)
            let deadline = overflow ? .max : sum
            states[kind] = .open(deadline: deadline)
            return .opened(kind, deadline: deadline)
        }
    }

    /// The owner has seen to it, or will: the default action is off.
    ///
    /// - Returns: Whether there was anything to answer; not after the deadline.
    @discardableResult
    public mutating func answer(_ kind: Kind) -> Bool {
        guard isOpen(kind) else { return false }
        states[kind] = .answered
        return true
    }

    /// The host took its request back, or the device begins a new life: the next signal is a new event.
    public mutating func rearm(_ kind: Kind) { states[kind] = .quiet }

    /// Time has passed. Call again until it returns `nil`.
    public mutating func expire(at now: UInt64) -> Event? {
        for kind in Kind.allCases {
            guard case .open(let deadline) = states[kind], deadline <= now else { continue }
            states[kind] = .expired
            return .expired(kind, rules[kind].action)
        }
        return nil
    }
}

/// One value for each kind of notice.
private struct InlinePair<Value: Equatable & Sendable>: Equatable, Sendable {
    var error: Value
    var release: Value

    subscript(kind: DeviceNotices.Kind) -> Value {
        get { kind == .error ? error : release }
        set { if kind == .error { error = newValue } else { release = newValue } }
    }
}
