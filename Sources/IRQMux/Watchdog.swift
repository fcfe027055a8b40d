internal import EventRing
public import KVM

/// What the watchdog looks for, and how often.
public struct WatchdogOptions: Equatable, Sendable {
    /// How long an interrupt may be in service before its line is named, in nanoseconds.
    public var acknowledgeWithin: UInt64 = 1_000_000_000
    /// From how many signals of one vector a second it is a storm. Where the device does not count, notifications,
    /// of which one may stand for several signals.
    public var stormRate: UInt64 = 200_000
    /// From one look to the next, in nanoseconds; 0 for an eighth of `acknowledgeWithin`, 125 ms at most. A verdict
    /// comes up to that much later. INTx that goes past the mux, of a device that does not count, is known by these
    /// looks only: a busy line that happens to be high at every one of them is named wrongly, and cleared by the next.
    public var interval: UInt64 = 0

    /// The defaults.
    public init() {}

    var effectiveInterval: UInt64 {
        interval > 0 ? interval : max(1, min(acknowledgeWithin / 8, 125_000_000))
    }
}

/// What the watchdog says of a vector when it changes its mind.
public enum WatchdogVerdict: UInt8, CaseIterable, Sendable, BitwiseCopyable {
    /// INTx fired and nobody has acknowledged it in time: the line is dead until somebody does.
    case neverAcknowledged
    /// The line that was never acknowledged has been.
    case acknowledgedAfterAll
    /// More signals come than `WatchdogOptions.stormRate`.
    case storm
    /// The storm has passed: less than half of that rate comes.
    case stormOver

    /// The verdict for reports.
    public var text: StaticString {
        switch self {
        case .neverAcknowledged: "armed and never acknowledged"
        case .acknowledgedAfterAll: "acknowledged after all"
        case .storm: "storm"
        case .stormOver: "storm over"
        }
    }
}

/// Why a line is not acknowledged, as far as the in-kernel irqchip tells.
public enum WatchdogCause: UInt8, CaseIterable, Sendable {
    /// Nobody knows: the pin is not in the kernel.
    case unknown
    /// The guest has the pin edge-triggered: it gets one interrupt and never a second, for only levels are resampled.
    case edgeTriggered
    /// The guest has masked the pin, or has not set it up.
    case masked
    /// The guest has taken the interrupt and has not ended it.
    case notEnded
    /// The pin is high and open, and the guest has not taken the interrupt.
    case notTaken

    /// The cause in a sentence.
    public var text: StaticString {
        switch self {
        case .unknown: "nobody has told of an end of interrupt"
        case .edgeTriggered: "the guest programmed its IOAPIC's pin edge-triggered: it must be level-triggered"
        case .masked: "the guest has masked the pin, or has no driver for the device"
        case .notEnded: "the guest took the interrupt and has not ended it"
        case .notTaken: "the guest has its interrupts off, or is not running"
        }
    }

    /// Reads the cause off the pin of a line that is not acknowledged.
    public init(_ pin: PinState) {
        let ioAPIC = pin.ioAPIC
        if ioAPIC.isInService || pin.pic?.isInService == true {
            self = .notEnded
        } else if !ioAPIC.isMasked {
            self = ioAPIC.isLevel ? .notTaken : .edgeTriggered
        } else {
            self = pin.pic?.isMasked ?? true ? .masked : .notTaken
        }
    }
}

/// What the watchdog knows of one vector: a pure value, told at each tick what the counters say.
struct VectorWatch: BitwiseCopyable {
    /// The counters of a vector at a tick.
    struct Look {
        /// Signals so far, or notifications where they are not counted.
        var signals: UInt64
        /// Ends of interrupt so far, where they are counted.
        var acknowledged: UInt64 = 0
        /// Whether an interrupt is in service; `nil` where only the two counters can tell.
        var isInService: Bool? = false
        /// `signals` includes what went past the mux. Without it, a level that stays up says all there is to know.
        var isCounted = true
    }

    private(set) var generation: UInt32 = 0
    private var signals: UInt64 = 0
    private var acknowledged: UInt64 = 0
    /// The signals when nothing was in service: a line that has not fired since is not the one that is waited for.
    private var signalsAtRest: UInt64 = 0
    private var lastLook: UInt64 = 0
    /// Since when the same interrupt has been in service, as of the ticks; 0 for none.
    private(set) var since: UInt64 = 0
    private(set) var isNamed = false
    private(set) var isStorm = false
    /// Signals a second between the last two looks, and the most so far.
    private(set) var rate: UInt64 = 0
    private(set) var peakRate: UInt64 = 0
    private(set) var timesNamed: UInt32 = 0
    private(set) var storms: UInt32 = 0

    /// Begins to watch a vector.
    init(generation: UInt32 = 0, _ look: Look = Look(signals: 0), now: UInt64 = 0) {
        self.generation = generation
        signals = look.signals
        signalsAtRest = look.signals
        acknowledged = look.acknowledged
        lastLook = now
    }

    /// - Returns: What is new; one verdict a look, the other one comes with the next.
    mutating func look(_ look: Look, now: UInt64, _ options: WatchdogOptions) -> WatchdogVerdict? {
        let elapsed = max(now &- lastLook, 1)
        let came = look.signals &- signals
        let scaled = came.multipliedReportingOverflow(by: 1_000_000_000)
        rate = (scaled.overflow ? .max : scaled.partialValue) / elapsed
        peakRate = max(peakRate, rate)
        let inService = isInService(look, came)
        let ended = look.acknowledged != acknowledged
        signals = look.signals
        acknowledged = look.acknowledged
        lastLook = now
        if !inService { signalsAtRest = look.signals }
        let same = inService && came == 0 && !ended
        if !inService { since = 0 } else if since == 0 || !same { since = now }
        return serviceVerdict(inService, same, now, options) ?? stormVerdict(options)
    }

    private func isInService(_ look: Look, _ came: UInt64) -> Bool {
        if let known = look.isInService { return known && (!look.isCounted || look.signals != signalsAtRest) }
        // Only counters: it fired, and since then nobody has ended an interrupt. When both happened between two looks
        // their order is unknown, and the benefit of the doubt is the guest's.
        guard look.acknowledged == acknowledged else { return false }
        return came > 0 || since != 0
    }

    private mutating func serviceVerdict(
        _ inService: Bool, _ same: Bool, _ now: UInt64, _ options: WatchdogOptions
    ) -> WatchdogVerdict? {
        if isNamed, !same {
            isNamed = false
            return .acknowledgedAfterAll
        }
        guard !isNamed, inService, now &- since >= options.acknowledgeWithin else { return nil }
        isNamed = true
        timesNamed &+= 1
        return .neverAcknowledged
    }

    private mutating func stormVerdict(_ options: WatchdogOptions) -> WatchdogVerdict? {
        if !isStorm, rate > options.stormRate {
            isStorm = true
            storms &+= 1
            return .storm
        }
        guard isStorm, rate < options.stormRate / 2 else { return nil }
        isStorm = false
        return .stormOver
    }
}

/// The watches of a mux, one a place, all made at the start. Belongs to the mux's thread.
final class Watchdog {
    let options: WatchdogOptions
    var watches: [VectorWatch]
    var ticks: UInt64 = 0
    var lastTick: UInt64 = 0
    var timer: TimerID?

    init(_ options: WatchdogOptions, places: Int) {
        self.options = options
        watches = [VectorWatch](repeating: VectorWatch(), count: places)
    }
}
