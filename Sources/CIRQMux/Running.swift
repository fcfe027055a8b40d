// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation

public import CIRQMuxHeader
internal import CKernel
internal import EventRing
internal import IRQMux
internal import InterruptModel

// Running. A mux hands out by `next`, so its caller's handler runs while nobody has the mux: it may change anything.

/// Hands what is ready to the handler; how many events there were. What runs once an event is here.
@inline(never)
private func deliver(_ instance: InstanceRef) -> Int32 {
    // SAFETY: on the mux's thread, where the instance and its mux stay: they are not destroyed from within a handler.
    let mux = unsafe instance.at.pointee.mux
    guard unsafe instance.at.pointee.receiver != nil else { return 0 }
    let handle = unsafe instance.at.pointee.handle
    var event = irqmux_event()
    makeInterrupt(&event)
    var count: Int32 = 0
    // SAFETY: `told` is `event`, which stays in place until the closure returns.
    unsafe withUnsafeMutablePointer(to: &event) { told in
        let record = unsafe interruptRecord(of: told)
        while unsafe !mux.pointee.isStopping {
            switch unsafe mux.pointee.next(into: record) {
            case .interrupt:
                // All but the interrupt's own words stays as it is from one to the next.
                unsafe tell(instance, handle, told)
            case .other:
                unsafe fillOther(&told.pointee, mux.pointee.takeOther())
                unsafe tell(instance, handle, told)
                unsafe makeInterrupt(&told.pointee)
            case .nothing: return
            }
            count &+= 1
        }
    }
    return count
}

/// While the handler runs, calls on the mux are welcome.
@inline(__always)
private func tell(_ instance: InstanceRef, _ handle: irqmux_mux, _ event: UnsafeMutablePointer<irqmux_event>) {
    // SAFETY: as in `deliver`, which has seen that there is a receiver.
    unsafe instance.at.pointee.isBusy = false
    unsafe instance.at.pointee.receiver.unsafelyUnwrapped(instance.at.pointee.receiverContext, handle, event)
    unsafe instance.at.pointee.isBusy = true
}

/// Lets events go to the handler, and to the tracer after it where it asked for events.
func receiveEvents(_ instance: InstanceRef) {
    // SAFETY: on the mux's thread.
    let handler = unsafe instance.at.pointee.handler
    guard unsafe handler != nil, unsafe instance.at.pointee.traced & UInt32(IRQMUX_TRACE_EVENTS) != 0 else {
        unsafe instance.at.pointee.receiver = handler
        unsafe instance.at.pointee.receiverContext = instance.at.pointee.context
        return
    }
    unsafe instance.at.pointee.receiverContext = UnsafeMutableRawPointer(instance.at)
    unsafe instance.at.pointee.receiver = { at, mux, event in
        // SAFETY: set as the context just above, and called with it by `deliver`, while the instance is there.
        let instance = unsafe InstanceRef(at: at!.assumingMemoryBound(to: Instance.self))
        unsafe instance.at.pointee.handler?(instance.at.pointee.context, mux, event)
        unsafe instance.at.pointee.isBusy = true
        unsafe traceEvent(instance, event!.pointee)
    }
}

/// The part of an event that `Mux.next(into:)` writes.
@inline(__always)
private func interruptRecord(of event: UnsafeMutablePointer<irqmux_event>) -> UnsafeMutablePointer<InterruptRecord> {
    // SAFETY: inside the event; support.c asserts that it has these words in this order.
    unsafe (UnsafeMutableRawPointer(event) + interruptRecordOffset).assumingMemoryBound(to: InterruptRecord.self)
}

/// Where an event has what `InterruptRecord` has.
let interruptRecordOffset = 8

/// As `next(into:)` expects it: an interrupt, of which the words that differ are still to be written.
@inline(never)
private func makeInterrupt(_ told: inout irqmux_event) {
    told.size = UInt32(truncatingIfNeeded: MemoryLayout<irqmux_event>.size)
    told.kind = UInt32(IRQMUX_EVENT_INTERRUPT)
    told.error = 0
    told.detail = 0
}

/// What comes rarely, interrupts that were held among it; `told` is as `makeInterrupt` leaves it.
@inline(never)
private func fillOther(_ told: inout irqmux_event, _ event: VectorEvent?) {
    guard let event else { return }
    told.tag = event.tag
    told.count = event.count
    told.ticks = event.ticks
    told.index = event.vector.index.rawValue
    told.number = event.vector.number
    let id = event.id
    told.vector = irqmux_vector(bits: 0)
    switch event.kind {
    case .interrupt: told.vector = irqmux_vector(id)
    case .timer: told.kind = UInt32(IRQMUX_EVENT_TIMER)
    case .source: told.kind = UInt32(IRQMUX_EVENT_SOURCE)
    case .doorbell: told.kind = UInt32(IRQMUX_EVENT_DOORBELL)
    case .watchdog(let verdict):
        told.kind = UInt32(IRQMUX_EVENT_WATCHDOG)
        told.detail = UInt32(verdict.rawValue)
        told.vector = irqmux_vector(id)
    case .failed(let errno):
        told.kind = UInt32(IRQMUX_EVENT_FAILED)
        told.error = -errno
        // A source that failed has no vector: its identity is all ones in the lower half.
        if id.rawValue & 0xffff_ffff != 0xffff_ffff { told.vector = irqmux_vector(id) }
    }
}

