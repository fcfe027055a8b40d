internal import CKernel
internal import EventRing

/// The targets of all fan-out routes: a fixed pool of nodes, linked into one list a vector. Owns the descriptors.
struct FanOutTable: ~Copyable {
    struct Node: BitwiseCopyable {
        var eventfd: Int32 = -1
        var next: UInt32 = .max
        /// Registered with the ring under this node's number.
        var isRegistered = false
        /// Of a list's first node: enough of the list is registered to be signalled in one batch.
        var isBatch = false
        /// The caller made it without O_NONBLOCK, so a plain write(2) could stall the loop.
        var isBlocking = false
    }

    private let nodes: Slab<Node>
    private var firstFree: UInt32
    private(set) var free: Int

    init(capacity: Int) {
        nodes = Slab(count: capacity, initial: Node())
        free = capacity
        firstFree = capacity > 0 ? 0 : .max
        for index in 0..<UInt32(capacity) { nodes[index].next = index + 1 < UInt32(capacity) ? index + 1 : .max }
    }

    deinit {
        for index in 0..<UInt32(nodes.count) where nodes[index].eventfd >= 0 { _ = irqmux_close(nodes[index].eventfd) }
    }

    /// Duplicates the descriptors into a new list and returns its first node. All or nothing.
    mutating func makeList(_ targets: [Int32]) throws(MuxError) -> UInt32 {
        guard !targets.isEmpty else {
            throw MuxError("routing a vector", errno: EINVAL, remedy: "give a fan-out a target, or park the vector")
        }
        guard targets.count <= free else {
            throw MuxError("routing a vector", errno: ENOSPC, remedy: "make the mux with more MuxOptions.fanOutTargets")
        }
        var first = UInt32.max
        for target in targets.reversed() {
            let copy = duplicateOfEventFD(target)
            guard copy >= 0 else {
                drop(first)
                throw MuxError(
                    "routing a vector", errno: -copy,
                    remedy: copy == -EMFILE ? "raise RLIMIT_NOFILE" : "every fan-out target must be an open eventfd")
            }
            let node = firstFree
            firstFree = nodes[node].next
            nodes[node] = Node(eventfd: copy, next: first, isBlocking: irqmux_fd_flags(copy) & O_NONBLOCK == 0)
            first = node
            free -= 1
        }
        return first
    }

    /// A duplicate of an eventfd, or −errno; `-EINVAL` for a descriptor of anything else.
    private func duplicateOfEventFD(_ target: Int32) -> Int32 {
        var count: UInt64 = 0
        // SAFETY: the pointer is valid for the call.
        let looked = unsafe irqmux_eventfd_peek(target, &count)
        return looked == 0 ? irqmux_duplicate(target) : looked
    }

    /// Closes a list's descriptors and gives its nodes back.
    mutating func drop(_ first: UInt32) {
        var node = first
        while node != .max {
            let next = nodes[node].next
            _ = irqmux_close(nodes[node].eventfd)
            nodes[node] = Node(eventfd: -1, next: firstFree)
            firstFree = node
            free += 1
            node = next
        }
    }

    /// The descriptors of a list, in order.
    func list(_ first: UInt32) -> [Int32] {
        var result: [Int32] = []
        var node = first
        while node != .max {
            result.append(nodes[node].eventfd)
            node = nodes[node].next
        }
        return result
    }

    subscript(node: UInt32) -> Node {
        get { nodes[node] }
        nonmutating set { nodes[node] = newValue }
    }

    /// Signals every target of a list once. A full counter is as good as a signal, and never waited for.
    func signal(_ first: UInt32) {
        var node = first
        while node != .max {
            signalOne(node)
            node = nodes[node].next
        }
    }

    /// Signals one target once.
    func signalOne(_ node: UInt32) {
        _ =
            nodes[node].isBlocking
            ? irqmux_eventfd_signal_without_waiting(nodes[node].eventfd)
            : irqmux_eventfd_signal(nodes[node].eventfd, 1)
    }
}
