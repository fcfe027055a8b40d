// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation

public import CIRQMuxHeader
internal import CKernel
internal import IRQMux
internal import KVM

@c @implementation
public func irqmux_guest_attach(_ mux: irqmux_mux, _ machine: Int32, _ table: UInt32) -> Int32 {
    let operation: StaticString = "irqmux_guest_attach"
    return onMux(mux, operation) { (mux, _) throws(MuxError) in
        let routes: GSIRoutes?
        switch table {
        case UInt32(IRQMUX_TABLE_EMPTY): routes = GSIRoutes()
        case UInt32(IRQMUX_TABLE_IRQCHIP): routes = .irqChipDefaults()
        case UInt32(IRQMUX_TABLE_OWNER): routes = nil
        default: throw Refusal.value(operation, "table is an IRQMUX_TABLE_*")
        }
        try mux.attach(guestNumber: machine, routes: routes)
        return 0
    }
}

@c @implementation
public func irqmux_guest_detach(_ mux: irqmux_mux) -> Int32 {
    onMux(mux, "irqmux_guest_detach") { (mux, _) throws(MuxError) in
        try mux.detachGuest()
        return 0
    }
}

@c @implementation
public func irqmux_guest_read(_ mux: irqmux_mux) -> Int32 {
    onMux(mux, "irqmux_guest_read") { (mux, _) throws(MuxError) in
        switch mux.guestState {
        case .none: return 0
        case .attached: return 1
        case .closed(let errno):
            throw MuxError("irqmux_guest_read", errno: errno, remedy: "detach the guest and attach another")
        }
    }
}

@c @implementation
public func irqmux_gsi_allocate(
    _ mux: irqmux_mux, _ route: UnsafePointer<irqmux_gsi_route>?, _ gsi: UnsafeMutablePointer<UInt32>?
) -> Int32 {
    let operation: StaticString = "irqmux_gsi_allocate"
    return onMux(mux, operation) { (mux, _) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let gsi = unsafe gsi else { throw Refusal.pointer(operation) }
        // SAFETY: the caller's, who waits.
        let wanted = try unsafe gsiRoute(route, operation)
        do throws(MuxError) { unsafe gsi.pointee = try mux.allocateGSI(wanted) } catch {
            // KVM's own word for a table that is full is EINVAL.
            guard error.errno == EINVAL, mux.guestRoom < wanted.entries else { throw error }
            throw MuxError(error.operation, errno: ENOSPC, remedy: error.remedy)
        }
        return 0
    }
}

@c @implementation
public func irqmux_gsi_set(_ mux: irqmux_mux, _ gsi: UInt32, _ route: UnsafePointer<irqmux_gsi_route>?) -> Int32 {
    let operation: StaticString = "irqmux_gsi_set"
    return onMux(mux, operation, about: UInt64(gsi)) { (mux, _) throws(MuxError) in
        // SAFETY: the caller's, who waits.
        try mux.setGSI(gsi, to: try unsafe gsiRoute(route, operation))
        return 0
    }
}

@c @implementation
public func irqmux_gsi_free(_ mux: irqmux_mux, _ gsi: UInt32) -> Int32 {
    onMux(mux, "irqmux_gsi_free", about: UInt64(gsi)) { (mux, _) throws(MuxError) in
        try mux.freeGSI(gsi)
        return 0
    }
}

@c @implementation
public func irqmux_gsi_commit(_ mux: irqmux_mux) -> Int32 {
    onMux(mux, "irqmux_gsi_commit") { (mux, _) throws(MuxError) in try mux.commitRoutes() ? 1 : 0 }
}

@c @implementation
public func irqmux_gsi_room(_ mux: irqmux_mux) -> Int32 {
    onMux(mux, "irqmux_gsi_room") { (mux, _) throws(MuxError) in Int32(clamping: mux.guestRoom) }
}

/// `irqmux_gsi_route` as KVM's table understands it.
private func gsiRoute(_ route: UnsafePointer<irqmux_gsi_route>?, _ operation: StaticString) throws(MuxError) -> GSIRoute
{
    var given = irqmux_gsi_route()
    // SAFETY: one of this version, filled from the caller's by its size.
    try unsafe take(&given, MemoryLayout<irqmux_gsi_route>.size, route, operation)
    func has(_ flag: Int) -> Bool { given.flags & UInt32(flag) != 0 }
    switch given.kind {
    case UInt32(IRQMUX_GSI_MESSAGE):
        return .message(
            address: given.address, data: given.data, deviceID: has(IRQMUX_GSI_HAS_DEVICE_ID) ? given.device_id : nil)
    case UInt32(IRQMUX_GSI_PINS):
        guard has(IRQMUX_GSI_PIC1) || has(IRQMUX_GSI_PIC2) || has(IRQMUX_GSI_IOAPIC) else {
            throw Refusal.value(operation, "a route to pins has one pin at least")
        }
        return .pins(
            IRQChipPins(
                primaryPIC: has(IRQMUX_GSI_PIC1) ? given.pic1 : nil,
                secondaryPIC: has(IRQMUX_GSI_PIC2) ? given.pic2 : nil,
                ioAPIC: has(IRQMUX_GSI_IOAPIC) ? given.ioapic : nil))
    default: throw Refusal.value(operation, "kind is IRQMUX_GSI_MESSAGE or IRQMUX_GSI_PINS")
    }
}
