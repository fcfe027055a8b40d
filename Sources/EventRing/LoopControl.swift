internal import CKernel
internal import Synchronization

/// What a loop shares with other threads: commands in, statistics out, and the eventfd that ends its sleep.
///
/// Sleep handshake: the loop sets `sleeping`, looks once more for attention wanted, and only then sleeps; who wants
/// attention sets its flag first and then writes the eventfd only if it took `sleeping` away. So a storm of wishes
/// costs one write a sleep, and none is missed.
final class LoopControl: Sendable {
    let wake: EventFD
    let board = StatisticsBoard()
    let delays = Histogram()
    private let commands = Atomic<UInt>(0)
    private let stopRequested = Atomic<Bool>(false)
    private let sleeping = Atomic<Bool>(false)
    private let attention = Atomic<Bool>(false)
    private let owner = Atomic<UInt64>(0)

    /// Value of `commands` once the loop is gone: no address.
    private static var closed: UInt { 1 }

    init() throws(RingError) { wake = try EventFD() }

    // MARK: The loop's side

    /// Whether somebody wants the loop's attention. One relaxed load.
    @inline(__always) var wantsAttention: Bool { attention.load(ordering: .relaxed) }

    /// Takes notice: false until somebody asks again.
    func acknowledgeAttention() { attention.store(false, ordering: .sequentiallyConsistent) }

    /// Whether `requestStop` was called since the last time.
    func takeStopRequest() -> Bool { stopRequested.exchange(false, ordering: .acquiring) }

    /// Announces sleep. False when there is something to do first.
    func prepareToSleep() -> Bool {
        sleeping.store(true, ordering: .sequentiallyConsistent)
        guard attention.load(ordering: .sequentiallyConsistent) else { return true }
        sleeping.store(false, ordering: .relaxed)
        return false
    }

    /// Ends sleep.
    func woke() { sleeping.store(false, ordering: .relaxed) }

    /// Commands are carried out from now on, by this thread.
    func bind(to thread: UInt64) { owner.store(thread, ordering: .sequentiallyConsistent) }

    /// Nobody carries out commands until `bind`.
    func unbind() { owner.store(0, ordering: .sequentiallyConsistent) }

    /// The commands posted since the last time, oldest first.
    func takeCommands() -> LoopCommand? { Self.inOrder(commands.exchange(0, ordering: .acquiring)) }

    /// Refuses every command from now on, also those already posted.
    func close() {
        var command = Self.inOrder(commands.exchange(Self.closed, ordering: .acquiringAndReleasing))
        while let refused = command {
            command = refused.following
            refused.finish(.refused)
        }
    }

    // MARK: The other threads' side

    var isBound: Bool { owner.load(ordering: .sequentiallyConsistent) != 0 }

    var isOwnThread: Bool { owner.load(ordering: .acquiring) == irqmux_this_thread() }

    func requestStop() {
        stopRequested.store(true, ordering: .releasing)
        attract()
    }

    /// Makes the loop look at its flags soon.
    func attract() {
        attention.store(true, ordering: .sequentiallyConsistent)
        if sleeping.exchange(false, ordering: .sequentiallyConsistent) { try? wake.signal() }
    }

    /// Posts a command. False when the loop is gone.
    func post(_ command: LoopCommand) -> Bool {
        // SAFETY: the reference taken here is given back by inOrder(), or below when the loop is gone.
        let address = unsafe UInt(bitPattern: Unmanaged.passRetained(command).toOpaque())
        var seen = commands.load(ordering: .relaxed)
        while seen != Self.closed {
            command.before = seen
            let (exchanged, original) = commands.compareExchange(
                expected: seen, desired: address, ordering: .acquiringAndReleasing)
            if exchanged {
                attract()
                return true
            }
            seen = original
        }
        unsafe Unmanaged.passUnretained(command).release()
        return false
    }

    /// Turns the stack of posted commands, newest first, into a list, oldest first.
    private static func inOrder(_ newest: UInt) -> LoopCommand? {
        var address = newest
        var first: LoopCommand?
        // SAFETY: every address was made by post() from a retained command; this takes that reference over.
        while address > closed, let pointer = unsafe UnsafeRawPointer(bitPattern: address) {
            let command = unsafe Unmanaged<LoopCommand>.fromOpaque(pointer).takeRetainedValue()
            address = command.before
            command.following = first
            first = command
        }
        return first
    }
}

/// Something another thread wants done on the loop's thread; that thread waits until it is.
@safe final class LoopCommand: @unchecked Sendable {
    enum State: UInt32 {
        case waiting = 0
        case running = 1
        case done = 2
        case refused = 3
    }

    /// The address posted before this one; written by the poster before the command is visible.
    fileprivate(set) var before: UInt = 0
    /// The next in order; written and read by the loop's side alone.
    fileprivate(set) var following: LoopCommand?
    let body: (inout EventLoop) -> Void
    private let word: UnsafeMutablePointer<UInt32>

    init(_ body: @escaping (inout EventLoop) -> Void) {
        self.body = body
        // SAFETY: one word, initialised here, freed in deinit.
        unsafe word = .allocate(capacity: 1)
        unsafe word.initialize(to: State.waiting.rawValue)
    }

    deinit {
        // SAFETY: allocated in init.
        unsafe word.deallocate()
    }

    /// The loop's side: false when the poster has given up.
    func claim() -> Bool { exchange(.waiting, for: .running) }

    /// The poster's side: false when the loop has begun already.
    func withdraw() -> Bool { exchange(.waiting, for: .refused) }

    func finish(_ state: State) {
        // SAFETY: the word lives as long as self.
        unsafe atomic.pointee.store(state.rawValue, ordering: .releasing)
        unsafe irqmux_wake_all(word)
    }

    /// Whether it was done; blocks until that is known.
    func wait() -> Bool {
        while true {
            // SAFETY: the word lives as long as self.
            let value = unsafe atomic.pointee.load(ordering: .acquiring)
            if value == State.done.rawValue || value == State.refused.rawValue { return value == State.done.rawValue }
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
