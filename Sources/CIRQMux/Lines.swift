// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation

public import CIRQMuxHeader
internal import CKernel
internal import IRQMux
internal import KVM

@c @implementation
public func irqmux_intx_serve(
    _ mux: irqmux_mux, _ vector: irqmux_vector, _ service: UnsafePointer<irqmux_intx_service>?
) -> Int32 {
    let operation: StaticString = "irqmux_intx_serve"
    return onMux(mux, operation, about: vector.bits) { (mux, _) throws(MuxError) in
        let id = try vector.id(of: mux, operation)
        // SAFETY: the caller's, who waits.
        try mux.serve(id, by: try unsafe intxService(service, operation))
        return 0
    }
}

/// `irqmux_intx_service` as the mux understands it.
func intxService(
    _ service: UnsafePointer<irqmux_intx_service>?, _ operation: StaticString
) throws(MuxError) -> INTxService {
    // SAFETY: one of this version, filled from the caller's by its size. Functions and context are kept by the line,
    // and are the caller's until it is served no more.
    var given = unsafe irqmux_intx_service()
    try unsafe take(&given, MemoryLayout<irqmux_intx_service>.size, service, operation)
    let (gsi, machine, context) = unsafe (given.gsi, given.machine, given.context)
    switch unsafe given.way {
    case UInt32(IRQMUX_WAY_KERNEL_RESAMPLE): return .kernelResample(machine: machine, gsi: gsi)
    case UInt32(IRQMUX_WAY_IOAPIC_BROADCAST):
        // SAFETY: a plain number.
        guard let vector = UInt8(exactly: unsafe given.apic_vector) else {
            throw Refusal.value(operation, "apic_vector is below 256")
        }
        return .ioapicBroadcast(machine: machine, gsi: gsi, vector: vector)
    case UInt32(IRQMUX_WAY_USER_EOI): return .userEOI(pin: try unsafe pin(given, operation))
    case UInt32(IRQMUX_WAY_MAPPING_TOGGLE):
        // SAFETY: as above.
        guard let mappings = unsafe given.mappings else {
            throw Refusal.value(operation, "IRQMUX_WAY_MAPPING_TOGGLE needs mappings")
        }
        let quiet = unsafe given.quiet_ns > 0 ? given.quiet_ns : 1_000_000
        // SAFETY: as above.
        return .mappingToggle(pin: try unsafe pin(given, operation), quiet: quiet) { isEnabled in
            unsafe mappings(context, isEnabled ? 1 : 0)
        }
    default: throw Refusal.value(operation, "way is an IRQMUX_WAY_*")
    }
}

private func pin(_ given: irqmux_intx_service, _ operation: StaticString) throws(MuxError) -> INTxPin? {
    // SAFETY: as in `intxService`.
    guard unsafe given.flags & UInt32(IRQMUX_INTX_HAS_PIN) != 0 else { return nil }
    guard let drive = unsafe given.drive else { throw Refusal.value(operation, "IRQMUX_INTX_HAS_PIN needs drive") }
    let context = unsafe given.context
    // SAFETY: as in `intxService`.
    return INTxPin(gsi: unsafe given.gsi) { gsi, isHigh in unsafe drive(context, gsi, isHigh ? 1 : 0) }
}

@c @implementation
public func irqmux_intx_stop(
    _ mux: irqmux_mux, _ vector: irqmux_vector, _ wanted: UnsafePointer<irqmux_route>?
) -> Int32 {
    let operation: StaticString = "irqmux_intx_stop"
    return onMux(mux, operation, about: vector.bits) { (mux, _) throws(MuxError) in
        let id = try vector.id(of: mux, operation)
        // SAFETY: the caller's, who waits.
        try mux.stopServing(id, route: unsafe wanted == nil ? .handler : try unsafe readRoute(wanted, operation))
        return 0
    }
}

@c @implementation
public func irqmux_intx_end(_ mux: irqmux_mux, _ gsi: UInt32) -> Int32 {
    onMux(mux, "irqmux_intx_end", about: UInt64(gsi)) { (mux, _) throws(MuxError) in
        try mux.endOfInterrupt(gsi: gsi)
        return 0
    }
}

@c @implementation
public func irqmux_intx_ioapic_eoi(_ mux: irqmux_mux, _ apicVector: UInt32) -> Int32 {
    let operation: StaticString = "irqmux_intx_ioapic_eoi"
    return answer { () throws(MuxError) in
        guard let vector = UInt8(exactly: apicVector) else {
            throw Refusal.value(operation, "apic_vector is below 256")
        }
        let found = try find(mux, operation)
        defer { leave(mux, found) }
        // SAFETY: found, so it stays; `ends` never changes and may be used by any thread.
        return Int32(clamping: unsafe found.instance.at.pointee.ends.end(vector: vector))
    }
}

@c @implementation
public func irqmux_intx_set_apic_vector(_ mux: irqmux_mux, _ gsi: UInt32, _ apicVector: UInt32) -> Int32 {
    let operation: StaticString = "irqmux_intx_set_apic_vector"
    return answer { () throws(MuxError) in
        guard let vector = UInt8(exactly: apicVector) else {
            throw Refusal.value(operation, "apic_vector is below 256")
        }
        let found = try find(mux, operation)
        defer { leave(mux, found) }
        // SAFETY: found, so it stays; `ends` never changes and may be used by any thread.
        return Int32(clamping: unsafe found.instance.at.pointee.ends.setVector(vector, forGSI: gsi))
    }
}

@c @implementation
public func irqmux_intx_trapped(_ mux: irqmux_mux, _ vector: irqmux_vector) -> Int32 {
    let operation: StaticString = "irqmux_intx_trapped"
    return onMux(mux, operation, about: vector.bits) { (mux, _) throws(MuxError) in
        try mux.noteAccess(try vector.id(of: mux, operation))
        return 0
    }
}

@c @implementation
public func irqmux_watchdog_start(_ mux: irqmux_mux, _ within: UInt64, _ stormRate: UInt64) -> Int32 {
    onMux(mux, "irqmux_watchdog_start") { (mux, _) throws(MuxError) in
        var options = WatchdogOptions()
        if within > 0 { options.acknowledgeWithin = within }
        if stormRate > 0 { options.stormRate = stormRate }
        try mux.startWatchdog(options)
        return 0
    }
}

@c @implementation
public func irqmux_watchdog_stop(_ mux: irqmux_mux) -> Int32 {
    onMux(mux, "irqmux_watchdog_stop") { (mux, _) throws(MuxError) in
        mux.stopWatchdog()
        return 0
    }
}
