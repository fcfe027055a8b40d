internal import Glibc
internal import InterruptModel

/// A thread of the device. Must be joined by whoever started it, and never from inside.
struct DeviceThread: ~Copyable {
    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    private let handle: pthread_t

    /// Starts `body` on a thread of its own.
    ///
    /// - Throws: `EAGAIN` when the system has no thread left.
    init(_ body: @escaping @Sendable () -> Void) throws(DeviceError) {
        var handle = pthread_t()
        // SAFETY: the thread takes over the reference that is passed here; after a failure it is taken back below.
        let context = unsafe Unmanaged.passRetained(Body(body))
        // SAFETY: the context is the retained body, alive until the thread has taken it over.
        let result = unsafe pthread_create(
            &handle, nil,
            { context in
                // SAFETY: the only reference that the creator passed; taken over once, here.
                unsafe Unmanaged<Body>.fromOpaque(context!).takeRetainedValue().run()
                return nil
            }, context.toOpaque())
        guard result == 0 else {
            // SAFETY: no thread was started, so the reference is still ours.
            unsafe context.release()
            throw DeviceError("start a thread of the software device", errno: result, remedy: "raise the thread limit")
        }
        self.handle = handle
    }

    /// Waits until the thread has ended.
    consuming func join() {
        // The handle came from pthread_create and is joined once, since the owner is consumed.
        _ = pthread_join(handle, nil)
    }
}
