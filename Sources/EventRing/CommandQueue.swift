internal import CKernel
internal import Synchronization

/// Closures that other threads want run by the one thread that owns an `Owner`; each poster waits for its own.
///
/// A lock-free list of any length: posting allocates, which is the poster's business, and taking never does.
package final class CommandQueue<Owner: ~Copyable>: Sendable {
    private let newest = Atomic<UInt>(0)
    private let owner = Atomic<UInt64>(0)

    /// Value of `newest` once the owner is gone: no address.
    private static var closed: UInt { 1 }

    /// A queue nobody serves yet.
    package init() {}

    // MARK: The owner's side

    /// Commands are taken from now on; the thread that will carry them out has yet to `bind`.
    package func announce() { owner.store(.max, ordering: .sequentiallyConsistent) }

    /// Commands are carried out from now on, by the calling thread.
    package func bind() { owner.store(irqmux_this_thread(), ordering: .sequentiallyConsistent) }

    /// Nobody carries out commands until `bind`; those that wait are refused, for it may never come to that.
    package func unbind() {
        owner.store(0, ordering: .sequentiallyConsistent)
        refuse(replacingBy: 0, .unserved)
    }

    /// Whether there is something to carry out.
    package var isEmpty: Bool { newest.load(ordering: .relaxed) <= Self.closed }

    /// Runs the commands posted since the last time, oldest first; returns how many.
    package func carryOut(on owner: inout Owner) -> UInt64 {
        if isEmpty { return 0 }
        var next = Self.inOrder(newest.exchange(0, ordering: .acquiring))
        var count: UInt64 = 0
        while let command = next {
            next = command.following
            guard command.claim() else { continue }
            command.body(&owner)
            command.finish(.done)
            count += 1
        }
        return count
    }

    /// Refuses every command from now on, also those already posted.
    package func close() { refuse(replacingBy: Self.closed, .refused) }

    private func refuse(replacingBy end: UInt, _ state: Command<Owner>.State) {
        var next = Self.inOrder(newest.exchange(end, ordering: .sequentiallyConsistent))
        while let refused = next {
            next = refused.following
            refused.finish(state)
        }
    }

    // MARK: The other threads' side

    /// Has the owner run `body`, and returns what it returns. Blocks until then.
    ///
    /// - Parameter attract: Makes the owner look at the queue soon.
    /// - Throws: `EDEADLK` on the owner's own thread; `EAGAIN` while nobody serves the queue; `ECANCELED` once closed.
    package func perform<Value>(
        _ body: @escaping @Sendable (inout Owner) -> Value, attract: () -> Void
    ) throws(RingError) -> Value {
        let serving = owner.load(ordering: .sequentiallyConsistent)
        guard serving != irqmux_this_thread() else {
            throw RingError("a command to the loop", errno: EDEADLK, remedy: "use the loop that the handler was given")
        }
        guard serving != 0 else { throw newest.load(ordering: .relaxed) == Self.closed ? Self.gone : Self.notRunning }
        // SAFETY: written by the owner's thread before it reports the command as done, and by nobody afterwards.
        nonisolated(unsafe) var value: Value?
        let command = Command<Owner> { owner in unsafe value = body(&owner) }
        guard post(command) else { throw Self.gone }
        attract()
        // The owner may have stopped serving between the look above and the post; then nobody would come for it.
        if owner.load(ordering: .sequentiallyConsistent) == 0 && command.withdraw() { throw Self.notRunning }
        let outcome = command.wait()
        if outcome == .unserved { throw Self.notRunning }
        // SAFETY: as above.
        guard outcome == .done, let result = unsafe value else { throw Self.gone }
        return result
    }

    private static var notRunning: RingError {
        RingError("a command to the loop", errno: EAGAIN, remedy: "the loop is not running: command it before or after")
    }

    private static var gone: RingError {
        RingError("a command to the loop", errno: ECANCELED, remedy: "the loop has ended")
    }

    /// Posts a command. False when the queue is closed.
    private func post(_ command: Command<Owner>) -> Bool {
        // SAFETY: the reference taken here is given back by inOrder(), or below when the queue is closed.
        let address = unsafe UInt(bitPattern: Unmanaged.passRetained(command).toOpaque())
        var seen = newest.load(ordering: .relaxed)
        while seen != Self.closed {
            command.before = seen
            let (exchanged, original) = newest.compareExchange(
                expected: seen, desired: address, ordering: .sequentiallyConsistent)
            if exchanged { return true }
            seen = original
        }
        // SAFETY: gives back the reference taken above, which nobody else has seen.
        unsafe Unmanaged.passUnretained(command).release()
        return false
    }

    /// Turns the stack of posted commands, newest first, into a list, oldest first.
    private static func inOrder(_ newest: UInt) -> Command<Owner>? {
        var address = newest
        var first: Command<Owner>?
        // SAFETY: every address was made by post() from a retained command; this takes that reference over.
        while address > closed, let pointer = unsafe UnsafeRawPointer(bitPattern: address) {
            let command = unsafe Unmanaged<Command<Owner>>.fromOpaque(pointer).takeRetainedValue()
            address = command.before
            command.following = first
            first = command
        }
        return first
    }
}

/// Something another thread wants done on the owner's thread; that thread waits until it is.
@safe private final class Command<Owner: ~Copyable>: @unchecked Sendable {
    enum State: UInt32 {
        case waiting = 0
        case running = 1
        case done = 2
        /// The owner is gone.
        case refused = 3
        /// The owner serves no commands at the moment.
        case unserved = 4
    }

    /// The address posted before this one; written by the poster before the command is visible.
    fileprivate(set) var before: UInt = 0
    /// The next in order; written and read by the owner's side alone.
    fileprivate(set) var following: Command<Owner>?
    let body: (inout Owner) -> Void
    private let word: UnsafeMutablePointer<UInt32>

    init(_ body: @escaping (inout Owner) -> Void) {
        self.body = body
        // SAFETY: one word, initialised here, freed in deinit.
        unsafe word = .allocate(capacity: 1)
        unsafe word.initialize(to: State.waiting.rawValue)
    }

    deinit {
        // SAFETY: allocated in init.
        unsafe word.deallocate()
    }

    /// The owner's side: false when the poster has given up.
    func claim() -> Bool { exchange(.waiting, for: .running) }

    /// The poster's side: false when the owner has begun already.
    func withdraw() -> Bool { exchange(.waiting, for: .refused) }

    func finish(_ state: State) {
        // SAFETY: the word lives as long as self.
        unsafe atomic.pointee.store(state.rawValue, ordering: .releasing)
        unsafe irqmux_wake_all(word)
    }

    /// What became of it; blocks until that is known.
    func wait() -> State {
        while true {
            // SAFETY: the word lives as long as self.
            let value = unsafe atomic.pointee.load(ordering: .acquiring)
            if value > State.running.rawValue { return State(rawValue: value) ?? .refused }
            unsafe irqmux_wait_while_equal(word, value)
        }
    }

    private func exchange(_ expected: State, for desired: State) -> Bool {
        // SAFETY: the word lives as long as self.
        unsafe atomic.pointee.compareExchange(
            expected: expected.rawValue, desired: desired.rawValue, ordering: .acquiringAndReleasing
        ).exchanged
    }

    private var atomic: UnsafePointer<Atomic<UInt32>> {
        // SAFETY: an aligned 32-bit word, only ever touched as an Atomic<UInt32> or by the kernel's futex.
        unsafe UnsafeRawPointer(word).assumingMemoryBound(to: Atomic<UInt32>.self)
    }
}
