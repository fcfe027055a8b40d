internal import Glibc
internal import Synchronization

/// Ctrl-C, turned into a flag that a measurement looks at.
///
/// Nothing is lost on Ctrl-C: the command stops, prints its summary and ends with the status that summary has. A second
/// Ctrl-C ends the process the ordinary way, for whoever has waited long enough.
final class Interruption: Sendable {
    private let flag = Atomic<Bool>(false)
    private let action = Mutex<(@Sendable () -> Void)?>(nil)

    /// Whether the person wants to stop.
    var isRequested: Bool { flag.load(ordering: .acquiring) }

    /// Starts listening for SIGINT and SIGTERM. Called once, before other threads start: they inherit the blocked mask,
    /// so that the signals reach the thread that waits for them and no other.
    static func listening() -> Interruption {
        let interruption = Interruption()
        var signals = Self.signals()
        // SAFETY: the mask is read during the call only.
        _ = unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        interruption.startThread()
        return interruption
    }

    /// Stops the command as Ctrl-C would.
    func request() {
        flag.store(true, ordering: .releasing)
        let action = action.withLock { $0 }
        action?()
    }

    /// Has `body` called when the person wants to stop, for whoever waits in the kernel; at once when that was before.
    func whenRequested(_ body: @escaping @Sendable () -> Void) {
        action.withLock { $0 = body }
        if isRequested { body() }
    }

    private static func signals() -> sigset_t {
        var set = sigset_t()
        // SAFETY: the calls change the set they are given and keep no pointer to it.
        unsafe sigemptyset(&set)
        // SAFETY: as above.
        unsafe sigaddset(&set, SIGINT)
        // SAFETY: as above.
        unsafe sigaddset(&set, SIGTERM)
        return set
    }

    private func startThread() {
        // SAFETY: the thread takes the reference over and releases it when it ends.
        let context = unsafe Unmanaged.passRetained(self).toOpaque()
        var thread = pthread_t()
        // SAFETY: the function has the C convention and treats its argument as what was retained above.
        let failure = unsafe pthread_create(&thread, nil, { unsafe Interruption.wait(in: $0) }, context)
        guard failure == 0 else {
            // SAFETY: no thread came to be, so the reference is still ours.
            unsafe Unmanaged<Interruption>.fromOpaque(context).release()
            // Nobody would hear the signals: let them end the process as they ordinarily do.
            var signals = Self.signals()
            // SAFETY: the mask is read during the call only.
            _ = unsafe pthread_sigmask(SIG_UNBLOCK, &signals, nil)
            return
        }
        pthread_detach(thread)
    }

    private static func wait(in context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
        // SAFETY: only compared with nil here.
        guard let context = unsafe context else { return nil }
        // SAFETY: the context is the reference that startThread retained for this thread.
        let interruption = unsafe Unmanaged<Interruption>.fromOpaque(context).takeRetainedValue()
        var signals = Self.signals()
        var received: Int32 = 0
        // SAFETY: sigwait reads the set and writes the number of the signal.
        while unsafe sigwait(&signals, &received) != 0 {}
        interruption.request()
        // From here on the signals have their ordinary effect: this thread takes the next one and ends the process.
        // SAFETY: the mask is read during the call only.
        _ = unsafe pthread_sigmask(SIG_UNBLOCK, &signals, nil)
        while true { pause() }
    }
}
