internal import CKernel

/// A thread of this process with a name and, if wanted, a processor of its own. Started once and joined once, by one
/// owner.
package final class OwnedThread: @unchecked Sendable {
    private var thread: pthread_t?

    /// Type-erased: a C function pointer cannot be made from a generic context.
    private final class Entry {
        let body: () -> Void

        init(_ body: @escaping () -> Void) { self.body = body }
    }

    /// A thread that does not run yet.
    package init() {}

    /// Runs `body` on a new thread.
    ///
    /// - Parameters:
    ///   - name: At most 15 characters are kept.
    ///   - cpu: The processor to pin the thread to; `nil` leaves that to the scheduler.
    /// - Throws: `EAGAIN` when no thread could be made, `EINVAL` for a processor that does not exist.
    package func start(_ name: StaticString, cpu: Int?, _ body: @escaping () -> Void) throws(RingError) {
        guard let number = Int32(exactly: cpu ?? -1), cpu == nil || number >= 0 else { throw Self.noProcessor }
        var started = pthread_t()
        // SAFETY: a StaticString of several characters has an address, and a NUL at its end. The reference to the entry
        // is taken over by the new thread, or given back below when there is none.
        let text = unsafe UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
        let entry = unsafe Unmanaged.passRetained(Entry(body))
        let result = unsafe irqmux_thread_start(
            &started, text, number,
            { context in
                guard let context = unsafe context else { return nil }
                unsafe Unmanaged<Entry>.fromOpaque(context).takeRetainedValue().body()
                return nil
            }, entry.toOpaque())
        guard result == 0 else {
            unsafe entry.release()
            throw result == -EINVAL ? Self.noProcessor : RingError("starting a thread", errno: -result)
        }
        thread = started
    }

    /// Waits for the thread to end. No effect when it was never started, or was joined before.
    package func join() {
        guard let thread else { return }
        // Started once, joined once: nobody else has the handle.
        pthread_join(thread, nil)
        self.thread = nil
    }

    private static var noProcessor: RingError {
        RingError("starting a thread", errno: EINVAL, remedy: "choose a processor that this machine has")
    }
}
