// swift-format-ignore-file: AlwaysUseLowerCamelCase, AllPublicDeclarationsHaveDocumentation
public import CIRQMuxHeader
internal import CKernel
internal import IRQMux
internal import InterruptModel

// Configuration space as bytes: what it says of interrupts, and INTx's registers for a device of the VMM's own.

@c @implementation
public func irqmux_capabilities_parse(
    _ bytes: UnsafeRawPointer?, _ length: UInt64, _ capabilities: UnsafeMutablePointer<irqmux_capabilities>?
) -> Int32 {
    let operation: StaticString = "irqmux_capabilities_parse"
    return answer { () throws(MuxError) in
        // SAFETY: the caller's copy has `length` bytes, of which no more than configuration space has are read.
        guard let bytes = unsafe bytes else { throw Refusal.pointer(operation) }
        let copy = unsafe ConfigurationCopy(bytes, count: Int(clamping: length))
        let found = try copy.capabilities()
        // SAFETY: the caller's to be written, by its size.
        try unsafe tell(found, capabilities, operation)
        return 0
    }
}

@c @implementation
public func irqmux_capabilities_read(
    _ mux: irqmux_mux, _ device: irqmux_device, _ capabilities: UnsafeMutablePointer<irqmux_capabilities>?
) -> Int32 {
    let operation: StaticString = "irqmux_capabilities_read"
    return onMux(mux, operation, about: device.bits) { (mux, _) throws(MuxError) in
        let found = try mux.capabilities(of: try device.id(of: mux, operation))
        // SAFETY: the caller's to be written, by its size.
        try unsafe tell(found, capabilities, operation)
        return 0
    }
}

private func tell(
    _ found: PCICapabilities, _ capabilities: UnsafeMutablePointer<irqmux_capabilities>?, _ operation: StaticString
) throws(MuxError) {
    // SAFETY: static texts, in a struct of this version that `give` hands over.
    var told = unsafe irqmux_capabilities()
    unsafe told.vendor = UInt32(found.vendor)
    unsafe told.device = UInt32(found.device)
    unsafe told.header_type = UInt32(found.headerType)
    unsafe told.pin = UInt32(found.interruptPin)
    if let msi = found.msi { unsafe fill(&told, msi) }
    if let msix = found.msix { unsafe fill(&told, msix) }
    if let express = found.express {
        unsafe told.found |= UInt32(IRQMUX_HAS_EXPRESS) | (express.resetsFunction ? UInt32(IRQMUX_HAS_RESET) : 0)
        unsafe told.express_offset = UInt32(express.offset)
    }
    if let errors = found.errorReporting {
        unsafe told.found |= UInt32(IRQMUX_HAS_ERROR_REPORTING)
        unsafe told.error_reporting_offset = UInt32(errors.offset)
    }
    if let functions = found.virtualFunctions {
        unsafe told.found |= UInt32(IRQMUX_HAS_VIRTUAL_FUNCTIONS)
        unsafe told.virtual_functions_offset = UInt32(functions.offset)
    }
    let fault = found.standardFault ?? found.extendedFault
    // SAFETY: as above.
    unsafe told.fault_offset = UInt32(fault?.offset ?? 0)
    unsafe told.fault = text(fault?.kind.text ?? "")
    // SAFETY: as the caller says.
    try unsafe give(capabilities, MemoryLayout<irqmux_capabilities>.size, &told, operation)
}

private func fill(_ told: inout irqmux_capabilities, _ msi: MSICapability) {
    // SAFETY: plain numbers of a struct that holds a pointer, which is not followed.
    unsafe told.found |= UInt32(IRQMUX_HAS_MSI)
    unsafe told.msi_offset = UInt32(msi.offset)
    unsafe told.msi_length = UInt32(msi.length)
    unsafe told.msi_vectors = msi.vectors
    if msi.is64Bit { unsafe told.msi_flags |= UInt32(IRQMUX_MSI_64BIT) }
    if msi.hasMasks { unsafe told.msi_flags |= UInt32(IRQMUX_MSI_MASKABLE) }
}

