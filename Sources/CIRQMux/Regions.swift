// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation

public import CIRQMuxHeader
internal import CKernel
internal import IRQMux

@c @implementation
public func irqmux_device_reset(_ mux: irqmux_mux, _ device: irqmux_device) -> Int32 {
    let operation: StaticString = "irqmux_device_reset"
    return onMux(mux, operation, about: device.bits) { (mux, _) throws(MuxError) in
        try mux.reset(try device.id(of: mux, operation))
        return 0
    }
}

@c @implementation
public func irqmux_region_read(
    _ mux: irqmux_mux, _ device: irqmux_device, _ region: UInt32, _ offset: UInt64, _ width: UInt32,
    _ value: UnsafeMutablePointer<UInt64>?
) -> Int32 {
    let operation: StaticString = "irqmux_region_read"
    return onMux(mux, operation, about: device.bits) { (mux, _) throws(MuxError) in
        let id = try device.id(of: mux, operation)
        // SAFETY: only compared with null here.
        guard let value = unsafe value else { throw Refusal.pointer(operation) }
        let read = try mux.readRegion(id, region, offset: offset, count: try accessWidth(width, operation))
        // SAFETY: the caller's to be written.
        unsafe value.pointee = read
        return 0
    }
}

@c @implementation
public func irqmux_region_write(
    _ mux: irqmux_mux, _ device: irqmux_device, _ region: UInt32, _ offset: UInt64, _ width: UInt32, _ value: UInt64
) -> Int32 {
    let operation: StaticString = "irqmux_region_write"
    return onMux(mux, operation, about: device.bits) { (mux, _) throws(MuxError) in
        let id = try device.id(of: mux, operation)
        try mux.writeRegion(id, region, offset: offset, count: try accessWidth(width, operation), value: value)
        return 0
    }
}

private func accessWidth(_ width: UInt32, _ operation: StaticString) throws(MuxError) -> Int {
    guard width == 1 || width == 2 || width == 4 || width == 8 else {
        throw Refusal.value(operation, "an access has 1, 2, 4 or 8 bytes")
    }
    return Int(width)
}
