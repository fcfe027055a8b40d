internal import CKernel

/// Owns one eventfd; closes it when it goes out of scope.
///
/// Always `EFD_NONBLOCK | EFD_CLOEXEC`. Every call may be made from any thread and none blocks.
/// Source: eventfd(2), since Linux 2.6.27.
@frozen public struct EventFD: ~Copyable, Sendable {
    /// The file descriptor's number, for APIs that take one. Valid as long as this owner lives.
    public let number: Int32

    /// Creates an eventfd whose counter starts at `initial`.
    ///
    /// - Throws: `EMFILE`, `ENFILE`, `ENOMEM`.
    public init(initial: UInt32 = 0) throws(RingError) {
        let result = irqmux_eventfd_create(initial)
        guard result >= 0 else {
            throw RingError(
                "eventfd", errno: -result,
                remedy: result == -EMFILE ? "raise RLIMIT_NOFILE (ulimit -n) or listen to fewer eventfds" : "")
        }
        number = result
    }

    /// Takes over an open eventfd. The caller must not close `number` afterwards.
    public init(owning number: Int32) { self.number = number }

    deinit { _ = irqmux_close(number) }

    /// Adds `count` to the counter. A full counter counts as signalled: whoever listens has a signal waiting already.
    ///
    /// - Throws: `EBADF` or `EINVAL` when the number was closed or reused behind the owner's back.
    public func signal(_ count: UInt64 = 1) throws(RingError) {
        let result = irqmux_eventfd_signal(number, count)
        guard result == 0 || result == -EAGAIN else { throw RingError("write to an eventfd", errno: -result) }
    }

    /// Takes the counter and zeroes it; 0 when nothing was signalled.
    ///
    /// - Throws: `EBADF` or `EINVAL` when the number was closed or reused behind the owner's back.
    public func take() throws(RingError) -> UInt64 {
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call, and the wrapper writes 8 bytes at most.
        let result = unsafe irqmux_eventfd_take(number, &count)
        guard result == 0 || result == -EAGAIN else { throw RingError("read of an eventfd", errno: -result) }
        return result == 0 ? count : 0
    }

    /// The counter without taking it, from `/proc/self/fdinfo`; some microseconds.
    ///
    /// The way to look at an eventfd that somebody listens to: taking the counter would swallow a notification that is
    /// under way.
    /// - Throws: `EBADF`; `EINVAL` when the number now belongs to something else; `ENOENT` or `EACCES` without /proc.
    public func peek() throws(RingError) -> UInt64 {
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call.
        let result = unsafe irqmux_eventfd_peek(number, &count)
        guard result == 0 else {
            throw RingError("look at an eventfd", errno: -result, remedy: "/proc must be mounted and readable")
        }
        return count
    }

    /// Gives up ownership without closing; returns the number.
    public consuming func release() -> Int32 {
        let number = number
        discard self
        return number
    }
}
