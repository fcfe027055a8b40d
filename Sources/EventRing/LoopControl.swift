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
    let commands = CommandQueue<EventLoop>()
    private let stopRequested = Atomic<Bool>(false)
    private let sleeping = Atomic<Bool>(false)
    private let attention = Atomic<Bool>(false)

    /// Does not make the eventfd itself: in Embedded Swift (6.3.1) an object whose initialiser throws is never freed.
    init(wake: consuming EventFD) { self.wake = wake }

    // MARK: The loop's side

    /// Whether somebody wants the loop's attention. One relaxed load.
    @inline(__always) var wantsAttention: Bool { attention.load(ordering: .relaxed) }

    /// Takes notice: false until somebody asks again.
    ///
    /// An exchange and not a store, so that what was asked for before is seen afterwards.
    func acknowledgeAttention() { _ = attention.exchange(false, ordering: .sequentiallyConsistent) }

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

    // MARK: The other threads' side

    func requestStop() {
        stopRequested.store(true, ordering: .releasing)
        attract()
    }

    /// Makes the loop look at its flags soon.
    func attract() {
        attention.store(true, ordering: .sequentiallyConsistent)
        if sleeping.exchange(false, ordering: .sequentiallyConsistent) { try? wake.signal() }
    }
}