/// Tells the tracer of an event.
@inline(never)
private func traceEvent(_ instance: InstanceRef, _ event: irqmux_event) {
    let events = UInt32(IRQMUX_TRACE_EVENTS)
    // SAFETY: on the mux's thread. The record lives during the call.
    guard unsafe instance.at.pointee.traced & events != 0, let tracer = unsafe instance.at.pointee.tracer
    else { return }
    var record = unsafe irqmux_trace()
    unsafe record.size = UInt32(MemoryLayout<irqmux_trace>.size)
    unsafe record.kind = events
    unsafe record.operation = text("event")
    unsafe record.handle = event.vector.bits
    unsafe record.time_ns = irqmux_now_ns()
    unsafe record.result = Int64(event.kind)
    // SAFETY: as above.
    unsafe tracer(instance.at.pointee.tracerContext, instance.at.pointee.handle, &record)
}

// MARK: - On the mux's own thread

/// What the thread of IRQMUX_OWN_THREAD does.
struct ThreadBody: @unchecked Sendable {
    let instance: InstanceRef

    func run() {
        // SAFETY: the instance stays until this thread was joined, and the mux is this thread's from here on.
        unsafe irqmux_handle_own(irqmux_muxes(), instance.at.pointee.handle.bits, irqmux_this_thread())
        unsafe instance.at.pointee.hasWaited = true
        unsafe instance.at.pointee.isBusy = true
        var ending: Int32 = 0
        unsafe instance.at.pointee.mux.pointee.beginRun()
        do throws(MuxError) { try turn(instance) } catch { ending = -error.errno }
        unsafe instance.at.pointee.mux.pointee.endRun()
        tellEnd(ending)
        // SAFETY: as above. The mux ends on its own thread; others find the handle, and no mux behind it.
        unsafe instance.at.pointee.mux.deinitialize(count: 1)
    }

    private func tellEnd(_ ending: Int32) {
        var told = irqmux_event()
        told.size = UInt32(MemoryLayout<irqmux_event>.size)
        told.kind = UInt32(IRQMUX_EVENT_ENDED)
        told.error = ending
        // SAFETY: as in `run`. The mux is still there, but nothing may be asked of it: `isBusy` is set.
        if let handler = unsafe instance.at.pointee.handler {
            unsafe handler(instance.at.pointee.context, instance.at.pointee.handle, &told)
        }
    }
}

/// Waits and hands out until somebody stops the mux.
private func turn(_ instance: InstanceRef) throws(MuxError) {
    // SAFETY: on the mux's thread.
    while unsafe !instance.at.pointee.mux.pointee.isStopping {
        try unsafe instance.at.pointee.mux.pointee.wait()
        _ = deliver(instance)
    }
}

// MARK: - On the caller's thread

/// Lets the calling thread, which must be the mux's, run it.
private func running(
    _ mux: irqmux_mux, _ operation: StaticString, needsHandler: Bool = true,
    _ body: (InstanceRef) throws(MuxError) -> Int32
) -> Int32 {
    answer { () throws(MuxError) in
        let found = try find(mux, operation)
        // SAFETY: found, so it stays.
        let instance = found.instance
        guard !found.isForeign, unsafe !instance.at.pointee.hasOwnThread else {
            let isOwn = unsafe instance.at.pointee.hasOwnThread
            leave(mux, found)
            throw isOwn
                ? MuxError(operation, errno: EPERM, remedy: "a mux with its own thread runs by itself")
                : Refusal.wrongThread(operation)
        }
        // SAFETY: on the mux's thread.
        guard unsafe !instance.at.pointee.isBusy, unsafe !instance.at.pointee.inHandler else {
            throw Refusal.reentered(operation)
        }
        guard unsafe !needsHandler || instance.at.pointee.handler != nil else {
            throw Refusal.value(operation, "the mux was made without a handler")
        }
        // SAFETY: as above.
        unsafe instance.at.pointee.hasWaited = true
        unsafe instance.at.pointee.isBusy = true
        unsafe instance.at.pointee.inHandler = needsHandler
        defer {
            // SAFETY: as above: a handler cannot destroy the mux.
            unsafe instance.at.pointee.isBusy = false
            unsafe instance.at.pointee.inHandler = false
        }
        return try body(instance)
    }
}

