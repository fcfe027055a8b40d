// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation
public import CIRQMuxHeader
internal import CKernel
internal import IRQMux
internal import InterruptModel
internal import KVM

/// What a call does with a function, on the mux's thread.
private typealias FunctionBody = (inout Mux, ServedDevice) throws(MuxError) -> Void

/// Follows a function's handle on the mux's thread.
@inline(never)
private func onFunction(
    _ mux: irqmux_mux, _ handle: irqmux_function, _ operation: StaticString, _ body: @escaping FunctionBody
) -> Int32 {
    onMux(mux, operation, about: handle.bits) { (mux, instance) throws(MuxError) in
        try body(&mux, try instance.function(handle, operation))
        return 0
    }
}

@c @implementation
public func irqmux_function_serve(
    _ mux: irqmux_mux, _ device: irqmux_device, _ config: UnsafePointer<irqmux_function_config>?,
    _ function: UnsafeMutablePointer<irqmux_function>?
) -> Int32 {
    let operation: StaticString = "irqmux_function_serve"
    return onMux(mux, operation, about: device.bits) { (mux, instance) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let function = unsafe function else { throw Refusal.pointer(operation) }
        let id = try device.id(of: mux, operation)
        // SAFETY: one of this version, filled from the caller's by its size; `function` is the caller's to be written.
        var given = unsafe irqmux_function_config()
        try unsafe take(&given, MemoryLayout<irqmux_function_config>.size, config, operation)
        unsafe function.pointee = try instance.serve(id, given, on: &mux, operation)
        return 0
    }
}

@c @implementation
public func irqmux_function_end(_ mux: irqmux_mux, _ function: irqmux_function) -> Int32 {
    let operation: StaticString = "irqmux_function_end"
    return onMux(mux, operation, about: function.bits) { (mux, instance) throws(MuxError) in
        let served = try instance.function(function, operation)
        instance.forget(served.device)
        try served.function!.end(on: &mux)
        return 0
    }
}

@c @implementation
public func irqmux_function_config_read(
    _ mux: irqmux_mux, _ function: irqmux_function, _ offset: UInt64, _ width: UInt32,
    _ value: UnsafeMutablePointer<UInt64>?
) -> Int32 {
    let operation: StaticString = "irqmux_function_config_read"
    return onFunction(mux, function, operation) { (mux, served) throws(MuxError) in
        // SAFETY: the caller's to be written, who waits.
        guard let value = unsafe value else { throw Refusal.pointer(operation) }
        unsafe value.pointee = try served.function!.readConfiguration(offset, width: Int(width), on: &mux)
    }
}

@c @implementation
public func irqmux_function_config_write(
    _ mux: irqmux_mux, _ function: irqmux_function, _ offset: UInt64, _ width: UInt32, _ value: UInt64
) -> Int32 {
    onFunction(mux, function, "irqmux_function_config_write") { (mux, served) throws(MuxError) in
        try served.function!.writeConfiguration(offset, width: Int(width), value, on: &mux)
    }
}

@c @implementation
public func irqmux_function_region_read(
    _ mux: irqmux_mux, _ function: irqmux_function, _ region: UInt32, _ offset: UInt64, _ width: UInt32,
    _ value: UnsafeMutablePointer<UInt64>?
) -> Int32 {
    let operation: StaticString = "irqmux_function_region_read"
    return onFunction(mux, function, operation) { (mux, served) throws(MuxError) in
        // SAFETY: the caller's to be written, who waits.
        guard let value = unsafe value else { throw Refusal.pointer(operation) }
        let access = RegionAccess(region: region, offset: offset, width: Int(width))
        unsafe value.pointee = try served.function!.read(access, on: &mux)
    }
}

@c @implementation
public func irqmux_function_region_write(
    _ mux: irqmux_mux, _ function: irqmux_function, _ region: UInt32, _ offset: UInt64, _ width: UInt32,
    _ value: UInt64
) -> Int32 {
    onFunction(mux, function, "irqmux_function_region_write") { (mux, served) throws(MuxError) in
        let access = RegionAccess(region: region, offset: offset, width: Int(width))
        try served.function!.write(access, value, on: &mux)
    }
}

@c @implementation
public func irqmux_function_watch(
    _ mux: irqmux_mux, _ function: irqmux_function, _ region: UInt32, _ offset: UInt64, _ length: UInt64
) -> Int32 {
    let operation: StaticString = "irqmux_function_watch"
    return onFunction(mux, function, operation) { (_, served) throws(MuxError) in
        let overlay = RegionOverlay(.watched, region: region, offset: offset, length: length)
        // Only BARs have ioeventfds.
        guard region <= 5 else { throw Refusal.value(operation, "BARs are 0 to 5") }
        do throws(OverlayError) { try served.function!.traps.add(overlay) } catch {
            switch error {
            case .noRegion: throw Refusal.value(operation, "the device has no such BAR")
            case .outside: throw Refusal.value(operation, "watch one byte at least, and none outside of the BAR")
            case .overlaps:
                throw MuxError(
                    operation, errno: EEXIST, remedy: "leave out the table, the pending bits and what is watched")
            }
        }
    }
}

