internal import CKernel

/// An IOMMU group: the devices that the IOMMU cannot keep apart, and that therefore go to one owner. Closes with its
/// scope; only one process can have it open.
///
/// Source: Documentation/driver-api/vfio.rst; since Linux 3.6.
@frozen public struct VFIOGroup: ~Copyable, Sendable {
    /// What a group is fit for.
    public struct Status: Equatable, Sendable {
        /// Every device of the group is bound to VFIO, or to no driver at all.
        public var isViable: Bool
        /// It is in a container.
        public var isInContainer: Bool
    }

    /// The file descriptor. Valid as long as this owner lives.
    public let number: Int32
    /// The group's number, as under `/sys/kernel/iommu_groups`.
    public let id: UInt32

    /// Opens `/dev/vfio/ID`.
    ///
    /// - Throws: `ENOENT` when no device of the group is bound to VFIO; `EBUSY` when somebody has it open; `EACCES`.
    public init(_ id: UInt32) throws(VFIOError) {
        let opened = openNode(VFIODeviceName.path("/dev/vfio/", VFIODeviceName.decimal(id)))
        guard opened >= 0 else {
            let reason: VFIOError.Reason = opened == -ENOENT || opened == -ENXIO ? .notBound : .plain(-opened)
            throw VFIOError(.openGroup, errno: -opened, reason)
        }
        number = opened
        self.id = id
    }

    /// Takes over an open group. The caller must not close `number` afterwards.
    public init(owning number: Int32, id: UInt32) {
        self.number = number
        self.id = id
    }

    deinit { _ = irqmux_close(number) }

    /// Gives the descriptor up without closing it.
    consuming func release() -> Int32 {
        let number = number
        discard self
        return number
    }

    /// The number of the group that a device is in, from sysfs.
    ///
    /// - Throws: `ENODEV` when there is no such device; `ENOENT` when it is in no group.
    public static func id(of device: VFIODeviceName) throws(VFIOError) -> UInt32 {
        let directory = device.directory
        // SAFETY: the directory ends with NUL, and the wrapper only reads it.
        let found = unsafe directory.withUnsafeBufferPointer { unsafe irqmux_vfio_group_of($0.baseAddress) }
        if found >= 0 { return UInt32(found) }
        guard found == -ENOENT else { throw VFIOError(.findGroup, errno: -found, .plain(-found)) }
        guard exists(directory) else { throw VFIOError(.findGroup, errno: ENODEV, .noSuchDevice) }
        throw VFIOError(.findGroup, errno: ENOENT, .noIOMMU)
    }

    /// Whether the directory is there.
    static func exists(_ directory: [CChar]) -> Bool {
        // SAFETY: the directory ends with NUL. Opening one for writing answers EISDIR, and ENOENT without it.
        unsafe directory.withUnsafeBufferPointer { unsafe irqmux_vfio_open($0.baseAddress) } != -ENOENT
    }

    /// Whether the group is viable, and in a container.
    public func status() throws(VFIOError) -> Status {
        var status = vfio_group_status()
        status.argsz = UInt32(MemoryLayout<vfio_group_status>.size)
        // SAFETY: a whole struct that outlives the call.
        let result = unsafe irqmux_ioctl(number, irqmux_VFIO_GROUP_GET_STATUS, &status)
        guard result >= 0 else { throw VFIOError(.groupStatus, errno: -result, .plain(-result)) }
        return Status(
            isViable: status.flags & UInt32(VFIO_GROUP_FLAGS_VIABLE) != 0,
            isInContainer: status.flags & UInt32(VFIO_GROUP_FLAGS_CONTAINER_SET) != 0)
    }

    /// Opens one of the group's devices. The group must be in a container.
    ///
    /// - Parameter token: Of the physical function, where that is driven by VFIO too.
    /// - Throws: `ENODEV` when the group has no such device; `EACCES` when the physical function asks for a token, or
    ///   for another; `EBUSY` when somebody has it open.
    public func device(_ name: VFIODeviceName, token: UUIDBytes? = nil) throws(VFIOError) -> VFIODevice {
        try VFIODevice(owning: open(name, token: token), backing: .elsewhere)
    }

    func open(_ name: VFIODeviceName, token: UUIDBytes?) throws(VFIOError) -> Int32 {
        var text = name.text
        if let token {
            let key: StaticString = " vf_token="
            // SAFETY: a StaticString's text lives for ever.
            key.withUTF8Buffer { unsafe text.append(contentsOf: $0) }
            text.append(contentsOf: token.text)
        }
        text.append(0)
        // SAFETY: the name ends with NUL, and the kernel copies it.
        let opened = unsafe text.withUnsafeMutableBytes {
            unsafe irqmux_ioctl(number, irqmux_VFIO_GROUP_GET_DEVICE_FD, $0.baseAddress)
        }
        if opened >= 0 { return opened }
        let reason: VFIOError.Reason =
            switch opened {
            case -ENODEV: .noSuchDevice
            case -EACCES: .needsToken
            case -EINVAL: .notAttached
            default: .plain(-opened)
            }
        throw VFIOError(.openDevice, errno: -opened, reason)
    }
}
