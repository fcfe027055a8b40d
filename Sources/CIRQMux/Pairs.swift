// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation

public import CIRQMuxHeader
internal import CKernel
internal import IRQMux
internal import KVM

@c @implementation
public func irqmux_pair_add(
    _ mux: irqmux_mux, _ config: UnsafePointer<irqmux_pair_config>?, _ pair: UnsafeMutablePointer<irqmux_pair>?
) -> Int32 {
    let operation: StaticString = "irqmux_pair_add"
    return onMux(mux, operation) { (mux, instance) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let pair = unsafe pair else { throw Refusal.pointer(operation) }
        var given = irqmux_pair_config()
        // SAFETY: one of this version, filled from the caller's by its size.
        try unsafe take(&given, MemoryLayout<irqmux_pair_config>.size, config, operation)
        func has(_ flag: Int) -> Bool { given.flags & UInt32(flag) != 0 }
        let made = try mux.addPair(
            doorbell: try doorbell(given, operation), completion: given.gsi, tag: given.tag,
            signalledBy: has(IRQMUX_PAIR_EVENTFD) ? given.eventfd : nil, isMeasured: has(IRQMUX_PAIR_MEASURED))
        // SAFETY: the reference is given back when the pair's handle is retired, or right here.
        let object = unsafe Unmanaged.passRetained(made).toOpaque()
        let bits = unsafe irqmux_handle_open(instance.at.pointee.pairs, object, 0)
        guard bits != 0 else {
            // SAFETY: as above.
            unsafe Unmanaged<Pair>.fromOpaque(object).release()
            try mux.removePair(made)
            throw MuxError(operation, errno: ENOSPC, remedy: "make the mux with more pairs")
        }
        // SAFETY: the caller's to be written.
        unsafe pair.pointee = irqmux_pair(bits: bits)
        return 0
    }
}

private func doorbell(_ given: irqmux_pair_config, _ operation: StaticString) throws(MuxError) -> DoorbellAddress {
    guard let width = DoorbellAddress.Width(rawValue: given.width) else {
        throw Refusal.value(operation, "width is 0, 1, 2, 4 or 8")
    }
    let match = given.flags & UInt32(IRQMUX_PAIR_MATCH) != 0 ? given.match : nil
    guard given.flags & UInt32(IRQMUX_PAIR_PORT) != 0 else {
        return DoorbellAddress(.memory(given.address), width: width, match: match)
    }
    guard let port = UInt16(exactly: given.address) else { throw Refusal.value(operation, "ports are below 65536") }
    return DoorbellAddress(.port(port), width: width, match: match)
}

@c @implementation
public func irqmux_pair_complete(_ mux: irqmux_mux, _ pair: irqmux_pair) -> Int32 {
    let operation: StaticString = "irqmux_pair_complete"
    return answer { () throws(MuxError) in
        let found = try find(mux, operation)
        defer { leave(mux, found) }
        // SAFETY: found, so the table stays until it is left.
        let pairs = unsafe found.instance.at.pointee.pairs
        var object: UnsafeMutableRawPointer?
        // SAFETY: no thread owns a pair's handle, so it is entered and has to be left.
        let entered = unsafe irqmux_handle_enter(pairs, pair.bits, .max, &object)
        guard entered >= 0, let object = unsafe object else { throw Refusal.handle(entered, operation) }
        defer { unsafe irqmux_handle_leave(pairs, pair.bits) }
        // SAFETY: the table holds retained pairs only, and this one stays until it is left.
        try unsafe complete(object)
        return 0
    }
}

private func complete(_ object: UnsafeMutableRawPointer) throws(MuxError) {
    // SAFETY: as the caller says.
    let result = unsafe Unmanaged<Pair>.fromOpaque(object)._withUnsafeGuaranteedRef { pair in
        Result { () throws(MuxError) in try pair.complete() }
    }
    try result.get()
}

/// The pair behind a handle, on the mux's thread, which alone retires pairs.
func pair(
    _ pair: irqmux_pair, of instance: InstanceRef, _ operation: StaticString
) throws(MuxError) -> Pair {
    var object: UnsafeMutableRawPointer?
    // SAFETY: on the mux's thread; the reference is taken before the handle is left.
    let pairs = unsafe instance.at.pointee.pairs
    let entered = unsafe irqmux_handle_enter(pairs, pair.bits, .max, &object)
    guard entered >= 0, let object = unsafe object else { throw Refusal.handle(entered, operation) }
    defer { unsafe irqmux_handle_leave(pairs, pair.bits) }
    // SAFETY: the table holds retained pairs only.
    return unsafe Unmanaged<Pair>.fromOpaque(object).takeUnretainedValue()
}

@c @implementation
public func irqmux_pair_remove(_ mux: irqmux_mux, _ handle: irqmux_pair) -> Int32 {
    let operation: StaticString = "irqmux_pair_remove"
    return onMux(mux, operation, about: handle.bits) { (mux, instance) throws(MuxError) in
        // SAFETY: on the mux's thread.
        let removed = try pair(handle, of: instance, operation)
        let pairs = unsafe instance.at.pointee.pairs
        let closed = unsafe irqmux_handle_close(pairs, handle.bits)
        guard closed == 0 else { throw Refusal.handle(closed, operation) }
        // SAFETY: whoever completes it still is done with one write; then the table's reference is given back.
        unsafe irqmux_handle_retire(pairs, handle.bits)
        unsafe Unmanaged.passUnretained(removed).release()
        try mux.removePair(removed)
        return 0
    }
}

/// Gives back the references of all pairs that are left. Nobody can find the mux any more.
func releasePairs(_ pairs: UnsafeMutablePointer<irqmux_table>) {
    // SAFETY: the caller is the last to know the table, which holds retained pairs only.
    for place in 0..<Int(unsafe pairs.pointee.count) {
        guard let object = unsafe irqmux_table_object(pairs, UInt32(place)) else { continue }
        unsafe Unmanaged<Pair>.fromOpaque(object).release()
    }
}
