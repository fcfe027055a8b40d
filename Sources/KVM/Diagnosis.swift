internal import CKernel

/// Whether an open file is an eventfd; `nil` when that cannot be known (closed, or no /proc).
///
/// Looks at /proc and never at the counter: a probing write would signal whoever listens, a bound irqfd included. Some
/// microseconds; only after a failure.
func isEventFD(_ number: Int32) -> Bool? {
    var count: UInt64 = 0
    // SAFETY: the wrapper writes 8 bytes at most.
    switch unsafe irqmux_eventfd_peek(number, &count) {
    case 0: return true
    case -EINVAL: return false
    default: return nil
    }
}
