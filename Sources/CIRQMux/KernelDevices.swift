// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation

public import CIRQMuxHeader
internal import CKernel
internal import IRQMux
internal import InterruptModel
internal import VFIO

#if !hasFeature(Embedded)
    internal import VFIOUser
#endif

@c @implementation
public func irqmux_device_adopt(
    _ mux: irqmux_mux, _ number: Int32, _ flags: UInt32, _ device: UnsafeMutablePointer<irqmux_device>?
) -> Int32 {
    let operation: StaticString = "irqmux_device_adopt"
    return onMux(mux, operation) { (mux, _) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let device = unsafe device else { throw Refusal.pointer(operation) }
        guard flags & ~UInt32(IRQMUX_ADOPT_TAKE) == 0 else {
            throw Refusal.value(operation, "the only flag is IRQMUX_ADOPT_TAKE")
        }
        try checkRoom(mux, operation)
        let adopted: VFIODevice
        do throws(VFIOError) {
            adopted = try VFIODevice(adopting: number, flags == 0 ? .borrowed : .taken)
        } catch { throw MuxError(error.deviceError) }
        // SAFETY: the caller's to be written.
        unsafe device.pointee = irqmux_device(try mux.attach(adopted))
        return 0
    }
}

@c @implementation
public func irqmux_device_open(
    _ mux: irqmux_mux, _ name: UnsafePointer<CChar>?, _ device: UnsafeMutablePointer<irqmux_device>?
) -> Int32 {
    let operation: StaticString = "irqmux_device_open"
    return onMux(mux, operation) { (mux, _) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let name = unsafe name, let device = unsafe device else { throw Refusal.pointer(operation) }
        // SAFETY: the caller's NUL-terminated text, of which as much is read as a name can have.
        if let path = unsafe socketPath(name) {
            try checkRoom(mux, operation)
            unsafe device.pointee = irqmux_device(try attachServed(path, to: &mux, operation))
            return 0
        }
        guard let named = unsafe deviceName(name) else {
            throw Refusal.value(
                operation, "a device is a PCI address such as 0000:01:00.0, mdev:UUID, or vfio-user:PATH")
        }
        try checkRoom(mux, operation)
        let opened: VFIODevice
        do throws(VFIOError) { opened = try VFIODevice.open(named) } catch { throw MuxError(error.deviceError) }
        // SAFETY: the caller's to be written.
        unsafe device.pointee = irqmux_device(try mux.attach(opened))
        return 0
    }
}

/// Room is looked for before a device is opened, which may reset it.
func checkRoom(_ mux: borrowing Mux, _ operation: StaticString) throws(MuxError) {
    guard mux.hasRoomForDevice else {
        throw MuxError(operation, errno: ENOSPC, remedy: "make the mux with more devices")
    }
}

/// The path in "vfio-user:PATH"; `nil` for another kind of name.
private func socketPath(_ name: UnsafePointer<CChar>) -> UnsafePointer<CChar>? {
    let prefix: StaticString = "vfio-user:"
    // SAFETY: neither text is read beyond its NUL, which ends a name that is shorter than the prefix.
    return unsafe strncmp(name, text(prefix), prefix.utf8CodeUnitCount) == 0
        ? name + prefix.utf8CodeUnitCount : nil
}

/// Connects to the device that is served at a socket.
private func attachServed(
    _ path: UnsafePointer<CChar>, to mux: inout Mux, _ operation: StaticString
) throws(MuxError) -> DeviceID {
    #if hasFeature(Embedded)
        throw MuxError(operation, errno: EOPNOTSUPP, remedy: "libirqmux.a has no vfio-user: link with libirqmux.so")
    #else
        // SAFETY: the caller's text; no more of it is read than a socket's path can have.
        guard unsafe 1..<108 ~= strnlen(path, 108) else {
            throw Refusal.value(operation, "the path of a socket has 1 to 107 bytes")
        }
        let opened: VFIOUserDevice
        // SAFETY: as above.
        do throws(VFIOUserError) { opened = try VFIOUserDevice(path: unsafe String(cString: path)) } catch {
            throw MuxError(DeviceError(error))
        }
        return try mux.attach(opened)
    #endif
}

private func deviceName(_ text: UnsafePointer<CChar>) -> VFIODeviceName? {
    let longest = 64
    var bytes: [UInt8] = []
    bytes.reserveCapacity(longest)
    for place in 0..<longest {
        // SAFETY: nothing is read beyond the text's NUL.
        let byte = unsafe UInt8(bitPattern: text[place])
        if byte == 0 { return deviceName(bytes) }
        bytes.append(byte)
    }
    return nil
}

private func deviceName(_ bytes: [UInt8]) -> VFIODeviceName? {
    let prefix: [UInt8] = [0x6d, 0x64, 0x65, 0x76, 0x3a]  // "mdev:"
    if bytes.starts(with: prefix) { return UUIDBytes(parsing: bytes.dropFirst(prefix.count)).map { .mdev($0) } }
    return PCIAddress(parsing: bytes).map { .pci($0) }
}
