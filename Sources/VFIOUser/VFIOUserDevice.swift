internal import CKernel
public import InterruptModel
internal import Synchronization

/// A device behind a vfio-user socket, in the form that a mux takes. Every call may be made from any thread and waits
/// for the server's answer.
public final class VFIOUserDevice: InterruptDevice, Sendable {
    private let client: Mutex<VFIOUserClient>
    /// What the server said of each index when the device was opened.
    private let infos: [IRQInfo?]
    /// What the device says of itself.
    public let device: DeviceInfo

    /// Opens the device behind `path`.
    ///
    /// - Throws: As `VFIOUserClient.connecting(to:options:)`; what the server says of its interrupts.
    public convenience init(path: String, options: ClientOptions = ClientOptions()) throws(VFIOUserError) {
        try self.init(VFIOUserClient.connecting(to: path, options: options))
    }

    /// Takes over a client.
    public init(_ client: consuming VFIOUserClient) throws(VFIOUserError) {
        let device = try client.deviceInfo()
        var infos: [IRQInfo?] = []
        for index in IRQIndex.allCases {
            do throws(VFIOUserError) {
                infos.append(index.rawValue < device.interruptIndexes ? try client.interruptInfo(index) : nil)
            } catch {
                // An index that the device lacks; everything else is the connection's trouble.
                guard error.kind == .refused else { throw error }
                infos.append(nil)
            }
        }
        self.device = device
        self.infos = infos
        self.client = Mutex(client)
    }

    /// Lets `body` use the client: for regions, memory, doorbells and whatever else `InterruptDevice` lacks.
    public func withClient<Result: Sendable & ~Copyable>(
        _ body: (inout VFIOUserClient) throws(VFIOUserError) -> Result
    ) throws(VFIOUserError) -> Result {
        try client.withLock { (client) throws(VFIOUserError) in try body(&client) }
    }

    /// Connects again and restores assignments and memory. See `VFIOUserClient.reconnect`.
    public func reconnect() throws(VFIOUserError) {
        try client.withLock { (client) throws(VFIOUserError) in try client.reconnect() }
    }

    /// Whether the server is there, as far as this side has noticed.
    public var isConnected: Bool { client.withLock { $0.isConnected } }

    /// What the server said of `index` when the device was opened.
    ///
    /// - Throws: `EINVAL` for an index that the device does not know.
    public func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo {
        guard let info = infos[Int(index.rawValue)] else {
            throw DeviceError("GET_IRQ_INFO", errno: EINVAL, remedy: "this device has no such index")
        }
        return info
    }

    /// Carries out one SET_IRQS request. See `VFIOUserClient.setInterrupts`.
    ///
    /// - Returns: 0; where the server has too few vectors it says `ENOSPC`.
    public func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        try onDevice { (client) throws(VFIOUserError) in
            try client.setInterrupts(request)
            return 0
        }
    }

    /// Resets the device's function. Assignments stay.
    public func reset() throws(DeviceError) {
        try onDevice { (client) throws(VFIOUserError) in try client.reset() }
    }

    /// Reads `count` ∈ {1, 2, 4, 8} bytes of a region, little-endian.
    public func readRegion(_ region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> UInt64 {
        try Self.check(count, "REGION_READ")
        let bytes = try onDevice { (client) throws(VFIOUserError) in
            try client.read(region: region, offset: offset, count: count)
        }
        return bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Writes `count` ∈ {1, 2, 4, 8} bytes of a region, little-endian.
    public func writeRegion(_ region: UInt32, offset: UInt64, count: Int, value: UInt64) throws(DeviceError) {
        try Self.check(count, "REGION_WRITE")
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
        try onDevice { (client) throws(VFIOUserError) in
            try client.write(region: region, offset: offset, bytes)
        }
    }

    /// Unknown here: the server counts, if anybody does.
    public func raisedCount(_ vector: Vector) -> UInt64? { nil }

    private static func check(_ count: Int, _ operation: StaticString) throws(DeviceError) {
        guard [1, 2, 4, 8].contains(count) else {
            throw DeviceError(operation, errno: EINVAL, remedy: "an access has 1, 2, 4 or 8 bytes")
        }
    }

    private func onDevice<Result: Sendable>(
        _ body: (inout VFIOUserClient) throws(VFIOUserError) -> Result
    ) throws(DeviceError) -> Result {
        do throws(VFIOUserError) { return try withClient(body) } catch { throw DeviceError(error) }
    }
}
