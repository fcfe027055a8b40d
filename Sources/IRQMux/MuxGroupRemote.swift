internal import CKernel
public import InterruptModel

/// A group of muxes as other threads use it: every command may come from any thread but the group's own, where it
/// throws `EDEADLK`. One command at a time: one that comes while a vector is being moved waits for that.
///
/// What belongs to a group is changed through it, because it knows on which loop a vector is.
public final class MuxGroupRemote: @unchecked Sendable {
    struct VectorRecord {
        var generation: UInt64
        var loop: Int
        var id: VectorID
        var device: Int
        let vector: Vector
    }

    struct DeviceRecord {
        var generation: UInt64
        let home: Int
        let id: DeviceID
        let device: AttachedDevice
        /// Where the device is found on each loop, once one of its vectors has been there.
        var places: [Int?]
    }

    let loops: [MuxRemote]
    private let threads: [UInt64]
    /// What a VMM's run loop tells of ends of interrupts, of lines on any of the loops (``INTxWay/ioapicBroadcast``);
    /// for any thread.
    public let endOfInterrupts: EndOfInterruptSink
    let lock = GroupLock()
    // Everything below is the lock's.
    var vectors: [VectorRecord?] = []
    var devices: [DeviceRecord?] = []
    private var generation: UInt64 = 0
    var moved: UInt64 = 0

    init(_ loops: [MuxRemote], devices: Int) throws(MuxError) {
        var threads: [UInt64] = []
        let shared = SharedLines(lines: devices * loops.count)
        for loop in loops {
            threads.append(
                try loop.perform { (mux) throws(MuxError) in
                    mux.lines.shared = shared
                    return irqmux_this_thread()
                })
        }
        endOfInterrupts = shared.ends
        self.loops = loops
        self.threads = threads
    }

    /// How many loops there are.
    public var count: Int { loops.count }

    /// One of the loops, for statistics and commands that concern no vector.
    public subscript(loop: Int) -> MuxRemote { loops[loop] }

    // MARK: Devices and vectors

    /// Attaches a device to one of the loops, its home; see `Mux.attach`. Its vectors are connected there, and may then
    /// be moved. Masking and unmasking INTx asks the device from the thread of the loop that the vector is on.
    ///
    /// - Throws: As `Mux.attach` and `MuxRemote.perform`; `EINVAL` for a loop there is not.
    public func attach<Device: InterruptDevice & Sendable & ~Copyable>(
        _ device: consuming Device, home: Int = 0
    ) throws(MuxError) -> GroupDeviceID {
        let parcel = Parcel(device)
        return try exclusively { () throws(MuxError) in
            try check(home)
            let (id, attached) = try command(home) { (mux) throws(MuxError) -> (DeviceID, Carried) in
                let id = try mux.attach(parcel.open())
                return (id, Carried(device: try mux.locate(id)))
            }
            generation += 1
            var places = [Int?](repeating: nil, count: count)
            places[home] = id.place
            let record = DeviceRecord(
                generation: generation, home: home, id: id, device: attached.device, places: places)
            return GroupDeviceID(place: put(record, into: &devices), generation: generation)
        }
    }

    /// Connects vectors on the device's home loop; see `Mux.connect`. Errors as there and as `MuxRemote.perform`;
    /// `EBUSY` also for a vector that is on another loop.
    public func connect(
        _ device: GroupDeviceID, _ index: IRQIndex, _ numbers: Range<UInt32>, route: Route = .handler,
        tag: @escaping @Sendable (UInt32) -> UInt64 = { UInt64($0) }
    ) throws(MuxError) -> [GroupVectorID] {
        try connect(device, index, numbers, tag: tag) { _ in route }
    }

