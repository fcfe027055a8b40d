// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation
public import CIRQMuxHeader
internal import CKernel
internal import IRQMux
internal import InterruptModel

@c @implementation
public func irqmux_state_save(
    _ mux: irqmux_mux, _ device: irqmux_device, _ state: UnsafeMutableRawPointer?, _ capacity: UInt64,
    _ length: UnsafeMutablePointer<UInt64>?
) -> Int32 {
    let operation: StaticString = "irqmux_state_save"
    return onMux(mux, operation, about: device.bits) { (mux, instance) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let length = unsafe length else { throw Refusal.pointer(operation) }
        let bytes = try instance.served(device, on: mux, operation).save(on: &mux).encoded
        // SAFETY: `length` is the caller's to be written, and `state` has room for `capacity` bytes.
        unsafe length.pointee = UInt64(bytes.count)
        guard let state = unsafe state else { return 0 }
        guard UInt64(bytes.count) <= capacity else {
            throw MuxError(operation, errno: ENOBUFS, remedy: "give room for as many bytes as length says")
        }
        for place in 0..<bytes.count { unsafe state.storeBytes(of: bytes[place], toByteOffset: place, as: UInt8.self) }
        return 0
    }
}

@c @implementation
public func irqmux_state_load(
    _ mux: irqmux_mux, _ device: irqmux_device, _ state: UnsafeRawPointer?, _ length: UInt64
) -> Int32 {
    let operation: StaticString = "irqmux_state_load"
    return onMux(mux, operation, about: device.bits) { (mux, instance) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let state = unsafe state else { throw Refusal.pointer(operation) }
        let served = try instance.served(device, on: mux, operation)
        // 2048 vectors are some hundred kilobytes; a length beyond this was never one of ours.
        guard let count = Int(exactly: length), count <= 1 << 24 else {
            throw Refusal.value(operation, "a state has at most 16 MiB")
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        // SAFETY: the caller's state has `length` bytes.
        for place in 0..<count { bytes.append(unsafe state.load(fromByteOffset: place, as: UInt8.self)) }
        let saved: InterruptState
        do throws(StateError) { saved = try InterruptState(decoding: bytes) } catch {
            throw MuxError(operation, errno: EINVAL, remedy: error.reason.text)
        }
        try served.load(saved, on: &mux, operation)
        return 0
    }
}
