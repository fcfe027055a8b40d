internal import Synchronization

/// What a loop has done since it was made. A plain value; all counters only grow.
public struct LoopStatistics: Sendable, BitwiseCopyable {
    /// Notifications handed to the handler. One may stand for several signals.
    public internal(set) var notifications: UInt64 = 0
    /// Batches of completions: times the loop found something to do.
    public internal(set) var batches: UInt64 = 0
    /// System calls the loop made to submit, fetch or wait.
    public internal(set) var systemCalls: UInt64 = 0
    /// Waits that went to sleep.
    public internal(set) var sleeps: UInt64 = 0
    /// Times that a spinning wait found something before its budget was used up.
    public internal(set) var spinHits: UInt64 = 0
    /// Times that it did not.
    public internal(set) var spinMisses: UInt64 = 0
    /// Requests armed again because the kernel had ended them.
    public internal(set) var rearms: UInt64 = 0
    /// Times that completions overflowed the queue and waited in the kernel.
    public internal(set) var overflows: UInt64 = 0
    /// Completions of sources that had been removed or whose slot had been given away.
    public internal(set) var stale: UInt64 = 0
    /// Commands carried out for other threads.
    public internal(set) var commands: UInt64 = 0
    /// Batches of signals sent to eventfds through the ring; each is one of the system calls.
    public internal(set) var signalBatches: UInt64 = 0
    /// Timers that fired.
    public internal(set) var timers: UInt64 = 0
    /// Nanoseconds in the kernel without waiting.
    public internal(set) var kernelNanoseconds: UInt64 = 0
    /// Nanoseconds between a batch's arrival and its end: handlers and dispatch.
    public internal(set) var handlerNanoseconds: UInt64 = 0
    /// Nanoseconds of waiting, asleep or spinning.
    public internal(set) var idleNanoseconds: UInt64 = 0
}

/// Where one thread publishes statistics and any other reads them: every field of its own is atomic, a snapshot as a
/// whole may be a batch apart.
@safe struct StatisticsBoard: ~Copyable, @unchecked Sendable {
    fileprivate static let words = MemoryLayout<LoopStatistics>.size / MemoryLayout<UInt64>.size
    fileprivate let cells: UnsafeMutablePointer<Atomic<UInt64>>

    init() {
        // SAFETY: freshly allocated and initialised before anyone sees the address.
        unsafe cells = .allocate(capacity: Self.words)
        for word in 0..<Self.words { unsafe (cells + word).initialize(to: Atomic(0)) }
    }

    deinit {
        // SAFETY: allocated in init.
        unsafe cells.deallocate()
    }

    func read() -> LoopStatistics {
        var statistics = LoopStatistics()
        // SAFETY: as in publish.
        unsafe withUnsafeMutableBytes(of: &statistics) { bytes in
            for word in 0..<Self.words {
                let value = unsafe cells[word].load(ordering: .relaxed)
                unsafe bytes.storeBytes(of: value, toByteOffset: word * 8, as: UInt64.self)
            }
        }
        return statistics
    }
}

/// A board's writing end without its ownership.
@safe struct StatisticsWriter {
    private let cells: UnsafeMutablePointer<Atomic<UInt64>>

    /// The caller keeps `board` alive and is its one writer.
    @unsafe init(_ board: borrowing StatisticsBoard) {
        // SAFETY: as the initialiser demands.
        unsafe cells = board.cells
    }

    /// `inout` so that the values are read where they are; a copy of them all would cost more than publishing.
    func publish(_ statistics: inout LoopStatistics) {
        // SAFETY: LoopStatistics is nothing but UInt64 fields (a test compares), so it reads as that many words.
        unsafe withUnsafeBytes(of: &statistics) { bytes in
            for word in 0..<StatisticsBoard.words {
                let value = unsafe bytes.loadUnaligned(fromByteOffset: word * 8, as: UInt64.self)
                unsafe cells[word].store(value, ordering: .relaxed)
            }
        }
    }
}
