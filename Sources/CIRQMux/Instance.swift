internal import CIRQMuxHeader
internal import CKernel
internal import EventRing
internal import IRQMux

/// One mux as the C library keeps it: at one address from its creation to its end.
///
/// What other threads read (`remote`, `flags`, `ends`, `pairs`) is fixed at creation; the rest is the mux's thread's.
@safe struct Instance: ~Copyable {
    /// The mux, at an address of its own: gone before the instance is when the mux's own thread has ended.
    let mux: UnsafeMutablePointer<Mux>
    let remote: MuxRemote
    let ends: EndOfInterruptSink
    /// Handles of pairs; see `irqmux_pair_complete`.
    let pairs: UnsafeMutablePointer<irqmux_table>
    let flags: UInt32
    let pollable: Int32
    let handler: irqmux_handler?
    let context: UnsafeMutableRawPointer?
    let thread = OwnedThread()

    var handle = irqmux_mux(bits: 0)
    /// The devices whose function, or MSI-X or MSI alone, is served to the guest.
    var served: [ServedDevice] = []
    /// How many functions were ever served.
    var functionsMade: UInt64 = 0
    var tracer: irqmux_tracer?
    var tracerContext: UnsafeMutableRawPointer?
    var traced: UInt32 = 0
    /// Who is told of events: the handler, or what tells the tracer after it. Looked at for each event, so that nothing
    /// else has to be.
    var receiver: irqmux_handler?
    var receiverContext: UnsafeMutableRawPointer?
    /// The mux is at work, and its caller's functions may not call it.
    var isBusy = false
    /// The handler of events runs.
    var inHandler = false
    /// Somebody has waited, so that the mux has its thread.
    var hasWaited = false

    init(
        _ mux: UnsafeMutablePointer<Mux>, _ pairs: UnsafeMutablePointer<irqmux_table>, flags: UInt32,
        handler: irqmux_handler?, context: UnsafeMutableRawPointer?
    ) {
        // SAFETY: both were just made for this instance, which lets go of them in `retire`.
        unsafe self.mux = mux
        unsafe self.pairs = pairs
        unsafe remote = mux.pointee.remote
        unsafe ends = mux.pointee.endOfInterrupts
        unsafe pollable = mux.pointee.pollableDescriptor
        self.flags = flags
        unsafe self.handler = handler
        unsafe self.context = context
        unsafe receiver = handler
        unsafe receiverContext = context
    }

    var hasOwnThread: Bool { flags & UInt32(IRQMUX_OWN_THREAD) != 0 }
    var servesOthers: Bool { flags & UInt32(IRQMUX_OWN_THREAD | IRQMUX_ANY_THREAD) != 0 }
}

/// Where an instance is. Following it is safe as long as it was found by `find` and not left yet.
@safe struct InstanceRef {
    let at: UnsafeMutablePointer<Instance>
}

/// A mux that a handle has led to.
struct Found {
    let instance: InstanceRef
    /// The calling thread is not the mux's, so the handle has to be left again.
    let isForeign: Bool
}

/// What a call does on the mux's thread. Returns what the C function does.
typealias Body = (inout Mux, InstanceRef) throws(MuxError) -> Int32

/// Follows a handle.
@inline(never)
func find(_ handle: irqmux_mux, _ operation: StaticString) throws(MuxError) -> Found {
    var object: UnsafeMutableRawPointer?
    // SAFETY: the table is the library's and lives for ever; `object` is written when the result is not negative.
    let result = unsafe irqmux_handle_enter(irqmux_muxes(), handle.bits, irqmux_this_thread(), &object)
    guard result >= 0, let object = unsafe object else { throw Refusal.handle(result, operation) }
    // SAFETY: the table of muxes holds instances only, and this one lives until everybody has left.
    return unsafe Found(
        instance: InstanceRef(at: object.assumingMemoryBound(to: Instance.self)), isForeign: result == 1)
}

/// Lets go of what `find` has found.
@inline(never)
func leave(_ handle: irqmux_mux, _ found: Found) {
    // SAFETY: `find` has entered it.
    if found.isForeign { unsafe irqmux_handle_leave(irqmux_muxes(), handle.bits) }
}