private func fill(_ told: inout irqmux_capabilities, _ msix: MSIXCapability) {
    // SAFETY: as above.
    unsafe told.found |= UInt32(IRQMUX_HAS_MSIX)
    unsafe told.msix_offset = UInt32(msix.offset)
    unsafe told.msix_vectors = msix.vectors
    unsafe told.table_bar = UInt32(msix.table.bar)
    unsafe told.table_offset = msix.table.offset
    unsafe told.table_length = msix.tableLength
    unsafe told.pending_bar = UInt32(msix.pending.bar)
    unsafe told.pending_offset = msix.pending.offset
    unsafe told.pending_length = msix.pendingLength
}

// MARK: - INTx's registers

/// The registers of a caller's struct, and the struct as this version has it.
private func takeRegisters(
    _ from: UnsafePointer<irqmux_intx_registers>?, _ operation: StaticString
) throws(MuxError) -> INTxRegisters {
    var given = irqmux_intx_registers()
    // SAFETY: one of this version, filled from the caller's by its size.
    try unsafe take(&given, MemoryLayout<irqmux_intx_registers>.size, from, operation)
    guard given.pin <= 4, given.line <= 255, given.disabled <= 1, given.asserted <= 1 else {
        throw Refusal.value(operation, "a register has a value that it cannot have")
    }
    var registers = INTxRegisters(pin: UInt8(truncatingIfNeeded: given.pin))
    _ = registers.write(offset: 0x05, width: 1, value: UInt64(given.disabled) << 2)
    _ = registers.write(offset: 0x3C, width: 1, value: UInt64(given.line))
    _ = registers.setAsserted(given.asserted != 0)
    return registers
}

/// Changes a caller's registers; what became of the pin.
@inline(never)
private func change(
    _ caller: UnsafeMutablePointer<irqmux_intx_registers>?, _ operation: StaticString,
    _ body: (inout INTxRegisters) -> PinLevels.Change
) -> Int32 {
    answer { () throws(MuxError) in
        // SAFETY: the caller's, read and written by its size.
        var registers = try unsafe takeRegisters(caller, operation)
        let change = body(&registers)
        var told = irqmux_intx_registers()
        told.pin = UInt32(registers.pin)
        told.disabled = registers.isDisabled ? 1 : 0
        told.asserted = registers.isAsserted ? 1 : 0
        told.line = UInt32(registers.line)
        try unsafe give(caller, MemoryLayout<irqmux_intx_registers>.size, &told, operation)
        switch change {
        case .none: return Int32(IRQMUX_PIN_STAYS)
        case .rises: return Int32(IRQMUX_PIN_RISES)
        case .falls: return Int32(IRQMUX_PIN_FALLS)
        }
    }
}

private func checkWidth(_ width: UInt32, _ operation: StaticString) throws(MuxError) {
    guard 1...8 ~= width else { throw Refusal.value(operation, "an access has 1 to 8 bytes") }
}

@c @implementation
public func irqmux_intx_registers_read(
    _ registers: UnsafePointer<irqmux_intx_registers>?, _ offset: UInt64, _ width: UInt32,
    _ value: UnsafeMutablePointer<UInt64>?
) -> Int32 {
    let operation: StaticString = "irqmux_intx_registers_read"
    return answer { () throws(MuxError) in
        // SAFETY: the caller's to be read and written.
        guard let value = unsafe value else { throw Refusal.pointer(operation) }
        try checkWidth(width, operation)
        let known = try unsafe takeRegisters(registers, operation)
        unsafe value.pointee = known.read(offset: offset, width: Int(width), over: value.pointee)
        return 0
    }
}

@c @implementation
public func irqmux_intx_registers_write(
    _ registers: UnsafeMutablePointer<irqmux_intx_registers>?, _ offset: UInt64, _ width: UInt32, _ value: UInt64
) -> Int32 {
    let operation: StaticString = "irqmux_intx_registers_write"
    do throws(MuxError) { try checkWidth(width, operation) } catch { return fail(error) }
    // SAFETY: the caller's.
    return unsafe change(registers, operation) { $0.write(offset: offset, width: Int(width), value: value) }
}

@c @implementation
public func irqmux_intx_registers_assert(
    _ registers: UnsafeMutablePointer<irqmux_intx_registers>?, _ asserted: UInt32
) -> Int32 {
    // SAFETY: the caller's.
    unsafe change(registers, "irqmux_intx_registers_assert") { $0.setAsserted(asserted != 0) }
}