@c @implementation
public func irqmux_function_mapped(
    _ mux: irqmux_mux, _ function: irqmux_function, _ region: UInt32, _ space: UInt32, _ address: UInt64
) -> Int32 {
    let operation: StaticString = "irqmux_function_mapped"
    return onFunction(mux, function, operation) { (mux, served) throws(MuxError) in
        guard region <= 5 else { throw Refusal.value(operation, "BARs are 0 to 5") }
        let place: DoorbellAddress.Place?
        switch Int(space) {
        case IRQMUX_SPACE_NOWHERE: place = nil
        case IRQMUX_SPACE_MEMORY: place = .memory(address)
        case IRQMUX_SPACE_PORTS:
            guard let port = UInt16(exactly: address) else { throw Refusal.value(operation, "ports are below 65536") }
            place = .port(port)
        default: throw Refusal.value(operation, "space is an IRQMUX_SPACE_*")
        }
        try served.function!.mapped(region: region, at: place, on: &mux)
    }
}

@c @implementation
public func irqmux_functions_reset(
    _ mux: irqmux_mux, _ functions: UnsafePointer<irqmux_function>?, _ count: UInt32,
    _ carryOut: (@convention(c) (UnsafeMutableRawPointer?) -> Int32)?, _ context: UnsafeMutableRawPointer?
) -> Int32 {
    let operation: StaticString = "irqmux_functions_reset"
    return onMux(mux, operation) { (mux, instance) throws(MuxError) in
        // SAFETY: the caller's array of `count` handles, who waits.
        guard let functions = unsafe functions else { throw Refusal.pointer(operation) }
        // One of them twice would be more than a mux has devices, so a longer array is not read to its end.
        guard 1...255 ~= count else { throw Refusal.value(operation, "reset one function at least, each once") }
        var all: [ServedDevice] = []
        for place in 0..<Int(count) {
            // SAFETY: as above.
            let next = try instance.function(unsafe functions[place], operation)
            guard !all.contains(where: { $0 === next }) else {
                throw Refusal.value(operation, "reset one function at least, each once")
            }
            all.append(next)
        }
        try reset(all, from: 0, on: &mux) { (mux) throws(MuxError) in
            // SAFETY: function and context are the caller's, who waits.
            guard let carryOut = unsafe carryOut else {
                for served in all { try mux.reset(served.device) }
                return
            }
            // SAFETY: as above.
            let result = unsafe carryOut(context)
            guard result < 0 else { return }
            throw MuxError(operation, errno: result == .min ? EINVAL : -result, remedy: "the VMM's own reset refused")
        }
        return 0
    }
}

@c @implementation
public func irqmux_function_repair(_ mux: irqmux_mux, _ function: irqmux_function) -> Int32 {
    onFunction(mux, function, "irqmux_function_repair") { (mux, served) throws(MuxError) in
        try served.function!.repair(on: &mux)
    }
}

@c @implementation
public func irqmux_function_retry(_ mux: irqmux_mux, _ function: irqmux_function) -> Int32 {
    onFunction(mux, function, "irqmux_function_retry") { (mux, served) throws(MuxError) in
        served.function!.retry(on: &mux)
    }
}

@c @implementation
public func irqmux_function_vector(
    _ mux: irqmux_mux, _ function: irqmux_function, _ index: UInt32, _ number: UInt32,
    _ vector: UnsafeMutablePointer<irqmux_vector>?
) -> Int32 {
    let operation: StaticString = "irqmux_function_vector"
    return onFunction(mux, function, operation) { (mux, served) throws(MuxError) in
        // SAFETY: the caller's to be written, who waits.
        guard let vector = unsafe vector else { throw Refusal.pointer(operation) }
        let wanted = Vector(try irqIndex(index, operation), number)
        guard let found = CIRQMux.vector(wanted, of: &served.function!) else {
            throw MuxError(operation, errno: ENOENT, remedy: "the guest does not use it")
        }
        unsafe vector.pointee = irqmux_vector(found)
    }
}

@c @implementation
public func irqmux_function_report_read(
    _ mux: irqmux_mux, _ function: irqmux_function, _ report: UnsafeMutablePointer<irqmux_function_report>?
) -> Int32 {
    let operation: StaticString = "irqmux_function_report_read"
    return onFunction(mux, function, operation) { (mux, served) throws(MuxError) in
        var told = irqmux_function_report()
        tell(&told, of: &served.function!)
        // SAFETY: the caller's to be written, by its size.
        try unsafe give(report, MemoryLayout<irqmux_function_report>.size, &told, operation)
    }
}
