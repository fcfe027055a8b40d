// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation

public import CIRQMuxHeader
internal import CKernel
internal import EventRing
internal import IRQMux

@c @implementation
public func irqmux_mux_create(
    _ config: UnsafePointer<irqmux_mux_config>?, _ mux: UnsafeMutablePointer<irqmux_mux>?
) -> Int32 {
    let operation: StaticString = "irqmux_mux_create"
    return answer { () throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let mux = unsafe mux else { throw Refusal.pointer(operation) }
        // SAFETY: the plan copies the config; `mux` is the caller's to be written.
        let plan = try unsafe MuxPlan(config, operation)
        let handle = try make(plan, operation)
        unsafe mux.pointee = handle
        return 0
    }
}

private func make(_ plan: MuxPlan, _ operation: StaticString) throws(MuxError) -> irqmux_mux {
    let made = try Mux(plan.options)
    // SAFETY: a table, a mux and an instance at addresses of their own; `release` or the mux's thread take them back.
    guard let pairs = unsafe irqmux_table_make(UInt32(plan.options.pairs)) else {
        throw MuxError(operation, errno: ENOMEM)
    }
    let mux = UnsafeMutablePointer<Mux>.allocate(capacity: 1)
    unsafe mux.initialize(to: made)
    let instance = unsafe InstanceRef(at: .allocate(capacity: 1))
    // SAFETY: as above.
    unsafe instance.at.initialize(
        to: Instance(mux, pairs, flags: plan.flags, handler: plan.handler, context: plan.context))
    let isOwn = unsafe instance.at.pointee.hasOwnThread
    let owner = isOwn ? 0 : irqmux_this_thread()
    // SAFETY: the instance is whole, so others may find it from here on.
    let bits = unsafe irqmux_handle_open(irqmux_muxes(), instance.at, owner)
    guard bits != 0 else {
        // SAFETY: nobody else has seen it.
        release(instance, withMux: true)
        throw MuxError(operation, errno: ENOSPC, remedy: "a process has at most 256 muxes: destroy some")
    }
    // SAFETY: nobody uses the handle before it is given back.
    unsafe instance.at.pointee.handle = irqmux_mux(bits: bits)
    guard isOwn else { return irqmux_mux(bits: bits) }
    do throws(RingError) { try start(instance, cpu: plan.cpu) } catch {
        // SAFETY: there is no thread; the handle was not given to anybody.
        _ = unsafe irqmux_handle_close(irqmux_muxes(), bits)
        unsafe irqmux_handle_retire(irqmux_muxes(), bits)
        release(instance, withMux: true)
        throw MuxError(error)
    }
    return irqmux_mux(bits: bits)
}

/// Starts the mux's own thread, which takes no signal: whoever starts it blocks them all meanwhile.
private func start(_ instance: InstanceRef, cpu: Int?) throws(RingError) {
    // SAFETY: nobody runs the mux yet. The thread's owner joins it before the instance goes.
    unsafe instance.at.pointee.mux.pointee.announceRun()
    var before = sigset_t()
    unsafe irqmux_signals_block(&before)
    defer { unsafe irqmux_signals_restore(&before) }
    let body = ThreadBody(instance: instance)
    try unsafe instance.at.pointee.thread.start("irqmux", cpu: cpu) { body.run() }
}

/// Frees an instance that nobody can find any more.
private func release(_ instance: InstanceRef, withMux: Bool) {
    // SAFETY: the caller is the last to know it. A mux with a thread of its own is gone with that.
    let (mux, pairs) = unsafe (instance.at.pointee.mux, instance.at.pointee.pairs)
    if withMux { unsafe mux.deinitialize(count: 1) }
    unsafe mux.deallocate()
    unsafe releasePairs(pairs)
    unsafe irqmux_table_free(pairs)
    unsafe instance.at.deinitialize(count: 1)
    unsafe instance.at.deallocate()
}

@c @implementation
public func irqmux_mux_bind(_ mux: irqmux_mux) -> Int32 {
    let operation: StaticString = "irqmux_mux_bind"
    return answer { () throws(MuxError) in
        let found = try find(mux, operation)
        defer { leave(mux, found) }
        // SAFETY: found, so it stays; the caller sees to it that nobody else uses the mux meanwhile.
        guard unsafe found.isForeign || !found.instance.at.pointee.isBusy else { throw Refusal.reentered(operation) }
        guard unsafe !found.instance.at.pointee.hasOwnThread, unsafe !found.instance.at.pointee.hasWaited else {
            throw MuxError(operation, errno: EPERM, remedy: "a mux gets its thread once, before anybody has waited")
        }
        unsafe irqmux_handle_own(irqmux_muxes(), mux.bits, irqmux_this_thread())
        return 0
    }
}

@c @implementation
public func irqmux_mux_destroy(_ mux: irqmux_mux) -> Int32 {
    let operation: StaticString = "irqmux_mux_destroy"
    return answer { () throws(MuxError) in
        let found = try find(mux, operation)
        // SAFETY: found, so it stays until it is left; then this is the one who has closed it.
        let instance = found.instance
        let isOwn = unsafe instance.at.pointee.hasOwnThread
        do throws(MuxError) {
            if isOwn {
                guard found.isForeign else {
                    throw MuxError(operation, errno: EDEADLK, remedy: "destroy it from another thread than its own")
                }
            } else {
                guard !found.isForeign else { throw Refusal.wrongThread(operation) }
                // SAFETY: on the mux's thread.
                guard unsafe !instance.at.pointee.inHandler, unsafe !instance.at.pointee.isBusy else {
                    throw MuxError(operation, errno: EBUSY, remedy: "destroy it when its handler has returned")
                }
            }
            // SAFETY: of several who destroy it, one closes the handle.
            let closed = unsafe irqmux_handle_close(irqmux_muxes(), mux.bits)
            guard closed == 0 else { throw Refusal.handle(closed, operation) }
        } catch {
            leave(mux, found)
            throw error
        }
        leave(mux, found)
        // SAFETY: nobody finds it any more. Whoever waits for the mux's thread is answered when the mux ends.
        if isOwn {
            unsafe instance.at.pointee.remote.stop()
            unsafe instance.at.pointee.thread.join()
        } else {
            unsafe instance.at.pointee.mux.deinitialize(count: 1)
        }
        unsafe irqmux_handle_retire(irqmux_muxes(), mux.bits)
        release(instance, withMux: false)
        return 0
    }
}
