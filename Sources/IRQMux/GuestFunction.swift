internal import CKernel
internal import EventRing
public import InterruptModel

/// The interrupts of a PCI function as its guest reaches them: what a VMM calls for each access to configuration space
/// and each trapped access to a BAR.
///
///     var function = try GuestFunction(device, line: service, on: &mux)
///     function.writeConfiguration(offset, width: 2, value, on: &mux)
///     try function.write(RegionAccess(region: 4, offset: offset, width: 4), value, on: &mux)
///
/// What the device has is read from it. MSI-X and MSI are `GuestMSIX` and `GuestMSI`; INTx is connected and served
/// while neither is enabled, because a function interrupts in one way at a time; DisINTx goes to the device in the
/// order that loses no level. Everything else, in configuration space and in the BARs, is the device's.
///
/// Belongs to the mux's thread. Accesses that no overlay has a part in (`traps.isPlain`) a VMM may serve on any
/// thread, past this; not those that have to come after writes of a register that the loop makes
/// (`RegisterShortcutOptions.loopRegisters`).
public struct GuestFunction: ~Copyable {
    /// The region of configuration space, `VFIO_PCI_CONFIG_REGION_INDEX`.
    public static let configurationRegion: UInt32 = 7

    /// What the device says of itself in configuration space.
    public let capabilities: PCICapabilities
    /// Pin and DisINTx. The status bit is the device's own.
    public internal(set) var registers: INTxRegisters
    /// INTx, while it is connected.
    public internal(set) var line: Optional<VectorID>
    /// Overlays over the regions: the table and the pending bits, and what the owner adds.
    public var traps: RegionTraps
    /// The last thing that was refused of INTx. What was refused of messages is in `report`.
    public internal(set) var lineError: Optional<MuxError>

    let device: DeviceID
    let msix: FunctionPart<GuestMSIX>?
    let msi: FunctionPart<GuestMSI>?
    let shortcuts: RegisterShortcuts
    private let service: INTxService?
    private let choice: INTxChoice?

    /// Serves a function, as after a reset: INTx is connected, where it has a pin; messages are off.
    ///
    /// - Parameters:
    ///   - device: A device of this mux, with nothing connected but ERR and REQ.
    ///   - service: How INTx is served; without it the function has no INTx for its guest.
    ///   - choice: What `INTxWay.best` answered.
    ///   - requester: As for `GuestMSIX`.
    ///   - options: When registers in watched ranges (`traps`) are taken past the VMM; where they are tells `mapped`.
    /// - Throws: What the device says of its configuration space and regions; `EINVAL` where its capabilities
    ///   contradict themselves; as `GuestMSIX.init`, `Mux.connect` and `Mux.serve`.
    public init(
        _ device: DeviceID, line service: INTxService? = nil, because choice: INTxChoice? = nil,
        requester: UInt32? = nil, shortcuts options: RegisterShortcutOptions = RegisterShortcutOptions(),
        on mux: inout Mux
    ) throws(MuxError) {
        let attached = try mux.locate(device)
        let found = try attached.capabilities()
        do throws(CapabilityFault) { try found.requireSound() } catch { throw Self.contradiction }
        let shortcuts = try RegisterShortcuts(options)
        var traps = RegionTraps(sizes: try attached.regionSizes(), threshold: options.threshold)
        var msix: FunctionPart<GuestMSIX>?
        var msi: FunctionPart<GuestMSI>?
        if let table = found.msix {
            do throws(OverlayError) { try traps.add(table) } catch { throw Self.contradiction }
            msix = FunctionPart(try GuestMSIX(device, vectors: table.vectors, requester: requester, on: mux))
        }
        if let messages = found.msi {
            let layout = MSIRegisters.Layout(
                vectors: messages.vectors, is64Bit: messages.is64Bit, isMaskable: messages.hasMasks)
            let next = try attached.read(Self.configurationRegion, UInt64(messages.offset) + 1, 1)
            msi = FunctionPart(
                try GuestMSI(device, layout, next: UInt8(truncatingIfNeeded: next), requester: requester, on: mux))
        }
        let line = try Self.connectLine(device, service, choice, pin: found.interruptPin, on: &mux)
        mux.endShortcuts(attached)
        attached.shortcuts = shortcuts
        // All at once: a value that cannot be copied cannot be half there when something throws.
        self.line = line
        lineError = nil
        self.traps = traps
        self.msix = msix
        self.msi = msi
        capabilities = found
        registers = INTxRegisters(pin: found.interruptPin)
        self.device = device
        self.shortcuts = shortcuts
        self.service = service
        self.choice = choice
    }

