internal import CKernel

/// The sources that a spinning loop reads itself instead of having the kernel listen: two at most.
///
/// With one source, a read(2) in a loop notices a signal a quarter sooner than any path through a ring, because the one
/// who signals has nobody to wake (docs/decisions/0002). From the third on, the ring is quicker.
///
/// Each is a duplicate of the caller's descriptor: as with a ring, closing the original does not end the source, and
/// what another file is opened as afterwards is not read by mistake.
struct DirectSources {
    private struct Place {
        var index = UInt32.max
        var descriptor: Int32 = -1
    }

    static var limit: UInt32 { 2 }

    private(set) var count = 0
    private var first = Place()
    private var second = Place()
    private var ready = UInt32.max
    private var readyCount: UInt64 = 0

    /// False when there is no descriptor to be had, or none to duplicate.
    mutating func insert(_ index: UInt32, _ descriptor: Int32) -> Bool {
        let copy = irqmux_duplicate(descriptor)
        guard copy >= 0 else { return false }
        let place = Place(index: index, descriptor: copy)
        if count == 0 { first = place } else { second = place }
        count += 1
        return true
    }

    /// Lets go of a source. What was read of it and not handed out goes back into the eventfd.
    mutating func remove(_ index: UInt32) {
        if first.index != index { swap(&first, &second) }
        if ready == index {
            _ = irqmux_eventfd_signal(first.descriptor, readyCount)
            ready = .max
        }
        _ = irqmux_close(first.descriptor)
        first = second
        second = Place()
        count -= 1
    }

    /// Lets go of all of them.
    mutating func removeAll() { while count > 0 { remove(first.index) } }

    /// What `poll` found of a source and nobody took.
    func readAhead(of index: UInt32) -> UInt64 { ready == index ? readyCount : 0 }

    var hasReady: Bool { ready != .max }

    /// What `poll` found, once.
    @inline(__always) mutating func takeReady() -> (index: UInt32, count: UInt64)? {
        guard ready != .max else { return nil }
        defer { ready = .max }
        return (ready, readyCount)
    }

    /// Reads each source once; true when one was signalled. The order turns, so that neither starves the other.
    mutating func poll() -> Bool {
        if ready != .max { return true }
        if count > 1 { swap(&first, &second) }
        return read(first) || (count > 1 && read(second))
    }

    /// Polls up to `rounds` times, until a source was signalled or `control` wants attention. Returns how many rounds.
    ///
    /// Without a pause between the rounds: the system call is one, and a longer would be felt as latency.
    mutating func spin(rounds: UInt64, _ control: LoopControl) -> UInt64 {
        var round: UInt64 = 0
        repeat { round &+= 1 } while !poll() && round < rounds && !control.wantsAttention
        return round
    }

    private mutating func read(_ place: Place) -> Bool {
        // SAFETY: the pointer is valid for the call.
        guard unsafe irqmux_eventfd_take(place.descriptor, &readyCount) == 0 else { return false }
        ready = place.index
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
