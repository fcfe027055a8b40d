internal import CKernel
internal import EventRing

// Fan-out: short lists by write(2), long ones as one batch through the ring. Each notification is sent before the next
// is looked at, so targets see them in order either way.
extension Mux {
    /// Duplicates descriptors into a new list, and registers the list with the ring when it is long enough to gain.
    mutating func makeTargets(_ eventfds: [Int32]) throws(MuxError) -> UInt32 {
        let first = try targets.makeList(eventfds)
        guard eventfds.count >= options.batchedFanOut else { return first }
        var registered = 0
        var node = first
        while node != .max {
            // A blocking eventfd would be written by a thread of the kernel's, out of order: it gets a write(2).
            if !targets[node].isBlocking, loop.setTarget(node, targets[node].eventfd) {
                targets[node].isRegistered = true
                registered += 1
            }
            node = targets[node].next
        }
        targets[first].isBatch = registered >= max(options.batchedFanOut, 1)
        return first
    }

    /// Lets go of a list.
    mutating func dropTargets(_ first: UInt32) {
        var node = first
        while node != .max {
            if targets[node].isRegistered { loop.clearTarget(node) }
            node = targets[node].next
        }
        targets.drop(first)
    }

    /// Signals every target of a list once.
    @inline(never)
    mutating func fanOut(_ first: UInt32) {
        guard first != .max, targets[first].isBatch, loop.batchesSignals else { return targets.signal(first) }
        var node = first
        while node != .max {
            let target = targets[node]
            if !target.isRegistered || !loop.queueSignal(node) { targets.signalOne(node) }
            node = target.next
        }
        loop.sendSignals()
    }
}