@c @implementation
public func irqmux_mux_run(_ mux: irqmux_mux) -> Int32 {
    running(mux, "irqmux_mux_run") { (instance) throws(MuxError) in
        // SAFETY: on the mux's thread.
        unsafe instance.at.pointee.mux.pointee.beginRun()
        defer { unsafe instance.at.pointee.mux.pointee.endRun() }
        try turn(instance)
        return 0
    }
}

@c @implementation
public func irqmux_mux_dispatch(_ mux: irqmux_mux, _ timeout: UInt64) -> Int32 {
    running(mux, "irqmux_mux_dispatch") { (instance) throws(MuxError) in
        // SAFETY: on the mux's thread.
        unsafe instance.at.pointee.mux.pointee.beginRun()
        try unsafe instance.at.pointee.mux.pointee.wait(timeout: timeout)
        return try deliverAll(instance)
    }
}

/// Hands out what is ready, also where the kernel gives it in parts. It ends when handlers signal for ever.
private func deliverAll(_ instance: InstanceRef) throws(MuxError) -> Int32 {
    var count = deliver(instance)
    var part = count
    for _ in 0..<63 where part >= Int32(EventLoop.fullFetch) {
        // SAFETY: on the mux's thread.
        try unsafe instance.at.pointee.mux.pointee.wait(timeout: 0)
        part = deliver(instance)
        count &+= part
    }
    return count
}

@c @implementation
public func irqmux_mux_wait(_ mux: irqmux_mux, _ timeout: UInt64) -> Int32 {
    running(mux, "irqmux_mux_wait", needsHandler: false) { (instance) throws(MuxError) in
        // SAFETY: on the mux's thread.
        try unsafe instance.at.pointee.mux.pointee.wait(timeout: timeout)
        return 0
    }
}

@c @implementation
public func irqmux_mux_next(_ mux: irqmux_mux, _ event: UnsafeMutablePointer<irqmux_event>?) -> Int32 {
    let operation: StaticString = "irqmux_mux_next"
    return running(mux, operation, needsHandler: false) { (instance) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let event = unsafe event else { throw Refusal.pointer(operation) }
        let size = MemoryLayout<irqmux_event>.size
        // SAFETY: `event` is the caller's to be written, as much of it as its size says.
        guard unsafe event.pointee.size != UInt32(size) else {
            let mux = unsafe instance.at.pointee.mux
            switch unsafe mux.pointee.next(into: interruptRecord(of: event)) {
            case .nothing: return 0
            case .interrupt: unsafe makeInterrupt(&event.pointee)
            case .other:
                unsafe makeInterrupt(&event.pointee)
                unsafe fillOther(&event.pointee, mux.pointee.takeOther())
            }
            return 1
        }
        // Of another version: its size is looked at before an event is taken for it.
        var told = irqmux_event()
        try unsafe give(event, size, &told, operation)
        // SAFETY: on the mux's thread.
        guard let next = unsafe instance.at.pointee.mux.pointee.next() else { return 0 }
        makeInterrupt(&told)
        fillOther(&told, next)
        try unsafe give(event, size, &told, operation)
        return 1
    }
}

@c @implementation
public func irqmux_mux_process(_ mux: irqmux_mux) -> Int32 {
    let operation: StaticString = "irqmux_mux_process"
    return running(mux, operation) { (instance) throws(MuxError) in
        // SAFETY: on the mux's thread.
        guard unsafe instance.at.pointee.pollable >= 0 else { throw notPollable(operation) }
        let mux = unsafe instance.at.pointee.mux
        var count: Int32 = 0
        try unsafe mux.pointee.beginProcessing()
        repeat {
            // SAFETY: as above.
            try unsafe mux.pointee.wait(timeout: 0)
            count &+= deliver(instance)
        } while try unsafe mux.pointee.continueProcessing()  // SAFETY: as above.
        return count
    }
}

@c @implementation
public func irqmux_mux_stop(_ mux: irqmux_mux) -> Int32 {
    // Not by `answer`: a signal's handler leaves the interrupted thread's last error alone, unless it fails itself.
    answer { () throws(MuxError) in
        let found = try find(mux, "irqmux_mux_stop")
        defer { leave(mux, found) }
        // SAFETY: found, so it stays; `remote` never changes.
        unsafe found.instance.at.pointee.remote.stop()
        return 0
    }
}

@c @implementation
public func irqmux_mux_fd(_ mux: irqmux_mux) -> Int32 {
    let operation: StaticString = "irqmux_mux_fd"
    return answer { () throws(MuxError) in
        let found = try find(mux, operation)
        defer { leave(mux, found) }
        // SAFETY: found, so it stays; `pollable` never changes.
        let number = unsafe found.instance.at.pointee.pollable
        guard number >= 0 else { throw notPollable(operation) }
        return number
    }
}

private func notPollable(_ operation: StaticString) -> MuxError {
    MuxError(operation, errno: ENOTSUP, remedy: "make the mux with IRQMUX_POLLABLE")
}
