internal import CIRQMuxHeader
internal import CKernel
internal import InterruptModel

/// A VMM's own device, as the table of functions that it gave.
@safe struct CallbackDevice: InterruptDevice, ~Copyable {
    private let ops: irqmux_device_ops
    private let context: UnsafeMutableRawPointer?

    init(_ ops: irqmux_device_ops, _ context: UnsafeMutableRawPointer?) {
        // SAFETY: functions and context belong together; the caller keeps them until `released` is called.
        self.ops = ops
        unsafe self.context = context
    }

    deinit {
        // SAFETY: as in init; this is the last call.
        unsafe ops.released?(context)
    }

    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo {
        var told = irqmux_irq_info()
        told.size = UInt32(MemoryLayout<irqmux_irq_info>.size)
        told.index = index.rawValue
        // SAFETY: as in init; `told` lives during the call.
        let result = unsafe ops.info(context, index.rawValue, &told)
        try Self.check(result, "GET_IRQ_INFO")
        func has(_ flag: Int) -> Bool { told.flags & UInt32(flag) != 0 }
        return IRQInfo(
            count: told.count, eventfd: has(IRQMUX_IRQ_EVENTFD), maskable: has(IRQMUX_IRQ_MASKABLE),
            automasked: has(IRQMUX_IRQ_AUTOMASKED), noResize: has(IRQMUX_IRQ_NORESIZE))
    }

    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        // SAFETY: a struct of plain numbers and addresses that are valid while the device's function runs.
        var set = unsafe irqmux_irq_set()
        unsafe set.size = UInt32(MemoryLayout<irqmux_irq_set>.size)
        unsafe set.index = request.index.rawValue
        unsafe set.action = request.action.rawValue
        unsafe set.start = request.start
        unsafe set.count = request.count
        let result: Int32
        switch request.data {
        case .none:
            // SAFETY: as in init.
            unsafe set.data = UInt32(IRQMUX_DATA_NONE)
            result = unsafe ops.set_irqs(context, &set)
        case .bool(let values):
            unsafe set.data = UInt32(IRQMUX_DATA_BOOL)
            result = unsafe values.withUnsafeBufferPointer { values in
                // SAFETY: as in init.
                unsafe set.bytes = values.baseAddress
                return unsafe ops.set_irqs(context, &set)
            }
        case .eventfd(let numbers):
            // SAFETY: as in init.
            unsafe set.data = UInt32(IRQMUX_DATA_EVENTFD)
            result = unsafe numbers.withUnsafeBufferPointer { numbers in
                unsafe set.eventfds = numbers.baseAddress
                return unsafe ops.set_irqs(context, &set)
            }
        }
        try Self.check(result, "SET_IRQS")
        return UInt32(result)
    }

    func reset() throws(DeviceError) {
        // SAFETY: as in init.
        guard let reset = unsafe ops.reset else { throw Self.missing("RESET") }
        try Self.check(unsafe reset(context), "RESET")
    }

    func regionInfo(_ number: UInt32) throws(DeviceError) -> RegionInfo {
        var bytes: UInt64 = 0
        // SAFETY: as in init; `bytes` lives during the call.
        if let size = unsafe ops.region_size {
            try Self.check(unsafe size(context, number, &bytes), "GET_REGION_INFO")
        }
        return RegionInfo(index: number, size: bytes, offset: 0)
    }

    func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        // SAFETY: as in init; `value` lives during the call.
        guard let read = unsafe ops.read_region else { throw Self.missing("read of a region") }
        var value: UInt64 = 0
        let result = unsafe read(context, region, offset, UInt32(truncatingIfNeeded: count), &value)
        try Self.check(result, "read of a region")
        return value
    }

    func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        // SAFETY: as in init.
        guard let write = unsafe ops.write_region else { throw Self.missing("write of a region") }
        let result = unsafe write(context, region, offset, UInt32(truncatingIfNeeded: count), value)
        try Self.check(result, "write of a region")
    }

    func raisedCount(_ vector: Vector) -> UInt64? {
        var count: UInt64 = 0
        // SAFETY: as in init; `count` lives during the call.
        guard let raised = unsafe ops.raised, unsafe raised(context, vector.index.rawValue, vector.number, &count) > 0
        else { return nil }
        return count
    }

    func lastSignalTime(_ vector: Vector) -> UInt64? {
        // SAFETY: as in init.
        guard let last = unsafe ops.last_signal else { return nil }
        let time = unsafe last(context, vector.index.rawValue, vector.number)
        return time == 0 ? nil : time
    }

    private static func check(_ result: Int32, _ operation: StaticString) throws(DeviceError) {
        guard result < 0 else { return }
        throw DeviceError(operation, errno: result == .min ? EINVAL : -result, remedy: "the VMM's own device refused")
    }

    private static func missing(_ operation: StaticString) -> DeviceError {
        DeviceError(operation, errno: EINVAL, remedy: "the device's table has no function for it")
    }
}
