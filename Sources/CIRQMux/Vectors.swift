// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation

public import CIRQMuxHeader
internal import CKernel
internal import IRQMux
internal import InterruptModel

@c @implementation
public func irqmux_vectors_connect(
    _ mux: irqmux_mux, _ device: irqmux_device, _ connection: UnsafePointer<irqmux_connection>?,
    _ vectors: UnsafeMutablePointer<irqmux_vector>?
) -> Int32 {
    let operation: StaticString = "irqmux_vectors_connect"
    return onMux(mux, operation, about: device.bits) { (mux, _) throws(MuxError) in
        let id = try device.id(of: mux, operation)
        // SAFETY: only compared with null here.
        guard let vectors = unsafe vectors else { throw Refusal.pointer(operation) }
        // SAFETY: the caller's, who waits.
        let plan = try unsafe ConnectionPlan(connection, operation)
        // SAFETY: `tags` and `vectors` have room for as many as the caller connects.
        let tags = unsafe plan.tags
        let made = try mux.connect(
            id, plan.index, plan.numbers,
            tag: { number in unsafe tags.map { unsafe $0[Int(number - plan.numbers.lowerBound)] } ?? UInt64(number) },
            routes: { plan.route(of: $0) })
        // SAFETY: as above.
        for place in 0..<made.count { unsafe vectors[place] = irqmux_vector(made[place]) }
        return 0
    }
}

/// `irqmux_connection` as the mux understands it.
@safe private struct ConnectionPlan {
    let index: IRQIndex
    let numbers: Range<UInt32>
    let tags: UnsafePointer<UInt64>?
    /// One for all, or one each.
    private var routes: [Route] = []

    init(_ connection: UnsafePointer<irqmux_connection>?, _ operation: StaticString) throws(MuxError) {
        // SAFETY: one of this version, filled from the caller's by its size.
        var given = unsafe irqmux_connection()
        try unsafe take(&given, MemoryLayout<irqmux_connection>.size, connection, operation)
        index = try irqIndex(unsafe given.index, operation)
        let (first, count) = unsafe (given.first, given.count)
        let (end, overflow) = first.addingReportingOverflow(count)
        guard count > 0, !overflow else {
            throw Refusal.value(operation, "connect one vector at least, of numbers below 2^32")
        }
        numbers = first..<end
        // SAFETY: followed while the caller waits.
        unsafe tags = given.tags
        let wanted = unsafe given.route_count
        guard wanted <= 1 || wanted == count else {
            throw Refusal.value(operation, "route_count is 0, 1 or count")
        }
        guard wanted > 0 else {
            routes = [.handler]
            return
        }
        // SAFETY: only compared with null here.
        guard let base = unsafe UnsafeRawPointer(given.routes) else { throw Refusal.pointer(operation) }
        // SAFETY: the first struct's size is what all of the array have: it says where the next one is.
        let step = unsafe Int(base.loadUnaligned(as: UInt32.self))
        for place in 0..<Int(wanted) {
            let next = unsafe (base + place * step).assumingMemoryBound(to: irqmux_route.self)
            routes.append(try unsafe readRoute(next, operation))
        }
    }

    func route(of number: UInt32) -> Route {
        routes.count == 1 ? routes[0] : routes[Int(number - numbers.lowerBound)]
    }
}

/// `irqmux_route` as the mux understands it.
func readRoute(_ route: UnsafePointer<irqmux_route>?, _ operation: StaticString) throws(MuxError) -> Route {
    // SAFETY: one of this version, filled from the caller's by its size.
    var given = unsafe irqmux_route()
    try unsafe take(&given, MemoryLayout<irqmux_route>.size, route, operation)
    let gsi = unsafe given.gsi
    switch unsafe given.kind {
    case UInt32(IRQMUX_ROUTE_HANDLER): return .handler
    case UInt32(IRQMUX_ROUTE_GUEST): return .guest(gsi)
    case UInt32(IRQMUX_ROUTE_DETOUR): return .detour(gsi)
    case UInt32(IRQMUX_ROUTE_PARKED): return .parked
    case UInt32(IRQMUX_ROUTE_FAN_OUT):
        // SAFETY: the caller's array has `target_count` numbers.
        let count = unsafe Int(given.target_count)
        guard count > 0 else { throw Refusal.value(operation, "a fan-out has one target at least") }
        guard let targets = unsafe given.targets else { throw Refusal.pointer(operation) }
        return .fanOut((0..<count).map { unsafe targets[$0] })
    default: throw Refusal.value(operation, "kind is an IRQMUX_ROUTE_*")
    }
}

