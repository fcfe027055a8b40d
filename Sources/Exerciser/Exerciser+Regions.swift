internal import CKernel
public import InterruptModel
internal import Synchronization

/// The regions as a bus reaches them. docs/exerciser.md describes what stands where.
///
/// A bus knows no errors: within a region nothing is refused. Where nothing stands, zero is read and a write is lost.
/// Behind the end of a region, and in one that is absent, there is nothing to access, and that is EINVAL as in VFIO.
extension Exerciser {
    /// How large region `number` is. All of them are read and written by calls; none can be mapped.
    ///
    /// - Throws: `EINVAL` for a number that VFIO does not have (9 and more).
    public func regionInfo(_ number: UInt32) throws(DeviceError) -> RegionInfo {
        guard number < RegionInfo.count else {
            throw DeviceError("GET_REGION_INFO", errno: EINVAL, remedy: "a PCI device has regions 0 to 8")
        }
        var info = RegionInfo(index: number, size: 0, offset: 0)
        if number == ExerciserRegion.configuration.rawValue {
            info.size = UInt64(ConfigurationSpace.size)
        } else if let bar = ConfigurationSpace.barSizes(configuration).first(where: { $0.region.rawValue == number }) {
            info.size = UInt64(bar.size)
        }
        info.isReadable = info.size > 0
        info.isWritable = info.size > 0
        return info
    }

    /// Reads `count` ∈ {1, 2, 4, 8} bytes from anywhere in a region; an access across words reads both.
    ///
    /// - Throws: `EINVAL` for an absent region, a range that is not within the region, or another count.
    public func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        let region = try check(region, offset, count, "read a region")
        if region == .configuration { return core.readConfiguration(Int(offset), count) }
        let first = offset & ~3
        var value: UInt64 = 0
        for position in stride(from: first, to: offset + UInt64(count), by: 4) {
            let word = UInt64(read(region, position))
            value |= position < offset ? word >> (8 * (offset - position)) : word << (8 * (position - offset))
        }
        return count == 8 ? value : value & (1 << (8 * UInt64(count)) - 1)
    }

    /// Writes `count` ∈ {1, 2, 4, 8} bytes.
    ///
    /// Registers, doorbells and the MSI-X table take whole aligned words of 32 bits, and two of them at once; what
    /// covers a word in part is lost. Configuration space takes any bytes. A register says in ERROR whether it took a
    /// value.
    ///
    /// - Throws: `EINVAL` for an absent region, a range that is not within the region, or another count.
    public func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        let region = try check(region, offset, count, "write a region")
        if region == .configuration {
            if core.writeConfiguration(Int(offset), count, value) { resetFunction() }
            return
        }
        for position in stride(from: offset, to: offset + UInt64(count), by: 4) where offset % 4 == 0 && count >= 4 {
            write(region, position, UInt32(truncatingIfNeeded: value >> (8 * (position - offset))))
        }
    }

    /// The parts of `region` that an eventfd serves as well as a call of `writeRegion`: the doorbells of region 2.
    ///
    /// The first call makes an eventfd for each doorbell and a thread that listens to all of them; they stay until the
    /// device goes. Whoever hands them on wires them to KVM as ioeventfds, or gives them to a vfio-user client. Signals
    /// that run together before the device looks are one raise and as many merged ones.
    ///
    /// - Returns: Nothing for a region without doorbells.
    /// - Throws: `EMFILE` or `ENFILE` when there are not enough descriptors; `EAGAIN` when no thread can be started.
    public func regionEventFDs(_ region: UInt32) throws(DeviceError) -> [RegionEventFD] {
        guard region == ExerciserRegion.doorbells.rawValue else { return [] }
        return try doorbells.eventFDs()
    }

    /// Gives the device its way to the guest's memory, for stamps that a driver asks for; `nil` takes it away, and once
    /// that has returned `write` is not called any more.
    public func setMemory(_ write: DMAWrite?) { core.stamps.setMemory(write) }

    private func check(
        _ number: UInt32, _ offset: UInt64, _ count: Int, _ operation: StaticString
    ) throws(DeviceError) -> ExerciserRegion {
        guard let region = ExerciserRegion(rawValue: number), [1, 2, 4, 8].contains(count),
            try regionInfo(number).holds(offset, count)
        else {
            throw DeviceError(operation, errno: EINVAL, remedy: "stay within the device's regions, 1, 2, 4 or 8 bytes")
        }
        return region
    }

    private func read(_ region: ExerciserRegion, _ offset: UInt64) -> UInt32 {
        switch region {
        case .registers: Register(rawValue: offset).map { read($0) } ?? 0
        case .messages: core.readMessages(offset)
        case .doorbells, .configuration: 0
        }
    }

    private func write(_ region: ExerciserRegion, _ offset: UInt64, _ value: UInt32) {
        switch region {
        case .registers: if let register = Register(rawValue: offset) { write(register, value) }
        case .doorbells: if let vector = Doorbells.vector(at: offset, configuration) { raise(vector) }
        case .messages: core.writeMessages(offset, value)
        case .configuration: break
        }
    }

    /// A function level reset asked for in configuration space: beside what `reset` does, the driver's bits go too.
    private func resetFunction() {
        runner.stop()
        core.reset()
        core.resetConfiguration(configuration)
    }
}
