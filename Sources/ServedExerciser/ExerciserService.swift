public import Exerciser
public import InterruptModel
public import VFIOUser

/// The software device, served: the Exerciser keeps its own state machine of interrupts.
///
///     let device = ExerciserService(try Exerciser(ExerciserConfiguration()))
///     let server = try Server(device, path: "/run/exerciser.sock")
///     try server.run()
///
/// Calls of `MediatedDevice` are the server's, one at a time; `exerciser` may be used from any thread meanwhile.
public final class ExerciserService: MediatedDevice {
    /// The device.
    public let exerciser: Exerciser
    /// The device's regions, as the protocol tells them. Those with doorbells are told by `doorbells` as well.
    public let regions: [RegionDescription]

    /// Makes a device for a `Server`.
    public init(_ exerciser: Exerciser) {
        self.exerciser = exerciser
        regions = (0..<RegionInfo.count).map { number in
            // The device describes every number that PCI has.
            RegionDescription(size: (try? exerciser.regionInfo(number))?.size ?? 0)
        }
    }

    /// None: the Exerciser has a state machine of its own.
    public var lines: InterruptLines? { nil }

    /// What the device says of `index`.
    public func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo { try exerciser.interruptInfo(index) }

    /// Carries out one SET_IRQS request.
    public func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        try exerciser.setInterrupts(request)
    }

    /// Disables everything that the client enabled, and lets its eventfds go.
    public func releaseInterrupts() {
        // One of the first three is enabled, or none; the device says EINVAL to the others.
        for index in [IRQIndex.intx, .msi, .msix] {
            _ = try? exerciser.setInterrupts(IRQRequest(index, .trigger, .none(count: 0)))
        }
        for index in [IRQIndex.err, .req] {
            _ = try? exerciser.setInterrupts(IRQRequest(index, .trigger, .eventfd([-1])))
        }
    }

    /// Splits the access into the widths that the device's registers take.
    public func read(region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let place = offset + UInt64(bytes.count)
            let width = Self.width(at: place, count - bytes.count)
            let value = try exerciser.readRegion(region, offset: place, count: width)
            for byte in 0..<width { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * UInt64(byte)))) }
        }
        return bytes
    }

    /// Splits the access into the widths that the device's registers take.
    public func write(region: UInt32, offset: UInt64, _ bytes: [UInt8]) throws(DeviceError) {
        var done = 0
        while done < bytes.count {
            let place = offset + UInt64(done)
            let width = Self.width(at: place, bytes.count - done)
            let value = bytes[done..<done + width].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            try exerciser.writeRegion(region, offset: place, count: width, value: value)
            done += width
        }
    }

    /// The widest access of at most four bytes that begins at `offset` and is aligned; an access as a whole where the
    /// client made one that the device might know.
    private static func width(at offset: UInt64, _ rest: Int) -> Int {
        if rest >= 4, offset % 4 == 0 { return 4 }
        if rest >= 2, offset % 2 == 0 { return 2 }
        return 1
    }

    /// Resets the device's function. Assignments stay.
    public func reset() throws(DeviceError) { try exerciser.reset() }

    /// A client that asks gets an eventfd for each doorbell, as many as it can receive with one message; a device that
    /// cannot make them has none to give.
    public func doorbells(region: UInt32) -> [Doorbell] {
        let served = (try? exerciser.regionEventFDs(region)) ?? []
        return served.map { Doorbell(descriptor: $0.descriptor, offset: $0.offset, size: $0.size) }
    }

    /// Stamps go to the memory that the client has mapped for the device.
    public func enabled(memory: ClientMemory) {
        exerciser.setMemory { address, sequence, time in
            var bytes: [UInt8] = []
            for number in [sequence, time] {
                for byte in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: number >> (8 * UInt64(byte)))) }
            }
            do throws(DeviceError) { try memory.write(address, bytes) } catch { return false }
            return true
        }
    }

    /// Stamps go nowhere until the next client.
    public func disabled() { exerciser.setMemory(nil) }
}
