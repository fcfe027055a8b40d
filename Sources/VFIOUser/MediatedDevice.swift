internal import CKernel
public import InterruptModel

/// A region of a device as its server describes it.
public struct RegionDescription: Sendable {
    /// Memory behind a region, which clients may map.
    public struct Memory: Sendable {
        /// The file, which the device keeps open.
        public var descriptor: Int32
        /// Where the region begins in it.
        public var fileOffset: UInt64
        /// The parts that may be mapped, page by page; empty for all of it.
        public var areas: [RegionLayout.Area]

        /// Describes memory in a file.
        public init(descriptor: Int32, fileOffset: UInt64 = 0, areas: [RegionLayout.Area] = []) {
            self.descriptor = descriptor
            self.fileOffset = fileOffset
            self.areas = areas
        }
    }

    /// Bytes; 0 for a region that the device lacks.
    public var size: UInt64
    /// Clients may read it.
    public var readable: Bool
    /// Clients may write it.
    public var writable: Bool
    /// Memory that clients may map; `nil` where every access is to reach the device.
    public var memory: Memory?

    /// Describes a region; all of it is readable and writable unless told otherwise.
    public init(size: UInt64, readable: Bool = true, writable: Bool = true, memory: Memory? = nil) {
        self.size = size
        self.readable = readable
        self.writable = writable
        self.memory = memory
    }
}

/// A place of a region where a write need not reach the server: the client may hand the eventfd to KVM.
public struct Doorbell: Sendable {
    /// The eventfd that is signalled instead, which the device keeps open.
    public var descriptor: Int32
    /// Where in the region.
    public var offset: UInt64
    /// The width of the write; 0 for any.
    public var size: UInt64
    /// The value that rings it; `nil` for any.
    public var dataMatch: UInt64?

    /// Describes a doorbell.
    public init(descriptor: Int32, offset: UInt64, size: UInt64 = 4, dataMatch: UInt64? = nil) {
        self.descriptor = descriptor
        self.offset = offset
        self.size = size
        self.dataMatch = dataMatch
    }
}

/// A device in user space as its vendor writes it. `Server` owns the protocol, the sockets and what clients send; the
/// vendor answers these calls, and raises interrupts through `InterruptLines`.
///
/// Every call comes from the thread that runs the server, one at a time. An error becomes the errno of the reply.
public protocol MediatedDevice: AnyObject, Sendable {
    /// The device's interrupts. The default `interruptInfo` and `setInterrupts` go there; a device with a state machine
    /// of its own answers those two and `releaseInterrupts` itself, and `nil` here.
    var lines: InterruptLines? { get }

    /// The device's regions by index: 0 to 5 are BARs, 6 the ROM, 7 the configuration space, 8 VGA. Asked for once.
    var regions: [RegionDescription] { get }

    /// Reads `count` bytes of a region. Offset and count lie within the region.
    func read(region: UInt32, offset: UInt64, count: Int) throws(DeviceError) -> [UInt8]

    /// Writes bytes of a region. Offset and count lie within the region.
    func write(region: UInt32, offset: UInt64, _ bytes: [UInt8]) throws(DeviceError)

    /// Resets the device's function. Interrupt assignments stay.
    func reset() throws(DeviceError)

    /// What the device says of `index`; `EINVAL` for an index that it does not know.
    func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo

    /// Carries out one SET_IRQS request. The descriptors in it are the server's and closed after the call: duplicate
    /// what is kept.
    ///
    /// - Returns: 0, or how many vectors could have been had.
    func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32

    /// The client is gone: lets every eventfd of its go.
    func releaseInterrupts()

    /// A request changed the interrupts of `index`: assignments, masks, or whether it is enabled.
    func interruptsChanged(_ index: IRQIndex)

    /// The doorbells of a region. Asked for whenever a client asks.
    func doorbells(region: UInt32) -> [Doorbell]

    /// A client has come; `memory` is its memory as far as it maps any, until `disabled`.
    func enabled(memory: ClientMemory)

    /// The client is gone, and its memory with it. The device's own state stays for the next one.
    func disabled()

    /// The client has mapped memory for the device.
    func memoryMapped(_ map: DMAMapMessage)

    /// The client is about to unmap memory; after the call the device can no longer reach it.
    func memoryUnmapped(address: UInt64, length: UInt64)

    /// A client asks for a feature of `VFIO_DEVICE_FEATURE`, as those by which a device is migrated.
    ///
    /// - Returns: For `get` the feature's data; for `set` the data as it was taken; otherwise it is not looked at.
    /// - Throws: `ENOTTY` for a feature that the device lacks, `EINVAL` for an action that the feature lacks.
    func feature(_ request: FeatureRequest) throws(DeviceError) -> [UInt8]

    /// The next `count` bytes of the device's state, while it is being saved.
    ///
    /// - Returns: `count` bytes at most; fewer at the state's end.
    /// - Throws: `EINVAL` while nothing is being saved.
    func readMigration(count: Int) throws(DeviceError) -> [UInt8]

    /// The next bytes of a state that the device is to have, while it is being restored.
    ///
    /// - Throws: `EINVAL` while nothing is being restored, and for bytes that are no state.
    func writeMigration(_ bytes: [UInt8]) throws(DeviceError)

    /// A descriptor that the server listens to for the device; −1 for none. Asked for again whenever it was heard, and
    /// after every request. The device's own doorbells or an epoll of many.
    var attention: Int32 { get }

    /// The descriptor is readable.
    func attend()
}

extension MediatedDevice {
    /// Asks `lines`.
    public func interruptInfo(_ index: IRQIndex) throws(DeviceError) -> IRQInfo {
        guard let lines else { throw DeviceError("GET_IRQ_INFO", errno: EINVAL) }
        return try lines.info(index)
    }

    /// Tells `lines`.
    public func setInterrupts(_ request: IRQRequest) throws(DeviceError) -> UInt32 {
        guard let lines else { throw DeviceError("SET_IRQS", errno: EINVAL) }
        return try lines.set(request)
    }

    /// Tells `lines`.
    public func releaseInterrupts() { lines?.release() }

    /// Nothing.
    public func interruptsChanged(_ index: IRQIndex) {}

    /// None.
    public func doorbells(region: UInt32) -> [Doorbell] { [] }

    /// Nothing.
    public func enabled(memory: ClientMemory) {}

    /// Nothing.
    public func disabled() {}

    /// Nothing.
    public func memoryMapped(_ map: DMAMapMessage) {}

    /// Nothing.
    public func memoryUnmapped(address: UInt64, length: UInt64) {}

    /// Knows none.
    public func feature(_ request: FeatureRequest) throws(DeviceError) -> [UInt8] {
        throw DeviceError("DEVICE_FEATURE", errno: ENOTTY, remedy: "this device has no such feature")
    }

    /// A device without the feature of migration saves nothing.
    public func readMigration(count: Int) throws(DeviceError) -> [UInt8] {
        throw DeviceError("MIG_DATA_READ", errno: EINVAL, remedy: "this device does not migrate")
    }

    /// A device without the feature of migration takes nothing.
    public func writeMigration(_ bytes: [UInt8]) throws(DeviceError) {
        throw DeviceError("MIG_DATA_WRITE", errno: EINVAL, remedy: "this device does not migrate")
    }

    /// None.
    public var attention: Int32 { -1 }

    /// Nothing.
    public func attend() {}
}
