internal import EventRing
package import InterruptModel

// What a library over this one needs, which carries identities as numbers and runs the mux by its own loop.

extension VectorID {
    /// The identity that had this number.
    package init(rawValue: UInt64) {
        slot = UInt32(truncatingIfNeeded: rawValue)
        generation = UInt32(truncatingIfNeeded: rawValue &>> 32)
    }
}

extension DeviceID {
    /// An opaque number.
    package var rawValue: UInt64 { UInt64(generation) << 32 | UInt64(place) }

    /// The identity that had this number.
    package init(rawValue: UInt64) {
        place = Int(rawValue & 0xffff_ffff)
        generation = UInt32(truncatingIfNeeded: rawValue &>> 32)
    }
}

extension Mux {
    /// Whether the vector is connected still.
    package func isConnected(_ id: VectorID) -> Bool {
        id.slot < UInt32(entries.count) && entries[id.slot].generation == id.generation && entries[id.slot].eventfd >= 0
    }

    /// Whether the device is attached still.
    package func isAttached(_ id: DeviceID) -> Bool {
        id.place < devices.count && devices[id.place]?.generation == id.generation
    }

    /// Whether one more device can be attached.
    package var hasRoomForDevice: Bool { devices.contains { $0 == nil } }

    /// What a device says of an index.
    ///
    /// - Throws: `ENOENT` when it was detached; what the device says.
    package func interruptInfo(_ id: DeviceID, _ index: IRQIndex) throws(MuxError) -> IRQInfo {
        let device = try locate(id)
        do throws(DeviceError) { return try device.info(index) } catch { throw MuxError(error) }
    }

    /// Reads `count` ∈ {1, 2, 4, 8} bytes of a device's region; errors as `interruptInfo`.
    package func readRegion(_ id: DeviceID, _ region: UInt32, offset: UInt64, count: Int) throws(MuxError) -> UInt64 {
        try locate(id).read(region, offset, count)
    }

    /// Writes `count` ∈ {1, 2, 4, 8} bytes of a device's region; errors as `interruptInfo`.
    package func writeRegion(
        _ id: DeviceID, _ region: UInt32, offset: UInt64, count: Int, value: UInt64
    ) throws(MuxError) {
        try locate(id).write(region, offset, count, value)
    }

    /// What a device's configuration space says, and what is wrong with it; errors as `interruptInfo`.
    package func capabilities(of id: DeviceID) throws(MuxError) -> PCICapabilities { try locate(id).capabilities() }

    /// The stages of a vector; `nil` when it is not measured.
    package func stages(of id: VectorID) -> StageHistograms? {
        guard isConnected(id) else { return nil }
        for entry in measured where entry.slot == id.slot { return entry.vector.histograms }
        return nil
    }

    /// Other threads' commands are taken from now on; the thread that will carry them out has yet to run.
    package func announceRun() { commands.announce() }
}