    /// Connects vectors with a route of its own for each: what vectors routed into a guest need. `routes` and `tag` are
    /// called on the loop's thread. Errors as the form with one route.
    public func connect(
        _ device: GroupDeviceID, _ index: IRQIndex, _ numbers: Range<UInt32>,
        tag: @escaping @Sendable (UInt32) -> UInt64 = { UInt64($0) }, routes: @escaping @Sendable (UInt32) -> Route
    ) throws(MuxError) -> [GroupVectorID] {
        try exclusively { () throws(MuxError) in
            let record = try locate(device)
            let id = record.id
            try checkNotConnected(device, index, numbers)
            let ids = try command(record.home) { (mux) throws(MuxError) in
                try mux.connect(id, index, numbers, tag: tag, routes: routes)
            }
            return zip(ids, numbers).map { id, number in
                generation += 1
                let vector = VectorRecord(
                    generation: generation, loop: record.home, id: id, device: device.place,
                    vector: Vector(index, number))
                return GroupVectorID(place: put(vector, into: &vectors), generation: generation)
            }
        }
    }

    /// Disconnects a vector, wherever it is; see `Mux.disconnect`. Errors as there, as `move` and as
    /// `MuxRemote.perform`.
    public func disconnect(_ vector: GroupVectorID) throws(MuxError) {
        try exclusively { () throws(MuxError) in
            try bringHome(vector.place, try locate(vector))
            let record = try locate(vector)
            vectors[vector.place] = nil
            try command(record.loop) { (mux) throws(MuxError) in try mux.disconnect(record.id) }
        }
    }

    /// Disconnects everything of a device and lets it go; see `Mux.detach`. Errors as there, as `move` and as
    /// `MuxRemote.perform`.
    @discardableResult
    public func detach(_ device: GroupDeviceID) throws(MuxError) -> Ledger {
        try exclusively { () throws(MuxError) in
            let record = try locate(device)
            for place in vectors.indices {
                guard let vector = vectors[place], vector.device == device.place else { continue }
                try bringHome(place, vector)
                vectors[place] = nil
            }
            for loop in 0..<count where loop != record.home {
                guard let place = record.places[loop] else { continue }
                try command(loop) { (mux) throws(MuxError) in mux.dismiss(place) }
            }
            devices[device.place] = nil
            let id = record.id
            return try command(record.home) { (mux) throws(MuxError) in try mux.detach(id) }
        }
    }

    /// On which loop a vector is.
    ///
    /// - Throws: `ENOENT` when it was disconnected.
    public func loop(of vector: GroupVectorID) throws(MuxError) -> Int {
        try exclusively { () throws(MuxError) in try locate(vector).loop }
    }

    // MARK: Vectors, wherever they are

    /// Runs `body` on the thread of the loop that a vector is on, with its identity there.
    ///
    /// - Throws: What `body` throws; `ENOENT` when the vector was disconnected; as `MuxRemote.perform`.
    public func perform<Value>(
        on vector: GroupVectorID, _ body: @escaping @Sendable (inout Mux, VectorID) throws(MuxError) -> Value
    ) throws(MuxError) -> Value {
        try exclusively { () throws(MuxError) in
            let record = try locate(vector)
            return try command(record.loop) { (mux) throws(MuxError) in try body(&mux, record.id) }
        }
    }

    /// Masks a vector; see `Mux.mask`. Errors as there and as `perform`.
    public func mask(_ vector: GroupVectorID) throws(MuxError) {
        try perform(on: vector) { (mux, id) throws(MuxError) in try mux.mask(id) }
    }

    /// Unmasks a vector; see `Mux.unmask`. Errors as there and as `perform`.
    public func unmask(_ vector: GroupVectorID) throws(MuxError) {
        try perform(on: vector) { (mux, id) throws(MuxError) in try mux.unmask(id) }
    }

    /// Changes a route; see `Mux.route`. Errors as there and as `perform`.
    public func route(_ vector: GroupVectorID, to route: Route) throws(MuxError) {
        try perform(on: vector) { (mux, id) throws(MuxError) in try mux.route(id, to: route) }
    }

    /// Says that the device behind an INTx is quiet; see `Mux.acknowledge`. Errors as there and as `perform`.
    public func acknowledge(_ vector: GroupVectorID) throws(MuxError) {
        try perform(on: vector) { (mux, id) throws(MuxError) in try mux.acknowledge(id) }
    }