    static var contradiction: MuxError {
        MuxError("serving a function", errno: EINVAL, remedy: "its capabilities contradict themselves or its regions")
    }

    // MARK: What there is

    /// MSI-X as the guest sees it, where the function has it.
    public var table: MSIXTable? { msix?.value.table }

    /// What serving messages came to, of MSI-X and MSI together.
    public var report: GuestMessageReport {
        var report = msix?.value.report ?? GuestMessageReport()
        if let other = msi?.value.report { report.merge(other) }
        return report
    }

    /// The mux's vector that stands for one of the guest's; `nil` while there is none.
    public func vector(_ vector: Vector) -> VectorID? {
        switch vector.index {
        case .msix: msix?.value.vector(vector.number)
        case .msi: msi?.value.vector(vector.number)
        case .intx: vector.number == 0 ? line : nil
        case .err, .req: nil
        }
    }

    /// Asks again for what was refused: after a limit was raised, or another device gave vectors back.
    public mutating func retry(on mux: inout Mux) {
        msix?.value.retry(on: &mux)
        msi?.value.retry(on: &mux)
        learnEnded()
        traps.repeated.retry()
        reconnectLine(on: &mux)
    }

    // MARK: Configuration space

    /// The guest read configuration space: 1, 2 or 4 bytes, aligned. Anything else reads ones.
    ///
    /// - Throws: What the device says.
    public mutating func readConfiguration(_ offset: UInt64, width: Int, on mux: inout Mux) throws(MuxError) -> UInt64 {
        guard Self.isLegal(offset, width) else { return .max >> UInt64(64 - 8 * min(max(width, 0), 8)) }
        if let place = place(offset, in: capabilities.msi), let msi {
            return UInt64(msi.value.read(offset: place, width: width, on: &mux))
        }
        let attached = try mux.locate(device)
        mux.carryShortcuts(shortcuts, of: attached)
        let value = try attached.read(Self.configurationRegion, offset, width)
        guard let place = controlPlace(offset), let table = msix?.value.table else { return value }
        return table.readMessageControl(at: place, width: width, others: value)
    }

    /// The guest wrote configuration space: 1, 2 or 4 bytes, aligned; anything else is ignored. Carried out when this
    /// returns; what the host refused of interrupts is told by `report` and `lineError`, as the guest cannot be told.
    ///
    /// - Throws: What the device says.
    public mutating func writeConfiguration(
        _ offset: UInt64, width: Int, _ value: UInt64, on mux: inout Mux
    ) throws(MuxError) {
        guard Self.isLegal(offset, width) else { return }
        mux.carryShortcuts(shortcuts, of: try mux.locate(device))
        if let place = place(offset, in: capabilities.msi) {
            // Message control: the line goes before messages come.
            let low = place <= 2 && place + width > 2 ? value >> UInt64((2 - place) * 8) & 1 : 0
            if low != 0 { disconnectLine(on: &mux) }
            msi?.value.write(offset: place, width: width, UInt32(truncatingIfNeeded: value), on: &mux)
            return reconnectLine(on: &mux)
        }
        guard let place = controlPlace(offset),
            let control = msix?.value.table.messageControl(writing: value, at: place, width: width)
        else { return try writeThrough(offset, width, value, on: &mux) }
        if control & 0x8000 != 0 { disconnectLine(on: &mux) }
        msix?.value.writeMessageControl(control, on: &mux)
        reconnectLine(on: &mux)
    }

    private static func isLegal(_ offset: UInt64, _ width: Int) -> Bool {
        (width == 1 || width == 2 || width == 4) && offset & UInt64(width - 1) == 0
    }

    /// What is the device's own, DisINTx in the order that loses no level. A reset of the function by its guest is one
    /// of its interrupts as well.
    private mutating func writeThrough(
        _ offset: UInt64, _ width: Int, _ value: UInt64, on mux: inout Mux
    ) throws(MuxError) {
        let attached = try mux.locate(device)
        if resetsFunction(offset, width, value) { return try reset(on: &mux) }
        leaveUndecoded(offset, width, value, attached, on: &mux)
        defer { takeDecoded(offset, width, value, attached, on: &mux) }
        let wasDisabled = registers.isDisabled
        _ = registers.write(offset: offset, width: width, value: value)
        guard registers.isDisabled != wasDisabled, let line else {
            return try attached.write(Self.configurationRegion, offset, width, value)
        }
        var refusal: MuxError?
        try mux.passDisINTx(line, registers.isDisabled) {
            do throws(MuxError) { try attached.write(Self.configurationRegion, offset, width, value) } catch {
                refusal = error
            }
        }
        if let refusal { throw refusal }
    }

