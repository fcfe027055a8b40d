internal import CKernel
internal import EventRing
internal import Glibc

/// A thread with one job. Whoever starts it joins it.
final class WorkerThread {
    private final class Job: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    private var handle = pthread_t()
    private var isJoined = false

    /// Starts `body` on a thread of its own, on processor `cpu` where one is given.
    ///
    /// - Throws: `EAGAIN` when the system has no thread left, `EINVAL` for a processor that the process may not use.
    init(_ name: StaticString, cpu: Int?, _ body: @escaping @Sendable () -> Void) throws(RingError) {
        // SAFETY: the thread takes the reference over, or it is given back below.
        let job = unsafe Unmanaged.passRetained(Job(body))
        // SAFETY: a StaticString's text is NUL-terminated and lives for ever; the context is the reference above.
        let result = unsafe irqmux_thread_start(
            &handle, UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self), Int32(cpu ?? -1),
            { context in
                guard let context = unsafe context else { return nil }
                // SAFETY: the one reference that the creator passed, taken over once.
                unsafe Unmanaged<Job>.fromOpaque(context).takeRetainedValue().body()
                return nil
            }, job.toOpaque())
        guard result == 0 else {
            // SAFETY: no thread was started, so the reference is still ours.
            unsafe job.release()
            isJoined = true
            throw RingError("starting a thread", errno: -result)
        }
    }

    deinit { join() }

    /// Waits until the job is done.
    func join() {
        guard !isJoined else { return }
        isJoined = true
        pthread_join(handle, nil)
    }

    /// Moves the calling thread to one processor.
    static func pinThisThread(to cpu: Int) throws(RingError) {
        let result = irqmux_pin_this_thread(Int32(cpu))
        guard result == 0 else {
            throw RingError("moving a thread to a processor", errno: -result, remedy: "choose one this process may use")
        }
    }
}
