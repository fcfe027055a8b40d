internal import CIRQMuxHeader
internal import CKernel
internal import EventRing
internal import IRQMux

/// `irqmux_mux_config` as the mux understands it.
@safe struct MuxPlan {
    private(set) var options = MuxOptions()
    let flags: UInt32
    let cpu: Int?
    let handler: irqmux_handler?
    let context: UnsafeMutableRawPointer?

    init(_ config: UnsafePointer<irqmux_mux_config>?, _ operation: StaticString) throws(MuxError) {
        // SAFETY: one of this version, filled from the caller's by its size.
        var given = unsafe irqmux_mux_config()
        try unsafe take(&given, MemoryLayout<irqmux_mux_config>.size, config, operation)
        flags = unsafe given.flags
        unsafe handler = given.handler
        // SAFETY: kept, and handed to the handler.
        unsafe context = given.context
        let known =
            IRQMUX_OWN_THREAD | IRQMUX_POLLABLE | IRQMUX_ANY_THREAD | IRQMUX_EXPLICIT_ACK | IRQMUX_NO_STAMPS
            | IRQMUX_PINNED
        guard flags & ~UInt32(known) == 0 else { throw Refusal.value(operation, "a flag is unknown to this library") }
        let isOwn = flags & UInt32(IRQMUX_OWN_THREAD) != 0
        guard unsafe !isOwn || handler != nil else {
            throw Refusal.value(operation, "IRQMUX_OWN_THREAD needs a handler")
        }
        guard !isOwn || flags & UInt32(IRQMUX_POLLABLE) == 0 else {
            throw Refusal.value(operation, "IRQMUX_OWN_THREAD and IRQMUX_POLLABLE exclude each other")
        }
        // SAFETY: a plain number.
        cpu = unsafe flags & UInt32(IRQMUX_PINNED) != 0 ? Int(given.cpu) : nil
        // SAFETY: plain numbers of the struct above.
        try unsafe size(given, operation)
        options.loop.waiting = try unsafe waitMode(given.wait, given.adaptive_limit_ns, operation)
        guard let best = RingTier(rawValue: UInt8(clamping: unsafe given.best_tier)) else {
            throw Refusal.value(operation, "best_tier is an IRQMUX_TIER_*")
        }
        options.loop.bestTier = best
        options.loop.embedded = flags & UInt32(IRQMUX_POLLABLE) != 0
        options.loop.instrumented = flags & UInt32(IRQMUX_NO_STAMPS) == 0
        if flags & UInt32(IRQMUX_EXPLICIT_ACK) != 0 { options.intxAcknowledgement = .explicit }
    }

    /// Zero is the default everywhere; what is out of range `Mux.init` refuses, but for what it clamps.
    private mutating func size(_ given: borrowing irqmux_mux_config, _ operation: StaticString) throws(MuxError) {
        // SAFETY: plain numbers of a struct that holds a pointer, which is not followed.
        let wanted = unsafe (
            given.capacity, given.timers, given.devices, given.pairs, given.fan_out_targets, given.silence_after
        )
        if wanted.0 > 0 { options.loop.capacity = Int(wanted.0) }
        if wanted.1 > 0 { options.loop.timers = Int(wanted.1) }
        if wanted.2 > 0 { options.devices = Int(wanted.2) }
        if wanted.3 > 0 { options.pairs = Int(wanted.3) }
        if wanted.4 > 0 { options.fanOutTargets = Int(wanted.4) }
        if wanted.5 > 0 { options.silenceAfter = UInt64(wanted.5) }
        guard options.loop.capacity <= 32768, options.loop.timers <= 65536, options.devices <= 255,
            options.pairs <= 4096, options.fanOutTargets <= 65536
        else { throw Refusal.value(operation, "a number of irqmux_mux_config is out of the range that irqmux.h gives") }
    }

    /// The most descriptors at a time, as docs/c-abi.md counts them.
    func descriptors(for asked: irqmux_budget) -> UInt32 {
        // Ring or epoll, wake-up, notifier, the guest's machine; two that are open for a moment, as for /proc.
        var own: UInt64 = 6
        // Who spins on one or two sources reads duplicates of them.
        if case .block = options.loop.waiting {} else { own += 2 }
        // What the device signals past the process, what unmasks it, a machine; duplicates of what the device signals
        // for the way through the loop, and of what the loop reads its count from.
        let lines = UInt64(asked.intx_lines) * 5
        let pairs = UInt64(options.pairs) * 2
        let listened = UInt64(asked.vectors) + UInt64(asked.registers)
        let sum = own + listened + UInt64(asked.guest_vectors) + lines + pairs + UInt64(asked.targets)
        // epoll listens to a duplicate of each descriptor.
        let isEpoll = options.loop.bestTier == .epoll || RingReport.probe().tier == .epoll
        return UInt32(clamping: isEpoll ? sum + listened + UInt64(options.pairs) : sum)
    }
}

/// How to wait, of two words.
func waitMode(_ mode: UInt32, _ limit: UInt64, _ operation: StaticString) throws(MuxError) -> WaitMode {
    switch mode {
    case UInt32(IRQMUX_WAIT_BLOCK): return .block
    case UInt32(IRQMUX_WAIT_SPIN): return .spin
    case UInt32(IRQMUX_WAIT_ADAPTIVE): return limit > 0 ? .adaptive(limit: limit) : .adaptive
    default: throw Refusal.value(operation, "wait is an IRQMUX_WAIT_*")
    }
}