/// Carries `body` out on the mux's thread and answers for the C function; the caller waits where it is another thread.
/// Allocates: what is called often on the mux's own thread goes by `onOwnThread` first.
@inline(never)
func onMux(_ handle: irqmux_mux, _ operation: StaticString, about: UInt64 = 0, _ body: @escaping Body) -> Int32 {
    answer { () throws(MuxError) in
        let found = try find(handle, operation)
        guard found.isForeign else { return try carryOut(found, operation, about, body) }
        defer { leave(handle, found) }
        // SAFETY: entered, so the instance stays; `servesOthers` and `remote` never change.
        guard unsafe found.instance.at.pointee.servesOthers else { throw Refusal.wrongThread(operation) }
        let parcel = Parcel(instance: found.instance, operation: operation, about: about, body: body)
        // SAFETY: as above.
        return try unsafe found.instance.at.pointee.remote.perform { (mux) throws(MuxError) in
            try parcel.carryOut(on: &mux)
        }
    }
}

/// The same for callers on the mux's own thread, without allocating; `nil` for others.
@inline(never)
func onOwnThread(
    _ handle: irqmux_mux, _ operation: StaticString, about: UInt64 = 0,
    _ body: (inout Mux, InstanceRef) throws(MuxError) -> Int32
) -> Int32? {
    do throws(MuxError) {
        let found = try find(handle, operation)
        guard !found.isForeign else {
            leave(handle, found)
            return nil
        }
        return try carryOut(found, operation, about, body)
    } catch { return fail(error) }
}

@inline(never)
private func carryOut(
    _ found: Found, _ operation: StaticString, _ about: UInt64,
    _ body: (inout Mux, InstanceRef) throws(MuxError) -> Int32
) throws(MuxError) -> Int32 {
    // SAFETY: this is the mux's thread, and `isBusy` keeps everybody else on it out while `body` has the mux.
    let instance = found.instance
    guard unsafe !instance.at.pointee.isBusy else { throw Refusal.reentered(operation) }
    unsafe instance.at.pointee.isBusy = true
    defer { unsafe instance.at.pointee.isBusy = false }
    do throws(MuxError) {
        // SAFETY: the mux is there as long as its thread calls.
        let result = try unsafe body(&instance.at.pointee.mux.pointee, instance)
        if unsafe instance.at.pointee.traced != 0 { trace(instance, operation, about, Int64(result)) }
        return result
    } catch {
        // SAFETY: as above.
        if unsafe instance.at.pointee.traced != 0 { trace(instance, operation, about, Int64(-error.errno)) }
        throw error
    }
}

/// What another thread wants carried out, on its way. That thread waits, so what it points to stays.
private struct Parcel: @unchecked Sendable {
    let instance: InstanceRef
    let operation: StaticString
    let about: UInt64
    let body: Body

    func carryOut(on mux: inout Mux) throws(MuxError) -> Int32 {
        // SAFETY: on the mux's thread now, from within its wait, where `isBusy` is set already.
        do throws(MuxError) {
            let result = try body(&mux, instance)
            if unsafe instance.at.pointee.traced != 0 { trace(instance, operation, about, Int64(result)) }
            return result
        } catch {
            // SAFETY: as above.
            if unsafe instance.at.pointee.traced != 0 { trace(instance, operation, about, Int64(-error.errno)) }
            throw error
        }
    }
}

/// Tells the tracer of a change.
@inline(never)
private func trace(
    _ instance: InstanceRef, _ operation: StaticString, _ about: UInt64, _ result: Int64
) {
    // SAFETY: on the mux's thread. The record lives during the call.
    guard unsafe instance.at.pointee.traced & changes != 0, let tracer = unsafe instance.at.pointee.tracer
    else { return }
    var record = unsafe irqmux_trace()
    unsafe record.size = UInt32(MemoryLayout<irqmux_trace>.size)
    unsafe record.kind = changes
    unsafe record.operation = text(operation)
    unsafe record.handle = about
    unsafe record.time_ns = irqmux_now_ns()
    unsafe record.result = result
    unsafe tracer(instance.at.pointee.tracerContext, instance.at.pointee.handle, &record)
}

private var changes: UInt32 { UInt32(IRQMUX_TRACE_CHANGES) }