    /// Whether the guest asks for a function-level reset: the highest bit of Device Control, where the device can.
    private func resetsFunction(_ offset: UInt64, _ width: Int, _ value: UInt64) -> Bool {
        guard let express = capabilities.express, express.resetsFunction else { return false }
        let place = UInt64(express.offset) + 9
        guard offset <= place, place - offset < UInt64(width) else { return false }
        return value >> ((place - offset) * 8) & 0x80 != 0
    }

    /// Where an offset is, seen from MSI-X's message control.
    private func controlPlace(_ offset: UInt64) -> Int? {
        capabilities.msix.map { Int(truncatingIfNeeded: offset &- UInt64($0.offset) &- 2) }
    }

    private func place(_ offset: UInt64, in capability: MSICapability?) -> Int? {
        guard let capability, offset >= UInt64(capability.offset) else { return nil }
        let place = Int(clamping: offset - UInt64(capability.offset))
        return place < capability.length ? place : nil
    }

    // MARK: Regions

    /// The guest read a BAR.
    ///
    /// - Throws: What the device says of what is its own.
    public mutating func read(_ access: RegionAccess, on mux: inout Mux) throws(MuxError) -> UInt64 {
        let attached = try mux.locate(device)
        let msix = msix
        let shortcuts = shortcuts
        return try traps.read(access) { (target, part) throws(MuxError) -> UInt64 in
            switch target {
            case .overlay(.msixTable, let offset):
                return msix?.value.readTable(offset: offset, width: part.width) ?? .max
            case .overlay(.pendingBits, let offset):
                return msix?.value.readPending(offset: offset, width: part.width, on: &mux) ?? .max
            default:
                mux.carryShortcuts(shortcuts, of: attached)
                return try attached.read(part.region, part.offset, part.width)
            }
        }
    }

    /// The guest wrote a BAR. Carried out when this returns.
    ///
    /// A register in a watched range that the guest keeps writing the same way is taken past the VMM from then on.
    ///
    /// - Returns: Such a register where it is the owner's to install (`RegisterShortcutOptions.installs`): once each.
    /// - Throws: What the device says of what is its own.
    @discardableResult
    public mutating func write(
        _ access: RegionAccess, _ value: UInt64, on mux: inout Mux
    ) throws(MuxError) -> DoorbellRegister? {
        let attached = try mux.locate(device)
        let msix = msix
        let shortcuts = shortcuts
        if !shortcuts.ended.isEmpty { learnEnded() }
        let learnt = try traps.write(access, value: value) { (target, part, bits) throws(MuxError) in
            switch target {
            case .overlay(.msixTable, let offset):
                msix?.value.writeTable(offset: offset, width: part.width, bits, on: &mux)
            case .overlay(.pendingBits, _): break
            default:
                mux.carryShortcuts(shortcuts, of: attached)
                try attached.write(part.region, part.offset, part.width, bits)
            }
        }
        return learnt.flatMap { shorten($0, on: &mux) }
    }

    // MARK: The line

    /// Whether messages are on.
    public var isMessaging: Bool {
        (msix?.value.table.isEnabled ?? false) || (msi?.value.registers.isEnabled ?? false)
    }

    private static func connectLine(
        _ device: DeviceID, _ service: INTxService?, _ choice: INTxChoice?, pin: UInt8, on mux: inout Mux
    ) throws(MuxError) -> VectorID? {
        guard let service, pin != 0 else { return nil }
        let line = try mux.connect(device, .intx, 0..<1)[0]
        do throws(MuxError) { try mux.serve(line, by: service, because: choice) } catch {
            try? mux.disconnect(line)
            throw error
        }
        return line
    }

    mutating func reconnectLine(on mux: inout Mux) {
        guard line == nil, !isMessaging else { return }
        do throws(MuxError) {
            line = try Self.connectLine(device, service, choice, pin: registers.pin, on: &mux)
        } catch { lineError = error }
    }

    private mutating func disconnectLine(on mux: inout Mux) {
        guard line != nil else { return }
        line = nil
        do throws(MuxError) { try mux.disconnectAll(device, .intx) } catch { lineError = error }
    }
}

/// A part that a function may have. An object, because an optional value that cannot be copied cannot be looked at
/// either.
final class FunctionPart<Value: ~Copyable> {
    var value: Value

    init(_ value: consuming Value) { self.value = value }
}
