internal import CIRQMuxHeader
internal import CKernel
internal import IRQMux
internal import InterruptModel

/// A device whose function, or whose messages alone, are served to the guest. Belongs to the mux's thread.
final class ServedDevice {
    let device: DeviceID
    var msix: GuestMSIX?
    var msi: GuestMSI?
    var function: GuestFunction?
    /// The function's handle: a number that no other function of this mux ever has; 0 without one.
    var functionBits: UInt64 = 0

    init(_ device: DeviceID) { self.device = device }
}

extension InstanceRef {
    /// The device's place among those served; `nil` when it is not.
    func served(_ device: DeviceID) -> ServedDevice? {
        // SAFETY: on the mux's thread.
        unsafe at.pointee.served.first { $0.device == device }
    }

    /// The device, and what was served of it, is gone.
    func forget(_ device: DeviceID) {
        // SAFETY: on the mux's thread.
        guard let place = unsafe at.pointee.served.firstIndex(where: { $0.device == device }) else { return }
        _ = unsafe at.pointee.served.remove(at: place)
    }

    func served(_ device: irqmux_device, on mux: borrowing Mux, _ operation: StaticString) throws(MuxError)
        -> ServedDevice
    {
        guard let served = served(try device.id(of: mux, operation)) else { throw notServed(operation) }
        return served
    }
}

func notServed(_ operation: StaticString) -> MuxError {
    MuxError(operation, errno: ENODATA, remedy: "serve the device's messages first: irqmux_messages_serve")
}

extension ServedDevice {
    func serveMSIX(_ config: irqmux_messages_config, _ requester: UInt32?, on mux: borrowing Mux) throws(MuxError) {
        msix = try GuestMSIX(
            device, vectors: config.vectors > 0 ? config.vectors : nil, requester: requester, on: mux)
    }

    func serveMSI(
        _ config: irqmux_messages_config, _ requester: UInt32?, on mux: borrowing Mux, _ operation: StaticString
    ) throws(MuxError) {
        let vectors = config.vectors
        guard 1...32 ~= vectors, vectors & (vectors - 1) == 0, let next = UInt8(exactly: config.next) else {
            throw Refusal.value(operation, "MSI has 1, 2, 4, 8, 16 or 32 vectors, and offsets below 256")
        }
        let layout = MSIRegisters.Layout(
            vectors: vectors, is64Bit: config.flags & UInt32(IRQMUX_MSI_64BIT) != 0,
            isMaskable: config.flags & UInt32(IRQMUX_MSI_MASKABLE) != 0)
        msi = try GuestMSI(device, layout, next: next, requester: requester, on: mux)
    }

    func read(_ area: UInt32, _ offset: UInt64, _ width: UInt32, on mux: inout Mux, _ operation: StaticString)
        throws(MuxError) -> UInt64
    {
        let width = Int(width)
        switch area {
        case UInt32(IRQMUX_AREA_TABLE) where msix != nil: return msix!.readTable(offset: offset, width: width)
        case UInt32(IRQMUX_AREA_PENDING) where msix != nil:
            return msix!.readPending(offset: offset, width: width, on: &mux)
        case UInt32(IRQMUX_AREA_CONTROL) where msix != nil:
            return Self.readControl(offset, width, of: &msix!)
        case UInt32(IRQMUX_AREA_MSI) where msi != nil:
            return UInt64(msi!.read(offset: Int(clamping: offset), width: width, on: &mux))
        case 0...UInt32(IRQMUX_AREA_MSI): throw notServed(operation)
        default: throw Refusal.value(operation, "area is an IRQMUX_AREA_*")
        }
    }

    func write(
        _ area: UInt32, _ offset: UInt64, _ width: UInt32, _ value: UInt64, on mux: inout Mux, _ operation: StaticString
    ) throws(MuxError) {
        let width = Int(width)
        switch area {
        case UInt32(IRQMUX_AREA_TABLE) where msix != nil:
            msix!.writeTable(offset: offset, width: width, value, on: &mux)
        case UInt32(IRQMUX_AREA_PENDING) where msix != nil: break
        case UInt32(IRQMUX_AREA_CONTROL) where msix != nil:
            Self.writeControl(offset, width, value, of: &msix!, on: &mux)
        case UInt32(IRQMUX_AREA_MSI) where msi != nil:
            msi!.write(offset: Int(clamping: offset), width: width, UInt32(truncatingIfNeeded: value), on: &mux)
        case 0...UInt32(IRQMUX_AREA_MSI): throw notServed(operation)
        default: throw Refusal.value(operation, "area is an IRQMUX_AREA_*")
        }
    }

