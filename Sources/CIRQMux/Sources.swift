// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation

public import CIRQMuxHeader
internal import CKernel
internal import EventRing
internal import IRQMux

@c @implementation
public func irqmux_mux_until_timer(_ mux: irqmux_mux, _ nanoseconds: UnsafeMutablePointer<UInt64>?) -> Int32 {
    let operation: StaticString = "irqmux_mux_until_timer"
    return onMux(mux, operation) { (mux, _) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let nanoseconds = unsafe nanoseconds else { throw Refusal.pointer(operation) }
        // SAFETY: the caller's to be written.
        unsafe nanoseconds.pointee = mux.untilNextTimer
        return 0
    }
}

@c @implementation
public func irqmux_mux_set_wait(_ mux: irqmux_mux, _ wait: UInt32, _ limit: UInt64) -> Int32 {
    let operation: StaticString = "irqmux_mux_set_wait"
    return onMux(mux, operation) { (mux, _) throws(MuxError) in
        mux.waitMode = try waitMode(wait, limit, operation)
        return 0
    }
}

@c @implementation
public func irqmux_mux_nanoseconds(
    _ mux: irqmux_mux, _ ticks: UInt64, _ nanoseconds: UnsafeMutablePointer<UInt64>?
) -> Int32 {
    let operation: StaticString = "irqmux_mux_nanoseconds"
    return onMux(mux, operation) { (mux, _) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let nanoseconds = unsafe nanoseconds else { throw Refusal.pointer(operation) }
        // SAFETY: the caller's to be written.
        unsafe nanoseconds.pointee = mux.time.monotonic(ticks)
        return 0
    }
}

@c @implementation
public func irqmux_ring_read(_ mux: irqmux_mux, _ ring: UnsafeMutablePointer<irqmux_ring>?) -> Int32 {
    let operation: StaticString = "irqmux_ring_read"
    return onMux(mux, operation) { (mux, _) throws(MuxError) in
        let report = mux.ringReport
        // SAFETY: static texts, in a struct of this version that `give` hands over.
        var told = unsafe irqmux_ring()
        unsafe told.tier = UInt32(report.tier.rawValue)
        unsafe told.obstacle = -(report.obstacle?.errno ?? 0)
        unsafe told.name = text(report.tier.name)
        unsafe told.operation = text(report.obstacle?.operation ?? "")
        unsafe told.remedy = text(report.obstacle?.remedy ?? "")
        // SAFETY: as above.
        try unsafe give(ring, MemoryLayout<irqmux_ring>.size, &told, operation)
        return 0
    }
}

@c @implementation
public func irqmux_source_add(
    _ mux: irqmux_mux, _ descriptor: Int32, _ tag: UInt64, _ delivery: UInt32,
    _ source: UnsafeMutablePointer<irqmux_source>?
) -> Int32 {
    let operation: StaticString = "irqmux_source_add"
    return onMux(mux, operation) { (mux, _) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let source = unsafe source else { throw Refusal.pointer(operation) }
        guard let delivery = Delivery(rawValue: UInt8(clamping: delivery)) else {
            throw Refusal.value(operation, "delivery is IRQMUX_EDGE, _COUNTED or _ACKNOWLEDGED")
        }
        let id = try mux.addSource(descriptor, tag: tag, delivery: delivery)
        // SAFETY: the caller's to be written.
        unsafe source.pointee = irqmux_source(id)
        return 0
    }
}

@c @implementation
public func irqmux_source_arm(_ mux: irqmux_mux, _ source: irqmux_source) -> Int32 {
    let operation: StaticString = "irqmux_source_arm"
    return onMux(mux, operation, about: source.bits) { (mux, _) throws(MuxError) in
        do throws(MuxError) { try mux.armSource(try source.id(operation)) } catch { throw gone(error, operation) }
        return 0
    }
}

@c @implementation
public func irqmux_source_remove(_ mux: irqmux_mux, _ source: irqmux_source) -> Int32 {
    let operation: StaticString = "irqmux_source_remove"
    return onMux(mux, operation, about: source.bits) { (mux, _) throws(MuxError) in
        do throws(MuxError) { try mux.removeSource(try source.id(operation)) } catch { throw gone(error, operation) }
        return 0
    }
}

@c @implementation
public func irqmux_timer_add(
    _ mux: irqmux_mux, _ after: UInt64, _ every: UInt64, _ tag: UInt64, _ timer: UnsafeMutablePointer<irqmux_timer>?
) -> Int32 {
    let operation: StaticString = "irqmux_timer_add"
    return onMux(mux, operation) { (mux, _) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let timer = unsafe timer else { throw Refusal.pointer(operation) }
        let id = try mux.addTimer(after: after, every: every, tag: tag)
        // SAFETY: the caller's to be written.
        unsafe timer.pointee = irqmux_timer(id)
        return 0
    }
}

@c @implementation
public func irqmux_timer_remove(_ mux: irqmux_mux, _ timer: irqmux_timer) -> Int32 {
    let operation: StaticString = "irqmux_timer_remove"
    return onMux(mux, operation, about: timer.bits) { (mux, _) throws(MuxError) in
        do throws(MuxError) { try mux.removeTimer(try timer.id(operation)) } catch { throw gone(error, operation) }
        return 0
    }
}

@c @implementation
public func irqmux_trace_set(
    _ mux: irqmux_mux, _ what: UInt32, _ tracer: irqmux_tracer?, _ context: UnsafeMutableRawPointer?
) -> Int32 {
    let operation: StaticString = "irqmux_trace_set"
    return onMux(mux, operation) { (_, instance) throws(MuxError) in
        guard what & ~UInt32(IRQMUX_TRACE_CHANGES | IRQMUX_TRACE_EVENTS) == 0 else {
            throw Refusal.value(operation, "what to trace is of IRQMUX_TRACE_*")
        }
        // SAFETY: on the mux's thread; the context is kept, and handed to the tracer.
        unsafe instance.at.pointee.tracer = tracer
        unsafe instance.at.pointee.tracerContext = context
        unsafe instance.at.pointee.traced = tracer == nil ? 0 : what
        receiveEvents(instance)
        return 0
    }
}
