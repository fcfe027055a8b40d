internal import CKernel

/// The sources that a spinning loop reads itself instead of having the kernel listen: two at most.
///
/// With one source, a read(2) in a loop notices a signal a quarter sooner than any path through a ring, because the one
/// who signals has nobody to wake (docs/decisions/0002). From the third on, the ring is quicker.
struct DirectSources {
    static var limit: UInt32 { 2 }

    private(set) var count = 0
    private var first = UInt32.max
    private var second = UInt32.max
    private var ready = UInt32.max
    private var readyCount: UInt64 = 0

    mutating func insert(_ index: UInt32) {
        if count == 0 { first = index } else { second = index }
        count += 1
    }

    mutating func remove(_ index: UInt32) {
        if first == index { first = second }
        second = .max
        count -= 1
        if ready == index { ready = .max }
    }

    var hasReady: Bool { ready != .max }

    /// What `poll` found, once.
    @inline(__always) mutating func takeReady() -> (index: UInt32, count: UInt64)? {
        guard ready != .max else { return nil }
        defer { ready = .max }
        return (ready, readyCount)
    }

    /// Reads each source once; true when one was signalled. The order turns, so that neither starves the other.
    mutating func poll(_ sources: borrowing Slab<Source>) -> Bool {
        if read(first, sources) { return true }
        guard count > 1 else { return false }
        swap(&first, &second)
        return read(first, sources)
    }

    private mutating func read(_ index: UInt32, _ sources: borrowing Slab<Source>) -> Bool {
        // SAFETY: the pointer is valid for the call.
        guard unsafe irqmux_eventfd_take(sources[index].descriptor, &readyCount) == 0 else { return false }
        ready = index
        return true
    }
}

extension EventLoop {
    /// Whether a source is better read than listened to: only while the loop never sleeps.
    func readsDirectly(_ index: UInt32) -> Bool {
        waiting == .spin && sourceCount <= DirectSources.limit && sources[index].nonblocking && !options.embedded
    }

    /// Moves sources between reading and listening when their number or the way of waiting has changed.
    mutating func reconsiderDirectReading() {
        let wanted = waiting == .spin && sourceCount <= DirectSources.limit && !options.embedded
        guard wanted ? direct.count < Int(sourceCount) : direct.count > 0 else { return }
        for index in 0..<UInt32(sources.count) {
            switch sources[index].phase {
            case .direct where !wanted:
                direct.remove(index)
                enqueueArming(index)
            case .armed where wanted && readsDirectly(index):
                cancel(index)
                sources[index].wanted = true
            case .free, .idle, .arming, .armed, .cancelling, .direct: break
            }
        }
    }
}
