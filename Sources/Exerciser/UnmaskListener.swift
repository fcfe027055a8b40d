internal import CKernel
internal import EventRing
internal import Glibc
internal import InterruptModel
internal import Synchronization

/// Waits for the eventfd that unmasks INTx, as the kernel's virqfd does. Its thread exists from the first one on.
final class UnmaskListener: Sendable {
    private let core: DeviceCore
    private let thread = Mutex<DeviceThread?>(nil)

    init(_ core: DeviceCore) { self.core = core }

    /// Starts the thread unless it runs already.
    ///
    /// Called before the eventfd is installed, so that a failure changes nothing.
    func start() throws(DeviceError) {
        try thread.withLock { (thread) throws(DeviceError) in
            guard thread == nil else { return }
            let core = core
            thread = try DeviceThread { Self.listen(core) }
        }
    }

    func stop() {
        core.isClosing.store(true, ordering: .releasing)
        try? core.control.signal()
        thread.withLock { thread in
            if let running = thread.take() { running.join() }
        }
    }

    private static func listen(_ core: DeviceCore) {
        while !core.isClosing.load(ordering: .acquiring) {
            let descriptor = core.unmaskDescriptor
            var entries = (
                pollfd(fd: core.control.number, events: Int16(POLLIN), revents: 0),
                pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            )
            // The descriptor may be closed and its number reused by now. Then the wake-up is a stray one: the control
            // eventfd is signalled too, and takeUnmask looks under the lock whether the eventfd is still the one.
            // SAFETY: the bytes are used inside the closure only.
            let ready = unsafe withUnsafeMutableBytes(of: &entries) { bytes in
                // SAFETY: a tuple of two pollfd is laid out as an array of two.
                unsafe poll(bytes.baseAddress!.assumingMemoryBound(to: pollfd.self), 2, -1)
            }
            guard ready > 0 else { continue }
            if entries.0.revents != 0 { _ = try? core.control.take() }
            if entries.1.revents & Int16(POLLIN) != 0 { core.takeUnmask(descriptor) }
        }
    }
}