    /// The account of a vector, on all the loops it has been on. Errors as `Mux.ledger` and as `perform`.
    public func ledger(_ vector: GroupVectorID) throws(MuxError) -> Ledger {
        try perform(on: vector) { (mux, id) throws(MuxError) in try mux.ledger(id) }
    }

    /// Where a vector's deliveries went, on all the loops it has been on. Errors as `Mux.ledger` and as `perform`.
    public func deliveries(of vector: GroupVectorID) throws(MuxError) -> Deliveries {
        try perform(on: vector) { (mux, id) throws(MuxError) in try mux.deliveries(of: id) }
    }

    /// The account of a device, of its vectors on all loops. Errors as `Mux.ledger` and as `MuxRemote.perform`.
    public func ledger(_ device: GroupDeviceID) throws(MuxError) -> Ledger {
        try exclusively { () throws(MuxError) in
            let record = try locate(device)
            let id = record.id
            var sum = try command(record.home) { (mux) throws(MuxError) in try mux.ledger(id) }
            for case .some(let vector) in vectors where vector.device == device.place && vector.loop != record.home {
                sum.merge(try command(vector.loop) { (mux) throws(MuxError) in try mux.ledger(vector.id) })
            }
            return sum
        }
    }

    // MARK: Steps

    func command<Value>(
        _ loop: Int, _ body: @escaping @Sendable (inout Mux) throws(MuxError) -> Value
    ) throws(MuxError) -> Value {
        try loops[loop].perform { mux in Result { () throws(MuxError) in try body(&mux) } }.get()
    }

    /// A loop's thread that waited here would wait for one who waits for that loop.
    func exclusively<Value>(_ body: () throws(MuxError) -> Value) throws(MuxError) -> Value {
        guard !threads.contains(irqmux_this_thread()) else {
            throw MuxError(
                "a command to a group", errno: EDEADLK,
                remedy: "command it from another thread; a handler may use the mux that it was given")
        }
        return try lock.withLock(body)
    }

    func check(_ loop: Int) throws(MuxError) {
        guard loops.indices.contains(loop) else {
            throw MuxError("choosing a loop", errno: EINVAL, remedy: "a group's loops are numbered from 0")
        }
    }

    func locate(_ vector: GroupVectorID) throws(MuxError) -> VectorRecord {
        guard vectors.indices.contains(vector.place), let record = vectors[vector.place],
            record.generation == vector.generation
        else { throw MuxError("using a vector of a group", errno: ENOENT, remedy: "the vector was disconnected") }
        return record
    }

    func locate(_ device: GroupDeviceID) throws(MuxError) -> DeviceRecord {
        guard devices.indices.contains(device.place), let record = devices[device.place],
            record.generation == device.generation
        else { throw MuxError("using a device of a group", errno: ENOENT, remedy: "the device was detached") }
        return record
    }

    /// The home loop knows nothing of the device's vectors that were moved.
    private func checkNotConnected(
        _ device: GroupDeviceID, _ index: IRQIndex, _ numbers: Range<UInt32>
    ) throws(MuxError) {
        for case .some(let record) in vectors
        where record.device == device.place && record.vector.index == index && numbers.contains(record.vector.number) {
            throw MuxError("connecting vectors", errno: EBUSY, remedy: "a vector of the range is connected already")
        }
    }

    private func put<Record>(_ record: Record, into table: inout [Record?]) -> Int {
        if let free = table.firstIndex(where: { $0 == nil }) {
            table[free] = record
            return free
        }
        table.append(record)
        return table.count - 1
    }
}

/// A device on its way to a loop's thread; opened once.
private final class Parcel<Device: ~Copyable & Sendable>: @unchecked Sendable {
    private var device: Device?

    init(_ device: consuming Device) { self.device = consume device }

    func open() -> Device { device.take()! }
}

/// An attached device on its way between threads. What is used of it elsewhere than at home never changes.
struct Carried: @unchecked Sendable {
    let device: AttachedDevice
}
