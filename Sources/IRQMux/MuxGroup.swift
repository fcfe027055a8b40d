internal import CKernel

/// Several muxes, each on a thread of its own, and vectors that may go from one to another while they are live.
///
///     let group = try MuxGroup(cpus: [2, 3]) { loop in Counter(loop) }
///     let device = try group.remote.attach(exerciser)
///     let vectors = try group.remote.connect(device, .msix, 0..<64)
///     try group.remote.move(vectors[7], to: 1)
///
/// A handler is made for each loop and called on its thread; events name their vector by its tag, because the
/// `VectorID` is another on each mux. Stops and joins all threads when it goes out of scope.
public struct MuxGroup<Handler: VectorHandler & ~Copyable>: ~Copyable {
    /// The group, for any thread but its own.
    public let remote: MuxGroupRemote
    private let members: [MuxGroupMember<Handler>]

    /// Makes a mux for each processor and runs it there.
    ///
    /// - Parameters:
    ///   - options: Of each mux.
    ///   - cpus: One processor a loop to pin its thread to; `nil` leaves that to the scheduler.
    ///   - handler: Makes the handler of a loop, by its number.
    /// - Throws: As `MuxThread.init`; `EINVAL` without any processor.
    public init(
        _ options: MuxOptions = MuxOptions(), cpus: [Int?], handler: (Int) -> Handler
    ) throws(MuxError) {
        guard !cpus.isEmpty else {
            throw MuxError("making a group", errno: EINVAL, remedy: "name a processor, or nil, for each loop")
        }
        var members: [MuxGroupMember<Handler>] = []
        for (number, cpu) in cpus.enumerated() {
            members.append(MuxGroupMember(try MuxThread(options, cpu: cpu, handler: handler(number))))
        }
        let remote = try MuxGroupRemote(members.map { $0.remote }, devices: options.devices)
        self.members = members
        self.remote = remote
    }

    /// Stops all loops, waits for their threads to end, and hands over how each ended with its handler.
    ///
    /// The muxes are gone then, as after `MuxThread.stop`: ask for a last ledger before.
    public consuming func stop(_ each: (Int, consuming MuxThread<Handler>.Outcome) -> Void) {
        for (number, member) in members.enumerated() {
            if let outcome = member.stop() { each(number, outcome) }
        }
    }
}

/// A thread of a group where an array can hold it.
private final class MuxGroupMember<Handler: VectorHandler & ~Copyable> {
    let remote: MuxRemote
    private var thread: MuxThread<Handler>?

    init(_ thread: consuming MuxThread<Handler>) {
        remote = thread.remote
        self.thread = consume thread
    }

    func stop() -> MuxThread<Handler>.Outcome? {
        guard let running = thread.take() else { return nil }
        return running.stop()
    }
}

/// Names a vector of a group, on whichever loop it is. Stays invalid once disconnected.
public struct GroupVectorID: Hashable, Sendable {
    let place: Int
    let generation: UInt64
}

/// Names a device of a group. Stays invalid once detached.
public struct GroupDeviceID: Hashable, Sendable {
    let place: Int
    let generation: UInt64
}

/// Mutual exclusion of threads that may wait. (Synchronization's Mutex is not there in Embedded Swift.)
@safe final class GroupLock: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>

    init() {
        // SAFETY: allocated and initialised here, destroyed and freed in deinit.
        unsafe mutex = .allocate(capacity: 1)
        unsafe mutex.initialize(to: pthread_mutex_t())
        _ = unsafe pthread_mutex_init(mutex, nil)
    }

    deinit {
        // SAFETY: initialised in init; nobody holds a lock that nobody has.
        _ = unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    func withLock<Value, Failure: Error>(_ body: () throws(Failure) -> Value) throws(Failure) -> Value {
        // SAFETY: the mutex lives as long as self.
        _ = unsafe pthread_mutex_lock(mutex)
        defer {
            // SAFETY: locked above, by this thread.
            _ = unsafe pthread_mutex_unlock(mutex)
        }
        return try body()
    }
}
