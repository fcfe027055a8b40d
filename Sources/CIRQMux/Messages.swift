// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation
public import CIRQMuxHeader
internal import CKernel
internal import IRQMux
internal import InterruptModel

@c @implementation
public func irqmux_messages_serve(
    _ mux: irqmux_mux, _ device: irqmux_device, _ config: UnsafePointer<irqmux_messages_config>?
) -> Int32 {
    let operation: StaticString = "irqmux_messages_serve"
    return onMux(mux, operation, about: device.bits) { (mux, instance) throws(MuxError) in
        let id = try device.id(of: mux, operation)
        var given = irqmux_messages_config()
        // SAFETY: one of this version, filled from the caller's by its size.
        try unsafe take(&given, MemoryLayout<irqmux_messages_config>.size, config, operation)
        let index = try messageIndex(given.index, operation)
        let served = instance.served(id) ?? ServedDevice(id)
        guard served.functionBits == 0 else {
            throw MuxError(operation, errno: EBUSY, remedy: "its whole function is served already")
        }
        guard index == .msix ? served.msix == nil : served.msi == nil else {
            throw MuxError(operation, errno: EBUSY, remedy: "it is served already: reset it instead")
        }
        let requester = given.flags & UInt32(IRQMUX_MESSAGES_REQUESTER) != 0 ? given.requester : nil
        if index == .msix {
            try served.serveMSIX(given, requester, on: mux)
        } else {
            try served.serveMSI(given, requester, on: mux, operation)
        }
        // SAFETY: on the mux's thread.
        if instance.served(id) == nil { unsafe instance.at.pointee.served.append(served) }
        return 0
    }
}

private func messageIndex(_ number: UInt32, _ operation: StaticString) throws(MuxError) -> IRQIndex {
    guard let index = IRQIndex(rawValue: number), index == .msix || index == .msi else {
        throw Refusal.value(operation, "index is IRQMUX_MSIX or IRQMUX_MSI")
    }
    return index
}

@c @implementation
public func irqmux_messages_read(
    _ mux: irqmux_mux, _ device: irqmux_device, _ area: UInt32, _ offset: UInt64, _ width: UInt32,
    _ value: UnsafeMutablePointer<UInt64>?
) -> Int32 {
    let operation: StaticString = "irqmux_messages_read"
    return onMux(mux, operation, about: device.bits) { (mux, instance) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let value = unsafe value else { throw Refusal.pointer(operation) }
        let served = try instance.served(device, on: mux, operation)
        let read = try served.read(area, offset, width, on: &mux, operation)
        // SAFETY: the caller's to be written.
        unsafe value.pointee = read
        return 0
    }
}

@c @implementation
public func irqmux_messages_write(
    _ mux: irqmux_mux, _ device: irqmux_device, _ area: UInt32, _ offset: UInt64, _ width: UInt32, _ value: UInt64
) -> Int32 {
    let operation: StaticString = "irqmux_messages_write"
    return onMux(mux, operation, about: device.bits) { (mux, instance) throws(MuxError) in
        let served = try instance.served(device, on: mux, operation)
        try served.write(area, offset, width, value, on: &mux, operation)
        return 0
    }
}

@c @implementation
public func irqmux_messages_do(_ mux: irqmux_mux, _ device: irqmux_device, _ index: UInt32, _ what: UInt32) -> Int32 {
    let operation: StaticString = "irqmux_messages_do"
    return onMux(mux, operation, about: device.bits) { (mux, instance) throws(MuxError) in
        let served = try instance.served(device, on: mux, operation)
        try served.perform(what, try messageIndex(index, operation), on: &mux, operation)
        return 0
    }
}

@c @implementation
public func irqmux_messages_report_read(
    _ mux: irqmux_mux, _ device: irqmux_device, _ report: UnsafeMutablePointer<irqmux_messages_report>?
) -> Int32 {
    let operation: StaticString = "irqmux_messages_report_read"
    return onMux(mux, operation, about: device.bits) { (mux, instance) throws(MuxError) in
        let served = try instance.served(device, on: mux, operation)
        var told = irqmux_messages_report()
        let size = MemoryLayout<irqmux_messages_report>.size
        // SAFETY: one of this version, filled from the caller's by its size, and given back so.
        try unsafe take(&told, size, report, operation)
        let index = try messageIndex(told.index, operation)
        let (known, isEnabled) = try served.report(index, operation)
        told.enabled = isEnabled ? 1 : 0
        told.last_error = -(known.lastError?.errno ?? 0)
        told.refusals = known.refusals
        told.regrowths = known.regrowths
        told.short_answers = known.shortAnswers
        told.kicks = known.kicks
        told.repairs = known.repairs
        // SAFETY: as above.
        try unsafe give(report, size, &told, operation)
        return 0
    }
}

@c @implementation
public func irqmux_messages_vector(
    _ mux: irqmux_mux, _ device: irqmux_device, _ index: UInt32, _ number: UInt32,
    _ vector: UnsafeMutablePointer<irqmux_vector>?
) -> Int32 {
    let operation: StaticString = "irqmux_messages_vector"
    return onMux(mux, operation, about: device.bits) { (mux, instance) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let vector = unsafe vector else { throw Refusal.pointer(operation) }
        let served = try instance.served(device, on: mux, operation)
        let found = try served.vector(try messageIndex(index, operation), number, operation)
        // SAFETY: the caller's to be written.
        unsafe vector.pointee = irqmux_vector(found)
        return 0
    }
}
