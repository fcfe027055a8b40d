// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation

public import CIRQMuxHeader
internal import CKernel
internal import IRQMux
internal import InterruptModel

@c @implementation
public func irqmux_device_attach(
    _ mux: irqmux_mux, _ ops: UnsafePointer<irqmux_device_ops>?, _ context: UnsafeMutableRawPointer?,
    _ device: UnsafeMutablePointer<irqmux_device>?
) -> Int32 {
    let operation: StaticString = "irqmux_device_attach"
    return onMux(mux, operation) { (mux, _) throws(MuxError) in
        // SAFETY: only compared with null here.
        guard let device = unsafe device else { throw Refusal.pointer(operation) }
        // SAFETY: one of this version, filled from the caller's by its size.
        var given = irqmux_device_ops()
        try unsafe take(&given, MemoryLayout<irqmux_device_ops>.size, ops, operation)
        guard unsafe given.info != nil, unsafe given.set_irqs != nil else {
            throw Refusal.value(operation, "the table needs info and set_irqs")
        }
        // A refusal must not tell the device that it was let go, so room is looked for first.
        try checkRoom(mux, operation)
        // SAFETY: functions and context are the caller's, who keeps them until `released`; `device` is to be written.
        let id = try unsafe mux.attach(CallbackDevice(given, context))
        unsafe device.pointee = irqmux_device(id)
        return 0
    }
}

@c @implementation
public func irqmux_device_detach(
    _ mux: irqmux_mux, _ device: irqmux_device, _ account: UnsafeMutablePointer<irqmux_ledger>?
) -> Int32 {
    let operation: StaticString = "irqmux_device_detach"
    return onMux(mux, operation, about: device.bits) { (mux, instance) throws(MuxError) in
        let id = try device.id(of: mux, operation)
        // SAFETY: the caller's to be written; its size is looked at before anything is done.
        if let account = unsafe account {
            var none = irqmux_ledger()
            try unsafe give(account, MemoryLayout<irqmux_ledger>.size, &none, operation)
        }
        let ledger = try mux.detach(id)
        instance.forget(id)
        if let account = unsafe account { try unsafe tell(ledger, account, operation) }
        return 0
    }
}

@c @implementation
public func irqmux_device_info(
    _ mux: irqmux_mux, _ device: irqmux_device, _ index: UInt32, _ info: UnsafeMutablePointer<irqmux_irq_info>?
) -> Int32 {
    let operation: StaticString = "irqmux_device_info"
    return onMux(mux, operation, about: device.bits) { (mux, _) throws(MuxError) in
        let id = try device.id(of: mux, operation)
        let answer = try mux.interruptInfo(id, try irqIndex(index, operation))
        var told = irqmux_irq_info()
        told.index = index
        told.count = answer.count
        if answer.eventfd { told.flags |= UInt32(IRQMUX_IRQ_EVENTFD) }
        if answer.maskable { told.flags |= UInt32(IRQMUX_IRQ_MASKABLE) }
        if answer.automasked { told.flags |= UInt32(IRQMUX_IRQ_AUTOMASKED) }
        if answer.noResize { told.flags |= UInt32(IRQMUX_IRQ_NORESIZE) }
        // SAFETY: the caller's to be written, by its size.
        try unsafe give(info, MemoryLayout<irqmux_irq_info>.size, &told, operation)
        return 0
    }
}

func irqIndex(_ number: UInt32, _ operation: StaticString) throws(MuxError) -> IRQIndex {
    guard let index = IRQIndex(rawValue: number) else {
        throw Refusal.value(operation, "the index is IRQMUX_INTX to IRQMUX_REQ")
    }
    return index
}
