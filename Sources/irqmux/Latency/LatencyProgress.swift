internal import EventRing
internal import Glibc
internal import Synchronization

/// Shows on stderr how far a measurement is, from a thread of its own, and only on a terminal.
final class LatencyProgress: Sendable {
    private let isOver = Atomic<Bool>(false)
    private let thread = Kept<Held>()

    /// A thread's owner, handed from the one who starts it to the one who ends it and to nobody else.
    private final class Held: @unchecked Sendable {
        let thread: WorkerThread
        init(_ thread: WorkerThread) { self.thread = thread }
    }

    /// Begins to show; `nil` where nobody would see it.
    static func start(_ plan: LatencyPlan, _ log: SignalLog) throws(RingError) -> LatencyProgress? {
        guard Terminal.diagnostics.isTerminal else { return nil }
        let progress = LatencyProgress()
        let thread = try WorkerThread("irqmux-progress", cpu: nil) {
            while !progress.isOver.load(ordering: .relaxed) {
                usleep(200_000)
                let handled = log.handledTotal.load(ordering: .relaxed)
                let goal = plan.count == .max ? "" : " of \(plan.count)"
                Diagnostics.progress("latency: \(plan.path.rawValue), \(handled)\(goal) signals")
            }
            Diagnostics.endProgress()
        }
        progress.thread.keep(Held(thread))
        return progress
    }

    /// Takes the line away.
    func end() {
        isOver.store(true, ordering: .relaxed)
        thread.value?.thread.join()
    }
}