    /// Resets, retries or repairs what is served of an index.
    func perform(_ what: UInt32, _ index: IRQIndex, on mux: inout Mux, _ operation: StaticString) throws(MuxError) {
        let isMSIX = index == .msix
        guard isMSIX ? msix != nil : msi != nil else { throw notServed(operation) }
        switch what {
        case UInt32(IRQMUX_MESSAGES_RESET): isMSIX ? msix!.reset(on: &mux) : msi!.reset(on: &mux)
        case UInt32(IRQMUX_MESSAGES_RETRY): isMSIX ? msix!.retry(on: &mux) : msi!.retry(on: &mux)
        case UInt32(IRQMUX_MESSAGES_REPAIR):
            if isMSIX { try msix!.repair(on: &mux) } else { try msi!.repair(on: &mux) }
        default: throw Refusal.value(operation, "what is an IRQMUX_MESSAGES_*")
        }
    }

    func report(_ index: IRQIndex, _ operation: StaticString) throws(MuxError) -> (GuestMessageReport, Bool) {
        if index == .msix, msix != nil { return Self.report(of: &msix!) }
        if index == .msi, msi != nil { return Self.report(of: &msi!) }
        throw notServed(operation)
    }

    // By inout: looking at a noncopyable value through an Optional of a class would consume it.

    private static func readControl(_ offset: UInt64, _ width: Int, of guest: inout GuestMSIX) -> UInt64 {
        guest.table.readMessageControl(at: Int(clamping: offset), width: width)
    }

    private static func writeControl(
        _ offset: UInt64, _ width: Int, _ value: UInt64, of guest: inout GuestMSIX, on mux: inout Mux
    ) {
        let place = Int(clamping: offset)
        guard let control = guest.table.messageControl(writing: value, at: place, width: width) else { return }
        guest.writeMessageControl(control, on: &mux)
    }

    private static func vectors(of guest: inout GuestMSIX) -> UInt32 { guest.table.count }

    private static func registers(of guest: inout GuestMSI) -> MSIRegisters { guest.registers }

    private static func isReset(_ guest: inout GuestMSIX) -> Bool { !guest.table.isEnabled && guest.table.inUse == 0 }

    private static func isReset(_ guest: inout GuestMSI) -> Bool {
        !guest.registers.isEnabled && guest.registers.inUseBits == 0
    }

    private static func report(of guest: inout GuestMSIX) -> (GuestMessageReport, Bool) {
        (guest.report, guest.table.isEnabled)
    }

    private static func report(of guest: inout GuestMSI) -> (GuestMessageReport, Bool) {
        (guest.report, guest.registers.isEnabled)
    }

    private static func vector(_ number: UInt32, of guest: inout GuestMSIX) -> VectorID? { guest.vector(number) }

    private static func vector(_ number: UInt32, of guest: inout GuestMSI) -> VectorID? { guest.vector(number) }

    func vector(_ index: IRQIndex, _ number: UInt32, _ operation: StaticString) throws(MuxError) -> VectorID {
        let vector: VectorID?
        if index == .msix, msix != nil {
            vector = Self.vector(number, of: &msix!)
        } else if index == .msi, msi != nil {
            vector = Self.vector(number, of: &msi!)
        } else {
            throw notServed(operation)
        }
        guard let vector else { throw MuxError(operation, errno: ENOENT, remedy: "the guest does not use it") }
        return vector
    }

    func save(on mux: inout Mux) throws(MuxError) -> InterruptState {
        var state = InterruptState(msix: nil, msi: nil)
        if functionBits != 0 { try function!.save(into: &state, on: &mux) }
        if msix != nil { try msix!.save(into: &state, on: &mux) }
        if msi != nil { try msi!.save(into: &state, on: &mux) }
        return state
    }

    func load(_ state: borrowing InterruptState, on mux: inout Mux, _ operation: StaticString) throws(MuxError) {
        if functionBits != 0 { return try function!.load(copy state, on: &mux) }
        // Everything that loading the one would refuse is looked for before the other is touched.
        let vectors = msix == nil ? nil : Self.vectors(of: &msix!)
        let registers = msi == nil ? nil : Self.registers(of: &msi!)
        guard state.fits(msixVectors: vectors, msi: registers) else {
            throw MuxError(operation, errno: EINVAL, remedy: StateError.Reason.otherDevice.text)
        }
        guard state.line == nil else {
            throw MuxError(
                operation, errno: EINVAL, remedy: "the state has INTx: serve the whole function, irqmux_function_serve")
        }
        guard msix == nil || Self.isReset(&msix!), msi == nil || Self.isReset(&msi!) else {
            throw MuxError(operation, errno: EBUSY, remedy: "reset the registers first: IRQMUX_MESSAGES_RESET")
        }
        if msix != nil { try msix!.load(state, on: &mux) }
        if msi != nil { try msi!.load(state, on: &mux) }
    }
}
