internal import Synchronization

/// A view of a completion queue: the kernel's, or the one that the epoll tier fills for itself.
///
/// Does not own the memory: valid as long as the `Ring` or `EpollTier` it was made from.
@safe struct CompletionQueue {
    private let head: UnsafePointer<Atomic<UInt32>>
    private let tail: UnsafePointer<Atomic<UInt32>>
    private let entries: UnsafePointer<Completion>
    private let mask: UInt32

    init(_ ring: borrowing Ring) {
        // SAFETY: the ring maps its queue until its deinit; whoever makes this keeps the ring.
        unsafe head = ring.completionHead
        unsafe tail = ring.completionTail
        unsafe entries = ring.completions
        mask = ring.completionMask
    }

    init(_ tier: borrowing EpollTier) {
        // SAFETY: the tier keeps its queue until its deinit; whoever makes this keeps the tier.
        unsafe head = tier.head
        unsafe tail = tier.tail
        unsafe entries = UnsafePointer(tier.entries)
        mask = tier.mask
    }

    /// The completion at a position between head and tail.
    @inline(__always) subscript(position: UInt32) -> Completion {
        // SAFETY: the index is masked to the queue's size; acquire of the tail made the entry visible.
        unsafe entries[Int(position & mask)]
    }

    /// Up to where completions can be read.
    @inline(__always) var end: UInt32 {
        // SAFETY: the word is mapped as long as the queue.
        unsafe tail.pointee.load(ordering: .acquiring)
    }

    /// Where reading goes on.
    var start: UInt32 {
        // SAFETY: the word is mapped as long as the queue; this side is its only writer.
        unsafe head.pointee.load(ordering: .relaxed)
    }

    /// Gives the places before `position` back to the producer.
    @inline(__always) func consume(upTo position: UInt32) {
        // SAFETY: the word is mapped as long as the queue.
        unsafe head.pointee.store(position, ordering: .releasing)
    }
}
