internal import CKernel

/// `/dev/vfio/devices/vfioN` before it is a device: opened, and on its way to an iommufd. Closes with its scope.
struct VFIOCharacterDevice: ~Copyable {
    /// −1 once it was given up.
    private(set) var number: Int32

    /// Opens the character device of a device bound to VFIO.
    init(_ name: VFIODeviceName) throws(VFIOError) {
        let directory = name.directory
        // SAFETY: the directory ends with NUL, and the wrapper only reads it.
        let found = unsafe directory.withUnsafeBufferPointer { unsafe irqmux_vfio_cdev_of($0.baseAddress) }
        guard found >= 0 else {
            guard VFIOGroup.exists(directory) else {
                throw VFIOError(.findCharacterDevice, errno: ENODEV, .noSuchDevice)
            }
            throw VFIOError(.findCharacterDevice, errno: -found, found == -ENOENT ? .noCharacterDevice : .plain(-found))
        }
        let path = VFIODeviceName.path("/dev/vfio/devices/vfio", VFIODeviceName.decimal(UInt32(found)))
        let opened = openNode(path)
        guard opened >= 0 else {
            let reason: VFIOError.Reason = opened == -ENOENT ? .noCharacterDevice : .plain(-opened)
            throw VFIOError(.openCharacterDevice, errno: -opened, reason)
        }
        number = opened
    }

    deinit { if number >= 0 { _ = irqmux_close(number) } }

    consuming func release() -> Int32 {
        let given = number
        number = -1
        return given
    }

    /// Binds the device; until then it answers nothing else. Returns its number at the iommufd.
    ///
    /// - Parameter token: Needs Linux 6.18 (`VFIO_DEVICE_BIND_FLAG_TOKEN`).
    func bind(_ iommufd: borrowing IOMMUFD, token: UUIDBytes?) throws(VFIOError) -> UInt32 {
        var request = irqmux_vfio_bind_iommufd()
        request.argsz = UInt32(irqmux_VFIO_BIND_IOMMUFD_SIZE)
        request.iommufd = iommufd.number
        var token = token?.bytes ?? []
        let hasToken = !token.isEmpty
        if hasToken {
            request.argsz += 8
            request.flags = 1
        }
        // SAFETY: the token's bytes and the request live for the closures; the kernel reads what the flag says.
        let (result, id) = unsafe token.withUnsafeMutableBytes { bytes in
            request.token = hasToken ? UInt64(UInt(bitPattern: bytes.baseAddress)) : 0
            let result = unsafe irqmux_ioctl(number, irqmux_VFIO_DEVICE_BIND_IOMMUFD, &request)
            return (result, request.device_id)
        }
        guard result >= 0 else {
            let reason: VFIOError.Reason =
                switch result {
                case -EPERM: .noInterruptRemapping
                case -EACCES: .needsToken
                case -EINVAL where hasToken: .unsupported
                // The request is as it should be: somebody else has bound the device (every open succeeds).
                case -EINVAL: .inUse
                default: .plain(-result)
                }
            throw VFIOError(.bind, errno: -result, reason)
        }
        return id
    }

    /// Attaches the device to an address space of its iommufd.
    func attach(_ space: UInt32) throws(VFIOError) { try VFIODevice.attach(number, space) }
}

extension VFIODevice {
    /// Lets the device's DMA go through another address space of its iommufd, in one step.
    ///
    /// - Throws: `EINVAL` where the device came through a group, or cannot use that address space.
    public func attach(to space: IOMMUFD.AddressSpace) throws(VFIOError) {
        guard iommufdID != nil else { throw VFIOError(.attach, errno: EINVAL, .notAttached) }
        try Self.attach(number, space.id)
    }

    /// Takes the device out of its address space: its DMA goes nowhere.
    ///
    /// - Throws: `EINVAL` where the device came through a group.
    public func detach() throws(VFIOError) {
        guard iommufdID != nil else { throw VFIOError(.detach, errno: EINVAL, .notAttached) }
        var request = irqmux_vfio_detach_iommufd()
        request.argsz = UInt32(MemoryLayout<irqmux_vfio_detach_iommufd>.size)
        // SAFETY: a whole struct that outlives the call.
        let result = unsafe irqmux_ioctl(number, irqmux_VFIO_DEVICE_DETACH_IOMMUFD_PT, &request)
        guard result >= 0 else { throw VFIOError(.detach, errno: -result, .plain(-result)) }
    }

    static func attach(_ device: Int32, _ space: UInt32) throws(VFIOError) {
        var request = irqmux_vfio_attach_iommufd()
        request.argsz = UInt32(MemoryLayout<irqmux_vfio_attach_iommufd>.size)
        request.page_table_id = space
        // SAFETY: a whole struct that outlives the call.
        let result = unsafe irqmux_ioctl(device, irqmux_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &request)
        guard result >= 0 else {
            throw VFIOError(.attach, errno: -result, result == -EPERM ? .noInterruptRemapping : .plain(-result))
        }
    }
}