@c @implementation
public func irqmux_vector_disconnect(_ mux: irqmux_mux, _ vector: irqmux_vector) -> Int32 {
    let operation: StaticString = "irqmux_vector_disconnect"
    return onMux(mux, operation, about: vector.bits) { (mux, _) throws(MuxError) in
        try mux.disconnect(try vector.id(of: mux, operation))
        return 0
    }
}

@c @implementation
public func irqmux_vectors_disconnect(_ mux: irqmux_mux, _ device: irqmux_device, _ index: UInt32) -> Int32 {
    let operation: StaticString = "irqmux_vectors_disconnect"
    return onMux(mux, operation, about: device.bits) { (mux, _) throws(MuxError) in
        try mux.disconnectAll(try device.id(of: mux, operation), try irqIndex(index, operation))
        return 0
    }
}

@c @implementation
public func irqmux_vector_route(
    _ mux: irqmux_mux, _ vector: irqmux_vector, _ wanted: UnsafePointer<irqmux_route>?
) -> Int32 {
    let operation: StaticString = "irqmux_vector_route"
    return onMux(mux, operation, about: vector.bits) { (mux, _) throws(MuxError) in
        let id = try vector.id(of: mux, operation)
        // SAFETY: the caller's, who waits.
        try mux.route(id, to: try unsafe readRoute(wanted, operation))
        return 0
    }
}

/// Changes a vector, without allocating on the mux's own thread. `body` captures nothing.
private func change(
    _ mux: irqmux_mux, _ vector: irqmux_vector, _ operation: StaticString,
    _ body: @escaping (inout Mux, VectorID) throws(MuxError) -> Void
) -> Int32 {
    let own = onOwnThread(mux, operation, about: vector.bits) { (mux, _) throws(MuxError) in
        try body(&mux, try vector.id(of: mux, operation))
        return 0
    }
    return own
        ?? onMux(mux, operation, about: vector.bits) { (mux, _) throws(MuxError) in
            try body(&mux, try vector.id(of: mux, operation))
            return 0
        }
}

@c @implementation
public func irqmux_vector_mask(_ mux: irqmux_mux, _ vector: irqmux_vector) -> Int32 {
    change(mux, vector, "irqmux_vector_mask") { (mux, id) throws(MuxError) in try mux.mask(id) }
}

@c @implementation
public func irqmux_vector_unmask(_ mux: irqmux_mux, _ vector: irqmux_vector) -> Int32 {
    change(mux, vector, "irqmux_vector_unmask") { (mux, id) throws(MuxError) in try mux.unmask(id) }
}

@c @implementation
public func irqmux_vector_acknowledge(_ mux: irqmux_mux, _ vector: irqmux_vector) -> Int32 {
    change(mux, vector, "irqmux_vector_acknowledge") { (mux, id) throws(MuxError) in try mux.acknowledge(id) }
}

@c @implementation
public func irqmux_vector_read(
    _ mux: irqmux_mux, _ vector: irqmux_vector, _ state: UnsafeMutablePointer<irqmux_vector_state>?
) -> Int32 {
    let operation: StaticString = "irqmux_vector_read"
    return onMux(mux, operation, about: vector.bits) { (mux, _) throws(MuxError) in
        let id = try vector.id(of: mux, operation)
        let path = try mux.path(of: id)
        // SAFETY: static texts, in a struct of this version that `give` hands over.
        var told = unsafe irqmux_vector_state()
        let (kind, gsi) = number(try mux.route(of: id))
        unsafe told.route = kind
        unsafe told.gsi = gsi
        unsafe told.masked = try mux.isMasked(id) ? 1 : 0
        unsafe told.pending = try mux.isPending(id) ? 1 : 0
        unsafe told.counted = path.isCounted ? 1 : 0
        // SAFETY: as above.
        unsafe told.path = text(path.kind.name)
        unsafe told.why = text(path.why)
        try unsafe give(state, MemoryLayout<irqmux_vector_state>.size, &told, operation)
        return 0
    }
}

private func number(_ route: Route) -> (kind: UInt32, gsi: UInt32) {
    switch route {
    case .handler: (UInt32(IRQMUX_ROUTE_HANDLER), 0)
    case .guest(let gsi): (UInt32(IRQMUX_ROUTE_GUEST), gsi)
    case .detour(let gsi): (UInt32(IRQMUX_ROUTE_DETOUR), gsi)
    case .fanOut: (UInt32(IRQMUX_ROUTE_FAN_OUT), 0)
    case .parked: (UInt32(IRQMUX_ROUTE_PARKED), 0)
    }
}
